//! A psql that stays connected: its statements, one after the other, and what they print.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::any_bytes;
use super::client::{Client, chance};
use super::command::{Command, CommandEnd, shell_line};
use super::idle_sessions::IdleSessions;
use super::quoting;
use crate::databases::error::{DatabasesError, Operation, Said};
use crate::engine::{ExecOutput, ExecSession};

/// A psql that stays connected: a transaction, an exported snapshot or a lock lives as long as it. When this process
/// is killed its input ends, so it ends too, and the server rolls back.
pub(in crate::databases) struct Session {
    exec: ExecSession,
    /// What psql prints when it has done all that came before.
    mark: String,
    database: String,
    unread: Vec<u8>,
    stderr: Vec<u8>,
    /// When it last answered.
    used: Instant,
    /// Whether statements and answers may hold any bytes ([`Session::allow_any_bytes`]).
    any_bytes: bool,
    /// Who keeps it once it is done with; nobody while it is kept.
    keeper: Option<Keeper>,
}

/// Where a session goes when it is done with, and how it gets there.
struct Keeper {
    idle: IdleSessions,
    conninfo: String,
    settings: String,
}

impl Session {
    pub fn new(exec: ExecSession, database: &str) -> Self {
        Self {
            exec,
            mark: chance("dpl-mark"),
            database: database.to_owned(),
            unread: Vec::new(),
            stderr: Vec::new(),
            used: Instant::now(),
            any_bytes: false,
            keeper: None,
        }
    }

    /// From now on closing it means that it is kept, where that client keeps any.
    pub fn kept_by(mut self, client: &Client) -> Self {
        let keeper = |home| Keeper {
            idle: client.idle.clone(),
            conninfo: client.session_conninfo(home),
            settings: client.session_settings(),
        };
        self.keeper = client.idle.home().map(keeper);
        self
    }

    /// How long ago it last answered.
    pub fn idle_for(&self) -> Duration {
        self.used.elapsed()
    }

    /// Leaves its database for another one, or the same one again: whatever it held there is gone.
    pub async fn go_to(&mut self, database: &str, conninfo: &str, settings: &str) -> Result<(), DatabasesError> {
        self.database = database.to_owned();
        self.any_bytes = false;
        let connect = format!("\\connect -reuse-previous=off {}\n{settings}", quoting::psql_word(conninfo));
        self.run(|| message!("sql-prepare-a-session"), &connect).await.map(drop)
    }

    /// As it was when it was new, in the database `home`: nothing is left of what was set, prepared, locked or made in it.
    async fn go_home(&mut self, home: &str, keeper: &Keeper) -> Result<(), DatabasesError> {
        /// A transaction that nobody began is not worth a word.
        const TIDY: &str = "SET client_min_messages = error; ROLLBACK; DISCARD ALL;";
        match self.database == home {
            true => {
                let tidy = format!("{TIDY} {}", keeper.settings);
                self.any_bytes = false;
                self.run(|| message!("sql-end-a-session"), &tidy).await.map(drop)
            }
            false => self.go_to(home, &keeper.conninfo, &keeper.settings).await,
        }
    }

    /// Runs a program with what psql itself was started with: user, environment, password. Each piece that it writes goes to
    /// `output`. Takes no time to begin, which starting it in the container by itself does. Its arguments have no line breaks.
    pub async fn command(
        &mut self,
        operation: Operation,
        command: &Command<'_>,
        output: mpsc::Sender<Bytes>,
    ) -> Result<CommandEnd, DatabasesError> {
        let (ready, end) = (format!("{}-ready\n", self.mark), format!("{}-end ", self.mark));
        let line = shell_line(command, &ready, &end);
        no_nul(operation, &self.database, &line)?;
        self.feed(operation, format!("\\! {line}\n").as_bytes()).await?;
        if !command.input.is_empty() {
            // What psql reads ahead of a command it would keep to itself: nothing is sent before that runs.
            self.read_to(operation, ready.as_bytes(), None).await?;
            self.feed(operation, command.input).await?;
        }
        self.read_to(operation, end.as_bytes(), Some(&output)).await?;
        drop(output);
        // The end of what it said is the end of psql's own line.
        let said = self.run(operation, "").await?;
        let (code, said) = said.split_at(said.iter().position(|byte| *byte == b'\n').unwrap_or(said.len()));
        let exit_code = String::from_utf8_lossy(code).trim().parse().unwrap_or(-1);
        Ok(CommandEnd { exit_code, said: said.trim_ascii().to_vec() })
    }

    /// Reads up to a mark and past it; what stands before goes to `output`, piece by piece.
    async fn read_to(
        &mut self,
        operation: Operation,
        mark: &[u8],
        output: Option<&mpsc::Sender<Bytes>>,
    ) -> Result<(), DatabasesError> {
        loop {
            let found = find(&self.unread, mark);
            // Only what can't be the beginning of the mark goes on.
            let sure = found.unwrap_or(self.unread.len().saturating_sub(mark.len()));
            let piece: Vec<u8> = self.unread.drain(..sure).collect();
            if let Some(output) = output.filter(|_| !piece.is_empty()) {
                // One that does not listen any more has an error to tell.
                let _ = output.send(piece.into()).await;
            }
            if found.is_some() {
                self.unread.drain(..mark.len());
                return Ok(());
            }
            match self.exec.output.next().await.transpose()? {
                Some(ExecOutput::Stdout(bytes)) => self.unread.extend_from_slice(&bytes),
                Some(ExecOutput::Stderr(bytes)) => self.stderr.extend_from_slice(&bytes),
                None => return Err(self.over(operation).await),
            }
        }
    }

    /// Runs statements, and gives what they print. After an error the session is over.
    pub async fn run(&mut self, operation: Operation, statements: &str) -> Result<Vec<u8>, DatabasesError> {
        no_nul(operation, &self.database, statements)?;
        let text = self.as_sent(format!("{statements}\n\\echo {}\n", self.mark));
        let end = format!("{}\n", self.mark).into_bytes();
        let ExecSession { output, input, .. } = &mut self.exec;
        let (unread, stderr) = (&mut self.unread, &mut self.stderr);
        let feed = async {
            // psql that has ended is judged by its exit code below.
            let _ = input.write_all(&text).await;
            let _ = input.flush().await;
        };
        let listen = async {
            let mut searched = 0;
            loop {
                if let Some(at) = find(&unread[searched..], &end).map(|at| at + searched) {
                    let answer = unread[..at].to_vec();
                    unread.drain(..at + end.len());
                    return Ok(Some(answer));
                }
                searched = unread.len().saturating_sub(end.len());
                match output.next().await {
                    Some(Ok(ExecOutput::Stdout(bytes))) => unread.extend_from_slice(&bytes),
                    Some(Ok(ExecOutput::Stderr(bytes))) => stderr.extend_from_slice(&bytes),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(None),
                }
            }
        };
        let (_, answer) = futures::join!(feed, listen);
        match answer? {
            Some(answer) => {
                self.used = Instant::now();
                Ok(answer)
            }
            None => {
                self.exec.exit_code().await?;
                let source = Said::new(&self.stderr);
                Err(DatabasesError::Sql { operation: operation(), database: self.database.clone(), source })
            }
        }
    }

    fn as_sent(&self, text: String) -> Vec<u8> {
        if self.any_bytes { any_bytes::encode(&text) } else { text.into_bytes() }
    }

    /// Copies what `from` gives into what this session is told to fill: two ends of one `COPY`, in text format and
    /// UTF-8. Memory stays flat, whatever the rows. After an error both sessions are over.
    pub async fn copy_from(
        &mut self,
        from: &mut Session,
        operation: Operation,
        copy_out: &str,
        copy_in: &str,
    ) -> Result<(), DatabasesError> {
        let copy_out = from.as_sent(format!("{copy_out};\n\\echo {}\n", from.mark));
        let copy_in = self.as_sent(format!("{copy_in};\n"));
        let told = async {
            from.exec.input.write_all(&copy_out).await?;
            from.exec.input.flush().await?;
            self.exec.input.write_all(&copy_in).await
        };
        // A psql that has ended is judged by its exit code below.
        let _: std::io::Result<()> = told.await;
        let end = format!("{}\n", from.mark).into_bytes();
        loop {
            if let Some(at) = find(&from.unread, &end) {
                let mut rows: Vec<u8> = from.unread.drain(..at + end.len()).collect();
                rows.truncate(at);
                self.feed(operation, &rows).await?;
                break;
            }
            // Only what can't be the beginning of the mark goes on.
            let sure = from.unread.len().saturating_sub(end.len());
            let rows: Vec<u8> = from.unread.drain(..sure).collect();
            self.feed(operation, &rows).await?;
            match from.exec.output.next().await.transpose()? {
                Some(ExecOutput::Stdout(bytes)) => from.unread.extend_from_slice(&bytes),
                Some(ExecOutput::Stderr(bytes)) => from.stderr.extend_from_slice(&bytes),
                None => return Err(from.over(operation).await),
            }
        }
        self.run(operation, "\\.").await.map(drop)
    }

    /// Writes to psql, and hears meanwhile whether it has ended.
    async fn feed(&mut self, operation: Operation, bytes: &[u8]) -> Result<(), DatabasesError> {
        {
            let ExecSession { output, input, .. } = &mut self.exec;
            let write = async {
                // As above: what it has to say, it says on its error stream.
                let _ = input.write_all(bytes).await;
            };
            tokio::pin!(write);
            loop {
                tokio::select! {
                    biased;
                    chunk = output.next() => match chunk.transpose()? {
                        Some(ExecOutput::Stdout(bytes)) => self.unread.extend_from_slice(&bytes),
                        Some(ExecOutput::Stderr(bytes)) => self.stderr.extend_from_slice(&bytes),
                        None => break,
                    },
                    () = &mut write => return Ok(()),
                }
            }
        }
        Err(self.over(operation).await)
    }

    /// The error of a session whose psql has ended.
    async fn over(&mut self, operation: Operation) -> DatabasesError {
        match self.exec.exit_code().await {
            Ok(_) => DatabasesError::Sql {
                operation: operation(),
                database: self.database.clone(),
                source: Said::new(&self.stderr),
            },
            Err(error) => error.into(),
        }
    }

    /// Runs one query that gives one JSON value.
    pub async fn query<T: DeserializeOwned>(&mut self, operation: Operation, query: &str) -> Result<T, DatabasesError> {
        let mut answer = self.run(operation, &format!("{query};")).await?;
        if self.any_bytes {
            answer = any_bytes::decode(&answer).into_bytes();
        }
        serde_json::from_slice(&answer).map_err(|source| DatabasesError::Answer { operation: operation(), source })
    }

    /// In a database without an encoding names may be no UTF-8: from now on they pass as [`any_bytes`] says.
    pub async fn allow_any_bytes(&mut self) -> Result<(), DatabasesError> {
        const SET: &str = "SELECT to_json(count(pg_catalog.set_config('client_encoding', 'SQL_ASCII', false))) \
             FROM (SELECT) AS one WHERE pg_catalog.getdatabaseencoding() = 'SQL_ASCII'";
        self.any_bytes = self.query::<u8>(|| message!("sql-prepare-a-session"), SET).await? > 0;
        Ok(())
    }

    /// What the server has said beside its answers, since this was last asked.
    pub fn take_notices(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.stderr)).trim().to_owned()
    }

    /// Ends it in order, or has it kept.
    pub async fn close(self) -> Result<(), DatabasesError> {
        match self.give_back().await? {
            Some(session) => session.end().await,
            None => Ok(()),
        }
    }

    /// The session itself where nobody keeps it.
    pub async fn give_back(mut self) -> Result<Option<Self>, DatabasesError> {
        let Some(keeper) = self.keeper.take() else { return Ok(Some(self)) };
        let Some(home) = keeper.idle.home().filter(|_| keeper.idle.has_room()) else { return Ok(Some(self)) };
        // Nobody could rename or drop its database meanwhile.
        self.go_home(home, &keeper).await?;
        keeper.idle.put(self);
        Ok(None)
    }

    async fn end(mut self) -> Result<(), DatabasesError> {
        // Its pipe may be gone with it already; the exit code tells.
        let _ = self.exec.close_input().await;
        while let Some(chunk) = self.exec.output.next().await {
            if let ExecOutput::Stderr(bytes) = chunk? {
                self.stderr.extend_from_slice(&bytes);
            }
        }
        match self.exec.exit_code().await? {
            0 => Ok(()),
            _ => Err(DatabasesError::Sql {
                operation: message!("sql-end-a-session"),
                database: self.database,
                source: Said::new(&self.stderr),
            }),
        }
    }
}

/// psql reads lines as C does: behind a NUL it would go on with the next line, whatever quotes are open.
pub(super) fn no_nul(operation: Operation, database: &str, statements: &str) -> Result<(), DatabasesError> {
    match statements.contains('\0') {
        true => Err(DatabasesError::Nul { operation: operation(), database: database.to_owned() }),
        false => Ok(()),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_a_statement_is_refused() {
        assert!(no_nul(|| message!("words", text = "test"), "d", "SELECT '\u{1}'").is_ok());
        assert!(matches!(
            no_nul(|| message!("words", text = "test"), "d", "SELECT 'a\0'"),
            Err(DatabasesError::Nul { .. })
        ));
    }
}
