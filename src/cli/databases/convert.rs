//! `db convert`, and what a plain dump needs before it can be restored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::leftovers::quoted;
use super::reach::image_of;
use super::{database, dump_target, operator};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, document};
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::databases::{self, BackupsDocument, Conversion, Jobs, SourceKind, source_kind};
use crate::report::{Message, Reporter};

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
                let hint = message!("hint-which-database", names = all.join(", "));
                return Err(Failure::usage_with_hint(message, hint));
            }
        };
        super::database(project, &database)?;
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

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let message = message!("would-convert", path = self.file.display(), target = self.target.display());
        session.output.say(&message);
        Ok(self.plan())
    }

    fn settles(&self, _project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        Ok(Some(self.plan()))
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
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
