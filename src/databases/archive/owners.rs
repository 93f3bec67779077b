//! Who owns what in an archive, read from the SQL that `pg_restore` writes, so that others can own it instead.
//!
//! Pure. What it reads becomes part of statements of ours, so that a line counts only where it is the kind of an object, its
//! name and its owner, and nothing that could end the statement, hide its end or leave psql.

use super::script::identifier;
use crate::databases::server::quoting;

/// The kinds of objects that have owners, as `ALTER … OWNER TO` names them (`pg_backup_archiver.c`,
/// `_getObjectDescription`); not those that are the whole server's.
const KINDS: [&str; 23] = [
    "AGGREGATE",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "LANGUAGE",
    "LARGE OBJECT",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "TABLE",
    "TEXT SEARCH",
    "TYPE",
    "VIEW",
];

/// An object and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct Owned<'a> {
    /// Kind and name: `FUNCTION public.f(integer)`.
    object: &'a str,
    pub owner: String,
}

impl<'a> Owned<'a> {
    /// Reads `ALTER FUNCTION public.f(integer) OWNER TO app;`, which pg_restore writes in one line.
    pub fn read(line: &'a str) -> Option<Self> {
        let (object, owner) = line.strip_prefix("ALTER ")?.strip_suffix(';')?.rsplit_once(" OWNER TO ")?;
        let (owner, rest) = identifier(owner)?;
        let has_kind = |kind: &&str| object.strip_prefix(*kind).is_some_and(|name| name.starts_with(' '));
        (rest.is_empty() && KINDS.iter().any(has_kind) && is_name(object)).then_some(Self { object, owner })
    }

    /// The statement that gives it to another owner.
    pub fn given_to(&self, owner: &str) -> String {
        format!("ALTER {} OWNER TO {};", self.object, quoting::ident(owner))
    }
}

/// Whether a text is words, quoted names, what stands between the types of a function, and the letters of an operator.
fn is_name(text: &str) -> bool {
    let mut is_quoted = false;
    let mut last = ' ';
    for letter in text.chars() {
        let is_sound = match letter {
            '"' => {
                is_quoted = !is_quoted;
                true
            }
            _ if is_quoted => !letter.is_control(),
            // The two that begin a comment.
            '-' | '*' => last != if letter == '-' { '-' } else { '/' },
            _ => letter.is_ascii_alphanumeric() || "_ .,()[]+/<>=~!@#%^&|?".contains(letter),
        };
        if !is_sound {
            return false;
        }
        last = letter;
    }
    !is_quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(line: &str) -> Option<String> {
        Owned::read(line).map(|owned| owned.given_to("new \"one"))
    }

    #[test]
    fn an_object_gets_another_owner() {
        for (line, object) in [
            ("ALTER TABLE public.t OWNER TO app;", "TABLE public.t"),
            (
                "ALTER FUNCTION s.\"f; \"\"x\"(a integer, character varying[]) OWNER TO app;",
                "FUNCTION s.\"f; \"\"x\"(a integer, character varying[])",
            ),
            ("ALTER OPERATOR public.-> (jsonb, text) OWNER TO app;", "OPERATOR public.-> (jsonb, text)"),
            ("ALTER LARGE OBJECT 16501 OWNER TO app;", "LARGE OBJECT 16501"),
            ("ALTER SCHEMA \"档案 局\" OWNER TO app;", "SCHEMA \"档案 局\""),
        ] {
            assert_eq!(Owned::read(line).unwrap().owner, "app");
            assert_eq!(given(line).unwrap(), format!("ALTER {object} OWNER TO \"new \"\"one\";"));
        }
        assert_eq!(Owned::read("ALTER TABLE public.t OWNER TO \"a OWNER\";").unwrap().owner, "a OWNER");
    }

    #[test]
    fn what_is_more_than_a_name_is_not_read() {
        for line in [
            "ALTER DATABASE other OWNER TO app;",
            "ALTER TABLESPACE fast OWNER TO app;",
            "ALTER ROLE app SUPERUSER; ALTER TABLE t OWNER TO app;",
            "ALTER TABLE t; DROP TABLE t; ALTER TABLE t OWNER TO app;",
            "ALTER TABLE t -- OWNER TO app;",
            "ALTER TABLE t --x OWNER TO app;",
            "ALTER TABLE t /* OWNER TO app;",
            "ALTER TABLE t\\! id OWNER TO app;",
            "ALTER TABLE 't' OWNER TO app;",
            "ALTER TABLE $$t OWNER TO app;",
            "ALTER TABLE \"t OWNER TO app;",
            "ALTER TABLE \"t OWNER TO app\";",
            "ALTER TABLE t OWNER TO app, b;",
            "ALTER TABLEX t OWNER TO app;",
            "ALTER TABLE t OWNER TO app",
        ] {
            assert_eq!(given(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in "(ALTER TABLE )?.{0,60}( OWNER TO .{0,20};)?") {
            if let Some(statement) = given(&line) {
                prop_assert!(!statement.contains("--") || statement.contains('"'));
            }
        }
    }
}
