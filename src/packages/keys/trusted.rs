//! The keys that a machine trusts, and those that were revoked: a file in the folder of the state, of root's or of that folder's
//! owner. Where no key is trusted, anybody's package is taken; where one is, nobody else's.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signing::{PublicKey, signed_with};
use crate::fs::{Mode, create_dir_durably, open_regular, write_durably};
use crate::packages::PackagesError;
use crate::state::Operator;

const FILE: &str = "trusted-keys.json";
const FORMAT: u32 = 1;
const LARGEST: u64 = 1 << 20;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRecord {
    /// What minisign calls it.
    pub id: String,
    /// The public key, as `minisign -P` takes it.
    pub key: String,
    /// When it was trusted, or revoked (RFC 3339, UTC).
    pub at: String,
    /// By whom.
    pub by: String,
}

/// Which keys a machine trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    /// Where changes are written.
    file: PathBuf,
    pub trusted: Vec<KeyRecord>,
    pub revoked: Vec<KeyRecord>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    trusted: Vec<KeyRecord>,
    #[serde(default)]
    revoked: Vec<KeyRecord>,
}

/// What a signature is worth here.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// A trusted key made it.
    Trusted(PublicKey),
    /// No key is trusted here, and this one made it.
    Unknown(PublicKey),
    /// No key is trusted here, and there is no signature.
    Unsigned,
}

impl TrustedKeys {
    /// What the files in these folders say together; changes go to that of the first.
    ///
    /// # Errors
    /// A file that can't be read, or that others than root and the folder's owner could have written: what it says is not
    /// guessed.
    pub fn read(folders: &[PathBuf]) -> Result<Self, PackagesError> {
        let mut keys =
            Self { file: folders.first().map(|folder| folder.join(FILE)).unwrap_or_default(), ..Self::default() };
        for folder in folders {
            if let Some(document) = read_document(folder)? {
                for (known, read) in [(&mut keys.trusted, document.trusted), (&mut keys.revoked, document.revoked)] {
                    for record in read {
                        if !known.iter().any(|other| other.key == record.key) {
                            known.push(record);
                        }
                    }
                }
            }
        }
        let Self { trusted, revoked, .. } = &mut keys;
        trusted.retain(|record| !revoked.iter().any(|other| other.key == record.key));
        Ok(keys)
    }

    /// Where changes are written.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether a package needs the signature of a trusted key. A revocation of the last one opens the door to nobody.
    pub fn is_strict(&self) -> bool {
        !self.trusted.is_empty() || !self.revoked.is_empty()
    }

    /// What a package's signature is worth here. `said` is the public key that the package itself names.
    ///
    /// # Errors
    /// A package that may not be taken here.
    pub fn judge(
        &self,
        index: &[u8],
        signature: Option<&[u8]>,
        said: Option<&PublicKey>,
    ) -> Result<Verdict, PackagesError> {
        let Some(signature) = signature else {
            return match self.is_strict() {
                true => Err(PackagesError::Unsigned),
                false => Ok(Verdict::Unsigned),
            };
        };
        let id = signed_with(signature).ok_or(PackagesError::BadSignature)?;
        let keys = self.trusted.iter().filter(|record| record.id == id).map(|record| PublicKey::parse(&record.key));
        let keys = keys.collect::<Result<Vec<PublicKey>, PackagesError>>()?;
        if !keys.is_empty() {
            let made_it = keys.into_iter().find(|key| key.verifies(index, signature));
            return made_it.map(Verdict::Trusted).ok_or(PackagesError::BadSignature);
        }
        if self.revoked.iter().any(|record| record.id == id) {
            return Err(PackagesError::RevokedKey { id });
        }
        if self.is_strict() {
            return Err(PackagesError::OtherKey {
                id,
                trusted: self.trusted.iter().map(|key| key.id.clone()).collect(),
            });
        }
        match said.filter(|key| key.id() == id && key.verifies(index, signature)) {
            Some(key) => Ok(Verdict::Unknown(key.clone())),
            None => Err(PackagesError::BadSignature),
        }
    }

    /// Trusts a key; whether it was not trusted before.
    ///
    /// # Errors
    /// It was revoked here; the file can't be written.
    pub fn trust(&mut self, key: &PublicKey) -> Result<bool, PackagesError> {
        if self.revoked.iter().any(|record| record.key == key.text()) {
            return Err(PackagesError::RevokedKey { id: key.id() });
        }
        if self.trusted.iter().any(|record| record.key == key.text()) {
            return Ok(false);
        }
        self.trusted.push(record(key));
        self.write()?;
        Ok(true)
    }

    /// Trusts a key no more, for good; whether that was not so before.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn revoke(&mut self, key: &PublicKey) -> Result<bool, PackagesError> {
        if self.revoked.iter().any(|record| record.key == key.text()) {
            return Ok(false);
        }
        self.trusted.retain(|record| record.key != key.text());
        self.revoked.push(record(key));
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> Result<(), PackagesError> {
        let failed = |source| PackagesError::KeyFile { path: self.file.clone(), source };
        let document = Document { format: FORMAT, trusted: self.trusted.clone(), revoked: self.revoked.clone() };
        let text = serde_json::to_vec_pretty(&document).map_err(|error| failed(error.into()))?;
        create_dir_durably(self.file.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        write_durably(&self.file, &text, Mode::Shared).map_err(failed)
    }
}

fn record(key: &PublicKey) -> KeyRecord {
    let operator = Operator::of_process();
    KeyRecord {
        id: key.id(),
        key: key.text().to_owned(),
        at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        by: format!("{}@{}", operator.user, operator.host),
    }
}

fn read_document(folder: &Path) -> Result<Option<Document>, PackagesError> {
    let path = folder.join(FILE);
    let failed = |source| PackagesError::KeyFile { path: path.clone(), source };
    let mut text = Vec::new();
    let file = match open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (owner, home) = (file.metadata().map_err(failed)?, fs::metadata(folder).map_err(failed)?);
    // Any other user who could write it could add a key of their own.
    if ![0, home.uid()].contains(&owner.uid()) || owner.mode() & 0o022 != 0 {
        return Err(PackagesError::KeyFileOwner { path });
    }
    file.take(LARGEST).read_to_end(&mut text).map_err(failed)?;
    let document: Document = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    match document.format {
        FORMAT => Ok(Some(document)),
        _ => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::signing::SigningKey;
    use super::*;

    fn key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate(None).unwrap().0, None).unwrap()
    }

    #[test]
    fn a_machine_that_trusts_a_key_takes_nothing_from_anybody_else() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        let (one, two) = (key(), key());
        let [by_one, by_two] = [&one, &two].map(|key| key.sign(b"index", "x").unwrap());
        let mut keys = TrustedKeys::read(&folders).unwrap();
        assert_eq!(keys.judge(b"index", None, None).unwrap(), Verdict::Unsigned);
        let unknown = keys.judge(b"index", Some(&by_one), Some(one.public())).unwrap();
        assert_eq!(unknown, Verdict::Unknown(one.public().clone()));
        // One that names a key that did not make it.
        let other = keys.judge(b"index", Some(&by_one), Some(two.public()));
        assert!(matches!(other, Err(PackagesError::BadSignature)), "{other:?}");
        assert!(keys.trust(one.public()).unwrap() && !keys.trust(one.public()).unwrap());
        let mut keys = TrustedKeys::read(&folders).unwrap();
        assert_eq!(keys.judge(b"index", Some(&by_one), None).unwrap(), Verdict::Trusted(one.public().clone()));
        assert!(matches!(keys.judge(b"index", None, None), Err(PackagesError::Unsigned)));
        assert!(matches!(keys.judge(b"other", Some(&by_one), None), Err(PackagesError::BadSignature)));
        let other = keys.judge(b"index", Some(&by_two), Some(two.public()));
        assert!(matches!(other, Err(PackagesError::OtherKey { .. })), "{other:?}");
        // Two for a rotation; then the old one goes, for good.
        keys.trust(two.public()).unwrap();
        keys.revoke(one.public()).unwrap();
        let mut keys = TrustedKeys::read(&folders).unwrap();
        assert!(matches!(keys.judge(b"index", Some(&by_one), None), Err(PackagesError::RevokedKey { .. })));
        assert!(matches!(keys.trust(one.public()), Err(PackagesError::RevokedKey { .. })));
        assert!(keys.judge(b"index", Some(&by_two), None).is_ok());
        keys.revoke(two.public()).unwrap();
        assert!(matches!(keys.judge(b"index", None, None), Err(PackagesError::Unsigned)));
    }

    #[test]
    fn a_machine_whose_keys_were_all_revoked_says_that_it_trusts_none_and_lists_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = TrustedKeys::read(&[folder.path().to_owned()]).unwrap();
        let (old, other) = (key(), key());
        keys.trust(old.public()).unwrap();
        let by_other = other.sign(b"index", "x").unwrap();
        let said = |keys: &TrustedKeys| keys.judge(b"index", Some(&by_other), None).unwrap_err().to_string();
        assert!(said(&keys).ends_with(&format!("it trusts {}", old.public().id())), "{}", said(&keys));
        keys.revoke(old.public()).unwrap();
        assert!(said(&keys).contains("this machine trusts no key any more"), "{}", said(&keys));
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_damaged_is_an_error_and_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        TrustedKeys::read(&folders).unwrap().trust(key().public()).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(TrustedKeys::read(&folders), Err(PackagesError::KeyFileOwner { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        TrustedKeys::read(&folders).unwrap();
        fs::write(&path, "{").unwrap();
        assert!(matches!(TrustedKeys::read(&folders), Err(PackagesError::KeyFile { .. })));
    }
}
