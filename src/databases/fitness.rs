//! Whether a dump can become a database on this server, asked before anything is made: all that is wrong at once.

use serde::Deserialize;

use super::error::DatabasesError;
use super::inventory::Role;
use super::properties::Properties;
use super::room::Room;
use super::server::Server;
use super::source::Expected;
use super::sql;

#[derive(Deserialize)]
struct Facts {
    missing_roles: Vec<String>,
    missing_extensions: Vec<String>,
    has_tablespace: bool,
    prepared_transactions: u64,
    may: bool,
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
        let statements = match expected.made_roles.iter().find(|made| made.name == *role) {
            Some(made) => statements_of(made),
            None => format!("CREATE ROLE {}", sql::ident(role)),
        };
        problems.push(format!("the server has no role `{role}`: create it first; all but its password: {statements};"));
    }
    for extension in &facts.missing_extensions {
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
    if let Some(room) = Room::of(server, &properties.tablespace).await? {
        problems.extend(room.problem(server, expected.size_bytes).await?);
    }
    Ok(problems)
}

/// What makes a role as it was where the dump was made, as far as anybody else may know: never its password.
fn statements_of(role: &Role) -> String {
    let mut words = vec![format!("CREATE ROLE {}", sql::ident(&role.name))];
    let attributes = [
        (role.superuser, "SUPERUSER"),
        (role.create_database, "CREATEDB"),
        (role.create_role, "CREATEROLE"),
        (role.login, "LOGIN"),
        (role.replication, "REPLICATION"),
        (role.bypass_row_security, "BYPASSRLS"),
        (!role.inherit, "NOINHERIT"),
    ];
    words.extend(attributes.into_iter().filter(|(has, _)| *has).map(|(_, word)| word.to_owned()));
    if role.connection_limit >= 0 {
        words.push(format!("CONNECTION LIMIT {}", role.connection_limit));
    }
    words.extend(role.valid_until.iter().map(|time| format!("VALID UNTIL {}", sql::literal(time))));
    let mut statements = vec![words.join(" ")];
    let grants =
        role.member_of.iter().map(|other| format!("GRANT {} TO {}", sql::ident(other), sql::ident(&role.name)));
    statements.extend(grants);
    statements.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_role_is_told_with_the_statements_that_make_it() {
        let plain = Role { name: "app".to_owned(), inherit: true, connection_limit: -1, ..Role::default() };
        assert_eq!(statements_of(&plain), "CREATE ROLE \"app\"");
        let role = Role {
            name: "x\"; drop".to_owned(),
            login: true,
            create_database: true,
            connection_limit: 5,
            valid_until: Some("2030-01-01 00:00:00+00".to_owned()),
            member_of: vec!["readers".to_owned()],
            ..Role::default()
        };
        assert_eq!(
            statements_of(&role),
            "CREATE ROLE \"x\"\"; drop\" CREATEDB LOGIN NOINHERIT CONNECTION LIMIT 5 \
             VALID UNTIL '2030-01-01 00:00:00+00'; GRANT \"readers\" TO \"x\"\"; drop\""
        );
    }
}
