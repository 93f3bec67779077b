//! Free space on the disk where a server keeps its data: how much a restore wants, and a watch while it goes on.
//!
//! A restore writes to the server's log (WAL) as well as to the tables. A disk without room for a table is an error of one
//! statement; one without room for the log ends the whole server, which does not start again before somebody has made
//! room: with it go all its databases, the one that was to be replaced too. So that is not let come near.

use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use futures::StreamExt;

use super::client::Client;
use super::connect::Server;
use super::quoting;
use crate::databases::error::DatabasesError;
use crate::engine::{ExecOutput, ExecSession, ExecSpec};
use crate::report::Message;

/// What is left alone: a few segments of the log, and what is written between two looks.
pub(in crate::databases) const RESERVE_BYTES: u64 = 192 << 20;

/// The folders that a restore fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct DiskSpace {
    data: String,
    log: String,
    /// How large the log may grow before it begins again.
    log_bytes: u64,
}

/// What `df` says of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Free {
    bytes: u64,
    /// Where its file system is mounted, and what it is.
    file_system: String,
}

#[derive(Deserialize)]
struct Facts {
    /// `None` where there is no such tablespace; empty for the server's own folder.
    tablespace: Option<String>,
    data_directory: String,
    /// `None` where rows that are loaded are not written to the log (PostgreSQL's "Disable WAL Archival").
    log_megabytes: Option<u64>,
}

impl DiskSpace {
    /// The room for a database in `tablespace`. `None` for a server that runs in no container of this engine, and for
    /// one that does not say where it keeps its data.
    pub async fn of(server: &Server, tablespace: &str) -> Result<Option<Self>, DatabasesError> {
        if server.is_outside() {
            return Ok(None);
        }
        let query = FACTS.replace("$tablespace", &quoting::literal(tablespace));
        let facts: Facts =
            server.client.query(server.home(), || message!("sql-ask-where-the-server-keeps-its-data"), &query).await?;
        if facts.data_directory.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            data: facts.tablespace.filter(|folder| !folder.is_empty()).unwrap_or(facts.data_directory.clone()),
            log: format!("{}/pg_wal", facts.data_directory),
            log_bytes: facts.log_megabytes.unwrap_or_default() << 20,
        }))
    }

    /// What is wrong with it for a database of so many bytes. Where `df` can't tell, nothing.
    pub async fn problem(&self, server: &Server, bytes: u64) -> Result<Option<Message>, DatabasesError> {
        let Some([data, log]) = &self.free(server).await? else { return Ok(None) };
        let log_bytes = self.log_bytes.min(bytes);
        let short = |free: &Free, wanted: u64, folder: &str| {
            (free.bytes < wanted).then(|| {
                let (wanted, free) = (wanted.div_ceil(1 << 20), free.bytes >> 20);
                message!("unfit-disk", wanted = wanted, folder = folder, free = free)
            })
        };
        Ok(match data.file_system == log.file_system {
            true => short(data, bytes.saturating_add(log_bytes + RESERVE_BYTES), &self.data),
            false => short(data, bytes.saturating_add(RESERVE_BYTES), &self.data)
                .or_else(|| short(log, log_bytes + RESERVE_BYTES, &self.log)),
        })
    }

    /// Whether there is so much room for so few bytes that nobody has to watch it while they are written.
    pub async fn is_ample(&self, server: &Server, bytes: u64) -> Result<bool, DatabasesError> {
        let free = self.free(server).await?;
        Ok(free.is_some_and(|free| free.iter().all(|free| free.bytes / 4 > RESERVE_BYTES.max(bytes))))
    }

    /// Of the data's place and of the log's.
    async fn free(&self, server: &Server) -> Result<Option<[Free; 2]>, DatabasesError> {
        let answer = server.ask_system(&["df", "-P", "-k", "--", &self.data, &self.log]).await?;
        let answer = answer.unwrap_or_default();
        let free: Vec<Free> = String::from_utf8_lossy(&answer).lines().filter_map(Free::read).collect();
        Ok(free.try_into().ok())
    }

    /// Resolves when less than the reserve is left, and never where nobody can tell.
    pub async fn runs_out(&self, server: &Server, database: &str) -> DatabasesError {
        let (folder, free_bytes) = watch(&server.client, [&self.data, &self.log]).await;
        let folder = folder.to_owned();
        DatabasesError::DiskFull { database: database.to_owned(), folder, free_mebibytes: free_bytes >> 20 }
    }
}

/// Resolves when less than the reserve is left where the engine keeps its volumes, one of which `client`'s container has at
/// `folder`; never where nobody can tell. The servers of a stack usually have their data there too.
pub(in crate::databases) async fn volume_runs_out(client: &Client, folder: &str, database: &str) -> DatabasesError {
    let free_bytes = match crate::failpoint::pretends("databases.engine-disk-full") {
        true => RESERVE_BYTES / 2,
        false => watch(client, [folder, folder]).await.1,
    };
    let facts = client.engine.facts().await;
    DatabasesError::EngineDiskFull {
        database: database.to_owned(),
        folder: facts.map(|facts| facts.root_dir.clone()).unwrap_or_default(),
        free_mebibytes: free_bytes >> 20,
        reserve_mebibytes: RESERVE_BYTES >> 20,
    }
}

/// Resolves when less than the reserve is left at one of two folders of `client`'s container, with that folder and what is
/// left; never where nobody can tell.
async fn watch<'a>(client: &Client, folders: [&'a str; 2]) -> (&'a str, u64) {
    let found = async {
        let words = ["sh", "-c", WATCH, folders[0], folders[1]].map(str::to_owned);
        let spec = ExecSpec { command: words.into(), stdin: true, ..Default::default() };
        let mut session = client.engine.start_exec(&client.container, &spec).await.ok()?;
        let found = follow(&mut session).await;
        // Its end is the end of its input.
        let _ = session.input.shutdown().await;
        found
    };
    match found.await {
        Some((line, free_bytes)) => (folders[line % 2], free_bytes),
        None => std::future::pending().await,
    }
}

/// The first look that finds too little, and whether it was at the first folder or the second.
async fn follow(session: &mut ExecSession) -> Option<(usize, u64)> {
    let (mut unread, mut line) = (String::new(), 0);
    while let Some(Ok(chunk)) = session.output.next().await {
        let ExecOutput::Stdout(bytes) = chunk else { continue };
        unread.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = unread.find('\n') {
            if let Some(free) = Free::read(&unread[..end]) {
                if free.bytes < RESERVE_BYTES {
                    return Some((line, free.bytes));
                }
                line += 1;
            }
            unread.drain(..=end);
        }
    }
    None
}

/// Looks five times a second, until its input ends. Nothing of it may die by a signal and be left to somebody else: process 1
/// is the server here, which takes such a child for a part of its own that has crashed, and starts all again.
const WATCH: &str = r#"{ trap 'exit 0' TERM; while df -P -k -- "$0" "$1"; do sleep 0.2; done; exit 0; } 2>/dev/null &
IFS= read -r end; kill $! 2>/dev/null; wait $!; exit 0"#;

impl Free {
    /// A line of POSIX's `df -P -k`; the fourth column is what is available. A folder's name may hold spaces, but it
    /// comes last. `None` for the header.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let device = words.next()?;
        let kibibytes: u64 = words.nth(2)?.parse().ok()?;
        let mounted_at = words.skip(1).collect::<Vec<_>>().join(" ");
        Some(Self { bytes: kibibytes.checked_mul(1024)?, file_system: format!("{device} {mounted_at}") })
    }
}

const FACTS: &str = "SELECT json_build_object(
  'tablespace', (SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace
    WHERE spcname = $tablespace),
  'data_directory', CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'usage')
    THEN coalesce(pg_catalog.current_setting('data_directory', true), '') ELSE '' END,
  'log_megabytes', (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_wal_size'
    AND pg_catalog.current_setting('wal_level') <> 'minimal'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_the_fourth_column_and_a_mount_may_have_spaces() {
        let read = |line: &str| Free::read(line);
        assert_eq!(read("Filesystem 1024-blocks Used Available Capacity Mounted on"), None);
        let free = read("overlay 100 40 60 40% /var/lib/a b").unwrap();
        assert_eq!((free.bytes, free.file_system.as_str()), (60 * 1024, "overlay /var/lib/a b"));
        assert_eq!(read(""), None);
        assert_eq!(read("df: no such file"), None);
    }
}
