//! dpl at the other end of an ssh connection: what is typed at a desk happens beside a site's engine, whatever becomes of the
//! connection.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcsetwinsize};

use crate::looking::{exit_code, terminal_in};
use crate::support::{Run, Site};
use crate::support_engine::{Stack, eventually, shared_engine};
use crate::support_ssh::{Sshd, control_socket, masters, process_of};

/// A service that takes some seconds to stop, since it does not hear the signal, and one that stops at once.
const STACK: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "slow": {"image": "redis:7.0", "stop_signal": "SIGCONT", "stop_grace_period": "4s"},
    "a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;

/// Stands between ssh and its server: each byte comes a fifth of a second later, in both directions.
const RELAY: &str = r#"
import os, queue, socket, sys, threading, time

far = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def carry(read, write):
    waiting = queue.Queue()
    def take():
        data = b"."
        while data:
            try:
                data = read()
            except OSError:
                data = b""
            waiting.put((time.monotonic() + 0.2, data))
    threading.Thread(target=take, daemon=True).start()
    while True:
        due, data = waiting.get()
        time.sleep(max(0, due - time.monotonic()))
        if not data:
            return
        write(data)

def write_out(data):
    while data:
        data = data[os.write(1, data):]

there = threading.Thread(target=carry, args=(lambda: os.read(0, 65536), far.sendall), daemon=True)
there.start()
carry(lambda: far.recv(65536), write_out)
"#;

/// A site with a project, and a desk that knows how to get there.
pub struct Sites {
    pub sshd: Sshd,
    pub stack: Stack,
    pub desk: Site,
}

impl Sites {
    /// `more` are further lines of the site's sshd_config.
    pub fn new(more: &str) -> Self {
        Self::of(Stack::new(STACK), more)
    }

    /// A site with this project.
    pub fn of(stack: Stack, more: &str) -> Self {
        let there = stack.site.path().display();
        // One upload serves all tests: the program is large without optimisation.
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/site-cache");
        let sshd = Sshd::start(&format!(
            "SetEnv DOCKER_HOST={} XDG_CACHE_HOME={cache} XDG_STATE_HOME={there}/records\n{more}",
            shared_engine()
        ));
        let mut desk = Site::new();
        sshd.admit(&mut desk);
        desk.set("XDG_RUNTIME_DIR", desk.path().display().to_string());
        desk.set("HOME", desk.path().display().to_string());
        desk.set("DOCKER_HOST", "unix:///nonexistent");
        let sites = Self { sshd, stack, desk };
        sites.write("");
        sites
    }

    /// Writes sites.json; `more` are further keys of the site.
    pub fn write(&self, more: &str) {
        let (ssh, folder) = (self.sshd.address(), self.stack.site.path().display());
        self.desk.write(
            "sites.json",
            &format!(
                r#"{{"defaults": {{"folder": "{folder}", "manifest": "stack.json"}},
                    "sites": {{"site": {{"ssh": "{ssh}"{more}}},
                               "other": {{"ssh": "{ssh}", "groups": ["all-of-them"]}},
                               "gone": {{"ssh": "ssh://root@127.0.0.1:1"}},
                               "unknown": {{"ssh": "root@${{NO_SUCH_VARIABLE}}"}},
                               "vault": {{"offline": true}}}}}}"#
            ),
        );
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.desk.run(arguments)
    }

    /// Starts a command at the desk and gives it with the file that has what it says.
    pub fn begin(&self, arguments: &[&str]) -> (Child, PathBuf) {
        let said = self.desk.file("said");
        let file = fs::File::create(&said).unwrap();
        let mut command = self.desk.command(arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        (command.spawn().unwrap(), said)
    }

    /// Kills the connection under the last command.
    pub fn cut(&self) {
        let last = masters(&self.desk).pop().unwrap();
        let process = process_of(&control_socket(&last)).expect("the connection is there");
        kill(process);
    }

    pub fn processes_there(&self) -> Vec<String> {
        let folder = fs::canonicalize(self.stack.site.path()).unwrap();
        let is_there = |process: &Path| {
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
                && fs::read_link(process.join("exe")).is_ok_and(|exe| exe.to_string_lossy().contains("/dpl"))
        };
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let command = |process: PathBuf| {
            String::from_utf8_lossy(&fs::read(process.join("cmdline")).unwrap_or_default()).replace('\0', " ")
        };
        processes.filter(|process| is_there(process)).map(command).collect()
    }

    pub fn is_under_way(&self) -> bool {
        self.processes_there().iter().any(|command| command.contains("restart"))
    }
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_command_at_a_site_is_as_if_it_were_typed_there() {
    let sites = Sites::new("");
    sites.run(&["on", "site", "start"]).success();
    let (there, here) = (sites.stack.run(&["status", "--json"]), sites.run(&["on", "site", "status", "--json"]));
    let states = |run: Run| -> Vec<String> {
        let document = run.success().json();
        let services = document["services"].as_array().unwrap();
        services.iter().map(|service| format!("{} {}", service["name"], service["state"])).collect()
    };
    assert_eq!(states(here), states(there));
    // Flags before `on` count there too.
    assert!(sites.run(&["--json", "on", "site", "status"]).success().json()["services"].is_array());
    sites.run(&["on", "site", "exec", "-T", "a", "sh", "-c", "exit 7"]).failure(7);
    let echoed = sites.desk.run_with_input(&["on", "site", "exec", "-T", "a", "cat"], "through\n").success();
    assert_eq!(echoed.stdout, "through\n");
    // What a command does not read stays for others.
    let program = sites.desk.command(&[]).get_program().to_string_lossy().into_owned();
    let script = format!("{program} on site list >/dev/null; cat");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(sites.desk.path()).env_clear();
    let desk = sites.desk.command(&[]);
    shell.envs(desk.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"the rest\n").unwrap();
    assert_eq!(shell.wait_with_output().unwrap().stdout, b"the rest\n");
    // Numbers are those of the site's manifest; its errors are told with their codes.
    let failed = sites.run(&["on", "site", "stop", "17"]).failure(2);
    assert!(failed.stderr.contains("17"), "{}", failed.stderr);
    let chinese = sites.run(&["--lang", "zh", "on", "site", "stop", "17"]).failure(2);
    assert!(chinese.stderr.contains("错误"), "{}", chinese.stderr);
    // A manifest is named as everywhere; flags behind the site are for the site, those before it that mean this machine are
    // refused.
    let named = sites.run(&["on", "site", "stack.json", "list", "--json"]).success().json();
    assert_eq!(named, sites.run(&["on", "site", "-f", "stack.json", "list", "--json"]).success().json());
    for (flag, value) in [("-H", "unix:///nowhere"), ("--state", "/nowhere")] {
        let failed = sites.run(&[flag, value, "on", "site", "status"]).failure(2);
        assert!(failed.stderr.contains("means this machine") && failed.stderr.contains(value), "{}", failed.stderr);
    }
    sites.run(&["on", "site", "-H", "unix:///nowhere", "status"]).failure(4);
    // A history there tells who it was.
    let history = sites.stack.run(&["history", "--json"]).success().json();
    assert!(history.to_string().contains("127.0.0.1"), "{history}");
    sites.run(&["on", "site", "remove", "all", "--yes"]).success();
    // One connection was enough, and it serves the next commands too.
    assert_eq!(masters(&sites.desk).len(), 1, "{:?}", masters(&sites.desk));
}

#[test]
fn a_site_that_can_not_be_used_is_told_from_the_others() {
    let sites = Sites::new("");
    let failed = sites.run(&["on", "gone", "status"]).failure(4);
    assert!(failed.stderr.contains("can't connect to the site `gone`"), "{}", failed.stderr);
    for (site, words) in
        [("unknown", "NO_SUCH_VARIABLE"), ("vault", "offline"), ("nowhere", "unknown site `nowhere`: `dpl sites`")]
    {
        let failed = sites.run(&["on", site, "status"]).failure(2);
        assert!(failed.stderr.contains(words), "{}", failed.stderr);
    }
    let checked = sites.run(&["--json", "sites", "--check"]).failure(1).json();
    let of = |name: &str| {
        let sites = checked["sites"].as_array().unwrap();
        sites.iter().find(|site| site["name"] == name).unwrap().clone()
    };
    assert_eq!((&of("site")["ok"], &of("gone")["ok"], &of("vault")["ok"]), (&true.into(), &false.into(), &().into()));
    assert!(of("site")["engine"].is_string() && of("site")["folder_free"].as_u64().unwrap() > 0, "{checked}");
    assert!(of("site")["clock_ahead_ms"].as_i64().unwrap().abs() < 5_000, "{checked}");
    let table = sites.run(&["sites", "--check", "site", "vault"]).success().stdout;
    let site = of("site");
    let program = site["program"].as_str().unwrap();
    assert!(table.contains("USER") && table.contains("root") && table.contains(program), "{table}");
    let both = sites.run(&["on", "site,other", "list", "--json"]).success().json();
    assert!(both["site"]["services"].is_array() && both["other"]["services"].is_array(), "{both}");
    // Several at once: each line has its site, the worst code counts.
    let both = sites.run(&["on", "site,other", "list"]).success().stdout;
    assert_eq!(both.lines().filter(|line| line.starts_with("other")).count(), 2, "{both}");
    let worst = sites.run(&["on", "site,gone", "list"]).failure(4);
    assert!(worst.stdout.contains("slow") && worst.stderr.contains("gone"), "{}{}", worst.stdout, worst.stderr);
}

#[test]
fn a_change_goes_on_when_its_connection_breaks_and_is_shown_to_its_end() {
    let sites = Sites::new("");
    sites.stack.run(&["start"]).success();
    let before = sites.stack.inspect("slow", "{{.State.StartedAt}}");
    let (mut desk, said) = sites.begin(&["on", "site", "restart", "slow"]);
    eventually("the restart is under way", || sites.is_under_way());
    sites.cut();
    let status = desk.wait().unwrap();
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("is lost") && said.contains("connected to `site` again"), "{said}");
    assert_ne!(sites.stack.inspect("slow", "{{.State.StartedAt}}"), before);
    let restarts = sites.stack.run(&["history", "--json"]).success().stdout.matches("restart slow").count();
    assert_eq!(restarts, 1, "it was done once");
    eventually("nothing of dpl is left there", || sites.processes_there().is_empty());
}

#[test]
fn a_change_whose_desk_is_gone_ends_there_and_is_shown_later() {
    let sites = Sites::new("");
    sites.stack.run(&["start"]).success();
    let (mut desk, said) = sites.begin(&["on", "site", "restart", "slow", "no-such-service"]);
    assert_eq!(desk.wait().unwrap().code(), Some(2), "{}", fs::read_to_string(said).unwrap());
    let (mut desk, _) = sites.begin(&["on", "site", "restart", "slow"]);
    eventually("the restart is under way", || sites.is_under_way());
    desk.kill().unwrap();
    desk.wait().unwrap();
    sites.cut();
    eventually("it comes to its end", || !sites.is_under_way());
    let runs = sites.run(&["--json", "on", "site", "attach", "--list"]).success().json();
    let last = &runs.as_array().unwrap()[0];
    assert_eq!((&last["code"], &last["is_running"]), (&0.into(), &false.into()), "{runs}");
    assert!(last["command"].as_str().unwrap().contains("restart slow"), "{runs}");
    let shown = sites.run(&["on", "site", "attach", last["id"].as_str().unwrap()]).success();
    assert!(format!("{}{}", shown.stdout, shown.stderr).contains("slow"), "{}{}", shown.stdout, shown.stderr);
    sites.run(&["on", "site", "attach", "00000000-none"]).failure(1);
    // What the site has to say is in the language of the desk.
    let id = last["id"].as_str().unwrap();
    let record = sites.stack.site.file("records/dpl/runs").join(id).join("run.json");
    let newer = fs::read_to_string(&record).unwrap().replace("\"format\":1", "\"format\":9");
    fs::write(&record, newer).unwrap();
    let failed = sites.run(&["--lang", "zh", "on", "site", "attach", id]).failure(1);
    assert!(failed.stderr.contains("该结果由另一版本的 dpl 写入（格式 9）"), "{}", failed.stderr);
}

#[test]
fn a_change_whose_terminal_at_the_desk_is_closed_comes_to_its_end_there() {
    let sites = Sites::new("");
    sites.stack.run(&["start"]).success();
    // Without a terminal an unknown host is accepted; at one ssh would ask.
    sites.run(&["on", "site", "list"]).success();
    let before = sites.stack.inspect("slow", "{{.State.StartedAt}}");
    let desk = sites.desk.command(&[]);
    let inside = format!("exec {} on site restart slow", desk.get_program().to_string_lossy());
    let mut window = Command::new("script");
    window.args(["-qec", &inside, "/dev/null"]).current_dir(sites.desk.path()).env_clear();
    window.envs(desk.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    let mut window = window.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the restart is under way", || sites.is_under_way());
    // The terminal is gone with who draws it.
    window.kill().unwrap();
    window.wait().unwrap();
    eventually("it comes to its end", || !sites.is_under_way());
    assert_ne!(sites.stack.inspect("slow", "{{.State.StartedAt}}"), before);
    let runs = sites.run(&["--json", "on", "site", "attach", "--list"]).success().json();
    assert_eq!(runs.as_array().unwrap()[0]["code"], 0, "{runs}");
    eventually("nothing of dpl is left there", || sites.processes_there().is_empty());
}

#[test]
fn a_file_of_sites_that_is_wrong_is_told_as_one() {
    let sites = Sites::new("");
    sites.desk.write("sites.json", r#"{"sites": {"a": {"ssh": "a"}}}"#);
    let failed = sites.run(&["sites", "--json"]).failure(3);
    assert!(failed.stderr.contains("has no `folder`") && !failed.stderr.contains("manifest"), "{}", failed.stderr);
}

#[test]
fn a_chain_goes_on_at_a_site_and_what_remains_is_one_command_of_the_desk() {
    let sites = Sites::new("");
    let started = |service: &str| sites.stack.inspect(service, "{{.State.StartedAt}}");
    sites.stack.run(&["start"]).success();
    let before = started("a");
    let shown = sites.run(&["do", "on site: 3 - a - 4 - a", "--dry-run"]).success();
    assert!(format!("{}{}", shown.stdout, shown.stderr).contains("3 - a"), "{}{}", shown.stdout, shown.stderr);
    assert_eq!(started("a"), before);
    sites.run(&["do", "on site: 3 - a", "--yes"]).success();
    assert_ne!(started("a"), before);
    let history = sites.stack.run(&["history", "--json"]).success().json();
    assert_eq!(history["actions"].as_array().unwrap().last().unwrap()["command"], "dpl do \"3 - a\"");
    // It ends at the first failure, with the site's own exit code.
    let failed = sites.run(&["do", "on site: 3 - a - 2 - a - 3 - a", "--yes"]).failure(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(said.contains("dpl do \"on site: 2 - a - 3 - a\""), "{said}");
    // Two parts are one chain: nothing is done where the second can't be.
    let before = started("a");
    for (chain, code) in [
        ("on site: 3 - a - on other: 3 - nothing", 2),
        ("on site: 3 - a - on gone: 3 - a", 4),
        ("on site: 3 - a - on vault: 3 - a", 2),
        ("on site: 9 - a", 2),
    ] {
        sites.run(&["do", chain, "--yes"]).failure(code);
    }
    assert_eq!(started("a"), before);
    let failed = sites.run(&["do", "on site: 3 - a - 2 - a - on other: 4 - a", "--yes"]).failure(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(said.contains("dpl do \"on site: 2 - a - on other: 4 - a\""), "{said}");
    sites.desk.write("steps.txt", "on site:\n3 - a # again\n4 - a\non other: 3 - a\n");
    let done = sites.run(&["do", "--file", "steps.txt", "--yes", "--json"]).success().json();
    let links = done["links"].as_array().unwrap();
    let placed: Vec<String> = links.iter().map(|link| format!("{} {}", link["site"], link["action"])).collect();
    assert_eq!(placed, ["\"site\" 3", "\"site\" 4", "\"other\" 3"]);
    sites.desk.write("steps.txt", "on site: 4 - a\n3 - a\n");
    let failed = sites.run(&["do", "--file", "steps.txt", "--yes"]).failure(2);
    assert!(failed.stderr.contains("line 2"), "{}", failed.stderr);
}

#[test]
fn what_only_looks_ends_with_its_connection() {
    let sites = Sites::new("");
    sites.stack.run(&["start", "a"]).success();
    let (mut desk, said) = sites.begin(&["on", "site", "logs", "--follow", "a"]);
    eventually("the log is shown", || fs::read_to_string(&said).unwrap().contains("Ready to accept"));
    desk.kill().unwrap();
    desk.wait().unwrap();
    eventually("nothing of dpl is left there", || sites.processes_there().is_empty());
}

#[test]
fn two_commands_at_once_share_a_server_that_allows_one_session_a_connection() {
    let sites = Sites::new("MaxSessions 1");
    sites.stack.run(&["start"]).success();
    let (mut first, said) = sites.begin(&["on", "site", "restart", "slow"]);
    eventually("the restart is under way", || sites.is_under_way());
    sites.run(&["on", "site", "status"]).success();
    assert_eq!(first.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(said).unwrap());
}

#[test]
fn a_line_with_a_long_delay_only_takes_longer() {
    let sites = Sites::new("");
    sites.stack.run(&["start", "a"]).success();
    sites.desk.write("relay.py", RELAY);
    let relay = sites.desk.file("relay.py");
    let config = fs::read_to_string(sites.desk.file("ssh_config")).unwrap();
    sites.desk.write("ssh_config", &format!("ProxyCommand python3 {} %h %p\n{config}", relay.display()));
    let begun = Instant::now();
    let checked = sites.run(&["sites", "--check", "--json", "site"]).success().json()["sites"][0].clone();
    assert!(begun.elapsed() > Duration::from_millis(400), "the relay is in the way");
    assert!(checked["clock_ahead_ms"].as_i64().unwrap().abs() < 5_000, "{checked}");
    let echoed = sites.desk.run_with_input(&["on", "site", "exec", "-T", "a", "cat"], "through\n").success();
    assert_eq!(echoed.stdout, "through\n");
    let before = sites.stack.inspect("a", "{{.State.StartedAt}}");
    sites.run(&["on", "site", "restart", "a"]).success();
    assert_ne!(sites.stack.inspect("a", "{{.State.StartedAt}}"), before);
    assert_eq!(masters(&sites.desk).len(), 1, "no connection was given up");
}

#[test]
fn who_is_at_work_at_a_site_is_told_to_the_next_one() {
    let sites = Sites::new("");
    sites.stack.run(&["start"]).success();
    let (mut first, said) = sites.begin(&["on", "site", "restart", "slow"]);
    eventually("the restart is under way", || sites.is_under_way());
    let refused = sites.run(&["on", "other", "restart", "a"]).failure(5);
    let at_work = "is working on this project: `dpl restart slow`";
    assert!(refused.stderr.contains(at_work), "{}", refused.stderr);
    assert_eq!(first.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(said).unwrap());
}

#[test]
fn sizes_and_ctrl_c_of_the_desks_terminal_reach_the_command_there() {
    let sites = Sites::new("");
    sites.stack.run(&["start", "a"]).success();
    // Without a terminal an unknown host is accepted; at one ssh would ask.
    sites.run(&["on", "site", "list"]).success();
    let mut session = terminal_in(&sites.desk, &["on", "site", "exec", "a", "sh"], 91, 31);
    session.send_line("until [ \"$(stty size)\" = '31 91' ]; do :; done; echo be''gun").unwrap();
    session.exp_string("begun").unwrap();
    let master = session.process().get_file_handle().unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 133, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    session.send_line("until [ \"$(stty size)\" = '40 133' ]; do :; done; echo re''sized").unwrap();
    session.exp_string("resized").unwrap();
    // Ctrl-C ends what runs there, not the connection.
    session.send_line("echo re''ads; cat").unwrap();
    session.exp_string("reads").unwrap();
    session.send_control('c').unwrap();
    // What is typed before the shell asks again goes with what is interrupted.
    session.exp_string("# ").unwrap();
    session.send_line("echo after''-interrupt").unwrap();
    session.exp_string("after-interrupt").unwrap();
    session.send_line("exit 42").unwrap();
    assert_eq!(exit_code(&session), 42);
}

#[test]
fn a_terminal_at_the_desk_is_the_commands_own() {
    let sites = Sites::new("");
    sites.stack.run(&["start", "a"]).success();
    // Without a terminal an unknown host is accepted; at one ssh would ask.
    sites.run(&["on", "site", "list"]).success();
    let program = sites.desk.command(&[]).get_program().to_string_lossy().into_owned();
    let inside = format!(
        "stty cols 91 rows 33; {program} on site exec a sh -c 'while [ \"$(stty size)\" = \"0 0\" ]; do :; done; stty size; tty'"
    );
    let mut command = Command::new("script");
    command.args(["-qec", &inside, "/dev/null"]).current_dir(sites.desk.path()).env_clear();
    let desk = sites.desk.command(&[]);
    command.envs(desk.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("33 91") && said.contains("/dev/pts/"), "{said:?}");
}

#[test]
fn what_changes_something_goes_from_site_to_site_and_no_further_than_the_first_failure() {
    let sites = Sites::new("");
    sites.stack.run(&["start", "a"]).success();
    let started = || sites.stack.inspect("a", "{{.State.StartedAt}}");
    let before = started();
    let failed = sites.run(&["on", "site,other", "restart", "no-such-service"]).failure(2);
    assert!(failed.stderr.contains("nothing was done at: other"), "what was not reached is said: {}", failed.stderr);
    // By its group, and by patterns that mean two names of the same machine.
    sites.run(&["on", "@all-of-them", "restart", "a"]).success();
    let after = started();
    assert_ne!(after, before);
    sites.run(&["on", "s*,o*", "restart", "a"]).success();
    let after = started();
    let restarts = || sites.stack.run(&["history", "--json"]).success().stdout.matches("dpl restart a").count();
    assert_eq!(restarts(), 3);
    // In the order of the file; one that can't be reached is a failure as any other.
    let all = fs::read_to_string(sites.desk.file("sites.json")).unwrap();
    let earlier = all.replacen(r#""sites": {"#, r#""sites": {"down": {"ssh": "ssh://root@127.0.0.1:1"}, "#, 1);
    sites.desk.write("sites.json", &earlier);
    let failed = sites.run(&["on", "site,down", "restart", "a"]).failure(4);
    assert!(
        failed.stderr.contains("`down`") && failed.stderr.contains("nothing was done at: site"),
        "{}",
        failed.stderr
    );
    assert_eq!((started(), restarts()), (after, 3));
}

#[test]
fn a_host_that_takes_connections_and_says_nothing_keeps_no_check_from_its_end() {
    let sites = Sites::new("");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (ssh, folder) = (sites.sshd.address(), sites.stack.site.path().display());
    let mute = format!("ssh://root@127.0.0.1:{port}");
    sites.desk.write(
        "sites.json",
        &format!(
            r#"{{"defaults": {{"folder": "{folder}", "manifest": "stack.json"}},
                "sites": {{"mute": {{"ssh": "{mute}"}}, "site": {{"ssh": "{ssh}"}}, "deaf": {{"ssh": "{mute}"}}}}}}"#
        ),
    );
    let checked = sites.run(&["sites", "--check", "--json"]).failure(1).json();
    let states: Vec<String> =
        checked["sites"].as_array().unwrap().iter().map(|site| format!("{} {}", site["name"], site["ok"])).collect();
    assert_eq!(states, ["\"mute\" false", "\"site\" true", "\"deaf\" false"], "{checked}");
    assert!(checked["sites"][0]["problem"].is_string(), "{checked}");
}
