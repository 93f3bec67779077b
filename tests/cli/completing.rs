//! What shells complete: the answers, and real shells at a terminal that ask for them.

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rexpect::session::{PtySession, spawn_command};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::support::{Site, repository};

const STACK: &str = r#"{
  "project": "shop",
  "paths": { "backups": "backups", "images": "images" },
  "databases": {
    "expert": { "service": "db", "password": { "file": "not-there" } },
    "metis": { "service": "db", "password": { "file": "not-there" } }
  },
  "data": { "uploads": { "path": "uploads" }, "models": { "path": "models" } },
  "services": {
    "db": { "image": "postgres:15", "environment": { "POSTGRES_PASSWORD": { "file": "not-there" } } },
    "metis-ui": { "image": "expert/metis_ui:v2", "groups": ["metis"] },
    "metis_worker": { "image": "metis/metis_worker:v2", "groups": ["metis", "worker"] },
    "metis_worker_gpu": { "image": "metis/metis_worker_gpu:v1", "groups": ["worker"], "profiles": ["gpu"] }
  }
}"#;

/// A manifest that is remembered, with secrets that are not there, no engine, and three backups.
fn site() -> Site {
    let site = Site::with_manifest(STACK);
    for backup in ["expert/20260704T101530Z", "expert/20260705T101530Z", "metis/20260704T101600Z"] {
        site.write(&format!("backups/databases/{backup}/backup.json"), "{}");
    }
    site.write("notes.txt", "");
    site.write("manifests/other.json", r#"{"project": "other", "services": {"alone": {"image": "a:1"}}}"#);
    site.run(&["use", "stack.json"]).success();
    site
}

/// The values that are offered for the last word.
#[track_caller]
fn offered(site: &Site, words: &[&str]) -> Vec<String> {
    let run = site.run(&[&["__complete", "fish", "dpl"], words].concat()).success();
    assert_eq!(run.stderr, "");
    run.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn names_of_the_current_manifest_are_offered() {
    let site = site();
    for (words, values) in [
        (vec!["load", "met"], vec!["metis-ui", "metis_worker", "metis_worker_gpu"]),
        (vec!["load", "@"], vec!["@metis", "@worker"]),
        (vec!["stop", "metis-ui", "met"], vec!["metis_worker", "metis_worker_gpu"]),
        (vec!["stop", "metis-ui,!metis_w"], vec!["metis-ui,!metis_worker", "metis-ui,!metis_worker_gpu"]),
        (vec!["start", "--profile", ""], vec!["gpu"]),
        (vec!["exec", "-u", "root", "d"], vec!["db"]),
        (vec!["exec", "db", "p"], vec![]),
        (vec!["db", "rebuild", "e"], vec!["expert"]),
        (vec!["db", "sql", ""], vec!["expert", "metis"]),
        (vec!["data", "snapshot", "u"], vec!["uploads"]),
        (vec!["data", "diff", ""], vec!["uploads", "models"]),
        (vec!["-f", "manifests/other.json", "restart", "al"], vec!["alone", "all"]),
        (vec!["restart", "manifests/other.json", "al"], vec!["alone", "all"]),
        (vec!["images", "remove", "metis/"], vec!["metis/metis_worker:v2", "metis/metis_worker_gpu:v1"]),
    ] {
        assert_eq!(offered(&site, &words), values, "{words:?}");
    }
}

#[test]
fn backups_are_offered_for_the_database_that_is_named() {
    let site = site();
    let newest_first = ["expert/20260705T101530Z", "expert/20260704T101530Z"];
    assert_eq!(offered(&site, &["db", "restore", "expert", "--backup", ""]), newest_first);
    assert_eq!(offered(&site, &["db", "restore", "1", "--backup", "expert/"]), newest_first);
    assert_eq!(offered(&site, &["db", "restore", "metis", "--backup="]), ["--backup=metis/20260704T101600Z"]);
    assert_eq!(offered(&site, &["db", "verify", "metis"]), ["metis/20260704T101600Z", "metis"]);
}

#[test]
fn commands_flags_values_and_manifests_are_offered() {
    let site = site();
    assert_eq!(offered(&site, &["re"]), ["restart", "remove", "release", "receipt"]);
    assert_eq!(offered(&site, &["db", "re"]), ["rebuild", "restore"]);
    assert_eq!(offered(&site, &["load", "--dry"]), ["--dry-run"]);
    assert_eq!(offered(&site, &["--color", ""]), ["auto", "always", "never"]);
    assert_eq!(offered(&site, &["status", "--progress=pl"]), ["--progress=plain"]);
    assert_eq!(offered(&site, &["check", "manifests/"]), ["manifests/other.json"]);
    assert_eq!(offered(&site, &["st"]), ["start", "stop", "status", "stats", "stack.json"]);
    assert_eq!(offered(&site, &["schema", "rollback"]), ["rollback-plan"]);
    assert_eq!(offered(&site, &["completions", ""]), ["bash", "zsh", "fish"]);
    assert_eq!(offered(&site, &["images", "import", ""]), [":files"]);
    assert_eq!(offered(&site, &["man", ""]), [":folders"]);
}

#[test]
fn a_manifest_that_is_wrong_or_missing_is_passed_over_in_silence() {
    let site = Site::with_manifest("{ nonsense");
    assert_eq!(offered(&site, &["-f", "stack.json", "load", "met"]), [""; 0]);
    assert_eq!(offered(&site, &["db", "restore", "expert", "--backup", ""]), [""; 0]);
    let run = site.run(&["__complete", "tcsh", "x"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

/// What a run has read from files by its end.
fn bytes_read(site: &Site, words: &[&str]) -> u64 {
    let mut child = site.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = WaitId::Pid(Pid::from_child(&child));
    // It has ended, and the kernel still has its accounts.
    waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let accounts = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
    assert!(child.wait().unwrap().success(), "{words:?}");
    accounts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn an_answer_for_25_services_reads_no_more_than_a_check_of_their_manifest_and_asks_no_engine() {
    let mut site = Site::new();
    let socket = UnixListener::bind(site.file("docker.sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = format!("unix://{}", site.file("docker.sock").display());
    site.set("DOCKER_HOST", address);
    let manifest = repository().join("manifests/local-docker.json");
    let words = ["__complete", "fish", "dpl", "-f", manifest.to_str().unwrap(), "load", "metis"];
    let answer = site.run(&words).success().stdout;
    assert!(answer.contains("metis_worker_gpu\t25  metis/metis_worker_gpu:v1.5_no_subtask"), "{answer}");
    let (answer, check) = (bytes_read(&site, &words), bytes_read(&site, &["check", manifest.to_str().unwrap()]));
    let of_manifest = std::fs::metadata(&manifest).unwrap().len();
    assert!(check > of_manifest && answer <= check, "{answer} bytes, and a check reads {check}");
    assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody asked the engine");
    // It would have been noticed.
    let _question = UnixStream::connect(site.file("docker.sock")).unwrap();
    socket.accept().unwrap();
}

#[test]
fn the_scripts_are_as_they_were_read() {
    let site = Site::new();
    let script = |shell| site.run(&["completions", shell]).success().stdout;
    insta::assert_snapshot!(["bash", "zsh", "fish"].map(script).join("\n----\n"));
}

/// A shell at a terminal, beside the site's manifest, with `dpl` on its path.
fn shell(site: &Site, program: &str, arguments: &[&str]) -> PtySession {
    let known = site.command(&[]);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(site.path()).env_clear().env("TERM", "xterm").env("HOME", site.path());
    let folder = Path::new(known.get_program()).parent().unwrap().display().to_string();
    command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
    command.env("PS1", "ready> ");
    spawn_command(command, Some(20_000)).unwrap()
}

/// Whether a shell is there: bash always is; the others only where somebody has installed them.
fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What is typed (Tab is in it), and what the line then is: the shell prints it, since it goes to the beginning (Ctrl-A) and
/// makes an argument of it.
#[track_caller]
fn completes(session: &mut PtySession, typed: &str, line: &str) {
    session.send(typed).unwrap();
    session.send("\x01printf 'line:%s:' \"\x05\"\n").unwrap();
    let pattern = format!("line:{}", regex::escape(line));
    session.exp_regex(&pattern).unwrap_or_else(|error| panic!("{typed:?}: {error}"));
    // What is typed before the shell reads it key by key would not be completed.
    session.exp_string("ready> ").unwrap();
}

#[test]
fn a_real_bash_completes() {
    let site = site();
    let mut session = shell(&site, "bash", &["--norc", "--noprofile", "-i"]);
    session.send_line("bind 'set enable-bracketed-paste off'; source <(dpl completions bash); echo sour''ced").unwrap();
    session.exp_string("sourced").unwrap();
    session.exp_string("ready> ").unwrap();
    for (typed, line) in [
        ("dpl load metis_worker_g\t", "dpl load metis_worker_gpu "),
        ("dpl load @wor\t", "dpl load @worker "),
        ("dpl db restore metis --backup \t", "dpl db restore metis --backup metis/20260704T101600Z "),
        ("dpl db restore metis --backup=me\t", "dpl db restore metis --backup=metis/20260704T101600Z "),
        ("dpl images remove expert/metis_ui:\t", "dpl images remove expert/metis_ui:v2 "),
        ("dpl check mani\tot\t", "dpl check manifests/other.json "),
        ("dpl images import no\t", "dpl images import notes.txt "),
    ] {
        completes(&mut session, typed, line);
    }
}

#[test]
fn a_real_zsh_completes_where_it_is_installed() {
    if !is_installed("zsh") {
        return;
    }
    let site = site();
    let mut session = shell(&site, "zsh", &["-f", "-i"]);
    let begin = "autoload -Uz compinit; compinit -u -D; source <(dpl completions zsh); bindkey -e";
    session.send_line(&format!("{begin}; echo sour''ced")).unwrap();
    session.exp_string("sourced").unwrap();
    session.exp_string("ready> ").unwrap();
    for (typed, line) in [
        ("dpl load metis_worker_g\t", "dpl load metis_worker_gpu"),
        ("dpl load @wor\t", "dpl load @worker"),
        ("dpl db restore metis --backup \t", "dpl db restore metis --backup metis/20260704T101600Z"),
        ("dpl images remove expert/metis_ui:\t", "dpl images remove expert/metis_ui:v2"),
    ] {
        completes(&mut session, typed, line);
    }
}

#[test]
fn a_real_fish_completes_where_it_is_installed() {
    if !is_installed("fish") {
        return;
    }
    let site = site();
    for (line, values) in [
        ("dpl load metis_worker_g", "metis_worker_gpu\t4  metis/metis_worker_gpu:v1\n"),
        ("dpl db restore metis --backup ", "metis/20260704T101600Z\t20260704T101600Z\n"),
        ("dpl check manifests/", "manifests/other.json\n"),
    ] {
        let known = site.command(&[]);
        let folder = Path::new(known.get_program()).parent().unwrap().display().to_string();
        let mut command = Command::new("fish");
        command.args(["--no-config", "-c", "dpl completions fish | source; complete -C $argv[1]", line]);
        command.current_dir(site.path()).env_clear().env("HOME", site.path());
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), values, "{line}: {output:?}");
    }
}
