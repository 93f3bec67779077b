//! What `dpl files … --json` prints.

use schemars::JsonSchema;
use serde::Serialize;

use super::job::{Job, Look};
use super::paths::encoded;
use super::plan::{Act, LocalAct, LocalEdit};
use crate::manifest::model::DeliveryMode;
use crate::state::DeliveredFiles;

/// `files list`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct FilesDocument {
    pub files: Vec<DeliveredFolderDocument>,
}

/// One folder of the manifest's `files`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct DeliveredFolderDocument {
    pub name: String,
    pub from: String,
    pub to: String,
    pub mode: DeliveryMode,
    /// When it was last applied or rolled back to (RFC 3339, UTC); null where it never was.
    pub delivered_at: Option<String>,
    /// By whom, as `user@host`.
    pub delivered_by: Option<String>,
    /// How many files and links were delivered.
    pub delivered_files: Option<usize>,
    /// Since when a replaced folder is kept; null where there is none.
    pub kept_since: Option<String>,
    /// Whether an apply or a rollback was cut off and has to be finished.
    pub interrupted: bool,
    /// Services that have not been restarted since the last swap.
    pub restart_due: Vec<String>,
}

/// `files plan`, and `--dry-run` of `files apply`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct FilesPlanDocument {
    pub files: Vec<FolderPlanDocument>,
    /// Services that are restarted afterwards, where they run.
    pub restart: Vec<String>,
}

/// What delivering one folder does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct FolderPlanDocument {
    pub name: String,
    pub from: String,
    /// Links followed.
    pub to: String,
    pub mode: DeliveryMode,
    /// Files and links that are added.
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
    /// Files that differ and stay, since `add` replaces none.
    pub left: usize,
    /// Files and links that lie in the target now.
    pub present: usize,
    /// Bytes that are copied.
    pub copied_bytes: u64,
    /// Bytes of files that go or are replaced.
    pub replaced_bytes: u64,
    /// Whether more goes than the manifest lets go without the count being typed.
    pub asks_for_count: bool,
    /// The name beside the target under which the folder lies that becomes the target.
    pub moved_from: Option<String>,
    /// Whether the target can't be renamed, and is changed path by path.
    pub in_place: bool,
    /// By path.
    pub paths: Vec<PathDocument>,
    /// What somebody changed in the target since the last delivery, and what this would undo.
    pub local: Vec<LocalEditDocument>,
}

/// A path below a target, and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PathDocument {
    /// Bytes that are not UTF-8, and `%`, are `%` and two hex digits; a folder ends with `/`.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub act: String,
}

/// A path below a target, and what somebody did to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LocalEditDocument {
    /// As in a plan.
    pub path: String,
    /// `edited`, `removed` or `added`.
    pub act: String,
}

/// `files apply` and `files rollback`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct FilesAppliedDocument {
    pub files: Vec<AppliedFolder>,
    /// Services that were restarted.
    pub restarted: Vec<String>,
}

/// What was done to one folder.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct AppliedFolder {
    pub name: String,
    pub to: String,
    /// Whether anything was changed.
    pub swapped: bool,
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub copied_bytes: u64,
    /// Where the replaced folder lies; null where there was none.
    pub kept: Option<String>,
}

/// `files status`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct FilesStatusDocument {
    pub files: Vec<FolderStatus>,
}

/// How a target differs from what was delivered into it.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct FolderStatus {
    #[serde(flatten)]
    pub folder: DeliveredFolderDocument,
    /// What differs; null where nothing was delivered.
    pub local: Option<Vec<LocalEditDocument>>,
}

impl DeliveredFolderDocument {
    pub fn of(job: &Job<'_>, record: &DeliveredFiles) -> Self {
        let delivery = record.delivered.as_ref();
        Self {
            name: job.name.to_owned(),
            from: encoded(&job.folder.from),
            to: encoded(&job.folder.to),
            mode: job.folder.mode,
            delivered_at: delivery.map(|delivery| delivery.at.clone()),
            delivered_by: delivery.map(|delivery| delivery.by.clone()),
            delivered_files: delivery.map(|delivery| delivery.files.len()),
            kept_since: record.kept.as_ref().map(|kept| kept.since.clone()),
            interrupted: record.pending.is_some(),
            restart_due: record.restart_due.clone(),
        }
    }
}

impl FolderPlanDocument {
    pub fn of(job: &Job<'_>, look: &Look) -> Self {
        let plan = &look.plan;
        let paths = plan.changes.iter().map(|change| PathDocument {
            path: encoded(&change.path) + if change.is_folder { "/" } else { "" },
            act: word(change.act).to_owned(),
        });
        let mode = job.folder.mode;
        Self {
            name: job.name.to_owned(),
            from: encoded(&job.folder.from),
            to: encoded(&look.target),
            mode,
            added: plan.count(Act::Added),
            changed: plan.count(Act::Changed),
            removed: plan.count(Act::Removed),
            unchanged: plan.unchanged,
            left: plan.left.len(),
            present: plan.present,
            copied_bytes: plan.copied_bytes,
            replaced_bytes: plan.replaced_bytes,
            asks_for_count: mode == DeliveryMode::Mirror && plan.removes_more_than(job.folder.most_removed),
            moved_from: look.moved.clone(),
            in_place: look.is_in_place,
            paths: paths.collect(),
            local: plan.local.iter().map(LocalEditDocument::of).collect(),
        }
    }
}

impl LocalEditDocument {
    pub fn of(edit: &LocalEdit) -> Self {
        let act = match edit.act {
            LocalAct::Edited => "edited",
            LocalAct::Removed => "removed",
            LocalAct::Added => "added",
        };
        Self { path: encoded(&edit.path), act: act.to_owned() }
    }
}

fn word(act: Act) -> &'static str {
    match act {
        Act::Added => "added",
        Act::Changed => "changed",
        Act::Removed => "removed",
    }
}
