//! `db rebuild` and `db restore`: a database replaced by what a dump holds, and never dropped before that is proved.
//!
//! The order is the guarantee: everything checked, a new database restored beside the present one and compared, the
//! dependents stopped, both renamed in one transaction, the dependents started, the old one backed up and only then
//! dropped. Killed anywhere, the name answers with all old rows or all new ones, and the next run clears up.

pub(super) mod drop_old;
pub(super) mod examine;
pub(super) mod leftovers;
pub(super) mod patches;
pub(super) mod preserve;
pub(super) mod recovery;
pub(super) mod restore;
pub(super) mod rollback;
pub(super) mod swap;

use std::time::Duration;

use self::drop_old::{DropOld, OldDatabase, aside_since};
use self::examine::{Examined, Origin};
use self::patches::Patches;
use self::preserve::{Preservation, PreservedRows};
use self::restore::Restore;
use self::swap::{Dependents, SwapAroundServices, after_swap};
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::described::roles::{self, MissingRoles};
use crate::databases::documents::{BackupDocument, PreserveReport, RebuildReport};
use crate::databases::dump::Jobs;
use crate::databases::dump::backup::{BackupSettings, Physical, Shrink};
use crate::databases::error::DatabasesError;
use crate::databases::replace::swap::renames::{self, Swap};
use crate::databases::server::client::Session;
use crate::databases::server::connect::Server;
use crate::report::{Reporter, in_one_line};

/// How to rebuild.
#[derive(Debug, Clone)]
pub struct RebuildOptions {
    pub jobs: Jobs,
    pub old: OldDatabase,
    /// How what a killed run had replaced is backed up before it is dropped, whatever becomes of the old one of this run.
    /// Where `None`, there is no place for that, and it stays.
    pub leftovers: Option<BackupSettings>,
    /// Whether a source without tables may replace rows.
    pub shrink: Shrink,
    pub missing_roles: MissingRoles,
    pub new: NewDatabase,
    pub patches: Patches,
    pub preserve: Vec<PreservedRows>,
    pub placement: Placement,
    pub repeat: Repeat,
    /// Whether the dump may be one of another database.
    pub identity: Identity,
}

/// What becomes of a run that finds the end of an earlier one still to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeat {
    /// It does that, and replaces nothing: people may have worked with the new database since.
    #[default]
    FinishEarlier,
    /// It replaces the database once more.
    Again,
}

/// Whose dump it may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Identity {
    /// The database's own: a record that names another one is refused.
    #[default]
    Same,
    /// Anyone's, since somebody said so.
    Any,
}

/// Where the new database goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// To the place of the present one.
    Replace,
    /// Beside it, under this name; nothing is replaced, stopped or preserved.
    Beside(String),
}

/// What a database that does not exist yet is created with; the source's where `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDatabase {
    pub owner: Option<String>,
    pub encoding: Option<String>,
    pub locale: Option<String>,
}

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
    let guard = take_lock(server, database).await?;
    // Each stage in a box of its own: together they are more than a thread's stack likes to hold.
    let result = Box::pin(Rebuild { server, database, origin, dependents, options, reporter }.run()).await;
    // The lock goes with the session, and it with its input, whether it says goodbye or not.
    let _ = guard.close().await;
    match result {
        Err(error) => Err(server.explain(error).await),
        report => report,
    }
}

/// Opens, drops and keeps again what a killed run left of a database, as far as that needs no backup; the rest, and the
/// words for it, are the next rebuild's. Does nothing where somebody is at work on it.
pub async fn recover(server: &Server, database: &str, reporter: &Reporter) -> Result<(), DatabasesError> {
    let guard = match take_lock(server, database).await {
        Err(DatabasesError::Busy { .. }) => return Ok(()),
        guard => guard?,
    };
    let recovered = match recovery::recover(server, database, reporter).await {
        Ok(recovered) => {
            for name in recovered.to_drop {
                let message = message!("databases-leftover-waits", database = database, name = name);
                reporter.warn(message);
            }
            Ok(())
        }
        // For a person to judge, and a rebuild says so.
        Err(DatabasesError::Orphaned { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    let _ = guard.close().await;
    recovered
}

/// A lock on the server itself: two operators may work from two machines.
pub(in crate::databases) async fn take_lock(server: &Server, database: &str) -> Result<Session, DatabasesError> {
    let mut session = server.maintenance_session(database).await?;
    let query = format!("SELECT to_json(pg_try_advisory_lock({}))", names::lock_key(database));
    match session.query("take the lock", &query).await? {
        true => Ok(session),
        false => Err(DatabasesError::Busy { database: database.to_owned() }),
    }
}

pub(in crate::databases) struct Rebuild<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    pub origin: Origin<'a>,
    pub dependents: &'a dyn Dependents,
    pub options: &'a RebuildOptions,
    pub reporter: &'a Reporter,
}

impl Rebuild<'_> {
    async fn run(&self) -> Result<RebuildReport, DatabasesError> {
        let recovered = recovery::recover(self.server, self.database, self.reporter).await?;
        if let Some(finished) = Box::pin(self.finish_earlier(&recovered.to_drop)).await? {
            return Ok(finished);
        }
        let examined = Box::pin(self.examine()).await?;
        self.stop_if_asked()?;
        roles::create(self.server, &examined.roles, self.reporter).await?;
        let new = names::beside(self.database, BesideKind::New, &names::stamp(jiff::Timestamp::now()));
        let replaced = match Box::pin(self.replace(&examined, &new)).await {
            Ok(replaced) => replaced,
            Err(error) => {
                self.discard(&new).await;
                return Err(error);
            }
        };
        let finished = Box::pin(self.finish(replaced.aside.as_deref())).await;
        let backup = finished.map_err(|error| self.after_swap(error))?;
        Ok(RebuildReport {
            database: self.name().to_owned(),
            source: examined.expected.label,
            created: !examined.replaces,
            tables: replaced.tables,
            rows: replaced.rows,
            nameless_ms: replaced.nameless.as_millis() as u64,
            dependents_stopped_ms: replaced.dependents_stopped.as_millis() as u64,
            patches: replaced.patches,
            preserved: replaced.preserved,
            backup,
            kept_as: replaced.aside.filter(|_| self.options.old.kind() == BesideKind::Kept),
            finished_earlier: false,
        })
    }

    /// Does what an earlier run left to be done behind its swap, and gives its report where nothing else is to be done. What
    /// can't be backed up or dropped is put aside for a person, and stands in nobody's way from then on.
    async fn finish_earlier(&self, leftovers: &[String]) -> Result<Option<RebuildReport>, DatabasesError> {
        let mut finished = None;
        for old in leftovers {
            let Some(policy) = self.leftover_policy(old) else { continue };
            match self.drop_leftover(old, &policy).await {
                Ok(backup) => {
                    let database = self.database.to_owned();
                    finished = Some(RebuildReport { database, backup, finished_earlier: true, ..Default::default() });
                }
                Err(error) if error.is_stop() => return Err(error),
                Err(error) => {
                    let left = names::beside(self.database, BesideKind::Left, stamp_in(self.database, old).as_str());
                    // One that can't even get another name stays as it is, and is tried once more by the next run.
                    let renamed = renames::rename(self.server, old, &left).await;
                    let left = if renamed.is_ok() { left } else { old.clone() };
                    let message = message!("databases-left-aside", name = &left, database = self.database);
                    self.reporter.warn(message);
                    if self.options.repeat == Repeat::FinishEarlier {
                        return Err(self.after_swap(error));
                    }
                    self.reporter.warn(message!("databases-leftover-stays", name = left, reason = in_one_line(&error)));
                }
            }
        }
        Ok(finished.filter(|_| self.options.repeat == Repeat::FinishEarlier))
    }

    /// The name that the new database gets.
    pub fn name(&self) -> &str {
        match &self.options.placement {
            Placement::Replace => self.database,
            Placement::Beside(name) => name,
        }
    }

    /// Somebody's only copy of the old rows, maybe: never dropped without a backup where one can be made, whatever this run
    /// was told of the database that it replaces itself, and left alone by a run that replaces nothing.
    fn leftover_policy(&self, old: &str) -> Option<OldDatabase> {
        let (message, policy) = match (&self.options.placement, &self.options.old, &self.options.leftovers) {
            (Placement::Beside(_), _, _) => {
                (message!("databases-leftover-waits", database = self.database, name = old), None)
            }
            (Placement::Replace, _, Some(settings)) => (
                message!("databases-leftover-finishing", database = self.database, name = old),
                Some(OldDatabase::BackUpAndDrop(settings.clone())),
            ),
            (Placement::Replace, OldDatabase::Drop, None) => (
                message!("databases-leftover-finishing", database = self.database, name = old),
                Some(OldDatabase::Drop),
            ),
            (Placement::Replace, _, None) => {
                (message!("databases-leftover-without-place", database = self.database, name = old), None)
            }
        };
        self.reporter.warn(message);
        policy
    }

    async fn drop_leftover(&self, old: &str, policy: &OldDatabase) -> Result<Option<BackupDocument>, DatabasesError> {
        let Self { server, database, reporter, .. } = self;
        DropOld { server, database, policy, reporter }.run(aside_since(database, old)).await
    }

    fn drop_old(&self) -> DropOld<'_> {
        let Self { server, database, reporter, options, .. } = self;
        DropOld { server, database, policy: &options.old, reporter }
    }

    /// Everything up to the swap, and the dependents running again after it. On an error the present database has its name
    /// and takes connections; the new one may be there still.
    async fn replace(&self, examined: &Examined, new: &str) -> Result<Replaced, DatabasesError> {
        let restore = Restore {
            source: &examined.source,
            expected: &examined.expected,
            properties: &examined.properties,
            patches: &self.options.patches,
            target: new,
            subject: self.name(),
            jobs: self.options.jobs,
            drop_follows: examined.replaces && self.options.old.kind() == BesideKind::Old,
        };
        let restored = Box::pin(restore.run(self.server, self.reporter)).await?;
        let mut replaced =
            Replaced { tables: restored.tables, rows: restored.rows, patches: restored.patches, ..Default::default() };
        crate::failpoint!("databases.rebuild.before-stop");
        self.stop_if_asked()?;
        if !examined.replaces {
            renames::rename(self.server, new, self.name()).await?;
            return Ok(replaced);
        }
        let preserve = self.plan_preservation(new).await?;
        // Until now people have written to it: its name says when that ended.
        let stamp = names::stamp(jiff::Timestamp::now());
        let aside = names::beside(self.database, self.options.old.kind(), &stamp);
        let exchange = SwapAroundServices {
            server: self.server,
            swap: Swap { database: self.database, new, aside: &aside },
            dependents: self.dependents,
            reporter: self.reporter,
        };
        let exchanged = Box::pin(exchange.run(&preserve)).await?;
        replaced.nameless = exchanged.nameless;
        replaced.dependents_stopped = exchanged.dependents_stopped;
        replaced.preserved = exchanged.preserved;
        replaced.aside = Some(aside);
        Ok(replaced)
    }

    async fn plan_preservation(&self, new: &str) -> Result<Preservation, DatabasesError> {
        let plan = Preservation::plan(self.server, self.database, new, &self.options.preserve).await?;
        for table in &plan.absent {
            let message = message!("databases-preserve-absent", database = self.database, table = table);
            self.reporter.warn(message);
        }
        plan.rehearse(self.server, self.database, new).await?;
        Ok(plan)
    }

    /// What becomes of the database that was replaced.
    async fn finish(&self, aside: Option<&str>) -> Result<Option<BackupDocument>, DatabasesError> {
        let Some(aside) = aside else { return Ok(None) };
        self.stop_if_asked()?;
        let document = match self.options.old.kind() {
            BesideKind::Kept => {
                let message = message!("databases-old-kept", database = self.database, name = aside);
                self.reporter.notice(message);
                None
            }
            _ => self.drop_old().run(Physical { name: aside, since: None }).await?,
        };
        self.drop_old().thin_out().await?;
        Ok(document)
    }

    /// Drops a new database that won't be used; one that can't be dropped now goes with the next run.
    async fn discard(&self, new: &str) {
        let dropped = match self.server.has(new).await {
            Ok(false) => Ok(()),
            Ok(true) => renames::drop_aside(self.server, new).await,
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            let message = message!("databases-leftover-stays", name = new, reason = in_one_line(&error));
            self.reporter.warn(message);
        }
    }

    fn stop_if_asked(&self) -> Result<(), DatabasesError> {
        match self.reporter.asked_to_stop() {
            true => Err(DatabasesError::Stopped { database: self.database.to_owned() }),
            false => Ok(()),
        }
    }

    fn after_swap(&self, error: DatabasesError) -> DatabasesError {
        after_swap(self.database, error)
    }
}

/// The stamp in the name of a database beside another.
fn stamp_in(database: &str, beside: &str) -> String {
    let read = names::read_beside(database, beside);
    read.map_or_else(|| names::stamp(jiff::Timestamp::now()), |(_, stamp)| stamp)
}

/// What came of it, up to the swap.
#[derive(Debug, Default)]
struct Replaced {
    tables: u64,
    rows: u64,
    patches: Vec<crate::databases::documents::PatchReport>,
    preserved: Vec<PreserveReport>,
    nameless: Duration,
    dependents_stopped: Duration,
    /// The replaced database's name; `None` where there was none.
    aside: Option<String>,
}
