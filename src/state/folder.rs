//! The folder `.dpl/` beside the manifest, and in it one folder for each project.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FORMAT, StateError};
use crate::fs::{Mode, create_dir_durably, open_regular, write_durably_alone};

/// A project's state on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
    project: String,
    /// Manifest → project, for records of an older dpl that name no project.
    owners: Arc<BTreeMap<PathBuf, String>>,
}

/// Who is to read a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// 0600: it holds, or may hold, secrets.
    Owner,
    /// 0660 with the group of `.dpl/`: all who work on the host.
    Group,
}

impl StateDir {
    /// The state of a project whose manifest lies at `manifest`; nothing is made yet.
    pub fn beside(manifest: &Path, project: &str) -> Self {
        let folder = manifest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::in_folder(folder.join(".dpl"), project)
    }

    /// The state of a project in a folder that was named for it (`--state`).
    pub fn in_folder(root: PathBuf, project: &str) -> Self {
        Self { root, project: project.to_owned(), owners: Arc::default() }
    }

    /// With the projects of manifests that records of an older dpl name.
    pub fn with_owners(mut self, owners: BTreeMap<PathBuf, String>) -> Self {
        self.owners = Arc::new(owners);
        self
    }

    /// The project's own folder. The name of a project has no dot, so that it meets none of the files that an older dpl
    /// kept for all projects together.
    pub fn path(&self) -> PathBuf {
        match self.project.as_str() {
            "lock" => self.root.join("lock.project"),
            project => self.root.join(project),
        }
    }

    pub fn project(&self) -> &str {
        &self.project
    }

    /// The folder that all its projects share.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn owner_of(&self, manifest: &Path) -> Option<&str> {
        self.owners.get(manifest).map(String::as_str)
    }

    /// The state of another project in the same folder.
    pub(super) fn of_project(&self, project: &str) -> Self {
        Self { project: project.to_owned(), ..self.clone() }
    }

    /// The projects that have state in this folder, this one included.
    pub(super) fn siblings(&self) -> Vec<Self> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        let folders =
            entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok());
        let mut projects: Vec<String> =
            folders.map(|name| name.strip_suffix(".project").map(str::to_owned).unwrap_or(name)).collect();
        projects.push(self.project.clone());
        projects.sort();
        projects.dedup();
        projects.iter().map(|project| self.of_project(project)).collect()
    }

    /// Where a file of the project's state lies.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A record that is replaced as a whole; an empty one where there is none.
    ///
    /// # Errors
    /// A file that is there and can't be understood, or that a newer dpl wrote: what it says is not to be guessed.
    pub(super) fn read_record<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StateError> {
        read_record(&self.file(name))
    }

    /// Replaces a record, durably.
    pub(super) fn write_record<T: Serialize>(
        &self,
        name: &str,
        record: &T,
        readers: Readers,
    ) -> Result<(), StateError> {
        self.create()?;
        let mut value = serde_json::to_value(record).map_err(|error| self.write_error(error.into()))?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("format".to_owned(), FORMAT.into());
        }
        let text = serde_json::to_vec(&value).map_err(|error| self.write_error(error.into()))?;
        let mode = match readers {
            Readers::Owner => Mode::Private,
            Readers::Group => Mode::Group(self.group()),
        };
        write_durably_alone(&self.file(name), &text, mode).map_err(|source| self.write_error(source))
    }

    /// Makes the folder of the project. A new `.dpl/` is for its group as well.
    pub(super) fn create(&self) -> Result<(), StateError> {
        let path = self.path();
        if path.is_dir() {
            return Ok(());
        }
        let is_new = !self.root.is_dir();
        create_dir_durably(&path).map_err(|source| self.write_error(source))?;
        if is_new {
            let folder = self.root.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let group = std::fs::metadata(folder).ok().map(|folder| folder.gid());
            share(&self.root, group, 0o770);
        }
        share(&path, self.group(), 0o770);
        Ok(())
    }

    /// The group of all who work here.
    pub(super) fn group(&self) -> Option<u32> {
        std::fs::metadata(&self.root).ok().map(|folder| folder.gid())
    }

    /// Gives an open file of the state to the group. What belongs to somebody else has been given already, or stays theirs.
    pub(super) fn share(&self, file: &File) {
        if let Some(group) = self.group() {
            let _ = std::os::unix::fs::fchown(file, None, Some(group));
        }
        let _ = file.set_permissions(std::fs::Permissions::from_mode(0o660));
    }

    pub(super) fn write_error(&self, source: io::Error) -> StateError {
        StateError::Write { path: self.path(), source }
    }
}

/// Gives a folder that was just made to a group, as far as that is allowed.
fn share(folder: &Path, group: Option<u32>, mode: u32) {
    let _ = group.map(|group| std::os::unix::fs::chown(folder, None, Some(group)));
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode));
}

/// A record of any folder, an older dpl's included, which has no number of its format.
pub(super) fn read_record<T: DeserializeOwned + Default>(path: &Path) -> Result<T, StateError> {
    let mut text = Vec::new();
    match open_regular(path).and_then(|mut file| io::Read::read_to_end(&mut file, &mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
    }
    let wrong = |error: serde_json::Error| StateError::Read { path: path.to_owned(), source: error.into() };
    let value: Value = serde_json::from_slice(&text).map_err(wrong)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => Err(StateError::Newer { path: path.to_owned(), format }),
        _ => serde_json::from_value(value).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_dpl_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        state.create().unwrap();
        std::fs::write(state.file("x.json"), r#"{"format": 2, "engines": {}}"#).unwrap();
        let read = state.read_record::<BTreeMap<String, Value>>("x.json");
        assert!(matches!(read, Err(StateError::Newer { format: 2, .. })), "{read:?}");
        state.write_record("y.json", &serde_json::json!({"a": 1}), Readers::Group).unwrap();
        let text = std::fs::read_to_string(state.file("y.json")).unwrap();
        assert_eq!(text, format!(r#"{{"a":1,"format":{FORMAT}}}"#));
    }

    #[test]
    fn files_are_for_the_group_of_the_folder_and_secrets_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        state.write_record("all.json", &serde_json::json!({}), Readers::Group).unwrap();
        state.write_record("mine.json", &serde_json::json!({}), Readers::Owner).unwrap();
        let of = |path: PathBuf| std::fs::metadata(path).unwrap();
        assert_eq!(of(state.path()).mode() & 0o777, 0o770);
        assert_eq!(of(state.file("all.json")).mode() & 0o777, 0o660);
        assert_eq!(of(state.file("all.json")).gid(), of(state.root().to_owned()).gid());
        assert_eq!(of(state.file("mine.json")).mode() & 0o777, 0o600);
    }

    #[test]
    fn no_project_meets_the_files_that_all_shared() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "lock");
        state.create().unwrap();
        assert!(!folder.path().join(".dpl/lock").exists());
        let names: Vec<String> = state.siblings().iter().map(|state| state.project().to_owned()).collect();
        assert_eq!(names, ["lock"]);
    }
}
