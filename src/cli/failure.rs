//! Every way in which a command can fail: its page and its exit code.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use super::manifest_page;
use super::output::{Output, Tone};
use crate::catalogue::Catalogue;
use crate::databases::DatabasesError;
use crate::engine::{AddressError, EngineError, EngineErrorKind};
use crate::images::ImagesError;
use crate::manifest::{BesideError, ManifestErrors, SelectorError};
use crate::report::Message;
use crate::services::ServicesError;
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

    /// Whether somebody else is writing to the image store.
    pub fn is_store_busy(&self) -> bool {
        matches!(self, Self::Work(error) if matches!(find::<ImagesError>(error.as_ref()), Some(ImagesError::StoreBusy { .. })))
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
        matches!(self, Self::Work(error) if !is_unreachable(error.as_ref()))
    }

    /// Whether it says no more than that the operator asked for an end.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Interrupted | Self::Declined | Self::Left => true,
            Self::Work(error) => {
                find::<DatabasesError>(error.as_ref()).is_some_and(DatabasesError::is_stop)
                    || matches!(find::<ServicesError>(error.as_ref()), Some(ServicesError::Interrupted { .. }))
                    || matches!(find::<ImagesError>(error.as_ref()), Some(ImagesError::Interrupted { .. }))
            }
            Self::Some { failures, .. } => failures.iter().all(Self::is_stop),
            _ => false,
        }
    }

    /// One line for the journal.
    pub fn summary(&self) -> String {
        match self {
            Self::Usage { message, .. } => Catalogue::english().text(message),
            Self::Selector(error) => error.to_string(),
            Self::Manifest(error) => error.to_string(),
            Self::Address(error) => error.to_string(),
            Self::Work(error) => chain(error.as_ref()).join(": "),
            Self::Some { failures, .. } => failures.iter().map(Self::summary).collect::<Vec<_>>().join("; "),
            Self::Interrupted => "interrupted".to_owned(),
            Self::Declined | Self::Left => "declined".to_owned(),
            Self::Terminal(error) | Self::Output(error) => error.to_string(),
        }
    }

    /// Shows the page on standard error and gives the exit code.
    pub fn show(&self, output: &Output) -> u8 {
        match self {
            Self::Usage { message, hint } => page(output, &[output.catalogue.text(message)], hint.as_ref()),
            Self::Selector(error) => page(output, &[error.to_string()], None),
            Self::Manifest(errors) => manifest_page::show(output, &errors.sources, &errors.problems),
            Self::Address(error) => page(output, &chain(error), None),
            Self::Work(error) => {
                page(output, &chain(error.as_ref()), hint(error.as_ref()).as_ref());
                let particulars = find::<ServicesError>(error.as_ref()).map(ServicesError::particulars);
                particulars.into_iter().flatten().for_each(|line| output.line(&format!("  {line}")));
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

/// An error and its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said
}

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
}

fn work_exit_code(error: &(dyn Error + Send + Sync + 'static)) -> u8 {
    if is_unreachable(error) {
        return 4;
    }
    if find::<EngineError>(error).is_some_and(EngineError::is_locked_out) {
        return 5;
    }
    let is_store_busy = matches!(find::<ImagesError>(error), Some(ImagesError::StoreBusy { .. }));
    match find::<StateError>(error) {
        Some(StateError::Locked(_)) => 5,
        _ if is_store_busy => 5,
        _ => 1,
    }
}

/// What to do about an error whose text does not say it itself.
fn hint(error: &(dyn Error + Send + Sync + 'static)) -> Option<Message> {
    if is_unreachable(error) {
        return Some(message!("hint-unreachable"));
    }
    if let Some(hint) = find::<ImagesError>(error).and_then(ImagesError::hint) {
        return Some(hint);
    }
    if let Some(
        DatabasesError::Patch { database, .. }
        | DatabasesError::Patches { database, .. }
        | DatabasesError::CannotPreserve { database, .. },
    ) = find::<DatabasesError>(error)
    {
        return Some(message!("hint-exact", database = database));
    }
    match find::<DatabasesError>(error) {
        Some(DatabasesError::AfterSwap { database, .. }) => {
            return Some(message!("hint-after-swap", database = database));
        }
        Some(DatabasesError::NoBackup { nearest: Some(meant), .. }) => {
            return Some(message!("hint-backup-meant", meant = meant));
        }
        Some(DatabasesError::NoBackup { last: Some(last), database, .. }) => {
            return Some(message!("hint-backup-last", last = last, database = database));
        }
        _ => {}
    }
    match find::<EngineError>(error).map(EngineError::kind) {
        Some(EngineErrorKind::Locked) => return Some(message!("hint-locked-engine")),
        Some(EngineErrorKind::LockLost) => return Some(message!("hint-lock-lost")),
        Some(EngineErrorKind::Stalled) => return Some(message!("hint-stalled")),
        Some(EngineErrorKind::TimedOut) => return Some(message!("hint-no-answer")),
        _ => {}
    }
    // Each has failed by itself; what helps the first of them helps all.
    if let Some(ServicesError::Failed { failures, .. }) = find::<ServicesError>(error)
        && let Some(hint) = failures.iter().find_map(|failure| hint(&failure.error))
    {
        return Some(hint);
    }
    if find::<io::Error>(error).and_then(Errno::from_io_error) == Some(Errno::NOLCK) {
        return Some(message!("hint-no-locks"));
    }
    match find::<StateError>(error) {
        Some(StateError::Locked(_)) => Some(message!("hint-locked")),
        Some(StateError::Newer { .. }) => Some(message!("hint-state-newer")),
        Some(StateError::Write { source, .. } | StateError::Read { source, .. }) => match source.kind() {
            io::ErrorKind::PermissionDenied => Some(message!("hint-state-permission")),
            io::ErrorKind::ReadOnlyFilesystem => Some(message!("hint-state-read-only")),
            _ => None,
        },
        _ => None,
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

work!(EngineError, StateError, ImagesError, ServicesError, DatabasesError, BesideError);

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
