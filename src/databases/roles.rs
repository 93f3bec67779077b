//! Roles that a dump needs and a server lacks: told with the statements that make them, or made when somebody asks.
//!
//! What they were comes from the dump's record as data, never as a script. A role that would be above the others
//! (a superuser, say, or a member of one) is not made from a file that came from elsewhere: a person has to.

use super::error::DatabasesError;
use super::inventory::{Membership, Role};
use super::properties;
use super::server::Server;
use super::sql;
use crate::report::{Message, Reporter};

/// What becomes of a dump that needs roles which the server lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingRoles {
    /// It is not restored; the error has the statements that make them.
    #[default]
    Refuse,
    Create,
}

/// Since 16 a membership has options of its own beside the member's attribute.
const MEMBERSHIP_OPTIONS: u32 = 16;

impl Role {
    /// One of which nothing but its name is known.
    pub(super) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), inherit: true, connection_limit: -1, ..Self::default() }
    }

    /// Whether it may do more than work on rows, by itself or through one of `superusers` or of the server's own roles.
    pub(super) fn is_above_others(&self, superusers: &[String]) -> bool {
        let lifts = |role: &String| role.starts_with("pg_") || superusers.contains(role);
        let groups = self.memberships.iter().map(|membership| &membership.role).chain(&self.member_of);
        self.superuser
            || self.replication
            || self.bypass_row_security
            || self.create_role
            || groups.into_iter().any(lifts)
    }

    /// Everything that makes it as it was, but its password; for a server of this major version.
    pub(super) fn statements(&self, major: u32) -> String {
        let mut statements = vec![self.create()];
        statements.extend(self.adorn(major));
        statements.join("; ")
    }

    fn create(&self) -> String {
        let mut words = vec![format!("CREATE ROLE {}", sql::ident(&self.name))];
        let attributes = [
            (self.superuser, "SUPERUSER"),
            (self.create_database, "CREATEDB"),
            (self.create_role, "CREATEROLE"),
            (self.login, "LOGIN"),
            (self.replication, "REPLICATION"),
            (self.bypass_row_security, "BYPASSRLS"),
            (!self.inherit, "NOINHERIT"),
        ];
        words.extend(attributes.into_iter().filter(|(has, _)| *has).map(|(_, word)| word.to_owned()));
        if self.connection_limit >= 0 {
            words.push(format!("CONNECTION LIMIT {}", self.connection_limit));
        }
        words.extend(self.valid_until.iter().map(|time| format!("VALID UNTIL {}", sql::literal(time))));
        words.join(" ")
    }

    /// What names other roles, and what can't be said when it is created.
    fn adorn(&self, major: u32) -> Vec<String> {
        let name = sql::ident(&self.name);
        let mut statements: Vec<String> = match self.memberships.as_slice() {
            // Records of before say no more than that there is one.
            [] => self.member_of.iter().map(|other| format!("GRANT {} TO {name}", sql::ident(other))).collect(),
            memberships => memberships.iter().map(|membership| self.grant(membership, major)).collect(),
        };
        statements.extend(properties::set(&format!("ALTER ROLE {name}"), &self.settings));
        statements
            .extend(self.comment.iter().map(|comment| format!("COMMENT ON ROLE {name} IS {}", sql::literal(comment))));
        statements
    }

    fn grant(&self, membership: &Membership, major: u32) -> String {
        let mut options = Vec::new();
        if membership.admin {
            options.push("ADMIN OPTION");
        }
        if major >= MEMBERSHIP_OPTIONS {
            if membership.inherit != self.inherit {
                options.push(if membership.inherit { "INHERIT TRUE" } else { "INHERIT FALSE" });
            }
            if !membership.set {
                options.push("SET FALSE");
            }
        }
        let with = if options.is_empty() { String::new() } else { format!(" WITH {}", options.join(", ")) };
        format!("GRANT {} TO {}{with}", sql::ident(&membership.role), sql::ident(&self.name))
    }
}

/// Makes roles that a server lacks, all or none.
pub(super) async fn create(server: &Server, roles: &[Role], reporter: &Reporter) -> Result<(), DatabasesError> {
    if roles.is_empty() {
        return Ok(());
    }
    // Hashes of passwords are nothing for the server's log.
    let mut statements =
        vec!["BEGIN; SET LOCAL log_statement = 'none'; SET LOCAL log_min_error_statement = 'panic'".to_owned()];
    // All of them before what one has to do with another.
    statements.extend(roles.iter().map(Role::create));
    for role in roles {
        statements.extend(role.adorn(server.major()));
        statements.extend(
            role.password_hash
                .iter()
                .map(|hash| format!("ALTER ROLE {} PASSWORD {}", sql::ident(&role.name), sql::literal(hash))),
        );
    }
    statements.push("COMMIT;".to_owned());
    server.client.execute(server.home(), "create the roles", &statements.join(";\n")).await?;
    for role in roles {
        let message = match role.login && role.password_hash.is_none() {
            true => Message::new("databases-role-made-without-password"),
            false => Message::new("databases-role-made"),
        };
        reporter.notice(message.with("role", &role.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_made_as_it_was() {
        assert_eq!(Role::plain("app").statements(15), "CREATE ROLE \"app\"");
        let role = Role {
            name: "x\"; drop".to_owned(),
            login: true,
            create_database: true,
            inherit: false,
            connection_limit: 5,
            valid_until: Some("2030-01-01 00:00:00+00".to_owned()),
            member_of: vec!["readers".to_owned()],
            ..Role::default()
        };
        assert_eq!(
            role.statements(15),
            "CREATE ROLE \"x\"\"; drop\" CREATEDB LOGIN NOINHERIT CONNECTION LIMIT 5 \
             VALID UNTIL '2030-01-01 00:00:00+00'; GRANT \"readers\" TO \"x\"\"; drop\""
        );
    }

    #[test]
    fn what_lifts_a_role_above_others_is_seen() {
        let superusers = ["postgres".to_owned()];
        let member = |of: &str| Role { member_of: vec![of.to_owned()], ..Role::plain("app") };
        let is_above = |role: &Role| role.is_above_others(&superusers);
        assert!(!is_above(&Role { login: true, create_database: true, ..member("readers") }));
        assert!(is_above(&Role { superuser: true, ..Role::plain("app") }));
        assert!(is_above(&member("postgres")) && is_above(&member("pg_execute_server_program")));
    }

    #[test]
    fn memberships_have_their_options_where_the_server_knows_them() {
        let membership = Membership {
            role: "readers".to_owned(),
            admin: true,
            inherit: false,
            set: false,
            grantor: Some("postgres".to_owned()),
        };
        let role = Role { memberships: vec![membership], comment: Some("it's".to_owned()), ..Role::plain("app") };
        let role = Role { settings: vec!["search_path=a, b".to_owned()], ..role };
        assert_eq!(
            role.adorn(16),
            [
                "GRANT \"readers\" TO \"app\" WITH ADMIN OPTION, INHERIT FALSE, SET FALSE",
                "ALTER ROLE \"app\" SET \"search_path\" TO 'a', 'b'",
                "COMMENT ON ROLE \"app\" IS 'it''s'"
            ]
        );
        assert_eq!(role.adorn(15)[0], "GRANT \"readers\" TO \"app\" WITH ADMIN OPTION");
    }
}
