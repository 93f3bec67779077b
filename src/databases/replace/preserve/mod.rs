//! `preserve`: rows of the present database that live on in the one that takes its place.
//!
//! Planned on both databases before anything stops, rehearsed and rolled back, then done for good while nobody can write
//! to the present one. Rows whose keys match are updated, the others inserted, sequences moved past them. Triggers and
//! foreign keys rest meanwhile, so that the order of tables and rings of references don't matter and rows arrive as they
//! are; what would point nowhere afterwards is found before the transaction ends.

pub(in crate::databases) mod copy_rows;

use serde::Deserialize;

use self::copy_rows::RowCopy;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting::{literal, qualified};
use crate::databases::sql::statements;
use crate::report::in_one_line;

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
pub(in crate::databases) struct Preservation {
    pub entries: Vec<Entry>,
    /// Tables that the present database does not have yet: nothing of them can live on.
    pub absent: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct Entry {
    /// The name as the manifest has it.
    pub table: String,
    pub from: String,
    pub to: String,
    pub key: Vec<String>,
    pub columns: Vec<String>,
    /// Those of `columns` that a row which is there already gets.
    pub updated: Vec<String>,
    pub condition: Option<String>,
    /// Schema and name in the new database, as literals of a row.
    pub to_literals: String,
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
                    problems.extend(problem_of_condition(server, present, rows, table).await?);
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
        let Some(mut row_copy) = RowCopy::open(server, present, new, self).await? else { return Ok(()) };
        row_copy.carry(self).await?;
        row_copy.take_back().await
    }
}

/// What is wrong with a condition: text that stays open would keep psql waiting for its end, and whether the server takes
/// it, it says itself.
async fn problem_of_condition(
    server: &Server,
    present: &str,
    rows: &PreservedRows,
    table: &Candidate,
) -> Result<Option<String>, DatabasesError> {
    let Some(condition) = &rows.condition else { return Ok(None) };
    let wrong = |why: String| Ok(Some(format!("the condition of `{}` to preserve can't be used: {why}", rows.table)));
    let statement = format!("SELECT 1 FROM {} WHERE (\n{condition}\n)", table.source());
    match statements::split(&statement) {
        Ok(found) if found.len() == 1 => {}
        Ok(_) => return wrong("it is more than one condition".to_owned()),
        Err(error) => return wrong(in_one_line(&error)),
    }
    let prepare = format!("PREPARE dpl_condition AS {statement};");
    match server.client.execute(present, "look at a condition", &prepare).await {
        Ok(_) => Ok(None),
        Err(DatabasesError::Sql { source, .. }) => wrong(source.to_string()),
        Err(error) => Err(error),
    }
}

pub(in crate::databases) fn cannot(database: &str, problems: Vec<String>) -> DatabasesError {
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
