//! `db …` as the operator sees it.

mod chosen;
mod convert;
mod dependents;
mod dry_run;
mod dumps;
mod leftovers;
mod list;
mod prune;
mod reach;
mod rebuild;
mod replace;
mod restore;
mod rollback;
mod settings;
mod shell;
mod sql;
mod verify;

pub(in crate::cli::commands) use self::prune::rule_word;
use clap::Subcommand;

use self::convert::ConvertArguments;
use self::dumps::{BackupArguments, SeedArguments};
use self::leftovers::LeftoversArguments;
use self::list::DatabaseListArguments;
use self::prune::PruneBackupsArguments;
use self::rebuild::RebuildArguments;
use self::restore::RestoreArguments;
use self::rollback::RollbackArguments;
use self::shell::ShellArguments;
use self::sql::SqlArguments;
use self::verify::DatabaseVerifyArguments;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

pub use chosen::only_one;
pub use dependents::{Users, with_sharers};
pub use dumps::{Backup, Dump, DumpOptions};
pub use leftovers::LeftoversDocument;
pub use list::{backups_of, look, proof};
pub use reach::{is_same_server, refusal};
pub use rebuild::Rebuild;
pub use replace::ReplaceOptions;
pub use restore::{From as RestoreFrom, Restore};
pub use settings::operator;
pub use sql::SqlReport;

#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// List databases with their size, connections, last backup and last verified backup; and the backups
    List(DatabaseListArguments),
    /// Dump databases as the delivery's seeds
    Dump(SeedArguments),
    /// Rebuild databases from their seeds; the old one is removed only when the new one is verified
    Rebuild(RebuildArguments),
    /// Restore a database from a backup or an archive, with the same safety as a rebuild
    Restore(RestoreArguments),
    /// Convert a plain SQL dump into an archive, in a temporary server without a network
    Convert(ConvertArguments),
    /// Swap a database back to the one that was kept when it was replaced
    Rollback(RollbackArguments),
    /// Back up databases
    Backup(BackupArguments),
    /// Verify backups: digests, then a restore into a temporary server, compared table by table; exit code 1 when one
    /// is damaged or could not be tried
    Verify(DatabaseVerifyArguments),
    /// Remove old backups by the manifest's rules; never the last verified one
    Prune(PruneBackupsArguments),
    /// Manage databases that rebuilds, restores and interrupted runs left behind: list, drop, keep
    Leftovers(LeftoversArguments),
    /// Run SQL statements
    Sql(SqlArguments),
    /// Open psql, the server's own, at this terminal
    Shell(ShellArguments),
}

/// `dpl db …`.
pub fn run(command: &DatabaseCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        DatabaseCommand::List(arguments) => list::list(arguments, session),
        DatabaseCommand::Dump(arguments) => dumps::dump(arguments, session),
        DatabaseCommand::Rebuild(arguments) => rebuild::run(arguments, session),
        DatabaseCommand::Restore(arguments) => restore::run(arguments, session),
        DatabaseCommand::Convert(arguments) => convert::run(arguments, session),
        DatabaseCommand::Rollback(arguments) => rollback::run(arguments, session),
        DatabaseCommand::Backup(arguments) => dumps::backup(arguments, session),
        DatabaseCommand::Verify(arguments) => verify::run(arguments, session),
        DatabaseCommand::Prune(arguments) => prune::run(arguments, session),
        DatabaseCommand::Leftovers(arguments) => leftovers::run(arguments, session),
        DatabaseCommand::Sql(arguments) => sql::run(arguments, session),
        DatabaseCommand::Shell(arguments) => shell::run(arguments, session),
    }
}
