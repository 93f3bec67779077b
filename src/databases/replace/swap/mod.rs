//! The swap with the services that use the database out of the way: stopped before it, started again whatever comes of it.

pub(in crate::databases) mod renames;

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use self::renames::{Swap, SwapOutcome};
use crate::databases::archive::names;
use crate::databases::documents::PreserveReport;
use crate::databases::error::{DatabasesError, DependentsOperation, in_one_line};
use crate::databases::replace::preserve::Preservation;
use crate::databases::server::client::application_name;
use crate::databases::server::connect::Server;
use crate::databases::server::guard::Guard;
use crate::databases::server::quoting::literal;
use crate::report::{Activity, Reporter};

/// The services that use a database: implemented by a module that knows them, to stop and start them.
pub trait Dependents: Send + Sync {
    /// Stops those that run; what fails leaves them as it can, and [`Dependents::start`] is called then too.
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>>;
    /// Starts what [`Dependents::stop`] stopped.
    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>>;
}

/// Whatever kept the services from stopping or starting.
pub type DependentsError = Box<dyn std::error::Error + Send + Sync>;

/// A swap with the dependents out of the way.
pub(in crate::databases) struct SwapAroundServices<'a> {
    pub server: &'a Server,
    pub swap: Swap<'a>,
    pub dependents: &'a dyn Dependents,
    pub reporter: &'a Reporter,
}

/// What an exchange came to.
#[derive(Debug, Default)]
pub(in crate::databases) struct Swapped {
    pub nameless: Duration,
    pub dependents_stopped: Duration,
    pub preserved: Vec<PreserveReport>,
}

impl SwapAroundServices<'_> {
    /// Stops the dependents, swaps, and starts them again, whether or not the swap was done. Who guards the swap may have
    /// been set before.
    pub async fn run(&self, guard: Option<Guard>, preservation: &Preservation) -> Result<Swapped, DatabasesError> {
        let (reporter, database) = (self.reporter, self.swap.database);
        self.ensure_locked().await?;
        let begun = Instant::now();
        let setting = async {
            match guard.filter(Guard::is_fresh) {
                Some(guard) => Ok(guard),
                None => Guard::set(self.server, database).await,
            }
        };
        let (guard, stopped) = futures::join!(setting, self.dependents.stop());
        let stopped = stopped.map_err(|error| self.failed(DependentsOperation::Stop, error));
        let began = stopped.is_ok() && !reporter.asked_to_stop();
        let swapped = match stopped {
            // Stopping them takes a while, and somebody may have thought better of it.
            Ok(()) if !began => Err(DatabasesError::Stopped { database: database.to_owned() }),
            Ok(()) => {
                reporter.began(Activity::SwapDatabase, database, None);
                let swapped = match guard {
                    Ok(guard) => self.swap.run(self.server, guard, preservation, reporter).await,
                    Err(error) => Err(error),
                };
                swapped.map_err(|error| error.shown_as(self.swap.new, database))
            }
            Err(error) => Err(error),
        };
        crate::failpoint!("databases.rebuild.before-start");
        let started = self.dependents.start().await.map_err(|error| self.failed(DependentsOperation::Start, error));
        match (swapped, started) {
            (Ok(SwapOutcome { nameless, preserved }), Ok(())) => {
                let message = message!("databases-swapped", milliseconds = nameless.as_millis());
                reporter.done(Activity::SwapDatabase, database, message);
                Ok(Swapped { nameless, dependents_stopped: begun.elapsed(), preserved })
            }
            (Ok(_), Err(error)) => {
                let error = after_swap(database, error);
                reporter.failed(Activity::SwapDatabase, database, &error);
                Err(error)
            }
            (Err(error), started) => {
                // A swap that was not begun because somebody asked for the end has not failed.
                if began || !error.is_stop() {
                    reporter.failed(Activity::SwapDatabase, database, &error);
                }
                if let Err(starting) = started {
                    // The swap's own error is the one to return; that services are down must be said all the same.
                    let message =
                        message!("databases-dependents-down", database = database, reason = in_one_line(&starting));
                    reporter.warn(message);
                }
                Err(error)
            }
        }
    }

    /// The session with the lock has waited through the restore. Where it ended meanwhile, somebody else may have begun.
    async fn ensure_locked(&self) -> Result<(), DatabasesError> {
        let (server, database) = (self.server, self.swap.database);
        let key = names::lock_key(database);
        let query = format!(
            "SELECT to_json(EXISTS (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.application_name = {} \
             AND (l.classid::bigint << 32) | l.objid::bigint = {key}))",
            literal(application_name())
        );
        match server.client.query(server.maintenance(database), || message!("sql-look-for-the-lock"), &query).await? {
            true => Ok(()),
            false => Err(DatabasesError::LockLost { database: database.to_owned() }),
        }
    }

    fn failed(&self, operation: DependentsOperation, source: DependentsError) -> DatabasesError {
        DatabasesError::Dependents { operation, database: self.swap.database.to_owned(), source }
    }
}

/// An error of which the new database is in its place all the same.
pub(in crate::databases) fn after_swap(database: &str, error: DatabasesError) -> DatabasesError {
    match error {
        already @ DatabasesError::AfterSwap { .. } => already,
        error => DatabasesError::AfterSwap { database: database.to_owned(), source: Box::new(error) },
    }
}
