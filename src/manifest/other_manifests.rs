//! The other manifests of a project: those that lie beside the chosen one, and what they extend.
//!
//! For what must not guess which images or data a project still needs. A file that looks like a manifest and can't be
//! read is an error, never passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Manifest;
use super::model::Service;
use super::read::{Loaded, read_manifest};
use super::steps::variables::Variables;
use super::text::parse::LARGEST_TEXT;
use super::text::problem::{ManifestErrors, Severity};
use crate::report::{Message, Told};

/// A manifest, and where it lies.
#[derive(Debug)]
pub struct FoundManifest {
    pub path: PathBuf,
    pub loaded: Loaded,
}

/// Why it can't be said which manifests there are.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    Folder { folder: PathBuf, source: io::Error },
    File { path: PathBuf, source: io::Error },
    Manifest { path: PathBuf, problem: Message },
}

impl Told for BesideError {
    fn message(&self) -> Message {
        match self {
            Self::Folder { folder, .. } => message!("error-beside-folder", folder = folder.display()),
            Self::File { path, .. } => message!("error-beside-file", path = path.display()),
            Self::Manifest { path, problem } => {
                message!("error-beside-manifest", path = path.display(), problem = problem)
            }
        }
    }
}

/// All manifests in the folder of `chosen`, and the whole ones that any of them extends, wherever those lie. Of any
/// project: the caller chooses.
pub fn manifests_beside(chosen: &Path, variables: &Variables) -> Result<Vec<FoundManifest>, BesideError> {
    let folder = chosen.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    manifests_in(folder, Some(chosen), variables)
}

/// `chosen` is read whatever it looks like.
fn manifests_in(
    folder: &Path,
    chosen: Option<&Path>,
    variables: &Variables,
) -> Result<Vec<FoundManifest>, BesideError> {
    let failed = |source| BesideError::Folder { folder: folder.to_owned(), source };
    let mut waiting: BTreeSet<PathBuf> = chosen.map(Path::to_owned).into_iter().collect();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_json = Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "json");
        if is_json && entry.path().is_file() {
            waiting.insert(entry.path());
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop_first() {
        let known = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.insert(known) {
            continue;
        }
        let is_chosen = chosen == Some(path.as_path());
        if !is_chosen && !looks_like_manifest(&path)? && !may_be_a_cut_off_manifest(&path)? {
            continue;
        }
        let loaded = read_manifest(&path, variables.clone())
            .map_err(|errors| BesideError::Manifest { path: path.clone(), problem: first_problem(&errors) })?;
        for file in loaded.sources.files() {
            waiting.insert(file.folder.join(file.shown.file_name().unwrap_or_default()));
        }
        found.push(FoundManifest { path, loaded });
    }
    Ok(found)
}

/// The services that other manifests in the manifest's folder name for its project: their containers are somebody's.
pub fn services_beside(manifest: &Manifest, variables: &Variables) -> Result<BTreeSet<String>, BesideError> {
    let found = manifests_in(&manifest.folder, None, variables)?;
    let of_project = found.iter().filter(|found| found.loaded.manifest.project == manifest.project);
    Ok(of_project.flat_map(|found| found.loaded.manifest.services.names().map(str::to_owned)).collect())
}

/// The names of the volumes that manifests in the manifest's folder name for its project.
pub fn volumes_beside(manifest: &Manifest, variables: &Variables) -> Result<BTreeSet<String>, BesideError> {
    let found = manifests_in(&manifest.folder, None, variables)?;
    let manifests = found.iter().map(|found| &found.loaded.manifest).filter(|other| other.project == manifest.project);
    let all = manifests.chain([manifest]);
    Ok(all.flat_map(|other| other.volumes.keys().map(|key| other.volume_name(key))).collect())
}

/// The volumes that services of manifests in the manifest's folder mount, each with its users: names of services, behind
/// `PROJECT/` where that is another project.
pub fn volume_users_beside(
    manifest: &Manifest,
    variables: &Variables,
) -> Result<BTreeMap<String, BTreeSet<String>>, BesideError> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // One that was not read from a file has nothing beside it.
    if manifest.folder.as_os_str().is_empty() {
        return Ok(users);
    }
    for found in manifests_in(&manifest.folder, None, variables)? {
        let other = &found.loaded.manifest;
        for (_, name, service) in other.services.iter() {
            let user = match other.project == manifest.project {
                true => name.to_owned(),
                false => format!("{}/{name}", other.project),
            };
            for volume in mounted_volumes(other, service) {
                users.entry(volume).or_default().insert(user.clone());
            }
        }
    }
    Ok(users)
}

/// The names on the engine of the volumes that a service mounts by their keys.
pub fn mounted_volumes(manifest: &Manifest, service: &Service) -> BTreeSet<String> {
    let keys = service.volumes.iter().filter_map(|mount| mount.source.as_deref());
    keys.filter(|key| manifest.volumes.contains_key(*key)).map(|key| manifest.volume_name(key)).collect()
}

/// What looks like a manifest in the first of these folders that has one: the first by name. Folders and files that can't be
/// read have none.
pub fn likely_manifest(folders: &[&Path]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
        let mut files: Vec<PathBuf> = entries
            .map(|entry| if *folder == Path::new(".") { entry.file_name().into() } else { entry.path() })
            .filter(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "json") && path.is_file())
            .collect();
        files.sort();
        files.into_iter().find(|path| looks_like_manifest(path).unwrap_or_default())
    })
}

/// A manifest says its project, or what it extends. A file that is only ever extended says neither, and means nothing
/// by itself. What is not JSON at all is judged by its words: a manifest with a comma too many is still one.
fn looks_like_manifest(path: &Path) -> Result<bool, BesideError> {
    let bytes = beginning(path)?;
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields.contains_key("extends")
            || fields.contains_key("project") && (fields.contains_key("services") || fields.contains_key("paths"))),
        Ok(_) => Ok(false),
        Err(_) => Ok(says(&bytes, "\"services\"") && (says(&bytes, "\"project\"") || says(&bytes, "\"extends\""))),
    }
}

/// Whether the file was cut off while it was written, before it said that it is something else: it may have been a manifest.
fn may_be_a_cut_off_manifest(path: &Path) -> Result<bool, BesideError> {
    let bytes = beginning(path)?;
    let is_cut_off = serde_json::from_slice::<Value>(&bytes).is_err_and(|error| error.is_eof());
    let says_whose = says(&bytes, "\"project\"") || says(&bytes, "\"extends\"");
    Ok(is_cut_off && (says_whose || !says(&bytes, ":")))
}

fn beginning(path: &Path) -> Result<Vec<u8>, BesideError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_TEXT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| BesideError::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn says(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

fn first_problem(errors: &ManifestErrors) -> Message {
    let Some(problem) = errors.problems.iter().find(|problem| problem.severity == Severity::Error) else {
        return errors.message();
    };
    match problem.span {
        Some(span) => {
            let (line, _) = errors.sources.line_and_column(span.file, span.start);
            let file = errors.sources.file(span.file).shown.display();
            message!("error-beside-problem", file = file, line = line, problem = problem.message)
        }
        None => problem.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const STACK: &str = r#"{"project": "p", "services": {"a": {"image": "a:1"}}}"#;

    fn look(folder: &Path) -> Result<Vec<(String, String)>, BesideError> {
        let found = manifests_beside(&folder.join("stack.json"), &Variables::default())?;
        let name = |found: &FoundManifest| found.path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(found.iter().map(|found| (name(found), found.loaded.manifest.project.clone())).collect())
    }

    #[test]
    fn every_manifest_beside_the_chosen_one_is_found_with_what_it_extends() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir_all(folder.path().join("bases/stack")).unwrap();
        write("stack.json", STACK);
        write("prod.json", r#"{"extends": "bases/whole.json"}"#);
        write("bases/whole.json", r#"{"project": "p", "services": {"b": {"image": "b:1"}}}"#);
        write("part.json", r#"{"services": {"c": {"image": "c:1"}}}"#);
        write("with-part.json", r#"{"project": "q", "extends": "part.json"}"#);
        write("package.json", r#"{"name": "x", "project": "y"}"#);
        write("list.json", "[1, 2]");
        write("notes.txt", "{");
        let pair = |name: &str, project: &str| (name.to_owned(), project.to_owned());
        let mut found = look(folder.path()).unwrap();
        found.sort();
        let wanted = [pair("prod.json", "p"), pair("stack.json", "p"), pair("whole.json", "p")];
        assert_eq!(found, [&wanted[..], &[pair("with-part.json", "q")]].concat());
    }

    #[test]
    fn services_of_the_same_project_count_wherever_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("stack.json", STACK);
        write("extra.json", r#"{"project": "p", "services": {"b": {"image": "b:1"}}}"#);
        write("other.json", r#"{"project": "q", "services": {"c": {"image": "c:1"}}}"#);
        let stack = read_manifest(&folder.path().join("stack.json"), Variables::default()).unwrap();
        let named = services_beside(&stack.manifest, &Variables::default()).unwrap();
        assert_eq!(named, ["a".to_owned(), "b".to_owned()].into());
    }

    #[test]
    fn who_mounts_a_volume_is_known_of_every_manifest_beside() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let stack = |project: &str, service: &str, volumes: &str| {
            format!(
                r#"{{"project": "{project}", "services": {{"{service}": {{"image": "a:1", "volumes": ["data:/data"]}}}},
                "volumes": {{"data": {volumes}}}}}"#
            )
        };
        write("stack.json", &stack("p", "a", "{}"));
        write("extra.json", &stack("p", "b", "{}"));
        write("other.json", &stack("q", "c", r#"{"name": "p_data", "external": true}"#));
        let read = read_manifest(&folder.path().join("stack.json"), Variables::default()).unwrap();
        let users = volume_users_beside(&read.manifest, &Variables::default()).unwrap();
        let names = ["a", "b", "q/c"].map(str::to_owned);
        assert_eq!(users, [("p_data".to_owned(), names.into())].into());
    }

    #[test]
    fn a_file_that_looks_like_a_manifest_and_is_none_stops_everything() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("stack.json"), STACK).unwrap();
        for (text, said) in [
            (r#"{"project": "p", "services": {"a": {"image": "a:1"},}}"#, "line 1"),
            (r#"{"project": "p", "services": {"a": {}}}"#, "image"),
            (r#"{"extends": "nowhere.json"}"#, "nowhere.json"),
            // Cut off while it was written.
            (r#"{"project": "p", "serv"#, "line 1"),
            ("{", "line 1"),
            ("", "other.json"),
        ] {
            fs::write(folder.path().join("other.json"), text).unwrap();
            let error = look(folder.path()).unwrap_err().to_string();
            assert!(error.contains("other.json") && error.contains(said), "{error}");
        }
        fs::write(folder.path().join("other.json"), r#"{"broken": "#).unwrap();
        assert_eq!(look(folder.path()).unwrap().len(), 1, "that is something else");
    }
}
