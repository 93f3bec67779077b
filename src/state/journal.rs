//! What was done: JSON lines for the begin of an action, each step and its end. Begin and end are safe on disk before work goes
//! on; a step is in the file by then, which outlasts this process, and on the disk within a tenth of a second or so.
//!
//! Append-only. A line that a crash cut off is passed over by readers and never continued by writers.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::folder::StateDir;
use super::operator::Operator;
use super::{FORMAT, StateError};
use crate::fs::Digest;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// An action begins.
    Begin(Action),
    /// What the action is going to do has been settled; `digest` is that of its plan.
    Plan { action: u64, at: Timestamp, digest: String },
    /// A step is about to change something.
    Step { action: u64, at: Timestamp, activity: String, subject: String },
    /// A step has ended.
    StepEnd(StepEnd),
    /// The action has ended.
    End(ActionEnd),
}

/// An action: one command, one chain, one choice of the menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Counts up from 1 in each journal.
    pub number: u64,
    /// The format that the lines of this action are written in; 0 for those of an older dpl.
    #[serde(default)]
    pub format: u32,
    pub at: Timestamp,
    #[serde(flatten)]
    pub operator: Operator,
    /// The version of dpl.
    pub version: String,
    #[serde(serialize_with = "crate::fs::serialize_shown")]
    pub manifest: PathBuf,
    pub manifest_digest: Digest,
    /// The engine's address.
    pub engine: String,
    /// The command as it could be typed; it never holds a secret.
    pub command: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    pub action: u64,
    pub at: Timestamp,
    pub activity: String,
    pub subject: String,
    /// `None` when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionEnd {
    pub action: u64,
    pub at: Timestamp,
    /// The exit code of the program, were it to end here.
    pub exit_code: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The journal, open for one action.
///
/// The begin and the end of an action are on the disk before anything else happens. Its steps are in the file at once, which
/// a killed process leaves whole, and on the disk a moment later, by a thread of its own: a stack has hundreds of them, and
/// what waits for the disk would hold all others up.
pub struct Journal {
    file: Mutex<Lines>,
    sync: Sync,
    path: PathBuf,
    action: u64,
}

/// The end of the file.
struct Lines {
    file: File,
    /// Whether the last line could be written only in part: the next one must not be joined to it.
    is_torn: bool,
}

impl Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.is_torn = true;
        self.file.write_all(line)?;
        self.is_torn = false;
        Ok(())
    }
}

/// The journal's name in the folder of a project's state.
pub const FILE: &str = "journal.jsonl";

/// A line is some hundred bytes; what is longer was not written by us.
const LONGEST_LINE: u64 = 64 * 1024;

impl Journal {
    /// Writes the begin of an action. The project's lock must be held.
    pub fn begin(
        state: &StateDir,
        operator: &Operator,
        manifest: (&Path, Digest),
        engine: &str,
        command: &str,
    ) -> Result<Self, StateError> {
        state.create()?;
        let path = state.file(FILE);
        let write = |source| StateError::Write { path: path.clone(), source };
        let last = last_action(state)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(write)?;
        state.share(&file);
        end_torn_line(&mut file).map_err(write)?;
        let sync = Sync::of(&file).map_err(write)?;
        let file = Mutex::new(Lines { file, is_torn: false });
        let journal = Self { file, sync, path: path.clone(), action: last + 1 };
        journal.append_durably(&Entry::Begin(Action {
            number: journal.action,
            format: FORMAT,
            at: now(),
            operator: operator.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: manifest.0.to_owned(),
            manifest_digest: manifest.1,
            engine: engine.to_owned(),
            command: command.to_owned(),
        }))?;
        crate::failpoint!("state.journal.after-begin");
        Ok(journal)
    }

    /// The action's number.
    pub fn action(&self) -> u64 {
        self.action
    }

    /// A plan has been made, of which this is the digest.
    pub fn plan(&self, digest: &str) -> Result<(), StateError> {
        self.append(&Entry::Plan { action: self.action, at: now(), digest: digest.to_owned() })
    }

    /// A step is about to begin.
    pub fn step(&self, activity: &str, subject: &str) -> Result<(), StateError> {
        let (activity, subject) = (activity.to_owned(), subject.to_owned());
        self.append(&Entry::Step { action: self.action, at: now(), activity, subject })
    }

    /// A step has ended; `error` says how it failed.
    pub fn step_end(&self, activity: &str, subject: &str, error: Option<String>) -> Result<(), StateError> {
        let (activity, subject) = (activity.to_owned(), subject.to_owned());
        self.append(&Entry::StepEnd(StepEnd { action: self.action, at: now(), activity, subject, error }))
    }

    /// The action has ended.
    pub fn end(&self, exit_code: u8, error: Option<String>) -> Result<(), StateError> {
        crate::failpoint!("state.journal.before-end");
        self.append_durably(&Entry::End(ActionEnd { action: self.action, at: now(), exit_code, error }))
    }

    fn append_durably(&self, entry: &Entry) -> Result<(), StateError> {
        self.append(entry)?;
        self.sync.now().map_err(|source| StateError::Write { path: self.path.clone(), source })
    }

    fn append(&self, entry: &Entry) -> Result<(), StateError> {
        let write = |source| StateError::Write { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(entry).map_err(|error| write(error.into()))?;
        line.push(b'\n');
        // A thread that panicked while it held the file has written its line or not; the next one is whole either way.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write(&line).map_err(write)?;
        self.sync.soon();
        Ok(())
    }
}

/// Between two syncs of steps. Each makes a file system write down what the engine has under way on the same disk as well: with
/// one for each line of a large stack, that waits for the disk again and again.
const BETWEEN_SYNCS: Duration = Duration::from_millis(100);

/// Writes the file through to the disk, in a thread that does it once for all lines that came meanwhile.
struct Sync {
    file: File,
    requests: SyncSender<()>,
    failure: Arc<Mutex<Option<std::io::Error>>>,
}

impl Sync {
    fn of(file: &File) -> std::io::Result<Self> {
        let (requests, requested) = mpsc::sync_channel(1);
        let failure: Arc<Mutex<Option<std::io::Error>>> = Arc::default();
        let (synced, failed) = (file.try_clone()?, failure.clone());
        std::thread::spawn(move || {
            // Ends with the journal, which holds the other end.
            while requested.recv().is_ok() {
                if let Err(error) = synced.sync_data() {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
                std::thread::sleep(BETWEEN_SYNCS);
            }
        });
        Ok(Self { file: file.try_clone()?, requests, failure })
    }

    fn soon(&self) {
        // A request that is waiting already covers this line, too.
        let _ = self.requests.try_send(());
    }

    /// Gives the first failure since the last time.
    fn now(&self) -> std::io::Result<()> {
        self.file.sync_data()?;
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// All whole lines of the project's journal, oldest first; none when there is no journal yet.
pub fn read_journal(state: &StateDir) -> Result<Vec<Entry>, StateError> {
    let mut entries = super::older_records::journal(state)?;
    entries.extend(entries_of(&state.file(FILE))?.into_iter().map(|(_, entry)| entry));
    Ok(entries)
}

/// The whole lines of a journal, and what they say.
///
/// # Errors
/// A journal that can't be read, or in which a newer dpl has written.
pub(super) fn entries_of(path: &Path) -> Result<Vec<(Vec<u8>, Entry)>, StateError> {
    let mut entries = Vec::new();
    each_line(path, |line| {
        must_be_known(path, &line)?;
        if let Ok(entry) = serde_json::from_slice(&line) {
            entries.push((line, entry));
        }
        Ok(())
    })?;
    Ok(entries)
}

/// How many lines of the project's journal nobody can have written as they are. One that only breaks off was cut off by a
/// crash, and what an action then came to is known from the lines around it.
pub fn damaged_lines(state: &StateDir) -> Result<u64, StateError> {
    let mut damaged = 0;
    each_line(&state.file(FILE), |line| {
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(line);
        damaged += u64::from(read.is_err_and(|error| error.is_syntax()));
        Ok(())
    })?;
    Ok(damaged)
}

/// Nothing where there is no such file.
fn each_line(path: &Path, mut look: impl FnMut(Vec<u8>) -> Result<(), StateError>) -> Result<(), StateError> {
    let read = |source| StateError::Read { path: path.to_owned(), source };
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read(error)),
    };
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(read)? == 0 {
            return Ok(());
        }
        look(line)?;
    }
}

/// Refuses the line of a newer dpl, whatever else it says.
fn must_be_known(path: &Path, line: &[u8]) -> Result<(), StateError> {
    #[derive(Deserialize)]
    struct Formatted {
        #[serde(default)]
        format: u64,
    }
    match serde_json::from_slice::<Formatted>(line) {
        Ok(Formatted { format }) if format > u64::from(FORMAT) => {
            Err(StateError::Newer { path: path.to_owned(), format })
        }
        _ => Ok(()),
    }
}

/// The number of the last action, 0 before the first: that of the last whole line. A journal of years is not read for it.
fn last_action(state: &StateDir) -> Result<u64, StateError> {
    let path = state.file(FILE);
    let end = match read_end(&path) {
        Ok(end) => end,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(StateError::Read { path, source }),
    };
    end.split(|byte| *byte == b'\n').try_for_each(|line| must_be_known(&path, line))?;
    let last = end.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok());
    match last {
        Some(entry) => Ok(action_of(&entry)),
        None => Ok(read_journal(state)?.iter().map(action_of).max().unwrap_or(0)),
    }
}

/// More than the longest line of a file.
fn read_end(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST_LINE)))?;
    let mut end = Vec::new();
    file.take(2 * LONGEST_LINE).read_to_end(&mut end)?;
    Ok(end)
}

/// The action that a line belongs to.
pub(super) fn action_of(entry: &Entry) -> u64 {
    match entry {
        Entry::Begin(action) => action.number,
        Entry::Plan { action, .. } | Entry::Step { action, .. } => *action,
        Entry::StepEnd(end) => end.action,
        Entry::End(end) => end.action,
    }
}

/// After a crash the last line may have no end: the next one must not be joined to it.
pub(super) fn end_torn_line(file: &mut File) -> std::io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" { file.write_all(b"\n") } else { Ok(()) }
}

fn now() -> Timestamp {
    Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(entries: &[Entry]) -> Vec<u64> {
        let begins = entries.iter().filter(|entry| matches!(entry, Entry::Begin(_)));
        begins.map(action_of).collect()
    }

    fn begin(state: &StateDir) -> Journal {
        let operator = Operator { user: "li".into(), host: "site".into(), ssh_client: None };
        Journal::begin(state, &operator, (Path::new("m.json"), Digest::of(b"")), "unix:///x", "dpl load").unwrap()
    }

    #[test]
    fn actions_count_up_over_runs() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        begin(&state).end(0, None).unwrap();
        let second = begin(&state);
        second.step("load-image", "redis:7").unwrap();
        let entries = read_journal(&state).unwrap();
        assert_eq!(begins(&entries), [1, 2]);
        assert!(matches!(&entries[3], Entry::Step { action: 2, subject, .. } if subject == "redis:7"));
    }

    #[test]
    fn actions_count_up_behind_an_end_that_is_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        begin(&state).step("load-image", "redis:7").unwrap();
        let noise = vec![b'x'; 3 * LONGEST_LINE as usize];
        OpenOptions::new().append(true).open(state.file("journal.jsonl")).unwrap().write_all(&noise).unwrap();
        begin(&state);
        assert_eq!(begins(&read_journal(&state).unwrap()), [1, 2]);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_spoils_neither_reading_nor_writing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        begin(&state);
        let path = state.file("journal.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"entry\":\"step\",\"act").unwrap();
        begin(&state).end(0, None).unwrap();
        let entries = read_journal(&state).unwrap();
        assert_eq!(begins(&entries), [1, 2]);
        assert!(matches!(entries.last(), Some(Entry::End(end)) if end.action == 2));
    }

    #[test]
    fn a_line_of_which_only_a_part_was_written_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        let journal = begin(&state);
        {
            // A full disk takes the beginning of a line, and then nothing.
            let mut lines = journal.file.lock().unwrap();
            lines.file.write_all(b"{\"entry\":\"step\",\"act").unwrap();
            lines.is_torn = true;
        }
        journal.end(0, None).unwrap();
        assert!(matches!(read_journal(&state).unwrap().last(), Some(Entry::End(end)) if end.action == 1));
    }

    #[test]
    fn lines_that_nobody_wrote_are_counted_and_those_that_a_crash_cut_off_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        assert_eq!(damaged_lines(&state).unwrap(), 0);
        begin(&state);
        let append = |bytes: &[u8]| {
            OpenOptions::new().append(true).open(state.file(FILE)).unwrap().write_all(bytes).unwrap();
        };
        append(b"{\"entry\":\"step\",\"act");
        begin(&state).end(0, None).unwrap();
        assert_eq!(damaged_lines(&state).unwrap(), 0);
        append(b"garbage\n\0\0\0\n\xff\xfe\n");
        begin(&state).end(0, None).unwrap();
        assert_eq!((damaged_lines(&state).unwrap(), begins(&read_journal(&state).unwrap()).len()), (3, 3));
    }

    #[test]
    fn the_journal_of_a_newer_dpl_is_neither_read_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("m.json"), "p");
        begin(&state).end(0, None).unwrap();
        let path = state.file(FILE);
        let text = std::fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2,\"more\":[]");
        std::fs::write(&path, &text).unwrap();
        assert!(matches!(read_journal(&state), Err(StateError::Newer { format: 2, .. })));
        let again = Journal::begin(&state, &Operator::default(), (Path::new("m"), Digest::of(b"")), "x", "dpl load");
        assert!(matches!(again, Err(StateError::Newer { format: 2, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
