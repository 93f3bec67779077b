//! The lock on the server that is held while a database is replaced: two operators may work from two machines.

use crate::databases::archive::names;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::session::Session;

/// Nobody else replaces the database as long as this lives.
pub(super) struct DatabaseLock {
    session: Session,
    database: String,
}

impl DatabaseLock {
    /// Takes it, or says that somebody else has it.
    pub async fn take(server: &Server, database: &str) -> Result<Self, DatabasesError> {
        let mut session = server.maintenance_session(database).await?;
        let query = format!("SELECT to_json(pg_try_advisory_lock({}))", names::lock_key(database));
        match session.query(|| message!("sql-take-the-lock"), &query).await? {
            true => Ok(Self { session, database: database.to_owned() }),
            false => Err(DatabasesError::Busy { database: database.to_owned() }),
        }
    }

    /// Gives it back. It goes with the session too, but a server's process outlives its client by some moments: a command that
    /// comes at once would find it.
    pub async fn release(mut self) {
        let query = format!("SELECT to_json(pg_advisory_unlock({}))", names::lock_key(&self.database));
        let _: Result<bool, _> = self.session.query(|| message!("sql-take-the-lock"), &query).await;
        let _ = self.session.close().await;
    }
}
