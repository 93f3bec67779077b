//! `db sql`.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::Args;
use console::{Alignment, measure_text_width, pad_str};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::chosen::{database, one_database};
use super::reach::{self, WhenDown};
use crate::catalogue::system_words;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::stdout;
use crate::databases::{self, Column, QueryResult};

#[derive(Debug, Args)]
pub struct SqlArguments {
    /// The database, by name or number
    pub database: String,
    /// SQL statements [default: those on standard input]
    #[arg(value_name = "SQL", conflicts_with = "file", allow_hyphen_values = true)]
    pub statements: Option<String>,
    /// A file with SQL statements [default: none]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

/// What `db sql --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct SqlReport {
    pub database: String,
    /// One for each statement, in their order.
    pub results: Vec<SqlResult>,
}

/// What a statement gave.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SqlResult {
    /// The line that the statement begins on, from 1.
    pub line: usize,
    pub columns: Vec<SqlColumn>,
    /// One value for each column: integers, floating-point numbers, truth values and JSON as such, `null`; all else,
    /// `numeric` too, is text.
    pub rows: Vec<Vec<Value>>,
    /// What the server says of it: `INSERT 0 3`.
    pub command: Option<String>,
    /// What `COPY … TO STDOUT` wrote.
    pub copied: Option<String>,
    /// Notices and warnings of the server.
    pub notices: Option<String>,
}

/// A column of a result.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SqlColumn {
    pub name: String,
    /// As the server names it: `integer`.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    Csv,
    Json,
}

/// `dpl db sql`.
pub fn run(arguments: &SqlArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let name = one_database(&project, &arguments.database, "db sql")?;
    let text = text(arguments)?;
    // What can't be told apart must not run half.
    databases::check_statements(&text)?;
    if session.global.dry_run {
        session.output.say(&message!("would-sql", database = &name));
        return Ok(0);
    }
    let form = match (session.output.json, arguments.csv) {
        (true, true) => return Err(Failure::usage(message!("usage-json-and-csv"))),
        (true, false) => Form::Json,
        (false, true) => Form::Csv,
        (false, false) => Form::Table,
    };
    let database = database(&project, &name)?;
    let when_down = WhenDown::of(arguments.start);
    let server = reach::reach_to_look(session, &project, database, when_down)?;
    let runtime = session.runtime()?;
    let mut report = SqlReport { database: name.clone(), results: Vec::new() };
    let mut is_first = true;
    let output = session.output.clone();
    let mut unwritten: Option<io::Error> = None;
    let each = |result: QueryResult| -> Result<(), Failure> {
        if form == Form::Json {
            report.results.push(json(result));
            return Ok(());
        }
        if !result.notices.is_empty() {
            output.line(&safe(&result.notices, true));
        }
        let mut shown = match form {
            Form::Csv => csv(&result),
            _ => table(&result),
        };
        if !shown.is_empty() {
            if !std::mem::take(&mut is_first) {
                shown.insert(0, b'\n');
            }
            let mut out = io::stdout().lock();
            // Statements may change something: those that follow run all the same.
            if let Err(error) = stdout::check().and_then(|()| out.write_all(&shown)).and_then(|()| out.flush()) {
                unwritten.get_or_insert(error);
            }
        }
        if let Some(command) = &result.command {
            output.say(&message!("sql-command", command = command));
        }
        Ok(())
    };
    session.look(|session| {
        let end = session.end_of_look();
        runtime.block_on(async {
            let stopped = async {
                match &end {
                    Some(end) => end.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                queried = databases::query(&server, &name, &text, each) => queried,
                () = stopped => {
                    // psql runs beside the server, and would go on without us.
                    server.cancel_statements().await;
                    Err(Failure::Interrupted)
                }
            }
        })
    })?;
    if let Some(error) = unwritten {
        return Err(Failure::Output(error));
    }
    if form == Form::Json {
        session.output.document(&report)?;
    }
    Ok(0)
}

/// What is to be run: the argument, a file, or what comes on standard input.
fn text(arguments: &SqlArguments) -> Result<String, Failure> {
    let bytes = match (&arguments.statements, &arguments.file) {
        (Some(statements), _) => return Ok(statements.clone()),
        (None, Some(path)) => std::fs::read(path)
            .map_err(|error| message!("usage-file-unreadable", path = path.display(), why = system_words(&error)))
            .map_err(Failure::usage)?,
        (None, None) if io::stdin().is_terminal() => {
            return Err(Failure::usage_with_hint(message!("usage-no-statements"), message!("hint-statements")));
        }
        (None, None) => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map_err(Failure::Output)?;
            bytes
        }
    };
    String::from_utf8(bytes).map_err(|_| Failure::usage(message!("usage-statements-not-text")))
}

fn json(result: QueryResult) -> SqlResult {
    let rows = result
        .rows
        .iter()
        .map(|row| result.columns.iter().zip(row).map(|(column, value)| column.json(value.as_deref())).collect());
    SqlResult {
        rows: rows.collect(),
        line: result.line,
        columns: result
            .columns
            .into_iter()
            .map(|column| SqlColumn { name: databases::shown(&column.name), data_type: column.data_type })
            .collect(),
        command: result.command,
        copied: result.copied.map(|bytes| databases::text_of(&bytes)),
        notices: Some(result.notices).filter(|notices| !notices.is_empty()),
    }
}

/// RFC 4180 with line feeds; NULL is nothing, and an empty text is two quotes. For a file: values as the server has them.
fn csv(result: &QueryResult) -> Vec<u8> {
    if let Some(copied) = &result.copied {
        return copied.clone();
    }
    if result.columns.is_empty() {
        return Vec::new();
    }
    let field = |value: &str| {
        let plain = !value.is_empty() && !value.contains([',', '"', '\n', '\r']) && value.trim() == value;
        if plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
    };
    let header: Vec<String> = result.columns.iter().map(|column| field(&column.name)).collect();
    let mut text = format!("{}\n", header.join(","));
    for row in &result.rows {
        let fields: Vec<String> = row.iter().map(|value| value.as_deref().map(field).unwrap_or_default()).collect();
        text += &format!("{}\n", fields.join(","));
    }
    databases::bytes_of(&text)
}

/// Columns with a header and a line under it; numbers on the right, wide characters counted as two.
fn table(result: &QueryResult) -> Vec<u8> {
    if let Some(copied) = &result.copied {
        return copied.clone();
    }
    if result.columns.is_empty() {
        return Vec::new();
    }
    let header: Vec<String> = result.columns.iter().map(|column| one_line(&column.name)).collect();
    let rows: Vec<Vec<String>> =
        result.rows.iter().map(|row| row.iter().map(|value| cell(value.as_deref())).collect()).collect();
    let width = |index: usize, name: &String| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| measure_text_width(cell));
        cells.max().unwrap_or_default().max(measure_text_width(name))
    };
    let widths: Vec<usize> = header.iter().enumerate().map(|(index, name)| width(index, name)).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .zip(&result.columns)
            .map(|((cell, width), column)| pad_str(cell, *width, side(column), None).into_owned());
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(&header) + &line(&rule);
    rows.iter().for_each(|row| text += &line(row));
    text.into_bytes()
}

fn side(column: &Column) -> Alignment {
    if column.is_number() { Alignment::Right } else { Alignment::Left }
}

fn cell(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), one_line)
}

/// A value or a name of a result, for a row of a table.
fn one_line(value: &str) -> String {
    safe(&databases::shown(value), false)
}

/// A value must not speak to the terminal: what controls one is written out.
fn safe(text: &str, keeps_lines: bool) -> String {
    text.chars()
        .flat_map(|letter| match letter {
            '\n' if keeps_lines => vec![letter],
            letter if letter.is_control() => letter.escape_default().collect(),
            letter => vec![letter],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> QueryResult {
        let column = |name: &str, data_type: &str| Column { name: name.into(), data_type: data_type.into() };
        let row = |id: &str, text: Option<&str>| vec![Some(id.to_owned()), text.map(str::to_owned)];
        QueryResult {
            line: 1,
            columns: vec![column("编号", "integer"), column("名,称", "text")],
            rows: vec![row("7", Some("档案\n\u{1b}[31m")), row("1000", None), row("2", Some(""))],
            ..QueryResult::default()
        }
    }

    #[test]
    fn a_table_keeps_its_columns_straight_and_speaks_to_no_terminal() {
        let text = String::from_utf8(table(&result())).unwrap();
        assert_eq!(text, "编号  名,称\n----  ----------------\n   7  档案\\n\\u{1b}[31m\n1000  NULL\n   2\n");
    }

    #[test]
    fn bytes_of_an_encoding_that_nobody_declared_are_written_out_and_go_into_a_file_as_they_are() {
        let column = Column { name: "x".to_owned(), data_type: "text".to_owned() };
        // 档 in GBK, as a result has it.
        let rows = vec![vec![Some("\u{f7b5}\u{f7b5} 档".to_owned())]];
        let result = QueryResult { line: 1, columns: vec![column], rows, ..QueryResult::default() };
        let text = String::from_utf8(table(&result)).unwrap();
        assert_eq!(text, "x\n-----------\n\\xb5\\xb5 档\n");
        assert_eq!(csv(&result), b"x\n\xb5\xb5 \xe6\xa1\xa3\n");
        assert_eq!(json(result).rows, [[Value::from("\\xb5\\xb5 档")]]);
    }

    #[test]
    fn csv_tells_null_from_an_empty_text() {
        let text = String::from_utf8(csv(&result())).unwrap();
        assert_eq!(text, "编号,\"名,称\"\n7,\"档案\n\u{1b}[31m\"\n1000,\n2,\"\"\n");
    }
}
