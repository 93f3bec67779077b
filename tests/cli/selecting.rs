//! Selectors on the command line: each wrong one is one line that says what there is or was meant.

use crate::support::{Site, repository};

/// The project's own manifest with 25 services.
fn list(selector: &str) -> crate::support::Run {
    let manifest = repository().join("manifests/local-docker.json");
    Site::new().run(&["list", manifest.to_str().unwrap(), selector])
}

#[test]
fn a_wrong_selector_is_one_line_and_exit_code_2() {
    for (selector, line) in [
        ("26", "service 26 does not exist: the numbers go from 1 to 25"),
        ("0", "service 0 does not exist: the numbers go from 1 to 25"),
        ("17..99", "services 17..99 do not all exist: the numbers go from 1 to 25"),
        ("17..", "`17..` is not a range: write both ends, as in 17..25"),
        ("25..17", "`25..17` runs backwards: write 17..25"),
        ("metis_wroker", "unknown service `metis_wroker`: did you mean `metis_worker`?"),
        ("@metsi", "unknown group `@metsi`: did you mean `@metis`?"),
        ("kafka*", "no service matches `kafka*`"),
        ("[17, 18", "the brackets of `[17, 18` don't match"),
    ] {
        let run = list(selector).failure(2);
        assert_eq!(run.stderr, format!("error: {line}\n"));
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn every_form_of_selector_chooses() {
    for (selector, names) in [
        ("25", vec!["metis_worker_gpu"]),
        ("17..19", vec!["expert-ui", "expert-api", "metis-ui"]),
        ("17-18", vec!["expert-ui", "expert-api"]),
        ("[2, 1]", vec!["postgres", "redis"]),
        ("metis_worker*,!25", vec!["metis_worker_manager", "metis_worker", "metis_worker_crypt"]),
    ] {
        let run = list(selector).success();
        let chosen: Vec<&str> = run.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(chosen, names, "{selector}");
    }
}

/// An empty variable of a script (`dpl remove "[$IDS]"`) must never choose every service.
#[test]
fn what_names_nothing_is_an_error_of_every_command_and_never_means_all() {
    let site = Site::with_manifest(
        r#"{"project": "p", "databases": {"one": {"service": "a"}}, "services": {"a": {"image": "a:1"}, "b": {"image": "b:1"}}}"#,
    );
    let commands: [(&[&str], &str); 13] = [
        (&["stop"], "services"),
        (&["restart"], "services"),
        (&["remove", "--yes", "--volumes"], "services"),
        (&["start"], "services"),
        (&["plan"], "services"),
        (&["status"], "services"),
        (&["logs"], "services"),
        (&["load"], "services"),
        (&["save"], "services"),
        (&["list"], "services"),
        (&["db", "rebuild", "--yes"], "databases"),
        (&["db", "backup"], "databases"),
        (&["db", "restore", "--yes"], "databases"),
    ];
    for (command, nouns) in commands {
        for nothing in ["", " ", "[]", ",", "[ , ]", "【、】"] {
            let run = site.run(&[&["-f", "stack.json"], command, &[nothing]].concat()).failure(2);
            assert!(run.stderr.contains(&format!("name the {nouns}")), "{command:?} {nothing:?}: {}", run.stderr);
        }
    }
    for chain in ["4 - []", "3 - [ , ]", "6 - 【】", "2 - all - 4 - [,]"] {
        let run = site.run(&["-f", "stack.json", "do", chain, "--yes"]).failure(2);
        assert!(run.stderr.contains("name the "), "{chain}: {}", run.stderr);
    }
}
