//! What delivering a folder changes: pure, of what was delivered, what is there, and what was delivered before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::paths::encoded;
use super::tree::{Entry, Kind, Tree};
use crate::manifest::model::{DeliveredFolder, DeliveryMode, Owner};
use crate::report::Message;

/// Contents as records have them: by path below the target.
pub type Contents = BTreeMap<String, String>;

/// What becomes of what somebody changed in the target since it was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalChoice {
    /// Nobody said; nothing is done where there is such a change.
    #[default]
    Undecided,
    Keep,
    Overwrite,
}

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Added,
    Changed,
    Removed,
}

/// A path to which something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    pub act: Act,
    pub is_folder: bool,
}

/// What somebody did to the target since it was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalAct {
    Edited,
    Removed,
    Added,
}

/// A path to which somebody did something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalEdit {
    pub path: PathBuf,
    pub act: LocalAct,
}

impl LocalEdit {
    pub fn message(&self) -> Message {
        let path = self.path.display();
        match self.act {
            LocalAct::Edited => message!("files-local-edited", path = path),
            LocalAct::Removed => message!("files-local-removed", path = path),
            LocalAct::Added => message!("files-local-added", path = path),
        }
    }
}

/// Where what lies at a path afterwards comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Delivered,
    Present,
}

/// What lies at a path afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub origin: Origin,
    pub is_folder: bool,
    pub mode: u32,
    /// `None`: the user who writes it.
    pub owner: Option<Owner>,
}

/// What delivering a folder does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderPlan {
    /// All that lies in the target afterwards; itself at the empty path.
    pub result: BTreeMap<PathBuf, Placed>,
    /// By path.
    pub changes: Vec<Change>,
    /// Files and links that are as they were delivered.
    pub unchanged: usize,
    /// Of `add`: those that differ from what is delivered, and stay.
    pub left: Vec<PathBuf>,
    /// What somebody changed, and what this undoes, or with [`LocalChoice::Keep`] leaves.
    pub local: Vec<LocalEdit>,
    /// Bytes that are copied.
    pub copied_bytes: u64,
    /// Bytes of files that go or are replaced.
    pub replaced_bytes: u64,
    /// Files and links that lie in the target now, without what is left out.
    pub present: usize,
    /// What the record has of the target afterwards.
    pub delivered: Contents,
}

impl FolderPlan {
    /// How many files and links are added, changed or removed.
    pub fn count(&self, act: Act) -> usize {
        self.changes.iter().filter(|change| change.act == act && !change.is_folder).count()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether more goes than so many percent of what is there.
    pub fn removes_more_than(&self, percent: u32) -> bool {
        self.count(Act::Removed) as u64 * 100 > u64::from(percent) * self.present as u64
    }
}

/// What a delivery of `source` to `present` does, `before` being what was delivered before.
pub fn plan(
    folder: &DeliveredFolder,
    source: &Tree,
    present: &Tree,
    before: Option<&Contents>,
    choice: LocalChoice,
) -> FolderPlan {
    let mut planner = Planner { folder, source, present, before, choice, plan: FolderPlan::default() };
    let paths: BTreeSet<&Path> = source.entries.keys().chain(present.entries.keys()).map(PathBuf::as_path).collect();
    // A path at which afterwards something else than a folder lies: nothing lies below it.
    let mut closed: Option<&Path> = None;
    for path in paths {
        match closed {
            Some(above) if path.starts_with(above) => planner.below_a_file(path),
            _ => {
                planner.decide(path);
                closed = planner.plan.result.get(path).filter(|placed| !placed.is_folder).map(|_| path);
            }
        }
    }
    planner.finish()
}

/// What differs from what was delivered: all of it, whatever the next delivery brings.
pub fn local_edits(mode: DeliveryMode, before: &Contents, present: &Tree) -> Vec<LocalEdit> {
    let mut edits = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (path, entry) in &present.entries {
        let text = encoded(path);
        let act = match before.get(&text) {
            Some(content) if entry.content().as_ref() == Some(content) => None,
            // What a folder replaced is gone; what is in the folder was added.
            Some(_) if entry.is_folder() => Some(LocalAct::Removed),
            Some(_) => Some(LocalAct::Edited),
            None if entry.is_folder() || entry.is_excluded || mode != DeliveryMode::Mirror => None,
            None => Some(LocalAct::Added),
        };
        known.insert(text);
        edits.extend(act.map(|act| LocalEdit { path: path.clone(), act }));
    }
    let gone = before.keys().filter(|path| !known.contains(*path));
    edits.extend(gone.map(|path| LocalEdit { path: super::paths::decoded(path), act: LocalAct::Removed }));
    edits.sort();
    edits
}

struct Planner<'a> {
    folder: &'a DeliveredFolder,
    source: &'a Tree,
    present: &'a Tree,
    before: Option<&'a Contents>,
    choice: LocalChoice,
    plan: FolderPlan,
}

impl Planner<'_> {
    fn decide(&mut self, path: &Path) {
        let (delivered, present) = (self.source.get(path), self.present.get(path));
        if present.is_some_and(|entry| !entry.is_folder() && !entry.is_excluded) {
            self.plan.present += 1;
        }
        match (delivered, present) {
            (Some(new), None) => self.add(path, new),
            (None, Some(old)) => self.leave_or_remove(path, old),
            (Some(new), Some(old)) => self.leave_or_replace(path, new, old),
            (None, None) => {}
        }
    }

    fn add(&mut self, path: &Path, new: &Entry) {
        let known = self.known(path).cloned();
        if let (Some(content), false) = (known, new.is_folder()) {
            self.local(path, LocalAct::Removed);
            if self.choice == LocalChoice::Keep {
                self.plan.delivered.insert(encoded(path), content);
                return;
            }
        }
        self.deliver(path, new, None, Act::Added);
    }

    fn leave_or_remove(&mut self, path: &Path, old: &Entry) {
        let known = self.known(path).cloned();
        if old.is_excluded || self.folder.mode != DeliveryMode::Mirror {
            self.stay(path, old);
            self.remember(path, known);
            return;
        }
        let edit = self.edit_of(path, old);
        if let Some(act) = edit {
            self.local(path, act);
            if self.choice == LocalChoice::Keep {
                self.stay(path, old);
                self.remember(path, known);
                return;
            }
        }
        self.remove(path, old);
    }

    fn leave_or_replace(&mut self, path: &Path, new: &Entry, old: &Entry) {
        let is_same = match (&new.kind, &old.kind) {
            (Kind::Folder, Kind::Folder) => true,
            _ => new.content().is_some() && new.content() == old.content(),
        };
        let adds_only = self.folder.mode == DeliveryMode::Add;
        if is_same && (adds_only || self.has_properties(new, old)) {
            if !old.is_folder() {
                self.plan.unchanged += 1;
            }
            self.stay(path, old);
            self.remember(path, new.content());
            return;
        }
        let known = self.known(path).cloned();
        if adds_only {
            self.plan.left.push(path.to_owned());
            self.stay(path, old);
            self.remember(path, known);
            return;
        }
        let edit = if is_same { None } else { self.edit_of(path, old) };
        if let Some(act) = edit {
            self.local(path, act);
            if self.choice == LocalChoice::Keep {
                self.stay(path, old);
                self.remember(path, known.or_else(|| new.content()));
                return;
            }
        }
        self.plan.replaced_bytes += old.stamp.size;
        self.deliver(path, new, Some(old), Act::Changed);
    }

    /// Below what is no folder afterwards.
    fn below_a_file(&mut self, path: &Path) {
        if let Some(old) = self.present.get(path) {
            if !old.is_folder() && !old.is_excluded {
                self.plan.present += 1;
            }
            self.remove(path, old);
        } else if self.source.get(path).is_some_and(|new| !new.is_folder()) {
            self.plan.left.push(path.to_owned());
        }
    }

    fn known(&self, path: &Path) -> Option<&String> {
        self.before.and_then(|before| before.get(&encoded(path)))
    }

    /// What somebody did to a file that is there, as far as a record tells.
    fn edit_of(&self, path: &Path, old: &Entry) -> Option<LocalAct> {
        self.before.filter(|_| !old.is_folder())?;
        match self.known(path) {
            None => Some(LocalAct::Added),
            Some(content) if old.content().as_ref() == Some(content) => None,
            Some(_) => Some(LocalAct::Edited),
        }
    }

    /// Whether it has the owner and the permissions already that it would get.
    fn has_properties(&self, new: &Entry, old: &Entry) -> bool {
        let has_mode = matches!(old.kind, Kind::Link(_)) || self.mode(new, Some(old)) == old.mode;
        has_mode && self.folder.owner.is_none_or(|owner| owner == old.owner)
    }

    fn mode(&self, new: &Entry, old: Option<&Entry>) -> u32 {
        let permissions = &self.folder.permissions;
        match (new.is_folder(), old) {
            (true, Some(old)) if old.is_folder() => permissions.folders.map_or(old.mode, |mode| mode.0),
            (true, _) => permissions.folders.map_or(new.mode & 0o777, |mode| mode.0),
            (false, _) => permissions.files.map_or(new.mode & 0o777, |mode| mode.0),
        }
    }

    fn deliver(&mut self, path: &Path, new: &Entry, old: Option<&Entry>, act: Act) {
        let of_target = || self.present.get(Path::new("")).map(|target| target.owner);
        let owner = self.folder.owner.or_else(|| old.map(|old| old.owner)).or_else(of_target);
        let is_folder = new.is_folder();
        let placed = Placed { origin: Origin::Delivered, is_folder, mode: self.mode(new, old), owner };
        self.plan.result.insert(path.to_owned(), placed);
        self.plan.copied_bytes += new.stamp.size;
        self.change(path, act, is_folder);
        self.remember(path, new.content());
    }

    fn stay(&mut self, path: &Path, old: &Entry) {
        let placed =
            Placed { origin: Origin::Present, is_folder: old.is_folder(), mode: old.mode, owner: Some(old.owner) };
        self.plan.result.insert(path.to_owned(), placed);
    }

    fn remove(&mut self, path: &Path, old: &Entry) {
        self.plan.replaced_bytes += old.stamp.size;
        self.change(path, Act::Removed, old.is_folder());
    }

    fn change(&mut self, path: &Path, act: Act, is_folder: bool) {
        self.plan.changes.push(Change { path: path.to_owned(), act, is_folder });
    }

    fn local(&mut self, path: &Path, act: LocalAct) {
        self.plan.local.push(LocalEdit { path: path.to_owned(), act });
    }

    fn remember(&mut self, path: &Path, content: Option<String>) {
        if let Some(content) = content {
            self.plan.delivered.insert(encoded(path), content);
        }
    }

    /// Folders in which something stays, stay.
    fn finish(mut self) -> FolderPlan {
        let mut missing: BTreeSet<PathBuf> = BTreeSet::new();
        for path in self.plan.result.keys() {
            let above = path.ancestors().skip(1).take_while(|above| !self.plan.result.contains_key(*above));
            missing.extend(above.map(Path::to_owned));
        }
        for path in &missing {
            if let Some(old) = self.present.get(path) {
                self.stay(path, old);
            }
        }
        self.plan.changes.retain(|change| change.act != Act::Removed || !missing.contains(&change.path));
        self.plan
    }
}

#[cfg(test)]
mod tests;
