//! Carrying rows from the present database into the new one: the statements, and what keeps them from losing any.

use serde::Deserialize;

use super::{Entry, Preservation, cannot};
use crate::databases::described::inventory::shorten;
use crate::databases::documents::PreserveReport;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting::{ident, literal, qualified};
use crate::databases::server::session::Session;
use crate::report::Listed;

/// A session in each database. Both end when this process does, and then nothing was carried.
pub(in crate::databases) struct RowCopy {
    /// The name that both go by.
    database: String,
    present: Session,
    new: Session,
    /// The server's process behind the session in the present database: the one to be spared.
    pub backend: i64,
    reports: Vec<PreserveReport>,
}

impl RowCopy {
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
        // One that is kept goes back into the database where sessions are kept, and that one may be closed for the swap.
        let is_home = server.home() == present;
        let session = async |database: &str| match is_home {
            true => server.client.open_session(database).await,
            false => server.client.session(database).await,
        };
        let mut old_session = session(present).await?;
        let mut new_session = session(new).await?;
        // Conditions and operators are found where the database's own users find them. Values travel as text: every digit
        // of them, and dates in one style, whatever the database's own settings are (pg_dump does the same).
        const AS_TEXT: &str =
            "RESET search_path; SET extra_float_digits = 3; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';";
        for session in [&mut old_session, &mut new_session] {
            session.run(|| message!("sql-prepare-a-session"), AS_TEXT).await?;
            // Rows are copied as they are where nobody knows their encoding; columns may have such names.
            session.allow_any_bytes().await?;
        }
        let backend = old_session
            .query(|| message!("sql-ask-for-a-session-s-process"), "SELECT to_json(pg_backend_pid())")
            .await?;
        let begin = "RESET search_path; BEGIN READ WRITE; SET LOCAL session_replication_role = replica;";
        new_session.run(|| message!("sql-begin-to-copy-rows"), begin).await?;
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
            new_session.run(|| message!("sql-create-a-table-for-the-rows"), &statement).await?;
        }
        Ok(Some(Self { database: present.to_owned(), present: old_session, new: new_session, backend, reports }))
    }

    /// Carries every table's rows as they are now; a second time adds what has changed since.
    pub async fn carry(&mut self, preservation: &Preservation) -> Result<(), DatabasesError> {
        for (index, entry) in preservation.entries.iter().enumerate() {
            let rows = format!("pg_temp.dpl_rows_{index}");
            self.new.run(|| message!("sql-create-a-table-for-the-rows"), &format!("TRUNCATE {rows};")).await?;
            self.copy(entry, &rows).await?;
            let matching = self.matching(entry, &rows).await?;
            let (updated, inserted) = self.merge(entry, &rows, &matching).await?;
            let count = format!("SELECT to_json(count(*)) FROM {rows}");
            let report = &mut self.reports[index];
            report.rows = self.new.query(|| message!("sql-count-the-rows"), &count).await?;
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
        self.new.copy_from(&mut self.present, || message!("sql-copy-rows"), &copy_out, &copy_in).await?;
        self.new.run(|| message!("sql-copy-rows"), &format!("ANALYZE {rows};")).await.map(drop)
    }

    /// The condition that a row `t` of the new table is the carried row `n`, once each key is known to be of one row.
    async fn matching(&mut self, entry: &Entry, rows: &str) -> Result<String, DatabasesError> {
        let nulls: Vec<String> = entry
            .key
            .iter()
            .map(|key| format!("coalesce(pg_catalog.bool_or({} IS NULL), false)", ident(key)))
            .collect();
        let query = format!("SELECT pg_catalog.json_build_array({}) FROM {rows}", nulls.join(", "));
        let nulls: Vec<bool> = self.new.query(|| message!("sql-check-the-keys"), &query).await?;
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
        let [old_twice, new_twice]: [bool; 2] = self.new.query(|| message!("sql-check-the-keys"), &query).await?;
        if old_twice || new_twice {
            let key = Listed::of(&entry.key);
            let problem = match old_twice {
                true => message!("preserve-twice-present", table = entry.table, key = key),
                false => message!("preserve-twice-new", table = entry.table, key = key),
            };
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
            updated = self.new.query(|| message!("sql-update-rows"), &query).await?;
        }
        let target = to.strip_prefix("ONLY ").unwrap_or(to);
        let columns = list(columns);
        let query = format!(
            "WITH done AS (INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {rows} AS n \
             WHERE NOT EXISTS (SELECT FROM {to} AS t WHERE {matching}) RETURNING 1) SELECT to_json(count(*)) FROM done"
        );
        Ok((updated, self.new.query(|| message!("sql-insert-rows"), &query).await?))
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
        let sequences: Vec<Sequence> = self.new.query(|| message!("sql-look-for-sequences"), &query).await?;
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
            self.new.run(|| message!("sql-advance-sequences"), &statement).await?;
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
        let references: Vec<Reference> = self.new.query(|| message!("sql-look-for-foreign-keys"), &query).await?;
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
            let count: u64 = self.new.query(|| message!("sql-check-foreign-keys"), &query).await?;
            if count > 0 {
                problems.push(message!(
                    "preserve-dangling",
                    count = count,
                    child = format_args!("{child_schema}.{child}"),
                    parent = format_args!("{parent_schema}.{parent}"),
                    name = reference.name
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
        self.new.run(|| message!("sql-commit-the-rows"), "COMMIT;").await?;
        let reports = std::mem::take(&mut self.reports);
        self.close().await?;
        Ok(reports)
    }

    /// Leaves nothing of what was carried.
    pub async fn take_back(mut self) -> Result<(), DatabasesError> {
        self.new.run(|| message!("sql-undo-a-trial"), "ROLLBACK;").await?;
        self.close().await
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
