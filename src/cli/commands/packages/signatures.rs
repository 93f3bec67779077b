//! Signatures of what is packed. Those of a release are made once and kept with it: minisign's differ each time, and the same package is
//! the same bytes.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::fs::{Digest, Mode, create_dir_durably, hash_file, write_durably};
use crate::images::release_signature;
use crate::packages::{PackPlan, PackagesError, SigningKey};

/// Signs what comes of a plan.
pub struct Signer<'a> {
    pub key: &'a SigningKey,
    pub plan: &'a PackPlan,
    /// The image store, where a release keeps its signatures.
    pub store: Option<&'a Path>,
}

impl Signer<'_> {
    /// The signature of the package's index.
    ///
    /// # Errors
    /// There is no randomness to be had; it can't be kept.
    pub fn of_index(&self) -> Result<Vec<u8>, PackagesError> {
        let index = self.plan.index.to_bytes();
        let holds = |signature: &[u8]| self.key.public().verifies(&index, signature);
        self.kept_or_made(|| Ok(Digest::of(&index)), holds, || self.key.sign(&index, &self.comment()))
    }

    /// The signature of all of a file that has the package in it. Whatever the file is called, it is the same.
    ///
    /// # Errors
    /// As [`Signer::of_index`]; the file can't be read.
    pub fn of_file(&self, path: &Path) -> Result<Vec<u8>, PackagesError> {
        let failed = |source| PackagesError::Source { path: path.to_owned(), source };
        let open = || File::open(path).map(BufReader::new).map_err(failed);
        let digest = || hash_file(path).map(|(digest, _)| digest).map_err(failed);
        let holds = |signature: &[u8]| open().is_ok_and(|file| self.key.public().verifies_all_of(file, signature));
        self.kept_or_made(digest, holds, || self.key.sign_all_of(open()?, "a self-extracting package", &self.comment()))
    }

    /// What minisign prints of a signature that holds.
    fn comment(&self) -> String {
        let index = &self.plan.index;
        match &index.release {
            Some(release) => format!("{} release {release} of {}", index.project, index.created),
            None => format!("{} of {}", index.project, index.created),
        }
    }

    /// `digest` is that of what is signed; it is asked for where a signature is kept at all.
    fn kept_or_made(
        &self,
        digest: impl FnOnce() -> Result<Digest, PackagesError>,
        holds: impl FnOnce(&[u8]) -> bool,
        make: impl FnOnce() -> Result<Vec<u8>, PackagesError>,
    ) -> Result<Vec<u8>, PackagesError> {
        let (Some(release), Some(store)) = (&self.plan.index.release, self.store) else { return make() };
        let kept = release_signature(store, release, &digest()?);
        if let Ok(signature) = std::fs::read(&kept)
            && holds(&signature)
        {
            return Ok(signature);
        }
        let signature = make()?;
        let failed =
            |source| PackagesError::File { path: kept.clone(), source: Box::new(PackagesError::Write(source)) };
        create_dir_durably(kept.parent().unwrap_or(store)).map_err(failed)?;
        write_durably(&kept, &signature, Mode::Shared).map_err(failed)?;
        Ok(signature)
    }
}
