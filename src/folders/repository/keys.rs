//! The key of a new repository, in a key file that stock restic opens (restic, design.rst, "Keys, Encryption and MAC").
//!
//! Restic makes every opening take a second and 128 MiB, so that nobody tries many passwords. One of 256 random bits is not
//! guessed however quick a try is: its key file asks for little, and commands begin at once.

use jiff::Zoned;
use rustic_core::repofile::{KeyFile, MasterKey};
use rustic_core::{FileType, WriteBackend};

use super::super::error::FoldersError;
use super::backend::LocalBackend;
use super::lock::{LockKey, random};
use super::{Said, said};
use crate::fs::Digest;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Password {
    /// dpl made it of 256 random bits.
    Random,
    /// Somebody chose it.
    Chosen,
}

/// The costs of scrypt (RFC 7914): block size, parallelisation, and how much memory it takes by 1 KiB.
const BLOCK: u32 = 8;
const PARALLEL: u32 = 1;
const LITTLE: u32 = 1 << 10;
const MUCH: u32 = 1 << 17;

/// Makes a master key, and writes it protected by the password.
pub fn write_new_key(
    backend: &LocalBackend,
    (password, kind): (&str, Password),
    (user, host): (&str, &str),
) -> Result<MasterKey, FoldersError> {
    let folder = backend.folder();
    let master = MasterKey::new();
    let mut file = KeyFile {
        hostname: Some(host.to_owned()),
        username: Some(user.to_owned()),
        created: Some(Zoned::now()),
        kdf: "scrypt".to_owned(),
        n: if kind == Password::Random { LITTLE } else { MUCH },
        r: BLOCK,
        p: PARALLEL,
        data: Vec::new(),
        salt: [random(), random()].concat(),
    };
    let (encrypt, k, r) = file.kdf_key(&password).map_err(|error| said(folder, &error))?.to_keys();
    let bad = |what: &str| FoldersError::Repository { path: folder.to_owned(), source: Said(what.to_owned()) };
    let plain = serde_json::to_vec(&master).map_err(|error| bad(&error.to_string()))?;
    let sealed = LockKey::of(&encrypt, &k, &r).and_then(|key| key.encrypt(&plain));
    file.data = sealed.ok_or_else(|| bad("the key could not be encrypted"))?;
    let text = serde_json::to_vec(&file).map_err(|error| bad(&error.to_string()))?;
    let id = Digest::of(&text).hex().parse().map_err(|error: Box<rustic_core::RusticError>| said(folder, &error))?;
    backend.create().map_err(|error| said(folder, &error))?;
    backend.write_bytes(FileType::Key, &id, false, text.into()).map_err(|error| said(folder, &error))?;
    Ok(master)
}
