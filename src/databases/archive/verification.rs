//! `verified.json`: what is known of a dump since it was made, beside its `backup.json`, which never changes.
//!
//! A proof belongs to one record: it names the digest of the `backup.json` that it is about, and one that names another
//! is none.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{RECORD_FILE, Record};
use crate::catalogue::{by_key, english};
use crate::databases::error::DatabasesError;
use crate::fs::{Digest, Mode, hash_file, write_durably_alone};
use crate::report::Message;

/// The file's name in the folder of a backup or a seed.
const VERIFICATION_FILE: &str = "verified.json";

/// Far more than one has.
const LARGEST_BYTES: u64 = 1 << 20;

/// What verifying a dump came to, the last time for each way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::databases) struct Verification {
    /// The SHA-256 of the `backup.json` that this is about.
    record_sha256: Option<Digest>,
    /// Restored into a throw-away server, tables and rows compared.
    pub restored: Option<Proof>,
    /// Digests of all files, and the archive's list.
    pub files: Option<Proof>,
    /// Found bad, and nothing good came after it.
    pub failed: Option<Failure>,
    /// A restore could not be tried the last time that somebody asked for one, for a reason that says nothing of the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<Failure>,
}

/// Somebody found it good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::databases) struct Proof {
    /// RFC 3339, UTC.
    pub at: jiff::Timestamp,
    pub operator: String,
    pub duration_ms: u64,
    /// The version of the server that it was restored into, or whose `pg_restore` listed it, where it is known.
    #[serde(default)]
    pub server_version: Option<String>,
}

/// Why it was found bad, or could not be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::databases) struct Failure {
    pub at: jiff::Timestamp,
    pub operator: String,
    /// In English, for people who read the file without dpl, and for versions of dpl that do not know the sentence.
    reason: String,
    /// The same for readers of every language; older versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "by_key::known")]
    sentence: Option<Message>,
}

impl Failure {
    pub fn new(at: jiff::Timestamp, operator: String, reason: Message) -> Self {
        Self { at, operator, reason: english(&reason), sentence: Some(reason) }
    }

    pub fn reason(&self) -> Message {
        self.sentence.clone().unwrap_or_else(|| message!("words", text = &self.reason))
    }
}

impl Verification {
    /// What is known of the dump in `folder`; nothing where the file is not there, is none, or is about another dump.
    pub fn read(folder: &Path) -> Self {
        let known = || {
            let file = std::fs::File::open(folder.join(VERIFICATION_FILE)).ok()?;
            let mut bytes = Vec::new();
            file.take(LARGEST_BYTES).read_to_end(&mut bytes).ok()?;
            let known: Self = serde_json::from_slice(&bytes).ok()?;
            let (sha256, _) = hash_file(&folder.join(RECORD_FILE)).ok()?;
            (known.record_sha256.as_ref() == Some(&sha256)).then_some(known)
        };
        known().unwrap_or_default()
    }

    /// When it was last restored and found good.
    pub fn restored_at(&self) -> Option<jiff::Timestamp> {
        self.restored.as_ref().map(|proof| proof.at)
    }

    /// When its files were last read and found good: restoring reads them too.
    pub fn files_at(&self) -> Option<jiff::Timestamp> {
        self.files.iter().chain(&self.restored).map(|proof| proof.at).max()
    }

    pub fn proved_by_restore(&mut self, proof: Proof) {
        *self = Self { restored: Some(proof), ..Self::default() };
    }

    pub fn proved_by_files(&mut self, proof: Proof) {
        // Whole files say nothing about a restore that failed.
        self.files = Some(proof);
    }

    /// What was proved before stays proved.
    pub fn not_tried(&mut self, failure: Failure) {
        self.untried = Some(failure);
    }

    /// What was proved before counts no more.
    pub fn refuted(&mut self, failure: Failure) {
        *self = Self { failed: Some(failure), ..Self::default() };
    }

    /// Puts it beside the record, durably.
    pub fn write(mut self, folder: &Path) -> Result<(), DatabasesError> {
        let record = folder.join(RECORD_FILE);
        let (sha256, _) = hash_file(&record).map_err(DatabasesError::file(message!("verb-read"), &record))?;
        self.record_sha256 = Some(sha256);
        let mut bytes = serde_json::to_vec_pretty(&self).expect("a verification has only string keys");
        bytes.push(b'\n');
        let path = folder.join(VERIFICATION_FILE);
        crate::failpoint!("databases.verify.before-result");
        write_durably_alone(&path, &bytes, Mode::Private)
            .map_err(DatabasesError::file(message!("verb-write"), &path))?;
        crate::failpoint!("databases.verify.after-result");
        Ok(())
    }
}

/// The dump's record and what is known of it.
#[derive(Debug, Clone)]
pub(in crate::databases) struct Known {
    pub record: Record,
    pub verification: Verification,
}

impl Known {
    pub fn read(folder: &Path) -> Result<Self, DatabasesError> {
        Ok(Self { record: Record::read(folder)?, verification: Verification::read(folder) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::archive::record::tests::record;

    fn proof(at: &str) -> Proof {
        let operator = "engineer".to_owned();
        Proof { at: at.parse().unwrap(), operator, duration_ms: 5, server_version: None }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECORD_FILE), record().to_json()).unwrap();
        folder
    }

    #[test]
    fn a_result_reads_back_and_a_worse_one_takes_its_place() {
        let folder = folder();
        let mut known = Verification::read(folder.path());
        assert_eq!(known, Verification::default());
        known.proved_by_restore(proof("2026-07-04T10:15:30Z"));
        known.write(folder.path()).unwrap();
        let mut known = Verification::read(folder.path());
        known.proved_by_files(proof("2026-07-05T10:15:30Z"));
        assert_eq!(known.restored_at(), Some("2026-07-04T10:15:30Z".parse().unwrap()));
        assert_eq!(known.files_at(), Some("2026-07-05T10:15:30Z".parse().unwrap()));
        let at = "2026-07-06T10:15:30Z".parse().unwrap();
        known.refuted(Failure::new(at, "engineer".to_owned(), message!("declined")));
        known.write(folder.path()).unwrap();
        let known = Verification::read(folder.path());
        assert_eq!((known.restored_at(), known.files_at()), (None, None));
        assert!(known.failed.is_some());
    }

    #[test]
    fn whole_files_do_not_mend_a_failed_restore() {
        let mut known = Verification::default();
        let at = "2026-07-06T10:15:30Z".parse().unwrap();
        known.refuted(Failure::new(at, String::new(), message!("declined")));
        known.proved_by_files(proof("2026-07-07T10:15:30Z"));
        assert!(known.failed.is_some());
        known.proved_by_restore(proof("2026-07-08T10:15:30Z"));
        assert!(known.failed.is_none());
    }

    #[test]
    fn a_try_that_failed_takes_no_proof_away() {
        let folder = folder();
        let mut known = Verification::default();
        known.proved_by_restore(proof("2026-07-04T10:15:30Z"));
        let at = "2026-07-06T10:15:30Z".parse().unwrap();
        known.not_tried(Failure::new(at, String::new(), message!("declined")));
        known.write(folder.path()).unwrap();
        let known = Verification::read(folder.path());
        assert!(known.restored_at().is_some() && known.failed.is_none() && known.untried.is_some());
    }

    #[test]
    fn a_reason_reads_back_in_every_language_and_one_of_another_version_in_its_own_words() {
        let failure = Failure::new("2026-07-06T10:15:30Z".parse().unwrap(), String::new(), message!("declined"));
        let mut value = serde_json::to_value(&failure).unwrap();
        let read = |value: &serde_json::Value| serde_json::from_value::<Failure>(value.clone()).unwrap().reason();
        assert_eq!(value["reason"], "nothing was changed");
        assert_eq!(read(&value), message!("declined"));
        value["sentence"]["key"] = "of-a-later-version".into();
        assert_eq!(english(&read(&value)), "nothing was changed");
        value.as_object_mut().unwrap().remove("sentence");
        assert_eq!(english(&read(&value)), "nothing was changed");
    }

    #[test]
    fn a_result_of_another_dump_is_none() {
        let folder = folder();
        let mut known = Verification::default();
        known.proved_by_restore(proof("2026-07-04T10:15:30Z"));
        known.write(folder.path()).unwrap();
        let other = Record { duration_ms: 7, ..record() };
        std::fs::write(folder.path().join(RECORD_FILE), other.to_json()).unwrap();
        assert_eq!(Verification::read(folder.path()), Verification::default());
        std::fs::write(folder.path().join(VERIFICATION_FILE), b"[[[").unwrap();
        assert_eq!(Verification::read(folder.path()), Verification::default());
    }
}
