//! One folder of the manifest's `files`: looked at, planned, applied, rolled back.

use std::path::{Path, PathBuf};

use super::error::FilesError;
use super::in_place;
use super::kept::written_since;
use super::paths::{Places, decoded, encoded, found, identity, is_mounted, real};
use super::plan::{FolderPlan, LocalChoice, LocalEdit, local_edits, plan};
use super::stage::{Extent, Staging, remove_all};
use super::swap::{Progress, Swap, is_same, keep};
use super::tree::{Digests, Entry, Excluded, Kind, Tree};
use crate::manifest::Manifest;
use crate::manifest::model::{DeliveredFolder, DeliveryMode};
use crate::report::{Activity, Message, Reporter};
use crate::state::{
    DeliveredFiles, Delivery, KeptFolder, PendingSwap, StateDir, SwapWay, WayBack, delivered_files,
    note_delivered_files,
};

/// A folder of the manifest's `files`, and where what is known of it is kept.
pub struct Job<'a> {
    pub name: &'a str,
    pub folder: &'a DeliveredFolder,
    pub manifest: &'a Manifest,
    pub state: &'a StateDir,
}

/// What lies where a folder is delivered to.
pub struct Look {
    /// Links followed.
    pub target: PathBuf,
    pub places: Places,
    /// The target can't be renamed.
    pub is_in_place: bool,
    /// A folder with a name that the target had before, which becomes the target.
    pub moved: Option<String>,
    /// Other such folders, and such a one beside a target that is there: nothing happens to them.
    pub passed_over: Vec<PathBuf>,
    pub source: Tree,
    /// Empty where there is no target.
    pub present: Tree,
    pub record: DeliveredFiles,
    pub plan: FolderPlan,
}

impl Job<'_> {
    /// What is known of it. A record of another target tells nothing of this one, unless the target had that name.
    ///
    /// # Errors
    /// A record that can't be read.
    pub fn record(&self) -> Result<DeliveredFiles, FilesError> {
        Ok(delivered_files(self.state, self.name)?)
    }

    /// The target, links followed.
    ///
    /// # Errors
    /// One that lies where it may not, or is something else than a folder.
    pub fn target(&self) -> Result<PathBuf, FilesError> {
        let path = &self.folder.to;
        let target = real(path).map_err(FilesError::file(path))?;
        if found(&target).map_err(FilesError::file(&target))?.is_some_and(|metadata| !metadata.is_dir()) {
            return Err(FilesError::NotAFolder { path: target });
        }
        if self.folder.outside {
            return Ok(target);
        }
        for root in [Some(&self.manifest.folder), self.manifest.paths.data.as_ref()].into_iter().flatten() {
            let root = real(root).map_err(FilesError::file(root))?;
            if target.starts_with(&root) && target != root {
                return Ok(target);
            }
        }
        Err(FilesError::Outside { name: self.name.to_owned(), path: target })
    }

    /// Looks at what is delivered and what is there, and plans.
    ///
    /// # Errors
    /// What can't be read or delivered, and a request to stop.
    pub fn look(&self, choice: LocalChoice, digests: &mut Digests, reporter: &Reporter) -> Result<Look, FilesError> {
        let target = self.target()?;
        let is_there = found(&target).map_err(FilesError::file(&target))?.is_some();
        let is_in_place = is_there && (is_mounted(&target) || crate::failpoint::pretends("files.target-mounted"));
        let places = if is_in_place { Places::inside(&target) } else { Places::beside(&target) };
        let (moved, passed_over) = self.earlier_names(&places, is_there)?;
        let record = of_target(self.record()?, &target, moved.as_deref());
        let mut source = self.source(reporter)?;
        let present_root = present_root(&places, moved.as_deref());
        let mut present = match is_there || moved.is_some() {
            true => Tree::scan(&present_root, &self.folder.exclude, Excluded::Marked, reporter)?,
            false => Tree::default(),
        };
        source.read_contents(&self.folder.from, |_, _| true, digests, reporter)?;
        let before = record.delivered.as_ref().map(|delivery| &delivery.files);
        let is_wanted = |path: &Path, entry: &Entry| {
            let same_size = source.get(path).is_some_and(|new| new.stamp.size == entry.stamp.size);
            same_size || before.is_some_and(|before| before.contains_key(&encoded(path)))
        };
        present.read_contents(&present_root, is_wanted, digests, reporter)?;
        let plan = plan(self.folder, &source, &present, before, choice);
        Ok(Look { target, places, is_in_place, moved, passed_over, source, present, record, plan })
    }

    /// What is delivered.
    fn source(&self, reporter: &Reporter) -> Result<Tree, FilesError> {
        let from = &self.folder.from;
        if found(from).map_err(FilesError::file(from))?.is_none() {
            return Err(FilesError::NoSource { name: self.name.to_owned(), path: from.clone() });
        }
        let source = Tree::scan(from, &self.folder.exclude, Excluded::PassedOver, reporter)?;
        if let Some((path, _)) = source.entries.iter().find(|(_, entry)| entry.kind == Kind::Other) {
            return Err(FilesError::Special { path: from.join(path) });
        }
        let has_files = source.entries.values().any(|entry| !entry.is_folder());
        if !has_files && self.folder.mode == DeliveryMode::Mirror {
            return Err(FilesError::EmptySource { name: self.name.to_owned(), path: from.clone() });
        }
        Ok(source)
    }

    /// The folder that becomes the target, if there is one with a name of before; and those to which nothing happens.
    fn earlier_names(&self, places: &Places, is_there: bool) -> Result<(Option<String>, Vec<PathBuf>), FilesError> {
        let (mut moved, mut passed_over) = (None, Vec::new());
        for name in &self.folder.was {
            // Beside the target, also where that is a mount.
            let path = places.target.parent().unwrap_or(Path::new("/")).join(name);
            let is_folder = found(&path).map_err(FilesError::file(&path))?.is_some_and(|metadata| metadata.is_dir());
            match (is_folder, is_there || moved.is_some()) {
                (false, _) => {}
                (true, true) => passed_over.push(path),
                (true, false) if is_mounted(&path) => return Err(FilesError::Mounted { path }),
                (true, false) => moved = Some(name.clone()),
            }
        }
        Ok((moved, passed_over))
    }

    /// What somebody changed since the last delivery; `None` where nothing was delivered.
    ///
    /// # Errors
    /// What can't be read.
    pub fn local_edits(
        &self,
        digests: &mut Digests,
        reporter: &Reporter,
    ) -> Result<Option<Vec<LocalEdit>>, FilesError> {
        let target = self.target()?;
        let Some(delivery) = of_target(self.record()?, &target, None).delivered else { return Ok(None) };
        let mut present = match found(&target).map_err(FilesError::file(&target))? {
            Some(_) => Tree::scan(&target, &self.folder.exclude, Excluded::Marked, reporter)?,
            None => Tree::default(),
        };
        let is_wanted = |path: &Path, _: &Entry| delivery.files.contains_key(&encoded(path));
        present.read_contents(&target, is_wanted, digests, reporter)?;
        Ok(Some(local_edits(self.folder.mode, &delivery.files, &present)))
    }

    /// Brings what an earlier run began to its end, or takes it back where nothing was swapped yet.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn recover(&self, reporter: &Reporter) -> Result<(), FilesError> {
        let record = self.record()?;
        let Some(pending) = record.pending.clone() else { return Ok(()) };
        let target = decoded(&record.target);
        let places = match pending.way {
            SwapWay::InPlace(_) => Places::inside(&target),
            _ => Places::beside(&target),
        };
        if matches!(pending.way, SwapWay::InPlace(_)) && !in_place::has_traces(&places)? {
            return Err(FilesError::TargetAway { name: self.name.to_owned(), path: target });
        }
        let is_new = matches!(pending.way, SwapWay::Apply | SwapWay::Move(_));
        if is_new && swap_of(&places, &pending).progress()? == Progress::NotBegun {
            remove_all(&places.staged)?;
            return Ok(note_delivered_files(self.state, self.name, &DeliveredFiles { pending: None, ..record })?);
        }
        reporter.notice(message!("files-recovered", name = self.name));
        self.carry_out(&places, &pending, record, reporter)
    }

    /// Stages what is delivered, and puts it in place; gives the path of what is kept.
    ///
    /// # Errors
    /// What can't be read, written or renamed, and a target that changed since it was looked at. The target is the old folder then,
    /// unless it is the renames that fail.
    pub fn apply(
        &self,
        look: &Look,
        restart_due: &[String],
        (at, by): (&str, &str),
        reporter: &Reporter,
    ) -> Result<Option<PathBuf>, FilesError> {
        let places = &look.places;
        let moved = look.moved.as_deref();
        let root = present_root(places, moved);
        let is_there = !look.present.entries.is_empty();
        let staging = Staging {
            name: self.name,
            plan: &look.plan,
            source: (self.folder.from.as_path(), &look.source),
            present: is_there.then_some((root.as_path(), &look.present)),
            places,
            reporter,
        };
        staging.stage(if look.is_in_place { Extent::Changes } else { Extent::Whole })?;
        crate::failpoint!("files.apply.staged");
        let unchanged = self.ensure_unchanged(look, &root, reporter);
        if let Err(error) = unchanged.and_then(|()| self.ensure_kept_may_go(look)) {
            remove_all(&places.staged)?;
            return Err(error);
        }
        let way = match (look.is_in_place, moved) {
            (true, _) => SwapWay::InPlace(in_place::steps(&look.plan, &look.present)),
            (false, Some(name)) => SwapWay::Move(name.to_owned()),
            (false, None) => SwapWay::Apply,
        };
        let way_back = match (&way, is_there) {
            (SwapWay::InPlace(steps), _) => WayBack::InPlace(steps.clone()),
            (SwapWay::Move(name), _) => WayBack::Renamed(name.clone()),
            (_, true) => WayBack::Whole,
            (_, false) => WayBack::Nothing,
        };
        let folder = match look.is_in_place {
            true => None,
            false => identity(&places.staged).map_err(FilesError::file(&places.staged))?,
        };
        let kept = KeptFolder { since: at.to_owned(), delivered: look.record.delivered.clone(), way_back };
        let pending = PendingSwap {
            way,
            folder,
            delivered: Some(self.delivery(look, (at, by))),
            kept: Some(kept),
            swapped_at: Some(jiff::Timestamp::now().to_string()),
            // Until then the plan has seen all that was there.
            written_after: Some(at.to_owned()),
            restart_due: restart_due.to_vec(),
        };
        self.swap(look, pending, reporter)
    }

    /// Writes down what was delivered, where all of it is in place already.
    ///
    /// # Errors
    /// A record that can't be written.
    pub fn note_unchanged(&self, look: &Look, (at, by): (&str, &str)) -> Result<(), FilesError> {
        let known = look.record.delivered.as_ref().map(|delivery| &delivery.files);
        if known == Some(&look.plan.delivered) {
            return Ok(());
        }
        let delivered = Some(self.delivery(look, (at, by)));
        let record = DeliveredFiles { target: encoded(&look.target), delivered, ..look.record.clone() };
        Ok(note_delivered_files(self.state, self.name, &record)?)
    }

    /// Brings back what was kept when the target was replaced; gives the path of what is kept now.
    ///
    /// # Errors
    /// Nothing that is kept, and what the system refuses.
    pub fn rollback(
        &self,
        restart_due: &[String],
        at: &str,
        reporter: &Reporter,
    ) -> Result<Option<PathBuf>, FilesError> {
        let (record, kept) = self.way_back()?;
        let target = decoded(&record.target);
        let replaced = KeptFolder { since: at.to_owned(), delivered: record.delivered.clone(), ..kept.clone() };
        let (way, back) = match &kept.way_back {
            WayBack::Whole => (SwapWay::Rollback, Some(replaced)),
            // There is no way forth again but another apply.
            WayBack::Nothing => (SwapWay::Remove, None),
            WayBack::Renamed(name) => (SwapWay::MoveBack(name.clone()), None),
            WayBack::InPlace(steps) => {
                let places = Places::inside(&target);
                let steps = in_place::undone(steps, &places.kept)?;
                let back = KeptFolder { way_back: WayBack::InPlace(steps.clone()), ..replaced };
                (SwapWay::InPlace(steps), Some(back))
            }
        };
        let places = match way {
            SwapWay::InPlace(_) => Places::inside(&target),
            _ => Places::beside(&target),
        };
        let folder = match way {
            SwapWay::Remove => None,
            _ => {
                let there = identity(&places.kept).map_err(FilesError::file(&places.kept))?;
                let gone = || FilesError::KeptGone { name: self.name.to_owned(), path: places.kept.clone() };
                Some(there.ok_or_else(gone)?)
            }
        };
        let pending = PendingSwap {
            way,
            folder,
            delivered: kept.delivered.clone(),
            kept: back,
            swapped_at: Some(jiff::Timestamp::now().to_string()),
            // No plan looks at what was written since the apply.
            written_after: Some(record.swapped_at.clone().unwrap_or_else(|| at.to_owned())),
            restart_due: restart_due.to_vec(),
        };
        let noted = DeliveredFiles { pending: Some(pending.clone()), ..record };
        note_delivered_files(self.state, self.name, &noted)?;
        crate::failpoint!("files.rollback.noted");
        self.carry_out(&places, &pending, noted, reporter)?;
        Ok(found(&places.kept).map_err(FilesError::file(&places.kept))?.map(|_| places.kept.clone()))
    }

    /// What is known of it, and what a rollback brings back.
    ///
    /// # Errors
    /// Nothing that is kept.
    pub fn way_back(&self) -> Result<(DeliveredFiles, KeptFolder), FilesError> {
        let record = self.record()?;
        match record.kept.clone() {
            Some(kept) => Ok((record, kept)),
            None => Err(FilesError::NothingKept { name: self.name.to_owned() }),
        }
    }

    /// A file that was written into what is kept, and that lies nowhere else.
    ///
    /// # Errors
    /// What can't be read.
    pub fn written_to_kept(&self) -> Result<Option<PathBuf>, FilesError> {
        let record = self.record()?;
        let target = decoded(&record.target);
        match [Places::beside(&target).kept, Places::inside(&target).kept].iter().find(|kept| kept.is_dir()) {
            Some(kept) => written_after(&record, kept),
            None => Ok(None),
        }
    }

    /// Whether what is kept of the last swap may be removed by the next.
    ///
    /// # Errors
    /// A file in it that was written since and lies nowhere else, and a folder of that name of which nothing is known.
    pub fn ensure_kept_may_go(&self, look: &Look) -> Result<(), FilesError> {
        let Look { places, record, .. } = look;
        let earlier = look.moved.iter().map(|name| Places::beside(&places.named(name)).kept);
        for kept in earlier.chain([places.kept.clone(), places.old.clone()]) {
            if found(&kept).map_err(FilesError::file(&kept))?.is_none() {
                continue;
            }
            let name = self.name.to_owned();
            if record.target.is_empty() {
                return Err(FilesError::KeptUnknown { name, path: kept });
            }
            if let Some(path) = written_after(record, &kept)? {
                return Err(FilesError::KeptWritten { name, path, kept });
            }
        }
        Ok(())
    }

    /// Services were restarted.
    ///
    /// # Errors
    /// A record that can't be read or written.
    pub fn note_restarted(&self) -> Result<(), FilesError> {
        let record = self.record()?;
        if record.restart_due.is_empty() {
            return Ok(());
        }
        Ok(note_delivered_files(self.state, self.name, &DeliveredFiles { restart_due: Vec::new(), ..record })?)
    }

    fn delivery(&self, look: &Look, (at, by): (&str, &str)) -> Delivery {
        let from = encoded(&self.folder.from);
        Delivery { at: at.to_owned(), by: by.to_owned(), from, files: look.plan.delivered.clone() }
    }

    /// Whether the target is still as it was planned for.
    fn ensure_unchanged(&self, look: &Look, root: &Path, reporter: &Reporter) -> Result<(), FilesError> {
        let now = match found(root).map_err(FilesError::file(root))? {
            Some(_) => Tree::scan(root, &self.folder.exclude, Excluded::Marked, reporter)?,
            None => Tree::default(),
        };
        match now.looks_as(&look.present) {
            true => Ok(()),
            false => Err(FilesError::TargetChanged { name: self.name.to_owned(), path: root.to_owned() }),
        }
    }

    fn swap(&self, look: &Look, pending: PendingSwap, reporter: &Reporter) -> Result<Option<PathBuf>, FilesError> {
        let target = encoded(&look.target);
        let noted = DeliveredFiles { target, pending: Some(pending.clone()), ..look.record.clone() };
        note_delivered_files(self.state, self.name, &noted)?;
        crate::failpoint!("files.swap.noted");
        let places = &look.places;
        self.carry_out(places, &pending, noted, reporter)?;
        // What was kept under the name that the target had before, and what a rollback to nothing left.
        if let Some(name) = &look.moved {
            remove_all(&Places::beside(&places.named(name)).kept)?;
        }
        if pending.kept.as_ref().is_some_and(|kept| kept.way_back == WayBack::Nothing) {
            remove_all(&places.kept)?;
        }
        Ok(found(&places.kept).map_err(FilesError::file(&places.kept))?.map(|_| places.kept.clone()))
    }

    /// Does what is pending, from wherever it stands, and writes down that it is done.
    fn carry_out(
        &self,
        places: &Places,
        pending: &PendingSwap,
        record: DeliveredFiles,
        reporter: &Reporter,
    ) -> Result<(), FilesError> {
        reporter.began(Activity::SwapFiles, self.name, None);
        let done = (|| {
            bring_out(places, pending)?;
            match &pending.way {
                SwapWay::InPlace(steps) => in_place::run(places, steps).and_then(|()| keep(places)),
                _ => swap_of(places, pending).run(),
            }?;
            crate::failpoint!("files.swap.before-record");
            let done = DeliveredFiles {
                target: record.target,
                delivered: pending.delivered.clone(),
                kept: pending.kept.clone(),
                swapped_at: pending.swapped_at.clone(),
                written_after: pending.written_after.clone(),
                pending: None,
                restart_due: pending.restart_due.clone(),
            };
            Ok::<_, FilesError>(note_delivered_files(self.state, self.name, &done)?)
        })();
        match &done {
            Ok(()) => reporter.done(Activity::SwapFiles, self.name, message!("files-swapped")),
            Err(error) => reporter.failed(Activity::SwapFiles, self.name, error),
        }
        done
    }
}

impl Look {
    /// Whether there is anything to do.
    pub fn has_work(&self) -> bool {
        !self.plan.is_empty() || self.moved.is_some()
    }

    /// What differs from what was delivered, and that nobody decided about.
    ///
    /// # Errors
    /// That there is such a thing.
    pub fn ensure_decided(&self, name: &str, choice: LocalChoice) -> Result<(), FilesError> {
        match choice == LocalChoice::Undecided && !self.plan.local.is_empty() {
            true => Err(FilesError::LocalEdits { name: name.to_owned(), edits: self.plan.local.clone() }),
            false => Ok(()),
        }
    }

    /// What a reader should know who looks at the plan.
    pub fn notices(&self, name: &str) -> Vec<Message> {
        let mut notices = Vec::new();
        if self.record.pending.is_some() {
            notices.push(message!("files-interrupted", name = name));
        }
        if let Some(earlier) = &self.moved {
            notices.push(message!("files-moved", earlier = earlier, target = self.target.display()));
        }
        for path in &self.passed_over {
            notices.push(message!("files-passed-over", path = path.display()));
        }
        if self.is_in_place {
            notices.push(message!("files-in-place", target = self.target.display()));
        }
        notices
    }
}

/// A record, as far as it is about this target.
fn of_target(record: DeliveredFiles, target: &Path, moved: Option<&str>) -> DeliveredFiles {
    let known = decoded(&record.target);
    let is_moved = moved.is_some_and(|name| target.parent().is_some_and(|parent| known == parent.join(name)));
    match known == target || is_moved || record.pending.is_some() {
        true => record,
        false => DeliveredFiles::default(),
    }
}

/// A file in a folder that is kept, written later than the record says.
fn written_after(record: &DeliveredFiles, kept: &Path) -> Result<Option<PathBuf>, FilesError> {
    let since = record.written_after.as_ref().or(record.kept.as_ref().map(|kept| &kept.since));
    match since.and_then(|since| since.parse().ok()) {
        Some(since) => written_since(kept, since),
        None => Ok(None),
    }
}

/// Where what becomes the target lies now.
fn present_root(places: &Places, moved: Option<&str>) -> PathBuf {
    moved.map_or_else(|| places.target.clone(), |name| places.named(name))
}

fn swap_of(places: &Places, pending: &PendingSwap) -> Swap {
    let (place, replaced) = match &pending.way {
        SwapWay::Move(name) => (places.target.clone(), Some(places.named(name))),
        SwapWay::MoveBack(name) => (places.named(name), Some(places.target.clone())),
        SwapWay::Apply | SwapWay::Rollback | SwapWay::Remove | SwapWay::InPlace(_) => (places.target.clone(), None),
    };
    Swap { places: places.clone(), folder: pending.folder, place, replaced }
}

/// What is kept is staged, where it is what comes back and lies there still.
fn bring_out(places: &Places, pending: &PendingSwap) -> Result<(), FilesError> {
    let comes_back = pending.folder.filter(|_| !matches!(pending.way, SwapWay::Apply | SwapWay::Move(_)));
    let kept = &places.kept;
    let lies_there = identity(kept).map_err(FilesError::file(kept))?;
    if comes_back.is_some_and(|folder| is_same(lies_there, folder)) {
        remove_all(&places.staged)?;
        std::fs::rename(kept, &places.staged).map_err(FilesError::file(kept))?;
        crate::failpoint!("files.rollback.brought-out");
    }
    Ok(())
}
