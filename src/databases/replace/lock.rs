//! The lock on the server that is held while a database is replaced: two operators may work from two machines.

use crate::databases::archive::names;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::session::Session;

/// Nobody else replaces the database as long as this lives.
pub(super) struct DatabaseLock(Session);

impl DatabaseLock {
    /// Takes it, or says that somebody else has it.
    pub async fn take(server: &Server, database: &str) -> Result<Self, DatabasesError> {
        let mut session = server.maintenance_session(database).await?;
        let query = format!("SELECT to_json(pg_try_advisory_lock({}))", names::lock_key(database));
        match session.query(|| message!("sql-take-the-lock"), &query).await? {
            true => Ok(Self(session)),
            false => Err(DatabasesError::Busy { database: database.to_owned() }),
        }
    }

    /// The lock goes with the session, and it with its input, whether it says goodbye or not.
    pub async fn release(self) {
        let _ = self.0.close().await;
    }
}
