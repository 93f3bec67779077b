//! `db rollback`: the way back to a database that was kept when it was replaced.
//!
//! The same swap as a rebuild's, with the kept one as the new one. Until it has its place it is called what tells the next
//! run that it was on its way; what it replaces is kept in its turn, so that the way leads forward again too.

use std::time::Duration;

use super::drop_old::kept_names;
use super::lock::DatabaseLock;
use super::preserve::Preservation;
use super::recovery;
use super::swap::{Dependents, SwapAroundServices};
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::documents::RollbackReport;
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::replace::examine::obstacles;
use crate::databases::replace::swap::renames::{self, Swap};
use crate::databases::server::connect::Server;
use crate::report::Reporter;

/// Puts the database that was kept last in the place of `database`.
pub async fn rollback(
    server: &Server,
    database: &str,
    dependents: &dyn Dependents,
    reporter: &Reporter,
) -> Result<RollbackReport, DatabasesError> {
    let lock = DatabaseLock::take(server, database).await?;
    let result = swap_back(server, database, dependents, reporter).await;
    lock.release().await;
    result
}

/// The database that a rollback would go back to, and all that are kept beside it, oldest first.
pub async fn kept_databases(server: &Server, database: &str) -> Result<Vec<String>, DatabasesError> {
    Ok(kept_names(database, &recovery::look(server).await?))
}

async fn swap_back(
    server: &Server,
    database: &str,
    dependents: &dyn Dependents,
    reporter: &Reporter,
) -> Result<RollbackReport, DatabasesError> {
    let recovered = recovery::recover(server, database, reporter).await?;
    recovered.tell_what_waits(database, reporter);
    if let Some(kept) = recovered.rolled_back {
        // It was done, and doing it again would undo it.
        return Ok(report(database, String::new(), Some(kept), Duration::ZERO, Duration::ZERO));
    }
    let Some(wanted) = kept_databases(server, database).await?.pop() else {
        return Err(DatabasesError::NothingKept { database: database.to_owned() });
    };
    let Some((_, stamp)) = names::read_beside(database, &wanted) else {
        return Err(DatabasesError::NothingKept { database: database.to_owned() });
    };
    // Slots and subscriptions go on in the database that they were made in, whatever it is called.
    let mut problems = obstacles::of(server, database).await?;
    problems.extend(obstacles::of(server, &wanted).await?);
    if !problems.is_empty() {
        return Err(DatabasesError::CannotRollBack { database: database.to_owned(), problems });
    }
    if reporter.asked_to_stop() {
        return Err(DatabasesError::Stopped { database: database.to_owned() });
    }
    if !server.has(database).await? {
        crate::failpoint!("databases.rollback.before-naming");
        renames::rename(server, &wanted, database).await?;
        renames::open(server, database).await?;
        return Ok(report(database, wanted, None, Duration::ZERO, Duration::ZERO));
    }
    let back = names::beside(database, BesideKind::Back, &stamp);
    crate::failpoint!("databases.rollback.before-mark");
    renames::rename(server, &wanted, &back).await?;
    crate::failpoint!("databases.rollback.after-mark");
    let now = names::stamp(jiff::Timestamp::now());
    let away = names::beside(database, BesideKind::Away, &now);
    let swap = Swap { database, new: &back, aside: &away };
    let exchange = SwapAroundServices { server, swap, dependents, reporter };
    match exchange.run(None, &Preservation::default()).await {
        Ok(exchanged) => {
            let kept = names::beside(database, BesideKind::Kept, &now);
            crate::failpoint!("databases.rollback.before-keep");
            renames::rename(server, &away, &kept).await?;
            Ok(report(database, wanted, Some(kept), exchanged.nameless, exchanged.dependents_stopped))
        }
        Err(error @ DatabasesError::AfterSwap { .. }) => Err(error),
        Err(error) => {
            if let Err(renaming) = renames::rename(server, &back, &wanted).await {
                let message = message!("databases-leftover-stays", name = back, reason = in_one_line(&renaming));
                reporter.warn(message);
            }
            Err(error)
        }
    }
}

fn report(
    database: &str,
    source: String,
    kept_as: Option<String>,
    nameless: Duration,
    stopped: Duration,
) -> RollbackReport {
    RollbackReport {
        database: database.to_owned(),
        source,
        kept_as,
        nameless_ms: nameless.as_millis() as u64,
        dependents_stopped_ms: stopped.as_millis() as u64,
    }
}
