//! Every way in which a command can fail: its page and its exit code.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::manifest_page;
use super::output::{Output, Tone, WriteError};
use crate::catalogue::{self, Catalogue, causes, told};
use crate::databases::DatabasesError;
use crate::engine::{AddressError, EngineError};
use crate::files::FilesError;
use crate::folders::FoldersError;
use crate::images::ImagesError;
use crate::manifest::{BesideError, ManifestErrors, SelectorError};
use crate::packages::PackagesError;
use crate::report::{Message, Several, Told};
use crate::services::ServicesError;
use crate::sites::{FetchError, SitesError};
use crate::state::StateError;

/// Why a command ended without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// What was typed makes no sense; the text says why, the hint what would.
    Usage { message: Message, hint: Option<Message> },
    /// The selector chooses nothing.
    Selector(SelectorError),
    /// The manifest is wrong.
    Manifest(Box<ManifestErrors>),
    /// The engine's address makes no sense.
    Address(AddressError),
    /// The work itself failed.
    Work(Box<dyn Error + Send + Sync>),
    /// Some of it was done; the document says what, and each failure what not.
    Some { document: serde_json::Value, failures: Vec<Failure> },
    /// The operator asked for an end; the work stopped at a safe point.
    Interrupted,
    /// The operator said no.
    Declined,
    /// The operator left at a question.
    Left,
    /// The terminal can't be used.
    Terminal(io::Error),
    /// Standard output can't be written.
    Output(io::Error),
}

impl Failure {
    pub fn usage(message: Message) -> Self {
        Self::Usage { message, hint: None }
    }

    pub fn usage_with_hint(message: Message, hint: Message) -> Self {
        Self::Usage { message, hint: Some(hint) }
    }

    /// Whether somebody else is writing to the image store, or works in the repository of snapshots.
    pub fn is_store_busy(&self) -> bool {
        matches!(self, Self::Work(error) if matches!(find::<ImagesError>(error.as_ref()), Some(ImagesError::StoreBusy { .. }))
            || find::<FoldersError>(error.as_ref()).is_some_and(FoldersError::is_locked))
    }

    /// The same error of the work, said as `message`; without `hint` what its causes advise is the advice.
    pub fn explained(self, message: Message, hint: Option<Message>) -> Self {
        match self {
            Self::Work(source) => Self::Work(Box::new(ExplainedError { message, hint, source })),
            other => other,
        }
    }

    /// The same error of the work, with what to do about it.
    pub fn with_hint(self, hint: Message) -> Self {
        let headline = match &self {
            Self::Work(error) => causes(error.as_ref(), as_told).into_iter().next(),
            _ => None,
        };
        match headline {
            Some(message) => self.explained(message, Some(hint)),
            None => self,
        }
    }

    /// The exit code (docs/command-line.md).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Selector(_) | Self::Address(_) => 2,
            Self::Manifest(_) => 3,
            Self::Work(error) => work_exit_code(error.as_ref()),
            Self::Some { failures, .. } => failures.iter().map(Self::exit_code).find(|code| *code > 2).unwrap_or(1),
            Self::Declined => 1,
            Self::Interrupted | Self::Left => 130,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Terminal(_) | Self::Output(_) => 1,
        }
    }

    /// Whether it is about what is there now, which something done before it may change.
    pub fn is_about_the_present_state(&self) -> bool {
        match self {
            Self::Work(error) => !is_unreachable(error.as_ref()),
            Self::Some { failures, .. } => failures.iter().all(Self::is_about_the_present_state),
            _ => false,
        }
    }

    /// Whether the work goes on at a site, where nobody waits for it any more.
    pub fn left_it_running(&self) -> bool {
        match self {
            Self::Work(error) => matches!(find::<SitesError>(error.as_ref()), Some(SitesError::Left { .. })),
            _ => false,
        }
    }

    /// Whether it says no more than that the operator asked for an end.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Interrupted | Self::Declined | Self::Left => true,
            Self::Work(error) => {
                find::<DatabasesError>(error.as_ref()).is_some_and(DatabasesError::is_stop)
                    || matches!(find::<ServicesError>(error.as_ref()), Some(ServicesError::Interrupted { .. }))
                    || matches!(find::<ImagesError>(error.as_ref()), Some(ImagesError::Interrupted { .. }))
                    || matches!(find::<PackagesError>(error.as_ref()), Some(PackagesError::Stopped))
                    || find::<FilesError>(error.as_ref()).is_some_and(FilesError::is_stop)
                    || find::<FoldersError>(error.as_ref()).is_some_and(FoldersError::is_stop)
            }
            Self::Some { failures, .. } => failures.iter().all(Self::is_stop),
            _ => false,
        }
    }

    /// The reason and its causes in one line.
    pub fn in_words(&self, catalogue: &Catalogue) -> String {
        catalogue.text(&self.message())
    }

    /// One line for the journal and for documents, in English.
    pub fn summary(&self) -> String {
        Catalogue::english().text(&self.message())
    }

    /// Shows the page on standard error and gives the exit code.
    pub fn show(&self, output: &Output) -> u8 {
        match self {
            Self::Usage { message, hint } => page(output, &[output.catalogue.text(message)], hint.as_ref()),
            Self::Selector(error) => page(output, &chain(error, output.catalogue), None),
            Self::Manifest(errors) => manifest_page::show(output, &errors.sources, &errors.problems),
            Self::Address(error) => page(output, &chain(error, output.catalogue), error.hint().as_ref()),
            Self::Work(error) => {
                page(output, &chain(error.as_ref(), output.catalogue), hint(error.as_ref()).as_ref());
                let particulars = find::<ServicesError>(error.as_ref()).map(ServicesError::particulars);
                for (depth, line) in particulars.into_iter().flatten() {
                    output.line(&format!("{:width$}{}", "", output.catalogue.text(&line), width = 2 + 2 * depth));
                }
            }
            Self::Some { failures, .. } => failures.iter().for_each(|failure| _ = failure.show(output)),
            Self::Interrupted => output.line(&output.catalogue.text(&message!("interrupted"))),
            Self::Declined => output.line(&output.catalogue.text(&message!("declined"))),
            Self::Left => {}
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Terminal(error) => {
                let headline = output.catalogue.text(&message!("failure-terminal"));
                page(output, &[headline, error.to_string()], None);
            }
            Self::Output(error) => {
                let headline = output.catalogue.text(&message!("failure-output"));
                page(output, &[headline, error.to_string()], None);
            }
        }
        self.exit_code()
    }
}

/// All of it in one line.
impl Told for Failure {
    fn message(&self) -> Message {
        match self {
            Self::Usage { message, .. } => message.clone(),
            Self::Selector(error) => in_one_line(error),
            Self::Manifest(error) => in_one_line(error.as_ref()),
            Self::Address(error) => in_one_line(error),
            Self::Work(error) => in_one_line(error.as_ref()),
            Self::Some { failures, .. } => {
                message!("words", text = Several(failures.iter().map(Self::message).collect()))
            }
            Self::Interrupted => message!("failure-interrupted"),
            Self::Declined | Self::Left => message!("failure-declined"),
            Self::Terminal(error) | Self::Output(error) => in_one_line(error),
        }
    }
}

/// An error and its causes, each said once, in that language.
fn chain(error: &(dyn Error + 'static), catalogue: &Catalogue) -> Vec<String> {
    causes(error, as_told).iter().map(|cause| catalogue.text(cause)).collect()
}

/// A folder that something can't be written into.
#[derive(Debug, thiserror::Error)]
pub struct FolderError {
    pub folder: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Told for FolderError {
    fn message(&self) -> Message {
        message!("error-man-folder", folder = self.folder.display())
    }
}

/// An error of which the command knows more than who met it: what it was about, or what to do.
#[derive(Debug, thiserror::Error)]
pub struct ExplainedError {
    message: Message,
    hint: Option<Message>,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Told for ExplainedError {
    fn message(&self) -> Message {
        self.message.clone()
    }

    fn hint(&self) -> Option<Message> {
        self.hint.clone()
    }
}

told!(FolderError, ExplainedError; crate::packages::as_told, crate::folders::as_told, crate::files::as_told);

fn page(output: &Output, chain: &[String], hint: Option<&Message>) {
    let mut said = chain.iter();
    let headline = said.next().map(String::as_str).unwrap_or_default();
    let catalogue = output.catalogue;
    output.line(&format!("{} {headline}", output.paint_err(Tone::Bad, catalogue.word(message!("label-error")))));
    let because = format!("  {} ", catalogue.word(message!("label-because")));
    let indent = console::measure_text_width(&because);
    for cause in said {
        for (index, line) in cause.lines().enumerate() {
            let before = if index == 0 { because.as_str() } else { "" };
            output.line(&format!("{before}{:width$}{line}", "", width = if index == 0 { 0 } else { indent }));
        }
    }
    if let Some(hint) = hint {
        let label = output.paint_err(Tone::Attention, output.catalogue.word(message!("label-hint")));
        output.line(&format!("  {label} {}", output.catalogue.text(hint)));
    }
}

pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether there is no engine, or none any more.
fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    find::<EngineError>(error).is_some_and(EngineError::is_unreachable)
        || find::<ServicesError>(error).is_some_and(ServicesError::lost_the_engine)
        || find::<SitesError>(error).is_some_and(SitesError::is_unreachable)
}

fn work_exit_code(error: &(dyn Error + Send + Sync + 'static)) -> u8 {
    if is_unreachable(error) {
        return 4;
    }
    if find::<EngineError>(error).is_some_and(EngineError::is_locked_out)
        || find::<ServicesError>(error).is_some_and(ServicesError::is_locked_out)
    {
        return 5;
    }
    let is_store_busy = matches!(find::<ImagesError>(error), Some(ImagesError::StoreBusy { .. }))
        || find::<FoldersError>(error).is_some_and(FoldersError::is_locked);
    match find::<StateError>(error) {
        Some(StateError::Locked(_)) => 5,
        _ if is_store_busy => 5,
        _ => 1,
    }
}

/// What to do about an error whose text does not say it itself.
fn hint(error: &(dyn Error + 'static)) -> Option<Message> {
    match is_unreachable(error) && find::<SitesError>(error).is_none() {
        true => {
            let said = find::<EngineError>(error).filter(|error| error.is_unreachable()).and_then(Told::hint);
            Some(said.unwrap_or_else(|| message!("hint-unreachable")))
        }
        false => catalogue::hint(error, as_told).or_else(|| match find::<ServicesError>(error) {
            Some(ServicesError::Problems(problems)) => {
                problems.iter().find_map(|problem| catalogue::hint(problem, as_told))
            }
            _ => None,
        }),
    }
}

/// Errors of the modules become failures of the command.
macro_rules! work {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Work(Box::new(error))
            }
        }
    )*};
}

work!(
    EngineError,
    StateError,
    ImagesError,
    ServicesError,
    DatabasesError,
    BesideError,
    SitesError,
    PackagesError,
    FoldersError,
    FilesError
);

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Stopped => Self::Interrupted,
            other => Self::Work(Box::new(other)),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(WriteError(error): WriteError) -> Self {
        Self::Output(error)
    }
}

impl From<SelectorError> for Failure {
    fn from(error: SelectorError) -> Self {
        Self::Selector(error)
    }
}

impl From<ManifestErrors> for Failure {
    fn from(errors: ManifestErrors) -> Self {
        Self::Manifest(Box::new(errors))
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogue::Language;
    use crate::services::{InputError, Problem};

    #[test]
    fn a_secret_that_several_services_lack_is_one_line_with_what_to_do() {
        let lacks = |service: &str, variable: &str| Problem::Input {
            service: service.to_owned(),
            source: InputError::SecretFile {
                variable: variable.to_owned(),
                path: "secrets/pg".into(),
                source: Arc::new(io::ErrorKind::NotFound.into()),
            },
        };
        let problems = vec![lacks("web", "PASSWORD"), lacks("db", "POSTGRES_PASSWORD"), Problem::NoPortsPublished];
        let error = ServicesError::Problems(problems);
        let lines = error.particulars();
        let said: Vec<String> = lines.iter().map(|(_, line)| Catalogue::english().text(line)).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(error.to_string(), "2 problems found, and nothing was changed", "as many as are shown");
        assert_eq!(said[1], "the secret file secrets/pg can't be read (entity not found); needed by db, web");
        let in_chinese = Catalogue::of(Language::Chinese).text(&lines[1].1);
        assert!(in_chinese.ends_with("需要它的服务：db、web"), "{in_chinese}");
        assert_eq!(hint(&error).map(|hint| hint.key), Some("hint-secret-file"));
    }

    #[test]
    fn an_empty_secret_of_several_services_is_one_line_with_what_to_do() {
        let lacks = |service: &str| Problem::Input {
            service: service.to_owned(),
            source: InputError::SecretEmpty { variable: "PASSWORD".to_owned(), path: "secrets/pg".into() },
        };
        let error = ServicesError::Problems(vec![lacks("web"), lacks("db")]);
        let said: Vec<String> = error.particulars().iter().map(|(_, line)| Catalogue::english().text(line)).collect();
        assert_eq!(said, ["the secret file secrets/pg is empty; needed by db, web"]);
        assert_eq!(hint(&error).map(|hint| hint.key), Some("hint-secret-file"));
    }

    #[test]
    fn a_port_that_is_taken_and_an_image_that_is_missing_come_with_what_to_do() {
        let advice = |problem: Problem| hint(&ServicesError::Problems(vec![problem])).map(|hint| hint.key);
        let (service, port) = (|| "web".to_owned(), || "8080/tcp".to_owned());
        let taken = Problem::PortTaken { service: service(), port: port(), holder: "proxy".to_owned() };
        assert_eq!(advice(taken), Some("hint-port-of-container"));
        let held = Problem::PortHeld { service: service(), port: port(), holder: message!("holder-unknown") };
        assert_eq!(advice(held), Some("hint-port-of-process"));
        let missing = Problem::ImageMissing { service: service(), reference: "web:1".parse().unwrap() };
        assert_eq!(advice(missing), Some("hint-image-into-store"));
    }

    #[test]
    fn what_the_command_knows_is_said_before_the_cause_and_changes_nothing_of_it() {
        let down = || DatabasesError::NoContainer { container: "p-db-1".to_owned() };
        let failure = Failure::from(down()).explained(message!("dump-failed", databases = "a, b"), None);
        let failure = failure.with_hint(message!("hint-start-flag"));
        assert_eq!(failure.summary(), "no dump of a, b was made: container p-db-1 does not exist");
        let Failure::Work(error) = &failure else { panic!("{failure:?}") };
        assert!(find::<DatabasesError>(error.as_ref()).is_some());
        assert_eq!(hint(error.as_ref()).map(|hint| hint.key), Some("hint-start-flag"));
    }
}
