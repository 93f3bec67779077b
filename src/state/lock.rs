//! One operator at a time, on this machine.
//!
//! The lock is the operating system's own on `.dpl/lock`: a process that ends, however it ends, holds nothing. What
//! the file says is only there to be shown to whoever finds it held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::folder::StateDir;
use super::operator::Operator;

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
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What the file may say at most.
const LARGEST_HOLDER: u64 = 16 * 1024;

impl Lock {
    /// Takes the project's lock, or says who has it.
    pub fn acquire(state: &StateDir, operator: &Operator, what: &str) -> Result<Self, StateError> {
        state.create()?;
        let path = state.file("lock");
        let write = |source| StateError::Write { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(Box::new(read_holder(&mut file)))),
            Err(TryLockError::Error(error)) => return Err(write(error)),
        }
        let holder = Holder {
            user: operator.user.clone(),
            host: operator.host.clone(),
            pid: std::process::id(),
            what: what.to_owned(),
            since: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        };
        let text = serde_json::to_vec(&holder).unwrap_or_default();
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(write)?;
        file.write_all(&text).map_err(write)?;
        Ok(Self { _file: file })
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
        let state = StateDir::beside(&folder.path().join("local-docker.json"));
        let operator = Operator { user: "li".into(), host: "site".into(), ssh_client: None };
        let lock = Lock::acquire(&state, &operator, "dpl load 25").unwrap();
        let Err(StateError::Locked(holder)) = Lock::acquire(&state, &operator, "dpl stop 25") else {
            panic!("the lock was given twice");
        };
        let holder = holder.unwrap();
        assert_eq!((holder.user.as_str(), holder.what.as_str()), ("li", "dpl load 25"));
        drop(lock);
        Lock::acquire(&state, &operator, "dpl stop 25").unwrap();
    }
}
