//! `db rebuild`: a database replaced by what a dump holds, and never dropped before that is proved.
//!
//! The order is the guarantee: the source verified, a new database restored beside the present one and compared, the
//! dependents stopped, both renamed in one transaction, the dependents started, the old one backed up and only then
//! dropped. Killed anywhere, the name answers with all old rows or all new ones, and the next run clears up.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::backup::{self, BackupSettings, Shrink};
use super::documents::{BackupDocument, RebuildReport};
use super::dump::Jobs;
use super::error::DatabasesError;
use super::fitness;
use super::names::{self, BesideKind};
use super::properties::Properties;
use super::psql::Session;
use super::record::Record;
use super::recovery::{self, Remedy};
use super::restore::{self, Restore};
use super::server::Server;
use super::swap::{self, Swap};
use super::verify;
use crate::report::{Activity, Message, Reporter};

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
    pub new: NewDatabase,
}

/// What becomes of the database that is replaced.
#[derive(Debug, Clone)]
pub enum OldDatabase {
    /// It is backed up, the backup verified, and then it is dropped.
    BackUpAndDrop(BackupSettings),
    /// It stays under another name, for the way back.
    Keep,
    /// It is dropped without a backup, since somebody asked for that in words.
    Drop,
}

/// What a database that does not exist yet is created with; the source's where `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDatabase {
    pub owner: Option<String>,
    pub encoding: Option<String>,
    pub locale: Option<String>,
}

/// Rebuilds `database` from the dump in the folder `source`. Errors other than [`DatabasesError::AfterSwap`] mean that the
/// present database is as it was.
pub async fn rebuild(
    server: &Server,
    database: &str,
    source: &Path,
    dependents: &dyn Dependents,
    options: &RebuildOptions,
    reporter: &Reporter,
) -> Result<RebuildReport, DatabasesError> {
    let guard = take_lock(server, database).await?;
    let result = Rebuild { server, database, source, dependents, options, reporter }.run().await;
    // The lock goes with the session, and it with its input, whether it says goodbye or not.
    let _ = guard.close().await;
    result
}

/// A lock on the server itself: two operators may work from two machines.
async fn take_lock(server: &Server, database: &str) -> Result<Session, DatabasesError> {
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
    source: &'a Path,
    dependents: &'a dyn Dependents,
    options: &'a RebuildOptions,
    reporter: &'a Reporter,
}

/// What the swap came to.
struct Swapped {
    nameless: Duration,
    dependents_stopped: Duration,
    /// The replaced database's name; `None` where there was none.
    aside: Option<String>,
}

impl Rebuild<'_> {
    async fn run(&self) -> Result<RebuildReport, DatabasesError> {
        self.recover().await?;
        let record = Record::read(self.source)?;
        verify::verify_files(self.server, self.source, self.reporter).await?;
        let present =
            Properties::read(&self.server.client, self.server.maintenance(self.database), self.database).await?;
        let properties = match &present {
            Some(present) => present.clone(),
            None => self.options.new.apply(&record.properties),
        };
        fitness::check(self.server, self.database, self.source, &record, &properties).await?;
        self.stop_if_asked()?;
        let stamp = names::stamp(jiff::Timestamp::now());
        let new = names::beside(self.database, BesideKind::New, &stamp);
        let swapped = match self.replace(&record, &properties, &new, present.is_some(), &stamp).await {
            Ok(swapped) => swapped,
            Err(error) => {
                self.discard(&new).await;
                return Err(error);
            }
        };
        let finished = self.finish(&swapped).await;
        let (backup, kept_as) = finished.map_err(|error| self.after_swap(error))?;
        Ok(RebuildReport {
            database: self.database.to_owned(),
            source: record.id.clone(),
            created: present.is_none(),
            tables: record.tables.len() as u64,
            rows: record.rows(),
            nameless_ms: swapped.nameless.as_millis() as u64,
            dependents_stopped_ms: swapped.dependents_stopped.as_millis() as u64,
            backup,
            kept_as,
        })
    }

    /// Everything up to the swap, and the dependents running again after it. On an error the present database has its name
    /// and takes connections; the new one may be there still.
    async fn replace(
        &self,
        record: &Record,
        properties: &Properties,
        new: &str,
        exists: bool,
        stamp: &str,
    ) -> Result<Swapped, DatabasesError> {
        restore::create(self.server, new, self.database, properties, self.reporter).await?;
        let restore =
            Restore { folder: self.source, record, target: new, subject: self.database, jobs: self.options.jobs };
        restore.run(self.server, self.reporter).await?;
        let adorn = properties.adorn(new);
        self.server.client.execute(self.server.home(), "set the new database's properties", &adorn).await?;
        crate::failpoint!("databases.rebuild.before-stop");
        self.stop_if_asked()?;
        if !exists {
            swap::name(self.server, new, self.database).await?;
            return Ok(Swapped { nameless: Duration::ZERO, dependents_stopped: Duration::ZERO, aside: None });
        }
        let kind = match self.options.old {
            OldDatabase::Keep => BesideKind::Kept,
            OldDatabase::BackUpAndDrop(_) | OldDatabase::Drop => BesideKind::Old,
        };
        self.swap(new, names::beside(self.database, kind, stamp)).await
    }

    /// Stops the dependents, swaps, and starts them again, whether or not the swap was done.
    async fn swap(&self, new: &str, aside: String) -> Result<Swapped, DatabasesError> {
        let begun = Instant::now();
        let stopped = self.dependents.stop().await.map_err(|error| self.dependents("stop", error));
        let swapped = match stopped {
            Ok(()) => {
                self.reporter.began(Activity::SwapDatabase, self.database, None);
                let swap = Swap { database: self.database, new, aside: &aside };
                swap.run(self.server, self.reporter).await
            }
            Err(error) => Err(error),
        };
        crate::failpoint!("databases.rebuild.before-start");
        let started = self.dependents.start().await.map_err(|error| self.dependents("start", error));
        match (swapped, started) {
            (Ok(nameless), Ok(())) => {
                let message = Message::new("databases-swapped").with("milliseconds", nameless.as_millis());
                self.reporter.done(Activity::SwapDatabase, self.database, message);
                Ok(Swapped { nameless, dependents_stopped: begun.elapsed(), aside: Some(aside) })
            }
            (Ok(_), Err(error)) => {
                let error = self.after_swap(error);
                self.reporter.failed(Activity::SwapDatabase, self.database, &error);
                Err(error)
            }
            (Err(error), started) => {
                self.reporter.failed(Activity::SwapDatabase, self.database, &error);
                if let Err(starting) = started {
                    // The swap's own error is the one to return; that services are down must be said all the same.
                    let message = Message::new("databases-dependents-down").with("database", self.database);
                    self.reporter.warn(message.with("reason", chain(&starting)));
                }
                Err(error)
            }
        }
    }

    /// What becomes of the database that was replaced.
    async fn finish(&self, swapped: &Swapped) -> Result<(Option<BackupDocument>, Option<String>), DatabasesError> {
        let Some(aside) = &swapped.aside else { return Ok((None, None)) };
        if let OldDatabase::Keep = self.options.old {
            let message = Message::new("databases-old-kept").with("database", self.database).with("name", aside);
            self.reporter.notice(message);
            return Ok((None, Some(aside.clone())));
        }
        self.stop_if_asked()?;
        Ok((self.retire(aside).await?, None))
    }

    /// Backs an old database up, where that is wanted, proves the backup, and drops the database.
    async fn retire(&self, old: &str) -> Result<Option<BackupDocument>, DatabasesError> {
        let document = match &self.options.old {
            OldDatabase::Drop => None,
            OldDatabase::Keep => return Ok(None),
            OldDatabase::BackUpAndDrop(settings) => {
                swap::open(self.server, old).await?;
                // Whatever its size, it is what there was: refusing it would keep every later rebuild from beginning.
                let settings = BackupSettings { shrink: Shrink::Allow, ..settings.clone() };
                let document = backup::backup_as(self.server, old, self.database, &settings, self.reporter).await?;
                verify::verify_files(self.server, Path::new(&document.path), self.reporter).await?;
                Some(document)
            }
        };
        self.reporter.began(Activity::DropDatabase, self.database, None);
        match swap::drop_aside(self.server, old).await {
            Ok(()) => {
                let message = Message::new("databases-old-dropped").with("name", old);
                self.reporter.done(Activity::DropDatabase, self.database, message);
                Ok(document)
            }
            Err(error) => {
                self.reporter.failed(Activity::DropDatabase, self.database, &error);
                Err(error)
            }
        }
    }

    /// Clears up after a run that was killed, and says so.
    async fn recover(&self) -> Result<(), DatabasesError> {
        for remedy in recovery::plan(self.database, &recovery::look(self.server).await?)? {
            match remedy {
                Remedy::Reopen => {
                    swap::open(self.server, self.database).await?;
                    self.reporter.warn(Message::new("databases-reopened").with("database", self.database));
                }
                Remedy::Discard(new) => {
                    swap::drop_aside(self.server, &new).await?;
                    let message = Message::new("databases-leftover-dropped").with("database", self.database);
                    self.reporter.warn(message.with("name", new));
                }
                Remedy::Retire(old) => {
                    let message = Message::new("databases-leftover-retired").with("database", self.database);
                    self.reporter.warn(message.with("name", &old));
                    self.retire(&old).await?;
                }
            }
        }
        Ok(())
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
            self.reporter.warn(message.with("reason", chain(&error)));
        }
    }

    fn stop_if_asked(&self) -> Result<(), DatabasesError> {
        match self.reporter.asked_to_stop() {
            true => Err(DatabasesError::Stopped { database: self.database.to_owned() }),
            false => Ok(()),
        }
    }

    fn dependents(&self, operation: &'static str, source: DependentsError) -> DatabasesError {
        DatabasesError::Dependents { operation, database: self.database.to_owned(), source }
    }

    fn after_swap(&self, error: DatabasesError) -> DatabasesError {
        match error {
            already @ DatabasesError::AfterSwap { .. } => already,
            error => DatabasesError::AfterSwap { database: self.database.to_owned(), source: Box::new(error) },
        }
    }
}

impl NewDatabase {
    fn apply(&self, source: &Properties) -> Properties {
        let mut properties = source.clone();
        if let Some(owner) = &self.owner {
            properties.owner = owner.clone();
        }
        if let Some(encoding) = &self.encoding {
            properties.encoding = encoding.clone();
        }
        if let Some(locale) = &self.locale {
            properties.locale_provider = "libc".to_owned();
            (properties.collate, properties.ctype) = (locale.clone(), locale.clone());
        }
        properties
    }
}

/// An error and its causes in one line, for a warning that is no result.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
