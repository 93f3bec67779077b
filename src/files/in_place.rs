//! A target that can't be renamed, since something is mounted there: what changes is staged inside it and put in place path by path.
//! At each path lies the old file or the new one. Killed anywhere, the same steps are done again.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::error::FilesError;
use super::paths::{Places, decoded, encoded, found};
use super::plan::{Act, FolderPlan};
use super::stage::{copy_as_it_is, copy_attributes, open_folder, own};
use super::tree::{Entry, Tree};
use crate::fs::sync_dir;
use crate::manifest::model::Owner;
use crate::state::InPlaceStep;

/// The steps of a plan, in an order in which each can be done: what goes, then folders, then files.
pub fn steps(plan: &FolderPlan, present: &Tree) -> Vec<InPlaceStep> {
    let was_folder = |path: &Path| present.get(path).is_some_and(Entry::is_folder);
    let was_file = |path: &Path| present.get(path).is_some_and(|entry| !entry.is_folder());
    let changes = || plan.changes.iter().map(|change| (change.path.as_path(), change.act, change.is_folder));
    let mut steps = Vec::new();
    for (path, act, is_folder) in changes() {
        let becomes_folder = act == Act::Changed && is_folder && was_file(path);
        if (act == Act::Removed && !is_folder) || becomes_folder {
            steps.push(InPlaceStep::Take(encoded(path)));
        }
    }
    for (path, act, is_folder) in changes().collect::<Vec<_>>().into_iter().rev() {
        let becomes_file = act == Act::Changed && !is_folder && was_folder(path);
        if (act == Act::Removed && is_folder) || becomes_file {
            steps.push(InPlaceStep::TakeFolder(encoded(path)));
        }
    }
    for (path, act, is_folder) in changes() {
        match (act, is_folder) {
            (Act::Removed, _) => {}
            (_, false) => steps.push(InPlaceStep::Put(encoded(path))),
            (Act::Changed, true) if was_folder(path) => steps.push(InPlaceStep::Settle(encoded(path))),
            (_, true) => steps.push(InPlaceStep::Make(encoded(path))),
        }
    }
    steps
}

/// The steps that undo others, `kept` being what these replaced.
pub fn undone(steps: &[InPlaceStep], kept: &Path) -> Result<Vec<InPlaceStep>, FilesError> {
    let (mut taken, mut folders, mut made, mut put) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            InPlaceStep::Take(path) => put.push(InPlaceStep::Put(path.clone())),
            InPlaceStep::TakeFolder(path) => made.push(InPlaceStep::Make(path.clone())),
            InPlaceStep::Make(path) => folders.push(InPlaceStep::TakeFolder(path.clone())),
            InPlaceStep::Settle(path) => made.push(InPlaceStep::Settle(path.clone())),
            InPlaceStep::Put(path) => match lies(&kept.join(decoded(path)))? {
                Lies::Nothing | Lies::Folder => taken.push(InPlaceStep::Take(path.clone())),
                Lies::File => put.push(InPlaceStep::Put(path.clone())),
            },
        }
    }
    // Folders were taken from the innermost on, and made from the outermost on.
    folders.reverse();
    made.reverse();
    Ok([taken, folders, made, put].concat())
}

/// Does the steps; those that were done before change nothing. What is staged goes at the end: where it is gone, all is done.
///
/// # Errors
/// What the system refuses.
pub fn run(places: &Places, steps: &[InPlaceStep]) -> Result<(), FilesError> {
    if let Lies::Nothing = lies(&places.staged)? {
        return Ok(());
    }
    // There, though nothing may be replaced: what is kept is kept of the last swap.
    folders_of_old(places, Path::new(""))?;
    for step in steps {
        match step {
            InPlaceStep::Take(path) => take(places, &decoded(path))?,
            InPlaceStep::TakeFolder(path) => take_folder(places, &decoded(path))?,
            InPlaceStep::Make(path) => make(places, &decoded(path))?,
            InPlaceStep::Put(path) => put(places, &decoded(path))?,
            InPlaceStep::Settle(path) => settle(places, &decoded(path))?,
        }
        crate::failpoint!("files.in-place.after-step");
    }
    // One call for all folders: what was moved lies on this file system alone.
    let synced = open_folder(&places.target).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    synced.map_err(FilesError::file(&places.target))?;
    super::stage::remove_all(&places.staged)?;
    sync_dir(&places.target).map_err(FilesError::file(&places.target))
}

/// Whether anything of a swap lies in the target: what is staged, what has been replaced, or what is kept. From its beginning until
/// it is recorded one of them does; without any, another folder lies at the target's path, since its disk is not mounted.
///
/// # Errors
/// What can't be looked at.
pub fn has_traces(places: &Places) -> Result<bool, FilesError> {
    for path in [&places.staged, &places.old, &places.kept] {
        if !matches!(lies(path)?, Lies::Nothing) {
            return Ok(true);
        }
    }
    Ok(false)
}

enum Lies {
    Nothing,
    Folder,
    File,
}

fn lies(path: &Path) -> Result<Lies, FilesError> {
    Ok(match found(path).map_err(FilesError::file(path))? {
        None => Lies::Nothing,
        Some(metadata) if metadata.is_dir() => Lies::Folder,
        Some(_) => Lies::File,
    })
}

/// Makes the folders of what was replaced down to one, each as the one of the target is.
fn folders_of_old(places: &Places, path: &Path) -> Result<(), FilesError> {
    let above: Vec<&Path> = path.ancestors().collect();
    for folder in above.into_iter().rev() {
        let (from, at) = (places.target.join(folder), places.old.join(folder));
        if let Lies::Nothing = lies(&at)? {
            fs::create_dir(&at).map_err(FilesError::file(&at))?;
            if let Lies::Folder = lies(&from)? {
                same_properties(&from, &at)?;
            }
        }
    }
    Ok(())
}

fn same_properties(from: &Path, at: &Path) -> Result<(), FilesError> {
    let metadata = fs::metadata(from).map_err(FilesError::file(from))?;
    copy_attributes(from, at);
    own(at, Some(Owner { user: metadata.uid(), group: metadata.gid() }))?;
    let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
    // Opened, since chmod(2) follows a link that the target's owner could have put there meanwhile.
    open_folder(at).and_then(|folder| folder.set_permissions(mode)).map_err(FilesError::file(at))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn take(places: &Places, path: &Path) -> Result<(), FilesError> {
    let (from, to) = (places.target.join(path), places.old.join(path));
    if let Lies::File = lies(&from)? {
        folders_of_old(places, parent(path))?;
        fs::rename(&from, &to).map_err(FilesError::file(&from))?;
    }
    Ok(())
}

fn take_folder(places: &Places, path: &Path) -> Result<(), FilesError> {
    let from = places.target.join(path);
    if let Lies::Folder = lies(&from)? {
        folders_of_old(places, path)?;
        match fs::remove_dir(&from) {
            // What somebody put into it meanwhile stays.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => removed.map_err(FilesError::file(&from))?,
        }
    }
    Ok(())
}

fn make(places: &Places, path: &Path) -> Result<(), FilesError> {
    let (from, at) = (places.staged.join(path), places.target.join(path));
    if let Lies::Nothing = lies(&at)? {
        fs::create_dir(&at).map_err(FilesError::file(&at))?;
    }
    match lies(&from)? {
        Lies::Folder => same_properties(&from, &at),
        Lies::Nothing | Lies::File => Ok(()),
    }
}

fn put(places: &Places, path: &Path) -> Result<(), FilesError> {
    let (from, at, old) = (places.staged.join(path), places.target.join(path), places.old.join(path));
    // It is in place already.
    if !matches!(lies(&from)?, Lies::File) {
        return Ok(());
    }
    if let (Lies::File, Lies::Nothing) = (lies(&at)?, lies(&old)?) {
        folders_of_old(places, parent(path))?;
        // A second name for it: the path is never without a file.
        if fs::hard_link(&at, &old).is_err() {
            let half = old.with_file_name(format!("{}half", super::paths::OWN_MARK));
            super::stage::remove_all(&half)?;
            let entry = Entry::at(&at).map_err(FilesError::file(&at))?;
            copy_as_it_is(&at, &half, &entry).and_then(|()| fs::rename(&half, &old)).map_err(FilesError::file(&old))?;
        }
    }
    fs::rename(&from, &at).map_err(FilesError::file(&at))
}

fn settle(places: &Places, path: &Path) -> Result<(), FilesError> {
    let (from, at) = (places.staged.join(path), places.target.join(path));
    if let Lies::Folder = lies(&from)? {
        folders_of_old(places, path)?;
        same_properties(&from, &at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::swap::keep;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(path: &Path) -> Option<String> {
        fs::read_to_string(path).ok()
    }

    fn steps() -> Vec<InPlaceStep> {
        let text = |path: &str| path.to_owned();
        vec![
            InPlaceStep::Take(text("old/gone")),
            InPlaceStep::Take(text("thing")),
            InPlaceStep::TakeFolder(text("old")),
            InPlaceStep::Make(text("thing")),
            InPlaceStep::Put(text("thing/inside")),
            InPlaceStep::Put(text("changed")),
            InPlaceStep::Put(text("added")),
        ]
    }

    fn filled(target: &Path) -> Places {
        for (path, text) in [("old/gone", "gone"), ("thing", "a file"), ("changed", "before"), ("stays", "same")] {
            write(&target.join(path), text);
        }
        let places = Places::inside(target);
        for (path, text) in [("thing/inside", "inside"), ("changed", "after"), ("added", "new")] {
            write(&places.staged.join(path), text);
        }
        places
    }

    fn assert_done(target: &Path) {
        let read = |path: &str| read(&target.join(path));
        assert!(!target.join("old").exists());
        assert_eq!(read("thing/inside").as_deref(), Some("inside"));
        assert_eq!((read("changed").as_deref(), read("added").as_deref()), (Some("after"), Some("new")));
        assert_eq!(read("stays").as_deref(), Some("same"));
    }

    fn assert_undone(target: &Path) {
        let read = |path: &str| read(&target.join(path));
        assert_eq!(read("old/gone").as_deref(), Some("gone"));
        assert_eq!((read("thing").as_deref(), read("changed").as_deref()), (Some("a file"), Some("before")));
        assert!(!target.join("added").exists());
    }

    #[test]
    fn steps_cut_off_anywhere_are_done_by_the_next_run_and_can_be_undone() {
        for done in 0..=steps().len() {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("target");
            let places = filled(&target);
            for step in &steps()[..done] {
                // As `run` does, without what it does at its end.
                match step {
                    InPlaceStep::Take(path) => take(&places, &decoded(path)).unwrap(),
                    InPlaceStep::TakeFolder(path) => take_folder(&places, &decoded(path)).unwrap(),
                    InPlaceStep::Make(path) => make(&places, &decoded(path)).unwrap(),
                    InPlaceStep::Put(path) => put(&places, &decoded(path)).unwrap(),
                    InPlaceStep::Settle(path) => settle(&places, &decoded(path)).unwrap(),
                }
            }
            run(&places, &steps()).unwrap();
            assert_done(&target);
            keep(&places).unwrap();
            let back = undone(&steps(), &places.kept).unwrap();
            fs::rename(&places.kept, &places.staged).unwrap();
            run(&places, &back).unwrap();
            assert_undone(&target);
            keep(&places).unwrap();
            // And there again.
            let forth = undone(&back, &places.kept).unwrap();
            fs::rename(&places.kept, &places.staged).unwrap();
            run(&places, &forth).unwrap();
            assert_done(&target);
        }
    }

    #[test]
    fn permissions_are_not_set_through_a_link_that_somebody_puts_in_place_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("new")).unwrap();
        fs::create_dir(path("secret")).unwrap();
        fs::set_permissions(path("secret"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("secret", path("at")).unwrap();
        assert!(same_properties(&path("new"), &path("at")).is_err());
        assert_eq!(fs::metadata(path("secret")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_somebody_puts_into_a_folder_that_goes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let places = filled(&target);
        write(&target.join("old/local"), "mine");
        run(&places, &steps()).unwrap();
        assert_eq!(read(&target.join("old/local")).as_deref(), Some("mine"));
        assert_eq!(read(&target.join("changed")).as_deref(), Some("after"));
    }
}
