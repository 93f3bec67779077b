//! Folders of data that live at a site: snapshots, differences, restores.
//!
//! Owns what lies below `paths.backups/data`: a repository in restic's format. Knows folders and nothing of manifests, services
//! or engines; prints nothing and asks nobody.
//!
//! - `repository`: the front of rustic_core, with restic's locks and files on a local disk.
//! - `entry`, `walk`: what lies in a folder, on disk or in a snapshot. `trouble`: what went wrong with single files.
//! - `compare`: what differs between two states. `restore`: brings a folder to one of them.
//! - `snapshots`: taking, finding, comparing and restoring, for callers that know which folders there are.
//! - `care`: verifying and pruning, with the record of what was verified (`verified`).

mod care;
mod compare;
mod documents;
mod entry;
mod error;
mod repository;
mod restore;
mod settings;
mod snapshots;
mod trouble;
mod verified;
mod walk;

pub use care::{plan_prune, prune, verify};
pub use documents::{
    DataDocument, DataFolderDocument, DataPruneDocument, DataVerifyDocument, DiffDocument, DifferencesDocument,
    KeptSnapshot, PrunedFolder, RestoreDocument, SnapshotDocument, SnapshotReport, SnapshotsDocument, TroubleDocument,
};
pub use error::{FoldersError, as_told};
pub use repository::{Access, Password, ReadData, Snapshot, Store, create, exists, new_password, short};
pub use settings::{BEFORE_RESTORE, DataFolder, Keep};
pub use snapshots::{
    RestoreGoal, differences, find_snapshot, plan_restore, refuse_bad_target, refuse_emptied, restore, root_of,
    snapshots_of, take_snapshot,
};
pub use verified::Verified;
