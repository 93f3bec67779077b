//! `data …` as the operator sees it.

mod diff;
mod init;
mod list;
mod place;
mod prune;
mod restore;
mod sheet;
mod snapshot;
mod users;
mod verify;

use clap::Subcommand;

use self::diff::DiffArguments;
use self::place::DataTargets;
use self::prune::PruneSnapshotsArguments;
use self::restore::RestoreFolderArguments;
use self::snapshot::SnapshotArguments;
use self::verify::VerifySnapshotsArguments;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

pub use init::InitReport;
pub use place::{folders, open, repository_folder};

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Make the repository that keeps the snapshots, its password and a recovery sheet to print
    Init(ManifestArguments),
    /// List data folders and their snapshots
    List(DataTargets),
    /// Take snapshots of data folders
    Snapshot(SnapshotArguments),
    /// Show what differs between a snapshot and what is there, or between two snapshots
    Diff(DiffArguments),
    /// Bring a data folder, or a path in it, back to a snapshot; what it replaces is snapshotted before
    Restore(RestoreFolderArguments),
    /// Verify snapshots; exit code 1 when the repository is damaged
    Verify(VerifySnapshotsArguments),
    /// Remove old snapshots by the manifest's rules; never the last verified one
    Prune(PruneSnapshotsArguments),
}

/// `dpl data …`.
pub fn run(command: &DataCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        DataCommand::Init(arguments) => init::run(arguments, session),
        DataCommand::List(arguments) => list::run(arguments, session),
        DataCommand::Snapshot(arguments) => snapshot::run(arguments, session),
        DataCommand::Diff(arguments) => diff::run(arguments, session),
        DataCommand::Restore(arguments) => restore::run(arguments, session),
        DataCommand::Verify(arguments) => verify::run(arguments, session),
        DataCommand::Prune(arguments) => prune::run(arguments, session),
    }
}
