//! Which snapshots were verified: a file of ours beside the repository's own, which restic passes over.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::FoldersError;
use crate::fs::{Mode, write_durably_alone};

const FILE: &str = "dpl-verified.json";

/// When and how snapshots were verified, by their IDs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Verified {
    snapshots: BTreeMap<String, Record>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// RFC 3339, UTC.
    pub at: String,
    pub how: How,
}

/// How much of a snapshot was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Lists of folders, and whether every pack is there in its size.
    Structure,
    /// Every byte as well.
    Data,
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Data => "data",
        }
    }
}

impl Verified {
    /// The records of the repository at `folder`; none where there is no file, or where it is torn: nothing is lost by that but
    /// the proof.
    pub fn read(folder: &Path) -> Result<Self, FoldersError> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(FoldersError::reading(&path)(error)),
        }
    }

    /// Changes the records of the repository at `folder`; of two at once, one after the other, so that neither loses what the other
    /// wrote.
    pub fn change(folder: &Path, change: impl FnOnce(&mut Self)) -> Result<(), FoldersError> {
        let held = fs::File::open(folder).map_err(FoldersError::reading(folder))?;
        // Where locks are not to be had, the later one wins: nothing is lost by that but the proof.
        let _ = held.lock();
        let mut verified = Self::read(folder)?;
        change(&mut verified);
        verified.write(folder)
    }

    pub fn of(&self, id: &str) -> Option<&Record> {
        self.snapshots.get(id)
    }

    /// Records that these snapshots were verified now; a fuller verification of before stays.
    pub fn add(&mut self, ids: &[String], how: How) {
        let at = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string();
        for id in ids {
            if self.of(id).is_none_or(|record| record.how <= how) {
                self.snapshots.insert(id.clone(), Record { at: at.clone(), how });
            }
        }
    }

    /// Forgets snapshots: they are gone, or found to be damaged.
    pub fn forget(&mut self, ids: &[String]) {
        self.snapshots.retain(|id, _| !ids.contains(id));
    }

    fn write(&self, folder: &Path) -> Result<(), FoldersError> {
        let path = folder.join(FILE);
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_durably_alone(&path, &bytes, Mode::Private).map_err(FoldersError::reading(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_those_that_write_at_once_loses_what_another_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..10 {
                        let ids = [format!("{thread}-{number}")];
                        Verified::change(place, |verified| verified.add(&ids, How::Data)).unwrap();
                    }
                });
            }
        });
        assert_eq!(Verified::read(place).unwrap().snapshots.len(), 40);
    }
}
