//! Whether a dump can become a database on this server, asked before anything is made: all that is wrong at once.

use serde::Deserialize;

use super::obstacles;
use super::source::Expected;
use crate::databases::described::inventory::Role;
use crate::databases::described::properties::Properties;
use crate::databases::described::roles::MissingRoles;
use crate::databases::error::DatabasesError;
use crate::databases::replace::options::{Adaptation, Owners, Part, RebuildOptions};
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting;
use crate::report::{Listed, Message};

#[derive(Deserialize)]
struct Facts {
    missing_roles: Vec<String>,
    guarded_settings: Vec<String>,
    missing_extensions: Vec<String>,
    missing_tablespaces: Vec<String>,
    /// Those of the extensions that only a superuser can create here.
    guarded_extensions: Vec<String>,
    is_superuser: bool,
    creates_databases: bool,
}

/// What stands between a dump and a database with these properties.
#[derive(Debug, Default)]
pub(in crate::databases) struct Findings {
    /// Nothing where the list is empty.
    pub problems: Vec<Message>,
    /// To be made first.
    pub roles: Vec<Role>,
}

/// A database that is to come of a dump.
pub(in crate::databases) struct Wanted<'a> {
    pub database: &'a str,
    pub expected: &'a Expected,
    pub properties: &'a Properties,
    /// Whether it takes another one's place.
    pub replaces: bool,
}

pub(in crate::databases) async fn look(
    server: &Server,
    wanted: &Wanted<'_>,
    options: &RebuildOptions,
) -> Result<Findings, DatabasesError> {
    let Wanted { database, expected, properties, replaces } = *wanted;
    let mut problems = Vec::new();
    if matches!(database, "template0" | "template1") {
        problems.push(message!("unfit-template", database = database));
    }
    if expected.major.is_some_and(|major| major > server.major()) {
        problems.push(message!("unfit-newer", dumped = expected.server_version, server = server.version()));
    }
    let roles = expected.roles.iter().map(String::as_str).chain(properties.roles());
    let tablespaces = expected.tablespaces.iter().map(String::as_str).chain([properties.tablespace.as_str()]);
    let query = FACTS
        .replace("$roles", &rows(roles))
        .replace("$extensions", &rows(expected.extensions.iter().map(String::as_str)))
        .replace("$tablespaces", &rows(tablespaces));
    let facts: Facts =
        server.client.query(server.home(), || message!("sql-compare-the-server-with-the-dump"), &query).await?;
    if !facts.is_superuser {
        problems.extend(problem_of_role(server, &facts, &options.adaptation, replaces));
    }
    let mut made = Vec::new();
    for name in &facts.missing_roles {
        let known = expected.made_roles.iter().find(|made| made.name == *name);
        let role = known.cloned().unwrap_or_else(|| Role::plain(name));
        let person = role.is_for_a_person(&facts.missing_roles, &facts.guarded_settings);
        let advice = match (person, options.missing_roles) {
            (None, MissingRoles::Create) => {
                made.push(role);
                continue;
            }
            (None, MissingRoles::Refuse) => message!("unfit-create-role"),
            (Some(why), _) => message!("unfit-create-role-why", why = why),
        };
        let statements = role.statements(server.major());
        problems.push(message!("unfit-no-role", name = name, advice = advice, statements = statements));
    }
    for extension in &facts.missing_extensions {
        problems.push(message!("unfit-no-extension", extension = extension));
    }
    for tablespace in &facts.missing_tablespaces {
        problems.push(message!("unfit-no-tablespace", tablespace = tablespace));
    }
    problems.extend(obstacles::of_extensions(server, &expected.extensions).await?);
    if let Some(space) = DiskSpace::of(server, &properties.tablespace).await? {
        problems.extend(space.problem(server, expected.size_bytes).await?);
    }
    Ok(Findings { problems, roles: made })
}

/// What keeps a role that is no superuser from restoring: it can make a database that is all its own, and give nothing to
/// others. To put that in another one's place, connections of others have to be ended.
fn problem_of_role(server: &Server, facts: &Facts, adaptation: &Adaptation, replaces: bool) -> Option<Message> {
    let is_all_its_own = adaptation.owners == Owners::Restorer && adaptation.privileges == Part::LeftOut;
    let user = &server.client.credentials.user;
    let extensions = &facts.guarded_extensions;
    match () {
        () if !facts.creates_databases => Some(message!("unfit-no-superuser-nor-createdb", user = user)),
        () if !extensions.is_empty() => {
            Some(message!("unfit-no-superuser-extensions", user = user, extensions = Listed::of(extensions)))
        }
        () if is_all_its_own && !replaces => None,
        () => Some(message!("unfit-no-superuser", user = user)),
    }
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
  'guarded_extensions', (SELECT coalesce(json_agg(DISTINCT n), '[]') FROM $extensions AS n
    WHERE EXISTS (SELECT FROM pg_catalog.pg_available_extension_versions WHERE name = n)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_available_extension_versions WHERE name = n AND (trusted OR NOT superuser))),
  'is_superuser', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
  'creates_databases', (SELECT rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user))";
