//! What keeps a database from being replaced, as far as files tell it: no engine, no server.

use crate::support::{Run, Site, record_of_dump};

const STACK: &str = r#"{
  "project": "p",
  "paths": { "backups": "backups" },
  "services": { "postgres": { "image": "postgres:15" } },
  "databases": {
    "expert": { "service": "postgres", "seed": "seeds/expert" },
    "metis": { "service": "postgres", "seed": "seeds/metis" }
  }
}"#;

const BACKUP: &str = "backups/databases/expert/20260704T101530Z";

fn site() -> Site {
    let site = Site::with_manifest(STACK);
    site.write(&format!("{BACKUP}/backup.json"), &record_of_dump("expert"));
    site
}

#[track_caller]
fn says(run: &Run, what: &str) {
    assert!(run.stderr.contains(what), "{what}: {}", run.stderr);
}

#[test]
fn a_backup_of_another_database_is_refused_however_it_is_named_and_in_a_dry_run_too() {
    let site = site();
    let id = "expert/20260704T101530Z";
    for from in [["--backup", id], ["--file", BACKUP]] {
        for how in ["--dry-run", "--yes"] {
            let restore = [&["db", "restore", "stack.json", "metis"][..], &from, &[how]].concat();
            let refused = site.run(&restore).failure(1);
            says(&refused, "it is a dump of `expert`, not of `metis`; give --other-database");
            assert!(!refused.stderr.contains("would be restored"), "{}", refused.stderr);
        }
        let wanted = [&["db", "restore", "stack.json", "metis", "--other-database", "--dry-run"][..], &from].concat();
        let shown = site.run(&wanted).success();
        says(&shown, "is a dump of `expert`, not of `metis`");
        says(&shown, "would be restored");
        // Beside it nothing is lost.
        let beside = [&["db", "restore", "stack.json", "metis", "--as", "copy", "--dry-run"][..], &from].concat();
        says(&site.run(&beside).success(), "would be restored");
    }
    let own = site.run(&["db", "restore", "stack.json", "expert", "--backup", id, "--dry-run"]).success();
    says(&own, "would be restored");
    // No server was asked, which is no word about what it would say.
    says(&own, "the server of expert could not be looked at");
}

/// The record of a backup of another project that has a database of this name.
fn record_of_another_project() -> String {
    let mut record: serde_json::Value = serde_json::from_str(&record_of_dump("expert")).unwrap();
    record["made_by"]["project"] = "q".into();
    record.to_string()
}

#[test]
fn a_backup_of_another_project_in_a_folder_of_both_replaces_nothing_unless_somebody_says_so() {
    let site = Site::with_manifest(STACK);
    site.write(&format!("{BACKUP}/backup.json"), &record_of_another_project());
    let restore = |more: &[&str]| site.run(&[&["db", "restore", "stack.json", "expert"][..], more].concat());
    let id = ["--backup", "expert/20260704T101530Z"];
    for how in ["--dry-run", "--yes"] {
        let refused = restore(&[&id[..], &[how]].concat()).failure(1);
        says(&refused, "it is a backup of project `q`, not of `p`; give --other-database");
    }
    let shown = restore(&[&id[..], &["--other-database", "--dry-run"]].concat()).success();
    says(&shown, "is a backup of project `q`, not of `p`");
    says(&shown, "would be restored");
    // It is none of this project's.
    says(&restore(&["--dry-run"]).failure(1), "`expert` has no backup below");
    // From elsewhere it was brought on purpose.
    site.write("brought/backup.json", &record_of_another_project());
    let shown = restore(&["--file", "brought", "--dry-run"]).success();
    says(&shown, "brought is a backup of project `q`, not of `p`");
    says(&shown, "would be restored");
}

#[test]
fn a_newer_backup_that_is_not_taken_is_named_however_it_is_restored() {
    let site = site();
    site.write("backups/databases/expert/20260705T101530Z/backup.json", "{");
    for how in [&["--dry-run"][..], &["--yes"], &["--as", "copy", "--dry-run"], &["--as", "copy", "--yes"]] {
        let run = site.run(&[&["db", "restore", "stack.json", "expert"][..], how].concat());
        says(&run, "20260705T101530Z is skipped, because it can't be read");
    }
}

#[test]
fn a_seed_of_another_database_and_a_missing_one_are_told_by_a_dry_run() {
    let site = site();
    // Before the name is asked for, too.
    let asked = site.run(&["db", "rebuild", "stack.json", "metis"]).failure(1);
    says(&asked, "`dpl db dump metis`");
    assert!(!asked.stderr.contains("--yes"), "{}", asked.stderr);
    let rebuild = ["db", "rebuild", "stack.json", "metis", "--dry-run"];
    says(&site.run(&rebuild).failure(1), "`dpl db dump metis`");
    site.write("seeds/metis/backup.json", &record_of_dump("expert"));
    says(&site.run(&rebuild).failure(1), "it is a dump of `expert`, not of `metis`");
}

#[test]
fn a_file_that_is_not_there_is_not_asked_for_its_database() {
    let run = site().run(&["db", "convert", "nope.sql", "-f", "stack.json"]).failure(1);
    says(&run, "nope.sql");
    assert!(!run.stderr.contains("--database"), "{}", run.stderr);
}

#[test]
fn without_a_terminal_a_question_for_a_name_says_what_yes_would_do() {
    let run = site().run(&["db", "restore", "stack.json", "expert"]).failure(2);
    says(&run, "--yes does it without asking for the name `expert`");
}
