//! A database's own properties as data, and the SQL that gives them to another database.
//!
//! `pg_dump` without `--create` leaves them out, and with it they could come back only by running what a file says.
//! Here they are read from the catalogue, and written back quoted by us.

use serde::{Deserialize, Serialize};

use crate::databases::error::DatabasesError;
use crate::databases::server::client::Client;
use crate::databases::server::quoting;

/// What `CREATE DATABASE`, `ALTER DATABASE`, `GRANT … ON DATABASE` and `COMMENT ON DATABASE` set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    pub owner: String,
    /// `UTF8`.
    pub encoding: String,
    pub collate: String,
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// The locale of a provider other than libc.
    pub locale: Option<String>,
    pub icu_rules: Option<String>,
    pub tablespace: String,
    /// −1 for none.
    pub connection_limit: i64,
    pub is_template: bool,
    pub comment: Option<String>,
    /// `None` where nobody ever granted or revoked: the server's default.
    pub grants: Option<Vec<Grant>>,
    pub settings: Vec<Settings>,
}

/// One privilege on the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `None`: everybody (`PUBLIC`).
    pub grantee: Option<String>,
    /// `CONNECT`, `CREATE`, `TEMPORARY`.
    pub privilege: String,
    pub grantable: bool,
}

/// Settings of the database, for one role or for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `None`: `ALTER DATABASE … SET`; else `ALTER ROLE … IN DATABASE … SET`.
    pub role: Option<String>,
    /// `name=value`, as the catalogue has them.
    pub values: Vec<String>,
}

impl Properties {
    /// Reads them; `None` when there is no such database. `client` asks in the database `home`.
    pub(in crate::databases) async fn read(
        client: &Client,
        home: &str,
        database: &str,
    ) -> Result<Option<Self>, DatabasesError> {
        let query = READ.replace("$database", &quoting::literal(database));
        client.query(home, || message!("sql-read-the-properties-of-the-database"), &query).await
    }

    /// `CREATE DATABASE` with all that can't be changed afterwards. From `template0`, so that nothing which a site
    /// put into `template1` meets the same thing in the archive.
    pub(in crate::databases) fn create(&self, name: &str) -> String {
        let mut statement = format!(
            "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            quoting::ident(name),
            quoting::ident(&self.owner),
            quoting::literal(&self.encoding),
            quoting::literal(&self.collate),
            quoting::literal(&self.ctype),
        );
        match (self.locale_provider.as_str(), &self.locale) {
            ("icu", Some(locale)) => {
                statement += &format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", quoting::literal(locale));
                if let Some(rules) = &self.icu_rules {
                    statement += &format!(" ICU_RULES {}", quoting::literal(rules));
                }
            }
            ("builtin", Some(locale)) => {
                statement += &format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", quoting::literal(locale));
            }
            _ => {}
        }
        // It is template0's own: naming it would need a right that not every role has that may create databases.
        if self.tablespace != "pg_default" {
            statement += &format!(" TABLESPACE {}", quoting::ident(&self.tablespace));
        }
        statement + ";\n"
    }

    /// Everything else, for a database that was just created: grants, settings, limit, comment, template flag. Not
    /// before it is restored: a limit or a setting of the database's own must not stand in the restore's way.
    pub(in crate::databases) fn alterations(&self, name: &str) -> String {
        let database = quoting::ident(name);
        let mut statements = String::new();
        if let Some(grants) = &self.grants {
            statements += &format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC, {};\n", quoting::ident(&self.owner));
            for grant in grants {
                let grantee = grant.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), quoting::ident);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                let Some(privilege) = privilege(&grant.privilege) else { continue };
                statements += &format!("GRANT {privilege} ON DATABASE {database} TO {grantee}{option};\n");
            }
        }
        for settings in &self.settings {
            let target = match &settings.role {
                None => format!("ALTER DATABASE {database}"),
                Some(role) => format!("ALTER ROLE {} IN DATABASE {database}", quoting::ident(role)),
            };
            for statement in set(&target, &settings.values) {
                statements += &format!("{statement};\n");
            }
        }
        if let Some(comment) = &self.comment {
            statements += &format!("COMMENT ON DATABASE {database} IS {};\n", quoting::literal(comment));
        }
        if self.connection_limit != -1 {
            statements += &format!("ALTER DATABASE {database} CONNECTION LIMIT {};\n", self.connection_limit);
        }
        if self.is_template {
            statements += &format!("ALTER DATABASE {database} IS_TEMPLATE true;\n");
        }
        statements
    }

    /// The roles that must exist before it can be created and adorned.
    pub(in crate::databases) fn roles(&self) -> Vec<&str> {
        let grantees = self.grants.iter().flatten().filter_map(|grant| grant.grantee.as_deref());
        let settings = self.settings.iter().filter_map(|settings| settings.role.as_deref());
        let mut roles: Vec<&str> = [self.owner.as_str()].into_iter().chain(grantees).chain(settings).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

/// `ALTER … SET` for settings as the catalogue has them: `name=value`.
pub(in crate::databases) fn set(target: &str, values: &[String]) -> Vec<String> {
    let settings = values.iter().filter_map(|value| value.split_once('='));
    settings
        .map(|(name, value)| format!("{target} SET {} TO {}", setting_name(name), quoting::setting_value(name, value)))
        .collect()
}

/// The keyword of a privilege on databases; what is none becomes no SQL.
fn privilege(word: &str) -> Option<&'static str> {
    ["CONNECT", "CREATE", "TEMPORARY"].into_iter().find(|known| *known == word)
}

/// A setting's name; one of an extension has a dot between two names.
fn setting_name(name: &str) -> String {
    name.split('.').map(quoting::ident).collect::<Vec<_>>().join(".")
}

/// `to_jsonb` of the whole row, since columns of locales came and went between 15 and 17.
const READ: &str = "SELECT coalesce((SELECT json_build_object(
  'owner', pg_catalog.pg_get_userbyid(d.datdba),
  'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
  'collate', coalesce(r.r->>'datcollate', 'C'),
  'ctype', coalesce(r.r->>'datctype', 'C'),
  'locale_provider', CASE r.r->>'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
  'locale', coalesce(r.r->>'datlocale', r.r->>'daticulocale'),
  'icu_rules', r.r->>'daticurules',
  'tablespace', t.spcname,
  'connection_limit', CASE WHEN d.datconnlimit < 0 THEN -1 ELSE d.datconnlimit END,
  'is_template', d.datistemplate,
  'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
  'grants', CASE WHEN d.datacl IS NOT NULL THEN (SELECT coalesce(json_agg(json_build_object(
      'grantee', CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee) END,
      'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]')
    FROM pg_catalog.aclexplode(d.datacl) a) END,
  'settings', (SELECT coalesce(json_agg(json_build_object(
      'role', CASE WHEN s.setrole <> 0 THEN pg_catalog.pg_get_userbyid(s.setrole) END,
      'values', s.setconfig) ORDER BY s.setrole), '[]')
    FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid))
FROM pg_catalog.pg_database d
JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
CROSS JOIN LATERAL (SELECT to_jsonb(d) AS r) r
WHERE d.datname = $database), 'null')";

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Properties {
        Properties {
            owner: "app\"x".to_owned(),
            encoding: "UTF8".to_owned(),
            collate: "zh_CN.UTF-8".to_owned(),
            ctype: "zh_CN.UTF-8".to_owned(),
            locale_provider: "libc".to_owned(),
            tablespace: "pg_default".to_owned(),
            connection_limit: -1,
            ..Properties::default()
        }
    }

    #[test]
    fn a_database_is_created_from_template0_with_what_can_not_be_changed_later() {
        assert_eq!(
            plain().create("档案\"; drop"),
            "CREATE DATABASE \"档案\"\"; drop\" TEMPLATE template0 OWNER \"app\"\"x\" ENCODING 'UTF8' \
             LC_COLLATE 'zh_CN.UTF-8' LC_CTYPE 'zh_CN.UTF-8';\n"
        );
        let icu = Properties { locale_provider: "icu".to_owned(), locale: Some("zh".to_owned()), ..plain() };
        assert!(icu.create("d").ends_with(" LOCALE_PROVIDER icu ICU_LOCALE 'zh';\n"));
        let fast = Properties { tablespace: "fast 快".to_owned(), ..plain() };
        assert!(fast.create("d").ends_with(" TABLESPACE \"fast 快\";\n"));
    }

    #[test]
    fn untouched_grants_stay_the_servers_default() {
        assert_eq!(plain().alterations("d"), "");
    }

    #[test]
    fn everything_else_is_written_back_quoted() {
        let properties = Properties {
            connection_limit: 7,
            comment: Some("it's".to_owned()),
            grants: Some(vec![
                Grant { grantee: None, privilege: "CONNECT".to_owned(), grantable: false },
                Grant { grantee: Some("r 1".to_owned()), privilege: "CREATE".to_owned(), grantable: true },
                Grant { grantee: None, privilege: "ALL; DROP".to_owned(), grantable: false },
            ]),
            settings: vec![
                Settings { role: None, values: vec!["search_path=\"$user\", app".to_owned()] },
                Settings { role: Some("r 1".to_owned()), values: vec!["my.x=a=b".to_owned()] },
            ],
            ..plain()
        };
        assert_eq!(
            properties.alterations("d"),
            "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC, \"app\"\"x\";\n\
             GRANT CONNECT ON DATABASE \"d\" TO PUBLIC;\n\
             GRANT CREATE ON DATABASE \"d\" TO \"r 1\" WITH GRANT OPTION;\n\
             ALTER DATABASE \"d\" SET \"search_path\" TO '$user', 'app';\n\
             ALTER ROLE \"r 1\" IN DATABASE \"d\" SET \"my\".\"x\" TO 'a=b';\n\
             COMMENT ON DATABASE \"d\" IS 'it''s';\n\
             ALTER DATABASE \"d\" CONNECTION LIMIT 7;\n"
        );
        assert_eq!(properties.roles(), ["app\"x", "r 1"]);
    }
}
