//! `db rebuild` and `db restore`: a database replaced by what a dump holds, and never dropped before that is proved.
//!
//! The order is the guarantee: everything checked, a new database restored beside the present one and compared, the
//! dependents stopped, both renamed in one transaction, the dependents started, the old one backed up and only then
//! dropped. Killed anywhere, the name answers with all old rows or all new ones, and the next run clears up.

pub(super) mod drop_old;
mod earlier_run;
pub(super) mod examine;
pub(super) mod leftovers;
mod lock;
mod options;
pub(super) mod parallel;
pub(super) mod patches;
pub(super) mod preserve;
pub(super) mod recovery;
pub(super) mod restore;
pub(super) mod rollback;
mod streamed;
pub(super) mod swap;

use self::drop_old::DropOld;
use self::earlier_run::Earlier;
use self::examine::{Examined, Examining, Origin};
use self::lock::DatabaseLock;
pub use self::options::{Adaptation, Identity, NewDatabase, OwnerMap, Owners, Part, Placement, RebuildOptions, Repeat};
use self::preserve::Preservation;
use self::restore::Restore;
use self::swap::renames::{self, Swap};
use self::swap::{Dependents, SwapAroundServices, after_swap};
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::described::roles;
use crate::databases::documents::RebuildReport;
use crate::databases::dump::backup::Physical;
use crate::databases::dump::streamed::SMALL_BYTES;
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::server::connect::Server;
use crate::databases::server::guard::Guard;
use crate::report::{Listed, Reporter};

/// Rebuilds `database` from the dump that `origin` says. Errors other than
/// [`DatabasesError::AfterSwap`] mean that the present database is as it was.
pub async fn rebuild(
    server: &Server,
    database: &str,
    origin: Origin<'_>,
    dependents: &dyn Dependents,
    options: &RebuildOptions,
    reporter: &Reporter,
) -> Result<RebuildReport, DatabasesError> {
    let lock = DatabaseLock::take(server, database).await?;
    let result = Box::pin(Rebuild { server, database, origin, dependents, options, reporter }.run()).await;
    lock.release().await;
    match result {
        Err(error) => Err(server.explain(error).await),
        report => report,
    }
}

struct Rebuild<'a> {
    server: &'a Server,
    database: &'a str,
    origin: Origin<'a>,
    dependents: &'a dyn Dependents,
    options: &'a RebuildOptions,
    reporter: &'a Reporter,
}

/// A restored database, complete but for its place.
struct Complete {
    /// Its name for now.
    new: String,
    /// Whether there is one to be replaced.
    replaces: bool,
    report: RebuildReport,
}

/// One that can take the place of the present one, with the rows that live on.
struct Ready {
    complete: Complete,
    preservation: Preservation,
}

/// One that has its place.
struct InPlace {
    /// What the database is called that had it before; `None` where there was none.
    aside: Option<String>,
    report: RebuildReport,
}

/// The stages; each in a box of its own, since together they would overflow the 2 MiB stack of a test's thread.
impl Rebuild<'_> {
    async fn run(&self) -> Result<RebuildReport, DatabasesError> {
        let Self { server, database, options, reporter, .. } = *self;
        let recovered = recovery::recover(server, database, reporter).await?;
        let earlier = Earlier { server, database, options, reporter };
        if let Some(report) = Box::pin(earlier.finish(&recovered.to_drop)).await? {
            return Ok(report);
        }
        let examined = Box::pin(self.examine()).await?;
        let new = names::beside(database, BesideKind::New, &names::stamp(jiff::Timestamp::now()));
        let in_place = match Box::pin(self.put_in_place(examined, &new)).await {
            Ok(in_place) => in_place,
            Err(error) => {
                self.discard(&new).await;
                return Err(error.shown_as(&new, self.name()));
            }
        };
        Box::pin(self.drop_old(in_place)).await.map_err(|error| after_swap(database, error))
    }

    /// On an error the present database has its name and takes connections; the new one may be there still.
    async fn put_in_place(&self, examined: Examined, new: &str) -> Result<InPlace, DatabasesError> {
        // It takes as long to start as a small database to restore, and does nothing before it is needed. Where it can't be
        // set now, it is tried again then.
        let expected = &examined.expected;
        let is_wanted_soon = examined.replaces && expected.size_bytes.max(expected.bytes) <= SMALL_BYTES;
        let guarding = async {
            match is_wanted_soon {
                true => Guard::set(self.server, self.database).await.ok(),
                false => None,
            }
        };
        let (complete, guard) = futures::join!(Box::pin(self.restore(examined, new)), guarding);
        let complete = complete?;
        if !complete.replaces {
            renames::rename(self.server, new, self.name()).await?;
            return Ok(InPlace { aside: None, report: complete.report });
        }
        let ready = Box::pin(self.preserve(complete)).await?;
        Box::pin(self.swap(ready, guard)).await
    }

    async fn examine(&self) -> Result<Examined, DatabasesError> {
        let Self { server, database, origin, options, reporter, .. } = *self;
        let examined = Examining { server, database, origin, options, reporter }.run().await?;
        self.stop_if_asked()?;
        Ok(examined)
    }

    /// A new database beside the present one.
    async fn restore(&self, examined: Examined, new: &str) -> Result<Complete, DatabasesError> {
        roles::create(self.server, &examined.roles, self.reporter).await?;
        let restore = Restore {
            source: &examined.source,
            expected: &examined.expected,
            properties: &examined.properties,
            patches: &self.options.patches,
            adaptation: &self.options.adaptation,
            target: new,
            subject: self.name(),
            jobs: self.options.jobs,
            drop_follows: examined.replaces && self.options.old.kind() == BesideKind::Old,
        };
        let restored = restore.run(self.server, self.reporter).await?;
        crate::failpoint!("databases.rebuild.before-stop");
        self.stop_if_asked()?;
        let report = RebuildReport {
            database: self.name().to_owned(),
            source: examined.expected.label,
            created: !examined.replaces,
            tables: restored.tables,
            rows: restored.rows,
            patches: restored.patches,
            ..Default::default()
        };
        Ok(Complete { new: new.to_owned(), replaces: examined.replaces, report })
    }

    /// The rows that live on, planned and rehearsed.
    async fn preserve(&self, complete: Complete) -> Result<Ready, DatabasesError> {
        let Self { server, database, .. } = *self;
        let preservation = Preservation::plan(server, database, &complete.new, &self.options.preserve).await?;
        for table in &preservation.absent {
            self.reporter.warn(message!("databases-preserve-absent", database = database, table = table));
        }
        for (table, heirs) in &preservation.heirs {
            let heirs = Listed::of(heirs);
            self.reporter.warn(message!("databases-preserve-heirs", database = database, heirs = heirs, table = table));
        }
        tokio::select! {
            rehearsed = preservation.rehearse(server, database, &complete.new) => rehearsed?,
            () = self.reporter.stop_asked() => {
                server.cancel_statements().await;
                return Err(DatabasesError::Stopped { database: database.to_owned() });
            }
        }
        Ok(Ready { complete, preservation })
    }

    /// The dependents run again after it.
    async fn swap(&self, ready: Ready, guard: Option<Guard>) -> Result<InPlace, DatabasesError> {
        let Ready { complete: Complete { new, mut report, .. }, preservation } = ready;
        // Until now people have written to it: its name says when that ended.
        let stamp = names::stamp(jiff::Timestamp::now());
        let aside = self.free_name(&stamp).await?;
        let swap = SwapAroundServices {
            server: self.server,
            swap: Swap { database: self.database, new: &new, aside: &aside },
            dependents: self.dependents,
            reporter: self.reporter,
        };
        let swapped = swap.run(guard, &preservation).await?;
        report.nameless_ms = swapped.nameless.as_millis() as u64;
        report.dependents_stopped_ms = swapped.dependents_stopped.as_millis() as u64;
        report.preserved = swapped.preserved;
        Ok(InPlace { aside: Some(aside), report })
    }

    /// A name for the database that is replaced, which none has yet: small ones can be replaced twice in one second.
    async fn free_name(&self, stamp: &str) -> Result<String, DatabasesError> {
        let name = |stamp: &str| names::beside(self.database, self.options.old.kind(), stamp);
        let mut free = name(stamp);
        let mut count = 1;
        while self.server.has(&free).await? {
            count += 1;
            free = name(&format!("{stamp}-{count}"));
        }
        Ok(free)
    }

    /// What becomes of the database that was replaced.
    async fn drop_old(&self, in_place: InPlace) -> Result<RebuildReport, DatabasesError> {
        let InPlace { aside, mut report } = in_place;
        let Some(aside) = aside else { return Ok(report) };
        self.stop_if_asked()?;
        let Self { server, database, options, reporter, .. } = *self;
        let old = DropOld { server, database, policy: &options.old, reporter };
        if options.old.kind() == BesideKind::Kept {
            reporter.notice(message!("databases-old-kept", database = database, name = &aside));
            report.kept_as = Some(aside);
        } else {
            report.backup = old.run(Physical { name: &aside, since: None }).await?;
        }
        old.thin_out().await?;
        Ok(report)
    }

    /// The name that the new database gets.
    fn name(&self) -> &str {
        self.options.placement.name(self.database)
    }

    /// Drops a new database that won't be used; one that can't be dropped now goes with the next run.
    async fn discard(&self, new: &str) {
        let dropped = match self.server.has(new).await {
            Ok(false) => Ok(()),
            Ok(true) => renames::drop_aside(self.server, new).await,
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            self.reporter.warn(message!("databases-leftover-stays", name = new, reason = in_one_line(&error)));
        }
    }

    fn stop_if_asked(&self) -> Result<(), DatabasesError> {
        match self.reporter.asked_to_stop() {
            true => Err(DatabasesError::Stopped { database: self.database.to_owned() }),
            false => Ok(()),
        }
    }
}
