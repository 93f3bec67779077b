//! `db sql`: a person's statements, one after another in one session, and what each of them gives.
//!
//! psql runs them; results come back with separators that no value can hold by chance, and types as `\gdesc` tells them.
//!
//! The server converts to UTF-8 what it knows the encoding of. Values of a database without one (SQL_ASCII), or of a session
//! that was set to another one, are bytes that may be no UTF-8: [`any_bytes`] has them as text, and [`bytes_of`] as they are.

use serde_json::Value;

use super::statements::{self, Statement};
use crate::databases::containers::helper::Helper;
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::any_bytes;
use crate::databases::server::connect::Server;
use crate::databases::server::session::Session;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As the server names it: `integer`, `character varying(20)`.
    pub data_type: String,
}

/// What a statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryResult {
    /// The line that it begins on, from 1.
    pub line: usize,
    pub columns: Vec<Column>,
    /// `None` is NULL. What they are: [`shown`] to a person, [`bytes_of`] to a file.
    pub rows: Vec<Vec<Option<String>>>,
    /// What the server says of a statement without rows, or beside them: `INSERT 0 3`.
    pub command: Option<String>,
    /// What `COPY … TO STDOUT` wrote.
    pub copied: Option<Vec<u8>>,
    /// Notices and warnings of the server so far.
    pub notices: String,
}

/// Checks what was written, before anything runs.
pub fn check_statements(text: &str) -> Result<(), DatabasesError> {
    statements::split(text).map(drop)
}

/// Runs the statements of `text` in `database`; each result is handed over before the next statement begins. The first
/// one that fails ends it.
pub async fn query<E: From<DatabasesError>>(
    server: &Server,
    database: &str,
    text: &str,
    mut each: impl FnMut(QueryResult) -> Result<(), E>,
) -> Result<(), E> {
    let statements = statements::split(text)?;
    let marks = Marks::new();
    let helper = apart(server).await?;
    let client = helper.as_ref().map_or(&server.client, |helper| &helper.client);
    let mut session = client.plain_session(database, &marks.arguments()).await?;
    session.run(|| message!("sql-prepare-a-session"), AS_IT_IS).await?;
    for statement in &statements {
        let result = run(&mut session, statement, &marks).await?;
        each(result)?;
    }
    session.close().await?;
    if let Some(helper) = helper {
        helper.end().await;
    }
    Ok(())
}

/// From a database that has no encoding everything comes as it is. Told to be UTF-8, a value that is something else would be
/// an error of the server's.
const AS_IT_IS: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
     WHERE pg_catalog.getdatabaseencoding() = 'SQL_ASCII';";

/// psql keeps a result until it has all of it. Where the server's container has a limit, that would count against what the
/// server may have, and the kernel would end one of the two: it runs beside it. A server that helpers can't reach has no
/// beside.
async fn apart(server: &Server) -> Result<Option<Helper>, DatabasesError> {
    if !server.has_memory_limit() {
        return Ok(None);
    }
    match Helper::start_beside(server).await {
        Err(DatabasesError::NoWay { .. }) => Ok(None),
        started => started.map(Some),
    }
}

/// A value, a name or a text of a result as the server gave it.
pub fn bytes_of(value: &str) -> Vec<u8> {
    any_bytes::encode(value)
}

/// The same as text: what is no UTF-8 is written as bytes, `\xb5`.
pub fn shown(value: &str) -> String {
    text_of(&any_bytes::encode(value))
}

/// Bytes as text; those that are no UTF-8 are written out.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from));
    }
    text
}

/// The values of a record; `None` is NULL.
type Row = Vec<Option<String>>;

/// Texts of chance that stand between values.
struct Marks {
    field: String,
    record: String,
    null: String,
}

impl Marks {
    fn new() -> Self {
        let chance = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let mark = |kind: &str| format!("\u{1}{kind}{:016x}{:016x}\u{2}", chance(), chance());
        Self { field: mark("f"), record: mark("r"), null: mark("n") }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-X", "-A", "-w", "-v", "ON_ERROR_STOP=1"].map(str::to_owned).into();
        for (name, value) in [("fieldsep", &self.field), ("recordsep", &self.record), ("null", &self.null)] {
            arguments.extend(["-P".to_owned(), format!("{name}={value}")]);
        }
        arguments
    }

    /// The header, the rows, and what stands behind them; `None` for what is no result with columns.
    fn read(&self, answer: &str) -> Option<(Row, Vec<Row>, String)> {
        let mut records: Vec<&str> = answer.split(self.record.as_str()).collect();
        // Behind the last separator stands "(2 rows)", and what the server says of the statement.
        let footer = records.pop().filter(|_| !records.is_empty())?;
        let values = |record: &str| -> Row {
            record.split(self.field.as_str()).map(|value| (value != self.null).then(|| value.to_owned())).collect()
        };
        let mut records = records.into_iter().map(values);
        let header = records.next()?;
        let said = footer.split_once('\n').map_or("", |(_, said)| said);
        Some((header, records.collect(), said.trim().to_owned()))
    }
}

async fn run(session: &mut Session, statement: &Statement<'_>, marks: &Marks) -> Result<QueryResult, DatabasesError> {
    let place = |error| at_its_place(error, statement);
    let described = session
        .run(|| message!("sql-describe-a-statement"), &format!("{}\n\\gdesc", statement.text))
        .await
        .map_err(place)?;
    let answer =
        session.run(|| message!("sql-run-a-statement"), &format!("{}\n;", statement.text)).await.map_err(place)?;
    let notices = session.take_notices();
    let mut result = QueryResult { line: statement.line, notices, ..QueryResult::default() };
    let described = any_bytes::decode(&described);
    let Some((_, columns, _)) = marks.read(&described) else {
        if statement.verb == "COPY" {
            result.copied = Some(answer);
        } else {
            let said = text_of(answer.trim_ascii());
            result.command = (!said.is_empty()).then_some(said);
        }
        return Ok(result);
    };
    let text = |value: Option<&Option<String>>| value.cloned().flatten().unwrap_or_default();
    result.columns =
        columns.iter().map(|column| Column { name: text(column.first()), data_type: text(column.get(1)) }).collect();
    if let Some((_, rows, said)) = marks.read(&any_bytes::decode(&answer)) {
        result.rows = rows;
        result.command = (!said.is_empty()).then_some(said);
    }
    Ok(result)
}

/// The server counts lines from the statement's beginning; a person counts them in what they wrote.
fn at_its_place(error: DatabasesError, statement: &Statement<'_>) -> DatabasesError {
    match error {
        DatabasesError::Sql { source, .. } => {
            let lines: Vec<String> = source.text().lines().map(|line| shifted(line, statement.line - 1)).collect();
            let source = Said::new(lines.join("\n").as_bytes());
            DatabasesError::Statement { line: statement.line, source }
        }
        other => other,
    }
}

/// `LINE 2: …`, so many lines further down.
fn shifted(line: &str, by: usize) -> String {
    let read = || {
        let (number, rest) = line.strip_prefix("LINE ")?.split_once(':')?;
        Some((number.parse::<usize>().ok()?, rest))
    };
    match read() {
        Some((number, rest)) => format!("LINE {}:{rest}", number + by),
        None => line.to_owned(),
    }
}

impl Column {
    /// Whether its values are numbers, for which a table has the right side.
    pub fn is_number(&self) -> bool {
        let plain = self.data_type.split('(').next().unwrap_or_default();
        ["smallint", "integer", "bigint", "oid", "real", "double precision", "numeric", "money"].contains(&plain)
    }

    /// A value as JSON has it: numbers that JSON holds exactly, truth values, JSON itself; all else, `numeric` too,
    /// is text.
    pub fn json(&self, value: Option<&str>) -> Value {
        let Some(value) = value.map(shown) else { return Value::Null };
        let text = || Value::from(value.as_str());
        match self.data_type.as_str() {
            "smallint" | "integer" | "bigint" | "oid" => value.parse::<i64>().map_or_else(|_| text(), Value::from),
            "real" | "double precision" => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => Value::from(number),
                _ => text(),
            },
            "boolean" => Value::from(value == "t"),
            "json" | "jsonb" => serde_json::from_str(&value).unwrap_or_else(|_| text()),
            _ => text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        Marks { field: "|".to_owned(), record: "#".to_owned(), null: "@".to_owned() }
    }

    #[test]
    fn a_result_is_read_with_what_is_said_behind_it() {
        let (header, rows, said) = marks().read("a|b#1|x\ny#@|(9 rows)#(2 rows)\nINSERT 0 2\n").unwrap();
        assert_eq!(header, [Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(rows[0], [Some("1".to_owned()), Some("x\ny".to_owned())]);
        assert_eq!(rows[1], [None, Some("(9 rows)".to_owned())]);
        assert_eq!(said, "INSERT 0 2");
        assert_eq!(marks().read("CREATE TABLE\n"), None);
    }

    #[test]
    fn lines_are_counted_in_what_was_written() {
        assert_eq!(shifted("LINE 2: select x", 4), "LINE 6: select x");
        assert_eq!(shifted("ERROR: LINE 2: x", 4), "ERROR: LINE 2: x");
    }

    #[test]
    fn values_that_are_no_utf_8_are_shown_as_bytes_and_stay_them() {
        // 档案 in GBK, and a character of Unicode's private use area, which is text.
        let value = any_bytes::decode(b"a \xb5\xb5\xb0\xb8 \xef\x9e\xb5");
        assert_eq!(shown(&value), "a \\xb5\\xb5\\xb0\\xb8 \u{f7b5}");
        assert_eq!(bytes_of(&value), b"a \xb5\xb5\xb0\xb8 \xef\x9e\xb5");
        let column = |data_type: &str| Column { name: "c".to_owned(), data_type: data_type.to_owned() };
        let quoted = any_bytes::decode(b"\"\xb5\"");
        assert_eq!(column("json").json(Some(&quoted)), serde_json::json!("\"\\xb5\""));
        assert_eq!(column("text").json(Some("档案")), serde_json::json!("档案"));
    }

    #[test]
    fn json_has_numbers_only_where_they_are_exact() {
        let column = |data_type: &str| Column { name: "c".to_owned(), data_type: data_type.to_owned() };
        assert_eq!(column("bigint").json(Some("9007199254740993")), serde_json::json!(9_007_199_254_740_993_i64));
        assert_eq!(column("numeric(10,2)").json(Some("1.10")), serde_json::json!("1.10"));
        assert_eq!(column("double precision").json(Some("NaN")), serde_json::json!("NaN"));
        assert_eq!(column("boolean").json(Some("t")), serde_json::json!(true));
        assert_eq!(column("jsonb").json(Some("{\"a\": [1]}")), serde_json::json!({"a": [1]}));
        assert_eq!(column("text").json(None), Value::Null);
        assert!(column("numeric(10,2)").is_number() && !column("text").is_number());
    }
}
