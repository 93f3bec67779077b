//! Events that work emits while it runs, and the request to stop it.
//!
//! Modules that do work know nothing of terminals: they emit an [`Event`], and a listener draws it, prints it or
//! writes it down. What a person reads is named by a [`Message`]: a key of the catalogue and its values, never a
//! finished sentence.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// A sentence of the catalogue: its key and the values of its placeholders. Made by `message!` alone, which knows the keys
/// and what each takes (`build.rs`). It is no text yet: only the catalogue of a language makes one of it; documents have its
/// English text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub key: &'static str,
    pub values: Vec<(&'static str, Value)>,
}

/// What stands for a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// A sentence inside a sentence, in the same language.
    Message(Message),
    /// Several of them: `{name:lines}` puts each on a line of its own, `{name}` one behind another.
    Several(Vec<Message>),
    /// Names and the like, with what stands between them in the language.
    List(Vec<String>),
}

/// What can be given to `message!`: all that can be shown, and messages.
pub trait ToValue {
    fn to_value(&self) -> Value;
}

impl<T: fmt::Display + ?Sized> ToValue for T {
    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl ToValue for Message {
    fn to_value(&self) -> Value {
        Value::Message(self.clone())
    }
}

/// Several sentences as one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Several(pub Vec<Message>);

impl ToValue for Several {
    fn to_value(&self) -> Value {
        Value::Several(self.0.clone())
    }
}

/// Several names as one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed(Vec<String>);

impl Listed {
    pub fn of<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> Self {
        Self(names.into_iter().map(|name| name.to_string()).collect())
    }
}

impl ToValue for Listed {
    fn to_value(&self) -> Value {
        Value::List(self.0.clone())
    }
}

/// What says something to a person: an error of ours above all, without its causes.
pub trait Told {
    fn message(&self) -> Message;

    /// What to do about it, where something can be done and the sentence does not say it.
    fn hint(&self) -> Option<Message> {
        None
    }
}

impl Told for Message {
    fn message(&self) -> Message {
        self.clone()
    }
}

impl<T: Told + ?Sized> Told for &T {
    fn message(&self) -> Message {
        (**self).message()
    }

    fn hint(&self) -> Option<Message> {
        (**self).hint()
    }
}

impl<T: Told + ?Sized> Told for Box<T> {
    fn message(&self) -> Message {
        (**self).message()
    }

    fn hint(&self) -> Option<Message> {
        (**self).hint()
    }
}

impl Message {
    #[doc(hidden)]
    pub const fn without_values(key: &'static str) -> Self {
        Self { key, values: Vec::new() }
    }

    /// How many bytes its texts have, those of sentences inside it too.
    pub fn text_bytes(&self) -> usize {
        let of_value = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Message(message) => message.text_bytes(),
            Value::Several(messages) => messages.iter().map(Self::text_bytes).sum(),
            Value::List(names) => names.iter().map(String::len).sum(),
        };
        self.values.iter().map(|(_, value)| of_value(value)).sum()
    }

    /// Changes every text in it, those of sentences inside it too.
    pub fn change_texts(&mut self, change: &dyn Fn(&str) -> String) {
        for (_, value) in &mut self.values {
            match value {
                Value::Text(text) => *text = change(text),
                Value::Message(message) => message.change_texts(change),
                Value::Several(messages) => messages.iter_mut().for_each(|message| message.change_texts(change)),
                Value::List(names) => names.iter_mut().for_each(|name| *name = change(name)),
            }
        }
    }

    #[doc(hidden)]
    pub const fn with_values(key: &'static str, values: Vec<(&'static str, Value)>) -> Self {
        Self { key, values }
    }
}

/// What is being done to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    SaveImage,
    LoadImage,
    VerifyImage,
    ImportImage,
    ReadArchive,
    ExportImage,
    PruneImages,
    RemoveImage,
    NameImage,
    CreateNetwork,
    RemoveNetwork,
    CreateVolume,
    RemoveVolume,
    CreateContainer,
    StartContainer,
    RestartContainer,
    WaitReady,
    StopContainer,
    PauseContainer,
    RenameContainer,
    UpdateContainer,
    RemoveContainer,
    DumpDatabase,
    VerifyDump,
    CreateDatabase,
    RestoreDatabase,
    PatchDatabase,
    ConvertDump,
    SwapDatabase,
    DropDatabase,
    RemoveBackup,
    SnapshotFolder,
    RestoreFolder,
    VerifySnapshots,
    PruneSnapshots,
    FetchBackup,
    FetchJournal,
    SendFile,
    PlaceFile,
    CreateRelease,
    RemoveRelease,
    WritePackage,
    MakeDelta,
    RebuildLayer,
    ReadPackage,
    StageFiles,
    SwapFiles,
}

impl Activity {
    /// The word that the journal and JSON progress use.
    pub fn word(self) -> &'static str {
        match self {
            Self::SaveImage => "save-image",
            Self::LoadImage => "load-image",
            Self::VerifyImage => "verify-image",
            Self::ImportImage => "import-image",
            Self::ReadArchive => "read-archive",
            Self::ExportImage => "export-image",
            Self::PruneImages => "prune-images",
            Self::RemoveImage => "remove-image",
            Self::NameImage => "name-image",
            Self::CreateNetwork => "create-network",
            Self::RemoveNetwork => "remove-network",
            Self::CreateVolume => "create-volume",
            Self::RemoveVolume => "remove-volume",
            Self::CreateContainer => "create-container",
            Self::StartContainer => "start-container",
            Self::RestartContainer => "restart-container",
            Self::WaitReady => "wait-ready",
            Self::StopContainer => "stop-container",
            Self::PauseContainer => "pause-container",
            Self::RenameContainer => "rename-container",
            Self::UpdateContainer => "update-container",
            Self::RemoveContainer => "remove-container",
            Self::DumpDatabase => "dump-database",
            Self::VerifyDump => "verify-dump",
            Self::CreateDatabase => "create-database",
            Self::RestoreDatabase => "restore-database",
            Self::PatchDatabase => "patch-database",
            Self::ConvertDump => "convert-dump",
            Self::SwapDatabase => "swap-database",
            Self::DropDatabase => "drop-database",
            Self::RemoveBackup => "remove-backup",
            Self::SnapshotFolder => "snapshot-folder",
            Self::RestoreFolder => "restore-folder",
            Self::VerifySnapshots => "verify-snapshots",
            Self::PruneSnapshots => "prune-snapshots",
            Self::FetchBackup => "fetch-backup",
            Self::FetchJournal => "fetch-journal",
            Self::SendFile => "send-file",
            Self::PlaceFile => "place-file",
            Self::CreateRelease => "create-release",
            Self::RemoveRelease => "remove-release",
            Self::WritePackage => "write-package",
            Self::MakeDelta => "make-delta",
            Self::RebuildLayer => "rebuild-layer",
            Self::ReadPackage => "read-package",
            Self::StageFiles => "stage-files",
            Self::SwapFiles => "swap-files",
        }
    }
}

/// How one piece of work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the message says in what way (`saved`, `unchanged`, …).
    Done(Message),
    /// It failed; the error itself travels as the operation's result.
    Failed { reason: Message },
}

/// Something that happened while work runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Work on `subject` (an image's reference, a service, a database) begins; written to the journal before the
    /// first change.
    Began { activity: Activity, subject: String, total_bytes: Option<u64> },
    /// So many bytes of it are done, counted from its beginning.
    Advanced { activity: Activity, subject: String, done_bytes: u64, total_bytes: Option<u64> },
    /// So many of its parts (a database's tables) are done.
    Counted { activity: Activity, subject: String, done: u64, total: u64 },
    /// It ended.
    Ended { activity: Activity, subject: String, outcome: Outcome },
    /// So much of one kind is going to be done, all together; said before the first of it begins.
    Planned { activity: Activity, count: usize, total_bytes: Option<u64> },
    /// What is going to be done has been settled: the digest of the plan, as `--dry-run --json` prints its steps.
    Settled { plan: String },
    /// Worth a line, nothing to worry about.
    Notice(Message),
    /// Worth a line to those who want to know more.
    Detail(Message),
    /// Something that the operator should look at; the work goes on.
    Warning(Message),
}

/// What receives events: the terminal, the journal, a test. Must return at once.
pub trait Listener: Send + Sync {
    fn hear(&self, event: &Event);
}

/// The handle that every operation gets: where its events go, and whether it has been asked to stop.
#[derive(Clone, Default)]
pub struct Reporter {
    listeners: Arc<Vec<Arc<dyn Listener>>>,
    stop: CancellationToken,
}

impl Reporter {
    /// `stop` is cancelled when the operator asks for an end (Ctrl-C): work then ends at its next safe point.
    pub fn new(listeners: Vec<Arc<dyn Listener>>, stop: CancellationToken) -> Self {
        Self { listeners: Arc::new(listeners), stop }
    }

    /// The same listeners, for work that has to be done whether or not an end was asked for: services that were stopped
    /// for a moment start again.
    pub fn undisturbed(&self) -> Self {
        Self { listeners: self.listeners.clone(), stop: CancellationToken::new() }
    }

    pub fn emit(&self, event: Event) {
        for listener in self.listeners.iter() {
            listener.hear(&event);
        }
    }

    pub fn planned(&self, activity: Activity, count: usize, total_bytes: Option<u64>) {
        self.emit(Event::Planned { activity, count, total_bytes });
    }

    pub fn settled(&self, plan: impl fmt::Display) {
        self.emit(Event::Settled { plan: plan.to_string() });
    }

    pub fn began(&self, activity: Activity, subject: impl Into<String>, total_bytes: Option<u64>) {
        self.emit(Event::Began { activity, subject: subject.into(), total_bytes });
    }

    pub fn advanced(&self, activity: Activity, subject: impl Into<String>, done_bytes: u64, total_bytes: Option<u64>) {
        self.emit(Event::Advanced { activity, subject: subject.into(), done_bytes, total_bytes });
    }

    /// Counts the bytes of one piece of work, and tells them.
    pub fn meter(&self, activity: Activity, subject: impl Into<String>, total_bytes: Option<u64>) -> Meter {
        Meter { reporter: self.clone(), activity, subject: subject.into(), total_bytes, done_bytes: 0, told_bytes: 0 }
    }

    pub fn counted(&self, activity: Activity, subject: impl Into<String>, done: u64, total: u64) {
        self.emit(Event::Counted { activity, subject: subject.into(), done, total });
    }

    pub fn done(&self, activity: Activity, subject: impl Into<String>, message: Message) {
        self.emit(Event::Ended { activity, subject: subject.into(), outcome: Outcome::Done(message) });
    }

    pub fn failed(&self, activity: Activity, subject: impl Into<String>, reason: impl Told) {
        let outcome = Outcome::Failed { reason: reason.message() };
        self.emit(Event::Ended { activity, subject: subject.into(), outcome });
    }

    pub fn notice(&self, message: Message) {
        self.emit(Event::Notice(message));
    }

    pub fn detail(&self, message: Message) {
        self.emit(Event::Detail(message));
    }

    pub fn warn(&self, message: Message) {
        self.emit(Event::Warning(message));
    }

    /// Whether the operator has asked for an end: look at it between two steps, never inside one.
    pub fn asked_to_stop(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the operator asks for an end; for waits that change nothing.
    pub async fn stop_asked(&self) {
        self.stop.cancelled().await;
    }
}

/// Often enough for a bar that moves.
const TOLD_EVERY_BYTES: u64 = 1 << 20;

/// How far one piece of work has come.
pub struct Meter {
    reporter: Reporter,
    activity: Activity,
    subject: String,
    total_bytes: Option<u64>,
    done_bytes: u64,
    told_bytes: u64,
}

impl Meter {
    pub fn add(&mut self, bytes: u64) {
        self.reach(self.done_bytes + bytes);
    }

    /// So much is done by now.
    pub fn reach(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
        let is_end = self.total_bytes == Some(done_bytes) && done_bytes > self.told_bytes;
        if is_end || done_bytes >= self.told_bytes + TOLD_EVERY_BYTES {
            self.told_bytes = done_bytes;
            // A total may have been guessed.
            let total_bytes = self.total_bytes.map(|total| total.max(done_bytes));
            self.reporter.advanced(self.activity, &self.subject, done_bytes, total_bytes);
        }
    }

    /// Another total than was thought.
    pub fn set_total(&mut self, total_bytes: u64) {
        self.total_bytes = Some(total_bytes);
    }

    pub fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What is read through it is counted, and ends with an error when the operator asks for an end.
    pub fn over<R>(&mut self, inner: R) -> Metered<'_, R> {
        Metered { inner, meter: self }
    }
}

/// A reader whose bytes a [`Meter`] counts.
pub struct Metered<'a, R> {
    inner: R,
    meter: &'a mut Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.reporter.asked_to_stop() {
            return Err(io::Error::other("stopped on request"));
        }
        let read = self.inner.read(buffer)?;
        self.meter.add(read as u64);
        Ok(read)
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reporter").field("listeners", &self.listeners.len()).finish()
    }
}

/// An error and its causes in one line; a cause that only says again what was said is left out.
pub fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Option<u64>)>>);

    impl Listener for Heard {
        fn hear(&self, event: &Event) {
            if let Event::Advanced { done_bytes, total_bytes, .. } = event {
                self.0.lock().unwrap().push((*done_bytes, *total_bytes));
            }
        }
    }

    #[test]
    fn a_meter_tells_each_mebibyte_and_the_end_and_no_more() {
        let heard = Arc::new(Heard::default());
        let stop = CancellationToken::new();
        let reporter = Reporter::new(vec![heard.clone()], stop.clone());
        let mut meter = reporter.meter(Activity::SaveImage, "a:1", Some(3_000_000));
        meter.add(1000);
        meter.add(TOLD_EVERY_BYTES);
        meter.add(0);
        meter.reach(3_000_000);
        // The total was a guess.
        meter.add(10);
        meter.add(TOLD_EVERY_BYTES);
        let end = 3_000_010 + TOLD_EVERY_BYTES;
        assert_eq!(
            *heard.0.lock().unwrap(),
            [(1000 + TOLD_EVERY_BYTES, Some(3_000_000)), (3_000_000, Some(3_000_000)), (end, Some(end))]
        );
        let mut bytes = [0; 4];
        assert_eq!(meter.over(&[7; 4][..]).read(&mut bytes).unwrap(), 4);
        stop.cancel();
        assert!(meter.over(&[7; 4][..]).read(&mut bytes).is_err());
    }
}
