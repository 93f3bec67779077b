//! Engines behind ssh servers as sites have them: hardened, with login scripts that talk, without docker, cut off in the
//! middle of work.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support_engine::{Stack, eventually, shared_engine};
use crate::support_ssh::{Sshd, control_socket, masters, process_of};

const STACK: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}, "b": {"image": "redis:7.0", "stop_signal": "SIGKILL"},
    "c": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;

/// A stack that reaches the shared engine through an sshd with these lines in its configuration.
fn behind(more: &str) -> (Sshd, Stack) {
    let sshd = Sshd::start(&format!("SetEnv DOCKER_HOST={}\n{more}", shared_engine()));
    let mut stack = Stack::new(STACK);
    sshd.admit(&mut stack.site);
    (sshd, stack)
}

#[test]
fn an_engine_behind_ssh_can_be_used_whatever_number_of_sessions_a_connection_may_have() {
    let connections: Vec<usize> = std::thread::scope(|scope| {
        let uses = [1, 2, 4, 10].map(|sessions| scope.spawn(move || connections_of_a_days_work(sessions)));
        uses.into_iter().map(|used| used.join().unwrap()).collect()
    });
    // A connection of its own for each stream only where the server takes no more.
    assert!(3 * connections[3] < 2 * connections[0], "{connections:?}");
}

/// Starts, looks, saves, runs a command and removes; gives the number of ssh connections that took.
fn connections_of_a_days_work(sessions: u32) -> usize {
    let (_sshd, stack) = behind(&format!("MaxSessions {sessions}"));
    stack.run(&["start"]).success();
    let status = stack.run(&["status", "--json"]).success().json();
    let states: Vec<&str> =
        status["services"].as_array().unwrap().iter().map(|service| service["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running"; 3], "MaxSessions {sessions}");
    stack.run(&["save"]).success();
    let echoed = stack.site.run_with_input(&["exec", "-f", "stack.json", "a", "cat"], "through\n").success();
    assert_eq!(echoed.stdout, "through\n", "MaxSessions {sessions}");
    stack.run(&["remove", "all", "--yes"]).success();
    let masters = masters(&stack.site);
    assert!(masters.len() >= 5, "{masters:?}");
    for master in &masters {
        assert!(master.contains("ControlPersist=60") && master.contains("ServerAliveInterval"), "{master}");
        assert!(!control_socket(master).parent().unwrap().exists(), "a connection is left behind: {master}");
    }
    masters.len()
}

#[test]
fn a_terminal_behind_ssh_gets_its_bytes_as_they_are() {
    let (_sshd, stack) = behind("MaxSessions 4");
    stack.run(&["start", "a"]).success();
    let program = stack.site.command(&[]).get_program().to_string_lossy().into_owned();
    let inside = format!("{program} exec -f stack.json a printf 'one\\001\\000\\000\\000two\\002three'");
    let mut command = Command::new("script");
    command.args(["-qec", &inside, "/dev/null"]).current_dir(stack.site.path()).env_clear();
    let site = stack.site.command(&[]);
    command.envs(site.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("one\u{1}\0\0\0two\u{2}three"), "{said:?}");
}

#[test]
fn a_connection_that_broke_is_replaced() {
    let (_sshd, stack) = behind("");
    stack.run(&["start", "a"]).success();
    let known = masters(&stack.site).len();
    let mut follow = stack.site.command(&["logs", "--follow", "a", "-f", "stack.json"]);
    let complaints = stack.site.file("follow.stderr");
    let mut follow = follow.stdout(Stdio::piped()).stderr(std::fs::File::create(&complaints).unwrap()).spawn().unwrap();
    let said: Arc<Mutex<String>> = Arc::default();
    let (mut output, heard) = (follow.stdout.take().unwrap(), said.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    let starts = || said.lock().unwrap().matches("Ready to accept connections").count();
    eventually("the log is read", || starts() == 1);
    let master = masters(&stack.site)[known].clone();
    let process = process_of(&control_socket(&master)).expect("the connection is there");
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
    stack.docker(&["restart", "--time", "0", &stack.container("a")]);
    let deadline = Instant::now() + PATIENCE;
    while starts() != 2 {
        let complaints = std::fs::read_to_string(&complaints).unwrap();
        let heard = said.lock().unwrap();
        assert!(Instant::now() < deadline, "the log is not read on: {heard}\n{complaints}");
        drop(heard);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let _ = follow.kill();
    follow.wait().unwrap();
    assert!(masters(&stack.site).len() > known + 1);
}

#[test]
fn an_action_goes_on_in_a_new_connection() {
    let (_sshd, stack) = behind("");
    stack.run(&["start"]).success();
    let before = stack.inspect("a", "{{.State.StartedAt}}");
    let mut restart = stack.site.command(&["restart", "a", "-f", "stack.json"]);
    restart.env("DPL_FAILPOINT", "services.execute.before-restart").env("DPL_FAILPOINT_FREEZES", "1");
    let mut restart = restart.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let signal = |signal: &str, process: u32| {
        assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
    };
    eventually("it stands before the restart", || {
        std::fs::read_to_string(format!("/proc/{}/stat", restart.id())).is_ok_and(|stat| stat.contains(") T "))
    });
    let connections: Vec<u32> =
        masters(&stack.site).iter().filter_map(|master| process_of(&control_socket(master))).collect();
    assert!(!connections.is_empty());
    connections.into_iter().for_each(|process| signal("-9", process));
    signal("-CONT", restart.id());
    assert_eq!(restart.wait().unwrap().code(), Some(0));
    assert_ne!(stack.inspect("a", "{{.State.StartedAt}}"), before);
}

#[test]
fn what_the_far_side_says_is_shown() {
    let as_nobody = "ForceCommand setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"";
    for (what, more, words) in [
        ("no right to the socket", as_nobody, "permission denied"),
        ("no docker", "ForceCommand PATH=/nonexistent; eval \"$SSH_ORIGINAL_COMMAND\"", "not found"),
        ("no account", "ForceCommand echo This account is not available.; exit 1", "This account is not available"),
        ("no entry", "AuthorizedKeysFile none", "Permission denied"),
    ] {
        println!("{what}");
        let (_sshd, stack) = behind(more);
        let failed = stack.run(&["status"]).failure(4);
        assert!(failed.stderr.contains(words), "{}", failed.stderr);
        assert!(!failed.stderr.contains("connection closed before message completed"), "{}", failed.stderr);
    }
}

#[test]
fn what_a_login_script_prints_is_not_taken_for_the_engines_answer() {
    let noise = "ForceCommand echo Welcome to production; echo Mind the step >&2; eval \"$SSH_ORIGINAL_COMMAND\"";
    let (_sshd, stack) = behind(noise);
    stack.run(&["start", "a"]).success();
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["state"], "running");
}

#[test]
fn a_question_of_ssh_can_be_answered_at_the_terminal() {
    let (_sshd, stack) = behind("");
    let site = stack.site.command(&["status", "-f", "stack.json"]);
    let mut command = Command::new(site.get_program());
    command.args(site.get_args()).current_dir(stack.site.path()).env_clear();
    command.envs(site.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    let mut terminal = rexpect::session::spawn_command(command, Some(60_000)).unwrap();
    terminal.exp_string("Are you sure you want to continue connecting").unwrap();
    terminal.send_line("yes").unwrap();
    terminal.exp_eof().unwrap();
    assert!(std::fs::read_to_string(stack.site.file("known_hosts")).unwrap().contains("127.0.0.1"));
}
