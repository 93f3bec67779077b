//! What `db …` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::manifest::model::Period;

use super::{ConvertArguments, RebuildArguments, RestoreArguments, RollbackArguments, TargetArguments};

#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Databases with their size, connections, last backup and last verified one; and the backups
    List(DatabaseListArguments),
    /// Dump databases as the delivery's seeds
    Dump(SeedArguments),
    /// Rebuild databases from their seeds: the old one goes only when the new one is proved
    Rebuild(RebuildArguments),
    /// Restore a database from a backup or an archive, on the same road as a rebuild
    Restore(RestoreArguments),
    /// Make an archive of a plain SQL dump, in a throw-away server without a network
    Convert(ConvertArguments),
    /// Swap a database back to the one that was kept when it was replaced
    Rollback(RollbackArguments),
    /// Back databases up
    Backup(BackupArguments),
    /// Prove backups: digests, then a restore into a throw-away server, compared table by table: 0 or 1
    Verify(DatabaseVerifyArguments),
    /// Remove old backups by the manifest's rules; never the last verified one
    Prune(PruneBackupsArguments),
    /// Databases that rebuilds, restores and kills left beside others: list, drop or keep them
    Leftovers(LeftoversArguments),
    /// Run SQL statements
    Sql(SqlArguments),
    /// The server's own psql, at this terminal
    Shell(ShellArguments),
}

#[derive(Debug, Args)]
pub struct DatabaseListArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Exit code 1 where a database has no backup that is younger (36h) [default: not looked at]
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<Period>,
    /// Exit code 1 where a database has no backup that was verified within so long (7d) [default: not looked at]
    #[arg(long, value_name = "AGE")]
    pub verified: Option<Period>,
}

#[derive(Debug, Args)]
pub struct SeedArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpArguments,
    /// Accept a seed of less than half of the present one's size, or without its rows
    #[arg(long)]
    pub allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct BackupArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpArguments,
    /// Accept a backup of less than half of the last one's size
    #[arg(long)]
    pub allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct PruneBackupsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Of the databases that rebuilds kept, keep the newest N; others are backed up, proved and dropped [default: all stay]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub keep_old: Option<u16>,
    /// Remove backups that were found bad, too
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
    /// What stands beside the manifest's databases on their servers (default)
    List(TargetArguments),
    /// Drop one, without a backup
    Drop(LeftoverArguments),
    /// Keep one for `db rollback`
    Keep(LeftoverArguments),
}

#[derive(Debug, Args)]
pub struct LeftoverArguments {
    /// The leftover's own name, as `db leftovers list` shows it, and a manifest (.json)
    #[arg(value_name = "LEFTOVER", required = true)]
    pub targets: Vec<String>,
}

/// How databases are dumped.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// Tables that the server reads at a time [default: one for each CPU, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// How hard the compressor tries, from 1 (fastest) to 12 (smallest) [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=12))]
    pub level: Option<u8>,
    /// Verify it at once: restore it into a throw-away server, and compare
    #[arg(long)]
    pub verify: bool,
    /// Write down the password hashes of its roles, too
    #[arg(long)]
    pub password_hashes: bool,
    /// Start the database's service where it is not up
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
pub struct DatabaseVerifyArguments {
    /// A manifest (.json), and backups: IDs, folders, or databases for the last one of each [default: of all]
    #[arg(value_name = "BACKUP")]
    pub backups: Vec<String>,
    /// Compare digests and read the archive's list; restore nothing
    #[arg(long)]
    pub quick: bool,
    /// Tables that are restored at a time [default: one for each CPU, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// The image of the throw-away server [default: that of the database's own]
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
    /// Start the database's service where it is not up
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
pub struct ShellArguments {
    /// The database, by name or number; and a manifest (.json)
    #[arg(required = true, num_args = 1..=2)]
    pub database: Vec<String>,
    /// Start the database's service where it is not up
    #[arg(long)]
    pub start: bool,
}
