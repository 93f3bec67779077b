//! Where sentences may stand: errors have no text of their own, their sentences are in the catalogue, in both languages.

use std::fs;
use std::path::Path;

use crate::support::repository;

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_error_has_a_text_outside_of_the_catalogue() {
    let (mut derived, mut with_text) = (0, Vec::new());
    each_file(&repository().join("src"), &mut |path, text| {
        derived += text.matches("thiserror::Error").count();
        // With an attribute, thiserror would make a text; without one, `told!` does.
        if text.contains("#[error(") {
            with_text.push(path.to_owned());
        }
    });
    assert!(derived > 10, "errors are made by thiserror: {derived}");
    assert!(with_text.is_empty(), "{with_text:?}");
}

#[test]
fn each_step_of_the_first_ten_minutes_works_from_the_one_before() {
    for page in ["docs/first-ten-minutes.md", "docs/zh/first-ten-minutes.md"] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ dpl ")).collect();
        let place = |command: &str| {
            let found = commands.iter().position(|typed| typed.starts_with(command));
            found.unwrap_or_else(|| panic!("{page}: {command} is not there: {commands:?}"))
        };
        // A server that runs, a database with content, a backup of it, its proof.
        let steps =
            ["use", "check", "doctor", "start postgres", "db rebuild expert", "db backup expert", "db verify expert"];
        assert!(steps.map(place).is_sorted(), "{page}: {commands:?}");
    }
}
