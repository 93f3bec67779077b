//! `files …` as the operator sees it.

mod apply;
mod list;
mod page;
mod plan;
mod restarts;
mod rollback;
mod targets;

use clap::Subcommand;

use self::apply::FilesApplyArguments;
use self::plan::FilesPlanArguments;
use self::targets::FilesTargets;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

#[derive(Debug, Subcommand)]
pub enum FilesCommand {
    /// List the folders that a delivery brings: from where, to where, when they were delivered
    List(FilesTargets),
    /// Show what `files apply` would add, change and remove
    Plan(FilesPlanArguments),
    /// Put delivered folders in place: staged and verified beside their targets, then swapped; what is replaced is kept
    Apply(FilesApplyArguments),
    /// Bring back what the last apply replaced
    Rollback(FilesTargets),
    /// Show what somebody changed in the targets since they were delivered
    Status(FilesTargets),
}

/// `dpl files …`.
pub fn run(command: &FilesCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        FilesCommand::List(arguments) => list::list(arguments, session),
        FilesCommand::Plan(arguments) => plan::run(arguments, session),
        FilesCommand::Apply(arguments) => apply::run(arguments, session),
        FilesCommand::Rollback(arguments) => rollback::run(arguments, session),
        FilesCommand::Status(arguments) => list::status(arguments, session),
    }
}
