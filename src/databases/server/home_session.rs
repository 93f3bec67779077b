//! One session in the server's own database, kept between questions: starting a program in a container for each of them
//! takes longer than most of the answers.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::client::{Client, Session};
use crate::databases::error::DatabasesError;

/// A session that is kept; none where it is empty. Clones share it. It ends with the last of them.
#[derive(Clone, Default)]
pub(in crate::databases) struct HomeSession(Option<Arc<Kept>>);

struct Kept {
    database: &'static str,
    /// `None` before the first question, behind one that failed, and while one is asked.
    session: Mutex<Option<Session>>,
}

/// Whatever the server's version knows of limits on time, none may end a session that is idle for long.
const WITHOUT_LIMITS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
     ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
     'transaction_timeout');";

impl HomeSession {
    /// Not in `template1`: nobody else could create a database meanwhile.
    pub fn keeping(database: &'static str) -> Self {
        let kept = || Arc::new(Kept { database, session: Mutex::default() });
        Self((database != "template1").then(kept))
    }

    /// Runs statements in it, and gives what they print; `None` where they are to be run elsewhere: they are for another
    /// database, or the session is at work, or can't be had.
    pub async fn run(
        &self,
        client: &Client,
        database: &str,
        operation: &'static str,
        statements: &str,
    ) -> Option<Result<Vec<u8>, DatabasesError>> {
        let kept = self.0.as_ref().filter(|kept| kept.database == database)?;
        let mut place = kept.session.try_lock().ok()?;
        // Taken out while it is used: somebody who stops listening leaves it with an answer that is not read.
        let mut session = match place.take() {
            Some(session) => answering(session).await,
            None => None,
        };
        if session.is_none() {
            session = open(client, database).await;
        }
        let mut session = session?;
        let answer = session.run(operation, statements).await;
        if answer.is_ok() {
            *place = Some(session);
        }
        Some(answer)
    }
}

/// The server may have ended it since.
async fn answering(mut session: Session) -> Option<Session> {
    session.take_notices();
    session.run("ask whether it is there", "SELECT 1;").await.is_ok().then_some(session)
}

async fn open(client: &Client, database: &str) -> Option<Session> {
    let mut session = client.session(database).await.ok()?;
    session.run("prepare a session", WITHOUT_LIMITS).await.ok()?;
    Some(session)
}

impl std::fmt::Debug for HomeSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("HomeSession").field(&self.0.as_ref().map(|kept| kept.database)).finish()
    }
}
