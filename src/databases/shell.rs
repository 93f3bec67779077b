//! `db shell`: the server's own psql, for a person at a terminal.
//!
//! The password takes the same way as elsewhere, the first line of what comes in; a terminal would echo it, so the shell
//! that reads it turns the echo off, and says that it is ready before anything is sent. That line tells its process,
//! which becomes psql: a shell beside it ends psql when this process ends, however that comes, since an engine leaves a
//! command running that nobody attends to, and a transaction of it would hold its locks for ever.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::error::DatabasesError;
use super::psql::{Secret, chance};
use super::server::Server;
use crate::engine::{ExecSession, ExecSpec};

/// `$0` is the line that says it is ready, then come psql and its arguments.
const SCRIPT: &str = r#"before=$(stty -g) && stty -echo || exit 1
echo "$0 $$"
IFS= read -r PGPASSWORD || exit 1
[ -z "$PGPASSWORD" ] && unset PGPASSWORD || export PGPASSWORD
stty "$before"
exec "$@""#;

/// `$0` is the process of psql: nobody's, once it was told that it has ended.
const WATCH: &str = r#"IFS= read -r word; [ "$word" = done ] || kill -HUP "$0""#;

/// How psql comes to a terminal. It lives as long as the server's container, or the one for the tools, which goes with the
/// [`Server`] that this was made from.
pub struct Shell<'a> {
    server: &'a Server,
    /// What is to be run with a terminal.
    pub spec: ExecSpec,
    /// The beginning of the line that says that it is ready; its process stands behind it.
    pub mark: String,
}

/// Ends psql when it is dropped, or gone with this process.
pub struct Watch {
    session: ExecSession,
}

impl<'a> Shell<'a> {
    /// psql in `database`, with the messages of the image's own language.
    pub fn new(server: &'a Server, database: &str) -> Result<Self, DatabasesError> {
        let client = &server.client;
        if let Some(password) = &client.credentials.password {
            password.check()?;
        }
        let mark = chance("dpl-ready");
        let conninfo = format!("{} client_encoding='UTF8'", client.conninfo(database));
        let words = ["sh", "-c", SCRIPT, &mark, &client.program("psql"), "-w", "-d", &conninfo];
        // A history would be a file with all that was typed, passwords of new roles too.
        let environment = ["PSQL_HISTORY=/dev/null", "LC_CTYPE=C.UTF-8"].map(str::to_owned).into();
        let command = words.map(str::to_owned).into();
        let spec = ExecSpec { command, environment, stdin: true, tty: true, ..Default::default() };
        Ok(Self { server, spec, mark })
    }

    /// The container that it runs in.
    pub fn container(&self) -> &str {
        &self.server.client.container
    }

    /// What its shell waits for before it becomes psql.
    pub fn first_line(&self) -> Bytes {
        let password = self.server.client.credentials.password.as_ref().map_or("", Secret::text);
        format!("{password}\n").into()
    }

    /// Sets somebody beside it who ends it when this process has ended.
    pub async fn watch(&self, process: &str) -> Result<Watch, DatabasesError> {
        let command = ["sh", "-c", WATCH, process].map(str::to_owned).into();
        let spec = ExecSpec { command, stdin: true, ..Default::default() };
        Ok(Watch { session: self.server.engine().start_exec(self.container(), &spec).await? })
    }
}

impl Watch {
    /// It has ended by itself, and its number may soon be another's.
    pub async fn stand_down(mut self) {
        // Should it not hear that, it signals a process that is most likely nobody's.
        let _ = self.session.input.write_all(b"done\n").await;
        let _ = self.session.close_input().await;
    }
}
