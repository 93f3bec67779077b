//! `db verify`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::database;
use super::reach::image_of;
use super::settings::{self, backups_folder, operator};
use crate::cli::grammar::typed::quoted;
use crate::cli::session::operations::{self, Operation, Shown, document};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{
    self, BackupDocument, Depth, Jobs, ServerImage, VerifiesDocument, VerifyReport, VerifySettings,
};
use crate::engine::Engine;
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct DatabaseVerifyArguments {
    /// A manifest (.json), and backups: IDs, folders, or databases (the last backup of each) [default: all databases]
    #[arg(value_name = "BACKUP")]
    pub backups: Vec<String>,
    /// Compare digests and read the archive's table of contents; restore nothing
    #[arg(long)]
    pub quick: bool,
    /// Tables that are restored at once [default: one for each CPU, at most 8]
    #[arg(short, long, value_name = "N", value_parser = settings::jobs())]
    pub jobs: Option<Jobs>,
    /// The image of the temporary server [default: the image of the database's server]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
}

/// Verifies dumps.
#[derive(Debug)]
pub struct Verify {
    dumps: Vec<BackupDocument>,
    depth: Depth,
    jobs: Option<Jobs>,
    /// An image to try them out in; their servers' own where absent.
    image: Option<String>,
}

/// `dpl db verify`.
pub fn run(arguments: &DatabaseVerifyArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, named) = session.targets(&arguments.backups)?;
    let dumps = dumps(&project, &named)?;
    let verify = Verify::of(arguments, dumps);
    let verified = operations::perform(&verify, &project, session)?;
    if session.output.json {
        session.output.document(&verified)?;
    }
    let says = |report: &Value, field: &str| report.get(field).is_some_and(|value| !value.is_null());
    let is_bad = |report: &Value| says(report, "damage") || says(report, "untried");
    let reports = verified.get("verified").and_then(Value::as_array);
    Ok(u8::from(reports.into_iter().flatten().any(is_bad)))
}

/// The dumps that are meant: by ID, by their folder, or the last backup of each database that is chosen.
fn dumps(project: &Project, named: &[String]) -> Result<Vec<BackupDocument>, Failure> {
    let manifest = project.manifest();
    let mut dumps = Vec::new();
    let mut selectors = Vec::new();
    for name in named {
        match dump(project, name)? {
            Some(dump) => dumps.push(dump),
            // An ID that there is not, rather than a database: backups alone have a slash in their names.
            None => match name.split_once('/') {
                Some((database, _)) if manifest.databases.get(database).is_some() => {
                    databases::find_backup(&backups_folder(project)?, database, Some(name))?;
                }
                _ => selectors.push(name.clone()),
            },
        }
    }
    if dumps.is_empty() || !selectors.is_empty() {
        let folder = backups_folder(project)?;
        for name in select::databases(manifest, &selectors, Unselected::All)? {
            match databases::backups(&folder, &name)?.pop() {
                Some(last) => dumps.push(last),
                None if selectors.is_empty() => {}
                None => return Err(Failure::usage(message!("usage-no-backup-of", database = name))),
            }
        }
    }
    if dumps.is_empty() {
        return Err(Failure::usage_with_hint(message!("usage-no-backup"), message!("hint-make-backup")));
    }
    Ok(dumps)
}

/// A dump by its ID or its folder; `None` for what names none.
fn dump(project: &Project, name: &str) -> Result<Option<BackupDocument>, Failure> {
    if project.manifest().paths.backups.is_some() {
        let folder = &backups_folder(project)?;
        for (_, database, _) in project.manifest().databases.iter() {
            let backups = databases::backups(folder, database)?;
            if let Some(found) = backups.into_iter().find(|backup| backup.id == name) {
                return Ok(Some(found));
            }
        }
    }
    let path = Path::new(name);
    if path.is_dir() && (name.contains('/') || path.join("backup.json").exists()) {
        let path = std::path::absolute(path).map_err(Failure::Output)?;
        return Ok(Some(databases::dump_at(&path)?));
    }
    Ok(None)
}

impl Verify {
    fn of(arguments: &DatabaseVerifyArguments, dumps: Vec<BackupDocument>) -> Self {
        let depth = if arguments.quick { Depth::Files } else { Depth::Restore };
        Self { dumps, depth, jobs: arguments.jobs, image: arguments.image.clone() }
    }

    fn ids(&self) -> Listed {
        Listed::of(self.dumps.iter().map(|dump| &dump.id))
    }

    async fn image(&self, engine: &Engine, project: &Project, dump: &BackupDocument) -> Result<ServerImage, Failure> {
        if let Some(reference) = &self.image {
            return Ok(ServerImage::named(engine, reference).await?);
        }
        if project.manifest().databases.get(&dump.database).is_none() {
            return Err(Failure::usage_with_hint(
                message!("usage-dump-of-unknown", id = dump.id, database = dump.database),
                message!("hint-try-image"),
            ));
        }
        image_of(engine, project.manifest(), database(project, &dump.database)?).await
    }
}

impl Operation for Verify {
    fn announcement(&self) -> Message {
        message!("will-verify", targets = self.ids())
    }

    fn command(&self) -> String {
        let Self { dumps, depth, jobs, image } = self;
        // An ID is looked for among the project's backups: what lies elsewhere under another name has its path alone.
        let named = |dump: &BackupDocument| match Path::new(&dump.path).ends_with(&dump.id) {
            true => quoted(&dump.id),
            false => quoted(&dump.path),
        };
        let quick = if *depth == Depth::Files { " --quick" } else { "" };
        let jobs = jobs.map(|jobs| format!(" --jobs {}", jobs.get())).unwrap_or_default();
        let image = image.as_ref().map(|image| format!(" --image {}", quoted(image))).unwrap_or_default();
        format!("dpl db verify {}{quick}{jobs}{image}", dumps.iter().map(named).collect::<Vec<_>>().join(" "))
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let mut would = VerifiesDocument::default();
        for dump in &self.dumps {
            let how = how(self.depth);
            session.output.say(&message!("would-verify", id = &dump.id, path = &dump.path));
            would.verified.push(VerifyReport {
                id: dump.id.clone(),
                database: dump.database.clone(),
                path: dump.path.clone(),
                how: how.to_owned(),
                tables: dump.tables,
                rows: dump.rows,
                duration_ms: 0,
                damage: None,
                untried: None,
            });
        }
        Shown::of(&would)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let settings = VerifySettings { depth: self.depth, jobs: self.jobs.unwrap_or_default(), operator: operator() };
        let mut verified = VerifiesDocument::default();
        for dump in &self.dumps {
            let report = runtime.block_on(async {
                let image = self.image(&engine, project, dump).await?;
                let folder = PathBuf::from(&dump.path);
                Ok::<_, Failure>(databases::verify(&image, &folder, &settings, reporter).await?)
            })?;
            verified.verified.push(report);
        }
        let bad = verified.verified.iter().filter(|report| report.damage.is_some()).count();
        let untried = verified.verified.iter().filter(|report| report.untried.is_some()).count();
        let (count, time) = (verified.verified.len(), begun.elapsed().as_secs_f64());
        let message = match bad {
            0 => message!("verify-done", count = count - untried, time = time),
            _ => message!("verify-found-bad", bad = bad, count = count, time = time),
        };
        if bad > 0 || untried < count {
            session.output.say(&message);
        }
        if untried > 0 {
            session.output.warn(&message!("verify-not-tried", count = untried));
        }
        document(&verified)
    }
}

fn how(depth: Depth) -> &'static str {
    match depth {
        Depth::Files => "files",
        Depth::Restore => "restored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    /// A dump as its ID or its folder names it.
    fn named(name: &str) -> BackupDocument {
        let (id, path) = match name.starts_with('/') {
            true => ("shop/20260704T101530Z", name.to_owned()),
            false => (name, format!("/srv/backups/{name}")),
        };
        BackupDocument { id: id.to_owned(), database: "shop".to_owned(), path, ..BackupDocument::default() }
    }

    #[test]
    fn the_journal_has_a_verification_with_all_its_flags() {
        let lines = [
            "dpl db verify shop/20260704T101530Z '/srv/seeds/a b.dump'",
            "dpl db verify shop/20260704T101530Z --quick --jobs 63 --image registry:5000/postgres:15",
        ];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Db(DatabaseCommand::Verify(arguments)) => {
                let dumps = arguments.backups.iter().map(|name| named(name)).collect();
                Verify::of(&arguments, dumps).command()
            }
            other => panic!("{other:?}"),
        });
    }
}
