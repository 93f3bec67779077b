//! PostgreSQL's client programs, run inside a container: the command line, the password's way, results.
//!
//! The password never becomes an argument nor part of an environment that `docker inspect` shows, and no file holds
//! it: it is the first line of the program's standard input, which a shell of two commands reads into the
//! program's own environment before it becomes that program. When this process is killed nothing stays behind.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use futures::StreamExt;

use super::error::{DatabasesError, Said};
use super::sql;
use crate::engine::{Engine, ExecOutput, ExecResult, ExecSession, ExecSpec};

/// A password; shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Whom to work as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    /// `None` where the server trusts whoever reaches it.
    pub password: Option<Secret>,
}

/// Where the server listens, as seen from the container that a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The socket that the container's own programs take by default.
    Socket,
    Tcp {
        host: String,
        port: Option<u16>,
    },
}

/// A container in which PostgreSQL's programs run, and how they reach the server from there.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub engine: Engine,
    /// Its ID.
    pub container: String,
    /// The folder of the programs; those on the container's PATH where `None`.
    pub bin_dir: Option<String>,
    pub endpoint: Endpoint,
    pub credentials: Arc<Credentials>,
}

/// The two lines before a program that needs a password.
const TAKE_PASSWORD: &str = r#"IFS= read -r PGPASSWORD && export PGPASSWORD && exec "$0" "$@""#;

impl Client {
    /// The connection string for a database: everything but the password.
    pub fn conninfo(&self, database: &str) -> String {
        let mut words = vec![
            sql::conninfo("dbname", database),
            sql::conninfo("user", &self.credentials.user),
            "connect_timeout='20'".to_owned(),
            "application_name='dpl'".to_owned(),
        ];
        if let Endpoint::Tcp { host, port } = &self.endpoint {
            words.push(sql::conninfo("host", host));
            words.extend(port.map(|port| format!("port='{port}'")));
        }
        words.join(" ")
    }

    /// Starts a program; the password, where there is one, has gone ahead on its input.
    pub async fn start(&self, program: &str, arguments: &[String]) -> Result<ExecSession, DatabasesError> {
        let program = self.bin_dir.as_ref().map_or_else(|| program.to_owned(), |folder| format!("{folder}/{program}"));
        let mut command = Vec::new();
        if self.credentials.password.is_some() {
            command.extend(["sh", "-c", TAKE_PASSWORD].map(str::to_owned));
        }
        command.push(program);
        command.extend(arguments.iter().cloned());
        let environment = vec!["LC_MESSAGES=C".to_owned()];
        let spec = ExecSpec { command, environment, stdin: true, ..Default::default() };
        let mut session = self.engine.start_exec(&self.container, &spec).await?;
        if let Some(Secret(password)) = &self.credentials.password {
            if password.contains(['\n', '\r', '\0']) {
                return Err(DatabasesError::UnusablePassword);
            }
            // A program that is gone already is judged by its exit code and by what it said.
            let _ = session.input.write_all(format!("{password}\n").as_bytes()).await;
            let _ = session.input.flush().await;
        }
        Ok(session)
    }

    /// Runs a program to its end, with `input` on its standard input.
    pub async fn run(&self, program: &str, arguments: &[String], input: &[u8]) -> Result<ExecResult, DatabasesError> {
        let mut session = self.start(program, arguments).await?;
        let mut result = ExecResult::default();
        {
            let ExecSession { output, input: stdin, .. } = &mut session;
            let feed = async {
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            };
            let drain = async {
                while let Some(chunk) = output.next().await {
                    match chunk? {
                        ExecOutput::Stdout(bytes) => result.stdout.extend_from_slice(&bytes),
                        ExecOutput::Stderr(bytes) => result.stderr.extend_from_slice(&bytes),
                    }
                }
                Ok::<(), DatabasesError>(())
            };
            let (_, drained) = futures::join!(feed, drain);
            drained?;
        }
        result.exit_code = session.exit_code().await?;
        Ok(result)
    }

    /// Runs a tool that works on a database; anything but exit code 0 is an error with what it said.
    pub async fn tool(
        &self,
        program: &'static str,
        database: &str,
        arguments: &[String],
    ) -> Result<ExecResult, DatabasesError> {
        let result = self.run(program, arguments, b"").await?;
        if result.exit_code != 0 {
            let source = Said::new(&result.stderr);
            return Err(DatabasesError::Tool {
                program,
                database: database.to_owned(),
                code: result.exit_code,
                source,
            });
        }
        Ok(result)
    }

    fn psql_arguments(&self, database: &str) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d"].map(str::to_owned).into();
        // Names travel as UTF-8 in both directions, whatever the database's encoding.
        arguments.push(format!("{} client_encoding='UTF8'", self.conninfo(database)));
        arguments
    }

    /// Runs statements, and gives what they print. `operation` finishes "can't …".
    pub async fn execute(
        &self,
        database: &str,
        operation: &'static str,
        statements: &str,
    ) -> Result<Vec<u8>, DatabasesError> {
        let result = self.run("psql", &self.psql_arguments(database), statements.as_bytes()).await?;
        if result.exit_code != 0 {
            let source = Said::new(&result.stderr);
            return Err(DatabasesError::Sql { operation, database: database.to_owned(), source });
        }
        Ok(result.stdout)
    }

    /// Runs one query that gives one JSON value.
    pub async fn query<T: DeserializeOwned>(
        &self,
        database: &str,
        operation: &'static str,
        query: &str,
    ) -> Result<T, DatabasesError> {
        let stdout = self.execute(database, operation, &format!("{query};\n")).await?;
        serde_json::from_slice(&stdout).map_err(|source| DatabasesError::Answer { operation, source })
    }

    /// Opens a session that lives on between statements.
    pub async fn session(&self, database: &str) -> Result<Session, DatabasesError> {
        let exec = self.start("psql", &self.psql_arguments(database)).await?;
        let mark = format!("dpl-mark-{:016x}", std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
        let mut session = Session { exec, mark, database: database.to_owned(), unread: Vec::new(), stderr: Vec::new() };
        session.run("prepare a session", SESSION_SETTINGS).await?;
        Ok(session)
    }
}

/// No limit of the server's configuration may end a session that we hold, nor a table's policy hide rows from it.
const SESSION_SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0; SET row_security = off; SET search_path = pg_catalog;";

/// A psql that stays connected: a transaction, an exported snapshot or a lock lives as long as it. When this process
/// is killed its input ends, so it ends too, and the server rolls back.
pub(super) struct Session {
    exec: ExecSession,
    /// What psql prints when it has done all that came before.
    mark: String,
    database: String,
    unread: Vec<u8>,
    stderr: Vec<u8>,
}

impl Session {
    /// Runs statements, and gives what they print. After an error the session is over.
    pub async fn run(&mut self, operation: &'static str, statements: &str) -> Result<Vec<u8>, DatabasesError> {
        let text = format!("{statements}\n\\echo {}\n", self.mark);
        let end = format!("{}\n", self.mark).into_bytes();
        let ExecSession { output, input, .. } = &mut self.exec;
        let (unread, stderr) = (&mut self.unread, &mut self.stderr);
        let feed = async {
            // psql that has ended is judged by its exit code below.
            let _ = input.write_all(text.as_bytes()).await;
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
            Some(answer) => Ok(answer),
            None => {
                self.exec.exit_code().await?;
                let source = Said::new(&self.stderr);
                Err(DatabasesError::Sql { operation, database: self.database.clone(), source })
            }
        }
    }

    /// Runs one query that gives one JSON value.
    pub async fn query<T: DeserializeOwned>(
        &mut self,
        operation: &'static str,
        query: &str,
    ) -> Result<T, DatabasesError> {
        let answer = self.run(operation, &format!("{query};")).await?;
        serde_json::from_slice(&answer).map_err(|source| DatabasesError::Answer { operation, source })
    }

    /// Ends it in order.
    pub async fn close(mut self) -> Result<(), DatabasesError> {
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
                operation: "end a session",
                database: self.database,
                source: Said::new(&self.stderr),
            }),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
