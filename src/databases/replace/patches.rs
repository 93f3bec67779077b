//! `patches`: the site's own SQL files, run on a new database before it takes its place.
//!
//! One psql, one transaction, one input: variables, then every file, each with a mark behind it that tells that it ran to
//! its end, in that transaction and in that database. These files are the site's and trusted; nothing that came with a
//! dump gets here. Values go in on the input, where no list of processes shows them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::catalogue::system_words;
use crate::databases::containers::helper::Helper;
use crate::databases::documents::PatchReport;
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::client::{Secret, chance};
use crate::report::{Activity, Message, Reporter};

/// All files together: they are held in memory.
const LARGEST_BYTES: u64 = 16 << 20;

/// What is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patches {
    pub files: Vec<PathBuf>,
    pub variables: Vec<Variable>,
}

/// What the files find as `:name`, `:'name'` and `:"name"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: VariableValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableValue {
    Plain(String),
    /// Shown nowhere, not even in what psql says of an error.
    Secret(Secret),
}

impl VariableValue {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.text(),
        }
    }
}

/// The database that is patched.
#[derive(Clone, Copy)]
pub(in crate::databases) struct Patched<'a> {
    pub helper: &'a Helper,
    /// The new database.
    pub target: &'a str,
    /// What it is for, as it is told.
    pub subject: &'a str,
    pub reporter: &'a Reporter,
}

/// A file that was read.
struct Patch {
    path: PathBuf,
    text: String,
}

/// What a mark tells, counted from the beginning of the transaction.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Mark {
    same: bool,
    inserted: u64,
    updated: u64,
    deleted: u64,
}

impl Patches {
    /// What can be told before there is a database: files that can't be read, and what they must not do.
    pub(in crate::databases) fn problems(&self) -> Vec<Message> {
        let (patches, mut problems) = self.look();
        problems.extend(patches.iter().filter_map(Patch::problem));
        problems
    }

    fn read(&self) -> Result<Vec<Patch>, Vec<Message>> {
        let (patches, problems) = self.look();
        if problems.is_empty() { Ok(patches) } else { Err(problems) }
    }

    /// The files that can be read, and what is wrong with the others.
    fn look(&self) -> (Vec<Patch>, Vec<Message>) {
        let (mut patches, mut problems, mut bytes) = (Vec::new(), Vec::new(), 0);
        for path in &self.files {
            match read_patch(path, LARGEST_BYTES.saturating_sub(bytes)) {
                Ok(text) => {
                    bytes += text.len() as u64;
                    patches.push(Patch { path: path.clone(), text });
                }
                Err(why) => problems.push(message!("patch-problem", path = path.display(), why = why)),
            }
        }
        let unnameable = self.variables.iter().filter(|variable| !is_variable_name(&variable.name));
        problems.extend(unnameable.map(|variable| message!("patch-variable", name = variable.name)));
        (patches, problems)
    }

    /// Runs them; what they changed is kept only if all of them went well.
    pub(in crate::databases) async fn run(&self, on: Patched<'_>) -> Result<Vec<PatchReport>, DatabasesError> {
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        let Patched { subject, reporter, .. } = on;
        reporter.began(Activity::PatchDatabase, subject, None);
        crate::failpoint!("databases.rebuild.before-patches");
        let result = self.run_all(on).await;
        crate::failpoint!("databases.rebuild.after-patches");
        match &result {
            Ok(reports) => {
                let rows: u64 = reports.iter().map(|report| report.inserted + report.updated + report.deleted).sum();
                let message = message!("databases-patched", files = reports.len(), rows = rows);
                reporter.done(Activity::PatchDatabase, subject, message);
            }
            Err(error) => reporter.failed(Activity::PatchDatabase, subject, error),
        }
        result
    }

    async fn run_all(&self, on: Patched<'_>) -> Result<Vec<PatchReport>, DatabasesError> {
        let Patched { helper, target, subject, reporter } = on;
        let fail = |problems| DatabasesError::Patches { database: subject.to_owned(), problems };
        let patches = self.read().map_err(fail)?;
        let token = chance("dpl-mark");
        let script = Script::write(&patches, &self.variables, &token);
        let mut arguments = helper.client.psql_arguments(target);
        // As a file it is told with its lines.
        arguments.extend(["-f", "-"].map(str::to_owned));
        let result = helper.client.run("psql", &arguments, script.text.as_bytes()).await?;
        let said = self.masked(&String::from_utf8_lossy(&result.stderr));
        let marks = marks(&String::from_utf8_lossy(&result.stdout), &token);
        let culprit = patches.get(marks.len()).or(patches.last());
        let path = culprit.map(|patch| patch.path.clone()).unwrap_or_default();
        if result.exit_code != 0 {
            let said = script.with_places(&said, &patches);
            let source = Said::of_script(said.as_bytes(), message!("script-name-patches"));
            return Err(DatabasesError::Patch { database: subject.to_owned(), path, source });
        }
        if marks.len() < patches.len() + 1 {
            let why = message!("patch-open");
            return Err(DatabasesError::Patch { database: subject.to_owned(), path, source: why.into() });
        }
        if let Some(index) = marks.iter().position(|mark| !mark.same) {
            let path = patches.get(index).map(|patch| patch.path.clone()).unwrap_or_default();
            let why = message!("patch-ends-transaction");
            return Err(DatabasesError::Patch { database: subject.to_owned(), path, source: why.into() });
        }
        // What a patch raises as a notice was meant for somebody.
        let notices = script.with_places(&said, &patches);
        for line in notices.lines().filter(|line| !line.trim().is_empty()) {
            reporter.notice(message!("databases-patch-said", database = subject, said = line));
        }
        let mut before = Mark::default();
        Ok(patches
            .iter()
            .zip(marks)
            .map(|(patch, mark)| {
                let report = PatchReport {
                    file: patch.path.display().to_string(),
                    inserted: mark.inserted.saturating_sub(before.inserted),
                    updated: mark.updated.saturating_sub(before.updated),
                    deleted: mark.deleted.saturating_sub(before.deleted),
                };
                before = mark;
                report
            })
            .collect())
    }

    /// psql shows what it stumbled on, with the values in it; the line is cut anywhere, so that it can't be masked and
    /// goes as a whole.
    fn masked(&self, said: &str) -> String {
        let secrets: Vec<&str> = self
            .variables
            .iter()
            .filter_map(|variable| match &variable.value {
                VariableValue::Secret(secret) => Some(secret.text()).filter(|text| !text.is_empty()),
                VariableValue::Plain(_) => None,
            })
            .collect();
        if secrets.is_empty() {
            return said.to_owned();
        }
        let is_excerpt = |line: &&str| line.starts_with("LINE ") || line.trim() == "^";
        let mut said = said.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join("\n");
        for secret in secrets {
            let quoted = secret.replace('\'', "''");
            let escaped = quoted.replace('\\', "\\\\");
            for form in [&escaped, &quoted, secret] {
                said = said.replace(form, "…");
            }
        }
        said
    }
}

impl Patch {
    /// A file that connects elsewhere would change what it finds there, whatever becomes of this.
    fn problem(&self) -> Option<Message> {
        let connects = |line: &str| {
            let command = line.trim_start().split(char::is_whitespace).next().unwrap_or_default();
            matches!(command, "\\c" | "\\connect")
        };
        let line = self.text.lines().position(connects)?;
        let path = self.path.display();
        Some(message!("patch-connect", path = path, line = line + 1))
    }
}

fn read_patch(path: &Path, most: u64) -> Result<String, Message> {
    let size = std::fs::metadata(path).map_err(|error| system_words(&error))?;
    if !size.is_file() {
        return Err(message!("patch-not-file"));
    }
    if size.len() > most {
        return Err(message!("patches-large", most = LARGEST_BYTES >> 20));
    }
    let bytes = std::fs::read(path).map_err(|error| system_words(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| message!("patch-utf8"))?;
    if text.contains('\0') {
        return Err(message!("patch-nul"));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// psql's own rule (`valid_variable_name`): letters of any script, digits and underscores.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric() || !letter.is_ascii())
}

/// Everything that goes to psql, and where in it each file begins.
struct Script {
    text: String,
    /// The line before the first of each file, from 0.
    offsets: Vec<usize>,
}

impl Script {
    fn write(patches: &[Patch], variables: &[Variable], token: &str) -> Self {
        let mut text = String::new();
        for variable in variables {
            text += &format!("\\set {} {}\n", variable.name, set_value(variable.value.text()));
        }
        // A server that does not know what it has refuses to say it as UTF-8, in a notice too.
        text += "SELECT CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' \
                 THEN pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) END AS dpl_encoding \\gset\n";
        text += "BEGIN READ WRITE;\n";
        text += "SELECT pg_catalog.pg_current_xact_id()::text AS dpl_transaction, \
                 pg_catalog.current_database() AS dpl_database \\gset\n";
        let mut offsets = Vec::new();
        for patch in patches {
            offsets.push(text.lines().count());
            text += &patch.text;
            // What stands at the end of a file needs no semicolon for psql.
            text += "\n;\n";
            text += &mark(token);
        }
        text += "COMMIT;\n";
        text += &format!("\\echo {token} {{\"same\":true,\"inserted\":0,\"updated\":0,\"deleted\":0}}\n");
        Self { text, offsets }
    }

    /// `psql:<stdin>:17: ERROR` becomes `patch.sql:3: ERROR`.
    fn with_places(&self, said: &str, patches: &[Patch]) -> String {
        let mut out = Vec::new();
        for line in said.lines() {
            let place = line.strip_prefix("psql:<stdin>:").and_then(|rest| {
                let (number, message) = rest.split_once(':')?;
                let number: usize = number.parse().ok()?;
                let index = self.offsets.iter().rposition(|offset| *offset < number)?;
                let Patch { path, text } = patches.get(index)?;
                let (path, line) = (path.display(), number - self.offsets[index]);
                // What is behind the file is ours, and right unless the file reaches into it.
                let is_behind = line > text.lines().count() + 1;
                let open = if is_behind { " a quote, a comment, a COPY or an \\if stays open in it:" } else { "" };
                Some(format!("{path}:{line}:{open}{message}"))
            });
            out.push(place.unwrap_or_else(|| line.to_owned()));
        }
        out.join("\n")
    }
}

/// A value as `\set` takes it: in quotes, with escapes as in C.
fn set_value(text: &str) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        match letter {
            '\'' => quoted += "''",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            letter => quoted.push(letter),
        }
    }
    quoted + "'"
}

/// What stands behind a file. A file may have changed how psql prints.
fn mark(token: &str) -> String {
    format!(
        "\\set ON_ERROR_STOP 1\n\\o\n\\pset format unaligned\n\\pset tuples_only on\n\\pset expanded off\n\
         SELECT '{token} ' || pg_catalog.json_build_object(\
         'same', pg_catalog.pg_current_xact_id()::text = :'dpl_transaction' \
           AND pg_catalog.current_database() = :'dpl_database', \
         'inserted', coalesce(pg_catalog.sum(n_tup_ins), 0), 'updated', coalesce(pg_catalog.sum(n_tup_upd), 0), \
         'deleted', coalesce(pg_catalog.sum(n_tup_del), 0))::text FROM pg_catalog.pg_stat_xact_user_tables;\n"
    )
}

fn marks(stdout: &str, token: &str) -> Vec<Mark> {
    let of_line = |line: &str| serde_json::from_str(line.trim().strip_prefix(token)?.trim()).ok();
    stdout.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;

    fn patch(path: &str, text: &str) -> Patch {
        Patch { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn values_reach_psql_whatever_they_hold() {
        assert_eq!(set_value("it's \\ a\nb :x"), "'it''s \\\\ a\\nb :x'");
        assert!(is_variable_name("appkey_2") && is_variable_name("键"));
        for name in ["", "a b", "a-b", "x'"] {
            assert!(!is_variable_name(name), "{name}");
        }
    }

    #[test]
    fn an_errors_place_is_the_files_own() {
        let patches = [patch("one.sql", "SELECT 1;\n"), patch("two.sql", "SELECT 2;\nSELEC 3;\n")];
        let script = Script::write(&patches, &[], "mark");
        let line = script.text.lines().position(|line| line == "SELEC 3;").unwrap() + 1;
        let said = format!("psql:<stdin>:{line}: ERROR:  syntax error\nLINE 1: SELEC 3;");
        assert_eq!(script.with_places(&said, &patches), "two.sql:2: ERROR:  syntax error\nLINE 1: SELEC 3;");
    }

    #[test]
    fn a_file_that_connects_elsewhere_is_refused() {
        assert!(
            patch("a", "select 1;\n  \\c expert\n").problem().is_some_and(|told| english(&told).contains("line 2"))
        );
        assert_eq!(patch("a", "\\copy t from x\nselect '\\connect';").problem(), None);
    }

    #[test]
    fn a_secret_is_masked_in_what_psql_says() {
        let value = VariableValue::Secret(Secret::new("hun'ter2"));
        let patches = Patches { files: Vec::new(), variables: vec![Variable { name: "key".to_owned(), value }] };
        let said = "ERROR: x('hun''ter2', 'hun'ter2')\nLINE 1: ...un''ter2');\n       ^\nDETAIL: no";
        assert_eq!(patches.masked(said), "ERROR: x('…', '…')\nDETAIL: no");
    }

    #[test]
    fn absent_and_unreadable_files_are_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let latin = folder.path().join("latin.sql");
        std::fs::write(&latin, b"\xe9").unwrap();
        let files = vec![folder.path().join("absent.sql"), latin, folder.path().to_owned()];
        let problems = Patches { files, variables: Vec::new() }.problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(english(&problems[1]).ends_with("latin.sql: it is not UTF-8"), "{problems:?}");
    }
}
