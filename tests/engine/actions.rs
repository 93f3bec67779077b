//! `plan`, `start`, `restart` and `remove` with all their words, and what is found before anything is touched.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::{Run, side_by_side};
use crate::support_engine::{Stack, docker_on, eventually, free_port, unique};

/// A web server, whose version its environment says, on top of a Redis.
fn pair(port: u16, version: &str) -> String {
    r#"{ "project": "PROJECT",
      "defaults": { "stop_grace_period": "2s", "restart": "unless-stopped" },
      "services": {
        "cache": { "image": "redis:7.0", "ready": { "tcp": 6379 } },
        "web": { "image": "expert/expert_ui:latest", "environment": { "VERSION": "NEWEST" }, "ports": ["WEBPORT:80"],
                 "depends_on": { "cache": { "condition": "service_healthy" } },
                 "ready": { "http": { "port": 80, "path": "/health" }, "timeout": "20s" } }
      } }"#
        .replace("WEBPORT", &port.to_string())
        .replace("NEWEST", version)
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = String::new();
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}

/// The same, of the project's image that can't come up.
fn broken(text: &str) -> String {
    text.replace("\"ports\"", "\"entrypoint\": [\"sh\", \"-c\", \"echo no licence; exit 4\"], \"ports\"")
}

#[test]
fn plan_says_by_its_exit_code_whether_there_is_work() {
    let stack = Stack::new(&pair(free_port(), "1"));
    stack.run(&["plan"]).success();
    stack.run(&["plan", "--exit-code"]).failure(6);
    stack.run(&["start"]).success();
    stack.run(&["plan", "--exit-code"]).success();
    // Waiting is no work.
    stack.docker(&["restart", "-t", "1", &stack.container("cache")]);
    stack.run(&["plan", "--exit-code"]).success();
    stack.docker(&["stop", "-t", "1", &stack.container("cache")]);
    stack.run(&["plan", "web", "--exit-code"]).failure(6);
    stack.run(&["plan", "web", "--no-deps", "--exit-code"]).success();
    stack.run(&["plan", "web", "--no-deps", "--force-recreate", "--exit-code", "--json"]).failure(6).json();
}

#[test]
fn images_that_nobody_has_are_all_named_and_hide_nothing_of_the_plan_for_the_other_services() {
    let (one, two) = (unique("lost"), unique("lost"));
    let services = format!(r#""one": {{ "image": "{one}:1" }}, "two": {{ "image": "{two}:1" }}, "cache": "#);
    let text = pair(free_port(), "1").replacen(r#""cache": "#, &services, 1);
    let stack = Stack::new(&text.replacen(r#""defaults""#, r#""paths": { "images": "store" }, "defaults""#, 1));
    let planned = |run: &Run| {
        let plan = run.json();
        let steps = plan["steps"].as_array().unwrap().clone();
        for (place, step) in steps.iter().enumerate() {
            assert_eq!(step["id"], place, "{plan}");
            assert!(step["after"].as_array().unwrap().iter().all(|after| after["step"].as_u64() < step["id"].as_u64()));
        }
        let services = steps.iter().filter_map(|step| Some(step["service"].as_str()?.to_owned()));
        services.collect::<std::collections::BTreeSet<String>>()
    };
    for look in [&["plan"][..], &["start", "--dry-run"], &["plan", "--json"], &["start", "--dry-run", "--json"]] {
        let run = stack.run(look).failure(1);
        for said in [format!("one: the engine has no image {one}:1"), format!("two: the engine has no image {two}:1")] {
            assert!(run.stderr.contains(&said), "{look:?}: {}", run.stderr);
        }
        // That the store itself is not there is more than that the images are not in it.
        assert!(
            run.stderr.contains("store is not a usable image store: it does not exist"),
            "{look:?}: {}",
            run.stderr
        );
        match look.contains(&"--json") {
            true => assert_eq!(planned(&run).into_iter().collect::<Vec<_>>(), ["cache", "web"], "{look:?}"),
            false => assert!(run.stdout.contains(&stack.container("cache")), "{look:?}: {}", run.stdout),
        }
    }
    // One of them can be loaded: it is in the plan, and the other one is missing.
    fs::create_dir(stack.site.file("store")).unwrap();
    stack.docker(&["tag", "redis:7.0", &format!("{one}:1")]);
    stack.docker(&["save", "-o", stack.site.file("store/x.tar").to_str().unwrap(), &format!("{one}:1")]);
    stack.docker(&["rmi", &format!("{one}:1")]);
    let run = stack.run(&["plan", "--json"]).failure(1);
    assert!(!run.stderr.contains("one: the engine has no image"), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("two: the engine has no image {two}:1")), "{}", run.stderr);
    assert_eq!(planned(&run).into_iter().collect::<Vec<_>>(), ["cache", "one", "web"]);
    // Where nothing else is to be done, there is nothing to show.
    let run = stack.run(&["plan", "two"]).failure(1);
    assert!(run.stdout.is_empty() && run.stderr.contains("two: the engine has no image"), "{}", run.stderr);
}

#[test]
fn words_of_start_leave_dependencies_alone_recreate_and_do_not_wait() {
    let stack = Stack::new(&pair(free_port(), "1"));
    stack.run(&["start", "web", "--no-deps", "--no-wait"]).success();
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}-cache", stack.project)]), "");
    let web = stack.inspect("web", "{{.Id}}");
    stack.run(&["start"]).success();
    assert_eq!(stack.inspect("web", "{{.Id}}"), web);
    let cache = stack.inspect("cache", "{{.Id}}");
    stack.run(&["start", "web", "--force-recreate"]).success();
    assert_ne!(stack.inspect("web", "{{.Id}}"), web);
    assert_eq!(stack.inspect("cache", "{{.Id}}"), cache, "only what was chosen is recreated");
    stack.run(&["start", "--no-wait", "--wait-timeout", "3s"]).failure(2);

    // What would never be ready is left to itself.
    stack.rewrite(&pair(free_port(), "1").replace("\"/health\"", "\"/nowhere\"").replace("\"web\"", "\"other\""));
    let run = stack.run(&["start", "other", "--wait-timeout", "1500ms"]).failure(1);
    assert!(run.stderr.contains("is not ready after") && run.stderr.contains("/nowhere answers 404"), "{}", run.stderr);
    stack.run(&["remove", "other", "--yes"]).success();
    stack.run(&["start", "other", "--no-wait"]).success();
    assert_eq!(stack.inspect("other", "{{.State.Running}}"), "true");
}

#[test]
fn a_failed_replacement_is_kept_for_a_look_and_goes_with_the_next_one() {
    let port = free_port();
    let stack = Stack::new(&pair(port, "1"));
    stack.run(&["start"]).success();
    let before = stack.inspect("web", "{{.Id}}");
    stack.rewrite(&broken(&pair(port, "2")));
    let run = stack.run(&["restart", "web", "--keep-failed"]).failure(1);
    assert!(run.stderr.contains("log: no licence") && run.stderr.contains("exit code 4"), "{}", run.stderr);
    assert!(run.stderr.contains("the old container is back as it was"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.Running}}"), format!("{before} true"));
    eventually("the old one serves", || answers(port));
    let failed = format!("{}.dpl-failed", stack.container("web"));
    assert!(run.stderr.contains(&format!("kept, stopped, as {failed}")), "{}", run.stderr);
    assert!(stack.docker(&["logs", &failed]).contains("no licence"));
    let policy =
        stack.docker(&["inspect", "--format", "{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}", &failed]);
    assert_eq!(policy, "no false");

    stack.rewrite(&pair(port, "3"));
    stack.run(&["restart", "web"]).success();
    assert!(answers(port));
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={failed}")]), "");
}

#[test]
fn remove_takes_volumes_networks_and_orphans_by_word_alone_and_asks_naming_them() {
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "volumes": { "data": {}, "more": {} },
        "services": { "a": { "image": "redis:7.0", "volumes": ["data:/data"] },
                      "b": { "image": "redis:7.0", "volumes": ["more:/data"] } } }"#;
    let stack = Stack::new(text);
    stack.run(&["start"]).success();
    stack.rewrite(
        &text
            .replace(r#""b": { "image": "redis:7.0", "volumes": ["more:/data"] }"#, r#""c": { "image": "redis:7.0" }"#),
    );
    let left = |list: &[&str]| {
        let filter = format!("label=com.docker.compose.project={}", stack.project);
        stack.docker(&[list, &["-q", "--filter", &filter]].concat()).lines().count()
    };
    let run = stack.run(&["remove", "a", "--volumes", "--orphans"]).failure(2);
    assert!(run.stderr.contains(&format!("remove volume {}_data", stack.project)), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("remove {}-b-1", stack.project)), "{}", run.stderr);
    assert_eq!(left(&["ps", "-a"]), 2);

    stack.run(&["remove", "a", "--yes"]).success();
    assert_eq!((left(&["ps", "-a"]), left(&["volume", "ls"]), left(&["network", "ls"])), (1, 2, 1));
    stack.run(&["remove", "a", "--orphans", "--networks", "--yes"]).success();
    assert_eq!((left(&["ps", "-a"]), left(&["volume", "ls"]), left(&["network", "ls"])), (0, 2, 0));
    stack.run(&["remove", "a", "--volumes", "--yes"]).success();
    assert_eq!(
        stack.docker(&["volume", "ls", "-q", "--filter", &format!("name={}_", stack.project)]),
        format!("{}_more", stack.project)
    );
    // Each command as it could be typed again.
    let history = stack.run(&["history"]).success().stdout;
    for command in ["dpl remove a --volumes", "dpl remove a --networks --orphans", "dpl remove a "] {
        let words: Vec<&str> = command.split(' ').collect();
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        assert!(history.lines().any(|line| has(&line)), "no `{command}` in: {history}");
    }
}

/// A container that somebody made by hand, with data in an anonymous volume.
fn stranger(stack: &Stack, name: &str, more: &[&str]) -> String {
    let arguments =
        [&["run", "-d", "--name", name, "--restart", "always", "-v", "/keep"], more, &["redis:7.0"]].concat();
    let id = stack.docker(&arguments);
    stack.docker(&["exec", name, "sh", "-c", "echo by hand >/keep/note"]);
    id
}

fn discard(stack: &Stack, name: &str) {
    let _ = Command::new("docker").args(["rm", "-f", "-v", name]).env("DOCKER_HOST", &stack.engine).output();
}

fn one(extra: &str) -> String {
    r#"{ "project": "PROJECT", "services": { "cache": { "image": "redis:7.0", "volumes": ["/keep"], "restart": "unless-stopped",
        "stop_grace_period": "2s", "ready": { "tcp": 6379, "timeout": "10s" }EXTRA } } }"#
        .replace("EXTRA", extra)
}

const FAILS: &str = r#", "entrypoint": ["sh", "-c", "exit 5"]"#;

#[test]
fn a_container_made_by_hand_is_taken_over_only_when_asked_and_comes_back_when_its_successor_fails() {
    let stack = Stack::new(&one(FAILS));
    let name = stack.container("cache");
    let by_hand = stranger(&stack, &name, &[]);
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("dpl did not create it: `dpl start --adopt cache` takes it over"), "{}", run.stderr);
    let plan = stack.run(&["plan", "--adopt"]).success();
    assert!(plan.stdout.contains("it is taken over"), "{}", plan.stdout);
    assert_eq!(stack.inspect("cache", "{{.Id}} {{.State.Running}}"), format!("{by_hand} true"));

    stack.run(&["start", "--adopt"]).failure(1);
    let state = stack.inspect("cache", "{{.Id}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(state, format!("{by_hand} true always"));

    stack.rewrite(&one(""));
    stack.run(&["start", "--adopt"]).success();
    assert_ne!(stack.inspect("cache", "{{.Id}}"), by_hand);
    assert_eq!(stack.docker(&["exec", &name, "cat", "/keep/note"]), "by hand");
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={name}")]).lines().count(), 1);
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn a_takeover_that_was_killed_is_brought_to_its_end() {
    let points = [
        "after-create",
        "after-stop",
        "after-policy",
        "after-rename:1",
        "after-rename:2",
        "after-start",
        "before-remove",
    ];
    side_by_side(4, &points, |&point| {
        let mut stack = Stack::new(&one(""));
        let name = stack.container("cache");
        stranger(&stack, &name, &[]);
        stack.site.set("DPL_FAILPOINT", format!("services.execute.{point}"));
        let killed = stack.run(&["start", "--adopt"]);
        assert_eq!(killed.code, -1, "{point}: {}", killed.stderr);
        stack.site.set("DPL_FAILPOINT", "");
        // First something that can't work: the container that served before has to serve again, with the policy that it had.
        stack.rewrite(&one(FAILS));
        if !matches!(point, "before-remove" | "after-start") {
            stack.run(&["start", "--adopt"]).failure(1);
            let state = stack.inspect("cache", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}");
            assert_eq!(state, "true always", "{point}");
        }
        stack.rewrite(&one(""));
        stack.run(&["start", "--adopt"]).success();
        assert_eq!(stack.docker(&["exec", &name, "cat", "/keep/note"]), "by hand", "{point}");
        let left = stack.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("name={name}")]);
        assert_eq!(left, name, "{point}");
        assert_eq!(stack.inspect("cache", "{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped", "{point}");
        discard(&stack, &name);
    });
}

#[test]
fn what_nothing_could_bring_back_or_is_another_projects_is_not_taken_over() {
    let stack = Stack::new(&one(""));
    let name = stack.container("cache");
    stack.docker(&["run", "-d", "--rm", "--name", &name, "redis:7.0"]);
    let run = stack.run(&["start", "--adopt"]).failure(1);
    assert!(run.stderr.contains("was started with --rm"), "{}", run.stderr);
    assert_eq!(stack.inspect("cache", "{{.State.Running}}"), "true");
    discard(&stack, &name);

    let other = Stack::new(&one(&format!(r#", "container_name": "{name}""#)));
    other.run(&["start"]).success();
    let run = stack.run(&["start", "--adopt"]).failure(1);
    assert!(run.stderr.contains(&format!("container {name} belongs to project {}", other.project)), "{}", run.stderr);
    discard(&stack, &name);
}

/// For a moment, a port that is tried is a port that is taken.
#[test]
fn a_plan_opens_none_of_the_ports_that_it_looks_at() {
    let port = free_port();
    let stack = Stack::new(&pair(port, "1"));
    let opens = |arguments: &[&str]| {
        let program = stack.site.command(&[arguments, &["-f", "stack.json"]].concat());
        let mut traced = std::process::Command::new("strace");
        traced.args(["--follow-forks", "-qqq", "--trace=bind", "--output=trace"]);
        traced.arg(program.get_program()).args(program.get_args()).current_dir(stack.site.path()).env_clear();
        traced.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = traced.output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        std::fs::read_to_string(stack.site.file("trace")).unwrap().contains(&format!("htons({port})"))
    };
    for look in [&["plan"][..], &["start", "--dry-run"], &["status"]] {
        assert!(!opens(look), "{look:?}");
    }
    assert!(opens(&["start"]), "who is about to take it tries it first");
}

#[test]
fn a_port_that_somebody_holds_is_named_with_its_holder_before_anything_stops() {
    let (old, new) = (free_port(), free_port());
    let stack = Stack::new(&pair(old, "1"));
    stack.run(&["start"]).success();
    let before = stack.inspect("web", "{{.Id}} {{.State.StartedAt}}");

    let listener = TcpListener::bind(("127.0.0.1", new)).unwrap();
    stack.rewrite(&pair(new, "1"));
    let held = format!("web: port {new}/tcp of the host is in use by process");
    for command in [vec!["restart", "web"], vec!["plan"], vec!["restart", "web", "--dry-run"]] {
        let run = stack.run(&command).failure(1);
        assert!(run.stderr.contains(&held), "{}", run.stderr);
        assert!(run.stderr.contains(&format!("({})", std::process::id())), "{}", run.stderr);
    }
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.StartedAt}}"), before);
    // Another address and another protocol are other ports.
    for other in [format!("127.0.0.2:{new}:80"), format!("127.0.0.1:{new}:80/udp")] {
        stack.rewrite(&pair(new, "1").replace(&format!("{new}:80"), &other));
        stack.run(&["plan"]).success();
    }
    drop(listener);
    let socket = UdpSocket::bind(("0.0.0.0", new)).unwrap();
    stack.rewrite(&pair(new, "1").replace(&format!("{new}:80"), &format!("127.0.0.1:{new}:80/udp")));
    let run = stack.run(&["plan"]).failure(1);
    assert!(
        run.stderr.contains(&format!("port 127.0.0.1:{new}/udp of the host is in use by process")),
        "{}",
        run.stderr
    );
    drop(socket);

    let other = unique("holder");
    stack.docker(&["run", "-d", "--rm", "--name", &other, "-p", &format!("{new}:6379"), "redis:7.0"]);
    stack.rewrite(&pair(new, "1"));
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(
        run.stderr.contains(&format!("port {new}/tcp of the host is in use by container {other}")),
        "{}",
        run.stderr
    );
    discard(&stack, &other);
    stack.rewrite(&pair(new, "1").replace(&format!("{new}:80"), &format!("192.0.2.77:{new}:80")));
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(run.stderr.contains("the host has no address 192.0.2.77"), "{}", run.stderr);

    // What our own old container holds is given up in time.
    stack.rewrite(&pair(old, "2"));
    stack.run(&["restart", "web"]).success();
    assert!(answers(old));
}

#[test]
fn a_port_that_moves_from_one_service_to_another_is_given_up_first() {
    let (port, other) = (free_port(), free_port());
    let two = |one: u16, two: u16| {
        let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": {
            "one": { "image": "expert/expert_ui:latest", "ports": ["PORT1:80"], "ready": { "http": { "port": 80, "path": "/health" } } },
            "two": { "image": "expert/expert_ui:latest", "ports": ["PORT2:80"], "ready": { "http": { "port": 80, "path": "/health" } } } } }"#;
        text.replace("PORT1", &one.to_string()).replace("PORT2", &two.to_string())
    };
    let third = free_port();
    let stack = Stack::new(&two(port, other));
    stack.run(&["start"]).success();
    stack.rewrite(&two(third, port));
    stack.run(&["start"]).success();
    assert!(answers(port) && answers(third));
    stack.rewrite(&two(port, third));
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("releases it only later: stop two first"), "{}", run.stderr);
    assert!(answers(port) && answers(third));
}

#[test]
fn data_of_another_postgresql_are_refused_before_anything_stops() {
    let text = |mount: &str| {
        let text = r#"{ "project": "PROJECT", "volumes": { "data": {} }, "services": { "db": { "image": "postgres:15",
            "environment": { "POSTGRES_PASSWORD": "x", "ROUND": "1" }, "volumes": ["MOUNT"], "stop_grace_period": "10s",
            "ready": { "tcp": 5432 } } } }"#;
        text.replace("MOUNT", mount)
    };
    let target = "/var/lib/postgresql/data";
    let stack = Stack::new(&text(&format!("./pg:{target}")));
    fs::create_dir(stack.site.file("pg")).unwrap();
    stack.site.write("pg/PG_VERSION", "14\n");
    for command in ["plan", "start"] {
        let run = stack.run(&[command]).failure(1);
        assert!(
            run.stderr.contains("were written by PostgreSQL 14, and postgres:15 is PostgreSQL 15"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]), "");

    stack.rewrite(&text(&format!("data:{target}")));
    stack.run(&["start"]).success();
    let before = stack.inspect("db", "{{.Id}} {{.State.StartedAt}}");
    stack.docker(&[
        "exec",
        "-u",
        "postgres",
        &stack.container("db"),
        "sh",
        "-c",
        &format!("echo 13 >{target}/PG_VERSION"),
    ]);
    stack.rewrite(&text(&format!("data:{target}")).replace("\"1\"", "\"2\""));
    let run = stack.run(&["restart", "db"]).failure(1);
    let volume = format!("the data in volume {}_data were written by PostgreSQL 13", stack.project);
    assert!(run.stderr.contains(&volume), "{}", run.stderr);
    assert_eq!(stack.inspect("db", "{{.Id}} {{.State.StartedAt}}"), before);

    // Another machine's volumes are read by a container that never starts.
    let far = Proxy::before(&stack.engine);
    let run = stack.site.run(&["restart", "db", "-f", "stack.json", "-H", &far.address]).failure(1);
    assert!(run.stderr.contains(&volume), "{}", run.stderr);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("label=dpl.probe={}", stack.project)]), "");

    stack.docker(&[
        "exec",
        "-u",
        "postgres",
        &stack.container("db"),
        "sh",
        "-c",
        &format!("echo 15 >{target}/PG_VERSION"),
    ]);
    stack.run(&["restart", "db"]).success();
}

/// The engine behind an address that may be anywhere.
struct Proxy {
    address: String,
}

impl Proxy {
    fn before(engine: &str) -> Self {
        let socket = engine.strip_prefix("unix://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = UnixStream::connect(&socket) else { continue };
                let (mut near_in, mut far_in) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (mut near_out, mut far_out) = (near, far);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut near_in, &mut far_out);
                    let _ = far_out.shutdown(std::net::Shutdown::Write);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut far_in, &mut near_out);
                    let _ = near_out.shutdown(std::net::Shutdown::Write);
                });
            }
        });
        Self { address }
    }
}

#[test]
fn ports_and_folders_of_another_machine_are_looked_at_over_there() {
    let port = free_port();
    let text = |port: u16| {
        let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": { "web": { "image": "expert/expert_ui:latest",
            "ports": ["PORT:80"], "ready": { "http": { "port": 80, "path": "/health" } }, "volumes": [
            { "type": "bind", "source": "./there", "target": "/there" },
            { "type": "bind", "source": "./not-there", "target": "/not-there" }, "./made:/made" ] } } }"#;
        text.replace("PORT", &port.to_string())
    };
    let stack = Stack::new(&text(port));
    fs::create_dir(stack.site.file("there")).unwrap();
    let far = Proxy::before(&stack.engine);
    let run = |arguments: &[&str]| stack.site.run(&[arguments, &["-f", "stack.json", "-H", &far.address]].concat());
    let plan = run(&["plan"]).success();
    assert!(plan.stderr.contains("another machine, were not looked at"), "{}", plan.stderr);

    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let failed = run(&["start"]).failure(1);
    assert!(failed.stderr.contains("SITE/not-there, to be mounted at /not-there, does not exist"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("to be mounted at /there, does not exist"), "{}", failed.stderr);
    assert!(
        failed.stderr.contains(&format!("port {port}/tcp of the host is in use by a process")),
        "{}",
        failed.stderr
    );
    drop(listener);
    fs::create_dir(stack.site.file("not-there")).unwrap();
    let started = run(&["start"]).success();
    assert!(started.stderr.contains("/made does not exist and will be created"), "{}", started.stderr);
    assert!(stack.site.file("made").is_dir() && answers(port));
    let helpers = stack.docker(&["ps", "-aq", "--filter", &format!("label=dpl.probe={}", stack.project)]);
    assert_eq!(helpers, "");
}

/// Runs `dpl` where no network of the engine is seen.
fn run_outside(stack: &Stack, arguments: &[&str]) -> Run {
    let inner = stack.site.command(&[arguments, &["-f", "stack.json"]].concat());
    let mut command = Command::new("unshare");
    command.arg("--net").arg(inner.get_program()).args(inner.get_args()).current_dir(stack.site.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn probes_of_containers_that_are_out_of_reach_are_made_from_their_own_network() {
    // An image with nothing but a server: no shell, no tool.
    let image = unique("bare");
    let engine = crate::support_engine::shared_engine();
    let made = Command::new("sh")
        .args([
            "-c",
            "cp /bin/busybox \"$1/busybox\" && tar -C \"$1\" -c busybox | docker -H \"$2\" import - \"$3:1\"",
            "sh",
        ])
        .arg(tempfile::tempdir().unwrap().keep())
        .args([&engine, &image])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": {
        "bare": { "image": "BARE:1", "entrypoint": ["/busybox", "httpd", "-f", "-p", "80", "-h", "/"],
                  "ready": { "http": { "port": 80, "path": "/busybox" }, "timeout": "20s" } },
        "plain": { "image": "BARE:1", "entrypoint": ["/busybox", "httpd", "-f", "-p", "81", "-h", "/"],
                   "ready": { "tcp": 81, "timeout": "20s" } },
        "full": { "image": "expert/expert_ui:latest", "ready": { "http": { "port": 80, "path": "/health" }, "timeout": "20s" },
                  "ports": ["WEBPORT:80"] } } }"#;
    let port = free_port();
    let stack = Stack::on(&engine, &text.replace("BARE", &image).replace("WEBPORT", &port.to_string()));
    let run = run_outside(&stack, &["start"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(answers(port));
    let wrong = text.replace("\"/busybox\" }", "\"/nothing\" }").replace("20s", "3s");
    stack.rewrite(&wrong.replace("BARE", &image).replace("WEBPORT", &port.to_string()));
    let run = run_outside(&stack, &["start", "bare", "--force-recreate"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("/nothing answers 404"), "{}", run.stderr);
    let helpers = stack.docker(&["ps", "-aq", "--filter", &format!("label=dpl.probe={}", stack.project)]);
    assert_eq!(helpers, "", "no helper stays");

    // A port that is held where the engine publishes is found from here too.
    let held = free_port();
    let listener = TcpListener::bind(("0.0.0.0", held)).unwrap();
    stack.rewrite(&text.replace("BARE", &image).replace("WEBPORT", &held.to_string()));
    let run = run_outside(&stack, &["start", "full"]);
    assert!(run.code == 1 && run.stderr.contains(&format!("port {held}/tcp of the host is in use")), "{}", run.stderr);
    drop(listener);
    stack.run(&["remove", "all", "--yes"]).success();
    docker_on(&engine, &["rmi", &format!("{image}:1")]);
}

#[test]
fn fixed_addresses_aliases_and_external_networks_are_kept_through_a_replacement() {
    let subnet = std::process::id() % 200 + 20;
    let text = |version: &str, address: &str| {
        let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
          "networks": { "back": { "ipam": { "config": [{ "subnet": "10.77.SUB.0/24" }] } }, "far": { "external": true, "name": "PROJECT-far" } },
          "services": {
            "web": { "image": "expert/expert_ui:latest", "environment": { "VERSION": "NEWEST" },
                     "networks": { "back": { "ipv4_address": "10.77.SUB.FIXED", "aliases": ["gate"] }, "far": {} },
                     "ready": { "http": { "port": 80, "path": "/health" } } },
            "other": { "image": "redis:7.0", "networks": ["back"] } } }"#;
        text.replace("SUB", &subnet.to_string()).replace("NEWEST", version).replace("FIXED", address)
    };
    let stack = Stack::new(&text("1", "50"));
    let run = stack.run(&["start"]).failure(1);
    assert!(
        run.stderr.contains(&format!("network {}-far is external and does not exist", stack.project)),
        "{}",
        run.stderr
    );
    stack.docker(&["network", "create", &format!("{}-far", stack.project)]);
    stack.run(&["start"]).success();
    stack.rewrite(&text("2", "50"));
    stack.run(&["restart", "web"]).success();
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let addresses = stack.inspect("web", template);
    assert!(addresses.split(' ').any(|address| address == format!("10.77.{subnet}.50")), "{addresses}");
    let found = stack.docker(&["exec", &stack.container("other"), "getent", "hosts", "gate"]);
    assert!(found.starts_with(&format!("10.77.{subnet}.50")), "{found}");
    stack.run(&["plan", "--exit-code"]).success();

    let taken = stack.inspect("other", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let last = taken.rsplit('.').next().unwrap().to_owned();
    stack.rewrite(&text("2", &last));
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(
        run.stderr.contains(&format!("address {taken} of network {}_back is in use by container", stack.project)),
        "{}",
        run.stderr
    );
    stack.rewrite(&text("2", "50").replace(&format!("10.77.{subnet}.50"), "10.78.0.9"));
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(run.stderr.contains("address 10.78.0.9 is not in network"), "{}", run.stderr);
    stack.run(&["remove", "all", "--networks", "--yes"]).success();
    stack.docker(&["network", "rm", &format!("{}-far", stack.project)]);
}

#[test]
fn a_network_that_somebody_recreated_is_joined_again() {
    let stack = Stack::new(&one(""));
    stack.run(&["start"]).success();
    stack.run(&["stop", "all"]).success();
    let network = format!("{}_default", stack.project);
    stack.docker(&["network", "rm", &network]);
    stack.docker(&["network", "create", "--label", &format!("com.docker.compose.project={}", stack.project), &network]);
    let plan = stack.run(&["plan"]).success();
    assert!(plan.stdout.contains(&format!("configuration: networks.{network}")), "{}", plan.stdout);
    stack.run(&["start"]).success();
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn what_lives_in_the_namespaces_of_a_failed_replacement_lives_in_those_of_the_old_container_again() {
    let port = free_port();
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s", "restart": "unless-stopped" }, "services": {
        "host": { "image": "expert/expert_ui:latest", "ports": ["HOSTPORT:80"], "ipc": "shareable", "ready": { "http": { "port": 80, "path": "/health" } }, "environment": { "V": "1" } },
        "net": { "image": "redis:7.0", "network_mode": "service:host", "ready": { "tcp": 6379 } },
        "pid": { "image": "redis:7.0", "pid": "service:host" },
        "ipc": { "image": "redis:7.0", "ipc": "service:host" } } }"#
        .replace("HOSTPORT", &port.to_string());
    let stack = Stack::new(&text);
    stack.run(&["start"]).success();
    let ids = || ["host", "net", "pid", "ipc"].map(|service| stack.inspect(service, "{{.Id}}"));
    let before = ids();
    stack.rewrite(&broken(&text).replace("\"V\": \"1\"", "\"V\": \"2\""));
    stack.run(&["restart", "host"]).failure(1);
    assert_eq!(ids(), before);
    eventually("the old container serves", || answers(port));
    // What shares it hears what happens in its provider's network: it is the same one.
    let heard =
        stack.docker(&["exec", &stack.container("net"), "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80 && echo heard"]);
    assert_eq!(heard, "heard");
    for service in ["net", "pid", "ipc"] {
        eventually(service, || stack.inspect(service, "{{.State.Running}}") == "true");
    }
    stack.rewrite(&text.replace("\"V\": \"1\"", "\"V\": \"3\""));
    stack.run(&["restart", "host"]).success();
    let after = ids();
    for place in 0..4 {
        assert_ne!(after[place], before[place], "a new provider has new sharers");
    }
    assert_eq!(stack.inspect("pid", "{{.HostConfig.PidMode}}"), format!("container:{}", after[0]));
    assert_eq!(stack.inspect("ipc", "{{.HostConfig.IpcMode}}"), format!("container:{}", after[0]));
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn a_paused_container_goes_on_although_its_last_check_failed() {
    let text = r#"{ "project": "PROJECT", "services": { "web": { "image": "expert/expert_ui:latest", "stop_grace_period": "1s",
        "healthcheck": { "test": "test ! -e /tmp/ill", "interval": "400ms", "timeout": "1s", "retries": 1 } } } }"#;
    let stack = Stack::new(text);
    stack.run(&["start"]).success();
    let name = stack.container("web");
    stack.docker(&["exec", &name, "touch", "/tmp/ill"]);
    eventually("unhealthy", || stack.inspect("web", "{{.State.Health.Status}}") == "unhealthy");
    stack.docker(&["exec", &name, "rm", "/tmp/ill"]);
    stack.docker(&["pause", &name]);
    let before = stack.inspect("web", "{{.Id}} {{.State.StartedAt}}");
    stack.run(&["start"]).success();
    assert_eq!(stack.inspect("web", "{{.State.Health.Status}} {{.State.Paused}}"), "healthy false");
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.StartedAt}}"), before);
    // One that stays ill is told so.
    stack.docker(&["exec", &name, "touch", "/tmp/ill"]);
    eventually("unhealthy", || stack.inspect("web", "{{.State.Health.Status}}") == "unhealthy");
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("reports unhealthy"), "{}", run.stderr);
}

#[test]
fn profiles_wait_until_they_are_asked_for() {
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": {
        "web": { "image": "redis:7.0" }, "debug": { "image": "redis:7.0", "profiles": ["tools"] },
        "job": { "image": "redis:7.0", "profiles": ["jobs"], "depends_on": ["debug"] } } }"#;
    let stack = Stack::new(text);
    let running = || {
        let filter = format!("label=com.docker.compose.project={}", stack.project);
        let mut names: Vec<String> = stack
            .docker(&["ps", "--filter", &filter, "--format", "{{.Label \"com.docker.compose.service\"}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    stack.run(&["start"]).success();
    assert_eq!(running(), "web");
    stack.run(&["start", "--profile", "tols"]).failure(2);
    stack.run(&["start", "all", "--profile", "tools"]).success();
    assert_eq!(running(), "debug web");
    stack.run(&["remove", "all", "--yes"]).success();
    stack.run(&["start", "job"]).success();
    assert_eq!(running(), "debug job");
}

#[test]
fn compose_groups_the_stack() {
    let stack = Stack::new(&pair(free_port(), "1"));
    stack.run(&["start"]).success();
    let label =
        |name: &str| stack.inspect("web", &format!("{{{{index .Config.Labels \"com.docker.compose.{name}\"}}}}"));
    assert_eq!(
        (label("project"), label("service"), label("container-number")),
        (stack.project.clone(), "web".into(), "1".into())
    );
    assert_eq!(label("config-hash").len(), 64);
    let compose = |arguments: &[&str]| {
        Command::new("docker").arg("compose").args(arguments).env("DOCKER_HOST", &stack.engine).output().unwrap()
    };
    // Where Compose itself is installed, it is asked.
    if compose(&["version"]).status.success() {
        let listed = String::from_utf8(compose(&["ls", "--format", "json"]).stdout).unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let ours = listed.as_array().unwrap().iter().find(|project| project["Name"] == stack.project.as_str());
        assert_eq!(ours.expect("the project is listed")["Status"], "running(2)");
        let services = String::from_utf8(compose(&["-p", &stack.project, "ps", "--services"]).stdout).unwrap();
        assert_eq!(services.lines().collect::<std::collections::BTreeSet<_>>(), ["cache", "web"].into());
    }
}
