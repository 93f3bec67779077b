//! What the commands take that put another database in the place of one.

use std::path::PathBuf;

use clap::Args;

use super::TargetArguments;
use crate::databases::OwnerMap;

/// What becomes of the present database, and what it takes.
#[derive(Debug, Clone, Args)]
pub struct ReplaceArguments {
    /// Keep the replaced database for `db rollback`, at most N of them; 0 removes earlier ones too [default: it is
    /// backed up and dropped]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100), conflicts_with = "no_backup")]
    pub keep_old: Option<u16>,
    /// Drop the replaced database without a backup
    #[arg(long)]
    pub no_backup: bool,
    /// Accept a source without tables where the present database has rows
    #[arg(long)]
    pub allow_shrink: bool,
    /// Replace it again even if an earlier rebuild still has to be finished; without this flag the earlier one is
    /// finished and nothing else is done
    #[arg(long)]
    pub again: bool,
    /// Accept a dump of another database
    #[arg(long)]
    pub other_database: bool,
    /// Create the roles that the server lacks, as described in the dump
    #[arg(long)]
    pub create_roles: bool,
    /// Leave all objects to the role that restores them
    #[arg(long, conflicts_with = "owner")]
    pub no_owner: bool,
    /// Give the objects of role OLD to NEW, several pairs separated by commas; NEW alone gets all others [default: the owners in the dump]
    #[arg(long, value_name = "OLD=NEW", value_parser = owner_map)]
    pub owner: Option<OwnerMap>,
    /// Restore no privileges (GRANT, REVOKE)
    #[arg(long)]
    pub no_privileges: bool,
    /// Put everything into the default tablespace
    #[arg(long)]
    pub no_tablespaces: bool,
    /// Connections used to restore; 1 restores in the order of the dump [default: one more than CPUs, at most 9]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

fn owner_map(text: &str) -> Result<OwnerMap, &'static str> {
    OwnerMap::parse(text).ok_or("expected OLD=NEW, or NEW for all, with commas between them")
}

#[derive(Debug, Args)]
pub struct RebuildArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub replace: ReplaceArguments,
}

#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The database, and a manifest (.json)
    #[command(flatten)]
    pub targets: TargetArguments,
    /// The backup: expert/20260704T101530Z, or the time alone [default: the last one]
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// A backup's folder, an archive of pg_dump (-Fc, -Fd, -Ft), or plain SQL, which is converted first [default: a
    /// backup]
    #[arg(long, value_name = "PATH", conflicts_with = "backup")]
    pub file: Option<PathBuf>,
    /// Restore into a new database of this name and replace nothing [default: it is replaced]
    #[arg(long = "as", value_name = "NEW", conflicts_with_all = ["keep_old", "no_backup"])]
    pub beside: Option<String>,
    /// Restore only what the dump holds: no patches, no rows of the present database
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub replace: ReplaceArguments,
}

#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// A plain SQL dump, with or without gzip
    pub file: PathBuf,
    /// The database that was dumped; the image of its server is used for the temporary server [default: by the file's
    /// name]
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// The folder to write [default: beside the file, with the suffix .dump]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}
