//! The recovery sheet: what has to be known when the machine and dpl are gone.

use std::path::Path;

use crate::catalogue::Catalogue;

/// The sheet's text. It holds the password: it is printed for the one who keeps it, and written nowhere.
pub fn sheet(catalogue: &Catalogue, (project, id): (&str, &str), repository: &Path, password: &str) -> String {
    let path = repository.display();
    let made = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let lines = [
        message!("data-sheet-title", project = project),
        message!("data-sheet-made", date = made, host = host),
        message!("data-sheet-what"),
        message!("data-sheet-repository", path = path),
        message!("data-sheet-id", id = id),
        message!("data-sheet-password", password = password),
        message!("data-sheet-restic"),
        message!("data-sheet-keep"),
    ];
    let mut text: String = lines.iter().map(|line| format!("{}\n\n", catalogue.text(line))).collect();
    text.push_str(&format!("    restic -r '{path}' snapshots\n    restic -r '{path}' restore ID --target FOLDER\n"));
    text
}
