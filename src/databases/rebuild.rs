//! `db rebuild` and `db restore`: a database replaced by what a dump holds, and never dropped before that is proved.
//!
//! The order is the guarantee: everything checked, a new database restored beside the present one and compared, the
//! dependents stopped, both renamed in one transaction, the dependents started, the old one backed up and only then
//! dropped. Killed anywhere, the name answers with all old rows or all new ones, and the next run clears up.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::backup::{BackupSettings, Shrink};
use super::documents::{BackupDocument, PreserveReport, RebuildReport};
use super::dump::Jobs;
use super::error::DatabasesError;
use super::fitness;
use super::inventory::{Inventory, Role};
use super::names::{self, BesideKind};
use super::patches::Patches;
use super::preserve::{Preservation, PreservedRows};
use super::properties::Properties;
use super::psql::Session;
use super::recovery;
use super::restore::Restore;
use super::retire::{OldDatabase, Retirement};
use super::roles::{self, MissingRoles};
use super::server::Server;
use super::source::{Expected, Mark, Source};
use super::swap::{self, Swap, SwapOutcome};
use crate::report::{Activity, Message, Reporter, in_one_line};

/// The services that use a database: whoever knows them stops and starts them.
pub trait Dependents: Send + Sync {
    /// Stops those that run; what fails leaves them as it can, and [`Dependents::start`] is called then too.
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>>;
    /// Starts what [`Dependents::stop`] stopped.
    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>>;
}

/// Whatever kept the services from stopping or starting.
pub type DependentsError = Box<dyn std::error::Error + Send + Sync>;

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

/// Where the rows come from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// One of our folders, or an archive of pg_dump's.
    Path(&'a Path),
    /// The same, read through already; anew where somebody has touched it since.
    Examined(&'a Examination),
}

/// A dump that [`examine`] read from its first byte to its last.
#[derive(Debug, Clone)]
pub struct Examination {
    source: Source,
    expected: Expected,
    marks: Vec<Mark>,
}

impl Origin<'_> {
    fn path(&self) -> &Path {
        match self {
            Origin::Path(path) => path,
            Origin::Examined(examination) => &examination.source.path,
        }
    }
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

/// What would keep [`rebuild`] from beginning, as it finds it itself; for those who have several to do, and want to begin
/// with none before all of them can be done. What was read need not be read again: [`Origin::Examined`].
pub async fn examine(
    server: &Server,
    database: &str,
    source: &Path,
    options: &RebuildOptions,
    reporter: &Reporter,
) -> Result<Examination, DatabasesError> {
    let rebuild = Rebuild { server, database, origin: Origin::Path(source), dependents: &Nobody, options, reporter };
    let Examined { source, expected, .. } = Box::pin(rebuild.examine()).await?;
    Ok(Examination { marks: source.marks()?, source, expected })
}

/// Stands for the services where none is touched.
struct Nobody;

impl Dependents for Nobody {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Opens, drops and keeps again what a killed run left of a database, as far as that needs no backup; the rest, and the
/// words for it, are the next rebuild's. Does nothing where somebody is at work on it.
pub async fn mend(server: &Server, database: &str, reporter: &Reporter) -> Result<(), DatabasesError> {
    let guard = match take_lock(server, database).await {
        Err(DatabasesError::Busy { .. }) => return Ok(()),
        guard => guard?,
    };
    let mended = match recovery::mend(server, database, reporter).await {
        Ok(mended) => {
            for name in mended.to_retire {
                let message = Message::new("databases-leftover-waits").with("database", database);
                reporter.warn(message.with("name", name));
            }
            Ok(())
        }
        // For a person to judge, and a rebuild says so.
        Err(DatabasesError::Orphaned { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    let _ = guard.close().await;
    mended
}

/// A lock on the server itself: two operators may work from two machines.
pub(super) async fn take_lock(server: &Server, database: &str) -> Result<Session, DatabasesError> {
    let mut session = server.maintenance_session(database).await?;
    let query = format!("SELECT to_json(pg_try_advisory_lock({}))", names::lock_key(database));
    match session.query("take the lock", &query).await? {
        true => Ok(session),
        false => Err(DatabasesError::Busy { database: database.to_owned() }),
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

/// What was found before anything was made.
struct Examined {
    source: Source,
    expected: Expected,
    properties: Properties,
    /// Those that the server lacks and somebody wants to be made.
    roles: Vec<Role>,
    /// Whether there is a database to be replaced.
    replaces: bool,
}

impl Rebuild<'_> {
    async fn run(&self) -> Result<RebuildReport, DatabasesError> {
        for old in recovery::mend(self.server, self.database, self.reporter).await?.to_retire {
            Box::pin(self.retire_leftover(&old)).await?;
        }
        let examined = Box::pin(self.examine()).await?;
        self.stop_if_asked()?;
        roles::create(self.server, &examined.roles, self.reporter).await?;
        let stamp = names::stamp(jiff::Timestamp::now());
        let new = names::beside(self.database, BesideKind::New, &stamp);
        let replaced = match Box::pin(self.replace(&examined, &new, &stamp)).await {
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
        })
    }

    /// The name that the new database gets.
    fn name(&self) -> &str {
        match &self.options.placement {
            Placement::Replace => self.database,
            Placement::Beside(name) => name,
        }
    }

    /// Somebody's only copy of the old rows, maybe: never dropped without a backup, and left alone by a run that replaces
    /// nothing.
    async fn retire_leftover(&self, old: &str) -> Result<(), DatabasesError> {
        let (message, policy) = match (&self.options.placement, &self.options.leftovers) {
            (Placement::Beside(_), _) => (Message::new("databases-leftover-waits"), None),
            (Placement::Replace, None) => (Message::new("databases-leftover-without-place"), None),
            (Placement::Replace, Some(settings)) => {
                (Message::new("databases-leftover-retired"), Some(OldDatabase::BackUpAndDrop(settings.clone())))
            }
        };
        self.reporter.warn(message.with("database", self.database).with("name", old));
        let Some(policy) = policy else { return Ok(()) };
        let Self { server, database, reporter, .. } = self;
        Retirement { server, database, policy: &policy, reporter }.retire(old).await.map(drop)
    }

    fn retirement(&self) -> Retirement<'_> {
        let Self { server, database, reporter, options, .. } = self;
        Retirement { server, database, policy: &options.old, reporter }
    }

    /// Everything that can be known beforehand, and all that is wrong with it at once.
    async fn examine(&self) -> Result<Examined, DatabasesError> {
        let server = self.server;
        let (source, verified) = self.read_through().await?;
        let present = Properties::read(&server.client, server.maintenance(self.database), self.database).await?;
        let replaces = present.is_some() && self.options.placement == Placement::Replace;
        let mut problems = Vec::new();
        let known = verified.as_ref().ok().cloned().or_else(|| source.known());
        let mut properties = None;
        let mut roles = Vec::new();
        if let Some(expected) = &known {
            let own = match present {
                Some(present) => present,
                None => self.options.new.apply(server, expected).await?,
            };
            let findings = fitness::look(server, self.database, expected, &own, self.options.missing_roles).await?;
            problems.extend(findings.problems);
            roles = findings.roles;
            properties = Some(own);
        }
        problems.extend(self.options.patches.problems());
        if replaces {
            problems.extend(Preservation::problems_of(server, self.database, &self.options.preserve).await?);
            if known.is_some_and(|expected| expected.tables.is_empty()) && self.options.shrink == Shrink::Refuse {
                problems.extend(self.emptying().await?);
            }
        }
        if let Placement::Beside(name) = &self.options.placement
            && server.has(name).await?
        {
            problems.push(format!("there is a database `{name}` already; choose another name"));
        }
        match (verified, properties) {
            (Ok(expected), Some(properties)) if problems.is_empty() => {
                Ok(Examined { source, expected, properties, roles, replaces })
            }
            (Err(error), _) if problems.is_empty() => Err(error),
            (verified, _) => {
                if let Err(error) = verified {
                    problems.insert(0, in_one_line(&error));
                }
                let (database, source_path) = (self.name().to_owned(), self.origin.path().to_owned());
                Err(DatabasesError::Unfit { database, source_path, problems })
            }
        }
    }

    /// The dump, and what must come out of it once all of it was read.
    async fn read_through(&self) -> Result<(Source, Result<Expected, DatabasesError>), DatabasesError> {
        if let Origin::Examined(Examination { source, expected, marks }) = self.origin
            && source.marks()? == *marks
        {
            return Ok((source.clone(), Ok(expected.clone())));
        }
        let source = Source::open(self.origin.path(), &self.server.client.engine)?;
        let verified = Box::pin(source.verify(self.server, self.reporter)).await;
        Ok((source, verified))
    }

    /// What would be lost to a source that holds no tables.
    async fn emptying(&self) -> Result<Option<String>, DatabasesError> {
        let mut session = self.server.client.session(self.database).await?;
        let mut tables = Inventory::read(&mut session).await?.tables;
        Inventory::count(&mut session, &mut tables).await?;
        session.close().await?;
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        Ok((rows > 0).then(|| {
            format!(
                "it holds no tables, and the present `{}` has {rows} rows in {} of them; \
                 give --allow-shrink if they are to go",
                self.database,
                tables.len()
            )
        }))
    }

    /// Everything up to the swap, and the dependents running again after it. On an error the present database has its name
    /// and takes connections; the new one may be there still.
    async fn replace(&self, examined: &Examined, new: &str, stamp: &str) -> Result<Replaced, DatabasesError> {
        let restore = Restore {
            source: &examined.source,
            expected: &examined.expected,
            properties: &examined.properties,
            patches: &self.options.patches,
            target: new,
            subject: self.name(),
            jobs: self.options.jobs,
        };
        let restored = Box::pin(restore.run(self.server, self.reporter)).await?;
        let mut replaced =
            Replaced { tables: restored.tables, rows: restored.rows, patches: restored.patches, ..Default::default() };
        crate::failpoint!("databases.rebuild.before-stop");
        self.stop_if_asked()?;
        if !examined.replaces {
            swap::rename(self.server, new, self.name()).await?;
            return Ok(replaced);
        }
        let preserve = self.plan_preservation(new).await?;
        let aside = names::beside(self.database, self.options.old.kind(), stamp);
        let exchange = Exchange {
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
            let message = Message::new("databases-preserve-absent").with("database", self.database);
            self.reporter.warn(message.with("table", table));
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
                let message = Message::new("databases-old-kept").with("database", self.database);
                self.reporter.notice(message.with("name", aside));
                None
            }
            _ => self.retirement().retire(aside).await?,
        };
        self.retirement().thin_out().await?;
        Ok(document)
    }

    /// Drops a new database that won't be used; one that can't be dropped now goes with the next run.
    async fn discard(&self, new: &str) {
        let dropped = match self.server.has(new).await {
            Ok(false) => Ok(()),
            Ok(true) => swap::drop_aside(self.server, new).await,
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            let message = Message::new("databases-leftover-stays").with("name", new);
            self.reporter.warn(message.with("reason", in_one_line(&error)));
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

fn after_swap(database: &str, error: DatabasesError) -> DatabasesError {
    match error {
        already @ DatabasesError::AfterSwap { .. } => already,
        error => DatabasesError::AfterSwap { database: database.to_owned(), source: Box::new(error) },
    }
}

/// What came of it, up to the swap.
#[derive(Debug, Default)]
struct Replaced {
    tables: u64,
    rows: u64,
    patches: Vec<super::documents::PatchReport>,
    preserved: Vec<PreserveReport>,
    nameless: Duration,
    dependents_stopped: Duration,
    /// The replaced database's name; `None` where there was none.
    aside: Option<String>,
}

/// A swap with the dependents out of the way.
pub(super) struct Exchange<'a> {
    pub server: &'a Server,
    pub swap: Swap<'a>,
    pub dependents: &'a dyn Dependents,
    pub reporter: &'a Reporter,
}

/// What an exchange came to.
#[derive(Debug, Default)]
pub(super) struct Exchanged {
    pub nameless: Duration,
    pub dependents_stopped: Duration,
    pub preserved: Vec<PreserveReport>,
}

impl Exchange<'_> {
    /// Stops the dependents, swaps, and starts them again, whether or not the swap was done.
    pub async fn run(&self, preservation: &Preservation) -> Result<Exchanged, DatabasesError> {
        let (reporter, database) = (self.reporter, self.swap.database);
        let begun = Instant::now();
        let stopped = self.dependents.stop().await.map_err(|error| self.failed("stop", error));
        let swapped = match stopped {
            Ok(()) => {
                reporter.began(Activity::SwapDatabase, database, None);
                self.swap.run(self.server, preservation, reporter).await
            }
            Err(error) => Err(error),
        };
        crate::failpoint!("databases.rebuild.before-start");
        let started = self.dependents.start().await.map_err(|error| self.failed("start", error));
        match (swapped, started) {
            (Ok(SwapOutcome { nameless, preserved }), Ok(())) => {
                let message = Message::new("databases-swapped").with("milliseconds", nameless.as_millis());
                reporter.done(Activity::SwapDatabase, database, message);
                Ok(Exchanged { nameless, dependents_stopped: begun.elapsed(), preserved })
            }
            (Ok(_), Err(error)) => {
                let error = after_swap(database, error);
                reporter.failed(Activity::SwapDatabase, database, &error);
                Err(error)
            }
            (Err(error), started) => {
                reporter.failed(Activity::SwapDatabase, database, &error);
                if let Err(starting) = started {
                    // The swap's own error is the one to return; that services are down must be said all the same.
                    let message = Message::new("databases-dependents-down").with("database", database);
                    reporter.warn(message.with("reason", in_one_line(&starting)));
                }
                Err(error)
            }
        }
    }

    fn failed(&self, operation: &'static str, source: DependentsError) -> DatabasesError {
        DatabasesError::Dependents { operation, database: self.swap.database.to_owned(), source }
    }
}

impl NewDatabase {
    /// What is asked for, over what the source was, over what the server makes by itself.
    async fn apply(&self, server: &Server, source: &Expected) -> Result<Properties, DatabasesError> {
        let mut properties = match &source.properties {
            Some(properties) => properties.clone(),
            None => self.by_default(server, source).await?,
        };
        if let Some(owner) = &self.owner {
            properties.owner = owner.clone();
        }
        if let Some(encoding) = &self.encoding {
            properties.encoding = encoding.clone();
        }
        if let Some(locale) = &self.locale {
            properties.locale_provider = "libc".to_owned();
            (properties.locale, properties.icu_rules) = (None, None);
            (properties.collate, properties.ctype) = (locale.clone(), locale.clone());
        }
        Ok(properties)
    }

    /// As `CREATE DATABASE` without a word more would make it, in the archive's encoding.
    async fn by_default(&self, server: &Server, source: &Expected) -> Result<Properties, DatabasesError> {
        let template = Properties::read(&server.client, server.home(), "template1").await?.unwrap_or_default();
        Ok(Properties {
            owner: server.client.credentials.user.clone(),
            encoding: source.encoding.clone().unwrap_or(template.encoding),
            collate: template.collate,
            ctype: template.ctype,
            locale_provider: template.locale_provider,
            locale: template.locale,
            icu_rules: template.icu_rules,
            tablespace: "pg_default".to_owned(),
            connection_limit: -1,
            ..Properties::default()
        })
    }
}
