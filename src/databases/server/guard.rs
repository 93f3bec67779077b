//! What opens a database again when this process dies while it is closed for a swap.
//!
//! A shell beside the server waits on its input: a word from us arms it just before the database is closed, another one ends
//! it, and the end of the input in between, which is the end of this process however it came, lets it allow connections to
//! the name again. It takes as long to start as a small database to restore, and does nothing until it is armed. It is no
//! child of ours and no part of a helper, so that it outlives both. A server or a machine that dies meanwhile takes it
//! along: then `recovery` does it with the next run.

use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::connect::Server;
use super::quoting::ident;
use crate::databases::error::{DatabasesError, Said};
use crate::engine::{ExecOutput, ExecSession};

/// Tries for two minutes: the renames may be under way on the server, and then it has to wait for them. The file tells
/// [`LINGERING`] that somebody is at work; in a server's own container nobody asks for it, and there may be no place to
/// write one: a redirection that fails ends a shell, but not the one around it.
const SCRIPT: &str = r#"mark=/tmp/dpl-guard-$$; trap 'rm -f "$mark"' EXIT; (: >"$mark") 2>/dev/null
echo set
IFS= read -r word && [ "$word" = closing ] || exit 0
echo armed
IFS= read -r word; [ "$word" = done ] && exit 0
turn=0
until "$0" "$@" </dev/null >/dev/null 2>&1; do
  turn=$((turn + 1)); [ "$turn" -lt 240 ] || exit 1; sleep 0.5
done"#;

/// What a container of ours waits with that guards run in: for the end of its input, and then for them, which would end
/// with it.
pub(in crate::databases) const LINGERING: &str = r#"cat; for mark in /tmp/dpl-guard-*; do
  while [ -e "$mark" ]; do sleep 0.1; done
done"#;

/// Whether a guard is at work where it runs; [`LINGERING`] goes by the same files.
pub(in crate::databases) const IS_SET: [&str; 3] = ["sh", "-c", "ls /tmp/dpl-guard-* >/dev/null 2>&1"];

/// So long one that was set ahead is relied on. Nothing goes over its connection meanwhile, which may be given up on the way: then
/// nobody would answer when it is armed, for as long as TCP tries.
const FRESH: Duration = Duration::from_secs(30);

/// A shell that waits for our end. Once it is armed it is to be told that all is well with [`Guard::stand_down`]; dropped
/// without it, it acts.
pub(in crate::databases) struct Guard {
    shell: ExecSession,
    database: String,
    since: Instant,
}

impl Guard {
    /// Sets one up for `database`, which is still open.
    pub async fn set(server: &Server, database: &str) -> Result<Self, DatabasesError> {
        let mut arguments = server.client.psql_arguments(server.maintenance(database));
        arguments.extend(["-c".to_owned(), format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", ident(database))]);
        let shell = server.client.start_script(SCRIPT, "psql", &arguments).await?;
        let mut guard = Self { shell, database: database.to_owned(), since: Instant::now() };
        // From its first word on it is there. One that ends instead could not be started: nothing has been closed yet.
        guard.hear().await?;
        Ok(guard)
    }

    /// Whether it was set a moment ago; an older one is better set again, and does nothing when it is dropped before it is armed.
    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < FRESH
    }

    /// From here on the end of this process opens the database; it is closed next.
    ///
    /// # Errors
    /// Nobody answers: nothing may be closed then.
    pub async fn arm(&mut self, server: &Server) -> Result<(), DatabasesError> {
        match self.tell_that_it_is_closed_next().await {
            // It has ended since it was set, and can't open anything in the middle of a swap any more.
            Err(DatabasesError::Tool { .. }) => {
                let another = Self::set(server, &self.database).await?;
                *self = another;
                self.tell_that_it_is_closed_next().await
            }
            told => told,
        }
    }

    async fn tell_that_it_is_closed_next(&mut self) -> Result<(), DatabasesError> {
        // One that is gone is found by its silence.
        let _ = self.shell.input.write_all(b"closing\n").await;
        let _ = self.shell.input.flush().await;
        self.hear().await
    }

    /// Waits for its next word. One that has ended instead is an error with its exit code.
    async fn hear(&mut self) -> Result<(), DatabasesError> {
        let mut said = Vec::new();
        while let Some(chunk) = self.shell.output.next().await {
            match chunk? {
                ExecOutput::Stdout(_) => return Ok(()),
                ExecOutput::Stderr(bytes) => said.extend_from_slice(&bytes),
            }
        }
        let (program, code) = ("sh", self.shell.exit_code().await?);
        Err(DatabasesError::Tool { program, database: self.database.clone(), code, source: Said::new(&said) })
    }

    /// The name takes connections, whatever it stands for now.
    pub async fn stand_down(mut self) {
        // Should it not hear that, it opens what is open.
        let _ = self.shell.input.write_all(b"done\n").await;
        let _ = self.shell.close_input().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn it_acts_at_the_end_of_its_input_once_it_is_armed_and_was_not_told_that_all_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let opened = folder.path().join("opened");
        for (input, acts) in
            [("", false), ("done\n", false), ("closing\n", true), ("closing\ndone\n", false), ("closing\ndo", true)]
        {
            let mut shell = Command::new("sh");
            shell.args(["-c", SCRIPT, "touch"]).arg(&opened).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut shell = shell.spawn().unwrap();
            // A shell that has its word ends before it has read the rest.
            let _ = shell.stdin.take().unwrap().write_all(input.as_bytes());
            let said = shell.wait_with_output().unwrap().stdout;
            let armed = input.starts_with("closing");
            assert_eq!(String::from_utf8_lossy(&said), if armed { "set\narmed\n" } else { "set\n" }, "{input:?}");
            assert_eq!(std::fs::remove_file(&opened).is_ok(), acts, "{input:?}");
        }
    }
}
