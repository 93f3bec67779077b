//! `db convert`, and what a plain dump needs before it can be restored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::{self, database};
use super::reach::image_of;
use super::settings::{dump_target, operator};
use crate::cli::grammar::typed::quoted;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::databases::{self, BackupsDocument, Conversion, DatabasesError, Jobs, SourceKind, source_kind};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// A plain SQL dump, with or without gzip
    pub file: PathBuf,
    /// The database that was dumped; the image of its server is used for the temporary server [default: by the file's
    /// name]
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// The folder to write [default: beside the file, with the suffix .dump]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// `dpl db convert`.
pub fn run(arguments: &ConvertArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let (database, output) = (arguments.database.clone(), arguments.output.clone());
    let convert = Convert::of(&arguments.file, database, output, &project)?;
    operations::act(&convert, &project, session)
}

/// Makes an archive of SQL in plain text.
#[derive(Debug)]
pub struct Convert {
    pub file: PathBuf,
    pub database: String,
    pub target: PathBuf,
}

impl Convert {
    /// Which database's server stands in, and where the archive goes, where that is not said.
    pub fn of(file: &Path, named: Option<String>, output: Option<PathBuf>, project: &Project) -> Result<Self, Failure> {
        // Before any question about it: what is not there has no database.
        file.metadata().map_err(|source| DatabasesError::File {
            operation: message!("verb-read"),
            path: file.to_owned(),
            source,
        })?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let stem = stem.strip_suffix(".sql").unwrap_or(stem);
        let all: Vec<&str> = project.manifest().databases.iter().map(|(_, name, _)| name).collect();
        let database = match named {
            Some(name) => name,
            None if all.contains(&stem) => stem.to_owned(),
            None if all.len() == 1 => all[0].to_owned(),
            None => {
                let message = message!("usage-which-database", file = file.display());
                let hint = message!("hint-which-database", names = Listed::of(&all));
                return Err(Failure::usage_with_hint(message, hint));
            }
        };
        chosen::database(project, &database)?;
        let target = dump_target(&output.unwrap_or_else(|| file.with_file_name(format!("{stem}.dump"))))?;
        if target.symlink_metadata().is_ok() && source_kind(&target)? != SourceKind::Backup {
            let hint = message!("hint-other-output");
            return Err(Failure::usage_with_hint(message!("usage-not-our-dump", path = target.display()), hint));
        }
        Ok(Self { file: file.to_owned(), database, target })
    }

    fn plan(&self) -> Value {
        serde_json::json!({ "action": "convert", "path": self.file, "target": self.target })
    }
}

impl Operation for Convert {
    fn announcement(&self) -> Message {
        message!("will-convert", path = self.file.display())
    }

    fn command(&self) -> String {
        let (file, target) = (quoted(&self.file.to_string_lossy()), quoted(&self.target.to_string_lossy()));
        format!("dpl db convert {file} --database {} --output {target}", quoted(&self.database))
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let message = message!("would-convert", path = self.file.display(), target = self.target.display());
        session.output.say(&message);
        Shown::of(&self.plan())
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&self.plan(), reporter)?;
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let database = database(project, &self.database)?;
        let conversion = Conversion {
            file: self.file.clone(),
            database: self.database.clone(),
            target: self.target.clone(),
            locale: None,
            jobs: Jobs::default(),
            operator: operator(),
        };
        let made = runtime.block_on(async {
            let image = image_of(&engine, project.manifest(), database).await?;
            Ok::<_, Failure>(databases::convert(&image, &conversion, reporter).await?)
        })?;
        let message = message!(
            "convert-done",
            path = self.file.display(),
            tables = made.tables,
            rows = made.rows,
            size = table::size(made.bytes),
            target = self.target.display(),
            time = begun.elapsed().as_secs_f64()
        );
        session.output.say(&message);
        document(&BackupsDocument { backups: vec![made], failed: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_conversion_with_all_its_flags() {
        let lines = ["dpl db convert '/srv/a b.sql.gz' --database shop --output /srv/shop.dump"];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Db(DatabaseCommand::Convert(arguments)) => {
                let (database, target) = (arguments.database.unwrap(), arguments.output.unwrap());
                Convert { file: arguments.file, database, target }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
