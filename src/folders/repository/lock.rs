//! Restic's lock files (restic, design.rst, "Locks"), which rustic_core knows nothing of.
//!
//! Without one a `restic prune` that runs beside a snapshot of ours removes packs that the snapshot counts on. Who only reads or
//! adds holds a shared lock, who removes an exclusive one; a lock of either kind keeps exclusive ones out. The file is encrypted
//! by the repository's key, so that a lock can be read by everybody who can open the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aes256ctr_poly1305aes::aead::{Aead, AeadInPlace, Nonce};
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key};
use jiff::{Timestamp, Zoned};
use rustic_core::Id;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::super::error::FoldersError;
use crate::fs::{Digest, Mode, write_durably_alone};
use crate::report::Message;

/// What a lock keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: who looks would meet an error where others prune meanwhile, and loses nothing.
    Look,
    /// Others may read and add meanwhile.
    Shared,
    /// Nobody else may work in the repository.
    Exclusive,
}

/// A lock's file, in the clear (restic, `internal/restic/lock.go`).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LockFile {
    /// RFC 3339, with the offset of the writer's zone.
    time: String,
    exclusive: bool,
    hostname: String,
    username: String,
    pid: i32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

/// Restic writes a lock again every five minutes, and takes one for stale after thirty.
const REFRESHED_EVERY: Duration = Duration::from_secs(5 * 60);

/// The largest lock that is read: restic's have some 250 bytes.
const LARGEST: u64 = 64 << 10;

/// A lock in a repository, held until it is dropped. A thread refreshes it.
#[derive(Debug)]
pub struct RepositoryLock {
    shared: Arc<Shared>,
    end: Option<Sender<()>>,
    refresher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    key: LockKey,
    access: Access,
    /// The file that is there now.
    current: Mutex<Option<PathBuf>>,
}

/// The repository's key as the cipher takes it: 32 bytes of AES-256, 16 of AES-128 and 16 of Poly1305.
#[derive(Clone)]
pub struct LockKey(Key);

impl std::fmt::Debug for LockKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LockKey")
    }
}

impl LockKey {
    /// Of the parts that a master key has; `None` where they have other lengths.
    pub fn of(encrypt: &[u8], k: &[u8], r: &[u8]) -> Option<Self> {
        let mut key = Key::default();
        if (encrypt.len(), k.len(), r.len()) != (32, 16, 16) {
            return None;
        }
        key[..32].copy_from_slice(encrypt);
        key[32..48].copy_from_slice(k);
        key[48..].copy_from_slice(r);
        Some(Self(key))
    }

    /// Nonce, ciphertext and tag, as restic's files have them.
    pub fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = Nonce::<Aes256CtrPoly1305Aes>::default();
        nonce.copy_from_slice(&random()[..16]);
        let mut bytes = [&nonce[..], plain].concat();
        let tag = Aes256CtrPoly1305Aes::new(&self.0).encrypt_in_place_detached(&nonce, &[], &mut bytes[16..]).ok()?;
        bytes.extend_from_slice(&tag);
        Some(bytes)
    }

    fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.split_at_checked(16)?;
        Aes256CtrPoly1305Aes::new(&self.0).decrypt(Nonce::<Aes256CtrPoly1305Aes>::from_slice(nonce), sealed).ok()
    }
}

/// 32 bytes of the process's cryptographic random numbers.
pub fn random() -> [u8; 32] {
    let id = Id::random().to_hex();
    std::array::from_fn(|place| u8::from_str_radix(&id[2 * place..2 * place + 2], 16).unwrap_or_default())
}

impl RepositoryLock {
    /// Locks the repository at `folder`. A lock that a killed program of this machine left is removed.
    pub fn acquire(folder: &Path, key: &LockKey, access: Access) -> Result<Self, FoldersError> {
        let shared = Shared { folder: folder.join("locks"), key: key.clone(), access, current: Mutex::default() };
        shared.refuse_others()?;
        shared.write()?;
        let shared = Arc::new(shared);
        let (end, ended) = channel();
        let mut lock = Self { shared: shared.clone(), end: Some(end), refresher: None };
        // Both of two that began at once see each other now, and give way.
        lock.shared.refuse_others()?;
        crate::failpoint!("folders.repository.locked");
        lock.refresher = Some(std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(REFRESHED_EVERY) {
                // One that can't be written now is tried again; the old one stays as long.
                let _ = shared.write();
            }
        }));
        Ok(lock)
    }
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(refresher) = self.refresher.take() {
            let _ = refresher.join();
        }
        if let Some(path) = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = fs::remove_file(path);
        }
    }
}

impl Shared {
    /// Writes the lock as of now, then removes what it replaces.
    fn write(&self) -> Result<(), FoldersError> {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let lock = LockFile {
            time: Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
            exclusive: self.access == Access::Exclusive,
            hostname: hostname(),
            username: std::env::var("USER").unwrap_or_else(|_| format!("uid {uid}")),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            uid,
            gid,
        };
        let plain = serde_json::to_vec(&lock).unwrap_or_default();
        let sealed =
            self.key.encrypt(&plain).ok_or_else(|| FoldersError::LockUnreadable { path: self.folder.clone() })?;
        let path = self.folder.join(Digest::of(&sealed).hex());
        write_durably_alone(&path, &sealed, Mode::Private).map_err(FoldersError::reading(&path))?;
        let before = self.current.lock().unwrap_or_else(PoisonError::into_inner).replace(path);
        if let Some(before) = before {
            let _ = fs::remove_file(before);
        }
        Ok(())
    }

    /// Looks at the locks of others; removes those that nobody holds.
    fn refuse_others(&self) -> Result<(), FoldersError> {
        let own = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FoldersError::reading(&self.folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(FoldersError::reading(&self.folder))?.path();
            let is_name = path.file_name().is_some_and(|name| name.len() == 64);
            if !is_name || Some(&path) == own.as_ref() {
                continue;
            }
            let lock = match self.read(&path) {
                Ok(lock) => lock,
                // Given back since it was listed.
                Err(FoldersError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if lock.is_abandoned() {
                let _ = fs::remove_file(&path);
            } else if lock.exclusive || self.access == Access::Exclusive {
                let folder = self.folder.parent().unwrap_or(&self.folder);
                return Err(FoldersError::Locked { path: folder.to_owned(), holder: lock.holder() });
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<LockFile, FoldersError> {
        let unreadable = || FoldersError::LockUnreadable { path: path.to_owned() };
        let length = fs::metadata(path).map_err(FoldersError::reading(path))?.len();
        if length > LARGEST {
            return Err(unreadable());
        }
        let sealed = fs::read(path).map_err(FoldersError::reading(path))?;
        let plain = self.key.decrypt(&sealed).ok_or_else(unreadable)?;
        let text = match plain.split_first() {
            // Compressed, as restic writes everything but its configuration in format 2.
            Some((2, compressed)) => zstd::bulk::decompress(compressed, LARGEST as usize).map_err(|_| unreadable())?,
            _ => plain,
        };
        serde_json::from_slice(&text).map_err(|_| unreadable())
    }
}

impl LockFile {
    /// Whether its process was one of this machine, and is gone. Of another machine's nothing is known here.
    fn is_abandoned(&self) -> bool {
        if self.hostname != hostname() {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        if test_kill_process(pid) == Err(Errno::SRCH) {
            return true;
        }
        // A number may be another process by now: who holds the lock began before it was written.
        let written = self.time.parse::<Timestamp>().ok();
        matches!((written, began(self.pid)), (Some(written), Some(began)) if began > written.as_second() + 5)
    }

    fn holder(&self) -> Message {
        let Self { username, hostname, pid, time, .. } = self;
        message!("data-lock-holder", user = username, host = hostname, pid = pid, time = time)
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What programs see on every architecture of Linux (`USER_HZ`).
const TICKS_PER_SECOND: i64 = 100;

/// When a process began, in seconds since 1970 (proc(5): `stat` has ticks since the boot, `/proc/stat` the boot's time).
fn began(pid: i32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LockKey {
        LockKey::of(&[1; 32], &[2; 16], &[3; 16]).unwrap()
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder.join("locks")).unwrap().count()
    }

    /// Writes a lock as `change` makes it of this process's.
    fn foreign(folder: &Path, change: impl Fn(&mut LockFile), seal: impl Fn(Vec<u8>) -> Vec<u8>) {
        let mut lock = LockFile {
            time: Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
            exclusive: false,
            hostname: hostname(),
            username: "li".to_owned(),
            pid: i32::try_from(std::process::id()).unwrap(),
            uid: 0,
            gid: 0,
        };
        change(&mut lock);
        let sealed = key().encrypt(&seal(serde_json::to_vec(&lock).unwrap())).unwrap();
        fs::write(folder.join("locks").join(Digest::of(&sealed).hex()), sealed).unwrap();
    }

    fn site() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("locks")).unwrap();
        folder
    }

    #[test]
    fn shared_locks_stand_beside_each_other_and_keep_an_exclusive_one_out() {
        let site = site();
        let one = RepositoryLock::acquire(site.path(), &key(), Access::Shared).unwrap();
        let other = RepositoryLock::acquire(site.path(), &key(), Access::Shared).unwrap();
        assert_eq!(files(site.path()), 2);
        let refused = RepositoryLock::acquire(site.path(), &key(), Access::Exclusive);
        assert!(matches!(refused, Err(FoldersError::Locked { .. })), "{refused:?}");
        drop((one, other));
        assert_eq!(files(site.path()), 0);
        let exclusive = RepositoryLock::acquire(site.path(), &key(), Access::Exclusive).unwrap();
        assert!(RepositoryLock::acquire(site.path(), &key(), Access::Shared).is_err());
        drop(exclusive);
        assert_eq!(files(site.path()), 0);
    }

    #[test]
    fn a_lock_of_a_process_that_is_gone_is_removed_and_one_of_another_machine_stays() {
        let site = site();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let pid = i32::try_from(gone.id()).unwrap();
        foreign(site.path(), |lock| (lock.pid, lock.exclusive) = (pid, true), |text| text);
        drop(RepositoryLock::acquire(site.path(), &key(), Access::Exclusive).unwrap());
        assert_eq!(files(site.path()), 0);
        let elsewhere = |lock: &mut LockFile| (lock.pid, lock.hostname) = (pid, "elsewhere".to_owned());
        foreign(site.path(), elsewhere, |text| text);
        assert!(RepositoryLock::acquire(site.path(), &key(), Access::Exclusive).is_err());
        drop(RepositoryLock::acquire(site.path(), &key(), Access::Shared).unwrap());
        assert_eq!(files(site.path()), 1);
    }

    #[test]
    fn a_number_that_is_another_process_by_now_holds_nothing() {
        let site = site();
        let long_ago = |lock: &mut LockFile| lock.time = "2001-01-01T00:00:00.000000000+00:00".to_owned();
        foreign(site.path(), long_ago, |text| text);
        drop(RepositoryLock::acquire(site.path(), &key(), Access::Exclusive).unwrap());
        assert_eq!(files(site.path()), 0);
    }

    #[test]
    fn a_compressed_lock_is_read_and_one_that_is_not_a_lock_refuses() {
        let site = site();
        let compress = |text: Vec<u8>| [&[2][..], &zstd::bulk::compress(&text, 1).unwrap()].concat();
        foreign(site.path(), |lock| lock.exclusive = true, compress);
        let refused = RepositoryLock::acquire(site.path(), &key(), Access::Shared);
        assert!(matches!(refused, Err(FoldersError::Locked { .. })), "{refused:?}");
        fs::remove_dir_all(site.path().join("locks")).unwrap();
        fs::create_dir(site.path().join("locks")).unwrap();
        fs::write(site.path().join("locks").join("a".repeat(64)), "torn").unwrap();
        let refused = RepositoryLock::acquire(site.path(), &key(), Access::Shared);
        assert!(matches!(refused, Err(FoldersError::LockUnreadable { .. })), "{refused:?}");
    }
}
