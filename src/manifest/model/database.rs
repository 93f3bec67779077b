//! Databases of the stack.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::Reference;
use super::is_default;
use super::service::{EnvValue, SecretSource};

/// A PostgreSQL database: in a service of this manifest, or on a server outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Database {
    /// The service that runs the server; or `host` for a server outside the stack.
    #[serde(skip_serializing_if = "is_default")]
    pub service: Option<String>,
    /// Name or address of a server outside the stack, seen from the engine's machine.
    #[serde(skip_serializing_if = "is_default")]
    pub host: Option<String>,
    /// The port of a server outside; 5432 where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<u16>,
    /// For a server outside: an image with PostgreSQL's programs and server, of its major version or a later one.
    #[serde(skip_serializing_if = "is_default")]
    pub tools_image: Option<Reference>,
    /// The role that dpl works as; what the service's environment says (`POSTGRES_USER`), else `postgres`.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Its password; what the service's environment says where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub password: Option<SecretSource>,
    /// The owner of a database that does not exist yet.
    #[serde(skip_serializing_if = "is_default")]
    pub owner: Option<String>,
    /// The encoding of a database that does not exist yet.
    #[serde(skip_serializing_if = "is_default")]
    pub encoding: Option<String>,
    /// The locale of a database that does not exist yet.
    #[serde(skip_serializing_if = "is_default")]
    pub locale: Option<String>,
    /// Where `db dump` puts the delivery's dump and `db rebuild` takes it from.
    #[serde(skip_serializing_if = "is_default")]
    pub seed: Option<PathBuf>,
    /// SQL files of the site that run on a new database before it takes its place, in one transaction.
    #[serde(skip_serializing_if = "is_default")]
    pub patches: Vec<PathBuf>,
    /// Variables that the patches find, as psql sets them: `:name`, `:'name'`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub variables: IndexMap<String, EnvValue>,
    /// Rows of the present database that a rebuild carries over.
    #[serde(skip_serializing_if = "is_default")]
    pub preserve: Vec<Preserve>,
    /// Services that stop while the database is swapped; where absent, all that depend on its server.
    #[serde(skip_serializing_if = "is_default")]
    pub used_by: Option<Vec<String>>,
    /// Which backups `db prune` keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub retention: Retention,
}

/// The port of PostgreSQL where nobody says another.
pub const POSTGRES_PORT: u16 = 5432;

impl Database {
    /// Where its server is, for people: the service's name, or `host:port`.
    pub fn server_name(&self) -> String {
        match (&self.service, &self.host) {
            (Some(service), _) => service.clone(),
            (None, Some(host)) => format!("{host}:{}", self.port.unwrap_or(POSTGRES_PORT)),
            (None, None) => String::new(),
        }
    }
}

/// How many backups stay; one that a rule keeps stays, and so do the last one and the last verified one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Retention {
    /// The last so many; 3 where absent.
    pub keep_last: u32,
    /// The last one of each of so many days; 7 where absent.
    pub daily: u32,
    /// The last one of each of so many weeks; 4 where absent.
    pub weekly: u32,
    /// The last one of each of so many months; 6 where absent.
    pub monthly: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: 3, daily: 7, weekly: 4, monthly: 6 }
    }
}

/// Rows that a rebuild carries over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preserve {
    /// The table, with its schema where it is not in the search path.
    pub table: String,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The columns that are carried over, beside the key; all where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub columns: Vec<String>,
    /// Which rows: a condition in SQL; all where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub r#where: Option<String>,
}
