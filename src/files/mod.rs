//! Folders that a delivery brings: planned, staged beside their targets, swapped by renames, and a way back.
//!
//! Owns the manifest's `files`. Knows folders and nothing of services or engines; prints nothing and asks nobody.
//!
//! - `tree`: what lies in a folder. `plan`: what delivering it changes, purely.
//! - `stage`: copies what changes beside the target, links what does not, verifies by digest.
//! - `swap`: the renames, and what is kept. `in_place`: the same for a target that can't be renamed, path by path.
//! - `kept`: whether what is kept may go. `job`: one folder from the look to the swap, and back; goes on where an earlier run was cut off.

mod documents;
mod error;
mod in_place;
mod job;
mod kept;
mod paths;
mod plan;
mod stage;
mod swap;
mod tree;

pub use documents::{
    AppliedFolder, DeliveredFolderDocument, FilesAppliedDocument, FilesDocument, FilesPlanDocument,
    FilesStatusDocument, FolderPlanDocument, FolderStatus, LocalEditDocument, PathDocument,
};
pub use error::{FilesError, as_told};
pub use job::{Job, Look};
pub use plan::{Act, Change, FolderPlan, LocalAct, LocalChoice, LocalEdit};
pub use tree::Digests;
