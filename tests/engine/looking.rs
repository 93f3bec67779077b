//! Commands that look at services or go into them, at a pipe and at a terminal.

use std::io::BufRead as _;
use std::process::Command;

use dpl::fs::Digest;
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::images::bench::tar_of;
use crate::support::Site;
use crate::support_engine::Stack;

/// Two plain servers; nothing takes long.
const PAIR: &str = r#"{
  "project": "PROJECT",
  "defaults": { "stop_grace_period": "1s" },
  "services": {
    "api": { "image": "expert/expert_api:latest", "environment": { "LEVEL": "info" } },
    "worker": { "image": "metis/metis_worker:v2", "scale": 2, "depends_on": ["api"] }
  }
}"#;

#[track_caller]
fn started() -> Stack {
    let stack = Stack::new(PAIR);
    stack.run(&["start"]).success();
    stack
}

/// The program at a terminal of this size. What is typed comes back as an echo, wherever the prompt stands just then: tests
/// type two quotes into a word that they wait for, which are gone in what the shell prints.
#[track_caller]
pub fn terminal(stack: &Stack, arguments: &[&str], columns: u16, rows: u16) -> PtySession {
    terminal_in(&stack.site, &[&["-f", "stack.json"], arguments].concat(), columns, rows)
}

/// The same in the folder of a site.
pub fn terminal_in(site: &Site, arguments: &[&str], columns: u16, rows: u16) -> PtySession {
    let mut command: Command = site.command(arguments);
    command.env("TERM", "xterm-256color");
    // The size must be there when the program looks: a shell waits for it, and becomes the program.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("stty cols {columns} rows {rows}; exec \"$@\"")).arg("sh").arg(command.get_program());
    shell.args(command.get_args()).current_dir(site.path()).env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    spawn_command(shell, Some(20_000)).unwrap()
}

#[track_caller]
pub fn exit_code(session: &PtySession) -> i32 {
    match session.process().wait().unwrap() {
        rexpect::process::WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn exec_gives_the_command_a_real_terminal_and_puts_this_one_back() {
    let stack = started();
    let mut session = terminal(&stack, &["exec", "api", "sh"], 91, 31);
    // An older engine sets the size when the shell runs already.
    session.send_line("until [ \"$(stty size)\" = '31 91' ]; do :; done; echo in:$(tty):$LEVEL").unwrap();
    session.exp_regex("in:/dev/pts/[0-9]+:info").unwrap();

    let master = session.process().get_file_handle().unwrap();
    let is_raw = || !tcgetattr(&master).unwrap().local_modes.contains(LocalModes::ICANON);
    assert!(is_raw(), "keys go through as they are");
    tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 133, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    session.send_line("until [ \"$(stty size)\" = '40 133' ]; do :; done; echo re''sized").unwrap();
    session.exp_string("resized").unwrap();

    // Ctrl-C reaches the command, not dpl.
    session.send_line("echo re''ads; cat").unwrap();
    session.exp_string("reads").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("^C").unwrap();
    session.exp_string("# ").unwrap();
    session.send_line("echo after''-interrupt").unwrap();
    session.exp_string("after-interrupt").unwrap();
    session.send_line("exit 42").unwrap();
    assert_eq!(exit_code(&session), 42);
    assert!(!is_raw(), "the terminal is as it was");
}

#[test]
fn exec_shows_a_terminal_bytes_that_look_like_the_head_of_a_frame() {
    let stack = started();
    let script = r"printf '\001\000\000\000\377\377\377\377'; echo; printf '\000\002bytes\n'; echo all of them";
    let mut session = terminal(&stack, &["exec", "api", "sh", "-c", script], 80, 24);
    session.exp_string("bytes").unwrap();
    session.exp_string("all of them").unwrap();
    assert_eq!(exit_code(&session), 0);
}

#[test]
fn exec_puts_the_terminal_back_when_it_is_told_to_end() {
    let stack = started();
    let mut session = terminal(&stack, &["exec", "api", "sh"], 80, 24);
    session.send_line("echo be''gun").unwrap();
    session.exp_string("begun").unwrap();
    let master = session.process().get_file_handle().unwrap();
    session.process_mut().signal(rexpect::process::Signal::SIGTERM).unwrap();
    assert_eq!(exit_code(&session), 130);
    assert!(tcgetattr(&master).unwrap().local_modes.contains(LocalModes::ICANON));
}

/// The engine has no call that ends a command: what is said is what it shows.
#[test]
fn exec_that_is_told_to_end_says_that_the_command_goes_on() {
    let stack = started();
    let mut command =
        stack.site.command(&["exec", "-f", "stack.json", "api", "sh", "-c", "echo begun; exec sleep 987"]);
    let said = std::fs::File::create(stack.site.file("said")).unwrap();
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(said).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = std::fs::read_to_string(stack.site.file("said")).unwrap();
    let name = stack.container("api");
    assert!(said.contains(&format!("the command goes on in container {name}")), "{said}");
    assert!(!said.contains("finished or as it was before"), "{said}");
    assert!(stack.docker(&["top", &name, "-eo", "pid,args"]).contains("sleep 987"));
}

/// One log that nobody keeps takes none of the others away, and is still a log that could not be read.
#[test]
fn logs_name_a_service_whose_driver_keeps_nothing_show_all_others_and_end_with_1() {
    let talks = |logging: &str| {
        format!(
            r#"{{ "image": "redis:7.0", "stop_signal": "SIGKILL", {logging} "command": ["sh", "-c", "echo hello; exec sleep 987"] }}"#
        )
    };
    let stack = Stack::new(&format!(
        r#"{{ "project": "PROJECT", "services": {{ "one": {}, "mute": {}, "two": {} }} }}"#,
        talks(""),
        talks(r#""logging": { "driver": "none" },"#),
        talks("")
    ));
    stack.run(&["start"]).success();
    let run = stack.run(&["logs"]).failure(1);
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    lines.sort();
    assert_eq!(lines, ["one  | hello", "two  | hello"], "{}", run.stderr);
    assert!(run.stderr.contains("mute") && run.stderr.matches("error: ").count() == 1, "{}", run.stderr);
    stack.run(&["logs", "one", "two"]).success();
    assert_eq!(stack.run(&["logs", "mute"]).failure(1).stdout, "");
}

#[test]
fn exec_without_a_terminal_pipes_what_comes_in_and_keeps_both_outputs_apart() {
    let stack = started();
    let flags = ["-f", "stack.json", "exec", "-e", "GREETING=你好", "-w", "/tmp", "-u", "1234:56", "api", "--"];
    let script = "cat; echo $GREETING $(pwd) $(id -u):$(id -g); tty >&2; exit 7";
    let run = stack.site.run_with_input(&[&flags[..], &["sh", "-c", script]].concat(), "one\ntwo\n").failure(7);
    assert_eq!(run.stdout, "one\ntwo\n你好 /tmp 1234:56\n");
    assert_eq!(run.stderr, "not a tty\n");

    // Bytes stay as they are, and none is lost at the end.
    let run = stack.site.run(&["-f", "stack.json", "exec", "1", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"]);
    assert_eq!((run.code, run.stdout.len()), (0, 3_000_000));
    // What the container lacks ends as it does in a shell.
    let run = stack.site.run(&["-f", "stack.json", "exec", "api", "no-such-program"]);
    assert!([126, 127].contains(&run.code), "{run:?}");
}

#[test]
fn exec_chooses_a_container_of_a_scaled_service_and_says_what_does_not_run() {
    let stack = started();
    let exec = |arguments: &[&str]| stack.site.run(&[&["-f", "stack.json", "exec"], arguments].concat());
    let name = |number: u32| {
        stack.docker(&["inspect", "--format", "{{.Config.Hostname}}", &format!("{}-worker-{number}", stack.project)])
    };
    assert_eq!(exec(&["--index", "2", "worker", "hostname"]).success().stdout.trim(), name(2));
    assert_eq!(exec(&["worker", "hostname"]).success().stdout.trim(), name(1));
    let run = exec(&["--index", "3", "worker", "hostname"]).failure(1);
    assert!(run.stderr.contains("service worker has no container of number 3"), "{}", run.stderr);
    let run = exec(&["all", "hostname"]).failure(2);
    assert!(run.stderr.contains("chooses several services"), "{}", run.stderr);
    stack.run(&["stop", "api"]).success();
    let run = exec(&["api", "true"]).failure(1);
    assert!(run.stderr.contains("is not running, it is exited"), "{}", run.stderr);
    let run = stack.site.run(&["-f", "stack.json", "--dry-run", "exec", "api", "rm", "-rf", "a b"]).success();
    assert_eq!(run.stderr, "this would run in api: rm -rf 'a b'\n");
}

/// A service that writes a numbered line every 50 ms.
const TALKER: &str = r#"{
  "project": "PROJECT",
  "defaults": { "stop_grace_period": "1s" },
  "services": {
    "talker": {
      "image": "expert/expert_api:latest",
      "environment": { "ROUND": "one", "PASSWORD": { "file": "password" } },
      "entrypoint": ["sh", "-c", "trap 'exit 0' TERM; n=0; while :; do n=$$((n+1)); echo $$ROUND $$n $$PASSWORD; [ $$((n % 10)) = 5 ] && echo trouble $$n >&2; sleep 0.05; done"]
    },
    "late": { "image": "expert/expert_ui:latest" }
  }
}"#;

#[track_caller]
fn talking() -> Stack {
    let stack = Stack::new(TALKER);
    stack.site.write("password", "hunter2secret");
    stack.run(&["start", "talker"]).success();
    stack
}

#[test]
fn following_goes_on_through_a_restart_a_replacement_and_a_late_start() {
    let stack = talking();
    let mut session = terminal(&stack, &["logs", "--follow", "--tail", "1"], 100, 30);
    session.exp_string("one ").unwrap();
    stack.docker(&["restart", "-t", "1", &stack.container("talker")]);
    session.exp_regex("one 1 ").unwrap();
    session.exp_regex("one 2 ").unwrap();
    stack.rewrite(&TALKER.replace("\"one\"", "\"two\""));
    stack.run(&["start", "talker"]).success();
    session.exp_regex("two 1 ").unwrap();
    stack.run(&["start", "late"]).success();
    session.exp_regex("late .*ready on port").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(exit_code(&session), 130);
}

#[test]
fn following_goes_on_through_the_engines_own_restart() {
    let engine = crate::support_engine::PrivateEngine::start(&[]);
    engine.take_image("expert/expert_api:latest");
    let text = TALKER.replace("\"stop_grace_period\"", "\"restart\": \"always\", \"stop_grace_period\"");
    let stack = Stack::on(&engine.address, &text);
    stack.site.write("password", "hunter2secret");
    stack.run(&["start", "talker"]).success();
    let mut session = terminal(&stack, &["logs", "talker", "--follow", "--tail", "1"], 100, 30);
    session.exp_regex("one [0-9]+ ").unwrap();
    engine.kill();
    engine.start_again();
    // The engine brings the container back, which counts from 1 again.
    session.exp_regex("one 1 ").unwrap();
    session.exp_regex("one 2 ").unwrap();
    // And of what comes after, nothing is missed.
    stack.rewrite(&text.replace("\"one\"", "\"two\""));
    stack.run(&["start", "talker"]).success();
    session.exp_regex("two 1 ").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(exit_code(&session), 130);
}

#[test]
fn logs_choose_by_time_and_pattern_and_merge_in_time_order() {
    let stack = talking();
    crate::support_engine::eventually("thirty lines", || {
        stack.run(&["logs", "talker"]).success().stdout.lines().count() > 30
    });
    let lines = |flags: &[&str]| -> Vec<serde_json::Value> {
        let run = stack.run(&[&["logs", "--json"], flags].concat()).success();
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    let times: Vec<&str> = all.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    let (from, to) = (times[10], times[20]);
    let middle = lines(&["--since", from, "--until", to]);
    assert_eq!(middle.len(), 11, "both ends are in");
    assert_eq!((&middle[0]["text"], &middle[10]["text"]), (&all[10]["text"], &all[20]["text"]));
    assert_eq!(lines(&["--since", "2h"])[0]["text"], all[0]["text"]);
    assert_eq!(lines(&["--since", "2001-01-01", "--until", "2001-01-02"]).len(), 0);

    let trouble = lines(&["--grep", "^trouble [0-9]+$"]);
    assert!(trouble.len() >= 3 && trouble.iter().all(|line| line["source"] == "stderr"), "{trouble:?}");
    let run = stack.run(&["logs", "--grep", "(", "talker"]).failure(2);
    assert!(run.stderr.contains("--grep"), "{}", run.stderr);
    stack.run(&["logs", "--since", "soon"]).failure(2);

    let shown = stack.run(&["logs", "--timestamps", "--tail", "3"]).success().stdout;
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.lines().all(|line| line.starts_with("talker | 20") && line.contains("Z ")), "{shown}");
    assert!(!shown.contains("hunter2secret"), "{shown}");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let stack = talking();
    let program = stack.site.command(&["-f", "stack.json", "logs", "--follow"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "{ \"$@\" 2>err; echo $? >code; } | head -n 2", "sh"]).arg(program.get_program());
    shell.args(program.get_args()).current_dir(stack.site.path()).env_clear();
    for (name, value) in program.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let read = |name: &str| std::fs::read_to_string(stack.site.file(name)).unwrap();
    assert_eq!((read("err").as_str(), read("code").as_str()), ("", "0\n"));
}

#[test]
fn status_is_drawn_again_and_leaves_the_terminal_as_it_was() {
    let stack = started();
    let mut session = terminal(&stack, &["status", "--watch", "--color", "never"], 100, 30);
    session.exp_string("\u{1b}[?1049h").unwrap();
    session.exp_string("2").unwrap();
    stack.run(&["stop", "worker"]).success();
    session.exp_regex("worker .*exited").unwrap();
    let master = session.process().get_file_handle().unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 2, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    session.exp_string("more lines").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("\u{1b}[?25h\u{1b}[?1049l").unwrap();
    assert_eq!(exit_code(&session), 130);
    let run = stack.run(&["status", "--watch"]).failure(2);
    assert!(run.stderr.contains("needs a terminal"), "{}", run.stderr);
}

#[test]
fn status_says_state_image_drift_and_use() {
    let stack = started();
    stack.docker(&["kill", &format!("{}-worker-2", stack.project)]);
    stack.rewrite(&PAIR.replace("\"info\"", "\"debug\""));
    let document = stack.run(&["status", "--stats", "--json"]).success().json();
    let [api, worker] = [0, 1].map(|place| document["services"][place].clone());
    assert_eq!((&api["drift"][0], &worker["state"]), (&"environment.LEVEL".into(), &"partial".into()));
    assert_eq!((&worker["running"], &worker["wanted"]), (&1.into(), &2.into()));
    assert!(api["containers"][0]["usage"]["memory_bytes"].as_u64().unwrap() > 0);
    let table = stack.run(&["status", "--stats"]).success().stdout;
    assert!(
        table.contains("1 of 2 running") && table.contains("environment.LEVEL") && table.contains(" % "),
        "{table}"
    );
}

#[test]
fn stats_are_those_of_docker_stats() {
    let stack = Stack::new(&PAIR.replace("\"depends_on\"", "\"mem_limit\": \"64m\", \"depends_on\""));
    stack.run(&["start"]).success();
    // Something to measure: one CPU's worth of work, memory that stays, and bytes on the network.
    let name = stack.container("worker");
    stack.docker(&["exec", "-d", &name, "sh", "-c", "head -c 20000000 /dev/zero >/dev/shm/x; while :; do :; done"]);
    crate::support_engine::eventually("the same numbers", || {
        let document = stack.run(&["stats", "--json"]).success().json();
        let containers = document["containers"].as_array().unwrap();
        let ours = &containers.iter().find(|container| container["name"] == name.as_str()).unwrap()["usage"];
        let theirs = stack.docker(&["stats", "--no-stream", "--format", "{{json .}}", &name]);
        let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
        let percent = |text: &serde_json::Value| text.as_str().unwrap().trim_end_matches('%').parse::<f64>().unwrap();
        let mib = |text: &str| {
            let number: f64 = text.trim_end_matches(|letter: char| letter.is_alphabetic()).parse().unwrap();
            number
                * if text.ends_with("GiB") {
                    1024.0
                } else if text.ends_with("KiB") {
                    1.0 / 1024.0
                } else {
                    1.0
                }
        };
        let (used, _) = theirs["MemUsage"].as_str().unwrap().split_once(" / ").unwrap();
        let bytes = ours["memory_bytes"].as_u64().unwrap_or_default() as f64 / 1048576.0;
        let cpu = ours["cpu_percent"].as_f64().unwrap_or_default();
        ours["pids"].as_u64().map(|pids| pids.to_string()).as_deref() == theirs["PIDs"].as_str()
            && (bytes - mib(used)).abs() < 2.0
            && bytes > 19.0
            && cpu > 5.0
            && percent(&theirs["CPUPerc"]) > 5.0
    });
    let document = stack.run(&["stats", "worker", "--json"]).success().json();
    assert_eq!(document["containers"].as_array().unwrap().len(), 2);
    // A kernel that holds memory limits shows them.
    let limit = document["containers"][0]["usage"]["memory_limit_bytes"].as_u64().unwrap();
    assert!(limit >= 64 << 20, "{limit}");
    let table = stack.run(&["stats", "--no-stream"]).success().stdout;
    assert_eq!(table.lines().count(), 4);
}

#[test]
fn doctor_names_what_stands_in_the_way_and_what_to_do() {
    let port = crate::support_engine::free_port();
    let held = crate::support_engine::free_port();
    let stack = Stack::new(
        &r#"{ "project": "PROJECT", "paths": { "images": "no-such-folder" }, "services": {
          "api": { "image": "expert/expert_api:latest", "stop_grace_period": "1s", "ports": ["127.0.0.1:PORT:8080"] },
          "page": { "image": "expert/expert_ui:latest", "ports": ["127.0.0.1:HELD:8080"],
            "volumes": [{ "type": "bind", "source": "./not-there", "target": "/data" }] },
          "gpu": { "image": "expert/expert_api:latest",
            "gpus": [{ "driver": "nvidia", "count": "all", "capabilities": ["gpu"], "required": true }] },
          "old": { "image": "expert/expert_api:latest", "stop_grace_period": "1s" } } }"#
            .replace("PORT:8080", &format!("{port}:8080"))
            .replace("HELD", &held.to_string()),
    );
    stack.run(&["start", "api", "old"]).success();
    let manifest = std::fs::read_to_string(stack.site.file("stack.json")).unwrap();
    stack.rewrite(&manifest.replace("\"old\": {", "\"new\": {"));
    let _listener = std::net::TcpListener::bind(("127.0.0.1", held)).unwrap();

    let run = stack.run(&["doctor", "--json"]).failure(1);
    let document = run.json();
    let of = |name: &str| -> Vec<(String, String)> {
        let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
        checks
            .map(|check| {
                let verdict = check["verdict"].as_str().unwrap().to_owned();
                assert!(verdict == "ok" || check["advice"].is_string(), "{check}");
                (verdict, check["found"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    let problem = |found: String| vec![("problem".to_owned(), found)];
    let ports = of("ports");
    assert!(ports.len() == 1 && ports[0].0 == "problem", "{ports:?}");
    assert!(ports[0].1.starts_with(&format!("page wants port {held}/tcp, which process ")), "{ports:?}");
    assert_eq!(of("gpu"), problem("the engine gives no GPU to containers".to_owned()));
    let folders = of("folders");
    assert!(
        folders.iter().any(|(verdict, found)| verdict == "warning" && found.contains("no-such-folder")),
        "{folders:?}"
    );
    assert!(folders.iter().any(|(verdict, found)| verdict == "problem" && found.contains("not-there")), "{folders:?}");
    let containers = |service: &str| stack.container(service);
    assert!(of("orphans")[0].1.ends_with(&containers("old")));
    let logs = &of("logs")[0];
    assert!(logs.0 == "warning" && logs.1.contains(&containers("api")), "{logs:?}");
    assert_eq!(of("clock")[0].0, "ok");
    assert!(of("cgroups")[0].1.starts_with('v'));

    // A port that another container holds is told with the container's name.
    stack.docker(&["stop", "-t", "1", &containers("api")]);
    let other = crate::support_engine::unique("holder");
    let publish = format!("127.0.0.1:{port}:8080");
    stack.docker(&["run", "-d", "--name", &other, "-p", &publish, "expert/expert_api:latest"]);
    let run = stack.run(&["doctor"]).failure(1);
    stack.docker(&["rm", "-f", &other]);
    assert!(run.stdout.contains(&format!("which container {other} holds")), "{}", run.stdout);
    let left = stack.docker(&["ps", "-aq", "--filter", &format!("label=dpl.probe={}", stack.project)]);
    assert_eq!(left, "", "the probe is gone");
}

#[test]
fn doctor_warns_of_an_image_for_another_architecture() {
    let image = format!("{}:1", crate::support_engine::unique("other-machine"));
    let layer = tar_of(&[("file".to_owned(), image.clone().into_bytes())]);
    let config = serde_json::json!({"architecture": "s390x", "os": "linux", "config": {"Cmd": ["/file"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]}});
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [image], "Layers": ["l/layer.tar"]}]);
    let archive = tar_of(&[
        ("l/layer.tar".to_owned(), layer),
        ("c.json".to_owned(), config.to_string().into_bytes()),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ]);
    let text = r#"{"project": "PROJECT", "paths": {"images": "images"},
        "services": {"a": {"image": "IMAGE"}, "b": {"image": "expert/expert_api:latest"}}}"#;
    let stack = Stack::new(&text.replace("IMAGE", &image));
    std::fs::create_dir(stack.site.file("images")).unwrap();
    std::fs::write(stack.site.file("images/image.tar"), archive).unwrap();
    // Where only the store has it, and on the engine.
    let stored = stack.run(&["doctor", "--json"]).json();
    let told = |check: &serde_json::Value| {
        let found = check["found"].as_str().unwrap();
        check["name"] == "images" && found.starts_with(&format!("{image} is an image for s390x, and the machine is "))
    };
    assert!(stored["checks"].as_array().unwrap().iter().any(told), "{stored}");
    let planned = stack.run(&["plan", "a"]).success();
    assert!(planned.stderr.contains(&format!("warning: {image} is an image for s390x")), "{}", planned.stderr);
    let loaded = stack.run(&["load", "a"]).success();
    assert!(loaded.stderr.contains(&format!("{image} is an image for s390x")), "{}", loaded.stderr);
    let run = stack.run(&["doctor", "--json"]);
    stack.docker(&["image", "rm", &image]);
    let document = run.json();
    let checks = document["checks"].as_array().unwrap();
    let images: Vec<_> = checks.iter().filter(|check| check["name"] == "images").collect();
    assert_eq!(images.len(), 1, "{document}");
    assert_eq!(images[0]["verdict"], "warning", "{document}");
    let found = images[0]["found"].as_str().unwrap();
    assert!(found.starts_with("for s390x and not for ") && found.ends_with(&image), "{found}");
    assert!(images[0]["advice"].is_string(), "{document}");
    // A start that loads it says it once.
    let run = stack.run(&["start", "a"]);
    stack.docker(&["rm", "-f", &stack.container("a")]);
    stack.docker(&["image", "rm", "-f", &image]);
    assert_eq!(run.stderr.matches("is an image for s390x").count(), 1, "{}", run.stderr);
}

#[test]
fn doctor_names_what_killed_runs_have_left() {
    let text = PAIR.replace("\"info\"", "\"debug\"");
    let mut stack = started();
    stack.rewrite(&text);
    // Killed between the old container's stepping aside and the new one's proof.
    stack.site.set("DPL_FAILPOINT", "services.execute.after-start");
    stack.run(&["restart", "api"]);
    stack.site.set("DPL_FAILPOINT", "");
    let helper = format!("{}.dpl-helper-left", stack.project);
    let label = format!("dpl.probe={}", stack.project);
    stack.docker(&["create", "--name", &helper, "--label", &label, "expert/expert_api:latest"]);
    let document = stack.run(&["doctor", "--json"]).json();
    let leftovers = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "leftovers").unwrap();
    let found = leftovers["found"].as_str().unwrap();
    let kept = format!("{}.dpl-kept", stack.container("api"));
    assert!(leftovers["verdict"] == "warning" && found.contains(&kept) && found.contains(&helper), "{leftovers}");

    // What it advises brings it in order; a helper goes with the next one that is needed.
    stack.run(&["restart", "api"]).success();
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={kept}")]), "");
    stack.docker(&["rm", "-f", &helper]);
    let document = stack.run(&["doctor", "--json"]).json();
    assert!(!document["checks"].as_array().unwrap().iter().any(|check| check["name"] == "leftovers"), "{document}");
}

#[test]
fn doctor_names_volumes_that_no_container_uses_and_no_manifest_names() {
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "volumes": { "kept": {} },
        "services": {
          "cache": { "image": "redis:7.0" }, "old": { "image": "redis:7.0", "volumes": ["kept:/kept"] } } }"#;
    let stack = Stack::new(text);
    stack.run(&["start", "old"]).success();
    let volumes = || {
        let document = stack.run(&["doctor", "--json"]).json();
        let checks = document["checks"].as_array().unwrap().clone();
        checks.into_iter().filter(|check| check["name"] == "volumes").collect::<Vec<_>>()
    };
    assert_eq!(volumes().len(), 0, "a container uses it");
    stack.rewrite(r#"{ "project": "PROJECT", "services": { "cache": { "image": "redis:7.0" } } }"#);
    stack.run(&["remove", "--orphans", "--yes"]).success();
    let found = volumes();
    assert!(found.len() == 1 && found[0]["verdict"] == "warning", "{found:?}");
    assert!(found[0]["found"].as_str().unwrap().ends_with(&format!("{}_kept", stack.project)), "{found:?}");
    // Another manifest of the project names it.
    stack.site.write("other.json", &text.replace("PROJECT", &stack.project));
    assert_eq!(volumes().len(), 0);
}
