//! Whether a dump can become a database on this server, asked before anything is made: all that is wrong at once.

use serde::Deserialize;

use super::error::DatabasesError;
use super::properties::Properties;
use super::server::Server;
use super::source::Expected;
use super::sql;
use crate::engine::ExecSpec;

#[derive(Deserialize)]
struct Facts {
    missing_roles: Vec<String>,
    missing_extensions: Vec<String>,
    /// `None` where there is no such tablespace; empty for the server's own folder.
    tablespace: Option<String>,
    prepared_transactions: u64,
    may: bool,
    data_directory: String,
}

/// What stands between a dump and a database with these properties; nothing where the list is empty.
pub(super) async fn problems(
    server: &Server,
    database: &str,
    expected: &Expected,
    properties: &Properties,
) -> Result<Vec<String>, DatabasesError> {
    let mut problems = Vec::new();
    if matches!(database, "template0" | "template1") {
        problems.push(format!("{database} is PostgreSQL's own template: new databases are made from it"));
    }
    if expected.major.is_some_and(|major| major > server.major()) {
        problems.push(format!(
            "it was dumped from PostgreSQL {}, and a server {} can't read it",
            expected.server_version,
            server.version()
        ));
    }
    let roles = expected.roles.iter().map(String::as_str).chain(properties.roles());
    let query = FACTS
        .replace("$roles", &rows(roles))
        .replace("$extensions", &rows(expected.extensions.iter().map(String::as_str)))
        .replace("$tablespace", &sql::literal(&properties.tablespace))
        .replace("$database", &sql::literal(database));
    let facts: Facts = server.client.query(server.home(), "compare the server with the dump", &query).await?;
    if !facts.may {
        let user = &server.client.credentials.user;
        problems.push(format!("role `{user}` is no superuser: it could not give objects their owners"));
    }
    for role in &facts.missing_roles {
        problems.push(format!("the server has no role `{role}`: create it first"));
    }
    for extension in &facts.missing_extensions {
        problems.push(format!("the server's image has no extension `{extension}`"));
    }
    if facts.tablespace.is_none() {
        problems.push(format!("the server has no tablespace `{}`", properties.tablespace));
    }
    if facts.prepared_transactions > 0 {
        problems.push(format!(
            "`{database}` has {} prepared transactions, which keep it from being renamed: commit or roll them back",
            facts.prepared_transactions
        ));
    }
    let folder = facts.tablespace.filter(|folder| !folder.is_empty()).unwrap_or(facts.data_directory);
    if let Some(free) = free_bytes(server, &folder).await?
        && free < expected.size_bytes
    {
        problems.push(format!(
            "restored it takes {} MiB at least, and only {} MiB are free where the server keeps its data ({folder})",
            expected.size_bytes.div_ceil(1 << 20),
            free >> 20
        ));
    }
    Ok(problems)
}

/// What `df` says in the server's container. `None` where it can't tell, which is no reason to refuse.
async fn free_bytes(server: &Server, folder: &str) -> Result<Option<u64>, DatabasesError> {
    let command = ["df", "-P", "-k", "--", folder].map(str::to_owned).into();
    let spec = ExecSpec { command, ..Default::default() };
    let Ok(answer) = server.engine().exec(&server.client.container, &spec, b"").await else { return Ok(None) };
    Ok(available(&String::from_utf8_lossy(&answer.stdout)).filter(|_| answer.exit_code == 0))
}

/// The fourth column of the last line (POSIX `df -P -k`). A folder's name may hold spaces, but it comes last.
fn available(answer: &str) -> Option<u64> {
    let line = answer.lines().last()?;
    let kibibytes: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    kibibytes.checked_mul(1024)
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
  'tablespace', (SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace
    WHERE spcname = $tablespace),
  'prepared_transactions', (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = $database),
  'may', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
  'data_directory', (SELECT coalesce(pg_catalog.current_setting('data_directory', true), '')))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_the_fourth_column() {
        let answer = "Filesystem 1024-blocks Used Available Capacity Mounted on\noverlay 100 40 60 40% /var/lib/a b\n";
        assert_eq!(available(answer), Some(60 * 1024));
        assert_eq!(available(""), None);
        assert_eq!(available("df: no such file"), None);
    }
}
