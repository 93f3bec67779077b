//! Databases of the stack.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::is_default;
use super::service::SecretSource;

/// A PostgreSQL database in a service of this manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Database {
    /// The service that runs the server.
    pub service: String,
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
    /// SQL files of the site that run after a rebuild.
    #[serde(skip_serializing_if = "is_default")]
    pub patches: Vec<PathBuf>,
    /// Rows of the present database that a rebuild carries over.
    #[serde(skip_serializing_if = "is_default")]
    pub preserve: Vec<Preserve>,
    /// Services that stop while the database is swapped; where absent, all that depend on its server.
    #[serde(skip_serializing_if = "is_default")]
    pub used_by: Option<Vec<String>>,
}

/// Rows that a rebuild carries over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preserve {
    /// The table, with its schema where it is not in the search path.
    pub table: String,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The columns that are carried over; all where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub columns: Vec<String>,
    /// Which rows: a condition in SQL; all where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub r#where: Option<String>,
}
