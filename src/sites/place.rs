//! A project's place on this machine, as the other side of a connection names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::protocol::ProjectPlace;
use super::roots;
use crate::manifest::{ComingFiles, Loaded, Manifest, ManifestErrors, Variables, read_manifest_with};
use crate::report::{Message, Told as _};
use crate::state::{StateDir, chosen_manifest};

impl ProjectPlace {
    /// The manifest's path; `None` where none is known.
    pub(super) fn manifest_path(&self) -> Option<PathBuf> {
        match &self.manifest {
            Some(manifest) => Some(self.folder.join(manifest)),
            None => chosen_manifest(&self.folder),
        }
    }

    /// Makes the project's folder, and that of its manifest, where they are not there.
    ///
    /// # Errors
    /// One can't be made.
    pub fn make_folders(&self) -> std::io::Result<()> {
        roots::create_folders(&self.folder)?;
        // One that links lead out of the folder is refused where something is to be written there.
        let manifest = self.manifest.as_deref().and_then(|manifest| roots::inside(&self.folder, manifest).ok());
        manifest.as_deref().and_then(Path::parent).map_or(Ok(()), roots::create_folders)
    }

    /// Reads the manifest; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read_manifest(&self) -> Option<Result<Loaded, ManifestErrors>> {
        self.read_manifest_with(&ComingFiles::default())
    }

    /// Reads the manifest as if files were there that are on their way; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_manifest_with(&self, coming: &ComingFiles) -> Option<Result<Loaded, ManifestErrors>> {
        let path = self.manifest_path().filter(|path| coming.has(path) || path.exists())?;
        Some(read_manifest_with(&path, self.all_variables(), coming))
    }

    /// As [`ProjectPlace::read_manifest`], where there must be one; the reason for people.
    pub(super) fn manifest_here(&self) -> Result<Loaded, Message> {
        match self.read_manifest() {
            Some(Ok(loaded)) => Ok(loaded),
            Some(Err(errors)) => Err(problem_of(&errors)),
            None => Err(message!("serve-no-manifest", folder = self.folder.display())),
        }
    }

    /// Where the records of the project lie.
    pub(super) fn state(&self, manifest: &Manifest) -> StateDir {
        let folder = self.variables.get("DPL_STATE").map(PathBuf::from);
        let folder = folder.or_else(|| std::env::var_os("DPL_STATE").map(PathBuf::from));
        match folder.filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => StateDir::in_folder(self.folder.join(folder), &manifest.project),
            None => StateDir::beside(&self.manifest_path().unwrap_or_default(), &manifest.project),
        }
    }

    fn all_variables(&self) -> Variables {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut all: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        all.extend(self.variables.clone());
        Variables::new(all)
    }

    /// Where the engine is, where that is said.
    pub(super) fn engine_address(&self) -> Option<&str> {
        self.variables.get("DOCKER_HOST").map(String::as_str).filter(|host| !host.is_empty())
    }
}

/// A path as seen from the folder; as it is where it lies elsewhere.
pub(super) fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// The first thing that is wrong with a manifest.
pub(super) fn problem_of(errors: &ManifestErrors) -> Message {
    let headline = errors.message();
    match errors.problems.first() {
        Some(first) => message!("because", what = headline, why = first.message.clone()),
        None => headline,
    }
}

/// As [`problem_of`], for a document.
pub(super) fn first_problem(errors: &ManifestErrors) -> String {
    crate::catalogue::english(&problem_of(errors))
}
