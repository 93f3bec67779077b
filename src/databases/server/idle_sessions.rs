//! psql processes that are kept between two uses: starting a program in a container takes longer than most answers, while
//! one that runs already is in another database after some milliseconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::Client;
use super::session::Session;
use crate::databases::error::{DatabasesError, Operation};

/// Sessions that nobody uses at the moment, all in the server's own database. Clones share them. They end with the last of
/// these; one without any keeps none.
#[derive(Clone, Default)]
pub(in crate::databases) struct IdleSessions(Option<Arc<Pool>>);

struct Pool {
    home: &'static str,
    idle: Mutex<Vec<Session>>,
}

/// More are seldom used at once, and each is a connection of the server's.
const MOST: usize = 2;

/// One that was used so shortly before is there, and is not asked.
const FRESH: Duration = Duration::from_millis(200);

impl IdleSessions {
    /// Not in `template1`: nobody else could create a database meanwhile.
    pub fn in_database(home: &'static str) -> Self {
        let pool = || Arc::new(Pool { home, idle: Mutex::default() });
        Self((home != "template1").then(pool))
    }

    /// One that was kept, in `database` now, with the settings of our sessions; `None` where there is none.
    pub async fn take(&self, client: &Client, database: &str) -> Option<Session> {
        let session = self.pop()?;
        match self.is_home(database) {
            true => answering(session).await,
            false => moved(session, client, database, &client.session_settings()).await,
        }
    }

    /// Runs statements in one, and gives what they print. `None` where they are to be run elsewhere: no session is kept, or
    /// none can be had. In another database than the server's own they meet the settings that any program would.
    pub async fn run(
        &self,
        client: &Client,
        database: &str,
        operation: Operation,
        statements: &str,
    ) -> Option<Result<Vec<u8>, DatabasesError>> {
        self.0.as_ref()?;
        let idle = self.pop();
        let mut session = match (idle, self.is_home(database)) {
            (Some(session), true) => answering(session).await,
            (Some(session), false) => moved(session, client, database, "").await,
            (None, _) => None,
        };
        if session.is_none() && self.is_home(database) {
            session = client.open_session(database).await.ok();
        }
        let mut session = session?;
        let answer = session.run(operation, statements).await;
        if answer.is_ok() {
            // What was asked is answered; one that does not come back is no loss.
            let _ = session.kept_by(client).give_back().await;
        }
        Some(answer)
    }

    /// Keeps a session that is in the server's own database again.
    pub fn put(&self, session: Session) {
        if let Some(pool) = &self.0 {
            lock(&pool.idle).push(session);
        }
    }

    /// The database that they are in; `None` where none are kept.
    pub fn home(&self) -> Option<&'static str> {
        self.0.as_ref().map(|pool| pool.home)
    }

    pub fn has_room(&self) -> bool {
        self.0.as_ref().is_some_and(|pool| lock(&pool.idle).len() < MOST)
    }

    /// Ends them: their database is about to be renamed.
    pub fn clear(&self) {
        if let Some(pool) = &self.0 {
            lock(&pool.idle).clear();
        }
    }

    fn pop(&self) -> Option<Session> {
        let mut session = lock(&self.0.as_ref()?.idle).pop()?;
        session.take_notices();
        Some(session)
    }

    fn is_home(&self, database: &str) -> bool {
        self.home() == Some(database)
    }
}

/// The server may have ended it since.
async fn answering(mut session: Session) -> Option<Session> {
    if session.idle_for() < FRESH {
        return Some(session);
    }
    session.run(|| message!("sql-ask-whether-the-server-is-there"), "SELECT 1;").await.is_ok().then_some(session)
}

async fn moved(mut session: Session, client: &Client, database: &str, settings: &str) -> Option<Session> {
    let conninfo = client.session_conninfo(database);
    session.go_to(database, &conninfo, settings).await.is_ok().then_some(session)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for IdleSessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("IdleSessions").field(&self.0.as_ref().map(|pool| pool.home)).finish()
    }
}
