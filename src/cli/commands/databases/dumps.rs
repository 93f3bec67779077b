//! `db dump` and `db backup`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::database;
use super::dry_run::{self, Act};
use super::reach::{Servers, WhenDown, offer_start};
use super::settings::{self, backup_settings, dump_target, operator, seed, shrink};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, Weight, databases_of, document, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::databases::{
    self, BackupDocument, BackupSettings, BackupsDocument, Depth, FailedBackup, Jobs, Level, PasswordHashes,
    SeedSettings, Server, ServerImage, Shrink, VerifySettings,
};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct SeedArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpOptions,
    /// Accept a seed that is less than half as large as the present one, or lacks its rows
    #[arg(long)]
    pub allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct BackupArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub options: DumpOptions,
    /// Accept a backup that is less than half as large as the last one
    #[arg(long)]
    pub allow_shrink: bool,
}

/// How databases are dumped.
#[derive(Debug, Clone, Default, Args)]
pub struct DumpOptions {
    /// Tables that are dumped at once [default: one for each CPU, at most 8]
    #[arg(short, long, value_name = "N", value_parser = settings::jobs())]
    pub jobs: Option<Jobs>,
    /// The compression level, from 1 (fastest) to 12 (smallest) [default: 5]
    #[arg(long, value_name = "N", value_parser = settings::level())]
    pub level: Option<Level>,
    /// Verify it right away: restore it into a temporary server and compare
    #[arg(long)]
    pub verify: bool,
    /// Include the password hashes of its roles
    #[arg(long)]
    pub password_hashes: bool,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

impl DumpOptions {
    fn hashes(&self) -> PasswordHashes {
        if self.password_hashes { PasswordHashes::Take } else { PasswordHashes::LeaveOut }
    }

    /// The flags that lead to them, as they would be typed.
    fn flags(&self, shrink: Shrink) -> String {
        let Self { jobs, level, verify, password_hashes, start } = self;
        let mut flags = String::new();
        if let Some(jobs) = jobs {
            flags += &format!(" --jobs {}", jobs.get());
        }
        if let Some(level) = level {
            flags += &format!(" --level {}", level.get());
        }
        for (is_given, flag) in [
            (*verify, " --verify"),
            (*password_hashes, " --password-hashes"),
            (*start, " --start"),
            (shrink == Shrink::Allow, " --allow-shrink"),
        ] {
            if is_given {
                flags += flag;
            }
        }
        flags
    }

    /// What comes after a dump; gives its document again, with what was found.
    async fn after(
        &self,
        server: &Server,
        made: BackupDocument,
        reporter: &Reporter,
    ) -> Result<BackupDocument, Failure> {
        if !self.verify {
            return Ok(made);
        }
        let settings =
            VerifySettings { depth: Depth::Restore, jobs: self.jobs.unwrap_or_default(), operator: operator() };
        let image = ServerImage::of(server).await;
        Ok(databases::prove(&image, Path::new(&made.path), &settings, reporter).await?)
    }
}

/// `dpl db dump`.
pub fn dump(arguments: &SeedArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) = databases_of(&arguments.targets, session, Unselected::Refused { command: "db dump" })?;
    let options = arguments.options.clone();
    operations::act(&Dump { databases, options, shrink: shrink(arguments.allow_shrink) }, &project, session)
}

/// `dpl db backup`.
pub fn backup(arguments: &BackupArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) = databases_of(&arguments.targets, session, Unselected::All)?;
    let options = arguments.options.clone();
    operations::act(&Backup { databases, options, shrink: shrink(arguments.allow_shrink) }, &project, session)
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
        message!("will-dump", targets = Listed::of(&self.databases))
    }

    fn command(&self) -> String {
        format!("dpl db dump {}{}", typed(&self.databases), self.options.flags(self.shrink))
    }

    fn advise(&self, failure: Failure) -> Failure {
        offer_start(failure, WhenDown::of(self.options.start))
    }

    /// A seed that is there already gives way to the new one.
    fn weight(&self, project: &Project) -> Weight {
        let seeds = self.databases.iter().filter_map(|name| project.manifest().databases.get(name)?.seed.as_ref());
        if seeds.into_iter().any(|seed| seed.exists()) { Weight::Heavy } else { Weight::Light }
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        dry_run::show(Act::Dump, &self.databases, project, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&dry_run::plan(Act::Dump, &self.databases, project)?, reporter)?;
        let begun = Instant::now();
        let dumped =
            each_on_its_server(&self.databases, &self.options, project, session, reporter, async |server, name| {
                let settings = SeedSettings {
                    path: dump_target(seed(database(project, name)?, name)?)?,
                    jobs: self.options.jobs.unwrap_or_default(),
                    level: self.options.level.unwrap_or_default(),
                    hashes: self.options.hashes(),
                    shrink: self.shrink,
                    operator: operator(),
                    verify: self.options.verify,
                };
                Ok(databases::dump_seed(server, name, &settings, reporter).await?)
            })?;
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
        message!("will-backup", targets = Listed::of(&self.databases))
    }

    fn command(&self) -> String {
        format!("dpl db backup {}{}", typed(&self.databases), self.options.flags(self.shrink))
    }

    fn advise(&self, failure: Failure) -> Failure {
        offer_start(failure, WhenDown::of(self.options.start))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        dry_run::show(Act::Backup, &self.databases, project, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&dry_run::plan(Act::Backup, &self.databases, project)?, reporter)?;
        let begun = Instant::now();
        let settings = BackupSettings {
            jobs: self.options.jobs.unwrap_or_default(),
            level: self.options.level.unwrap_or_default(),
            hashes: self.options.hashes(),
            shrink: self.shrink,
            ..backup_settings(project)?
        };
        let made =
            each_on_its_server(&self.databases, &self.options, project, session, reporter, async |server, name| {
                let made = databases::backup(server, name, &settings, reporter).await?;
                self.options.after(server, made, reporter).await
            })?;
        made.end(begun, session, |count, size, time| message!("backup-done", count = count, size = size, time = time))
    }
}

/// Dumps each of them, several of one server through the same way in.
fn each_on_its_server(
    names: &[String],
    options: &DumpOptions,
    project: &Project,
    session: &mut Session,
    reporter: &Reporter,
    mut make: impl AsyncFnMut(&Server, &str) -> Result<BackupDocument, Failure>,
) -> Result<Tried, Failure> {
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let mut servers = Servers::default();
    Ok(each(names, reporter, |name| {
        let database = database(project, name)?;
        runtime.block_on(async {
            let when_down = WhenDown::of(options.start);
            let server = servers.reach(&engine, project, database, when_down, reporter).await?;
            databases::recover(&server, name, reporter).await?;
            let made = make(&server, name).await;
            if made.is_err() {
                servers.forget();
            }
            made
        })
    }))
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
            false => Err(Failure::Some { document, failures: named(self.failed) }),
        }
    }
}

/// Each reason once, with the databases of which nothing was made for it.
fn named(failed: Vec<(String, Failure)>) -> Vec<Failure> {
    let mut reasons: Vec<(Vec<String>, Failure)> = Vec::new();
    for (database, failure) in failed {
        let reason = failure.summary();
        match reasons.iter_mut().find(|(_, known)| known.summary() == reason) {
            Some((databases, _)) => databases.push(database),
            None => reasons.push((vec![database], failure)),
        }
    }
    let explained = |(databases, failure): (Vec<String>, Failure)| match failure.is_stop() {
        true => failure,
        false => failure.explained(message!("dump-failed", databases = Listed::of(databases)), None),
    };
    reasons.into_iter().map(explained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    fn made(database: &str) -> BackupDocument {
        BackupDocument { database: database.to_owned(), ..BackupDocument::default() }
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

    #[test]
    fn a_reason_that_several_have_is_said_once_with_all_their_names() {
        let failed = [("q1", "no login"), ("q2", "no disk"), ("q3", "no login")];
        let failed = failed.map(|(name, why)| (name.to_owned(), Failure::Work(why.into())));
        let said: Vec<String> = named(failed.into()).iter().map(Failure::summary).collect();
        assert_eq!(said, ["no dump of q1, q3 was made: no login", "no dump of q2 was made: no disk"]);
    }

    #[test]
    fn the_journal_has_a_dump_and_a_backup_with_all_their_flags() {
        let dump = [
            "dpl db dump shop 'a b'",
            "dpl db dump shop --jobs 63 --level 12 --verify --password-hashes --start --allow-shrink",
        ];
        assert_typed_again(&dump, &[], |command| match command {
            Command::Db(DatabaseCommand::Dump(arguments)) => {
                let SeedArguments { targets, options, allow_shrink } = arguments;
                Dump { databases: targets.targets, options, shrink: shrink(allow_shrink) }.command()
            }
            other => panic!("{other:?}"),
        });
        let backup = dump.map(|line| line.replace("dump", "backup"));
        assert_typed_again(&backup.each_ref().map(String::as_str), &[], |command| match command {
            Command::Db(DatabaseCommand::Backup(arguments)) => {
                let BackupArguments { targets, options, allow_shrink } = arguments;
                Backup { databases: targets.targets, options, shrink: shrink(allow_shrink) }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
