//! What `db rebuild` and `db restore` have in common, from options to what is said at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::chosen::database;
use super::dependents::{Users, users};
use super::reach::{WhenDown, connect, reach};
use super::settings::{self, backup_settings, operator, shrink};
use crate::cli::grammar::typed::quoted;
use crate::cli::grammar::values::number;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{
    self, Adaptation, Conversion, DatabasesError, DefaultLocale, DumpOrigin, Examination, Identity, Jobs, MissingRoles,
    NewDatabase, OldDatabase, Origin, OwnerMap, Owners, Part, Patches, Placement, PreservedRows, RebuildOptions,
    RebuildReport, Repeat, Secret, ServerImage, SourceKind, Variable, VariableValue, origin_of_dump, source_kind,
};
use crate::manifest::model::{Database, EnvValue, InvalidValue};
use crate::report::{Message, Reporter, Told as _};
use crate::services::read_secret;

/// What becomes of the database that is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replaced {
    #[default]
    BackedUp,
    Kept(usize),
    Dropped,
}

/// How a database is replaced.
#[derive(Debug, Clone, Default, Args)]
pub struct ReplaceOptions {
    /// Keep the replaced database for `db rollback`, at most N of them; 0 removes earlier ones too [default: it is
    /// backed up and dropped]
    #[arg(long, value_name = "N", value_parser = number(0..=100_u16), conflicts_with = "no_backup")]
    pub keep_old: Option<u16>,
    /// Drop the replaced database without a backup
    #[arg(long)]
    pub no_backup: bool,
    /// Accept a source without tables where the present database has rows
    #[arg(long)]
    pub allow_shrink: bool,
    /// Replace it again even if an earlier rebuild still has to be finished; without this flag the earlier one is
    /// finished and nothing else is done
    #[arg(long)]
    pub again: bool,
    /// Accept a dump of another database or project
    #[arg(long)]
    pub other_database: bool,
    /// Create the roles that the server lacks, as described in the dump
    #[arg(long)]
    pub create_roles: bool,
    /// Leave all objects to the role that restores them
    #[arg(long, conflicts_with = "owner")]
    pub no_owner: bool,
    /// Give the objects of role OLD to NEW, several pairs separated by commas; NEW alone gets all others [default: the owners in the dump]
    #[arg(long, value_name = "OLD=NEW", value_parser = owner_map)]
    pub owner: Option<OwnerMap>,
    /// Restore no privileges (GRANT, REVOKE)
    #[arg(long)]
    pub no_privileges: bool,
    /// Put everything into the default tablespace
    #[arg(long)]
    pub no_tablespaces: bool,
    /// Connections used to restore; 1 restores in the order of the dump [default: one more than CPUs, at most 9]
    #[arg(short, long, value_name = "N", value_parser = settings::jobs())]
    pub jobs: Option<Jobs>,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
    /// The name of a new database beside it, which replaces nothing.
    #[arg(skip)]
    pub beside: Option<String>,
    /// Neither patches nor rows of the present database.
    #[arg(skip)]
    pub exact: bool,
}

fn owner_map(text: &str) -> Result<OwnerMap, InvalidValue> {
    OwnerMap::parse(text).ok_or_else(|| InvalidValue(message!("expected-owners")))
}

impl ReplaceOptions {
    pub fn replaced(&self) -> Replaced {
        match (self.keep_old, self.no_backup) {
            (Some(count), _) => Replaced::Kept(usize::from(count)),
            (None, true) => Replaced::Dropped,
            (None, false) => Replaced::BackedUp,
        }
    }

    /// As it would be typed.
    pub fn flags(&self) -> String {
        let mut flags = match self.replaced() {
            Replaced::BackedUp => String::new(),
            Replaced::Kept(count) => format!(" --keep-old {count}"),
            Replaced::Dropped => " --no-backup".to_owned(),
        };
        if let Some(name) = &self.beside {
            flags += &format!(" --as {}", quoted(name));
        }
        let owner = self.owner.as_ref().map(|map| format!(" --owner {}", quoted(&map.text()))).unwrap_or_default();
        let jobs = self.jobs.map(|jobs| format!(" --jobs {}", jobs.get())).unwrap_or_default();
        for (is_given, flag) in [
            (self.exact, " --exact"),
            (self.allow_shrink, " --allow-shrink"),
            (self.again, " --again"),
            (self.other_database, " --other-database"),
            (self.create_roles, " --create-roles"),
            (self.no_owner, " --no-owner"),
            (self.owner.is_some(), owner.as_str()),
            (self.no_privileges, " --no-privileges"),
            (self.no_tablespaces, " --no-tablespaces"),
            (self.jobs.is_some(), jobs.as_str()),
            (self.start, " --start"),
        ] {
            if is_given {
                flags += flag;
            }
        }
        flags
    }

    pub fn when_down(&self) -> WhenDown {
        WhenDown::of(self.start)
    }

    /// Refuses a dump of another database before anything is asked or shown, as the replacement itself does, and a backup
    /// of another project among those of this one. What is wanted is named all the same, since its folder may be the only
    /// thing that tells it.
    pub fn ensure_own_dump(
        &self,
        name: &str,
        source: &Path,
        project: &Project,
        session: &mut Session,
    ) -> Result<(), Failure> {
        // What can't be read is for the restore to tell.
        let Ok(origin) = origin_of_dump(source) else { return Ok(()) };
        if self.beside.is_some() {
            return Ok(());
        }
        let (shown, own) = (source.display(), project.manifest().project.as_str());
        let is_among_ours = project.manifest().paths.backups.as_ref().is_some_and(|folder| source.starts_with(folder));
        let other_project = origin.project.as_deref().filter(|other| *other != own);
        let (warning, problem) = match other_project {
            _ if origin.database != name => (
                message!("dump-of-another", source = shown, other = origin.database, database = name),
                Some(message!("unfit-other-database", other = origin.database, database = name)),
            ),
            Some(other) => (
                message!("dump-of-another-project", source = shown, other = other, project = own),
                is_among_ours.then(|| message!("unfit-other-project", other = other, project = own, database = name)),
            ),
            None => return warn_of_other_server(&origin, name, source, project, session),
        };
        match problem.filter(|_| !self.other_database) {
            // Where there is none yet, nothing is lost.
            Some(problem) if !matches!(look_at(name, project, session)?, There::No) => {
                let (database, source_path) = (name.to_owned(), source.to_owned());
                Err(DatabasesError::Unfit { database, source_path, problems: vec![problem] }.into())
            }
            Some(_) => Ok(()),
            None => {
                session.output.warn(&warning);
                Ok(())
            }
        }
    }

    fn old(&self, project: &Project) -> Result<OldDatabase, Failure> {
        Ok(match self.replaced() {
            _ if self.beside.is_some() => OldDatabase::Drop,
            Replaced::BackedUp => OldDatabase::BackUpAndDrop(backup_settings(project)?),
            Replaced::Kept(count) => OldDatabase::Keep { count, backup: backup_settings(project)? },
            Replaced::Dropped => OldDatabase::Drop,
        })
    }

    fn rebuild_options(&self, name: &str, project: &Project) -> Result<RebuildOptions, Failure> {
        let database = database(project, name)?;
        let (patches, preserve) = match self.exact {
            true => Default::default(),
            false => (patches(database)?, preserved(database)),
        };
        let part = |is_left_out| if is_left_out { Part::LeftOut } else { Part::AsDumped };
        Ok(RebuildOptions {
            jobs: self.jobs.unwrap_or_else(Jobs::for_restore),
            old: self.old(project)?,
            leftovers: backup_settings(project).ok(),
            shrink: shrink(self.allow_shrink),
            missing_roles: if self.create_roles { MissingRoles::Create } else { MissingRoles::Refuse },
            new: NewDatabase {
                owner: database.owner.clone(),
                encoding: database.encoding.clone(),
                locale: database.locale.clone(),
            },
            patches,
            preserve,
            placement: self.beside.clone().map_or(Placement::Replace, Placement::Beside),
            repeat: if self.again { Repeat::Again } else { Repeat::FinishEarlier },
            identity: if self.other_database { Identity::Any } else { Identity::Same },
            adaptation: Adaptation {
                owners: match (&self.owner, self.no_owner) {
                    (Some(map), _) => Owners::Mapped(map.clone()),
                    (None, true) => Owners::Restorer,
                    (None, false) => Owners::AsDumped,
                },
                privileges: part(self.no_privileges),
                tablespaces: part(self.no_tablespaces),
            },
        })
    }
}

/// A backup of another server's database of this name: often that is what is wanted, and nobody should be surprised by it.
/// A server that can't be asked is nothing to warn of.
fn warn_of_other_server(
    origin: &DumpOrigin,
    name: &str,
    source: &Path,
    project: &Project,
    session: &mut Session,
) -> Result<(), Failure> {
    let Some(recorded) = &origin.server_identifier else { return Ok(()) };
    let database = database(project, name)?;
    let asked = session.engine().and_then(|engine| {
        session.wait_for(async {
            let server = connect(&engine, project.manifest(), database).await?;
            Ok(server.system_identifier().await)
        })
    });
    match asked {
        Ok(Some(own)) if own != *recorded => {
            session.output.warn(&message!("dump-of-another-server", source = source.display(), database = name));
            Ok(())
        }
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        _ => Ok(()),
    }
}

/// Whether a server has a database.
pub enum There {
    Yes,
    No,
    /// The server can't be asked, and why.
    Unknown(Message),
}

impl There {
    /// For plans: what the server would refuse can't be told then.
    pub fn warn_if_unknown(&self, name: &str, session: &Session) {
        if let Self::Unknown(why) = self {
            session.output.warn(&message!("would-not-looked-at", database = name, why = why));
        }
    }
}

/// Looks for a database on its server; starts nothing.
pub fn look_at(name: &str, project: &Project, session: &mut Session) -> Result<There, Failure> {
    let database = database(project, name)?;
    let listed = session.engine().and_then(|engine| {
        session.wait_for(async {
            let server = connect(&engine, project.manifest(), database).await?;
            Ok(databases::list(&server).await?)
        })
    });
    match listed {
        Ok(all) if all.iter().any(|there| there.name == name) => Ok(There::Yes),
        Ok(_) => Ok(There::No),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => Ok(There::Unknown(failure.message())),
    }
}

/// One database after the other, all in the same way.
pub struct Replacing<'a> {
    pub options: &'a ReplaceOptions,
    pub project: &'a Arc<Project>,
    pub session: &'a mut Session,
    pub reporter: &'a Reporter,
}

impl Replacing<'_> {
    /// Replaces `name` by what lies at `source`, and says what came of it. What [`Replacing::examine`] read is not read
    /// again.
    pub fn replace(
        &mut self,
        name: &str,
        source: &Path,
        examination: Option<&Examination>,
    ) -> Result<RebuildReport, Failure> {
        let Self { options, project, reporter, .. } = *self;
        let engine = self.session.engine()?;
        let runtime = self.session.runtime()?;
        let rebuild = options.rebuild_options(name, project)?;
        let database = database(project, name)?;
        let dependents = Users::new(&engine, project, users(project.manifest(), database), reporter);
        let report = runtime.block_on(async {
            let server = reach(&engine, project, database, options.when_down(), reporter).await?;
            if source_kind(source)? != SourceKind::Sql {
                let origin = examination.map_or(Origin::Path(source), Origin::Examined);
                return Ok::<_, Failure>(
                    databases::rebuild(&server, name, origin, &dependents, &rebuild, reporter).await?,
                );
            }
            reporter.notice(message!("source-is-sql", path = source.display()));
            let conversion = Conversion {
                file: source.to_owned(),
                database: name.to_owned(),
                target: PathBuf::new(),
                locale: DefaultLocale::of(&server).await?,
                jobs: rebuild.jobs,
                operator: operator(),
            };
            let beside = source.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let home = project.manifest().paths.backups.as_deref().unwrap_or(beside);
            let image = ServerImage::of(&server).await;
            let converted = databases::convert_for_now(&image, &conversion, home, reporter).await?;
            let origin = Origin::Path(&converted.folder);
            Ok(databases::rebuild(&server, name, origin, &dependents, &rebuild, reporter).await?)
        })?;
        say(&report, self.session);
        Ok(report)
    }

    /// Everything that could keep a replacement from beginning, before the first of several begins. What a plain SQL dump
    /// holds shows only when it is converted: `None`.
    pub fn examine(&mut self, name: &str, source: &Path) -> Result<Option<Examination>, Failure> {
        let Self { options, project, reporter, .. } = *self;
        let engine = self.session.engine()?;
        let rebuild = options.rebuild_options(name, project)?;
        let database = database(project, name)?;
        self.session.runtime()?.block_on(async {
            if source_kind(source)? == SourceKind::Sql {
                return Ok(None);
            }
            let server = reach(&engine, project, database, options.when_down(), reporter).await?;
            // A killed run may have left it closed.
            databases::recover(&server, name, reporter).await?;
            Ok(Some(databases::examine(&server, name, source, &rebuild, reporter).await?))
        })
    }
}

fn patches(database: &Database) -> Result<Patches, Failure> {
    let mut variables = Vec::new();
    // Without patches nobody reads them, and their secrets may be elsewhere.
    for (name, value) in database.variables.iter().filter(|_| !database.patches.is_empty()) {
        let value = match value {
            EnvValue::Plain(text) => VariableValue::Plain(text.clone()),
            EnvValue::Secret(source) => {
                let secret = read_secret(name, source).map_err(|error| Failure::Work(Box::new(error)))?;
                VariableValue::Secret(Secret::new(secret))
            }
        };
        variables.push(Variable { name: name.clone(), value });
    }
    Ok(Patches { files: database.patches.clone(), variables })
}

fn preserved(database: &Database) -> Vec<PreservedRows> {
    let rows = database.preserve.iter().map(|preserve| PreservedRows {
        table: preserve.table.clone(),
        key: preserve.key.clone(),
        columns: preserve.columns.clone(),
        condition: preserve.r#where.clone(),
    });
    rows.collect()
}

/// What one replacement came to.
fn say(report: &RebuildReport, session: &Session) {
    if report.finished_earlier {
        session.output.say(&message!("rebuild-finished-earlier", database = &report.database));
        return;
    }
    let message = if report.created {
        message!("rebuild-made", database = &report.database, tables = report.tables, rows = report.rows)
    } else {
        message!(
            "rebuild-one",
            database = &report.database,
            tables = report.tables,
            rows = report.rows,
            nameless = report.nameless_ms,
            stopped = report.dependents_stopped_ms as f64 / 1000.0
        )
    };
    session.output.say(&message);
    for patch in &report.patches {
        let message = message!(
            "patch-one",
            database = &report.database,
            file = &patch.file,
            inserted = patch.inserted,
            updated = patch.updated,
            deleted = patch.deleted
        );
        session.output.say(&message);
    }
    for preserved in &report.preserved {
        let message = message!(
            "preserve-one",
            database = &report.database,
            rows = preserved.rows,
            table = &preserved.table,
            updated = preserved.updated,
            inserted = preserved.inserted
        );
        session.output.say(&message);
    }
}
