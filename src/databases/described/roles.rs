//! Roles that a dump needs and a server lacks: told with the statements that make them, or made when somebody asks.
//!
//! What they were comes from the dump's record as data, never as a script. A role that would be above the others
//! (a superuser, say, or a member of one that is there) is not made from a file that came from elsewhere: a person has to.

use super::inventory::{Membership, Role};
use super::properties;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting;
use crate::report::{Message, Reporter};

/// What becomes of a dump that needs roles which the server lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingRoles {
    /// It is not restored; the error has the statements that make them.
    #[default]
    Refuse,
    Create,
}

/// Whatever the server's configuration writes down of statements, of these it does not.
const QUIETLY: &str = "BEGIN; SET LOCAL log_statement = 'none'; SET LOCAL log_min_error_statement = 'panic'; \
     SET LOCAL log_min_duration_statement = -1; SET LOCAL log_min_duration_sample = -1; \
     SET LOCAL log_transaction_sample_rate = 0";

/// Since 16 a membership has options of its own beside the member's attribute.
const MEMBERSHIP_OPTIONS: u32 = 16;

impl Role {
    /// One of which nothing but its name is known.
    pub(in crate::databases) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), inherit: true, connection_limit: -1, ..Self::default() }
    }

    /// Why a person has to make it, and no file from elsewhere may: it would do more than work on the rows that come with
    /// it. `made` are the roles that are made with it; `guarded` the settings that only a superuser may change.
    pub(in crate::databases) fn is_for_a_person(&self, made: &[String], guarded: &[String]) -> Option<Message> {
        let groups = self.memberships.iter().map(|membership| &membership.role).chain(&self.member_of);
        let setting = |value: &String| value.split_once('=').map(|(name, _)| name.to_ascii_lowercase());
        if self.name.starts_with("pg_") {
            return Some(message!("role-newer"));
        }
        if self.superuser || self.replication || self.bypass_row_security || self.create_role {
            return Some(message!("role-privileged"));
        }
        // Whatever such a role may do, directly or through others, its new member may too.
        if groups.into_iter().any(|group| !made.contains(group)) {
            return Some(message!("role-member"));
        }
        let is_guarded = self.settings.iter().filter_map(setting).any(|name| guarded.contains(&name));
        is_guarded.then_some(message!("role-settings"))
    }

    /// Everything that makes it as it was, but its password; for a server of this major version.
    pub(in crate::databases) fn statements(&self, major: u32) -> String {
        let mut statements = vec![self.create()];
        statements.extend(self.alterations(major));
        statements.join("; ")
    }

    fn create(&self) -> String {
        let mut words = vec![format!("CREATE ROLE {}", quoting::ident(&self.name))];
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
        words.extend(self.valid_until.iter().map(|time| format!("VALID UNTIL {}", quoting::literal(time))));
        words.join(" ")
    }

    /// What names other roles, and what can't be said when it is created.
    fn alterations(&self, major: u32) -> Vec<String> {
        let name = quoting::ident(&self.name);
        let mut statements: Vec<String> = match self.memberships.as_slice() {
            // Records of before say no more than that there is one.
            [] => self.member_of.iter().map(|other| format!("GRANT {} TO {name}", quoting::ident(other))).collect(),
            memberships => memberships.iter().map(|membership| self.grant(membership, major)).collect(),
        };
        statements.extend(properties::set(&format!("ALTER ROLE {name}"), &self.settings));
        statements.extend(
            self.comment.iter().map(|comment| format!("COMMENT ON ROLE {name} IS {}", quoting::literal(comment))),
        );
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
        format!("GRANT {} TO {}{with}", quoting::ident(&membership.role), quoting::ident(&self.name))
    }
}

/// Makes roles that a server lacks, all or none.
pub(in crate::databases) async fn create(
    server: &Server,
    roles: &[Role],
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    if roles.is_empty() {
        return Ok(());
    }
    // Hashes of passwords are nothing for the server's log.
    let mut statements = vec![QUIETLY.to_owned()];
    // All of them before what one has to do with another.
    statements.extend(roles.iter().map(Role::create));
    for role in roles {
        statements.extend(role.alterations(server.major()));
        statements.extend(
            role.password_hash
                .iter()
                .map(|hash| format!("ALTER ROLE {} PASSWORD {}", quoting::ident(&role.name), quoting::literal(hash))),
        );
    }
    statements.push("COMMIT;".to_owned());
    server.client.execute(server.home(), || message!("sql-create-the-roles"), &statements.join(";\n")).await?;
    for role in roles {
        let message = match role.login && role.password_hash.is_none() {
            _ if *role == Role::plain(&role.name) => message!("databases-role-made-plain", role = &role.name),
            true => message!("databases-role-made-without-password", role = &role.name),
            false => message!("databases-role-made", role = &role.name),
        };
        reporter.notice(message);
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
    fn what_lifts_a_role_above_others_is_for_a_person() {
        let (made, guarded) = (["readers".to_owned()], ["lo_compat_privileges".to_owned()]);
        let member = |of: &str| Role { member_of: vec![of.to_owned()], ..Role::plain("app") };
        let is_for_a_person = |role: &Role| role.is_for_a_person(&made, &guarded).is_some();
        assert!(!is_for_a_person(&Role { login: true, create_database: true, ..member("readers") }));
        let set = |value: &str| Role { settings: vec![value.to_owned()], ..Role::plain("app") };
        assert!(!is_for_a_person(&set("search_path=a")) && is_for_a_person(&set("LO_compat_privileges=on")));
        assert!(is_for_a_person(&Role { superuser: true, ..Role::plain("app") }));
        assert!(is_for_a_person(&Role { create_role: true, ..Role::plain("app") }));
        assert!(is_for_a_person(&member("postgres")) && is_for_a_person(&member("pg_execute_server_program")));
        assert!(is_for_a_person(&Role::plain("pg_newer")));
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
            role.alterations(16),
            [
                "GRANT \"readers\" TO \"app\" WITH ADMIN OPTION, INHERIT FALSE, SET FALSE",
                "ALTER ROLE \"app\" SET \"search_path\" TO 'a', 'b'",
                "COMMENT ON ROLE \"app\" IS 'it''s'"
            ]
        );
        assert_eq!(role.alterations(15)[0], "GRANT \"readers\" TO \"app\" WITH ADMIN OPTION");
    }
}
