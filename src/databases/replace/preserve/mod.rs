//! `preserve`: rows of the present database that live on in the one that takes its place.
//!
//! Planned on both databases before anything stops, rehearsed and rolled back, then done for good while nobody can write
//! to the present one. Rows whose keys match are updated, the others inserted, sequences moved past them. Triggers and
//! foreign keys rest meanwhile, so that the order of tables and rings of references don't matter and rows arrive as they
//! are; what would point nowhere afterwards is found before the transaction ends.

pub(in crate::databases) mod copy_rows;

use serde::Deserialize;

use self::copy_rows::RowCopy;
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::server::connect::Server;
use crate::databases::server::quoting::{literal, qualified};
use crate::databases::sql::statements;
use crate::report::{Message, Told as _};

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
    /// Tables whose rows live on while those of tables that inherit from them do not, since nobody names these.
    pub heirs: Vec<(String, Vec<String>)>,
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
    /// Schema and name of the tables that inherit from it, partitions excepted.
    heirs: Vec<(String, String)>,
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
    ) -> Result<Vec<Message>, DatabasesError> {
        let there = candidates(server, present, wanted).await?;
        let mut problems = Vec::new();
        for rows in wanted {
            match choose(&there, &rows.table) {
                Ok(Some(table)) => {
                    let missing = rows.key.iter().chain(&rows.columns).filter(|name| table.column(name).is_none());
                    problems.extend(missing.map(|name| {
                        message!("preserve-present-column", present = present, name = name, table = rows.table)
                    }));
                    problems.extend(problem_of_condition(server, present, rows, table).await?);
                }
                // It may come with the new version.
                Ok(None) => {}
                Err(problem) => problems.push(message!("preserve-of-present", present = present, problem = problem)),
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
                (Ok(Some(_)), Ok(None)) => problems.push(message!("preserve-new-table", table = rows.table)),
                (Ok(None), Ok(None)) => problems.push(message!("preserve-no-table", table = rows.table)),
                (Err(problem), _) => problems.push(message!("preserve-present-problem", problem = problem)),
                (_, Err(problem)) => problems.push(message!("preserve-new-problem", problem = problem)),
            }
        }
        plan.heirs = forgotten_heirs(wanted, &old_tables);
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
) -> Result<Option<Message>, DatabasesError> {
    let Some(condition) = &rows.condition else { return Ok(None) };
    let wrong = |why: Message| Ok(Some(message!("preserve-condition", table = rows.table, why = why)));
    let statement = format!("SELECT 1 FROM {} WHERE (\n{condition}\n)", table.source());
    match statements::split(&statement) {
        Ok(found) if found.len() == 1 => {}
        Ok(_) => return wrong(message!("preserve-conditions")),
        Err(error) => return wrong(in_one_line(&error)),
    }
    let prepare = format!("PREPARE dpl_condition AS {statement};\nDEALLOCATE dpl_condition;");
    match server.client.execute(present, || message!("sql-check-a-condition"), &prepare).await {
        Ok(_) => Ok(None),
        Err(DatabasesError::Sql { source, .. }) => wrong(source.message()),
        Err(error) => Err(error),
    }
}

pub(in crate::databases) fn cannot(database: &str, problems: Vec<Message>) -> DatabasesError {
    DatabasesError::CannotPreserve { database: database.to_owned(), problems }
}

/// The table that a name means: the one in the search path, else the only one.
fn choose<'c>(candidates: &'c [Candidate], name: &str) -> Result<Option<&'c Candidate>, Message> {
    let all: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.wanted == name).collect();
    if let Some(visible) = all.iter().find(|candidate| candidate.visible) {
        return Ok(Some(visible));
    }
    match all.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(message!("preserve-ambiguous", name = name)),
    }
}

/// By the table that is named: those that inherit from it and are named nowhere.
fn forgotten_heirs(wanted: &[PreservedRows], tables: &[Candidate]) -> Vec<(String, Vec<String>)> {
    let chosen = |rows: &PreservedRows| choose(tables, &rows.table).ok().flatten();
    let is_named = |heir: &(String, String)| {
        wanted.iter().filter_map(chosen).any(|table| (&table.schema, &table.name) == (&heir.0, &heir.1))
    };
    let of_table = |rows: &PreservedRows| {
        let heirs = chosen(rows)?.heirs.iter().filter(|heir| !is_named(heir));
        let heirs: Vec<String> = heirs.map(|(schema, name)| format!("{schema}.{name}")).collect();
        (!heirs.is_empty()).then(|| (rows.table.clone(), heirs))
    };
    wanted.iter().filter_map(of_table).collect()
}

fn entry(rows: &PreservedRows, from: &Candidate, to: &Candidate) -> Result<Entry, Vec<Message>> {
    let mut problems = Vec::new();
    let columns: Vec<String> = if rows.columns.is_empty() {
        from.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect()
    } else {
        let more = rows.columns.iter().filter(|name| !rows.key.contains(name));
        rows.key.iter().chain(more).cloned().collect()
    };
    for name in rows.key.iter().filter(|name| !columns.contains(name)) {
        problems.push(message!("preserve-no-key", table = rows.table, name = name));
    }
    for name in &columns {
        match (from.column(name), to.column(name)) {
            (None, _) => problems.push(message!("preserve-present-no-column", table = rows.table, name = name)),
            (_, None) => problems.push(message!("preserve-new-no-column", table = rows.table, name = name)),
            (Some(old), Some(new)) if old.r#type != new.r#type => problems.push(message!(
                "preserve-other-type",
                name = name,
                table = rows.table,
                old = old.r#type,
                new = new.r#type
            )),
            (_, Some(new)) if new.generated => {
                problems.push(message!("preserve-generated", name = name, table = rows.table));
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
    let mut session = server.client.session(database).await?;
    // What is visible is so for everybody who uses the database.
    session.run(|| message!("sql-prepare-a-session"), "RESET search_path;").await?;
    session.allow_any_bytes().await?;
    let found = session.query(|| message!("sql-look-for-tables"), &query).await;
    // One that could not answer has ended.
    let _ = session.close().await;
    found
}

/// A name may be written as it is, or quoted where SQL wants quotes, or everywhere.
const CANDIDATES: &str = r#"SELECT coalesce(json_agg(json_build_object(
  'wanted', m.wanted, 'schema', m.nspname, 'name', m.relname, 'partitioned', m.relkind = 'p',
  'visible', pg_catalog.pg_table_is_visible(m.oid),
  'heirs', (SELECT coalesce(json_agg(json_build_array(n.nspname, h.relname) ORDER BY n.nspname, h.relname), '[]')
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class h ON h.oid = i.inhrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = h.relnamespace WHERE i.inhparent = m.oid AND m.relkind = 'r'),
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
        Candidate { wanted: "keys".to_owned(), schema, name, partitioned: false, visible, columns, heirs: Vec::new() }
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
        let told = |entry: Result<Entry, Vec<Message>>| -> Vec<String> {
            entry.unwrap_err().iter().map(crate::catalogue::english).collect()
        };
        let old = table("public", true, vec![column("name", "text"), column("a", "integer"), column("b", "text")]);
        let new = table("public", true, vec![column("name", "text"), column("a", "text")]);
        assert_eq!(
            told(entry(&rows(&["name"], &[]), &old, &new)),
            [
                "column `a` of `keys` is integer in the present database and text in the new one",
                "the new `keys` has no column `b`"
            ]
        );
        assert_eq!(told(entry(&rows(&["nome"], &["a"]), &old, &old)), ["the present `keys` has no column `nome`"]);
    }

    #[test]
    fn tables_that_inherit_are_told_unless_they_are_named_too() {
        let mut parent = table("public", true, vec![]);
        parent.heirs = vec![("public".to_owned(), "more".to_owned()), ("other".to_owned(), "keys".to_owned())];
        let heir = Candidate { wanted: "more".to_owned(), name: "more".to_owned(), ..table("public", true, vec![]) };
        let tables = [parent, heir];
        let more = PreservedRows { table: "more".to_owned(), ..rows(&["id"], &[]) };
        let told = |heirs: &[&str]| vec![("keys".to_owned(), heirs.iter().map(|heir| (*heir).to_owned()).collect())];
        assert_eq!(forgotten_heirs(&[rows(&["id"], &[])], &tables), told(&["public.more", "other.keys"]));
        assert_eq!(forgotten_heirs(&[rows(&["id"], &[]), more], &tables), told(&["other.keys"]));
    }
}
