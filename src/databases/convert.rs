//! `db convert`: an archive from SQL in plain text.
//!
//! Such a dump is a program, and psql has commands that leave the database. So it runs nowhere but in a throw-away server
//! without a network and without a folder of this host: its text goes in on psql's input, and what it made is dumped
//! like any other database, counted and with digests. The server that the archive is meant for never sees a line of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::documents::BackupDocument;
use super::dump::{self, DumpOrder, Jobs, Level, LockPatience, PasswordHashes};
use super::error::{DatabasesError, Said};
use super::stopping::{in_thread, unless_stopped};
use super::verify;
use crate::databases::archive::names;
use crate::databases::archive::script;
use crate::databases::archive::staging::Staging;
use crate::databases::archive::verification::{Known, Verification};
use crate::databases::containers::feed::{Fed, feed_exec};
use crate::databases::containers::throwaway::{self, ServerImage, Throwaway};
use crate::databases::described::properties::Properties;
use crate::databases::replace::examine::source::{SourceKind, source_kind};
use crate::databases::server::connect::Server;
use crate::databases::server::quoting::ident;
use crate::report::{Activity, Reporter};

/// What to convert, and to what.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Plain SQL, under gzip or not.
    pub file: PathBuf,
    /// The database's name, in the record, and in a file that makes several.
    pub database: String,
    /// The folder that comes of it; what was there is replaced when the new one is proved.
    pub target: PathBuf,
    /// How the database is made where the file does not say it.
    pub locale: Option<DefaultLocale>,
    pub jobs: Jobs,
    /// Who does it, for the record.
    pub operator: String,
}

/// Encoding and locale of the server that the archive is meant for.
#[derive(Debug, Clone)]
pub struct DefaultLocale(Properties);

impl DefaultLocale {
    /// As `CREATE DATABASE` without a word more has them.
    pub async fn of(server: &Server) -> Result<Option<Self>, DatabasesError> {
        Ok(Properties::read(&server.client, server.home(), "template1").await?.map(Self))
    }
}

/// The database that a file fills which connects to none.
const PLAIN: &str = "dpl converts";

/// Converts. On an error nothing has come of it, and what was at the target is there.
pub async fn convert(
    image: &ServerImage,
    conversion: &Conversion,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let file = &conversion.file;
    let why = match source_kind(file)? {
        SourceKind::Sql => None,
        SourceKind::Packed(packing) => Some(packing.advice()),
        SourceKind::Other => Some(message!("source-not-sql")),
        _ => Some(message!("source-archive")),
    };
    if let Some(why) = why {
        return Err(DatabasesError::NoArchive { path: file.clone(), why });
    }
    let subject = file.display().to_string();
    let bytes = std::fs::metadata(file).map_err(DatabasesError::file(message!("verb-look-at"), file))?.len();
    reporter.began(Activity::ConvertDump, subject.as_str(), Some(bytes));
    let target = std::path::absolute(&conversion.target)
        .map_err(DatabasesError::file(message!("verb-find"), &conversion.target))?;
    let conversion = Conversion { target, ..conversion.clone() };
    let result = run(image, &conversion, &subject, reporter).await;
    match &result {
        Ok(document) => {
            let message = message!("databases-converted", rows = document.rows, path = &document.path);
            reporter.done(Activity::ConvertDump, subject, message);
        }
        Err(error) => reporter.failed(Activity::ConvertDump, subject, error),
    }
    result
}

/// A conversion that is needed only as long as this lives.
pub struct Converted {
    pub folder: PathBuf,
    _workshop: Staging,
}

/// Converts below `home`, for one restore; the conversion's own target counts for nothing.
pub async fn convert_for_now(
    image: &ServerImage,
    conversion: &Conversion,
    home: &Path,
    reporter: &Reporter,
) -> Result<Converted, DatabasesError> {
    let staging = Staging::open(home)?;
    let folder = staging.path().join("converted");
    convert(image, &Conversion { target: folder.clone(), ..conversion.clone() }, reporter).await?;
    Ok(Converted { folder, _workshop: staging })
}

async fn run(
    image: &ServerImage,
    conversion: &Conversion,
    subject: &str,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    crate::failpoint!("databases.convert.before-scan");
    let roles = unless_stopped(reporter, &conversion.database, scan(&conversion.file)).await?;
    let throwaway = Throwaway::start(image, &conversion.database, reporter).await?;
    let work = async {
        throwaway::create_roles(&throwaway, &[], roles.iter().map(String::as_str)).await?;
        fill(&throwaway.server, conversion, subject, reporter).await?;
        let database = choose(&throwaway.server, conversion).await?;
        place(&throwaway.server, conversion, &database, reporter).await
    };
    let made = throwaway.run(&conversion.database, reporter, work).await;
    throwaway.end().await;
    made
}

/// The text, unpacked where it is packed.
fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Position), DatabasesError> {
    let fail = || DatabasesError::file(message!("verb-read"), path);
    let mut head = [0; 2];
    let packed = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == [0x1f, 0x8b];
    let file = File::open(path).map_err(fail())?;
    let position = Position::default();
    let counted = Counted { inner: file, position: position.clone() };
    let reader: Box<dyn Read + Send> = match packed {
        true => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 18, counted))),
        false => Box::new(counted),
    };
    Ok((reader, position))
}

/// How much of a file has been read, for progress.
#[derive(Debug, Clone, Default)]
struct Position(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Position {
    fn bytes(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

struct Counted {
    inner: File,
    position: Position,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.position.0.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

/// The roles that the text names, which an empty server does not have. Reading it to its end also tells whether it is
/// whole, as far as gzip, open rows and pg_dump's own last line can tell.
async fn scan(path: &Path) -> Result<BTreeSet<String>, DatabasesError> {
    /// No statement that names a role is longer; rows are.
    const LONGEST_LINE: usize = 64 << 10;
    let path = path.to_owned();
    in_thread(move |wanted| {
        let fail = || DatabasesError::file(message!("verb-read"), &path);
        let mut reader = BufReader::with_capacity(1 << 18, open(&path)?.0);
        let (mut facts, mut script_end) = (script::ScriptFacts::default(), script::ScriptEnd::default());
        let (mut line, mut is_cut) = (Vec::new(), false);
        loop {
            wanted.go_on(&path.display().to_string())?;
            let buffer = reader.fill_buf().map_err(fail())?;
            let is_last = buffer.is_empty();
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            is_cut |= line.len() + taken > LONGEST_LINE;
            if !is_cut {
                line.extend_from_slice(&buffer[..taken]);
            }
            reader.consume(taken);
            // The last line may lack its end.
            if end.is_some() || is_last {
                if !is_cut {
                    let text = String::from_utf8_lossy(&line);
                    let text = text.trim_end();
                    if !script_end.is_in_rows() {
                        facts.read_line(text);
                    }
                    script_end.read_line(text);
                }
                line.clear();
                is_cut = false;
            }
            if is_last {
                return match script_end.missing() {
                    None => Ok(facts.all_roles()),
                    Some(damage) => Err(DatabasesError::Damaged { path, damage }),
                };
            }
        }
    })
    .await
}

/// Runs the text with psql, all of it: a plain dump is full of statements that fail for no reason that matters.
async fn fill(
    server: &Server,
    conversion: &Conversion,
    subject: &str,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    let create = match &conversion.locale {
        Some(DefaultLocale(template)) => {
            let properties = Properties {
                owner: "postgres".to_owned(),
                tablespace: "pg_default".to_owned(),
                encoding: template.encoding.clone(),
                collate: template.collate.clone(),
                ctype: template.ctype.clone(),
                locale_provider: template.locale_provider.clone(),
                locale: template.locale.clone(),
                icu_rules: template.icu_rules.clone(),
                connection_limit: -1,
                ..Properties::default()
            };
            properties.create(PLAIN)
        }
        None => format!("CREATE DATABASE {} TEMPLATE template0;", ident(PLAIN)),
    };
    server.client.execute(server.home(), || message!("sql-create-a-database"), &create).await?;
    // As a file its complaints are marked as such, with their lines: that `\i` finds no file too.
    let arguments: Vec<String> = ["-X", "-q", "-w", "-b", "-v", "ON_ERROR_STOP=0", "-o", "/dev/null", "-f", "-", "-d"]
        .map(str::to_owned)
        .into_iter()
        .chain([server.client.conninfo(PLAIN)])
        .collect();
    // A dump of a whole server that drops first drops the database that they are in, too.
    server.client.idle.clear();
    crate::failpoint!("databases.convert.before-fill");
    let session = server.client.start("psql", &arguments).await?;
    let (reader, position) = open(&conversion.file)?;
    /// The first errors are those that matter; the others follow from them.
    const MOST_SAID: usize = 256 << 10;
    let (path, reporter, subject) = (conversion.file.clone(), reporter.clone(), subject.to_owned());
    let fed = feed_exec(session, MOST_SAID, move |blocks| {
        pass_on(reader, &path, blocks, || {
            reporter.advanced(Activity::ConvertDump, subject.as_str(), position.bytes(), None);
        })
    });
    let Fed { exit_code, said } = fed.await?;
    let complaints = String::from_utf8_lossy(&said).into_owned();
    let serious = serious(&complaints);
    if exit_code != 0 && exit_code != 3 || !serious.is_empty() {
        let said = if serious.is_empty() { complaints } else { serious.join("\n") };
        return Err(DatabasesError::Unconvertible {
            path: conversion.file.clone(),
            source: Said::of_script(said.as_bytes(), message!("script-one-file")),
        });
    }
    Ok(())
}

/// Hands on what a file holds, until nobody takes it any more.
fn pass_on(
    mut reader: impl Read,
    path: &Path,
    blocks: &mpsc::Sender<Bytes>,
    progress: impl Fn(),
) -> Result<(), DatabasesError> {
    loop {
        let mut block = vec![0; 256 << 10];
        let read = reader.read(&mut block).map_err(DatabasesError::file(message!("verb-read"), path))?;
        block.truncate(read);
        if block.is_empty() || blocks.blocking_send(block.into()).is_err() {
            return Ok(());
        }
        progress();
    }
}

/// The complaints that mean that something is missing.
fn serious(complaints: &str) -> Vec<&str> {
    const HARMLESS: [&str; 8] = [
        // Settings, and a command of psql's, that came with later versions.
        "unrecognized configuration parameter",
        "invalid command \\restrict",
        "invalid command \\unrestrict",
        // What every server and every new database has.
        "schema \"public\" already exists",
        "role \"postgres\" already exists",
        "database \"postgres\" already exists",
        "language \"plpgsql\" already exists",
        "current user cannot be dropped",
    ];
    let is_complaint = |line: &&str| {
        ["ERROR:", "FATAL:", "PANIC:", "invalid command", "error:"].iter().any(|word| line.contains(word))
    };
    // Roles are there since we made them for the owners and grants.
    let is_made = |line: &str| line.contains("role \"") && line.contains("already exists");
    let is_harmless = |line: &&str| HARMLESS.iter().any(|words| line.contains(words)) || is_made(line);
    let mut found: Vec<&str> = Vec::new();
    for line in complaints.lines() {
        // psql shows the statement behind its error (`--echo-errors`).
        if let Some((_, statement)) = line.split_once("STATEMENT:  ") {
            let drops = statement.starts_with("DROP ")
                || statement.starts_with("ALTER ") && statement.contains(" DROP ")
                || statement.starts_with("SELECT pg_catalog.lo_unlink(");
            // An empty server has nothing to drop yet (`pg_dump --clean`).
            found.pop_if(|last| drops && last.contains("does not exist"));
        } else if is_complaint(&line) && !is_harmless(&line) {
            if found.len() == 5 {
                break;
            }
            found.push(line);
        }
    }
    found
}

/// The database that the file has filled.
async fn choose(server: &Server, conversion: &Conversion) -> Result<String, DatabasesError> {
    #[derive(Deserialize)]
    struct Made {
        plain: u64,
        others: Vec<String>,
    }
    const OBJECTS: &str = "SELECT to_json(count(*)) FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'";
    const OTHERS: &str = "SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_catalog.pg_database
      WHERE NOT datistemplate AND datname NOT IN ('postgres', 'dpl converts')";
    let made = Made {
        plain: server.client.query(PLAIN, || message!("sql-look-for-its-objects"), OBJECTS).await?,
        others: server.client.query(server.home(), || message!("sql-list-the-databases"), OTHERS).await?,
    };
    match made.others.as_slice() {
        [] => Ok(PLAIN.to_owned()),
        others if others.contains(&conversion.database) => Ok(conversion.database.clone()),
        [one] if made.plain == 0 => Ok(one.clone()),
        others => Err(DatabasesError::SeveralDatabases {
            path: conversion.file.clone(),
            database: conversion.database.clone(),
            found: others.to_vec(),
        }),
    }
}

async fn place(
    server: &Server,
    conversion: &Conversion,
    database: &str,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let target = &conversion.target;
    let home = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staging = Staging::open(home)?;
    let stamp = names::stamp(jiff::Timestamp::now());
    let order = DumpOrder {
        database,
        recorded_as: &conversion.database,
        since: None,
        stamp: &stamp,
        jobs: conversion.jobs,
        level: Level::default(),
        hashes: PasswordHashes::default(),
        patience: LockPatience::default(),
        operator: &conversion.operator,
        project: None,
    };
    let record = dump::dump(server, &order, staging.path(), reporter).await?;
    verify::check_files(staging.path(), &record).await?;
    crate::failpoint!("databases.convert.before-publish");
    match std::fs::symlink_metadata(target).is_ok() {
        true => staging.exchange(target)?,
        false => staging.publish(target)?,
    }
    Ok(BackupDocument::new(&Known { record, verification: Verification::default() }, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_text_is_refused_before_a_server_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sql");
        let long = "x".repeat(200 << 10);
        let whole = format!(
            "-- PostgreSQL database dump\nALTER TABLE t OWNER TO app;\nCOPY t (a) FROM stdin;\n{long}\n\\.\n\
             -- PostgreSQL database dump complete\n"
        );
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(scan(&path).await.unwrap(), BTreeSet::from(["app".to_owned()]));
        std::fs::write(&path, whole.trim_end()).unwrap();
        assert_eq!(scan(&path).await.unwrap().len(), 1, "the end of the last line is nothing that matters");
        for lines in 1..=5 {
            let cut: Vec<&str> = whole.lines().take(lines).collect();
            std::fs::write(&path, cut.join("\n") + "\n").unwrap();
            assert!(matches!(scan(&path).await, Err(DatabasesError::Damaged { .. })), "{lines}");
        }
    }

    #[test]
    fn what_is_dropped_and_is_not_there_is_nothing_that_is_missing() {
        let said = "ERROR:  relation \"public.t\" does not exist\nSTATEMENT:  ALTER TABLE public.t DROP CONSTRAINT t_pkey;\n\
            ERROR:  database \"conv\" does not exist\nSTATEMENT:  DROP DATABASE conv;\n\
            ERROR:  large object 70001 does not exist\nSTATEMENT:  SELECT pg_catalog.lo_unlink('70001');\n";
        assert_eq!(serious(said), Vec::<&str>::new());
        let said = "ERROR:  relation \"public.t\" does not exist\nSTATEMENT:  INSERT INTO public.t VALUES (1);\n";
        assert_eq!(serious(said).len(), 1);
    }

    #[test]
    fn what_every_plain_dump_complains_of_is_passed_over() {
        let said = "psql:<stdin>:7: ERROR:  unrecognized configuration parameter \"transaction_timeout\"\n\
            psql:<stdin>:8: error: invalid command \\restrict\nNOTICE:  nothing\npsql:<stdin>:9: ERROR:  role \"app\" already exists\n";
        assert_eq!(serious(said), Vec::<&str>::new());
        let said = "psql:<stdin>:9: ERROR:  relation \"t\" does not exist\nLINE 1: x\n";
        assert_eq!(serious(said), ["psql:<stdin>:9: ERROR:  relation \"t\" does not exist"]);
        let said = "psql:<stdin>:2: error: more.sql: No such file or directory\n";
        assert_eq!(serious(said).len(), 1);
    }
}
