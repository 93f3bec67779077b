//! Delivered folders as their reader sees them: counts and sizes first, paths where they are asked for.

use std::fmt::Write as _;

use crate::catalogue::Catalogue;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column};
use crate::files::{FilesDocument, FilesPlanDocument, FilesStatusDocument, LocalEditDocument, PathDocument};

/// What of the paths is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    Counted,
    All,
}

/// `files list`.
pub fn list(listed: &FilesDocument, catalogue: &Catalogue, width: Option<usize>) -> String {
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("files-column-name")).at_least(8),
        title(message!("files-column-mode")).leaves(2),
        title(message!("column-from")).at_least(12).leaves(1),
        title(message!("files-column-to")).at_least(12),
        title(message!("files-column-delivered")).at_least(20).leaves(3),
        title(message!("files-column-kept")).at_least(20).leaves(4),
    ];
    let time = |at: &Option<String>| at.as_deref().map_or_else(|| "-".to_owned(), table::time);
    let rows = listed.files.iter().map(|folder| {
        vec![
            folder.name.clone(),
            folder.mode.word().to_owned(),
            folder.from.clone(),
            folder.to.clone(),
            time(&folder.delivered_at),
            time(&folder.kept_since),
        ]
    });
    table::within(&columns, rows.collect(), width)
}

/// `files plan`, and what is shown before the question of an apply.
pub fn plan(planned: &FilesPlanDocument, paths: Paths, output: &Output) -> String {
    let catalogue = output.catalogue;
    let header = catalogue.words([
        message!("files-column-name"),
        message!("files-column-mode"),
        message!("files-column-added"),
        message!("files-column-changed"),
        message!("files-column-removed"),
        message!("files-column-same"),
        message!("files-column-local"),
        message!("files-column-copied"),
        message!("files-column-to"),
    ]);
    let rows = planned.files.iter().map(|folder| {
        let removed = match folder.removed {
            0 => "0".to_owned(),
            // All of how many: a share tells more than a count.
            count => output.paint(Tone::Bad, &format!("{count}/{}", folder.present)),
        };
        vec![
            folder.name.clone(),
            folder.mode.word().to_owned(),
            folder.added.to_string(),
            folder.changed.to_string(),
            removed,
            (folder.unchanged + folder.left).to_string(),
            folder.local.len().to_string(),
            table::size(folder.copied_bytes),
            folder.to.clone(),
        ]
    });
    let mut page = table::whole(&header, rows.collect(), output.width());
    for folder in &planned.files {
        if paths == Paths::All && !folder.paths.is_empty() {
            let _ = writeln!(page, "\n{}", folder.name);
            folder.paths.iter().for_each(|path| page.push_str(&change(path, output)));
        }
        if !folder.local.is_empty() {
            let _ = writeln!(page, "\n{}", catalogue.text(&message!("files-local-title", name = &folder.name)));
            folder.local.iter().for_each(|edit| page.push_str(&edited(edit, catalogue)));
        }
    }
    page
}

/// `files status`.
pub fn status(status: &FilesStatusDocument, catalogue: &Catalogue) -> String {
    let mut page = String::new();
    for FolderLine { text, edits } in status.files.iter().map(|folder| FolderLine::of(folder, catalogue)) {
        let _ = writeln!(page, "{text}");
        edits.iter().for_each(|edit| page.push_str(&edited(edit, catalogue)));
    }
    page
}

/// What is said of one folder.
struct FolderLine<'s> {
    text: String,
    edits: &'s [LocalEditDocument],
}

impl<'s> FolderLine<'s> {
    fn of(status: &'s crate::files::FolderStatus, catalogue: &Catalogue) -> Self {
        let name = &status.folder.name;
        let edits = status.local.as_deref().unwrap_or_default();
        let message = match (&status.folder.delivered_at, edits.len()) {
            _ if status.folder.interrupted => message!("files-interrupted", name = name),
            (None, _) => message!("files-status-never", name = name),
            (Some(at), 0) => message!("files-status-same", name = name, at = table::time(at)),
            (Some(at), count) => message!("files-status-differs", name = name, count = count, at = table::time(at)),
        };
        let mut text = catalogue.text(&message);
        let due = &status.folder.restart_due;
        if !due.is_empty() {
            let message = message!("files-status-due", services = crate::report::Listed::of(due));
            let _ = write!(text, "\n  {}", catalogue.text(&message));
        }
        Self { text, edits }
    }
}

fn change(path: &PathDocument, output: &Output) -> String {
    let sign = match path.act.as_str() {
        "added" => output.paint(Tone::Good, "+"),
        "removed" => output.paint(Tone::Bad, "-"),
        _ => output.paint(Tone::Attention, "~"),
    };
    format!("  {sign} {}\n", shown(&path.path))
}

fn edited(edit: &LocalEditDocument, catalogue: &Catalogue) -> String {
    let path = shown(&edit.path);
    let message = match edit.act.as_str() {
        "edited" => message!("files-local-edited", path = path),
        "removed" => message!("files-local-removed", path = path),
        _ => message!("files-local-added", path = path),
    };
    format!("  {}\n", catalogue.text(&message))
}

/// A path that moves no cursor.
fn shown(path: &str) -> String {
    let plain = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    path.chars().map(plain).collect()
}
