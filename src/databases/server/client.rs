//! PostgreSQL's client programs, run inside a container: the command line, the password's way, results.
//!
//! The password never becomes an argument nor part of an environment that `docker inspect` shows, and no file holds
//! it: it is the first line of the program's standard input, which a shell of two commands reads into the
//! program's own environment before it becomes that program. When this process is killed nothing stays behind.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use futures::StreamExt;

use super::idle_sessions::IdleSessions;
use super::quoting;
use super::session::{Session, no_nul};
use crate::databases::error::{DatabasesError, Operation, Said};
use crate::engine::{Engine, ExecOutput, ExecResult, ExecSession, ExecSpec};

/// A password; shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(in crate::databases) fn text(&self) -> &str {
        &self.0
    }

    /// It goes ahead as one line.
    pub(in crate::databases) fn check(&self) -> Result<(), DatabasesError> {
        let is_one_line = !self.0.contains(['\n', '\r', '\0']);
        if is_one_line { Ok(()) } else { Err(DatabasesError::UnusablePassword) }
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
    /// `None` where the server accepts every connection without one.
    pub password: Option<Secret>,
}

/// Where the server listens, as seen from the container that a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) enum Endpoint {
    /// The socket that the container's own programs take by default.
    Socket,
    Tcp {
        host: String,
        port: Option<u16>,
    },
    /// The socket in a folder of the container.
    SocketIn {
        folder: String,
        port: u16,
    },
}

/// A container in which PostgreSQL's programs run, and how they reach the server from there.
#[derive(Debug, Clone)]
pub(in crate::databases) struct Client {
    pub engine: Engine,
    /// Its ID.
    pub container: String,
    /// The folder of the programs; those on the container's PATH where `None`.
    pub bin_dir: Option<String>,
    pub endpoint: Endpoint,
    pub credentials: Arc<Credentials>,
    pub limits: Limits,
    /// Those of a helper are its own: none.
    pub idle: IdleSessions,
}

/// How the programs' sessions are freed from limits on time that the server, the role or the database sets: what dpl
/// does may take hours, and a lock that it holds must not go because it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) enum Limits {
    /// The limits that every server from 13 on knows.
    LiftKnown,
    /// All those that a server of this version knows.
    Lift { version_number: u32 },
    /// None are: something between us and the server takes no options. Sessions that we hold set them by themselves.
    Leave,
}

impl Limits {
    /// The settings, as a session sets them (PostgreSQL, "Statement Behavior").
    fn names(self) -> Vec<&'static str> {
        let version_number = match self {
            Self::LiftKnown | Self::Leave => 0,
            Self::Lift { version_number } => version_number,
        };
        let mut names = vec!["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        if version_number >= 140_000 {
            names.push("idle_session_timeout");
        }
        if version_number >= 170_000 {
            names.push("transaction_timeout");
        }
        names
    }

    /// As libpq's `options` takes them: they outweigh what role and database set, in every program.
    fn options(self) -> Option<String> {
        let options: Vec<String> = self.names().iter().map(|name| format!("-c {name}=0")).collect();
        (self != Self::Leave).then(|| options.join(" "))
    }
}

/// What the server knows the sessions of this process by.
pub(in crate::databases) fn application_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| chance("dpl"))
}

/// What stands before a program that needs a password.
const TAKE_PASSWORD: &str = "IFS= read -r PGPASSWORD && export PGPASSWORD";

impl Client {
    /// The connection string for a database, for work of ours: everything but the password.
    pub fn conninfo(&self, database: &str) -> String {
        let words = self.plain_conninfo(database);
        match self.limits.options() {
            Some(options) => format!("{words} {}", quoting::conninfo("options", &options)),
            None => words,
        }
    }

    /// The same with the settings that any other client gets, for what a person does themselves.
    pub fn plain_conninfo(&self, database: &str) -> String {
        let mut words = vec![
            quoting::conninfo("dbname", database),
            quoting::conninfo("user", &self.credentials.user),
            "connect_timeout='20'".to_owned(),
            quoting::conninfo("application_name", application_name()),
        ];
        match &self.endpoint {
            Endpoint::Socket => {}
            Endpoint::SocketIn { folder, port } => {
                words.extend([quoting::conninfo("host", folder), format!("port='{port}'")]);
            }
            Endpoint::Tcp { host, port } => {
                words.push(quoting::conninfo("host", host));
                words.extend(port.map(|port| format!("port='{port}'")));
                if matches!(host.as_str(), "127.0.0.1" | "::1") {
                    // Nothing of it leaves the machine; a server that insists on encryption gets it all the same.
                    words.push("sslmode='allow'".to_owned());
                }
            }
        }
        words.join(" ")
    }

    /// Where a program of PostgreSQL's is.
    pub fn program(&self, name: &str) -> String {
        self.bin_dir.as_ref().map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"))
    }

    /// Starts a program; the password, where there is one, has gone ahead on its input.
    pub async fn start(&self, program: &str, arguments: &[String]) -> Result<ExecSession, DatabasesError> {
        let shell = self.credentials.password.is_some().then(|| format!("{TAKE_PASSWORD} && exec \"$0\" \"$@\""));
        self.start_in(shell, program, arguments).await
    }

    /// Starts a shell's script that runs a program as `"$0" "$@"`, when and as often as it likes.
    pub async fn start_script(
        &self,
        script: &str,
        program: &str,
        arguments: &[String],
    ) -> Result<ExecSession, DatabasesError> {
        let shell = match self.credentials.password {
            Some(_) => format!("{TAKE_PASSWORD}\n{script}"),
            None => script.to_owned(),
        };
        self.start_in(Some(shell), program, arguments).await
    }

    async fn start_in(
        &self,
        shell: Option<String>,
        program: &str,
        arguments: &[String],
    ) -> Result<ExecSession, DatabasesError> {
        let program = self.program(program);
        let mut command: Vec<String> =
            shell.map(|script| vec!["sh".to_owned(), "-c".to_owned(), script]).unwrap_or_default();
        command.push(program);
        command.extend(arguments.iter().cloned());
        let environment = vec!["LC_MESSAGES=C".to_owned()];
        let spec = ExecSpec { command, environment, stdin: true, ..Default::default() };
        let mut session = self.engine.start_exec(&self.container, &spec).await?;
        if let Some(secret @ Secret(password)) = &self.credentials.password {
            secret.check()?;
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
        self.tool_with(program, database, arguments, b"").await
    }

    /// The same, with something on its standard input.
    ///
    /// # Errors
    /// As [`Client::tool`].
    pub async fn tool_with(
        &self,
        program: &'static str,
        database: &str,
        arguments: &[String],
        input: &[u8],
    ) -> Result<ExecResult, DatabasesError> {
        let result = self.run(program, arguments, input).await?;
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

    pub fn psql_arguments(&self, database: &str) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d"].map(str::to_owned).into();
        arguments.push(self.session_conninfo(database));
        arguments
    }

    /// The same for a restore. It does not wait for the disk after each statement: what makes the new database known to
    /// others does, and with it all that was written before is safe (PostgreSQL, "Asynchronous Commit").
    pub fn restoring_conninfo(&self, database: &str) -> String {
        let words = self.plain_conninfo(database);
        match self.limits.options() {
            Some(options) => {
                let options = format!("{options} -c synchronous_commit=off");
                format!("{words} {}", quoting::conninfo("options", &options))
            }
            None => words,
        }
    }

    /// Names travel as UTF-8 in both directions, whatever the database's encoding.
    pub fn session_conninfo(&self, database: &str) -> String {
        format!("{} client_encoding='UTF8'", self.conninfo(database))
    }

    /// Runs statements, and gives what they print. `operation` finishes "can't …".
    pub async fn execute(
        &self,
        database: &str,
        operation: Operation,
        statements: &str,
    ) -> Result<Vec<u8>, DatabasesError> {
        no_nul(operation, database, statements)?;
        if let Some(answer) = self.idle.run(self, database, operation, statements).await {
            return answer;
        }
        let result = self.run("psql", &self.psql_arguments(database), statements.as_bytes()).await?;
        if result.exit_code != 0 {
            let source = Said::new(&result.stderr);
            return Err(DatabasesError::Sql { operation: operation(), database: database.to_owned(), source });
        }
        Ok(result.stdout)
    }

    /// Runs one query that gives one JSON value.
    pub async fn query<T: DeserializeOwned>(
        &self,
        database: &str,
        operation: Operation,
        query: &str,
    ) -> Result<T, DatabasesError> {
        let stdout = self.execute(database, operation, &format!("{query};\n")).await?;
        serde_json::from_slice(&stdout).map_err(|source| DatabasesError::Answer { operation: operation(), source })
    }

    /// A session that lives on between statements: one that is kept, or a new one.
    pub async fn session(&self, database: &str) -> Result<Session, DatabasesError> {
        match self.idle.take(self, database).await {
            Some(session) => Ok(session.kept_by(self)),
            None => Ok(self.open_session(database).await?.kept_by(self)),
        }
    }

    /// A new one.
    pub async fn open_session(&self, database: &str) -> Result<Session, DatabasesError> {
        let mut session = self.open(database, &self.psql_arguments(database)).await?;
        session.run(|| message!("sql-prepare-a-session"), &self.session_settings()).await?;
        Ok(session)
    }

    /// What every session of ours begins with.
    pub fn session_settings(&self) -> String {
        match self.limits {
            // The server's version is not known yet: whatever it knows of limits on time, none may end an idle session.
            Limits::LiftKnown => format!("{SESSION_SETTINGS} {WITHOUT_LIMITS}"),
            limits => {
                let limits = limits.names().into_iter().map(|name| format!(" SET {name} = 0;"));
                SESSION_SETTINGS.to_owned() + &limits.collect::<String>()
            }
        }
    }

    /// Opens a session with psql's `options`, and with the settings that any other client gets.
    pub async fn plain_session(&self, database: &str, options: &[String]) -> Result<Session, DatabasesError> {
        let mut arguments = options.to_vec();
        arguments.extend(["-d".to_owned(), format!("{} client_encoding='UTF8'", self.plain_conninfo(database))]);
        self.open(database, &arguments).await
    }

    async fn open(&self, database: &str, arguments: &[String]) -> Result<Session, DatabasesError> {
        Ok(Session::new(self.start("psql", arguments).await?, database))
    }
}

/// What a session of ours needs beside [`Limits`]: no table's policy hides rows from it, and times are written as
/// `backup.json` has them, whatever the server's own style is.
const SESSION_SETTINGS: &str = "SET row_security = off; SET search_path = pg_catalog; SET DateStyle = 'ISO'; \
     SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;";

const WITHOUT_LIMITS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
     ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
     'transaction_timeout');";

/// A word that nothing else holds.
pub(in crate::databases) fn chance(kind: &str) -> String {
    format!("{kind}-{:016x}", std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lifted_as_far_as_the_server_knows_them() {
        let options = |version_number| Limits::Lift { version_number }.options().unwrap();
        assert_eq!(
            options(130_020),
            "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
        );
        assert!(options(150_000).ends_with("-c idle_session_timeout=0"));
        assert!(options(170_001).ends_with("-c idle_session_timeout=0 -c transaction_timeout=0"));
        assert_eq!(Limits::Leave.options(), None);
    }
}
