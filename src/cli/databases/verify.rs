//! `db verify`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::leftovers::quoted;
use super::reach::image_of;
use super::{backups_folder, database, operator};
use crate::cli::arguments::DatabaseVerifyArguments;
use crate::cli::failure::Failure;
use crate::cli::operations::{self, Operation, document};
use crate::cli::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::databases::{
    self, BackupDocument, Depth, Jobs, ServerImage, VerifiesDocument, VerifyReport, VerifySettings,
};
use crate::engine::Engine;
use crate::report::{Message, Reporter};

/// Verifies dumps.
#[derive(Debug)]
pub struct Verify {
    dumps: Vec<BackupDocument>,
    depth: Depth,
    jobs: Jobs,
    /// An image to try them out in; their servers' own where absent.
    image: Option<String>,
}

/// `dpl db verify`.
pub fn run(arguments: &DatabaseVerifyArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, named) = session.targets(&arguments.backups)?;
    let dumps = dumps(&project, &named)?;
    let depth = if arguments.quick { Depth::Files } else { Depth::Restore };
    let jobs = arguments.jobs.and_then(Jobs::new).unwrap_or_default();
    let verify = Verify { dumps, depth, jobs, image: arguments.image.clone() };
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
    fn ids(&self) -> String {
        self.dumps.iter().map(|dump| dump.id.as_str()).collect::<Vec<_>>().join(", ")
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
        format!("dpl db verify {}", self.dumps.iter().map(|dump| quoted(&dump.id)).collect::<Vec<_>>().join(" "))
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
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
        document(&would)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let settings = VerifySettings { depth: self.depth, jobs: self.jobs, operator: operator() };
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
