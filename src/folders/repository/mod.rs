//! A repository of snapshots in restic's format: the only place that knows rustic_core.
//!
//! What rustic_core lacks or does otherwise than dpl needs stands beside it: files of a local disk (`backend`), restic's lock
//! files (`lock`), the folder that is read (`source`), and entries of ours for its nodes (`nodes`). Stock `restic` reads, checks
//! and prunes what is written here.

mod backend;
mod keys;
mod lock;
mod nodes;
mod progress;
mod source;

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::repofile::{BlobType, MasterKey, SnapshotFile, SnapshotId};
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, Id, IndexedFullStatus, KeepOptions, KeyOptions,
    LimitOption, OpenStatus, PruneOptions, ReadSubsetOption, Repository, RepositoryBackends, RepositoryOptions,
    RusticError, SnapshotGroupCriterion, SnapshotOptions,
};

use self::backend::LocalBackend;
pub use self::keys::Password;
use self::keys::write_new_key;
pub use self::lock::Access;
use self::lock::{LockKey, RepositoryLock, random};
use self::progress::ReportedBytes;
use self::source::FolderSource;
use super::entry::{Chunk, Entry, Kind, TreeName};
use super::error::{FoldersError, Said};
use super::settings::Keep;
use super::trouble::{Trouble, TroubleKind, Troubles};
use super::walk::Walk;
use crate::fs::create_dir_durably;
use crate::report::{Activity, Reporter};

/// The largest pack: rustic_core holds packs in memory while it writes them. Its type of sizes has no name here, and is parsed.
const LARGEST_PACK: &str = "16 MiB";

/// A repository that is open and locked.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    backend: Arc<LocalBackend>,
    key: MasterKey,
    _lock: Option<RepositoryLock>,
}

/// A snapshot, as its file in the repository says.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// 64 hexadecimal digits.
    pub id: String,
    pub time: Timestamp,
    /// The folder, as it was called then.
    pub path: PathBuf,
    pub tags: Vec<String>,
    pub hostname: String,
    pub files: u64,
    pub bytes: u64,
    /// What it added to the repository, compressed.
    pub added_bytes: u64,
    pub tree: TreeName,
}

/// A snapshot that was taken, and what went wrong with single files.
#[derive(Debug)]
pub struct Archived {
    pub snapshot: Snapshot,
    pub troubles: Vec<Trouble>,
}

/// How much of the repository is read by a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// Index, lists of folders, and whether every pack is there in its size.
    Nothing,
    /// So many percent of the packs' bytes too, chosen by chance.
    Percent(f64),
    All,
}

/// What a prune of packs would free or has freed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freed {
    pub bytes: u64,
    /// What is left.
    pub bytes_left: u64,
}

/// Whether there is a repository at `folder`.
pub fn exists(folder: &Path) -> bool {
    folder.join("config").is_file()
}

/// A new password of 256 random bits.
pub fn new_password() -> String {
    random().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a repository whose key is protected by a password; `made_by` is a user and a host. Gives its ID.
///
/// The configuration comes last: where there is none, what is there was left by a killed `init` and is removed first, since its
/// key is another one.
pub fn create(folder: &Path, password: (&str, Password), made_by: (&str, &str)) -> Result<String, FoldersError> {
    create_dir_durably(folder).map_err(FoldersError::reading(folder))?;
    // Held until the configuration is there: another `init` beside this one would remove its key.
    let held = fs::File::open(folder).map_err(FoldersError::reading(folder))?;
    if let Err(TryLockError::WouldBlock) = held.try_lock() {
        return Err(FoldersError::File { path: folder.to_owned(), source: io::ErrorKind::ResourceBusy.into() });
    }
    if exists(folder) || !is_empty_but_for_keys(folder)? {
        return Err(FoldersError::NotARepository { path: folder.to_owned() });
    }
    remove_keys(folder)?;
    let backend = Arc::new(LocalBackend::new(folder));
    let repository = unopened(folder, &backend, None)?;
    let key = write_new_key(&backend, password, made_by)?;
    let mut config = ConfigOptions::default();
    config.set_datapack_size = LARGEST_PACK.parse().ok();
    (config.set_datapack_size_limit, config.set_treepack_size_limit) =
        (config.set_datapack_size, config.set_datapack_size);
    let created = repository.init(&Credentials::Masterkey(key), &KeyOptions::default(), &config);
    created.map(|repository| hex(&repository.config().id)).map_err(|error| said(folder, &error))
}

/// Whether nothing lies there that is more than a killed `init` leaves.
fn is_empty_but_for_keys(folder: &Path) -> Result<bool, FoldersError> {
    let mut to_see = vec![folder.to_owned()];
    while let Some(place) = to_see.pop() {
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FoldersError::reading(&place)(error)),
        };
        for entry in entries {
            let path = entry.map_err(FoldersError::reading(&place))?.path();
            let is_key = path.parent() == Some(&folder.join("keys"));
            let is_unfinished = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(crate::fs::TEMPORARY_MARK.as_bytes()));
            match path.is_dir() {
                true => to_see.push(path),
                false if is_key || is_unfinished => {}
                false => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn remove_keys(folder: &Path) -> Result<(), FoldersError> {
    for entry in fs::read_dir(folder.join("keys")).into_iter().flatten().flatten() {
        fs::remove_file(entry.path()).map_err(FoldersError::reading(&entry.path()))?;
    }
    Ok(())
}

fn unopened(
    folder: &Path,
    backend: &Arc<LocalBackend>,
    progress: Option<ReportedBytes>,
) -> Result<Repository<()>, FoldersError> {
    let options = RepositoryOptions::default().no_cache(true);
    let backends = RepositoryBackends::new(backend.clone(), None);
    let repository = match progress {
        Some(progress) => Repository::new_with_progress(&options, &backends, progress),
        None => Repository::new(&options, &backends),
    };
    repository.map_err(|error| said(folder, &error))
}

fn said(folder: &Path, error: &RusticError) -> FoldersError {
    let text = error.display_log();
    let text = text.strip_prefix("Error: ").unwrap_or(&text).to_owned();
    FoldersError::Repository { path: folder.to_owned(), source: Said(text) }
}

impl Store {
    /// Opens the repository at `folder` and locks it.
    ///
    /// Opening by a password that somebody chose takes restic's time and memory (scrypt: a second, 128 MiB); all else works with
    /// the key.
    pub fn open(folder: &Path, password: &str, access: Access) -> Result<Self, FoldersError> {
        if !exists(folder) {
            return Err(FoldersError::NoRepository { path: folder.to_owned() });
        }
        let backend = Arc::new(LocalBackend::new(folder));
        let opened = unopened(folder, &backend, None)?.open(&Credentials::password(password));
        let repository = opened.map_err(|error| match error.is_incorrect_password() {
            true => FoldersError::Password { path: folder.to_owned() },
            false => said(folder, &error),
        })?;
        let key = repository.key();
        let lock_key = LockKey::of(&key.encrypt, &key.mac.k, &key.mac.r)
            .ok_or_else(|| FoldersError::NotARepository { path: folder.to_owned() })?;
        let lock = match access {
            Access::Look => None,
            Access::Shared | Access::Exclusive => Some(RepositoryLock::acquire(folder, &lock_key, access)?),
        };
        Ok(Self { folder: folder.to_owned(), backend, key, _lock: lock })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn said(&self, error: &RusticError) -> FoldersError {
        said(&self.folder, error)
    }

    fn repository(&self, progress: Option<ReportedBytes>) -> Result<Repository<OpenStatus>, FoldersError> {
        let opened = unopened(&self.folder, &self.backend, progress)?.open(&Credentials::Masterkey(self.key.clone()));
        opened.map_err(|error| self.said(&error))
    }

    /// The repository's ID.
    pub fn id(&self) -> Result<String, FoldersError> {
        Ok(hex(&self.repository(None)?.config().id))
    }

    /// How many bytes the data of all snapshots takes on disk.
    pub fn bytes(&self) -> Result<u64, FoldersError> {
        self.backend.pack_bytes().map_err(|error| self.said(&error))
    }

    /// All snapshots, the oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, FoldersError> {
        let files = self.repository(None)?.get_all_snapshots().map_err(|error| self.said(&error))?;
        let mut snapshots: Vec<Snapshot> = files.iter().map(snapshot).collect();
        snapshots.sort_by(|one, other| (one.time, &one.id).cmp(&(other.time, &other.id)));
        Ok(snapshots)
    }

    /// Takes a snapshot of the folder of `walk`. What was told in `troubles` is not in it.
    pub fn archive(
        &self,
        walk: Walk,
        tags: &[String],
        reporter: &Reporter,
        subject: &str,
    ) -> Result<Archived, FoldersError> {
        let progress = ReportedBytes::new(reporter, Activity::SnapshotFolder);
        progress.set_subject(subject);
        let repository = self.repository(Some(progress))?.to_indexed_ids().map_err(|error| self.said(&error))?;
        let troubles = Troubles::default();
        let root = walk.root().to_owned();
        let give_up = self.backend.give_up();
        give_up.store(false, Ordering::SeqCst);
        let source =
            FolderSource { walk, troubles: troubles.clone(), give_up: give_up.clone(), reporter: reporter.clone() };
        let mut options = BackupOptions::default().no_scan(true);
        options.parent_opts.group_by = Some(SnapshotGroupCriterion::new().paths(true));
        let described = SnapshotOptions::default().add_tags(&tags.join(",")).and_then(|options| options.to_snapshot());
        let described = described.map_err(|error| self.said(&error))?;
        let archived = repository.archive(&options, &source, described, std::slice::from_ref(&root));
        let found = troubles.take();
        if reporter.asked_to_stop() && archived.is_err() {
            return Err(FoldersError::Stopped);
        }
        if give_up.load(Ordering::SeqCst) {
            let why = found.into_iter().find_map(|trouble| match trouble.kind {
                TroubleKind::Unread(source) => Some(FoldersError::File { path: trouble.path, source }),
                _ => None,
            });
            return Err(why.unwrap_or(FoldersError::Stopped));
        }
        let file = archived.map_err(|error| self.said(&error))?;
        Ok(Archived { snapshot: snapshot(&file), troubles: found })
    }

    /// What is in snapshots.
    pub fn reader(&self) -> Result<Reader, FoldersError> {
        let repository = self.repository(None)?.to_indexed().map_err(|error| self.said(&error))?;
        Ok(Reader { repository, folder: self.folder.clone() })
    }

    /// Checks the repository and these snapshots of it; gives what is wrong, in rustic_core's words.
    pub fn check(&self, trees: &[TreeName], depth: ReadData, reporter: &Reporter) -> Result<Vec<String>, FoldersError> {
        let progress = ReportedBytes::new(reporter, Activity::VerifySnapshots);
        progress.set_subject(&self.folder.display().to_string());
        let subset = match depth {
            ReadData::Percent(percent) => ReadSubsetOption::Percentage(percent),
            ReadData::Nothing | ReadData::All => ReadSubsetOption::All,
        };
        let options = CheckOptions::default().read_data(depth != ReadData::Nothing).read_data_subset(subset);
        let trees = trees.iter().map(|tree| nodes::tree_id(*tree)).collect();
        let results = self.repository(Some(progress))?.check_with_trees(options, trees);
        let results = results.map_err(|error| self.said(&error))?;
        // The level is a type without a name outside of rustic_core.
        let errors = results.0.iter().filter(|(level, _)| format!("{level:?}") == "Error");
        Ok(errors.map(|(_, error)| error.to_string()).collect())
    }

    /// Which of these snapshots (by their IDs) the rules keep, and for which reasons.
    pub fn kept(&self, ids: &[String], keep: &Keep) -> Result<Vec<(String, Vec<String>)>, FoldersError> {
        let files = self.repository(None)?.get_all_snapshots().map_err(|error| self.said(&error))?;
        let files = files.into_iter().filter(|file| ids.contains(&hex(&file.id))).collect();
        let count = |count: u32| Some(i32::try_from(count).unwrap_or(i32::MAX));
        let mut options = KeepOptions::default();
        (options.keep_last, options.keep_daily) = (count(keep.last), count(keep.daily));
        (options.keep_weekly, options.keep_monthly) = (count(keep.weekly), count(keep.monthly));
        let judged = options.apply(files, &jiff::Zoned::now()).map_err(|error| self.said(&error))?;
        let kept = judged.into_iter().filter(|judged| judged.keep);
        Ok(kept.map(|judged| (hex(&judged.snapshot.id), judged.reasons)).collect())
    }

    /// What would be freed if these snapshots were gone.
    pub fn would_free(&self, gone: &[String]) -> Result<Freed, FoldersError> {
        let mut options = prune_options();
        options.ignore_snaps = ids(gone);
        let plan = self.repository(None)?.prune_plan(&options).map_err(|error| self.said(&error))?;
        Ok(freed(&plan.stats))
    }

    /// Removes snapshots, then what no snapshot needs any more. The lock must be an exclusive one.
    pub fn remove(&self, gone: &[String]) -> Result<Freed, FoldersError> {
        let repository = self.repository(None)?;
        let options = prune_options();
        if !gone.is_empty() {
            repository.delete_snapshots(&ids(gone)).map_err(|error| self.said(&error))?;
        }
        crate::failpoint!("folders.prune.snapshots-removed");
        let plan = repository.prune_plan(&options).map_err(|error| self.said(&error))?;
        let freed = freed(&plan.stats);
        repository.prune(&options, plan).map_err(|error| self.said(&error))?;
        Ok(freed)
    }
}

/// All digits of an ID; its `Display` has the first eight.
fn hex(id: &Id) -> String {
    id.to_hex().as_str().to_owned()
}

fn ids(names: &[String]) -> Vec<SnapshotId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Packs go at once: the lock keeps out all who could need them. Those of which more than a twentieth is unused are written again.
fn prune_options() -> PruneOptions {
    let mut options = PruneOptions::default();
    options.instant_delete = true;
    options.max_repack = LimitOption::Unlimited;
    options.max_unused = LimitOption::Percentage(5);
    options
}

fn freed(stats: &rustic_core::PruneStats) -> Freed {
    let sizes = stats.size_sum();
    let bytes = sizes.remove + sizes.repackrm + stats.size_unref + stats.size_to_delete.remove;
    Freed { bytes, bytes_left: sizes.total_after_prune() }
}

fn snapshot(file: &SnapshotFile) -> Snapshot {
    let summary = file.summary.as_ref();
    let list = |list: &rustic_core::StringList| -> Vec<String> {
        serde_json::to_value(list).and_then(serde_json::from_value).unwrap_or_default()
    };
    Snapshot {
        id: hex(&file.id),
        time: file.time.timestamp(),
        path: list(&file.paths).into_iter().next().map(PathBuf::from).unwrap_or_default(),
        tags: list(&file.tags),
        hostname: file.hostname.clone(),
        files: summary.map_or(0, |summary| summary.total_files_processed),
        bytes: summary.map_or(0, |summary| summary.total_bytes_processed),
        added_bytes: summary.map_or(0, |summary| summary.data_added_packed),
        tree: nodes::tree_name(&file.tree),
    }
}

/// Reads what is in snapshots.
#[derive(Debug)]
pub struct Reader {
    repository: Repository<IndexedFullStatus>,
    folder: PathBuf,
}

impl Reader {
    fn said(&self, error: &RusticError) -> FoldersError {
        said(&self.folder, error)
    }

    /// The entries of a folder of a snapshot, sorted.
    pub fn entries(&self, tree: TreeName) -> Result<Vec<Entry>, FoldersError> {
        let tree = self.repository.get_tree(&nodes::tree_id(tree)).map_err(|error| self.said(&error))?;
        let mut entries = Vec::with_capacity(tree.nodes.len());
        for node in tree.nodes {
            let name = node.name.clone();
            let bad = || FoldersError::Repository {
                path: self.folder.clone(),
                source: Said(format!("`{name}` is not a name of a file")),
            };
            entries.push(nodes::of_node(node).ok_or_else(bad)?);
        }
        super::entry::sort(&mut entries);
        Ok(entries)
    }

    /// What lies at an absolute path in a snapshot.
    pub fn find(&self, snapshot: &Snapshot, path: &Path) -> Result<Entry, FoldersError> {
        let missing = || FoldersError::NotInSnapshot { id: short(&snapshot.id).to_owned(), path: path.to_owned() };
        let mut tree = snapshot.tree;
        let names = nodes::names(path);
        for (place, name) in names.iter().enumerate() {
            let found =
                self.entries(tree)?.into_iter().find(|entry| entry.name == *name.as_os_str()).ok_or_else(missing)?;
            if place + 1 == names.len() {
                return Ok(found);
            }
            let Kind::Folder(super::entry::Inside::Snapshot(inside)) = found.kind else { return Err(missing()) };
            tree = inside;
        }
        Err(missing())
    }

    /// The bytes of a piece of a file.
    pub fn chunk(&self, chunk: Chunk) -> Result<Bytes, FoldersError> {
        let blob = rustic_core::BlobId::from(nodes::data_id(chunk));
        self.repository.get_blob_cached(&blob, BlobType::Data).map_err(|error| self.said(&error))
    }

    /// How many bytes a piece has.
    pub fn chunk_bytes(&self, chunk: Chunk) -> Result<u64, FoldersError> {
        let entry = self.repository.get_index_entry(&nodes::data_id(chunk)).map_err(|error| self.said(&error))?;
        Ok(u64::from(entry.data_length()))
    }
}

/// The first eight digits of an ID, by which people and restic name a snapshot.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
