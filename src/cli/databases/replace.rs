//! What `db rebuild` and `db restore` have in common, from options to what is said at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dependents::Users;
use super::leftovers::quoted;
use super::reach::{WhenDown, reach};
use super::{backup_settings, database, operator, shrink, users};
use crate::cli::arguments::ReplaceArguments;
use crate::cli::failure::Failure;
use crate::cli::session::{Project, Session};
use crate::databases::{
    self, Adaptation, Conversion, DefaultLocale, Examination, Identity, Jobs, MissingRoles, NewDatabase, OldDatabase,
    Origin, Owners, Part, Patches, Placement, PreservedRows, RebuildOptions, RebuildReport, Repeat, Secret,
    ServerImage, Shrink, SourceKind, Variable, VariableValue, source_kind,
};
use crate::manifest::model::{Database, EnvValue};
use crate::report::Reporter;
use crate::services::read_secret;

/// What becomes of the database that is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replaced {
    #[default]
    BackedUp,
    Kept(usize),
    Dropped,
}

/// What the patches and the rows that live on have to do with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Additions {
    #[default]
    AsTheManifestSays,
    None,
}

/// How a database is replaced.
#[derive(Debug, Clone, Default)]
pub struct ReplaceOptions {
    pub replaced: Replaced,
    pub jobs: Option<Jobs>,
    pub when_down: WhenDown,
    pub additions: Additions,
    /// Whether a source without tables may replace rows.
    pub shrink: Shrink,
    /// What becomes of a source whose roles the server lacks.
    pub missing_roles: MissingRoles,
    /// The name of a new database beside it, which replaces nothing.
    pub beside: Option<String>,
    pub repeat: Repeat,
    pub identity: Identity,
    pub adaptation: Adaptation,
}

impl ReplaceOptions {
    pub fn of(arguments: &ReplaceArguments) -> Self {
        Self {
            replaced: match (arguments.keep_old, arguments.no_backup) {
                (Some(count), _) => Replaced::Kept(usize::from(count)),
                (None, true) => Replaced::Dropped,
                (None, false) => Replaced::BackedUp,
            },
            jobs: arguments.jobs.and_then(Jobs::new),
            when_down: if arguments.start { WhenDown::Start } else { WhenDown::Refuse },
            shrink: shrink(arguments.allow_shrink),
            missing_roles: if arguments.create_roles { MissingRoles::Create } else { MissingRoles::Refuse },
            repeat: if arguments.again { Repeat::Again } else { Repeat::FinishEarlier },
            identity: if arguments.other_database { Identity::Any } else { Identity::Same },
            adaptation: Adaptation {
                owners: match (&arguments.owner, arguments.no_owner) {
                    (Some(map), _) => Owners::Mapped(map.clone()),
                    (None, true) => Owners::Restorer,
                    (None, false) => Owners::AsDumped,
                },
                privileges: if arguments.no_privileges { Part::LeftOut } else { Part::AsDumped },
                tablespaces: if arguments.no_tablespaces { Part::LeftOut } else { Part::AsDumped },
            },
            ..Self::default()
        }
    }

    /// As it would be typed.
    pub fn flags(&self) -> String {
        let mut flags = match self.replaced {
            Replaced::BackedUp => String::new(),
            Replaced::Kept(count) => format!(" --keep-old {count}"),
            Replaced::Dropped => " --no-backup".to_owned(),
        };
        if let Some(name) = &self.beside {
            flags += &format!(" --as {}", quoted(name));
        }
        if self.additions == Additions::None {
            flags += " --exact";
        }
        if self.shrink == Shrink::Allow {
            flags += " --allow-shrink";
        }
        if self.repeat == Repeat::Again {
            flags += " --again";
        }
        if self.identity == Identity::Any {
            flags += " --other-database";
        }
        if self.missing_roles == MissingRoles::Create {
            flags += " --create-roles";
        }
        match &self.adaptation.owners {
            Owners::AsDumped => {}
            Owners::Restorer => flags += " --no-owner",
            Owners::Mapped(map) => flags += &format!(" --owner {}", map.text()),
        }
        if self.adaptation.privileges == Part::LeftOut {
            flags += " --no-privileges";
        }
        if self.adaptation.tablespaces == Part::LeftOut {
            flags += " --no-tablespaces";
        }
        if self.when_down == WhenDown::Start {
            flags += " --start";
        }
        flags
    }

    fn old(&self, project: &Project) -> Result<OldDatabase, Failure> {
        Ok(match self.replaced {
            _ if self.beside.is_some() => OldDatabase::Drop,
            Replaced::BackedUp => OldDatabase::BackUpAndDrop(backup_settings(project)?),
            Replaced::Kept(count) => OldDatabase::Keep { count, backup: backup_settings(project)? },
            Replaced::Dropped => OldDatabase::Drop,
        })
    }

    fn rebuild_options(&self, name: &str, project: &Project) -> Result<RebuildOptions, Failure> {
        let database = database(project, name)?;
        let (patches, preserve) = match self.additions {
            Additions::None => Default::default(),
            Additions::AsTheManifestSays => (patches(database)?, preserved(database)),
        };
        Ok(RebuildOptions {
            jobs: self.jobs.unwrap_or_else(Jobs::for_restore),
            old: self.old(project)?,
            leftovers: backup_settings(project).ok(),
            shrink: self.shrink,
            missing_roles: self.missing_roles,
            new: NewDatabase {
                owner: database.owner.clone(),
                encoding: database.encoding.clone(),
                locale: database.locale.clone(),
            },
            patches,
            preserve,
            placement: self.beside.clone().map_or(Placement::Replace, Placement::Beside),
            repeat: self.repeat,
            identity: self.identity,
            adaptation: self.adaptation.clone(),
        })
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
            let server = reach(&engine, project, database, options.when_down, reporter).await?;
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
            let server = reach(&engine, project, database, options.when_down, reporter).await?;
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
