//! How a database is replaced.

use std::collections::BTreeMap;

use super::drop_old::OldDatabase;
use super::patches::Patches;
use super::preserve::PreservedRows;
use crate::databases::described::properties::Properties;
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
    pub adaptation: Adaptation,
}

/// What of a dump is restored otherwise than it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adaptation {
    pub owners: Owners,
    /// Who may do what with objects.
    pub privileges: Part,
    pub tablespaces: Part,
}

impl Adaptation {
    /// Whether everything is restored as it was dumped.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The properties of a database that is made as the dump has them.
    pub(super) fn apply(&self, properties: &mut Properties, restorer: &str) {
        properties.owner = self.owners.of(&properties.owner, restorer).to_owned();
        if self.privileges == Part::LeftOut {
            properties.grants = None;
        }
        if self.tablespaces == Part::LeftOut {
            properties.tablespace = "pg_default".to_owned();
        }
    }

    /// What `pg_restore` is told of it.
    pub(in crate::databases) fn arguments(&self) -> Vec<String> {
        let owners = (self.owners != Owners::AsDumped).then_some("--no-owner");
        let privileges = (self.privileges == Part::LeftOut).then_some("--no-privileges");
        let tablespaces = (self.tablespaces == Part::LeftOut).then_some("--no-tablespaces");
        [owners, privileges, tablespaces].into_iter().flatten().map(str::to_owned).collect()
    }
}

/// A part of a dump that can be done without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    #[default]
    AsDumped,
    LeftOut,
}

/// Who owns what is restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Owners {
    #[default]
    AsDumped,
    /// The role that restores it.
    Restorer,
    Mapped(OwnerMap),
}

impl Owners {
    /// Who gets what `owner` had, where `restorer` restores it.
    pub(in crate::databases) fn of<'a>(&'a self, owner: &'a str, restorer: &'a str) -> &'a str {
        match self {
            Self::AsDumped => owner,
            Self::Restorer => restorer,
            Self::Mapped(map) => map.get(owner),
        }
    }
}

/// Owners and who takes their place; the others stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerMap {
    everyone: Option<String>,
    some: BTreeMap<String, String>,
}

impl OwnerMap {
    /// Reads `NEW`, for all objects, or `OLD=NEW`, several with commas between them; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut map = Self::default();
        for pair in text.split(',') {
            let (old, new) = pair.split_once('=').map_or((None, pair), |(old, new)| (Some(old), new));
            let earlier = match old {
                Some(old) => map.some.insert(old.to_owned(), new.to_owned()),
                None => map.everyone.replace(new.to_owned()),
            };
            if earlier.is_some() || new.is_empty() || new.contains('=') || old.is_some_and(str::is_empty) {
                return None;
            }
        }
        Some(map)
    }

    fn get<'a>(&'a self, owner: &'a str) -> &'a str {
        self.some.get(owner).or(self.everyone.as_ref()).map_or(owner, String::as_str)
    }

    /// As it is typed.
    pub fn text(&self) -> String {
        let some = self.some.iter().map(|(old, new)| format!("{old}={new}"));
        some.chain(self.everyone.clone()).collect::<Vec<_>>().join(",")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_mapped_one_by_one_or_all_at_once() {
        let map = |text: &str| OwnerMap::parse(text).unwrap();
        assert_eq!(map("app").get("postgres"), "app");
        assert_eq!((map("a=b,c=d").get("a"), map("a=b,c=d").get("x")), ("b", "x"));
        assert_eq!((map("a=b,rest").get("a"), map("a=b,rest").get("x")), ("b", "rest"));
        assert_eq!(map("a=b,rest").text(), "a=b,rest");
        for wrong in ["", "a=", "=b", "a,b", "a=b,a=c", "a=b=c", "a,"] {
            assert_eq!(OwnerMap::parse(wrong), None, "{wrong}");
        }
    }
}
