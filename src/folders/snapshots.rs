//! Snapshots of a data folder: taking them, finding them, comparing them, going back to one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::compare::{Comparison, Side};
use super::documents::{DifferencesDocument, SnapshotDocument, SnapshotReport, TroubleDocument};
use super::entry::Entry;
use super::error::FoldersError;
use super::repository::{Reader, Snapshot, Store};
use super::restore::Restore;
use super::settings::{BEFORE_RESTORE, DataFolder};
use super::trouble::{Trouble, Troubles};
use super::verified::Verified;
use super::walk::{Walk, entry_at};
use crate::report::{Activity, Reporter};

/// The snapshots of a data folder, the oldest first.
pub fn snapshots_of(store: &Store, folder: &DataFolder) -> Result<Vec<Snapshot>, FoldersError> {
    let tag = folder.tag();
    let all = store.snapshots()?;
    Ok(all.into_iter().filter(|snapshot| snapshot.tags.contains(&tag)).collect())
}

/// The snapshot of a data folder that `id` names: the beginning of its ID, or `latest`. That is never one that a restore took: after
/// an interrupted restore the same command goes on to the same state.
pub fn find_snapshot(store: &Store, folder: &DataFolder, id: &str) -> Result<Snapshot, FoldersError> {
    let mut all = snapshots_of(store, folder)?;
    if id == "latest" {
        all.retain(|snapshot| !snapshot.tags.iter().any(|tag| tag == BEFORE_RESTORE));
        return all.pop().ok_or_else(|| FoldersError::NoSnapshot { id: id.to_owned() });
    }
    all.retain(|snapshot| !id.is_empty() && snapshot.id.starts_with(id));
    match all.len() {
        0 => Err(FoldersError::NoSnapshot { id: id.to_owned() }),
        1 => Ok(all.remove(0)),
        _ => {
            let found = all.into_iter().map(|snapshot| snapshot.id).collect();
            Err(FoldersError::Ambiguous { id: id.to_owned(), found })
        }
    }
}

/// The folder on disk, by its canonical path.
pub fn root_of(store: &Store, folder: &DataFolder) -> Result<PathBuf, FoldersError> {
    let root = match fs::canonicalize(&folder.path) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FoldersError::NotThere { name: folder.name.clone(), path: folder.path.clone() });
        }
        Err(error) => return Err(FoldersError::reading(&folder.path)(error)),
    };
    if !root.is_dir() {
        return Err(FoldersError::NotAFolder { path: root });
    }
    let repository = fs::canonicalize(store.folder()).map_err(FoldersError::reading(store.folder()))?;
    if repository.starts_with(&root) {
        return Err(FoldersError::HoldsRepository { path: root });
    }
    Ok(root)
}

fn walk_of(root: &Path, folder: &DataFolder) -> Result<Walk, FoldersError> {
    Walk::new(root, &folder.exclude, folder.one_file_system)
}

/// Refuses a folder without files where the last snapshot has some: its disk is not mounted, most likely, and a snapshot of nothing
/// would be the newest.
pub fn refuse_emptied(store: &Store, folder: &DataFolder) -> Result<(), FoldersError> {
    let files = match find_snapshot(store, folder, "latest") {
        Ok(last) => last.files,
        Err(FoldersError::NoSnapshot { .. }) => 0,
        Err(error) => return Err(error),
    };
    let root = root_of(store, folder)?;
    if files > 0 && !walk_of(&root, folder)?.has_files(&root) {
        return Err(FoldersError::Emptied { name: folder.name.clone(), path: root, files });
    }
    Ok(())
}

/// Takes a snapshot; what went wrong with single files is in the report.
pub fn take_snapshot(
    store: &Store,
    folder: &DataFolder,
    tags: &[&str],
    reporter: &Reporter,
) -> Result<SnapshotReport, FoldersError> {
    let root = root_of(store, folder)?;
    let walk = walk_of(&root, folder)?;
    let mut all = vec!["dpl".to_owned(), folder.tag()];
    all.extend(tags.iter().map(|tag| (*tag).to_owned()));
    reporter.began(Activity::SnapshotFolder, &folder.name, None);
    match store.archive(walk, &all, reporter, &folder.name) {
        Ok(archived) => {
            let snapshot = SnapshotDocument::of(folder, &archived.snapshot, &Verified::default());
            let short = super::repository::short(&snapshot.id);
            let done = message!("data-snapshot-done", id = short, files = snapshot.files, added = snapshot.added_bytes);
            reporter.done(Activity::SnapshotFolder, &folder.name, done);
            Ok(SnapshotReport { snapshot, troubles: told(&archived.troubles, reporter) })
        }
        Err(error) => {
            reporter.failed(Activity::SnapshotFolder, &folder.name, &error);
            Err(error)
        }
    }
}

/// Warns of what went wrong with single files.
fn told(troubles: &[Trouble], reporter: &Reporter) -> Vec<TroubleDocument> {
    use crate::report::Told as _;
    let tell = |trouble: &Trouble| {
        reporter.warn(trouble.message());
        TroubleDocument::of(trouble)
    };
    troubles.iter().map(tell).collect()
}

/// How `newer`, or what is there where it is `None`, differs from `older`.
pub fn differences(
    store: &Store,
    folder: &DataFolder,
    (older, newer): (&Snapshot, Option<&Snapshot>),
    reporter: &Reporter,
) -> Result<DifferencesDocument, FoldersError> {
    let reader = store.reader()?;
    let was = reader.find(older, &older.path)?;
    let mut found = DifferencesDocument::default();
    let troubles = Troubles::default();
    let root = match newer {
        Some(newer) => newer.path.clone(),
        None => root_of(store, folder)?,
    };
    let walk = newer.is_none().then(|| walk_of(&root, folder)).transpose()?;
    let (newer, is) = match (&walk, newer) {
        (Some(walk), _) => (Side::Disk { walk, troubles: &troubles }, present(&root, &troubles)?),
        (None, Some(newer)) => (Side::Snapshot(&reader), reader.find(newer, &newer.path)?),
        (None, None) => return Ok(found),
    };
    let comparison = Comparison { older: Side::Snapshot(&reader), newer, reader: &reader, root: &root };
    comparison.run((&was, &is), &mut |difference| {
        found.add(&difference);
        stopped(reporter)
    })?;
    told(&troubles.take(), reporter);
    Ok(found)
}

fn stopped(reporter: &Reporter) -> Result<(), FoldersError> {
    if reporter.asked_to_stop() { Err(FoldersError::Stopped) } else { Ok(()) }
}

fn present(path: &Path, troubles: &Troubles) -> Result<Entry, FoldersError> {
    entry_at(path, &mut |trouble| troubles.add(trouble)).map_err(FoldersError::reading(path))
}

/// What is to be restored, and where.
#[derive(Debug)]
pub struct RestoreGoal {
    pub snapshot: Snapshot,
    /// The path of the snapshot that is restored, absolute.
    pub source: PathBuf,
    /// What is brought to its state, absolute.
    pub target: PathBuf,
    /// Whether that is the data folder itself, or in it.
    pub is_in_place: bool,
    /// When the snapshot of what is there was begun: what was written later stays. `None` where nothing was there to be saved.
    pub saved_at: Option<jiff::Timestamp>,
}

impl RestoreGoal {
    /// `below` is a path in the data folder. `to` is a folder that must not exist, or be empty.
    pub fn new(folder: &DataFolder, snapshot: Snapshot, below: &Path, to: Option<&Path>) -> Self {
        let source = snapshot.path.join(below);
        let Some(to) = to else {
            let root = fs::canonicalize(&folder.path).unwrap_or_else(|_| folder.path.clone());
            let target = if below.as_os_str().is_empty() { root } else { root.join(below) };
            return Self { snapshot, source, target, is_in_place: true, saved_at: None };
        };
        Self { snapshot, source, target: to.to_owned(), is_in_place: false, saved_at: None }
    }
}

/// The walk of what is there at the target: in place without what is left out of snapshots, else all.
fn walk_at(root: &Path, folder: &DataFolder, is_in_place: bool) -> Result<Walk, FoldersError> {
    if is_in_place { walk_of(root, folder) } else { Walk::new(root, &[], false) }
}

/// The data folder, or the target: what patterns are relative to. The nearest that exists, for a target that does not.
fn walk_root(folder: &DataFolder, goal: &RestoreGoal) -> PathBuf {
    let root = if goal.is_in_place { &folder.path } else { &goal.target };
    let existing = root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    fs::canonicalize(existing).unwrap_or_else(|_| existing.to_owned())
}

/// A single file goes into the folder that `--to` names.
fn target_of(goal: &RestoreGoal, wanted: &Entry) -> PathBuf {
    match goal.is_in_place || wanted.is_folder() {
        true => goal.target.clone(),
        false => goal.target.join(&wanted.name),
    }
}

/// What the restore changes.
pub fn plan_restore(
    store: &Store,
    folder: &DataFolder,
    goal: &RestoreGoal,
    reporter: &Reporter,
) -> Result<DifferencesDocument, FoldersError> {
    let reader = store.reader()?;
    let wanted = reader.find(&goal.snapshot, &goal.source)?;
    let target = target_of(goal, &wanted);
    let troubles = Troubles::default();
    let walk = walk_at(&walk_root(folder, goal), folder, goal.is_in_place)?;
    let present = match entry_at(&target, &mut |trouble| troubles.add(trouble)) {
        Ok(entry) => Some(entry),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(FoldersError::reading(&target)(error)),
    };
    let mut found = DifferencesDocument::default();
    let older = Side::Disk { walk: &walk, troubles: &troubles };
    let comparison = Comparison { older, newer: Side::Snapshot(&reader), reader: &reader, root: &target };
    let mut tell = |difference| {
        found.add(&difference);
        stopped(reporter)
    };
    comparison.whole(present.as_ref(), &wanted, &mut tell)?;
    Ok(found)
}

/// Refuses a target beside the data folder in which something is, and one in it that a link leads out of it.
pub fn refuse_bad_target(folder: &DataFolder, goal: &RestoreGoal) -> Result<(), FoldersError> {
    if goal.is_in_place {
        let root = fs::canonicalize(&folder.path).unwrap_or_else(|_| folder.path.clone());
        let between = goal.target.ancestors().skip(1).take_while(|path| *path != root && path.starts_with(&root));
        let is_way = |path: &Path| fs::symlink_metadata(path).map_or(true, |metadata| metadata.is_dir());
        return match between.into_iter().find(|path| !is_way(path)) {
            Some(path) => Err(FoldersError::NotAFolder { path: path.to_owned() }),
            None => Ok(()),
        };
    }
    match fs::read_dir(&goal.target) {
        // What an interrupted restore wrote may be gone on with: its mark lies there.
        Ok(mut entries) => {
            let is_ours = mark(&goal.target).is_file_of(&goal.snapshot.id);
            if entries.next().is_some() && !is_ours {
                return Err(FoldersError::TargetInUse { path: goal.target.clone() });
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(FoldersError::NotAFolder { path: goal.target.clone() })
        }
        Err(error) => Err(FoldersError::reading(&goal.target)(error)),
    }
}

/// The file that says which snapshot is being restored into a folder.
struct UnderWay(PathBuf);

fn mark(target: &Path) -> UnderWay {
    UnderWay(target.join(".dpl-restoring"))
}

impl UnderWay {
    fn is_file_of(&self, id: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == id)
    }
}

/// Restores; the present state of what is in place must have been snapshotted before.
pub fn restore(
    store: &Store,
    folder: &DataFolder,
    goal: &RestoreGoal,
    bytes: u64,
    reporter: &Reporter,
) -> Result<Vec<TroubleDocument>, FoldersError> {
    let reader: Reader = store.reader()?;
    let wanted = reader.find(&goal.snapshot, &goal.source)?;
    let target = target_of(goal, &wanted);
    let under_way = (!goal.is_in_place).then(|| mark(&goal.target));
    if let Some(UnderWay(path)) = &under_way {
        crate::fs::create_dir_durably(&goal.target).map_err(FoldersError::reading(&goal.target))?;
        fs::write(path, &goal.snapshot.id).map_err(FoldersError::reading(path))?;
    }
    let walk = walk_at(&walk_root(folder, goal), folder, goal.is_in_place)?;
    let troubles = Troubles::default();
    let mut meter = reporter.meter(Activity::RestoreFolder, &folder.name, Some(bytes.max(wanted.size)));
    reporter.began(Activity::RestoreFolder, &folder.name, Some(bytes));
    let mut restore = Restore {
        reader: &reader,
        walk: &walk,
        troubles: &troubles,
        reporter,
        meter: &mut meter,
        done: Default::default(),
        named: HashMap::new(),
        saved_at: goal.saved_at,
        touched: HashSet::new(),
    };
    let restored = restore.run(&wanted, &target);
    let done = restore.done;
    let told = told(&troubles.take(), reporter);
    match restored {
        Ok(()) => {
            if let Some(UnderWay(path)) = &under_way {
                fs::remove_file(path).map_err(FoldersError::reading(path))?;
                // The mark changed the folder's time.
                if wanted.is_folder() {
                    super::restore::set_properties(&target, &wanted);
                }
            }
            let message =
                message!("data-restore-done", added = done.added, changed = done.changed, removed = done.removed);
            reporter.done(Activity::RestoreFolder, &folder.name, message);
            Ok(told)
        }
        Err(error) => {
            reporter.failed(Activity::RestoreFolder, &folder.name, &error);
            Err(error)
        }
    }
}
