//! What `db …` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::manifest::model::Period;

use super::{ConvertArguments, RebuildArguments, RestoreArguments, RollbackArguments, TargetArguments};

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
    /// is damaged
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

#[derive(Debug, Args)]
pub struct DatabaseListArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Exit with code 1 when a database has no backup younger than this (36h) [default: not checked]
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<Period>,
    /// Exit with code 1 when a database has no backup verified within this time (7d) [default: not checked]
    #[arg(long, value_name = "AGE")]
    pub verified: Option<Period>,
}

#[derive(Debug, Args)]
pub struct SeedArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpArguments,
    /// Accept a seed that is less than half as large as the present one, or lacks its rows
    #[arg(long)]
    pub allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct BackupArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpArguments,
    /// Accept a backup that is less than half as large as the last one
    #[arg(long)]
    pub allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct PruneBackupsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Of the databases that rebuilds kept, keep the newest N; back up, verify and drop the others [default: all stay]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub keep_old: Option<u16>,
    /// Also remove backups that verification found damaged
    #[arg(long)]
    pub remove_bad: bool,
}

#[derive(Debug, Args)]
pub struct LeftoversArguments {
    #[command(subcommand)]
    pub command: Option<LeftoversCommand>,
}

#[derive(Debug, Subcommand)]
pub enum LeftoversCommand {
    /// List what stands beside the manifest's databases on their servers (default)
    List(TargetArguments),
    /// Drop one without a backup
    Drop(LeftoverArguments),
    /// Keep one for `db rollback`
    Keep(LeftoverArguments),
}

#[derive(Debug, Args)]
pub struct LeftoverArguments {
    /// The name of the leftover, as `db leftovers list` shows it, and a manifest (.json)
    #[arg(value_name = "LEFTOVER", required = true)]
    pub targets: Vec<String>,
}

/// How databases are dumped.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// Tables that are dumped at once [default: one for each CPU, at most 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// The compression level, from 1 (fastest) to 12 (smallest) [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=12))]
    pub level: Option<u8>,
    /// Verify it right away: restore it into a temporary server and compare
    #[arg(long)]
    pub verify: bool,
    /// Include the password hashes of its roles
    #[arg(long)]
    pub password_hashes: bool,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
pub struct DatabaseVerifyArguments {
    /// A manifest (.json), and backups: IDs, folders, or databases (the last backup of each) [default: all databases]
    #[arg(value_name = "BACKUP")]
    pub backups: Vec<String>,
    /// Compare digests and read the archive's table of contents; restore nothing
    #[arg(long)]
    pub quick: bool,
    /// Tables that are restored at once [default: one for each CPU, at most 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// The image of the temporary server [default: the image of the database's server]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
}

#[derive(Debug, Args)]
pub struct SqlArguments {
    /// The database, by name or number
    pub database: String,
    /// SQL statements [default: those on standard input]
    #[arg(value_name = "SQL", conflicts_with = "file", allow_hyphen_values = true)]
    pub statements: Option<String>,
    /// A file with SQL statements [default: none]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
pub struct ShellArguments {
    /// The database, by name or number, and a manifest (.json)
    #[arg(required = true, num_args = 1..=2)]
    pub database: Vec<String>,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}
