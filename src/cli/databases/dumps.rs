//! `db dump` and `db backup`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::reach::{WhenDown, reach};
use super::would::{self, Act};
use super::{backup_settings, database, dump_target, operator, seed, typed};
use crate::cli::arguments::DumpArguments;
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, Weight, document};
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::databases::{
    self, BackupDocument, BackupSettings, BackupsDocument, Depth, FailedBackup, Jobs, Level, PasswordHashes,
    SeedSettings, Server, ServerImage, Shrink, VerifySettings,
};
use crate::report::{Message, Reporter};

/// How databases are dumped.
#[derive(Debug, Clone, Copy, Default)]
pub struct DumpOptions {
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    pub when_down: WhenDown,
    pub then: Then,
}

/// What follows a dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    Nothing,
    /// It is restored into a throw-away server and compared.
    Verify,
}

impl DumpOptions {
    pub fn of(arguments: &DumpArguments) -> Self {
        Self {
            jobs: arguments.jobs.and_then(Jobs::new).unwrap_or_default(),
            level: arguments.level.and_then(Level::new).unwrap_or_default(),
            hashes: if arguments.password_hashes { PasswordHashes::Take } else { PasswordHashes::LeaveOut },
            when_down: if arguments.start { WhenDown::Start } else { WhenDown::Refuse },
            then: if arguments.verify { Then::Verify } else { Then::Nothing },
        }
    }

    /// What comes after a dump; gives its document anew, with what was found.
    async fn after(
        &self,
        server: &Server,
        made: BackupDocument,
        reporter: &Reporter,
    ) -> Result<BackupDocument, Failure> {
        if self.then == Then::Nothing {
            return Ok(made);
        }
        let settings = VerifySettings { depth: Depth::Restore, jobs: self.jobs, operator: operator() };
        let image = ServerImage::of(server).await;
        Ok(databases::prove(&image, Path::new(&made.path), &settings, reporter).await?)
    }
}

/// Dumps databases as the delivery's seeds.
#[derive(Debug)]
pub struct Dump {
    pub databases: Vec<String>,
    pub options: DumpOptions,
    pub shrink: Shrink,
}

impl Operation for Dump {
    fn announcement(&self) -> Message {
        message!("will-dump", targets = self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db dump {}", typed(&self.databases))
    }

    /// A seed that is there already gives way to the new one.
    fn weight(&self, project: &Project) -> Weight {
        let seeds = self.databases.iter().filter_map(|name| project.manifest().databases.get(name)?.seed.as_ref());
        if seeds.into_iter().any(|seed| seed.exists()) { Weight::Heavy } else { Weight::Light }
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        would::show(Act::Dump, &self.databases, project, session)
    }

    fn settles(&self, project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        would::plan(Act::Dump, &self.databases, project).map(Some)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let dumped = each(&self.databases, reporter, |name| {
            let database = database(project, name)?;
            let settings = SeedSettings {
                path: dump_target(seed(database, name)?)?,
                jobs: self.options.jobs,
                level: self.options.level,
                hashes: self.options.hashes,
                shrink: self.shrink,
                operator: operator(),
                verify: self.options.then == Then::Verify,
            };
            runtime.block_on(async {
                let server = reach(&engine, project, database, self.options.when_down, reporter).await?;
                databases::recover(&server, name, reporter).await?;
                Ok(databases::dump_seed(&server, name, &settings, reporter).await?)
            })
        });
        dumped.end(begun, session, |count, size, time| message!("dump-done", count = count, size = size, time = time))
    }
}

/// Backs databases up.
#[derive(Debug)]
pub struct Backup {
    pub databases: Vec<String>,
    pub options: DumpOptions,
    pub shrink: Shrink,
}

impl Operation for Backup {
    fn announcement(&self) -> Message {
        message!("will-backup", targets = self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db backup {}", typed(&self.databases))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        would::show(Act::Backup, &self.databases, project, session)
    }

    fn settles(&self, project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        would::plan(Act::Backup, &self.databases, project).map(Some)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let settings = BackupSettings {
            jobs: self.options.jobs,
            level: self.options.level,
            hashes: self.options.hashes,
            shrink: self.shrink,
            ..backup_settings(project)?
        };
        let made = each(&self.databases, reporter, |name| {
            let database = database(project, name)?;
            runtime.block_on(async {
                let server = reach(&engine, project, database, self.options.when_down, reporter).await?;
                databases::recover(&server, name, reporter).await?;
                let made = databases::backup(&server, name, &settings, reporter).await?;
                self.options.after(&server, made, reporter).await
            })
        });
        made.end(begun, session, |count, size, time| message!("backup-done", count = count, size = size, time = time))
    }
}

/// What came of several databases.
#[derive(Default)]
struct Tried {
    made: Vec<BackupDocument>,
    failed: Vec<(String, Failure)>,
}

/// Does it for each of them: one that fails keeps none behind it from its backup. What would fail for all alike, or was
/// asked for, ends it.
fn each(
    databases: &[String],
    reporter: &Reporter,
    mut make: impl FnMut(&str) -> Result<BackupDocument, Failure>,
) -> Tried {
    let mut tried = Tried::default();
    for name in databases {
        match make(name) {
            Ok(made) => tried.made.push(made),
            Err(failure) => {
                let is_the_end = failure.is_stop() || failure.exit_code() > 1 || reporter.asked_to_stop();
                tried.failed.push((name.clone(), failure));
                if is_the_end {
                    break;
                }
            }
        }
    }
    tried
}

impl Tried {
    /// The document, and what is said at the end.
    fn end(
        mut self,
        begun: Instant,
        session: &Session,
        done: impl FnOnce(usize, String, f64) -> Message,
    ) -> Result<Value, Failure> {
        if self.made.is_empty() && self.failed.len() == 1 {
            return Err(self.failed.remove(0).1);
        }
        let bytes = self.made.iter().map(|backup| backup.bytes).sum();
        let (count, size, time) = (self.made.len(), table::size(bytes), begun.elapsed().as_secs_f64());
        if count > 0 {
            session.output.say(&done(count, size, time));
        }
        let failed = self
            .failed
            .iter()
            .map(|(database, failure)| FailedBackup { database: database.clone(), reason: failure.summary() });
        let document = document(&BackupsDocument { backups: self.made, failed: failed.collect() })?;
        match self.failed.is_empty() {
            true => Ok(document),
            false => {
                Err(Failure::Some { document, failures: self.failed.into_iter().map(|(_, failure)| failure).collect() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(database: &str) -> BackupDocument {
        BackupDocument {
            id: format!("{database}/20260704T101530Z"),
            database: database.to_owned(),
            path: String::new(),
            bytes: 1,
            server_version: "15".to_owned(),
            created_at: String::new(),
            tables: 0,
            rows: 0,
            duration_ms: 0,
            database_bytes: 0,
            verified_at: None,
            checked_at: None,
            found_bad: None,
            from_the_future: false,
            untried: None,
        }
    }

    fn silent() -> Reporter {
        Reporter::new(Vec::new(), tokio_util::sync::CancellationToken::new())
    }

    #[test]
    fn one_that_fails_keeps_none_behind_it_from_its_backup() {
        let names: Vec<String> = ["q1", "q2", "q3"].map(str::to_owned).into();
        let work = || Failure::Work("no page".into());
        let tried = each(&names, &silent(), |name| match name {
            "q2" => Err(work()),
            name => Ok(made(name)),
        });
        let done: Vec<&str> = tried.made.iter().map(|made| made.database.as_str()).collect();
        assert_eq!((done, tried.failed.len()), (vec!["q1", "q3"], 1));
        // What somebody asked for, or would fail for all, ends it.
        for end in [Failure::Interrupted, Failure::Left] {
            let mut end = Some(end);
            let tried = each(&names, &silent(), |_| Err(end.take().unwrap()));
            assert_eq!((tried.made.len(), tried.failed.len()), (0, 1));
        }
    }
}
