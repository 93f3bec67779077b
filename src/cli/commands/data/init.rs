//! `data init`.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::place::{open, password_source, repository_folder};
use super::sheet::sheet;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::folders::{self, Access, FoldersError, Password};
use crate::fs::{Mode, create_dir_durably, write_new_durably};
use crate::manifest::model::SecretSource;
use crate::report::{Message, Reporter};
use crate::services::read_secret;
use crate::state::Operator;

/// What `data init --json` prints; the password stands on the recovery sheet alone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitReport {
    /// Where the repository lies.
    pub repository: String,
    /// Its ID; absent where it would be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it was made now; one that is there already stays as it is.
    pub created: bool,
    /// The file that the password was written to, where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_written_to: Option<String>,
}

/// Makes the repository.
#[derive(Debug)]
struct Init;

/// `dpl data init`.
pub fn run(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let folder = repository_folder(&project)?;
    password_source(&project)?;
    if folders::exists(&folder) {
        let id = open(&project, Access::Look)?.id()?;
        session.output.say(&message!("data-init-exists", path = folder.display()));
        return show(&project, session, &report(&folder, Some(id), None));
    }
    if !session.global.dry_run {
        Init.confirm(&project, session)?;
    }
    let document = operations::perform(&Init, &project, session)?;
    if session.global.dry_run {
        if session.output.json {
            session.output.document(&document)?;
        }
        return Ok(0);
    }
    let text = |field: &str| document.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut report = report(&folder, text("id"), text("password_written_to"));
    report.created = true;
    show(&project, session, &report)
}

/// The document, or the recovery sheet.
fn show(project: &Project, session: &Session, report: &InitReport) -> Result<u8, Failure> {
    if session.output.json {
        session.output.document(report)?;
        return Ok(0);
    }
    let password = read_secret("repository.password", password_source(project)?)
        .map_err(|error| Failure::Work(Box::new(error)))?;
    let named = (project.manifest().project.as_str(), report.id.as_deref().unwrap_or_default());
    let text = sheet(session.output.catalogue, named, Path::new(&report.repository), &password);
    session.output.data(&text)?;
    Ok(0)
}

fn report(folder: &Path, id: Option<String>, password_written_to: Option<String>) -> InitReport {
    InitReport { repository: folder.display().to_string(), id, created: false, password_written_to }
}

/// The password's file, where nothing is there yet, not even a link that leads nowhere, and it is going to be written.
fn missing_file(project: &Project) -> Result<Option<&Path>, Failure> {
    match password_source(project)? {
        SecretSource::File(path) if path.symlink_metadata().is_err() => Ok(Some(path)),
        _ => Ok(None),
    }
}

impl Operation for Init {
    fn announcement(&self) -> Message {
        message!("will-data-init")
    }

    fn command(&self) -> String {
        "dpl data init".to_owned()
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        session.confirm(&message!("confirm-data-init", path = repository_folder(project)?.display()))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let folder = repository_folder(project)?;
        session.output.say(&message!("would-data-init", path = folder.display()));
        let file = missing_file(project)?.map(|path| path.display().to_string());
        Shown::of(&report(&folder, None, file))
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let folder = repository_folder(project)?;
        let missing = missing_file(project)?;
        let written = missing.map(|path| path.display().to_string());
        settle(&report(&folder, None, written.clone()), reporter)?;
        // The password first: a repository whose password nobody has is of no use, a password without one harms nobody.
        if let Some(path) = missing {
            let failed = |source| FoldersError::File { path: path.to_owned(), source };
            path.parent().map_or(Ok(()), create_dir_durably).map_err(failed)?;
            write_new_durably(path, format!("{}\n", folders::new_password()).as_bytes(), Mode::Private)
                .map_err(failed)?;
        }
        crate::failpoint!("folders.init.password-written");
        let password = read_secret("repository.password", password_source(project)?)
            .map_err(|error| Failure::Work(Box::new(error)))?;
        let operator = Operator::of_process();
        let kind = if written.is_some() { Password::Random } else { Password::Chosen };
        let id = folders::create(&folder, (&password, kind), (&operator.user, &operator.host))?;
        session.output.say(&message!("data-init-done", path = folder.display()));
        document(&InitReport { created: true, ..report(&folder, Some(id), written) })
    }
}
