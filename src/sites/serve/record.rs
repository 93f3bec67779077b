//! What commands that outlive their connections have said: a folder for each, kept for seven days.
//!
//! `RUNS/<id>/run.json` is what was asked for, `output` the frames that it said, the last one its end, `socket` where its
//! keeper listens. The keeper holds a lock on `output` for as long as it lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::catalogue::io_error;
use crate::sites::protocol::{Frame, Reply, RunRequest, RunSummary};

/// Results are kept for so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The folder of all of them.
pub(super) struct Records {
    folder: PathBuf,
}

/// One of them.
pub(super) struct Record {
    pub folder: PathBuf,
}

/// What `run.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub format: u32,
    pub began: String,
    pub request: RunRequest,
}

/// The version of the records' format.
const FORMAT: u32 = 1;

impl Records {
    /// Opens the folder, makes it where it is missing, and removes what is too old.
    pub fn open() -> io::Result<Self> {
        Self::open_in(private_folder()?.join("runs"))
    }

    fn open_in(folder: PathBuf) -> io::Result<Self> {
        let records = Self { folder };
        make_private(&records.folder)?;
        for record in records.all()? {
            let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > KEPT);
            let changed = fs::metadata(record.output()).and_then(|metadata| metadata.modified());
            if changed.is_ok_and(is_old) && !record.is_running() {
                // One that stays is tried again next time.
                let _ = fs::remove_dir_all(&record.folder);
            }
        }
        Ok(records)
    }

    fn all(&self) -> io::Result<Vec<Record>> {
        let entries = fs::read_dir(&self.folder)?;
        Ok(entries.filter_map(|entry| Some(Record { folder: entry.ok()?.path() })).collect())
    }

    pub fn find(&self, id: &str) -> Option<Record> {
        is_id(id).then(|| Record { folder: self.folder.join(id) }).filter(|record| record.output().exists())
    }

    /// Makes the folder of a new one.
    pub fn create(&self, request: &RunRequest) -> io::Result<Record> {
        if !is_id(&request.id) {
            return Err(io_error(io::ErrorKind::InvalidInput, message!("serve-run-name")));
        }
        let record = Record { folder: self.folder.join(&request.id) };
        make_private(&record.folder)?;
        let asked = Asked { format: FORMAT, began: jiff::Timestamp::now().to_string(), request: request.clone() };
        fs::write(record.folder.join("run.json"), serde_json::to_vec(&asked)?)?;
        Ok(record)
    }

    /// All of them, the newest first.
    pub fn list(&self) -> io::Result<Vec<RunSummary>> {
        let mut runs: Vec<RunSummary> = self.all()?.iter().filter_map(|record| record.summary().ok()).collect();
        runs.sort_by(|one, other| other.began.cmp(&one.began));
        Ok(runs)
    }

    /// The run of this ID, or the only one whose ID begins so; the newest one that runs where none is named.
    pub fn meant(&self, id: &str) -> io::Result<Option<Record>> {
        if let Some(record) = self.find(id) {
            return Ok(Some(record));
        }
        let runs = self.list()?;
        let mut fitting = runs.iter().filter(|run| if id.is_empty() { run.is_running } else { run.id.starts_with(id) });
        let first = fitting.next();
        let is_only = id.is_empty() || fitting.next().is_none();
        Ok(first.filter(|_| is_only).and_then(|run| self.find(&run.id)))
    }
}

impl Record {
    pub fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    pub fn asked(&self) -> io::Result<Asked> {
        let asked: Asked = serde_json::from_slice(&fs::read(self.folder.join("run.json"))?)?;
        match asked.format {
            FORMAT => Ok(asked),
            newer => Err(io_error(io::ErrorKind::InvalidData, message!("serve-result-format", format = newer))),
        }
    }

    /// Opens `output` for its keeper, and locks it for as long as it is open.
    pub fn open_output(&self) -> io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.output())?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Whether its keeper lives.
    pub fn is_running(&self) -> bool {
        let Ok(file) = File::open(self.output()) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    fn summary(&self) -> io::Result<RunSummary> {
        let asked = self.asked()?;
        Ok(RunSummary {
            id: asked.request.id,
            command: shell_words::join(&asked.request.arguments),
            desk: asked.request.desk,
            began: asked.began,
            code: self.code(),
            is_running: self.is_running(),
        })
    }

    /// The exit code that its last frame says.
    fn code(&self) -> Option<u8> {
        let mut bytes = Vec::new();
        let mut file = File::open(self.output()).ok()?;
        // The end is a short frame.
        let from = file.metadata().ok()?.len().saturating_sub(256);
        io::Seek::seek(&mut file, io::SeekFrom::Start(from)).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        (0..bytes.len()).rev().find_map(|start| ended(&bytes[start..]))
    }
}

/// The exit code, where these bytes are the frame of an end.
fn ended(bytes: &[u8]) -> Option<u8> {
    let Ok(Reply::Ended(ended)) = serde_json::from_slice(bytes.get(5..).filter(|_| bytes[0] == b'j')?) else {
        return None;
    };
    (Frame::control(&Reply::Ended(ended.clone())).encode() == bytes).then_some(ended.code)
}

/// Names that are parts of paths.
fn is_id(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The user's own folder for dpl's records; where the home can't be written to, one in /var/tmp.
fn private_folder() -> io::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    if let Some(folder) = state.map(|state| state.join("dpl"))
        && make_private(&folder.join("runs")).is_ok()
    {
        return Ok(folder);
    }
    let user = rustix::process::getuid().as_raw();
    let folder = Path::new("/var/tmp").join(format!("dpl-{user}"));
    make_private(&folder)?;
    // Everybody may make folders there.
    let metadata = fs::symlink_metadata(&folder)?;
    match metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0 {
        true => Ok(folder),
        false => {
            Err(io_error(io::ErrorKind::PermissionDenied, message!("engine-ssh-folder", folder = folder.display())))
        }
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sites::protocol::Ended;

    #[test]
    fn results_go_after_a_week_and_what_runs_stays() {
        let home = tempfile::tempdir().unwrap();
        let open = || Records::open_in(home.path().join("runs")).unwrap();
        let records = open();
        let begun = |id: &str, age: Duration| {
            let request = RunRequest { id: id.to_owned(), arguments: vec!["restart".to_owned()], ..Default::default() };
            let record = records.create(&request).unwrap();
            let mut output = record.open_output().unwrap();
            output.write_all(&Frame::control(&Reply::Ended(Ended { code: 130 })).encode()).unwrap();
            output.set_modified(SystemTime::now() - age).unwrap();
            output
        };
        let long_ago = KEPT + Duration::from_secs(60);
        drop(begun("00000000-old", long_ago));
        drop(begun("11111111-new", Duration::from_secs(60)));
        let running = begun("22222222-runs", long_ago);
        let records = open();
        let runs = records.list().unwrap();
        let mut known: Vec<_> = runs.iter().map(|run| (run.id.as_str(), run.code, run.is_running)).collect();
        known.sort_unstable();
        assert_eq!(known, [("11111111-new", Some(130), false), ("22222222-runs", Some(130), true)]);
        let meant = |id: &str| records.meant(id).unwrap().map(|record| record.folder.file_name().unwrap().to_owned());
        assert_eq!(meant("").unwrap(), "22222222-runs");
        assert_eq!(meant("111").unwrap(), "11111111-new");
        assert_eq!((meant("00000000-old"), meant("../../etc/passwd")), (None, None));
        drop(running);
        // The one that ran is as old as the other was.
        assert_eq!(open().list().unwrap().len(), 1);
    }
}
