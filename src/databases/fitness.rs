//! Whether a dump can become a database on this server, asked before anything is made: all that is wrong at once.

use std::path::Path;

use serde::Deserialize;

use super::error::DatabasesError;
use super::properties::Properties;
use super::record::Record;
use super::server::Server;
use super::sql;

#[derive(Deserialize)]
struct Facts {
    missing_roles: Vec<String>,
    missing_extensions: Vec<String>,
    has_tablespace: bool,
    prepared_transactions: u64,
    may: bool,
}

/// Compares what the dump, and the database's properties, need with what the server has.
pub(super) async fn check(
    server: &Server,
    database: &str,
    source: &Path,
    record: &Record,
    properties: &Properties,
) -> Result<(), DatabasesError> {
    let mut problems = Vec::new();
    if matches!(database, "template0" | "template1") {
        problems.push(format!("{database} is PostgreSQL's own template: new databases are made from it"));
    }
    let dumped_major = record.server_version_number / 10_000;
    if dumped_major > server.major() {
        problems.push(format!(
            "it was dumped from PostgreSQL {}, and a server {} can't read it",
            record.server_version, server.version
        ));
    }
    let mut roles = needed_roles(record);
    roles.extend(properties.roles());
    let query = FACTS
        .replace("$roles", &rows(roles.iter().copied()))
        .replace("$extensions", &rows(record.extensions.iter().map(|extension| extension.name.as_str())))
        .replace("$tablespace", &sql::literal(&properties.tablespace))
        .replace("$database", &sql::literal(database));
    let facts: Facts = server.client.query(server.home(), "compare the server with the dump", &query).await?;
    if !facts.may {
        let user = &server.client.credentials.user;
        problems.push(format!("role `{user}` is no superuser: it could not give objects their owners"));
    }
    for role in facts.missing_roles {
        problems.push(format!("the server has no role `{role}`: create it first"));
    }
    for extension in facts.missing_extensions {
        problems.push(format!("the server's image has no extension `{extension}`"));
    }
    if !facts.has_tablespace {
        problems.push(format!("the server has no tablespace `{}`", properties.tablespace));
    }
    if facts.prepared_transactions > 0 {
        problems.push(format!(
            "`{database}` has {} prepared transactions, which keep it from being renamed: commit or roll them back",
            facts.prepared_transactions
        ));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        let source_path = source.to_owned();
        Err(DatabasesError::Unfit { database: database.to_owned(), source_path, problems })
    }
}

/// The roles that the archive's owners and grants name.
fn needed_roles(record: &Record) -> Vec<&str> {
    record.roles.iter().map(|role| role.name.as_str()).collect()
}

/// A set of names as `unnest(ARRAY[…])` takes them.
fn rows<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let list: Vec<String> = names.map(sql::literal).collect();
    format!("pg_catalog.unnest(ARRAY[{}]::text[])", list.join(", "))
}

const FACTS: &str = "SELECT json_build_object(
  'missing_roles', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $roles AS n
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = n)),
  'missing_extensions', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $extensions AS n
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = n)),
  'has_tablespace', EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = $tablespace),
  'prepared_transactions', (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = $database),
  'may', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))";
