//! Inside `src/images/`: save, load and exchange build on store, store on formats, and none of them the other way.

use std::fs;
use std::path::Path;

use crate::support::repository;

/// Each folder, and what of `crate::images` it must not name.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("formats", &["store", "save", "load", "exchange", "identity", "list", "engine_prune"]),
    ("store", &["save", "load", "exchange", "list", "engine_prune"]),
    ("save", &["load", "exchange", "list", "engine_prune"]),
    ("load", &["save", "exchange", "list", "engine_prune"]),
    ("exchange", &["save", "load", "list", "engine_prune"]),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn imports_inside_images_run_one_way() {
    let named = regex::Regex::new(r"crate::images::([a-z_]+)").unwrap();
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (folder, forbidden) in FORBIDDEN {
        let mut files = Vec::new();
        sources(&repository().join("src/images").join(folder), &mut files);
        for (file, text) in files {
            looked_at += 1;
            let names = named.captures_iter(&text).map(|found| found[1].to_owned());
            wrong.extend(names.filter(|name| forbidden.contains(&name.as_str())).map(|name| format!("{file}: {name}")));
        }
    }
    assert!(looked_at > 30);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
