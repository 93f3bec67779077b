//! One operator at a time on a project, on this machine.
//!
//! The lock is the operating system's own on `.dpl/<project>/lock`: a process that ends, however it ends, holds nothing. What
//! the file says is only there to be shown to a process that finds it held. An older dpl locks `.dpl/lock`, for all projects of the
//! folder: that file is held as well, shared with those who work on other projects, so that an older one is kept out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::folder::StateDir;
use super::operator::Operator;
use crate::report::{Message, Told};

/// Who holds the lock, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub user: String,
    pub host: String,
    pub pid: u32,
    /// The command line, as far as it holds no secrets.
    pub what: String,
    /// RFC 3339, UTC, in whole seconds.
    pub since: String,
    /// Which boot of the machine, which space of process numbers, and when in that boot the process began: a number
    /// alone may be another process by now.
    #[serde(default)]
    pub process: Process,
}

/// A process, told apart from every other one that ever had its number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The kernel's own name for this boot.
    pub boot: String,
    /// The namespace of process numbers.
    pub space: String,
    /// Clock ticks from boot to the process's begin.
    pub began: u64,
}

impl Process {
    /// The process of this number, if there is one now and this system tells.
    fn of(pid: u32) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets, and may hold anything.
        let began = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { boot: boot.trim().to_owned(), space: space.to_string_lossy().into_owned(), began })
    }
}

impl Holder {
    /// This process, at work on `what` from now on.
    pub fn of_process(operator: &Operator, what: &str) -> Self {
        let pid = std::process::id();
        Self {
            user: operator.user.clone(),
            host: operator.host.clone(),
            pid,
            what: what.to_owned(),
            since: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
            process: Process::of(pid).unwrap_or_default(),
        }
    }

    /// Whether its process was one of this machine, and is known to be gone. What another machine's process does is not
    /// known here.
    pub fn is_gone(&self) -> bool {
        let Some(here) = Process::of(std::process::id()) else {
            return false;
        };
        let ours = !self.process.boot.is_empty() && self.process.boot == here.boot && self.process.space == here.space;
        ours && Process::of(self.pid).is_none_or(|process| process.began != self.process.began)
    }
}

impl Told for Holder {
    fn message(&self) -> Message {
        let Self { user, host, pid, what, since, .. } = self;
        message!("lock-holder", user = user, what = what, since = since, pid = pid, host = host)
    }
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    _older: File,
}

/// How often, and how far apart, a held lock is tried before somebody is taken to be at work.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(10);
const PATIENT_LOOK: Duration = Duration::from_millis(100);

/// What the file may say at most.
const LARGEST_HOLDER: u64 = 16 * 1024;

impl Lock {
    /// Takes the project's lock, or says who has it.
    ///
    /// Waits for one who is at work as long as `patience` allows.
    pub fn acquire(state: &StateDir, operator: &Operator, what: &str, patience: Duration) -> Result<Self, StateError> {
        let begun = Instant::now();
        state.create()?;
        let mut older = open(state, state.root().join(FILE))?;
        wait_for(&mut older, File::try_lock_shared, begun, patience)?;
        let mut file = open(state, state.file(FILE))?;
        wait_for(&mut file, File::try_lock, begun, patience)?;
        let holder = Holder::of_process(operator, what);
        let text = serde_json::to_vec(&holder).unwrap_or_default();
        file.say(&text)?;
        // For an older dpl to show. Others who work in this folder may write it at the same time.
        let _ = older.say(&text);
        super::older_records::divide(state)?;
        Ok(Self { _file: file.file, _older: older.file })
    }
}

const FILE: &str = "lock";

/// A lock's file, open.
struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    fn error(&self, source: std::io::Error) -> StateError {
        StateError::Write { path: self.path.clone(), source }
    }

    /// Replaces what the file says.
    fn say(&mut self, text: &[u8]) -> Result<(), StateError> {
        let said = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        said.and_then(|_| self.file.write_all(text)).map_err(|source| self.error(source))
    }
}

fn open(state: &StateDir, path: PathBuf) -> Result<LockFile, StateError> {
    let is_new = !path.exists();
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
        Ok(file) => {
            if is_new {
                state.share(&file);
            }
            Ok(LockFile { file, path })
        }
        Err(source) => Err(StateError::Write { path, source }),
    }
}

/// Takes the lock on a file, or says who has it.
fn wait_for(
    lock: &mut LockFile,
    take: fn(&File) -> Result<(), TryLockError>,
    begun: Instant,
    patience: Duration,
) -> Result<(), StateError> {
    let mut tries = 0;
    loop {
        match take(&lock.file) {
            Ok(()) => return Ok(()),
            // A process that merely looks holds it for some microseconds.
            Err(TryLockError::WouldBlock) if tries < LOOKS || begun.elapsed() < patience => {
                tries += 1;
                std::thread::sleep(if tries < LOOKS { LOOK } else { PATIENT_LOOK });
            }
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(Box::new(read_holder(&mut lock.file)))),
            Err(TryLockError::Error(error)) => return Err(lock.error(error)),
        }
    }
}

/// Who is at work on this machine: `None` when nobody is. Takes nothing, and makes nothing.
pub fn at_work(state: &StateDir) -> Result<Option<Option<Holder>>, StateError> {
    // Those who work on other projects of the folder share the older lock, as this look does.
    match held(state.file(FILE))? {
        None => held(state.root().join(FILE)),
        held => Ok(held),
    }
}

fn held(path: PathBuf) -> Result<Option<Option<Holder>>, StateError> {
    let read = |source| StateError::Read { path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    // Shared, so that two who look never seem to be at work to each other.
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(read(error)),
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(LARGEST_HOLDER).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_is_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("local-docker.json"), "p");
        let operator = Operator { user: "li".into(), host: "site".into(), ssh_client: None };
        let lock = Lock::acquire(&state, &operator, "dpl load 25", Duration::ZERO).unwrap();
        let Err(StateError::Locked(holder)) = Lock::acquire(&state, &operator, "dpl stop 25", Duration::ZERO) else {
            panic!("the lock was given twice");
        };
        let holder = holder.unwrap();
        assert_eq!((holder.user.as_str(), holder.what.as_str()), ("li", "dpl load 25"));
        assert_eq!(at_work(&state).unwrap(), Some(Some(holder)));
        drop(lock);
        assert_eq!(at_work(&state).unwrap(), None);
        Lock::acquire(&state, &operator, "dpl stop 25", Duration::ZERO).unwrap();
    }

    #[test]
    fn an_older_dpl_and_this_one_keep_each_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        let operator = Operator { user: "li".into(), host: "site".into(), ssh_client: None };
        let lock = Lock::acquire(&state, &operator, "dpl load 25", Duration::ZERO).unwrap();
        // What an older one does.
        let older = OpenOptions::new().read(true).write(true).open(state.root().join("lock")).unwrap();
        assert!(matches!(older.try_lock(), Err(TryLockError::WouldBlock)));
        drop(lock);
        older.try_lock().unwrap();
        let refused = Lock::acquire(&state, &operator, "dpl stop 25", Duration::ZERO);
        assert!(matches!(refused, Err(StateError::Locked(_))));
        assert!(at_work(&state).unwrap().is_some());
    }

    #[test]
    fn a_process_is_gone_when_its_number_is_free_or_anothers_and_unknown_on_other_boots() {
        let mut holder = Holder::of_process(&Operator::of_process(), "dpl load 25");
        assert!(!holder.is_gone());
        holder.process.began += 1;
        assert!(holder.is_gone());
        holder.process.boot = "another".into();
        assert!(!holder.is_gone());
    }
}
