//! A project with one delivered folder, and what lies in folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{Run, Site};

/// A project whose `modules` are delivered from `delivery` to `data/modules`; `keys` are more keys of it.
pub fn site(keys: &str) -> Site {
    let site = Site::new();
    manifest(&site, "data/modules", keys);
    site
}

pub fn manifest(site: &Site, to: &str, keys: &str) {
    let text = format!(
        r#"{{ "project": "p", "paths": {{ "data": "data" }}, "services": {{ "web": {{ "image": "web:1" }} }},
            "files": {{ "modules": {{ "from": "delivery", "to": "{to}"{keys} }} }} }}"#
    );
    site.write("stack.json", &text);
}

/// `dpl files …` on the project.
pub fn files(site: &Site, arguments: &[&str]) -> Run {
    site.run(&[&["-f", "stack.json", "files"], arguments].concat())
}

pub fn apply(site: &Site) -> Run {
    files(site, &["apply", "--yes"])
}

/// Makes a folder hold exactly these files.
pub fn fill(folder: &Path, files: &[(&str, &str)]) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Files and their texts, links and their targets, folders with a slash behind their names; without what is dpl's own.
pub fn look(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(folder, "", &mut found);
    found
}

fn collect(folder: &Path, before: &str, found: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".dpl-") {
            continue;
        }
        let (path, kind) = (format!("{before}{name}"), entry.file_type().unwrap());
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
            found.insert(format!("{path}/"), String::new());
        } else if kind.is_symlink() {
            found.insert(path, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
        } else {
            found.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// The names of what is dpl's own in a folder.
pub fn own(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut own: Vec<String> = entries.filter(|name| name.starts_with(".dpl-")).collect();
    own.sort();
    own
}
