//! The keys with which this desk signs: a folder of minisign's files, which nobody else may read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::signing::{PublicKey, SigningKey};
use crate::fs::{Mode, create_dir_durably, write_durably};
use crate::images::is_release_name;
use crate::packages::PackagesError;

const SECRET: &str = "key";
const PUBLIC: &str = "pub";
/// Files of keys have two lines.
const LARGEST: u64 = 4096;

/// A key of this desk.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnKey {
    pub name: String,
    pub public: PublicKey,
    pub path: PathBuf,
}

/// Makes a key of this name; a password encrypts it.
///
/// # Errors
/// There is one of that name; it can't be written.
pub fn generate(folder: &Path, name: &str, password: Option<String>) -> Result<OwnKey, PackagesError> {
    if !is_release_name(name) {
        return Err(PackagesError::KeyName { name: name.chars().take(100).collect() });
    }
    let path = folder.join(format!("{name}.{SECRET}"));
    if path.exists() {
        return Err(PackagesError::KeyExists { path });
    }
    let (secret, public) = SigningKey::generate(password)?;
    let failed = |source| PackagesError::KeyFile { path: path.clone(), source };
    create_dir_durably(folder).map_err(failed)?;
    write_durably(&folder.join(format!("{name}.{PUBLIC}")), public.file_text().as_bytes(), Mode::Shared)
        .and_then(|()| write_durably(&path, secret.as_bytes(), Mode::Private))
        .map_err(failed)?;
    Ok(OwnKey { name: name.to_owned(), public, path })
}

/// The keys of a folder, by their names; what can't be read is passed over.
pub fn own_keys(folder: &Path) -> Vec<OwnKey> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_path = |path: PathBuf| {
        let is_secret = path.extension().is_some_and(|extension| extension == SECRET);
        let name = path.file_stem()?.to_str().filter(|_| is_secret)?.to_owned();
        let public = read_public_key(&path.with_extension(PUBLIC)).ok()?;
        Some(OwnKey { name, public, path })
    };
    let mut keys: Vec<OwnKey> = entries.filter_map(of_path).collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    keys
}

/// The key that signs: the one of this name, or in this file; else the only one there is. `None` where there is none.
///
/// # Errors
/// It can't be read; there are several, and none is named.
pub fn signing_key(
    folder: &Path,
    wanted: Option<&str>,
    password: Option<String>,
) -> Result<Option<SigningKey>, PackagesError> {
    let named = |name: &str| {
        let path = folder.join(format!("{name}.{SECRET}"));
        if is_release_name(name) && path.is_file() { path } else { PathBuf::from(name) }
    };
    let path = match wanted {
        Some(wanted) => named(wanted),
        None => match own_keys(folder).as_slice() {
            [] => return Ok(None),
            [only] => only.path.clone(),
            several => {
                return Err(PackagesError::WhichKey { names: several.iter().map(|key| key.name.clone()).collect() });
            }
        },
    };
    let text = read_small(&path)?;
    SigningKey::parse(&text, password).map(Some).map_err(|error| match error {
        PackagesError::NotAKey => PackagesError::KeyFile { path, source: io::ErrorKind::InvalidData.into() },
        other => other,
    })
}

/// The public key in a file.
///
/// # Errors
/// It can't be read, or is not one.
pub fn read_public_key(path: &Path) -> Result<PublicKey, PackagesError> {
    PublicKey::parse(&read_small(path)?)
}

fn read_small(path: &Path) -> Result<String, PackagesError> {
    use std::io::Read;
    let mut text = String::new();
    let read = crate::fs::open_regular(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    read.map_err(|source| PackagesError::KeyFile { path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_only_key_signs_and_of_several_one_must_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        assert!(signing_key(&keys, None, None).unwrap().is_none());
        let one = generate(&keys, "one", None).unwrap();
        assert_eq!(fs::metadata(&one.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*signing_key(&keys, None, None).unwrap().unwrap().public(), one.public);
        assert!(matches!(generate(&keys, "one", None), Err(PackagesError::KeyExists { .. })));
        assert!(matches!(generate(&keys, "../x", None), Err(PackagesError::KeyName { .. })));
        let two = generate(&keys, "two", None).unwrap();
        assert!(matches!(signing_key(&keys, None, None), Err(PackagesError::WhichKey { .. })));
        assert_eq!(*signing_key(&keys, Some("two"), None).unwrap().unwrap().public(), two.public);
        let path = one.path.display().to_string();
        assert_eq!(*signing_key(&keys, Some(&path), None).unwrap().unwrap().public(), one.public);
        assert_eq!(own_keys(&keys), [one, two]);
    }
}
