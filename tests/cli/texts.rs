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
