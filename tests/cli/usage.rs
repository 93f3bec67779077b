//! What the grammar does not take, and names that are not there: each a page that says what was meant.

use crate::support::Site;

const STACK: &str = r#"{
  "project": "shop",
  "paths": { "backups": "backups", "images": "images" },
  "databases": { "expert": { "service": "db", "password": { "env": "SECRET" } } },
  "services": {
    "db": { "image": "postgres:15", "environment": { "POSTGRES_PASSWORD": { "env": "SECRET" } } },
    "metis-api": { "image": "expert/metis_api:v2", "groups": ["metis"] }
  }
}"#;

fn site() -> Site {
    let site = Site::with_manifest(STACK);
    site.write("backups/databases/expert/20260704T101530Z/backup.json", "{}");
    site.write("backups/databases/expert/20260705T101530Z/backup.json", "{}");
    site
}

/// Command line, headline, hint.
const PAGES: &[(&[&str], &str, &str)] = &[
    (&["strat"], "unknown command `strat`", "did you mean `start`?"),
    (&["rebuild"], "unknown command `rebuild`", "did you mean `dpl db rebuild`?"),
    (&["xyzzy"], "unknown command `xyzzy`", "`dpl --help` shows the commands and flags"),
    (&["db", "rebild"], "`dpl db` has no command `rebild`", "did you mean `rebuild`?"),
    (&["load", "--dryrun"], "`dpl load` has no flag `--dryrun`", "did you mean `--dry-run`?"),
    (&["start", "--parralel", "3"], "`dpl start` has no flag `--parralel`", "did you mean `--parallel`?"),
    (&["load", "--xyzzy"], "`dpl load` has no flag `--xyzzy`", "`dpl load --help` shows the commands and flags"),
    (&["list", "--color", "nevr"], "`--color` can't be `nevr`", "did you mean `never`?"),
    (&["save", "--format", "zip"], "`--format` can't be `zip`", "one of: layout, docker-archive"),
    (
        &["use", "a.json", "b"],
        "`dpl use` takes no more arguments, and got `b`",
        "`dpl use --help` shows the commands and flags",
    ),
    (
        &["start", "--parallel", "many"],
        "`--parallel` can't be `many`: expected a whole number from 1 to 64",
        "`dpl start --help` shows the commands and flags",
    ),
    (
        &["logs", "--follow", "--until", "1h"],
        "`--follow` can't be combined with `--until`",
        "`dpl logs --help` shows the commands and flags",
    ),
    (&["up"], "unknown command `up`", "did you mean `dpl start`?"),
    (&["ps"], "unknown command `ps`", "did you mean `dpl status`?"),
    (&["images", "import", ""], "`FILE` needs a value", "`dpl images import --help` shows the commands and flags"),
    (&["logs", "-f"], "`--manifest` needs a value", "`dpl logs --follow SERVICE` shows new lines as they are written"),
    (
        &["logs", "-f", "web"],
        "`-f` names the manifest, and the file `web` does not exist",
        "`dpl logs --follow web` shows new lines as they are written",
    ),
    (&["schema", "staus"], "unknown document `staus`", "did you mean `status`?"),
];

/// What a flag takes comes to its command as the type that this one reads.
#[test]
fn numbers_of_flags_are_taken() {
    for words in [
        &["start", "--parallel", "3", "--yes"][..],
        &["exec", "--index", "1", "metis-api", "true"],
        &["save", "--threads", "2", "--level", "3", "--yes"],
        &["images", "import", "--threads", "2", "a.tar"],
        &["history", "-n", "3"],
        &["db", "backup", "--jobs", "2", "--level", "4", "--yes"],
        &["db", "rebuild", "expert", "--keep-old", "1", "--yes"],
        &["db", "prune", "expert", "--keep-old", "1", "--yes"],
        &["logs", "--tail", "5"],
    ] {
        let run = site().run(&[&["-f", "stack.json", "-H", "unix:///nowhere.sock"], words].concat());
        // A rebuild looks for its dump first, and the manifest names none.
        let is_taken = run.code != 2 || run.stderr.contains("does not say where the seed of expert is");
        assert!(!run.stderr.contains("panicked") && run.code != 101 && is_taken, "{words:?}: {}", run.stderr);
    }
    // What is not there is an error of its own.
    let run = site().run(&["-f", "stack.json", "history", "show", "1"]).failure(2);
    assert!(run.stderr.contains("the journal has no action 1"), "{}", run.stderr);
}

#[test]
fn what_is_wrong_with_a_value_is_said_in_the_language_of_the_operator() {
    for (words, why) in [
        (&["start", "--parallel", "65"][..], "应为 1 到 64 的整数"),
        (&["exec", "--index", "0", "web", "true"], "应为不小于 1 的整数"),
        (&["save", "--level", "x"], "应为整数"),
        (&["logs", "--tail", "x"], "应为行数，或 `all`"),
        (&["db", "restore", "shop", "--owner", "a=b=c"], "应为 OLD=NEW"),
        (&["db", "list", "--max-age", "x"], "`x` 不是有效的时长"),
        (&["history", "show", "x"], "应为不小于 1 的整数"),
    ] {
        let run = Site::new().run(&[&["--lang", "zh"], words].concat()).failure(2);
        assert!(run.stderr.contains(why), "{words:?}: {}", run.stderr);
        assert!(!run.stderr.contains("invalid") && !run.stderr.contains("expected"), "{words:?}: {}", run.stderr);
    }
}

/// A file of another name, as one that was brought for another machine.
#[test]
fn what_was_meant_is_found_whatever_the_program_is_called() {
    let site = Site::new();
    let other = site.file("dpl-x86_64");
    std::fs::copy(site.command(&[]).get_program(), &other).unwrap();
    let output = std::process::Command::new(&other).args(["stop", "a", "--parallel", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: `dpl stop` has no flag `--parallel`"), "{said}");
}

#[test]
fn what_the_grammar_does_not_take_says_what_was_meant() {
    for (words, headline, hint) in PAGES {
        let run = Site::new().run(words).failure(2);
        assert_eq!(run.stderr, format!("error: {headline}\n  hint: {hint}\n"), "{words:?}");
        assert_eq!(run.stdout, "", "{words:?}");
    }
}

#[test]
fn an_action_that_only_looks_and_a_number_for_a_manifest_are_told_what_can_be_typed() {
    let site = site();
    let run = site.run(&["do", "9 - 1", "-f", "stack.json"]).failure(2);
    assert!(run.stderr.contains("hint: 1 to 8 can be used"), "{}", run.stderr);
    let run = site.run(&["history", "26"]).failure(2);
    assert!(run.stderr.contains("hint: `dpl history show 26` shows one action"), "{}", run.stderr);
}

#[test]
fn a_missing_argument_shows_the_usage() {
    let run = Site::new().run(&["use"]).failure(2);
    assert_eq!(run.stderr, "error: `dpl use` needs <MANIFEST>\n  hint: `dpl use <MANIFEST>`\n");
}

#[test]
fn names_that_are_not_there_say_what_was_meant() {
    let site = site();
    for (words, line) in [
        (vec!["exec", "metis-ap", "sh"], "unknown service `metis-ap`: did you mean `metis-api`?"),
        (vec!["status", "metisapi"], "unknown service `metisapi`: did you mean `metis-api`?"),
        (vec!["stop", "@mtis"], "unknown group `@mtis`: did you mean `@metis`?"),
        (vec!["db", "backup", "exprt"], "unknown database `exprt`: did you mean `expert`?"),
        (vec!["db", "sql", "exprt", "select 1"], "unknown database `exprt`: did you mean `expert`?"),
    ] {
        let run = site.run(&[&["-f", "stack.json"], &words[..]].concat()).failure(2);
        assert_eq!(run.stderr, format!("error: {line}\n"), "{words:?}");
    }
}

#[test]
fn a_backup_that_is_not_there_says_which_one_was_meant() {
    let site = site();
    for (id, hint) in [
        ("expert/20260704T101531Z", "did you mean `20260704T101530Z`?"),
        ("expert/19990101T000000Z", "the last one is 20260705T101530Z; `dpl db list expert` shows all"),
    ] {
        let run = site.run(&["-f", "stack.json", "db", "verify", id]).failure(1);
        let headline = format!("error: backup {id} of `expert` does not exist below SITE/backups/databases");
        assert_eq!(run.stderr, format!("{headline}\n  hint: {hint}\n"));
    }
}

#[test]
fn colours_of_a_wrong_command_line_are_those_that_are_asked_for() {
    let run = Site::new().run(&["strat", "--color", "always"]).failure(2);
    assert!(run.stderr.starts_with("\u{1b}[31m\u{1b}[1merror:\u{1b}[0m"), "{:?}", run.stderr);
}

#[test]
fn an_archive_or_an_image_where_services_are_meant_leads_to_the_command_that_takes_it() {
    let site = site();
    let said = |words: &[&str]| site.run(&[words, &["-f", "stack.json"]].concat()).failure(2).stderr;
    for file in ["x.tar.gz", "delivery.tar", "/mnt/usb/all.tgz"] {
        assert!(said(&["load", file]).contains(&format!("`dpl images import {file}`")), "{file}");
    }
    let text = said(&["save", "expert/metis_api:v2"]);
    assert!(text.ends_with("hint: `dpl save` takes services: `dpl save metis-api`\n"), "{text}");
    let text = said(&["load", "team/app:1"]);
    assert!(text.contains("hint: `dpl load` takes services: name one of the manifest that uses"), "{text}");
    let text = said(&["load", "metis-apo"]);
    assert!(!text.contains("hint"), "{text}");
    // What stands behind these is a manifest.
    for words in ["images verify db", "images list db", "check db"] {
        let run = site.run(&words.split(' ').collect::<Vec<_>>()).failure(2);
        let wanted = "error: db is not a manifest: the file does not exist\n  hint: this command takes a manifest (.json), and nothing else\n";
        assert_eq!(run.stderr, wanted, "{words}");
    }
}
