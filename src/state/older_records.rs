//! Records of an older dpl, which kept one set of files for all projects of a folder: read as each project's own, and
//! divided among the projects by the first action of this dpl.
//!
//! A deployment has its manifest, and so its project. A journal's action names the file of its manifest; whose it is, the caller
//! knows ([`StateDir::with_owners`]) or a deployment of the same action. An action of nobody known, and the note of stopped
//! services, belong to the project that asks. What was loaded where has no project in it: every project gets all of it, since
//! it keeps images and removes none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use super::StateError;
use super::deployments::{self, Deployments};
use super::folder::{self, Readers, StateDir};
use super::journal::{self, Entry};
use super::{loads, stopped};

/// The manifests that the journal of an older dpl names, if there is one: the caller finds out whose they are.
pub fn undivided_manifests(state: &StateDir) -> Result<BTreeSet<PathBuf>, StateError> {
    let entries = journal::entries_of(&state.root().join(journal::FILE))?;
    let begins = entries.into_iter().filter_map(|(_, entry)| match entry {
        Entry::Begin(action) => Some(action.manifest),
        _ => None,
    });
    Ok(begins.collect())
}

/// The lines of a journal, each with what it says, by the project that they belong to.
type Journals = BTreeMap<String, Vec<(Vec<u8>, Entry)>>;

/// The lines of an older dpl's journal that belong to each project.
fn journals(state: &StateDir) -> Result<Journals, StateError> {
    let path = state.root().join(journal::FILE);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let deployed: BTreeMap<u64, String> =
        old_deployments(state)?.all().map(|one| (one.action, deployments::project_of(one).to_owned())).collect();
    let mut owners: BTreeMap<u64, String> = BTreeMap::new();
    let mut journals = Journals::new();
    for (line, entry) in journal::entries_of(&path)? {
        let number = journal::action_of(&entry);
        if let Entry::Begin(action) = &entry {
            let owner = state.owner_of(&action.manifest).or(deployed.get(&number).map(String::as_str));
            owners.insert(number, owner.unwrap_or(state.project()).to_owned());
        }
        let owner = owners.get(&number).map_or(state.project(), String::as_str);
        journals.entry(owner.to_owned()).or_default().push((line, entry));
    }
    Ok(journals)
}

/// What an older dpl's journal says of this project.
pub(super) fn journal(state: &StateDir) -> Result<Vec<Entry>, StateError> {
    let mine = journals(state)?.remove(state.project()).unwrap_or_default();
    Ok(mine.into_iter().map(|(_, entry)| entry).collect())
}

fn old_deployments(state: &StateDir) -> Result<Deployments, StateError> {
    folder::read_record(&state.root().join(deployments::FILE))
}

/// This project's deployments of an older dpl.
pub(super) fn deployments(state: &StateDir) -> Result<Deployments, StateError> {
    Ok(old_deployments(state)?.of_project(state.project()))
}

/// What an older dpl loaded.
pub(super) fn loads(state: &StateDir) -> Result<loads::Loads, StateError> {
    folder::read_record(&state.root().join(loads::OLD_FILE))
}

/// What an older dpl noted as stopped.
pub(super) fn stopped_services(state: &StateDir) -> Result<BTreeSet<String>, StateError> {
    stopped::read(&state.root().join(stopped::FILE))
}

/// Divides what an older dpl left, if there is any. The project's lock and the older one must be held. Cut off, it is done
/// again: nothing is taken over twice, and nothing of the older files is lost (they get `.old` behind their names).
pub(super) fn divide(state: &StateDir) -> Result<(), StateError> {
    let old = [journal::FILE, deployments::FILE, loads::OLD_FILE, stopped::FILE];
    let present: Vec<PathBuf> = old.iter().map(|name| state.root().join(name)).filter(|path| path.exists()).collect();
    if present.is_empty() {
        return Ok(());
    }
    // Those who work on other projects may come here at the same time.
    let guard = state.root().join(".dividing");
    let write = |source| StateError::Write { path: guard.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&guard).map_err(write)?;
    file.lock().map_err(write)?;
    let divided = divide_alone(state, &present);
    let _ = std::fs::remove_file(&guard);
    divided
}

fn divide_alone(state: &StateDir, present: &[PathBuf]) -> Result<(), StateError> {
    let (journals, deployed) = (journals(state)?, old_deployments(state)?);
    let mut projects: BTreeSet<String> = journals.keys().cloned().collect();
    projects.extend(deployed.all().map(|one| deployments::project_of(one).to_owned()));
    projects.insert(state.project().to_owned());
    for project in &projects {
        let state = state.of_project(project);
        state.create()?;
        let lines = journals.get(project).map(Vec::as_slice).unwrap_or_default();
        append_missing(&state, lines)?;
        let earlier = deployed.of_project(project);
        if earlier.all().next().is_some() {
            let all: Deployments = state.read_record(deployments::FILE)?;
            state.write_record(deployments::FILE, &earlier.followed_by(all), Readers::Owner)?;
        }
        if state.root().join(loads::OLD_FILE).exists() {
            let all: loads::Loads = state.read_record(loads::FILE)?;
            state.write_record(loads::FILE, &loads(&state)?.followed_by(all), Readers::Group)?;
        }
    }
    let mut stopped = stopped::read(&state.file(stopped::FILE))?;
    stopped.extend(stopped_services(state)?);
    stopped::write(state, &stopped)?;
    for path in present {
        let mut kept = path.clone().into_os_string();
        kept.push(".old");
        match std::fs::rename(path, kept) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::Write { path: path.clone(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes the lines behind those that the project's journal has already, each once.
fn append_missing(state: &StateDir, lines: &[(Vec<u8>, Entry)]) -> Result<(), StateError> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = state.file(journal::FILE);
    let write = |source: io::Error| StateError::Write { path: path.clone(), source };
    let known: BTreeSet<Vec<u8>> = journal::entries_of(&path)?.into_iter().map(|(line, _)| line).collect();
    let mut missing = Vec::new();
    for (line, _) in lines.iter().filter(|(line, _)| !known.contains(line)) {
        missing.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        missing.push(b'\n');
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(write)?;
    state.share(&file);
    journal::end_torn_line(&mut file).map_err(write)?;
    file.write_all(&missing).and_then(|()| file.sync_all()).map_err(write)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{at_work, read_journal, stopped_services as stopped_now};
    use super::*;
    use crate::state::{Deployment, Loads, Operator};

    fn line(number: u64, manifest: &str) -> String {
        format!(
            r#"{{"entry":"begin","number":{number},"at":"2026-11-22T21:30:00Z","user":"li","host":"site","version":"0.1.0","manifest":"{manifest}","manifest_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","engine":"unix:///x","command":"dpl start"}}
{{"entry":"end","action":{number},"at":"2026-11-22T21:33:24Z","exit_code":0}}
"#
        )
    }

    fn old_folder() -> (tempfile::TempDir, impl Fn(&str) -> StateDir) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(".dpl");
        std::fs::create_dir(&root).unwrap();
        let journal: String = [(1, "/a.json"), (2, "/b.json"), (3, "/gone.json"), (4, "/nobody.json")]
            .map(|(number, manifest)| line(number, manifest))
            .concat();
        std::fs::write(root.join("journal.jsonl"), journal).unwrap();
        let deployment = |action: u64, project: &str| {
            serde_json::json!({"action": action, "at": "2026-11-22T21:33:24Z", "user": "li", "host": "site",
                "manifest": {"project": project}, "services": {}})
        };
        let deployments =
            serde_json::json!({"engines": {"E": [deployment(1, "a"), deployment(2, "b"), deployment(3, "b")]}});
        std::fs::write(root.join("deployments.json"), deployments.to_string()).unwrap();
        let loads = serde_json::json!({"engines": {"E": {"releases": [], "loaded": ["sha256:1"]}}});
        std::fs::write(root.join("releases.json"), loads.to_string()).unwrap();
        std::fs::write(root.join("stopped.json"), r#"["web"]"#).unwrap();
        let owners =
            BTreeMap::from([("/a.json", "a"), ("/b.json", "b")].map(|(m, p)| (PathBuf::from(m), p.to_owned())));
        let manifest = folder.path().join("m.json");
        (folder, move |project: &str| StateDir::beside(&manifest, project).with_owners(owners.clone()))
    }

    fn actions(state: &StateDir) -> Vec<u64> {
        let begins = read_journal(state).unwrap().into_iter().filter(|entry| matches!(entry, Entry::Begin(_)));
        begins.map(|entry| journal::action_of(&entry)).collect()
    }

    #[test]
    fn what_an_older_dpl_left_is_divided_once_by_the_project_of_each_record() {
        let (folder, state) = old_folder();
        let look = |project: &str| {
            let state = state(project);
            let deployed: Vec<u64> = Deployments::read(&state).unwrap().of("E").iter().map(|one| one.action).collect();
            (actions(&state), deployed, Loads::read(&state).unwrap().of("E").knows("sha256:1"))
        };
        // Before it is divided everyone reads their own; nobody's action is seen by all.
        assert_eq!(look("a"), (vec![1, 4], vec![1], true));
        assert_eq!(look("b"), (vec![2, 3, 4], vec![2, 3], true));
        assert_eq!(stopped_now(&state("a")).unwrap(), BTreeSet::from(["web".to_owned()]));
        for _ in 0..2 {
            divide(&state("a")).unwrap();
            assert_eq!(look("a"), (vec![1, 4], vec![1], true));
            assert_eq!(look("b"), (vec![2, 3], vec![2, 3], true));
            assert_eq!(stopped_now(&state("a")).unwrap(), BTreeSet::from(["web".to_owned()]));
            assert!(stopped_now(&state("b")).unwrap().is_empty());
        }
        let root = folder.path().join(".dpl");
        assert!(root.join("journal.jsonl.old").exists() && !root.join("journal.jsonl").exists());
    }

    #[test]
    fn what_was_cut_off_half_way_is_taken_over_once() {
        let (folder, state) = old_folder();
        let root = folder.path().join(".dpl");
        divide(&state("a")).unwrap();
        for name in ["journal.jsonl", "deployments.json", "releases.json", "stopped.json"] {
            std::fs::rename(root.join(format!("{name}.old")), root.join(name)).unwrap();
        }
        divide(&state("b")).unwrap();
        assert_eq!(actions(&state("a")), [1, 4]);
        assert_eq!(Deployments::read(&state("b")).unwrap().of("E").len(), 2);
    }

    #[test]
    fn projects_in_one_folder_share_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("m.json");
        let (a, b) = (StateDir::beside(&manifest, "a"), StateDir::beside(&manifest, "b"));
        let operator = Operator::default();
        let patience = std::time::Duration::ZERO;
        let _a = super::super::Lock::acquire(&a, &operator, "dpl start", patience).unwrap();
        let _b = super::super::Lock::acquire(&b, &operator, "dpl start", patience).unwrap();
        assert!(at_work(&a).unwrap().is_some() && at_work(&b).unwrap().is_some());
        let deployment = |project: &str| Deployment {
            action: 1,
            at: jiff::Timestamp::now(),
            operator: Operator::default(),
            manifest: serde_json::json!({"project": project}),
            services: BTreeMap::new(),
        };
        Deployments::default().add(&a, "E", deployment("a"), 3).unwrap();
        assert!(Deployments::read(&b).unwrap().of("E").is_empty());
        let manifest = (Path::new("m.json"), crate::fs::Digest::of(b""));
        super::super::Journal::begin(&a, &operator, manifest, "unix:///x", "dpl start").unwrap();
        assert_eq!((actions(&a).len(), actions(&b).len()), (1, 0));
    }
}
