//! What must come out of an archive: by its record, or by what was read in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::databases::archive::record::Record;
use crate::databases::archive::script::ScriptFacts;
use crate::databases::described::inventory::{Givens, Role, Table};
use crate::databases::described::properties::Properties;
use crate::databases::replace::options::Adaptation;

/// What must come out of it, and what it needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::databases) struct Expected {
    /// A backup's ID, or the path.
    pub label: String,
    /// The database that it is a dump of, where it says that.
    pub database: Option<String>,
    /// Rows of each table that has any.
    pub tables: Vec<Table>,
    /// Whether it holds rows at all: those of `--inserts` belong to no table that is known.
    pub holds_rows: bool,
    /// Statements `INSERT`, whose rows nobody counts.
    pub inserts: u64,
    /// Tables that it makes, where it has no record that names them.
    pub defined_tables: u64,
    /// Whether no other tables may be there.
    pub exhaustive: bool,
    pub large_objects: Option<u64>,
    pub roles: Vec<String>,
    /// Where objects of it lie that are not at the database's own place, as far as that is known.
    pub tablespaces: Vec<String>,
    /// Those of the roles of which it says what they were.
    pub made_roles: Vec<Role>,
    pub extensions: Vec<String>,
    pub server_version: String,
    pub major: Option<u32>,
    /// What it will take on the server's disk, at least.
    pub size_bytes: u64,
    /// The archive itself.
    pub bytes: u64,
    pub properties: Option<Properties>,
    pub encoding: Option<String>,
    /// Whether the archive makes the schema `public` itself.
    pub makes_public: bool,
    pub givens: Givens,
}

impl Expected {
    /// The roles and tablespaces that must be there for it.
    pub(super) fn needs(&mut self, facts: &ScriptFacts, adaptation: &Adaptation, restorer: &str) {
        let owners = facts.owners.iter().chain(&self.givens.public_owner);
        let owners = owners.map(|owner| adaptation.owners.of(owner, restorer).to_owned());
        let roles: BTreeSet<String> = owners.chain(facts.roles.iter().cloned()).collect();
        self.roles = roles.into_iter().collect();
        self.tablespaces = facts.tablespaces.iter().cloned().collect();
    }

    /// What the record of a folder of ours says.
    pub(super) fn recorded(record: &Record) -> Self {
        Self {
            label: record.id.clone(),
            database: Some(record.database.clone()),
            tables: record.tables.clone(),
            holds_rows: record.rows() > 0,
            inserts: 0,
            defined_tables: 0,
            exhaustive: true,
            large_objects: Some(record.large_objects),
            roles: record.roles.iter().map(|role| role.name.clone()).collect(),
            tablespaces: record.tablespaces.clone(),
            made_roles: record.roles.clone(),
            extensions: record.extensions.iter().map(|extension| extension.name.clone()).collect(),
            server_version: record.server_version.clone(),
            major: Some(record.server_version_number / 10_000),
            size_bytes: record.size_bytes,
            bytes: record.bytes(),
            properties: Some(record.properties.clone()),
            encoding: None,
            makes_public: false,
            givens: record.givens.clone(),
        }
    }
}

/// Tables of a restored database by schema and name.
pub(in crate::databases) fn by_name(tables: &[Table]) -> BTreeMap<(&str, &str), u64> {
    tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table.rows)).collect()
}
