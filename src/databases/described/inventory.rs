//! What is in a database, as data: tables and their rows, extensions, roles.
//!
//! All questions are asked in one session, so that inside a snapshot they and a dump see the same rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::databases::error::DatabasesError;
use crate::databases::server::quoting;
use crate::databases::server::session::Session;
use crate::report::{Message, Several};

/// Everything in a database that a copy of it must have too, and what it needs around it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// `pg_database_size`: what it takes on the server's disk, indexes included.
    pub size_bytes: u64,
    pub tables: Vec<Table>,
    /// Large objects (`pg_largeobject_metadata`).
    pub large_objects: u64,
    pub extensions: Vec<Extension>,
    /// Where objects of it lie that are not at the database's own place.
    #[serde(default)]
    pub tablespaces: Vec<String>,
    #[serde(default)]
    pub givens: Givens,
    /// The roles that own something, are granted something or have settings here, and those that they are members of.
    pub roles: Vec<Role>,
}

/// What every new database has, and so `pg_dump` says nothing of it: how this one differs there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Givens {
    /// Who owns the schema `public`, where that is not the server's first superuser; from PostgreSQL 15 on pg_dump says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_owner: Option<String>,
    /// Whether it has no schema `public`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_public: bool,
    /// Whether it has no `plpgsql`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_plpgsql: bool,
}

impl Givens {
    /// Whether it has all as it was given.
    pub(in crate::databases) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// What makes a new database the same in that.
    pub(in crate::databases) fn statements<'o>(&'o self, owner_of: impl FnOnce(&'o str) -> &'o str) -> String {
        let mut statements = String::new();
        if let Some(owner) = &self.public_owner {
            statements += &format!("ALTER SCHEMA public OWNER TO {};\n", quoting::ident(owner_of(owner)));
        }
        if self.no_public {
            statements += "DROP SCHEMA IF EXISTS public;\n";
        }
        if self.no_plpgsql {
            statements += "DROP EXTENSION IF EXISTS plpgsql;\n";
        }
        statements
    }
}

/// A table whose rows a dump holds. Partitions are tables of their own; the table above them has no rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// Its OID in the database that was dumped: an archive's list names it by that.
    pub oid: u32,
    #[serde(default)]
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub name: String,
    pub version: String,
    pub schema: String,
}

/// A role; with its password's hash only where somebody asked for that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub superuser: bool,
    pub inherit: bool,
    pub create_role: bool,
    pub create_database: bool,
    pub login: bool,
    pub replication: bool,
    pub bypass_row_security: bool,
    pub connection_limit: i64,
    /// As the server writes it; `None` for ever.
    pub valid_until: Option<String>,
    pub comment: Option<String>,
    pub member_of: Vec<String>,
    /// The same memberships with their options.
    #[serde(default)]
    pub memberships: Vec<Membership>,
    /// `ALTER ROLE … SET`, in all databases: `name=value`, as the catalogue has them.
    #[serde(default)]
    pub settings: Vec<String>,
    /// As `pg_authid` has it: `SCRAM-SHA-256$…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}

/// `GRANT role TO …`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub role: String,
    pub admin: bool,
    /// Of its own since PostgreSQL 16; before, the member's attribute.
    pub inherit: bool,
    pub set: bool,
    pub grantor: Option<String>,
}

/// As much of an [`Inventory`] as tells whether a copy is complete; the server has far less to look up for it.
#[derive(Debug, Deserialize)]
pub(in crate::databases) struct TableInventory {
    pub tables: Vec<Table>,
    pub large_objects: u64,
}

impl TableInventory {
    /// Everything but the rows.
    pub async fn read(session: &mut Session) -> Result<Self, DatabasesError> {
        session.allow_any_bytes().await?;
        let query = format!("SELECT json_build_object({TABLES})");
        session.query(|| message!("sql-list-its-objects"), &query).await
    }
}

impl Inventory {
    /// Everything but the rows.
    pub(in crate::databases) async fn read(session: &mut Session) -> Result<Self, DatabasesError> {
        session.allow_any_bytes().await?;
        session.query(|| message!("sql-list-its-objects"), &READ.replace("$tables", TABLES)).await
    }

    /// Adds the roles' password hashes, which only a superuser may read.
    pub(in crate::databases) async fn read_password_hashes(
        &mut self,
        session: &mut Session,
    ) -> Result<(), DatabasesError> {
        const QUERY: &str = "SELECT coalesce(json_object_agg(rolname, rolpassword) \
             FILTER (WHERE rolpassword IS NOT NULL), '{}') FROM pg_authid";
        let mut hashes: BTreeMap<String, String> =
            session.query(|| message!("sql-read-the-password-hashes"), QUERY).await?;
        for role in &mut self.roles {
            role.password_hash = hashes.remove(&role.name);
        }
        Ok(())
    }

    /// The tables' row counts in a database that was just restored. Where the server says that it has put in as many rows as
    /// are expected, that is their number; the others are counted. Reading every row that was just written would write
    /// most of them once more (PostgreSQL's hint bits).
    pub(in crate::databases) async fn count_restored(
        session: &mut Session,
        tables: &mut [Table],
        expected: impl Fn(&Table) -> Option<u64>,
    ) -> Result<(), DatabasesError> {
        // Before 15 such numbers arrive late, and may be lost on the way.
        const INSERTED: &str = "SELECT coalesce(json_object_agg(relid::bigint, n_tup_ins - n_tup_del), '{}') \
             FROM pg_stat_all_tables WHERE current_setting('server_version_num')::int >= 150000";
        let inserted: BTreeMap<u32, i64> =
            session.query(|| message!("sql-ask-how-many-rows-were-inserted"), INSERTED).await?;
        let mut others = Vec::new();
        for table in tables.iter_mut() {
            let rows = inserted.get(&table.oid).and_then(|rows| u64::try_from(*rows).ok());
            match rows.filter(|rows| expected(table) == Some(*rows)) {
                Some(rows) => table.rows = rows,
                None => others.push(table),
            }
        }
        let mut counted: Vec<Table> = others.iter().map(|table| (**table).clone()).collect();
        Self::count(session, &mut counted).await?;
        for (table, counted) in others.into_iter().zip(counted) {
            table.rows = counted.rows;
        }
        Ok(())
    }

    /// The tables' row counts.
    pub(in crate::databases) async fn count(session: &mut Session, tables: &mut [Table]) -> Result<(), DatabasesError> {
        // Functions of indexes and conditions find what they name where the database has it: the planner looks into them.
        session.run(|| message!("sql-reset-the-search-path"), "RESET search_path;").await?;
        // As many in one statement as keeps it, and its plan, small.
        for some in tables.chunks_mut(200) {
            let counts: Vec<String> = some
                .iter()
                .map(|table| {
                    let from = quoting::qualified(&table.schema, &table.name);
                    format!(
                        "SELECT {}::pg_catalog.int8 AS oid, pg_catalog.count(*) AS rows FROM ONLY {from}",
                        table.oid
                    )
                })
                .collect();
            let query = format!(
                "SELECT coalesce(pg_catalog.json_object_agg(oid, rows), '{{}}') FROM ({}) AS t",
                counts.join(" UNION ALL ")
            );
            let rows: BTreeMap<u32, u64> = session.query(|| message!("sql-count-the-rows"), &query).await?;
            for table in some {
                table.rows = rows.get(&table.oid).copied().unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// How a copy differs from what was dumped: the first few differences in words; `None` when it does not.
pub(in crate::databases) fn difference(dumped: &[Table], restored: &[Table]) -> Option<Message> {
    let key = |table: &Table| (table.schema.clone(), table.name.clone());
    let mut found: BTreeMap<_, _> = restored.iter().map(|table| (key(table), table.rows)).collect();
    let mut differences = Vec::new();
    for table in dumped {
        match found.remove(&key(table)) {
            None => differences.push(message!("difference-table-missing", schema = table.schema, table = table.name)),
            Some(rows) if rows != table.rows => differences.push(message!(
                "difference-rows",
                schema = table.schema,
                table = table.name,
                rows = rows,
                wanted = table.rows
            )),
            Some(_) => {}
        }
    }
    differences.extend(
        found.into_keys().map(|(schema, name)| message!("difference-table-more", schema = schema, name = name)),
    );
    shorten(differences)
}

/// The first three and how many more; `None` for an empty list.
pub(in crate::databases) fn shorten(mut list: Vec<Message>) -> Option<Message> {
    const SHOWN: usize = 3;
    if list.is_empty() {
        return None;
    }
    let more = list.len().saturating_sub(SHOWN);
    list.truncate(SHOWN);
    if more > 0 {
        list.push(message!("differences-more", count = more));
    }
    Some(message!("words", text = Several(list)))
}

/// Tables that an extension owns are its own affair: pg_dump leaves their rows out, or takes some of them.
const TABLES: &str = "'tables', (SELECT coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'oid', c.oid::bigint)
      ORDER BY n.nspname, c.relname), '[]')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND left(n.nspname, 3) <> 'pg_'
      AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.objsubid = 0 AND d.deptype = 'e')),
  'large_objects', (SELECT count(*) FROM pg_largeobject_metadata)";

const READ: &str = "SELECT json_build_object(
  'size_bytes', pg_database_size(current_database()),
  $tables,
  'extensions', (SELECT coalesce(json_agg(json_build_object('name', e.extname, 'version', e.extversion,
      'schema', n.nspname) ORDER BY e.extname), '[]')
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace),
  'tablespaces', (SELECT coalesce(json_agg(DISTINCT s.spcname), '[]')
    FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE s.spcname <> 'pg_global'),
  'givens', json_build_object(
    'public_owner', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
      WHERE nspname = 'public' AND nspowner <> 10 AND current_setting('server_version_num')::int < 150000),
    'no_public', NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'),
    'no_plpgsql', NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql')),
  'roles', (WITH RECURSIVE
      used AS (
        SELECT refobjid AS oid FROM pg_shdepend
          WHERE refclassid = 'pg_authid'::regclass
            AND (dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
              OR (classid = 'pg_database'::regclass
                AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())))
        UNION SELECT setrole FROM pg_db_role_setting
          WHERE setrole <> 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION SELECT relowner FROM pg_class WHERE oid >= 16384
        UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
        UNION SELECT typowner FROM pg_type WHERE oid >= 16384
        UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public' AND nspowner <> 10
        UNION SELECT extowner FROM pg_extension WHERE oid >= 16384
        UNION SELECT evtowner FROM pg_event_trigger
        UNION SELECT lomowner FROM pg_largeobject_metadata
        UNION SELECT unnest(polroles) FROM pg_policy
        UNION SELECT umuser FROM pg_user_mappings
        UNION SELECT defaclrole FROM pg_default_acl
        -- What is granted to the first superuser stands in no list of dependencies.
        UNION SELECT unnest(ARRAY[a.grantor, a.grantee]) FROM pg_default_acl, aclexplode(defaclacl) AS a
        UNION SELECT unnest(ARRAY[a.grantor, a.grantee]) FROM (
          SELECT relacl FROM pg_class WHERE oid >= 16384 UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid >= 16384
          UNION ALL SELECT proacl FROM pg_proc WHERE oid >= 16384 UNION ALL SELECT nspacl FROM pg_namespace WHERE oid >= 16384
          UNION ALL SELECT typacl FROM pg_type WHERE oid >= 16384 UNION ALL SELECT lomacl FROM pg_largeobject_metadata
          UNION ALL SELECT fdwacl FROM pg_foreign_data_wrapper UNION ALL SELECT srvacl FROM pg_foreign_server
          UNION ALL SELECT lanacl FROM pg_language WHERE oid >= 16384) AS granted (acl), aclexplode(acl) AS a
        UNION SELECT fdwowner FROM pg_foreign_data_wrapper UNION SELECT srvowner FROM pg_foreign_server
        UNION SELECT pubowner FROM pg_publication UNION SELECT stxowner FROM pg_statistic_ext
        UNION SELECT lanowner FROM pg_language WHERE oid >= 16384
        UNION SELECT collowner FROM pg_collation WHERE oid >= 16384
        UNION SELECT conowner FROM pg_conversion WHERE oid >= 16384
        UNION SELECT oprowner FROM pg_operator WHERE oid >= 16384
        UNION SELECT opcowner FROM pg_opclass WHERE oid >= 16384
        UNION SELECT opfowner FROM pg_opfamily WHERE oid >= 16384
        UNION SELECT cfgowner FROM pg_ts_config WHERE oid >= 16384
        UNION SELECT dictowner FROM pg_ts_dict WHERE oid >= 16384
        UNION SELECT datdba FROM pg_database WHERE datname = current_database()),
      closure AS (
        SELECT oid FROM used
        UNION SELECT m.roleid FROM pg_auth_members m JOIN closure c ON c.oid = m.member)
    SELECT coalesce(json_agg(json_build_object('name', r.rolname, 'superuser', r.rolsuper, 'inherit', r.rolinherit,
      'create_role', r.rolcreaterole, 'create_database', r.rolcreatedb, 'login', r.rolcanlogin,
      'replication', r.rolreplication, 'bypass_row_security', r.rolbypassrls, 'connection_limit', r.rolconnlimit,
      'valid_until', r.rolvaliduntil::text, 'comment', shobj_description(r.oid, 'pg_authid'),
      'member_of', (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]')
        FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
      'memberships', (SELECT coalesce(json_agg(json_build_object('role', g.rolname,
          'admin', m.admin_option, 'inherit', coalesce((to_jsonb(m)->>'inherit_option')::boolean, r.rolinherit),
          'set', coalesce((to_jsonb(m)->>'set_option')::boolean, true), 'grantor', w.rolname) ORDER BY g.rolname), '[]')
        FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid LEFT JOIN pg_roles w ON w.oid = m.grantor
        WHERE m.member = r.oid),
      'settings', coalesce((SELECT to_json(s.setconfig) FROM pg_db_role_setting s
        WHERE s.setrole = r.oid AND s.setdatabase = 0), '[]'))
      ORDER BY r.rolname), '[]')
    FROM pg_roles r JOIN closure c ON c.oid = r.oid WHERE left(r.rolname, 3) <> 'pg_'))";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;

    fn table(name: &str, rows: u64) -> Table {
        Table { schema: "public".to_owned(), name: name.to_owned(), oid: 1, rows }
    }

    #[test]
    fn the_same_rows_are_no_difference_whatever_the_oids() {
        let restored = [Table { oid: 99, ..table("b", 2) }, table("a", 1)];
        assert_eq!(difference(&[table("a", 1), table("b", 2)], &restored), None);
    }

    #[test]
    fn missing_short_and_strange_tables_are_told() {
        let words = difference(&[table("a", 1), table("b", 2)], &[table("b", 3), table("c", 0)]).unwrap();
        assert_eq!(
            english(&words),
            "table public.a is missing; table public.b has 3 rows instead of 2; table public.c did not exist"
        );
    }

    #[test]
    fn what_every_new_database_has_is_changed_only_where_it_was_otherwise() {
        assert_eq!(Givens::default().statements(|owner| owner), "");
        let givens = Givens { public_owner: Some("a b".to_owned()), no_public: false, no_plpgsql: true };
        assert_eq!(
            givens.statements(|owner| owner),
            "ALTER SCHEMA public OWNER TO \"a b\";\nDROP EXTENSION IF EXISTS plpgsql;\n"
        );
        assert_eq!(
            serde_json::from_str::<Givens>("{\"no_public\": true}").unwrap().statements(|owner| owner).lines().count(),
            1
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let list = (0..5).map(|index| message!("words", text = index)).collect();
        assert_eq!(english(&shorten(list).unwrap()), "0; 1; 2; and 2 more");
    }
}
