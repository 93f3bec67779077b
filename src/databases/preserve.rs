//! `preserve`: rows of the present database that live on in the one that takes its place.
//!
//! Planned on both databases before anything stops, rehearsed and rolled back, then done for good while nobody can write
//! to the present one. Rows whose keys match are updated, the others inserted, sequences moved past them. Triggers and
//! foreign keys rest meanwhile, so that the order of tables and rings of references don't matter and rows arrive as they
//! are; what would point nowhere afterwards is found before the transaction ends.

use serde::Deserialize;

use super::documents::PreserveReport;
use super::error::DatabasesError;
use super::inventory::shorten;
use super::psql::Session;
use super::server::Server;
use super::sql::{ident, literal, qualified};

/// Which rows live on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreservedRows {
    /// As people write it, with its schema where it is not in the search path.
    pub table: String,
    pub key: Vec<String>,
    /// All where empty.
    pub columns: Vec<String>,
    /// A condition in SQL, the site's own; all rows where `None`.
    pub condition: Option<String>,
}

/// What is carried over, as both databases have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Preservation {
    entries: Vec<Entry>,
    /// Tables that the present database does not have yet: nothing of them can live on.
    pub absent: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The name as the manifest has it.
    table: String,
    from: String,
    to: String,
    key: Vec<String>,
    columns: Vec<String>,
    /// Those of `columns` that a row which is there already gets.
    updated: Vec<String>,
    condition: Option<String>,
    /// Schema and name in the new database, as literals of a row.
    to_literals: String,
}

/// A table that answers to a name.
#[derive(Debug, Clone, Deserialize)]
struct Candidate {
    wanted: String,
    schema: String,
    name: String,
    partitioned: bool,
    visible: bool,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Deserialize)]
struct Column {
    name: String,
    r#type: String,
    generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: no `UPDATE` may set it.
    always_identity: bool,
}

impl Candidate {
    /// Its own rows; those of a partitioned one are its partitions'.
    fn source(&self) -> String {
        let name = qualified(&self.schema, &self.name);
        if self.partitioned { name } else { format!("ONLY {name}") }
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Preservation {
    /// Whether nothing is carried over.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What can be told from the present database alone, before there is a new one.
    pub async fn problems_of(
        server: &Server,
        present: &str,
        wanted: &[PreservedRows],
    ) -> Result<Vec<String>, DatabasesError> {
        let there = candidates(server, present, wanted).await?;
        let mut problems = Vec::new();
        for rows in wanted {
            match choose(&there, &rows.table) {
                Ok(Some(table)) => {
                    let missing = rows.key.iter().chain(&rows.columns).filter(|name| table.column(name).is_none());
                    problems.extend(missing.map(|name| {
                        format!("`{present}` has no column `{name}` in table `{}` to preserve", rows.table)
                    }));
                }
                // It may come with the new version.
                Ok(None) => {}
                Err(problem) => problems.push(format!("`{present}`: {problem}")),
            }
        }
        Ok(problems)
    }

    /// Finds tables and columns in both databases; all that does not fit comes at once.
    pub async fn plan(
        server: &Server,
        present: &str,
        new: &str,
        wanted: &[PreservedRows],
    ) -> Result<Self, DatabasesError> {
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let old_tables = candidates(server, present, wanted).await?;
        let new_tables = candidates(server, new, wanted).await?;
        let mut plan = Self::default();
        let mut problems = Vec::new();
        for rows in wanted {
            match (choose(&old_tables, &rows.table), choose(&new_tables, &rows.table)) {
                (Ok(Some(from)), Ok(Some(to))) => match entry(rows, from, to) {
                    Ok(entry) => plan.entries.push(entry),
                    Err(more) => problems.extend(more),
                },
                (Ok(None), Ok(Some(_))) => plan.absent.push(rows.table.clone()),
                (Ok(Some(_)), Ok(None)) => problems.push(format!("the new database has no table `{}`", rows.table)),
                (Ok(None), Ok(None)) => problems.push(format!("neither database has a table `{}`", rows.table)),
                (Err(problem), _) => problems.push(format!("the present database: {problem}")),
                (_, Err(problem)) => problems.push(format!("the new database: {problem}")),
            }
        }
        if problems.is_empty() { Ok(plan) } else { Err(cannot(present, problems)) }
    }

    /// Does it all and takes it back: what can't be carried is found while everything still runs.
    pub async fn rehearse(&self, server: &Server, present: &str, new: &str) -> Result<(), DatabasesError> {
        let Some(mut carrier) = Carrier::open(server, present, new, self).await? else { return Ok(()) };
        carrier.carry(self).await?;
        carrier.new.run("take a rehearsal back", "ROLLBACK;").await?;
        carrier.close().await
    }
}

fn cannot(database: &str, problems: Vec<String>) -> DatabasesError {
    DatabasesError::CannotPreserve { database: database.to_owned(), problems }
}

/// The table that a name means: the one in the search path, else the only one.
fn choose<'c>(candidates: &'c [Candidate], name: &str) -> Result<Option<&'c Candidate>, String> {
    let all: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.wanted == name).collect();
    if let Some(visible) = all.iter().find(|candidate| candidate.visible) {
        return Ok(Some(visible));
    }
    match all.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(format!("more than one table is called `{name}`; name its schema")),
    }
}

fn entry(rows: &PreservedRows, from: &Candidate, to: &Candidate) -> Result<Entry, Vec<String>> {
    let mut problems = Vec::new();
    let columns: Vec<String> = if rows.columns.is_empty() {
        from.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect()
    } else {
        let more = rows.columns.iter().filter(|name| !rows.key.contains(name));
        rows.key.iter().chain(more).cloned().collect()
    };
    for name in rows.key.iter().filter(|name| !columns.contains(name)) {
        problems.push(format!("`{}` has no column `{name}` that can be a key", rows.table));
    }
    for name in &columns {
        match (from.column(name), to.column(name)) {
            (None, _) => problems.push(format!("the present `{}` has no column `{name}`", rows.table)),
            (_, None) => problems.push(format!("the new `{}` has no column `{name}`", rows.table)),
            (Some(old), Some(new)) if old.r#type != new.r#type => problems.push(format!(
                "column `{name}` of `{}` is {} in the present database and {} in the new one",
                rows.table, old.r#type, new.r#type
            )),
            (_, Some(new)) if new.generated => {
                problems.push(format!("column `{name}` of the new `{}` is generated and can't be set", rows.table));
            }
            _ => {}
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let can_update =
        |name: &&String| !rows.key.contains(name) && to.column(name).is_some_and(|column| !column.always_identity);
    Ok(Entry {
        table: rows.table.clone(),
        from: from.source(),
        to: to.source(),
        key: rows.key.clone(),
        updated: columns.iter().filter(can_update).cloned().collect(),
        columns,
        condition: rows.condition.clone(),
        to_literals: format!("({}, {})", literal(&to.schema), literal(&to.name)),
    })
}

async fn candidates(
    server: &Server,
    database: &str,
    wanted: &[PreservedRows],
) -> Result<Vec<Candidate>, DatabasesError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = wanted.iter().map(|rows| literal(&rows.table)).collect();
    let query = CANDIDATES.replace("$names", &names.join(", "));
    server.client.query(database, "look for tables", &query).await
}

/// A name may be written as it is, or quoted where SQL wants quotes, or everywhere.
const CANDIDATES: &str = r#"SELECT coalesce(json_agg(json_build_object(
  'wanted', m.wanted, 'schema', m.nspname, 'name', m.relname, 'partitioned', m.relkind = 'p',
  'visible', pg_catalog.pg_table_is_visible(m.oid),
  'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname,
      'type', pg_catalog.format_type(a.atttypid, NULL), 'generated', a.attgenerated <> '',
      'always_identity', a.attidentity = 'a') ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped))), '[]')
FROM (SELECT DISTINCT w.n AS wanted, s.nspname, c.relname, c.relkind, c.oid
  FROM pg_catalog.unnest(ARRAY[$names]::text[]) AS w(n)
  JOIN pg_catalog.pg_class c ON c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
  CROSS JOIN LATERAL (VALUES (c.relname::text), (pg_catalog.quote_ident(c.relname)),
    ('"' || pg_catalog.replace(c.relname, '"', '""') || '"')) AS t(n)
  CROSS JOIN LATERAL (VALUES (s.nspname::text), (pg_catalog.quote_ident(s.nspname)),
    ('"' || pg_catalog.replace(s.nspname, '"', '""') || '"')) AS q(n)
  WHERE w.n = t.n OR w.n = q.n || '.' || t.n) AS m"#;

/// A session in each database. Both end when this process does, and then nothing was carried.
pub(super) struct Carrier {
    /// The name that both go by.
    database: String,
    present: Session,
    new: Session,
    /// The server's process behind the session in the present database: the one to be spared.
    pub backend: i64,
    reports: Vec<PreserveReport>,
}

impl Carrier {
    /// `None` where there is nothing to carry.
    pub async fn open(
        server: &Server,
        present: &str,
        new: &str,
        preservation: &Preservation,
    ) -> Result<Option<Self>, DatabasesError> {
        if preservation.is_empty() {
            return Ok(None);
        }
        let mut old_session = server.client.session(present).await?;
        let mut new_session = server.client.session(new).await?;
        // Conditions and operators are found where the database's own users find them.
        old_session.run("prepare a session", "RESET search_path;").await?;
        let backend = old_session.query("ask for a session's process", "SELECT to_json(pg_backend_pid())").await?;
        let begin = "RESET search_path; BEGIN READ WRITE; SET LOCAL session_replication_role = replica;";
        new_session.run("begin to carry rows over", begin).await?;
        let reports: Vec<PreserveReport> = preservation
            .entries
            .iter()
            .map(|entry| PreserveReport { table: entry.table.clone(), ..Default::default() })
            .collect();
        for (index, entry) in preservation.entries.iter().enumerate() {
            let statement = format!(
                "CREATE TEMP TABLE dpl_rows_{index} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA;",
                list(&entry.columns),
                entry.to
            );
            new_session.run("make room for rows", &statement).await?;
        }
        Ok(Some(Self { database: present.to_owned(), present: old_session, new: new_session, backend, reports }))
    }

    /// Carries every table's rows as they are now; a second time adds what has changed since.
    pub async fn carry(&mut self, preservation: &Preservation) -> Result<(), DatabasesError> {
        for (index, entry) in preservation.entries.iter().enumerate() {
            let rows = format!("pg_temp.dpl_rows_{index}");
            self.new.run("make room for rows", &format!("TRUNCATE {rows};")).await?;
            self.copy(entry, &rows).await?;
            let matching = self.matching(entry, &rows).await?;
            let (updated, inserted) = self.merge(entry, &rows, &matching).await?;
            let count = format!("SELECT to_json(count(*)) FROM {rows}");
            let report = &mut self.reports[index];
            report.rows = self.new.query("count the rows", &count).await?;
            report.updated += updated;
            report.inserted += inserted;
        }
        for entry in &preservation.entries {
            self.move_sequences(entry).await?;
        }
        self.check_references(preservation).await
    }

    async fn copy(&mut self, entry: &Entry, rows: &str) -> Result<(), DatabasesError> {
        let columns = list(&entry.columns);
        let condition =
            entry.condition.as_ref().map(|condition| format!(" WHERE (\n{condition}\n)")).unwrap_or_default();
        let copy_out = format!("COPY (SELECT {columns} FROM {}{condition}) TO STDOUT", entry.from);
        let copy_in = format!("COPY {rows} ({columns}) FROM STDIN");
        self.new.copy_from(&mut self.present, "carry rows over", &copy_out, &copy_in).await?;
        self.new.run("carry rows over", &format!("ANALYZE {rows};")).await.map(drop)
    }

    /// The condition that a row `t` of the new table is the carried row `n`, once each key is known to be of one row.
    async fn matching(&mut self, entry: &Entry, rows: &str) -> Result<String, DatabasesError> {
        let nulls: Vec<String> = entry
            .key
            .iter()
            .map(|key| format!("coalesce(pg_catalog.bool_or({} IS NULL), false)", ident(key)))
            .collect();
        let query = format!("SELECT pg_catalog.json_build_array({}) FROM {rows}", nulls.join(", "));
        let nulls: Vec<bool> = self.new.query("look at the keys", &query).await?;
        let matching: Vec<String> = entry
            .key
            .iter()
            .zip(nulls)
            .map(|(key, has_null)| {
                // Arrays with a NULL in the same place are equal, and unlike IS NOT DISTINCT FROM that can be hashed.
                match has_null {
                    true => format!("ARRAY[t.{0}] = ARRAY[n.{0}]", ident(key)),
                    false => format!("t.{0} = n.{0}", ident(key)),
                }
            })
            .collect();
        let matching = matching.join(" AND ");
        let keys = list(&entry.key);
        let of_t: Vec<String> = entry.key.iter().map(|key| format!("t.{}", ident(key))).collect();
        // Counted, not EXISTS: for a first row alone the planner takes a nested loop, and there is none to stop it.
        let query = format!(
            "SELECT pg_catalog.json_build_array(\
             (SELECT count(*) > 0 FROM (SELECT FROM {rows} GROUP BY {keys} HAVING count(*) > 1) AS twice), \
             (SELECT count(*) > 0 FROM (SELECT FROM {} AS t JOIN {rows} AS n ON {matching} GROUP BY {} \
               HAVING count(*) > 1) AS twice))",
            entry.to,
            of_t.join(", ")
        );
        let [old_twice, new_twice]: [bool; 2] = self.new.query("look at the keys", &query).await?;
        if old_twice || new_twice {
            let which = if old_twice { "present" } else { "new" };
            let key = entry.key.join(", ");
            let problem = format!("the {which} `{}` has several rows with one ({key}), so it is no key", entry.table);
            return Err(cannot(&self.database, vec![problem]));
        }
        Ok(matching)
    }

    /// Updates rows that differ, inserts those that are missing, and counts both.
    async fn merge(&mut self, entry: &Entry, rows: &str, matching: &str) -> Result<(u64, u64), DatabasesError> {
        let Entry { to, columns, .. } = entry;
        let mut updated = 0;
        if !entry.updated.is_empty() {
            let set: Vec<String> = entry.updated.iter().map(|name| format!("{0} = n.{0}", ident(name))).collect();
            // As text, since not every type can be compared (json), and equal is not always the same (numeric).
            let differs: Vec<String> = entry
                .updated
                .iter()
                .map(|name| {
                    format!("t.{0}::text COLLATE \"C\" IS DISTINCT FROM n.{0}::text COLLATE \"C\"", ident(name))
                })
                .collect();
            let query = format!(
                "WITH done AS (UPDATE {to} AS t SET {} FROM {rows} AS n WHERE {matching} AND ({}) RETURNING 1) \
                 SELECT to_json(count(*)) FROM done",
                set.join(", "),
                differs.join(" OR ")
            );
            updated = self.new.query("update rows", &query).await?;
        }
        let target = to.strip_prefix("ONLY ").unwrap_or(to);
        let columns = list(columns);
        let query = format!(
            "WITH done AS (INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {rows} AS n \
             WHERE NOT EXISTS (SELECT FROM {to} AS t WHERE {matching}) RETURNING 1) SELECT to_json(count(*)) FROM done"
        );
        Ok((updated, self.new.query("insert rows", &query).await?))
    }

    /// The next number of a column must be behind those that came.
    async fn move_sequences(&mut self, entry: &Entry) -> Result<(), DatabasesError> {
        #[derive(Deserialize)]
        struct Sequence {
            schema: String,
            name: String,
            column: String,
            ascends: bool,
        }
        let query = SEQUENCES.replace("$table", &entry.to_literals);
        let sequences: Vec<Sequence> = self.new.query("look for sequences", &query).await?;
        for Sequence { schema, name, column, ascends } in sequences {
            let (furthest, beyond) = if ascends { ("max", ">") } else { ("min", "<") };
            let sequence = qualified(&schema, &name);
            let statement = format!(
                "SELECT pg_catalog.setval({}::regclass, e.v) FROM (SELECT {furthest}({})::bigint AS v FROM {}) AS e, \
                 {sequence} AS q WHERE e.v {beyond} q.last_value OR (e.v = q.last_value AND NOT q.is_called);",
                literal(&sequence),
                ident(&column),
                entry.to
            );
            self.new.run("move sequences on", &statement).await?;
        }
        Ok(())
    }

    /// Foreign keys rested: what they would have refused is looked for.
    async fn check_references(&mut self, preservation: &Preservation) -> Result<(), DatabasesError> {
        #[derive(Deserialize)]
        struct Reference {
            name: String,
            child: [String; 2],
            parent: [String; 2],
            child_columns: Vec<String>,
            parent_columns: Vec<String>,
        }
        let tables: Vec<&str> = preservation.entries.iter().map(|entry| entry.to_literals.as_str()).collect();
        let query = REFERENCES.replace("$tables", &tables.join(", "));
        let references: Vec<Reference> = self.new.query("look for foreign keys", &query).await?;
        let mut problems = Vec::new();
        for reference in references {
            let pairs = reference.child_columns.iter().zip(&reference.parent_columns);
            let joined: Vec<String> = pairs.map(|(c, p)| format!("p.{} = c.{}", ident(p), ident(c))).collect();
            let set: Vec<String> =
                reference.child_columns.iter().map(|c| format!("c.{} IS NOT NULL", ident(c))).collect();
            let ([child_schema, child], [parent_schema, parent]) = (&reference.child, &reference.parent);
            let query = format!(
                "SELECT to_json(count(*)) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {})",
                qualified(child_schema, child),
                set.join(" AND "),
                qualified(parent_schema, parent),
                joined.join(" AND ")
            );
            let count: u64 = self.new.query("check foreign keys", &query).await?;
            if count > 0 {
                problems.push(format!(
                    "{count} rows of {child_schema}.{child} would point to rows that {parent_schema}.{parent} does not \
                     have (foreign key `{}`): preserve those too, or fewer",
                    reference.name
                ));
            }
        }
        match shorten(problems) {
            None => Ok(()),
            Some(problems) => Err(cannot(&self.database, vec![problems])),
        }
    }

    /// Keeps what was carried, and gives what that was.
    pub async fn finish(mut self) -> Result<Vec<PreserveReport>, DatabasesError> {
        self.new.run("keep the rows", "COMMIT;").await?;
        let reports = std::mem::take(&mut self.reports);
        self.close().await?;
        Ok(reports)
    }

    async fn close(self) -> Result<(), DatabasesError> {
        self.present.close().await?;
        self.new.close().await
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| ident(name)).collect::<Vec<_>>().join(", ")
}

/// Those that belong to a column of the table, and those that its default takes numbers from.
const SEQUENCES: &str = "WITH wanted AS (SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) = $table),
  used AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number FROM pg_catalog.pg_depend d
      JOIN wanted w ON w.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
        AND d.deptype IN ('a', 'i')
    UNION SELECT d.refobjid, f.adrelid, f.adnum FROM pg_catalog.pg_attrdef f JOIN wanted w ON w.oid = f.adrelid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass)
  SELECT coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'column', a.attname,
      'ascends', q.seqincrement > 0)), '[]')
  FROM used u JOIN pg_catalog.pg_sequence q ON q.seqrelid = u.sequence
  JOIN pg_catalog.pg_class c ON c.oid = u.sequence JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typcategory = 'N'";

/// Foreign keys from and to the tables; those of partitions are their parent's.
const REFERENCES: &str = "WITH wanted AS (SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) IN ($tables))
  SELECT coalesce(json_agg(json_build_object('name', k.conname,
      'child', (SELECT json_build_array(n.nspname, c.relname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.conrelid),
      'parent', (SELECT json_build_array(n.nspname, c.relname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.confrelid),
      'child_columns', (SELECT json_agg(a.attname ORDER BY x.place) FROM pg_catalog.unnest(k.conkey)
        WITH ORDINALITY AS x(number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.number),
      'parent_columns', (SELECT json_agg(a.attname ORDER BY x.place) FROM pg_catalog.unnest(k.confkey)
        WITH ORDINALITY AS x(number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.number))), '[]')
  FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
    AND (k.conrelid IN (SELECT oid FROM wanted) OR k.confrelid IN (SELECT oid FROM wanted))";

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, r#type: &str) -> Column {
        Column { name: name.to_owned(), r#type: r#type.to_owned(), generated: false, always_identity: false }
    }

    fn table(schema: &str, visible: bool, columns: Vec<Column>) -> Candidate {
        let (schema, name) = (schema.to_owned(), "keys".to_owned());
        Candidate { wanted: "keys".to_owned(), schema, name, partitioned: false, visible, columns }
    }

    fn rows(key: &[&str], columns: &[&str]) -> PreservedRows {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        PreservedRows { table: "keys".to_owned(), key: own(key), columns: own(columns), condition: None }
    }

    #[test]
    fn a_name_means_the_table_in_the_search_path_else_the_only_one() {
        let both = [table("a", false, vec![]), table("b", true, vec![])];
        assert_eq!(choose(&both, "keys").unwrap().unwrap().schema, "b");
        assert_eq!(choose(&both[..1], "keys").unwrap().unwrap().schema, "a");
        assert!(choose(&both, "other").unwrap().is_none());
        assert!(choose(&[table("a", false, vec![]), table("c", false, vec![])], "keys").is_err());
    }

    #[test]
    fn all_columns_are_carried_but_generated_ones_and_identities_stay_as_they_are() {
        let mut columns = vec![column("id", "integer"), column("name", "text"), column("secret", "text")];
        columns.push(Column { generated: true, ..column("both", "text") });
        columns[0].always_identity = true;
        let there = table("public", true, columns);
        let entry = entry(&rows(&["name"], &[]), &there, &there).unwrap();
        assert_eq!(entry.columns, ["id", "name", "secret"]);
        assert_eq!(entry.updated, ["secret"]);
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once() {
        let old = table("public", true, vec![column("name", "text"), column("a", "integer"), column("b", "text")]);
        let new = table("public", true, vec![column("name", "text"), column("a", "text")]);
        assert_eq!(
            entry(&rows(&["name"], &[]), &old, &new).unwrap_err(),
            [
                "column `a` of `keys` is integer in the present database and text in the new one",
                "the new `keys` has no column `b`"
            ]
        );
        assert_eq!(
            entry(&rows(&["nome"], &["a"]), &old, &old).unwrap_err(),
            ["the present `keys` has no column `nome`"]
        );
    }
}
