//! What `pg_restore` writes as SQL, read for what it names; none of it is run.
//!
//! Pure. Roles and extensions come from lines that only pg_dump writes so; a name is read by the server's own rules of
//! quoting.

use std::collections::{BTreeMap, BTreeSet};

use crate::databases::server::quoting::quoted_name;
use crate::report::Message;

/// What a schema's script needs around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::databases) struct ScriptFacts {
    /// Those that own objects.
    pub owners: BTreeSet<String>,
    /// Those that are named otherwise: in grants, policies, default privileges and user mappings.
    pub roles: BTreeSet<String>,
    pub tablespaces: BTreeSet<String>,
    pub extensions: BTreeSet<String>,
    pub encoding: Option<String>,
    pub makes_public: bool,
    /// How many tables it makes, with rows or without.
    pub tables: u64,
}

/// How many rows of which table an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::databases) struct Rows {
    pub tables: BTreeMap<(String, String), u64>,
    pub bytes: u64,
    /// Statements `INSERT`: rows of an archive that was made with `--inserts`, whose tables nobody counts.
    pub inserts: u64,
    /// That of `pg_restore`.
    pub exit_code: i64,
}

/// A value of the comment that `pg_restore --list` begins with: `;     Dumped from database version: 15.3`.
pub(in crate::databases) fn header(listing: &str, key: &str) -> Option<String> {
    let comments = listing.lines().take_while(|line| line.starts_with(';'));
    let mut values = comments.filter_map(|line| line.trim_start_matches(';').trim().strip_prefix(key));
    values.next().map(|value| value.trim().to_owned())
}

/// Whether a plain dump came to its end: a file that was cut at the end of a line is SQL without a fault.
///
/// `COPY … FROM stdin;` is ended by `\\.` (PostgreSQL's "COPY", text format), and pg_dump and pg_dumpall write a line of
/// comment at the end that answers the one at the beginning (`pg_backup_archiver.c`, `pg_dumpall.c`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::databases) struct ScriptEnd {
    /// The statement whose rows are being read.
    open_copy: Option<String>,
    /// The headers that were not answered yet.
    open_headers: Vec<&'static str>,
}

const HEADERS: [&str; 2] = ["-- PostgreSQL database dump", "-- PostgreSQL database cluster dump"];

impl ScriptEnd {
    /// Whether a line is a row, and no statement.
    pub fn is_in_rows(&self) -> bool {
        self.open_copy.is_some()
    }

    /// Reads one line, which may be cut where it is very long.
    pub fn read_line(&mut self, line: &str) {
        if self.open_copy.is_some() {
            if line == "\\." {
                self.open_copy = None;
            }
        } else if line.starts_with("COPY ") && line.ends_with(" FROM stdin;") {
            self.open_copy = Some(line.to_owned());
        } else if let Some(header) = HEADERS.into_iter().find(|header| *header == line) {
            self.open_headers.push(header);
        } else if let Some(header) = line.strip_suffix(" complete") {
            // That of one database inside a cluster's is answered before the next one begins.
            if let Some(at) = self.open_headers.iter().rposition(|open| *open == header) {
                self.open_headers.remove(at);
            }
        }
    }

    /// What is missing at the end of the text.
    pub fn missing(&self) -> Option<Message> {
        let head = |copy: &String| copy.chars().take(120).collect::<String>();
        match (&self.open_copy, self.open_headers.last()) {
            (Some(copy), _) => Some(message!("damage-in-rows", table = head(copy))),
            (None, Some(header)) => Some(message!("damage-last-line", header = header)),
            (None, None) => None,
        }
    }
}

impl ScriptFacts {
    /// Everybody whom it names.
    pub fn all_roles(&self) -> BTreeSet<String> {
        self.owners.union(&self.roles).cloned().collect()
    }

    /// Reads one line of a script. pg_dump writes each of these statements in one.
    pub fn read_line(&mut self, line: &str) {
        // Its columns follow.
        let is_table = ["CREATE TABLE ", "CREATE UNLOGGED TABLE "].iter().any(|words| line.starts_with(words));
        self.tables += u64::from(is_table);
        let Some(line) = line.strip_suffix(';') else { return };
        if let Some(rest) = line.strip_prefix("ALTER DEFAULT PRIVILEGES FOR ROLE ") {
            self.roles.extend(identifier(rest).map(|(name, _)| name));
            let grantee = rest.rsplit_once(" TO ").or_else(|| rest.rsplit_once(" FROM ")).map(|(_, grantee)| grantee);
            self.roles.extend(grantee.and_then(identifier).map(|(name, _)| name).filter(|name| name != "PUBLIC"));
        } else if let Some(rest) = line.strip_prefix("CREATE POLICY ") {
            self.roles.extend(policy_roles(rest));
        } else if let Some(rest) = line.strip_prefix("CREATE USER MAPPING FOR ") {
            self.roles.extend(identifier(rest).map(|(name, _)| name).filter(|name| name != "PUBLIC"));
        } else if line.starts_with("ALTER ")
            && let Some((_, owner)) = line.rsplit_once(" OWNER TO ")
        {
            self.owners.extend(identifier(owner).filter(|(_, rest)| rest.is_empty()).map(|(name, _)| name));
        } else if line.starts_with("GRANT ")
            && let Some((_, grantee)) = line.rsplit_once(" TO ")
        {
            self.roles.extend(identifier(grantee).map(|(name, _)| name).filter(|name| name != "PUBLIC"));
        } else if let Some(rest) = line.strip_prefix("CREATE EXTENSION IF NOT EXISTS ") {
            self.extensions.extend(identifier(rest).map(|(name, _)| name));
        } else if let Some(encoding) = line.strip_prefix("SET client_encoding = ") {
            self.encoding = Some(encoding.trim_matches('\'').to_owned());
        } else if let Some(tablespace) = line.strip_prefix("SET default_tablespace = ") {
            self.tablespaces.extend(identifier(tablespace).map(|(name, _)| name).filter(|name| name != "''"));
        } else if line == "CREATE SCHEMA public" {
            self.makes_public = true;
        }
    }
}

/// The roles of `CREATE POLICY name ON table [AS …] [FOR …] [TO roles] [USING (…)]…`, behind the first two words. Nothing
/// but names and keywords stands before the first parenthesis outside of quotes.
fn policy_roles(statement: &str) -> Vec<String> {
    let mut rest = statement;
    let mut words = Vec::new();
    while let Some(next) = rest.trim_start().chars().next() {
        rest = rest.trim_start();
        match next {
            '(' => break,
            '.' | ',' => rest = &rest[1..],
            _ => {
                let is_quoted = next == '"';
                let Some((word, behind)) = identifier(rest) else { break };
                words.push((word, is_quoted));
                rest = behind;
            }
        }
    }
    let keyword = |word: &'static str| move |(text, is_quoted): &(String, bool)| !is_quoted && text == word;
    let Some(to) = words.iter().position(keyword("TO")) else { return Vec::new() };
    let named = words[to + 1..].iter().take_while(|word| !keyword("USING")(word) && !keyword("WITH")(word));
    named.map(|(name, _)| name.clone()).filter(|name| name != "PUBLIC").collect()
}

/// Reads a schema's script.
pub(in crate::databases) fn read_schema(script: &str) -> ScriptFacts {
    let mut facts = ScriptFacts::default();
    script.lines().for_each(|line| facts.read_line(line));
    facts
}

/// Reads what the counting in the container says. `None` when it did not come to its end.
pub(in crate::databases) fn read_counts(text: &str) -> Option<Rows> {
    let (mut rows, mut exit_code, mut bytes) = (Rows::default(), None, None);
    for line in text.lines() {
        let (word, rest) = line.split_once('\t')?;
        match word {
            "exit" => exit_code = rest.parse().ok(),
            "bytes" => bytes = rest.parse().ok(),
            "inserts" => rows.inserts = rest.parse().ok()?,
            count => {
                let (schema, rest) = identifier(rest.strip_prefix("COPY ")?)?;
                let (name, _) = identifier(rest.strip_prefix('.')?)?;
                *rows.tables.entry((schema, name)).or_default() += count.parse::<u64>().ok()?;
            }
        }
    }
    (rows.exit_code, rows.bytes) = (exit_code?, bytes?);
    Some(rows)
}

/// An identifier at the beginning of a text, and what follows it.
pub(in crate::databases) fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '.', '(', ',', ';']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    quoted_name(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_grantees_and_extensions_are_found() {
        let script = "SET client_encoding = 'UTF8';\nCREATE SCHEMA public;\n\
            CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;\n\
            ALTER TABLE public.t OWNER TO \"app \"\"x\"\"\";\nALTER SCHEMA s OWNER TO keeper;\n\
            GRANT SELECT ON TABLE public.t TO reader WITH GRANT OPTION;\n\
            SET default_tablespace = fast;\nSET default_tablespace = '';\nSET default_tablespace = \"so \"\"slow\"\"\";\nGRANT USAGE ON SCHEMA public TO PUBLIC;\n\
            COMMENT ON TABLE t IS 'x OWNER TO nobody';\n";
        let facts = read_schema(script);
        assert_eq!(facts.owners.iter().collect::<Vec<_>>(), ["app \"x\"", "keeper"]);
        assert_eq!(facts.all_roles().into_iter().collect::<Vec<_>>(), ["app \"x\"", "keeper", "reader"]);
        assert_eq!(facts.tablespaces.into_iter().collect::<Vec<_>>(), ["fast", "so \"slow\""]);
        assert_eq!(facts.extensions.into_iter().collect::<Vec<_>>(), ["uuid-ossp"]);
        assert_eq!((facts.encoding.as_deref(), facts.makes_public), (Some("UTF8"), true));
    }

    #[test]
    fn roles_of_policies_default_privileges_and_user_mappings_are_found() {
        let script = "CREATE POLICY \"p TO x\" ON public.t FOR SELECT TO c_pol, \"c \"\"pol\" USING ((a TO b));\n\
            CREATE POLICY q ON public.t USING (true);\n\
            ALTER DEFAULT PRIVILEGES FOR ROLE c_dflt IN SCHEMA public GRANT SELECT ON TABLES TO reader;\n\
            ALTER DEFAULT PRIVILEGES FOR ROLE c_other REVOKE ALL ON FUNCTIONS FROM PUBLIC;\n\
            CREATE USER MAPPING FOR c_map SERVER far OPTIONS (a 'b');\nCREATE USER MAPPING FOR PUBLIC SERVER far;\n";
        let roles: Vec<String> = read_schema(script).roles.into_iter().collect();
        assert_eq!(roles, ["c \"pol", "c_dflt", "c_map", "c_other", "c_pol", "reader"]);
    }

    #[test]
    fn the_counts_of_one_table_are_added_and_an_end_is_needed() {
        let text = "3\tCOPY public.t (a, b) FROM stdin;\n4\tCOPY public.t (a, b) FROM stdin;\n\
            0\tCOPY \"档案 局\".\"x\"\"; drop\" FROM stdin;\nexit\t0\nbytes\t12\n";
        let rows = read_counts(text).unwrap();
        let name = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        assert_eq!(rows.tables, BTreeMap::from([(name("public", "t"), 7), (name("档案 局", "x\"; drop"), 0)]));
        assert_eq!((rows.bytes, rows.exit_code), (12, 0));
        assert_eq!(read_counts("3\tCOPY public.t (a) FROM stdin;\nbytes\t3\n"), None);
    }

    #[test]
    fn the_header_of_a_listing_is_read() {
        let listing = ";\n; Archive created at 2026-07-04\n;     dbname: x\n;     Dumped from database version: 15.3 (Debian)\n;\n5; 1 2 TABLE\n";
        assert_eq!(header(listing, "Dumped from database version:").as_deref(), Some("15.3 (Debian)"));
        assert_eq!(header(listing, "Nothing:"), None);
    }

    fn missing(script: &str) -> Option<String> {
        let mut end = ScriptEnd::default();
        script.lines().for_each(|line| end.read_line(line));
        end.missing().map(|missing| crate::catalogue::english(&missing))
    }

    #[test]
    fn a_plain_dump_that_was_cut_at_the_end_of_a_line_is_found_out() {
        let whole = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE t (a text);\nCOPY public.t (a) FROM stdin;\n\
            -- PostgreSQL database dump complete\n2\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
        assert_eq!(missing(whole), None);
        let lines: Vec<&str> = whole.lines().collect();
        for kept in 2..=10 {
            let words = missing(&lines[..kept].join("\n")).unwrap_or_else(|| panic!("{kept}"));
            assert_eq!(
                words.contains("rows of `COPY public.t (a) FROM stdin;`"),
                (6..9).contains(&kept),
                "{kept}: {words}"
            );
        }
        assert_eq!(missing("CREATE TABLE t (a int);\nINSERT INTO t VALUES (1);\n"), None);
        assert!(missing("COPY t FROM stdin;\n1\n").is_some());
    }

    #[test]
    fn a_dump_of_all_databases_ends_with_its_own_line() {
        let one = "-- PostgreSQL database dump\n-- PostgreSQL database dump complete\n";
        let cut = format!("-- PostgreSQL database cluster dump\n{one}{one}");
        assert!(missing(&cut).is_some_and(|words| words.contains("cluster dump complete")));
        assert_eq!(missing(&format!("{cut}-- PostgreSQL database cluster dump complete\n")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let _ = (read_schema(&text), read_counts(&text), identifier(&text));
        }

        #[test]
        fn a_quoted_identifier_reads_back_as_itself(name in "[^\0]{1,20}") {
            let quoted = format!("\"{}\".x", name.replace('"', "\"\""));
            prop_assert_eq!(identifier(&quoted), Some((name, ".x")));
        }
    }
}
