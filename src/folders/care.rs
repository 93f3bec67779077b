//! The care of a repository: verifying snapshots, and removing those that no rule keeps.

use std::collections::BTreeMap;

use super::documents::{DataPruneDocument, DataVerifyDocument, KeptSnapshot, PrunedFolder, SnapshotDocument};
use super::error::FoldersError;
use super::repository::{ReadData, Snapshot, Store};
use super::settings::{BEFORE_RESTORE, DataFolder};
use super::snapshots::snapshots_of;
use super::verified::{How, Verified};
use crate::report::{Activity, Reporter};

/// Verifies snapshots of data folders, and writes down that they were.
pub fn verify(
    store: &Store,
    snapshots: &[Snapshot],
    depth: ReadData,
    reporter: &Reporter,
) -> Result<DataVerifyDocument, FoldersError> {
    let subject = store.folder().display().to_string();
    reporter.began(Activity::VerifySnapshots, &subject, None);
    let ids: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.clone()).collect();
    let trees: Vec<_> = snapshots.iter().map(|snapshot| snapshot.tree).collect();
    let damage = store.check(&trees, depth, reporter).inspect_err(|error| {
        reporter.failed(Activity::VerifySnapshots, &subject, error);
    })?;
    match damage.len() {
        0 => {
            let how = if depth == ReadData::All { How::Data } else { How::Structure };
            Verified::change(store.folder(), |verified| verified.add(&ids, how))?;
            reporter.done(Activity::VerifySnapshots, &subject, message!("data-verify-good"));
        }
        count => {
            // Which of them it hits is not said: none counts as proved any more.
            Verified::change(store.folder(), |verified| verified.forget(&ids))?;
            let error = FoldersError::Damaged { path: store.folder().to_owned(), count };
            reporter.failed(Activity::VerifySnapshots, &subject, &error);
        }
    }
    let read_percent = match depth {
        ReadData::Nothing => 0.0,
        ReadData::Percent(percent) => percent,
        ReadData::All => 100.0,
    };
    Ok(DataVerifyDocument { snapshots: ids, read_percent, damage })
}

/// What a prune keeps and removes, and what that would free.
pub fn plan_prune(store: &Store, folders: &[DataFolder]) -> Result<DataPruneDocument, FoldersError> {
    let verified = Verified::read(store.folder())?;
    let mut document = DataPruneDocument::default();
    let mut gone = Vec::new();
    for folder in folders {
        let snapshots = snapshots_of(store, folder)?;
        let kept = kept(store, folder, &snapshots, &verified)?;
        let mut pruned = PrunedFolder { name: folder.name.clone(), ..PrunedFolder::default() };
        for snapshot in &snapshots {
            let snapshot = SnapshotDocument::of(folder, snapshot, &verified);
            match kept.get(&snapshot.id) {
                Some(kept_by) => pruned.kept.push(KeptSnapshot { snapshot, kept_by: kept_by.clone() }),
                None => {
                    gone.push(snapshot.id.clone());
                    pruned.removed.push(snapshot);
                }
            }
        }
        document.data.push(pruned);
    }
    let freed = store.would_free(&gone)?;
    (document.freed_bytes, document.bytes_left) = (freed.bytes, freed.bytes_left);
    Ok(document)
}

/// The IDs that stay, and why: by the rules, the newest, and the last verified one, whose proof by all bytes counts more. Snapshots
/// that restores took are counted apart: one restore after the other would push out all others.
fn kept(
    store: &Store,
    folder: &DataFolder,
    snapshots: &[Snapshot],
    verified: &Verified,
) -> Result<BTreeMap<String, Vec<String>>, FoldersError> {
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for is_before_restore in [false, true] {
        let ids: Vec<String> = snapshots
            .iter()
            .filter(|snapshot| snapshot.tags.iter().any(|tag| tag == BEFORE_RESTORE) == is_before_restore)
            .map(|snapshot| snapshot.id.clone())
            .collect();
        let Some(newest) = ids.last() else { continue };
        kept.extend(store.kept(&ids, &folder.keep)?);
        kept.entry(newest.clone()).or_default().push("newest".to_owned());
    }
    let ids: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.clone()).collect();
    let last = |how: How| ids.iter().rev().find(|id| verified.of(id).is_some_and(|record| record.how >= how));
    for proved in [last(How::Data), last(How::Structure)].into_iter().flatten() {
        let reasons = kept.entry(proved.clone()).or_default();
        if !reasons.iter().any(|reason| reason == LAST_VERIFIED) {
            reasons.push(LAST_VERIFIED.to_owned());
        }
    }
    Ok(kept)
}

const LAST_VERIFIED: &str = "last verified";

/// Removes what the plan says, and what no snapshot needs any more. The repository must be locked exclusively.
pub fn prune(store: &Store, plan: &mut DataPruneDocument, reporter: &Reporter) -> Result<(), FoldersError> {
    let removed = plan.data.iter().flat_map(|folder| &folder.removed);
    let gone: Vec<String> = removed.map(|snapshot| snapshot.id.clone()).collect();
    let subject = store.folder().display().to_string();
    reporter.began(Activity::PruneSnapshots, &subject, None);
    let freed = store.remove(&gone).inspect_err(|error| {
        reporter.failed(Activity::PruneSnapshots, &subject, error);
    })?;
    (plan.freed_bytes, plan.bytes_left, plan.done) = (freed.bytes, freed.bytes_left, true);
    Verified::change(store.folder(), |verified| verified.forget(&gone))?;
    reporter.done(
        Activity::PruneSnapshots,
        &subject,
        message!("data-prune-done", count = gone.len(), freed = freed.bytes),
    );
    Ok(())
}
