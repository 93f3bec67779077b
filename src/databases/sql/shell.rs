//! `db shell`: the server's own psql, for a person at a terminal.
//!
//! It runs beside the server, in a container of its own that ends with this process: psql goes, and its transaction with it,
//! however this process ends. In the server's container it would stay, since an engine leaves a command running that
//! nobody attends to; and ended by a signal there, its pager would become the server's child, which takes a child that
//! dies by a signal for a crash of its own, and starts all again.
//!
//! The password takes the same way as elsewhere, the first line of what comes in; a terminal would echo it, so the shell
//! that reads it turns the echo off, and says that it is ready before anything is sent.

use bytes::Bytes;

use crate::databases::containers::helper::Helper;
use crate::databases::error::DatabasesError;
use crate::databases::server::client::{Secret, chance};
use crate::databases::server::connect::Server;
use crate::engine::ExecSpec;

/// `$0` is the line that says it is ready, then come psql and its arguments.
const SCRIPT: &str = r#"before=$(stty -g) && stty -echo || exit 1
echo "$0"
IFS= read -r PGPASSWORD || exit 1
[ -z "$PGPASSWORD" ] && unset PGPASSWORD || export PGPASSWORD
stty "$before"
exec "$@""#;

/// How psql comes to a terminal; to be ended with [`Shell::end`]. Dropped without it, the engine ends it a moment later.
pub struct Shell {
    helper: Helper,
    /// What is to be run with a terminal.
    pub spec: ExecSpec,
    /// The line that says that it is ready.
    pub mark: String,
}

impl Shell {
    /// psql in `database`, with the messages of the image's own language.
    pub async fn open(server: &Server, database: &str) -> Result<Self, DatabasesError> {
        if let Some(password) = &server.client.credentials.password {
            password.check()?;
        }
        let encoding = encoding_for(server, database).await;
        let helper = Helper::start_beside(server).await?;
        let client = &helper.client;
        let mark = chance("dpl-ready");
        let conninfo = client.plain_conninfo(database);
        let words = ["sh", "-c", SCRIPT, &mark, &client.program("psql"), "-w", "-d", &conninfo];
        // A history would be a file with all that was typed, passwords of new roles too.
        // At a terminal psql takes the encoding of its locale, whatever the connection's words say, but not against the variable.
        let encoding = format!("PGCLIENTENCODING={encoding}");
        let environment = ["PSQL_HISTORY=/dev/null", "LC_CTYPE=C.UTF-8", &encoding].map(str::to_owned).into();
        let command = words.map(str::to_owned).into();
        let spec = ExecSpec { command, environment, stdin: true, tty: true, ..Default::default() };
        Ok(Self { helper, spec, mark })
    }

    /// The container that it runs in.
    pub fn container(&self) -> &str {
        &self.helper.client.container
    }

    /// What its shell waits for before it becomes psql.
    pub fn first_line(&self) -> Bytes {
        let password = self.helper.client.credentials.password.as_ref().map_or("", Secret::text);
        format!("{password}\n").into()
    }

    /// Ends it, and psql if it still runs.
    pub async fn end(self) {
        self.helper.end().await;
    }
}

/// A database without an encoding gives what it has; told to be UTF-8, a value that is something else would be an error of the
/// server's. One that can't be asked is psql's to tell.
async fn encoding_for(server: &Server, database: &str) -> &'static str {
    const QUERY: &str = "SELECT to_json(pg_catalog.getdatabaseencoding())";
    let asked = server.client.query::<String>(database, || message!("sql-prepare-a-session"), QUERY).await;
    if asked.is_ok_and(|encoding| encoding == "SQL_ASCII") { "SQL_ASCII" } else { "UTF8" }
}
