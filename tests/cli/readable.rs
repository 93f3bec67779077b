//! Readable wherever it is read: at a narrow terminal, at one without colours, in a pipe, and in a pipe that closes.

use std::io::Read;
use std::process::{Command, Stdio};

use console::measure_text_width;

use crate::support::Site;

const COLOUR: char = '\u{1b}';

/// Twenty-five services with long names, and a journal.
fn site() -> Site {
    let services: Vec<String> = (1..=25)
        .map(|number| {
            let image = format!("expert/{number}_metis_worker_manager:v2.2.0");
            format!(
                r#""metis_worker_manager_{number}": {{ "image": "{image}", "groups": ["档案", "metis", "worker"] }}"#
            )
        })
        .collect();
    let manifest = format!(
        r#"{{ "project": "danganju", "databases": {{ "minerva": {{ "service": "metis_worker_manager_1" }} }}, "services": {{ {} }} }}"#,
        services.join(", ")
    );
    let mut site = Site::with_manifest(&manifest);
    let begin = r#"{"entry":"begin","number":1,"at":"2026-11-22T21:30:00Z","user":"operator","host":"production-host","version":"0.1.0","manifest":"/srv/stack.json","manifest_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","engine":"unix:///run/docker.sock","command":"dpl restart metis_worker_manager_1 metis_worker_manager_3"}"#;
    let end = r#"{"entry":"end","action":1,"at":"2026-11-22T21:33:24Z","exit_code":0}"#;
    site.write(".dpl/journal.jsonl", &format!("{begin}\n{end}\n"));
    site.set("TZ", "UTC").set("DPL_MANIFEST", "stack.json");
    site
}

/// What a terminal of so many columns gets. Both outputs of the program are that terminal.
fn at_terminal(site: &Site, columns: usize, arguments: &str) -> String {
    let program = site.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("stty cols {columns} rows 50 && exec {} {arguments}", env!("CARGO_BIN_EXE_dpl"))])
        .current_dir(site.path())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm-256color");
    at_pty(shell)
}

fn at_pty(command: Command) -> String {
    let mut session = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    // It makes a character of each byte.
    let bytes: Vec<u8> = session.exp_eof().unwrap().chars().map(|byte| u8::try_from(byte).unwrap()).collect();
    String::from_utf8(bytes).unwrap().replace('\r', "")
}

#[test]
fn tables_fit_terminals_of_40_60_and_80_columns_in_both_languages() {
    let site = site();
    for columns in [40, 60, 80] {
        for language in ["en", "zh"] {
            for command in ["list", "history", "graph"] {
                let text = at_terminal(&site, columns, &format!("{command} --color never --lang {language}"));
                let wide = text.lines().find(|line| measure_text_width(line) > columns);
                assert_eq!(wide, None, "{command} at {columns} in {language}:\n{text}");
                assert!(text.lines().count() > 1, "{command}: {text}");
            }
        }
    }
    insta::assert_snapshot!(at_terminal(&site, 60, "list 1..4 --lang zh"));
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let mut site = site();
    let is_coloured = |site: &Site, term: &str, arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("TERM", term);
        at_pty(command).contains("\u{1b}[3")
    };
    let command: &[&str] = &["history"];
    assert!(is_coloured(&site, "xterm-256color", command));
    assert!(!is_coloured(&site, "dumb", command));
    assert!(is_coloured(&site, "dumb", &["history", "--color", "always"]));
    assert!(!is_coloured(&site, "xterm-256color", &["history", "--color", "never"]));
    site.set("NO_COLOR", "1");
    assert!(!is_coloured(&site, "xterm-256color", command));
    assert!(is_coloured(&site, "xterm-256color", &["history", "--color", "always"]));
    // An empty one says nothing (no-color.org).
    site.set("NO_COLOR", "");
    assert!(is_coloured(&site, "xterm-256color", command));
}

#[test]
fn a_pipe_gets_whole_tables_without_colours() {
    let site = site();
    for arguments in [&["list"] as &[&str], &["history"], &["list", "nobody"], &["graph"], &["doctor"]] {
        for language in ["en", "zh"] {
            let run = site.run(&[arguments, &["--lang", language]].concat());
            assert!(!run.stdout.contains([COLOUR, '\r']) && !run.stderr.contains([COLOUR, '\r']), "{run:?}");
        }
    }
    let run = site.run(&["list"]).success();
    assert!(run.stdout.contains("expert/25_metis_worker_manager:v2.2.0  档案 metis worker"), "{}", run.stdout);
    assert!(!run.stdout.contains('…'));
}

/// Everything that prints much, and help.
const PRINTERS: [&[&str]; 10] = [
    &["list"],
    &["list", "--json"],
    &["config"],
    &["graph"],
    &["history"],
    &["history", "show", "1"],
    &["schema"],
    &["check", "--json"],
    &["--help"],
    &["--version"],
];

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let site = site();
    for arguments in PRINTERS {
        for language in ["en", "zh"] {
            // Nobody reads from the very beginning: the first write fails.
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = site.command(&[arguments, &["--lang", language]].concat());
            let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_behind_the_first_line_is_no_error() {
    let site = site();
    let mut child = site.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn talk_that_nobody_hears_changes_nothing() {
    let site = site();
    for (arguments, code) in [(&["list"] as &[&str], 0), (&["list", "nobody"], 2), (&["doctor"], 4), (&["strat"], 2)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = site.command(arguments).stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let site = site();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = site.command(&["list"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: can't write to standard output\n  because: "), "{stderr}");
}
