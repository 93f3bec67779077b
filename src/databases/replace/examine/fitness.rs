//! Whether a dump can become a database on this server, asked before anything is made: all that is wrong at once.

use serde::Deserialize;

use super::obstacles;
use super::source::Expected;
use crate::databases::described::inventory::Role;
use crate::databases::described::properties::Properties;
use crate::databases::described::roles::MissingRoles;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting;

#[derive(Deserialize)]
struct Facts {
    missing_roles: Vec<String>,
    guarded_settings: Vec<String>,
    missing_extensions: Vec<String>,
    missing_tablespaces: Vec<String>,
    may: bool,
}

/// What stands between a dump and a database with these properties.
#[derive(Debug, Default)]
pub(in crate::databases) struct Findings {
    /// Nothing where the list is empty.
    pub problems: Vec<String>,
    /// To be made first.
    pub roles: Vec<Role>,
}

pub(in crate::databases) async fn look(
    server: &Server,
    database: &str,
    expected: &Expected,
    properties: &Properties,
    missing: MissingRoles,
) -> Result<Findings, DatabasesError> {
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
    let tablespaces = expected.tablespaces.iter().map(String::as_str).chain([properties.tablespace.as_str()]);
    let query = FACTS
        .replace("$roles", &rows(roles))
        .replace("$extensions", &rows(expected.extensions.iter().map(String::as_str)))
        .replace("$tablespaces", &rows(tablespaces));
    let facts: Facts = server.client.query(server.home(), "compare the server with the dump", &query).await?;
    if !facts.may {
        let user = &server.client.credentials.user;
        problems.push(format!("role `{user}` is no superuser: it could not give objects their owners"));
    }
    let mut made = Vec::new();
    for name in &facts.missing_roles {
        let known = expected.made_roles.iter().find(|made| made.name == *name);
        let role = known.cloned().unwrap_or_else(|| Role::plain(name));
        let person = role.is_for_a_person(&facts.missing_roles, &facts.guarded_settings);
        let advice = match (person, missing) {
            (None, MissingRoles::Create) => {
                made.push(role);
                continue;
            }
            (None, MissingRoles::Refuse) => "create it first, or give --create-roles".to_owned(),
            (Some(why), _) => format!("create it first, since {why}"),
        };
        let statements = role.statements(server.major());
        problems.push(format!("the server has no role `{name}`: {advice}; all but its password: {statements};"));
    }
    for extension in &facts.missing_extensions {
        problems.push(format!("the server's image has no extension `{extension}`"));
    }
    for tablespace in &facts.missing_tablespaces {
        problems.push(format!("the server has no tablespace `{tablespace}`: create it, or give --no-tablespaces"));
    }
    problems.extend(obstacles::of_extensions(server, &expected.extensions).await?);
    // A role without the right to ask where the data lies is refused above, and that is the reason to tell.
    if facts.may
        && let Some(space) = DiskSpace::of(server, &properties.tablespace).await?
    {
        problems.extend(space.problem(server, expected.size_bytes).await?);
    }
    Ok(Findings { problems, roles: made })
}

/// A set of names as `unnest(ARRAY[…])` takes them.
fn rows<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let list: Vec<String> = names.map(quoting::literal).collect();
    format!("pg_catalog.unnest(ARRAY[{}]::text[])", list.join(", "))
}

const FACTS: &str = "SELECT json_build_object(
  'missing_roles', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $roles AS n
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = n)),
  'guarded_settings', (SELECT coalesce(json_agg(lower(name)), '[]') FROM pg_catalog.pg_settings
    WHERE context IN ('superuser', 'superuser-backend')),
  'missing_extensions', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $extensions AS n
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = n)),
  'missing_tablespaces', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $tablespaces AS n
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = n)),
  'may', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))";
