//! How a database is replaced.

use super::drop_old::OldDatabase;
use super::patches::Patches;
use super::preserve::PreservedRows;
use crate::databases::described::roles::MissingRoles;
use crate::databases::dump::Jobs;
use crate::databases::dump::backup::{BackupSettings, Shrink};

/// How to rebuild.
#[derive(Debug, Clone)]
pub struct RebuildOptions {
    pub jobs: Jobs,
    pub old: OldDatabase,
    /// How what a killed run had replaced is backed up before it is dropped, whatever becomes of the old one of this run.
    /// Where `None`, there is no place for that, and it stays.
    pub leftovers: Option<BackupSettings>,
    /// Whether a source without tables may replace rows.
    pub shrink: Shrink,
    pub missing_roles: MissingRoles,
    pub new: NewDatabase,
    pub patches: Patches,
    pub preserve: Vec<PreservedRows>,
    pub placement: Placement,
    pub repeat: Repeat,
    /// Whether the dump may be one of another database.
    pub identity: Identity,
}

/// What becomes of a run that finds the end of an earlier one still to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeat {
    /// It does that, and replaces nothing: people may have worked with the new database since.
    #[default]
    FinishEarlier,
    /// It replaces the database once more.
    Again,
}

/// Whose dump it may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Identity {
    /// The database's own: a record that names another one is refused.
    #[default]
    Same,
    /// Anyone's, since somebody said so.
    Any,
}

/// Where the new database goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// To the place of the present one.
    Replace,
    /// Beside it, under this name; nothing is replaced, stopped or preserved.
    Beside(String),
}

impl Placement {
    /// The name that the new database gets, where the present one is called `database`.
    pub(super) fn name<'a>(&'a self, database: &'a str) -> &'a str {
        match self {
            Self::Replace => database,
            Self::Beside(name) => name,
        }
    }
}

/// What a database that does not exist yet is created with; the source's where `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDatabase {
    pub owner: Option<String>,
    pub encoding: Option<String>,
    pub locale: Option<String>,
}
