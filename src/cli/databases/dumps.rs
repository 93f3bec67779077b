//! `db dump` and `db backup`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::reach::{WhenDown, reach};
use super::would::{self, Act};
use super::{backup_settings, database, dump_target, operator, seed};
use crate::cli::arguments::DumpArguments;
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, Weight, document};
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::databases::{
    self, BackupDocument, BackupSettings, BackupsDocument, Depth, Jobs, Level, PasswordHashes, SeedSettings, Server,
    ServerImage, Shrink, VerifySettings,
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
        format!("dpl db dump {}", self.databases.join(" "))
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
        let mut dumped = BackupsDocument::default();
        for name in &self.databases {
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
            let document = runtime.block_on(async {
                let server = reach(&engine, project, database, self.options.when_down, reporter).await?;
                databases::recover(&server, name, reporter).await?;
                Ok::<_, Failure>(databases::dump_seed(&server, name, &settings, reporter).await?)
            })?;
            dumped.backups.push(document);
        }
        let (count, size, time) = sums(&dumped, begun);
        session.output.say(&message!("dump-done", count = count, size = size, time = time));
        document(&dumped)
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
        format!("dpl db backup {}", self.databases.join(" "))
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
        let mut made = BackupsDocument::default();
        for name in &self.databases {
            let database = database(project, name)?;
            let document = runtime.block_on(async {
                let server = reach(&engine, project, database, self.options.when_down, reporter).await?;
                databases::recover(&server, name, reporter).await?;
                let made = databases::backup(&server, name, &settings, reporter).await?;
                self.options.after(&server, made, reporter).await
            })?;
            made.backups.push(document);
        }
        let (count, size, time) = sums(&made, begun);
        session.output.say(&message!("backup-done", count = count, size = size, time = time));
        document(&made)
    }
}

/// How many, how large, how long.
fn sums(made: &BackupsDocument, begun: Instant) -> (usize, String, f64) {
    let bytes = made.backups.iter().map(|backup| backup.bytes).sum();
    (made.backups.len(), table::size(bytes), begun.elapsed().as_secs_f64())
}
