//! The named points: those that the tests take their sample from, and those that are left to the soak.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::repository;

/// A command on a state in which it passes certain points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    Save,
    SaveArchives,
    Load,
    PruneImages,
    RemoveImages,
    PruneEngine,
    Import,
    Export,
    FirstStart,
    Unpause,
    WithGpu,
    Restart,
    Replace,
    ReplaceInVain,
    Stop,
    Remove,
    RemoveAll,
    Backup,
    Dump,
    Rebuild,
    RebuildOutside,
    RebuildNew,
    Convert,
    Restore,
    Rollback,
    /// Of a database that is gone, but one of it is kept.
    RollbackDropped,
    Verify,
    PruneBackups,
    /// `rollback`: services back to their image and configuration of before.
    RollbackServices,
}

/// A point in a scene.
#[derive(Debug)]
pub struct Point {
    pub scene: Scene,
    pub name: &'static str,
    /// How often it is passed at least.
    pub passes: u64,
}

const fn at(scene: Scene, name: &'static str, passes: u64) -> Point {
    Point { scene, name, passes }
}

/// Where the tests kill: a few of each scene in an ordinary run.
pub const SAMPLE: &[Point] = &[
    at(Scene::Save, "fs.durable.before-rename", 8),
    at(Scene::Save, "fs.durable.after-rename", 8),
    at(Scene::Save, "images.save.after-export", 1),
    at(Scene::Save, "images.save.before-record", 2),
    at(Scene::Save, "images.save.before-blob", 2),
    at(Scene::Save, "images.save.after-blob", 2),
    at(Scene::Save, "images.save.before-config", 2),
    at(Scene::Save, "images.save.before-manifest", 2),
    at(Scene::Save, "images.save.before-document", 4),
    at(Scene::Save, "images.save.before-index", 1),
    at(Scene::Save, "images.save.after-index", 1),
    at(Scene::SaveArchives, "images.save.before-archive", 2),
    at(Scene::SaveArchives, "images.save.after-archive", 2),
    at(Scene::Load, "images.load.before-archive", 1),
    at(Scene::Load, "images.load.after-layer", 1),
    at(Scene::Load, "images.load.before-manifest", 1),
    at(Scene::Load, "images.load.before-keep", 1),
    at(Scene::Load, "images.load.before-tag", 2),
    at(Scene::Load, "images.load.after-tag", 2),
    at(Scene::Load, "state.loads.before-write", 2),
    at(Scene::PruneImages, "images.removal.before-index", 1),
    at(Scene::PruneImages, "images.removal.after-index", 1),
    at(Scene::PruneImages, "images.removal.before-blob", 4),
    at(Scene::PruneImages, "images.removal.before-records", 1),
    at(Scene::PruneImages, "images.prune.before-leftover", 1),
    at(Scene::PruneImages, "images.prune.before-archive", 1),
    at(Scene::PruneImages, "fs.durable.before-rename", 1),
    at(Scene::RemoveImages, "images.removal.before-index", 1),
    at(Scene::RemoveImages, "images.removal.after-index", 1),
    at(Scene::RemoveImages, "images.removal.before-blob", 3),
    at(Scene::PruneEngine, "images.engine-prune.before-remove", 1),
    at(Scene::Import, "images.save.before-blob", 2),
    at(Scene::Import, "images.save.after-blob", 2),
    at(Scene::Import, "images.import.before-config", 2),
    at(Scene::Import, "images.save.before-document", 4),
    at(Scene::Import, "images.save.before-index", 1),
    at(Scene::Import, "images.save.after-index", 1),
    at(Scene::Export, "images.export.before-layer", 3),
    at(Scene::Export, "images.export.before-manifest", 1),
    at(Scene::Export, "images.export.before-rename", 1),
    at(Scene::Export, "images.export.after-rename", 1),
    at(Scene::FirstStart, "services.execute.before-network", 1),
    at(Scene::FirstStart, "services.execute.before-volume", 1),
    at(Scene::FirstStart, "services.execute.before-create", 2),
    at(Scene::FirstStart, "services.execute.after-start", 2),
    at(Scene::Unpause, "services.execute.before-unpause", 1),
    at(Scene::WithGpu, "services.gpus.before-probe", 1),
    at(Scene::WithGpu, "services.gpus.after-create", 1),
    at(Scene::WithGpu, "services.helper.before-create", 1),
    at(Scene::WithGpu, "services.helper.after-create", 1),
    at(Scene::Restart, "services.execute.before-restart", 1),
    at(Scene::Restart, "engine.lock.after-make", 1),
    at(Scene::Restart, "engine.lock.before-remove", 1),
    at(Scene::Restart, "state.journal.after-begin", 1),
    at(Scene::Restart, "state.journal.before-end", 1),
    at(Scene::Restart, "services.execute.after-restart", 1),
    at(Scene::Replace, "services.execute.after-create", 1),
    at(Scene::Replace, "services.execute.before-stop", 1),
    at(Scene::Replace, "services.execute.after-stop", 1),
    at(Scene::Replace, "services.execute.before-policy", 1),
    at(Scene::Replace, "services.execute.after-policy", 1),
    at(Scene::Replace, "services.execute.before-rename", 2),
    at(Scene::Replace, "services.execute.after-rename", 2),
    at(Scene::Replace, "services.execute.before-start", 1),
    at(Scene::Replace, "services.execute.after-start", 1),
    at(Scene::Replace, "services.execute.after-ready", 1),
    at(Scene::Replace, "services.execute.before-remove", 1),
    at(Scene::Replace, "services.execute.after-remove", 1),
    at(Scene::ReplaceInVain, "services.execute.way-back", 6),
    at(Scene::Stop, "services.execute.after-stop", 2),
    at(Scene::Remove, "services.execute.before-remove", 2),
    at(Scene::RemoveAll, "services.execute.before-remove-network", 1),
    at(Scene::RemoveAll, "services.execute.before-remove-volume", 1),
    at(Scene::Backup, "databases.helper.before-create", 1),
    at(Scene::Backup, "databases.dump.before-pg-dump", 1),
    at(Scene::Backup, "databases.dump.before-record", 1),
    at(Scene::Backup, "databases.backup.before-rename", 1),
    at(Scene::Backup, "databases.backup.after-rename", 1),
    at(Scene::Backup, "databases.helper.after-create", 1),
    at(Scene::Verify, "databases.throwaway.before-create", 1),
    at(Scene::Verify, "databases.throwaway.after-create", 1),
    at(Scene::Verify, "databases.verify.before-restore", 1),
    at(Scene::Verify, "databases.verify.before-compare", 1),
    at(Scene::Verify, "databases.verify.before-result", 1),
    at(Scene::Verify, "databases.verify.after-result", 1),
    at(Scene::PruneBackups, "databases.prune.before-rename", 2),
    at(Scene::PruneBackups, "databases.prune.after-rename", 2),
    at(Scene::PruneBackups, "databases.prune.after-remove", 2),
    at(Scene::Dump, "databases.dump.before-stream", 1),
    at(Scene::Dump, "databases.seed.before-exchange", 1),
    at(Scene::Dump, "databases.seed.before-old-removed", 1),
    at(Scene::Dump, "databases.seed.after-exchange", 1),
    at(Scene::Rebuild, "databases.rebuild.before-create", 1),
    at(Scene::Rebuild, "databases.rebuild.after-create", 1),
    at(Scene::Rebuild, "databases.rebuild.before-restore", 1),
    at(Scene::Rebuild, "databases.rebuild.after-restore", 1),
    at(Scene::Rebuild, "databases.rebuild.after-analyze", 1),
    at(Scene::Rebuild, "databases.rebuild.before-stop", 1),
    at(Scene::Rebuild, "state.stopped.before-write", 1),
    at(Scene::Rebuild, "state.stopped.before-remove", 1),
    at(Scene::Rebuild, "databases.rebuild.before-close", 1),
    at(Scene::Rebuild, "databases.rebuild.after-close", 1),
    at(Scene::Rebuild, "databases.rebuild.before-renames", 1),
    at(Scene::Rebuild, "databases.rebuild.after-renames", 1),
    at(Scene::Rebuild, "databases.rebuild.before-start", 1),
    at(Scene::Rebuild, "databases.rebuild.before-patches", 1),
    at(Scene::Rebuild, "databases.rebuild.after-patches", 1),
    at(Scene::Rebuild, "databases.rebuild.before-preserve-commit", 1),
    at(Scene::Rebuild, "databases.rebuild.after-preserve", 1),
    at(Scene::Rebuild, "databases.backup.after-rename", 1),
    at(Scene::Rebuild, "databases.rebuild.before-drop", 1),
    at(Scene::Rebuild, "databases.rebuild.after-drop", 1),
    at(Scene::RebuildOutside, "databases.outside.before-create", 1),
    at(Scene::RebuildOutside, "databases.rebuild.after-restore", 1),
    at(Scene::RebuildOutside, "databases.rebuild.after-close", 1),
    at(Scene::RebuildOutside, "databases.rebuild.before-renames", 1),
    at(Scene::RebuildOutside, "databases.rebuild.after-renames", 1),
    at(Scene::RebuildOutside, "databases.rebuild.before-drop", 1),
    at(Scene::RebuildNew, "databases.rebuild.before-naming", 1),
    at(Scene::RebuildNew, "databases.rebuild.after-naming", 1),
    at(Scene::Restore, "databases.rebuild.after-restore", 1),
    at(Scene::Restore, "databases.rebuild.after-close", 1),
    at(Scene::Restore, "databases.rebuild.after-renames", 1),
    at(Scene::Convert, "databases.convert.before-fill", 1),
    at(Scene::Convert, "databases.convert.before-publish", 1),
    at(Scene::Rollback, "databases.rollback.before-mark", 1),
    at(Scene::Rollback, "databases.rollback.after-mark", 1),
    at(Scene::Rollback, "databases.rebuild.after-close", 1),
    at(Scene::Rollback, "databases.rebuild.before-renames", 1),
    at(Scene::Rollback, "databases.rebuild.after-renames", 1),
    at(Scene::Rollback, "databases.rebuild.before-start", 1),
    at(Scene::Rollback, "databases.rollback.before-keep", 1),
    at(Scene::RollbackDropped, "databases.rollback.before-naming", 1),
    at(Scene::RollbackServices, "state.loads.before-write", 2),
    at(Scene::RollbackServices, "images.load.before-keep", 1),
    at(Scene::RollbackServices, "images.load.before-tag", 1),
    at(Scene::RollbackServices, "images.load.after-tag", 1),
    at(Scene::RollbackServices, "services.execute.before-create", 1),
    at(Scene::RollbackServices, "services.execute.before-stop", 1),
    at(Scene::RollbackServices, "services.execute.after-stop", 1),
    at(Scene::RollbackServices, "services.execute.after-rename", 2),
    at(Scene::RollbackServices, "services.execute.after-start", 1),
    at(Scene::RollbackServices, "services.execute.after-ready", 1),
    at(Scene::RollbackServices, "services.execute.before-remove", 1),
    at(Scene::RollbackServices, "state.deployments.before-write", 1),
];

/// Points that are not in the sample, by the tests that kill there, and why the sample can't.
const ELSEWHERE: &[(&str, &str, &[&str])] = &[
    (
        "tests/engine/fetching.rs",
        "it takes a site",
        &["databases.arrival.before-file", "databases.arrival.before-name", "databases.arrival.after-name"],
    ),
    (
        "tests/engine/ended_databases.rs",
        "nothing is made before it, and Ctrl-C is pressed there; or only a file system passes it that can't exchange two names",
        &["databases.convert.before-scan", "databases.seed.old-is-aside"],
    ),
    (
        "tests/folders/kills.rs",
        "it takes a repository of snapshots, and no engine",
        &[
            "folders.init.password-written",
            "folders.prune.snapshots-removed",
            "folders.repository.before-rename",
            "folders.repository.locked",
            "folders.restore.file-renamed",
            "folders.restore.file-written",
            "folders.restore.saved",
            "folders.walk.listed",
        ],
    ),
    ("tests/folders/retention.rs", "nothing is done before it: others work meanwhile", &["folders.prune.shown"]),
    ("tests/engine/images_others.rs", "only the containerd store falls short", &["images.load.before-full"]),
    (
        "tests/engine/site_kills.rs",
        "it takes a site",
        &[
            "sites.receive.after-piece",
            "sites.receive.before-name",
            "sites.receive.after-name",
            "sites.place.before-file",
            "sites.place.before-record",
            "sites.place.before-clean",
            "sites.place.before-seed",
            "sites.place.after-seed",
            "sites.place.before-seed-record",
            "images.adopt.before-move",
            "images.adopt.after-move",
            "images.adopt.before-names",
        ],
    ),
    (
        "tests/files/kills.rs",
        "it takes no engine",
        &[
            "files.stage.after-entry",
            "files.stage.before-sync",
            "files.apply.staged",
            "files.swap.noted",
            "files.swap.before-exchange",
            "files.swap.after-exchange",
            "files.swap.old-is-aside",
            "files.swap.before-replaced",
            "files.swap.before-kept",
            "files.swap.before-gone",
            "files.swap.before-record",
            "files.in-place.after-step",
            "files.rollback.noted",
            "files.rollback.brought-out",
        ],
    ),
    (
        "tests/packages/kills.rs",
        "it takes no engine",
        &[
            "images.releases.before-name",
            "images.releases.after-name",
            "packages.pack.before-entry",
            "packages.pack.before-end",
            "packages.pack.before-rename",
            "packages.pack.after-rename",
            "packages.parts.before-name",
            "packages.parts.after-name",
            "packages.unpack.before-files",
            "packages.unpack.before-entry",
            "packages.unpack.before-names",
            "packages.unpack.before-seed",
            "packages.unpack.before-receipt",
        ],
    ),
    (
        "tests/packages/deltas.rs",
        "it takes no engine",
        &["packages.pack.before-delta", "packages.unpack.before-rebuild", "packages.unpack.after-rebuild"],
    ),
];

#[test]
fn every_point_in_the_code_is_killed_at() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    points_below(&repository().join("src"), &mut places);
    assert!(places.len() >= 60, "the points were not found: {places:?}");
    for (name, found) in &places {
        assert_eq!(found.len(), 1, "two points have the name {name}: {found:?}");
    }
    let in_code: BTreeSet<&str> = places.keys().map(String::as_str).collect();
    let sampled: BTreeSet<&str> = SAMPLE.iter().map(|point| point.name).collect();
    let mut elsewhere = BTreeSet::new();
    for (file, _, points) in ELSEWHERE {
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        for point in *points {
            // Some files write a family of points as one text with the last word left open.
            let family = format!("{}.{{", point.rsplit_once('.').unwrap().0);
            assert!(text.contains(point) || text.contains(&family), "{file} does not name {point}");
            assert!(elsewhere.insert(*point), "{point} twice");
        }
    }
    assert_eq!(sampled.intersection(&elsewhere).collect::<Vec<_>>(), Vec::<&&str>::new(), "in both tables");
    let known: BTreeSet<&str> = sampled.union(&elsewhere).copied().collect();
    assert_eq!(known, in_code, "points of the tables on the left, of the code on the right");
}

/// The points that the code passes, with the files that they stand in.
fn points_below(folder: &Path, places: &mut BTreeMap<String, Vec<String>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            points_below(&path, places);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for found in line.split("failpoint!(\"").skip(1) {
                let name = found.split('"').next().unwrap_or_default();
                places.entry(name.to_owned()).or_default().push(path.display().to_string());
            }
        }
    }
}
