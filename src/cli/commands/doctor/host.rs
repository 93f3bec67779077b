//! What the engine and its host are.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::report::{DoctorCheck, Say, Verdict};
use crate::cli::commands::databases::backups_of;
use crate::cli::session::Project;
use crate::cli::text::table;
use crate::databases::BackupDocument;
use crate::engine::{ApiVersion, Engine, EngineFacts, ImageStore};
use crate::fs::Disk;

/// The oldest engine that dpl works with.
const OLDEST_API: (u32, u32) = (1, 41);

/// Less than this free is a problem, less than four times as much a warning.
const LITTLE_DISK: u64 = 5_000_000_000;

/// Clocks that are so far apart make times and `--since` misleading, in milliseconds.
const CLOCKS_APART: i64 = 2_000;

/// chmod's `o+w`. A group is who was put into it.
const OTHERS_WRITE: u32 = 0o002;

/// Drivers that copy whole layers, or that engines no longer take.
const OLD_STORAGE: [&str; 5] = ["vfs", "fuse-overlayfs", "devicemapper", "aufs", "overlay"];

pub(super) fn checks(engine: &Engine, facts: &EngineFacts, say: Say) -> Vec<DoctorCheck> {
    let whose = message!("doctor-engine-is", version = &facts.version, address = engine.address());
    let mut checks = vec![
        DoctorCheck::ok("engine", say(whose)),
        api(engine.api(), say),
        DoctorCheck::ok(
            "image store",
            match facts.image_store {
                ImageStore::Classic => say(message!("doctor-store-classic")),
                ImageStore::Containerd => "containerd".to_owned(),
            },
        ),
        storage(facts, say),
        cgroups(facts, engine.address().is_local(), say),
    ];
    checks.extend(clock(facts, say));
    if engine.address().is_local() {
        checks.extend(disk("engine's disk", &facts.root_dir, say));
    }
    checks
}

/// The folders of the manifest, and dpl's own.
pub(super) fn paths(project: &Project, say: Say) -> Vec<DoctorCheck> {
    let paths = &project.manifest().paths;
    let named = [("images", &paths.images), ("data", &paths.data), ("backups", &paths.backups)];
    let mut checks = Vec::new();
    for (name, path) in named {
        let Some(path) = path else { continue };
        if !path.exists() {
            let message = message!("doctor-no-folder", name = name, path = path.display());
            let advice = say(message!("doctor-make-folder"));
            checks.push(DoctorCheck::ok("folders", say(message)).but(Verdict::Warning, advice));
        }
    }
    let own = project.state();
    let written = [paths.images.as_deref(), paths.backups.as_deref(), Some(own.root())];
    checks.extend(written.into_iter().flatten().filter_map(|path| open_to_all(path, say)));
    checks.extend(paths.images.as_deref().and_then(|path| disk("images' disk", path, say)));
    checks.extend(paths.backups.as_deref().and_then(|path| disk("backups' disk", path, say)));
    checks.extend(backups(project, say));
    checks.push(state(project, say));
    checks
}

fn backups(project: &Project, say: Say) -> Vec<DoctorCheck> {
    let now = jiff::Timestamp::now();
    let names = project.manifest().databases.names();
    names.filter_map(|name| late(name, &backups_of(project, name).ok()?, now, say)).collect()
}

/// A database whose last backup, or last verified one, is too long ago for anybody's peace of mind.
fn late(name: &str, backups: &[BackupDocument], now: jiff::Timestamp, say: Say) -> Option<DoctorCheck> {
    const LAST: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
    const VERIFIED: jiff::SignedDuration = jiff::SignedDuration::from_hours(35 * 24);
    let is_within = |time: &str, age| time.parse::<jiff::Timestamp>().is_ok_and(|time| now.duration_since(time) <= age);
    let good = || backups.iter().filter(|backup| backup.found_bad.is_none() && !backup.from_the_future);
    let is_verified =
        |backup: &BackupDocument| backup.verified_at.as_ref().is_some_and(|time| is_within(time, VERIFIED));
    let (found, advice) = if !good().any(|backup| is_within(&backup.created_at, LAST)) {
        (message!("doctor-backup-late", database = name), message!("doctor-make-backup", database = name))
    } else if !good().any(is_verified) {
        (message!("doctor-verified-late", database = name), message!("doctor-verify-backup", database = name))
    } else {
        return None;
    };
    Some(DoctorCheck::ok("backups", say(found)).but(Verdict::Warning, say(advice)))
}

/// A folder in which anybody on this machine may write: they decide what a load brings to the engine, what a restore takes,
/// or what a rollback makes.
fn open_to_all(folder: &Path, say: Say) -> Option<DoctorCheck> {
    let mode = std::fs::metadata(folder).ok()?.permissions().mode();
    if mode & OTHERS_WRITE == 0 {
        return None;
    }
    let found = say(message!("doctor-open-folder", path = folder.display()));
    let advice = say(message!("doctor-close-folder", path = folder.display()));
    Some(DoctorCheck::ok("folders", found).but(Verdict::Warning, advice))
}

fn api(version: &ApiVersion, say: Say) -> DoctorCheck {
    let check = DoctorCheck::ok("api", version.to_string());
    if version.numbers() >= OLDEST_API {
        return check;
    }
    check.but(Verdict::Problem, say(message!("doctor-old-api")))
}

fn storage(facts: &EngineFacts, say: Say) -> DoctorCheck {
    let check = DoctorCheck::ok("storage driver", facts.storage_driver.clone());
    if OLD_STORAGE.contains(&facts.storage_driver.as_str()) {
        return check.but(Verdict::Warning, say(message!("doctor-slow-storage")));
    }
    check
}

/// On cgroup v2 under systemd, an engine that manages cgroups beside systemd gets in its way (Docker, "Runtime metrics").
fn cgroups(facts: &EngineFacts, is_local: bool, say: Say) -> DoctorCheck {
    let found = message!("doctor-cgroups", version = &facts.cgroup_version, driver = &facts.cgroup_driver);
    let check = DoctorCheck::ok("cgroups", say(found));
    if facts.cgroup_driver == "none" {
        return check.but(Verdict::Warning, say(message!("doctor-no-cgroups")));
    }
    let under_systemd = is_local && Path::new("/run/systemd/system").exists();
    if facts.cgroup_version == "2" && facts.cgroup_driver == "cgroupfs" && under_systemd {
        return check.but(Verdict::Warning, say(message!("doctor-cgroup-driver")));
    }
    check
}

/// `None` where the engine tells no time.
fn clock(facts: &EngineFacts, say: Say) -> Option<DoctorCheck> {
    let ahead = facts.clock_ahead_ms?;
    let seconds = format!("{:.1}", ahead.abs() as f64 / 1000.0);
    let message = if ahead < 0 {
        message!("doctor-clock-behind", seconds = seconds)
    } else {
        message!("doctor-clock", seconds = seconds)
    };
    let check = DoctorCheck::ok("clock", say(message));
    if ahead.abs() <= CLOCKS_APART {
        return Some(check);
    }
    Some(check.but(Verdict::Warning, say(message!("doctor-set-clock"))))
}

/// Free space where `path` is, or will be; `None` where that can't be told.
fn disk(name: &'static str, path: &Path, say: Say) -> Option<DoctorCheck> {
    let free = Disk::of(path)?.free_bytes;
    let message = message!("doctor-free", free = table::size(free), path = path.display());
    let check = DoctorCheck::ok(name, say(message));
    if free >= LITTLE_DISK * 4 {
        return Some(check);
    }
    let verdict = if free < LITTLE_DISK { Verdict::Problem } else { Verdict::Warning };
    Some(check.but(verdict, say(message!("doctor-little-disk"))))
}

fn state(project: &Project, say: Say) -> DoctorCheck {
    let state = project.state();
    let path = state.path();
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let check = DoctorCheck::ok("state", state.root().display().to_string());
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        return check.but(Verdict::Problem, say(message!("doctor-state-read-only")));
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, Language};
    use crate::engine::LimitSupport;
    use crate::report::Message;

    fn facts() -> EngineFacts {
        EngineFacts {
            id: String::new(),
            name: String::new(),
            version: "20.10.24".to_owned(),
            image_store: ImageStore::Classic,
            storage_driver: "overlay2".to_owned(),
            root_dir: "/var/lib/docker".into(),
            operating_system: String::new(),
            architecture: "amd64".to_owned(),
            kernel: String::new(),
            cpus: 2,
            memory_bytes: 0,
            cgroup_version: "2".to_owned(),
            cgroup_driver: "systemd".to_owned(),
            logging_driver: String::new(),
            runtimes: Vec::new(),
            warnings: Vec::new(),
            limits: LimitSupport::default(),
            clock_ahead_ms: Some(-150),
        }
    }

    #[test]
    fn a_backup_that_is_late_bad_or_from_the_future_is_none_and_one_that_was_not_verified_is_told() {
        let catalogue = Catalogue::english();
        let say = |message: Message| catalogue.text(&message);
        let now: jiff::Timestamp = "2026-02-10T12:00:00Z".parse().unwrap();
        let good = BackupDocument {
            id: "shop/20260210T000000Z".to_owned(),
            database: "shop".to_owned(),
            created_at: "2026-02-04T12:00:00Z".to_owned(),
            verified_at: Some("2026-01-07T12:00:00Z".to_owned()),
            ..BackupDocument::default()
        };
        let advice = |backups: &[BackupDocument]| late("shop", backups, now, &say).and_then(|check| check.advice);
        let says = |backup: BackupDocument, command: &str| {
            let advice = advice(&[backup]);
            assert!(advice.as_ref().is_some_and(|advice| advice.contains(command)), "{advice:?}");
        };
        assert_eq!(advice(std::slice::from_ref(&good)), None);
        says(BackupDocument { created_at: "2026-02-03T11:00:00Z".to_owned(), ..good.clone() }, "dpl db backup shop");
        says(BackupDocument { found_bad: Some(message!("declined")), ..good.clone() }, "dpl db backup shop");
        says(BackupDocument { from_the_future: true, ..good.clone() }, "dpl db backup shop");
        says(BackupDocument { verified_at: None, ..good.clone() }, "dpl db verify shop");
        let long_ago = Some("2026-01-05T12:00:00Z".to_owned());
        says(BackupDocument { verified_at: long_ago, ..good.clone() }, "dpl db verify shop");
        assert!(advice(&[]).is_some());
        // One of several is enough.
        assert_eq!(advice(&[BackupDocument { found_bad: Some(message!("declined")), ..good.clone() }, good]), None);
    }

    #[test]
    fn a_folder_that_anybody_may_write_is_told() {
        let catalogue = Catalogue::english();
        let say = |message: Message| catalogue.text(&message);
        let folder = tempfile::tempdir().unwrap();
        let with = |mode| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            open_to_all(folder.path(), &say)
        };
        for closed in [0o755, 0o775, 0o700] {
            assert!(with(closed).is_none());
        }
        for open in [0o777, 0o757, 0o1777] {
            let check = with(open).unwrap();
            assert_eq!(check.verdict, Verdict::Warning);
            assert!(check.advice.unwrap().contains("chmod o-w"));
        }
        assert!(open_to_all(&folder.path().join("nowhere"), &say).is_none());
    }

    #[test]
    fn what_is_too_old_or_apart_is_told_with_what_to_do() {
        let catalogue = Catalogue::english();
        let say = |message: Message| catalogue.text(&message);
        let (good, api_of) = (facts(), |version: &str| api(&ApiVersion(version.to_owned()), &say));
        for check in [api_of("1.41"), storage(&good, &say), cgroups(&good, true, &say), clock(&good, &say).unwrap()] {
            assert_eq!((check.verdict, check.advice), (Verdict::Ok, None), "{}", check.name);
        }
        let chinese = |message: Message| Catalogue::of(Language::Chinese).text(&message);
        let found = [cgroups(&good, true, &say).found, cgroups(&good, true, &chinese).found];
        assert_eq!(found, ["v2, systemd", "版本 2，systemd"]);
        let bad = EngineFacts {
            storage_driver: "aufs".to_owned(),
            cgroup_driver: "none".to_owned(),
            clock_ahead_ms: Some(3_600_000),
            ..facts()
        };
        for check in [api_of("1.40"), storage(&bad, &say), cgroups(&bad, true, &say), clock(&bad, &say).unwrap()] {
            assert!(check.verdict != Verdict::Ok && check.advice.is_some(), "{}", check.name);
        }
        assert_eq!(clock(&bad, &say).unwrap().found, "the engine's clock is 3600.0 s ahead of this machine's");
    }
}
