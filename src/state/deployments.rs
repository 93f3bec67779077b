//! What the services of a project were after each of the last actions that changed them: the way back.
//!
//! A deployment is the manifest as it was carried out, and the image that each service's container was made of. It is
//! written down when an action on services ends, whatever became of it, from what the engine has then.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StateError;
use super::folder::{Readers, StateDir};
use super::operator::Operator;

pub(super) const FILE: &str = "deployments.json";

/// The last deployments of each engine, by the engine's own ID.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Deployments {
    #[serde(default)]
    engines: BTreeMap<String, Vec<Deployment>>,
}

/// What the services were when an action had ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The number of the action in the journal.
    pub action: u64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub operator: Operator,
    /// The manifest in its long form, as `dpl config --show-values` prints it. A service that the action left alone has
    /// in it the definition that it was last carried out with.
    pub manifest: Value,
    pub services: BTreeMap<String, DeployedService>,
}

/// The project that a deployment belongs to.
pub(super) fn project_of(deployment: &Deployment) -> &str {
    deployment.manifest["project"].as_str().unwrap_or_default()
}

/// A service that has a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedService {
    /// The engine's ID of the image that its container was made of.
    pub image_id: String,
    /// Whether it ran.
    pub is_up: bool,
    /// What its `env_file`s set; absent where the record is older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// The ID of its container, where that one was seen to end well by itself: a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

impl Deployment {
    /// Whether nothing but the time and the operator tells them apart; a job that ran once more is no other state.
    fn is_like(&self, other: &Self) -> bool {
        let same = |one: &DeployedService, other: &DeployedService| {
            let is_known = one.env.is_some() && other.env.is_some();
            one.image_id == other.image_id && one.is_up == other.is_up && (!is_known || one.env == other.env)
        };
        self.manifest == other.manifest
            && self.services.keys().eq(other.services.keys())
            && self.services.values().zip(other.services.values()).all(|(one, other)| same(one, other))
    }
}

impl Deployments {
    /// # Errors
    /// A file that is there and can't be understood.
    pub fn read(state: &StateDir) -> Result<Self, StateError> {
        Ok(super::older_records::deployments(state)?.followed_by(state.read_record(FILE)?))
    }

    /// The IDs of the images that an engine's deployments were made of, those of all projects in the folder: an image may be one's
    /// way back though another no longer names it.
    pub fn images_of_all_projects(state: &StateDir, engine: &str) -> Result<BTreeSet<String>, StateError> {
        let all = state.siblings().into_iter().map(|state| Ok(Self::read(&state)?.images_of(engine)));
        all.collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().flatten().collect())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Deployment> {
        self.engines.values().flatten()
    }

    /// Those of one project.
    pub(super) fn of_project(&self, project: &str) -> Self {
        let mut own = self.clone();
        own.engines.values_mut().for_each(|all| all.retain(|one| project_of(one) == project));
        own.engines.retain(|_, all| !all.is_empty());
        own
    }

    /// These, and behind them those that came later; what both have comes once.
    pub(super) fn followed_by(mut self, later: Self) -> Self {
        for (engine, later) in later.engines {
            let all = self.engines.entry(engine).or_default();
            for one in later {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        self
    }

    /// An engine's deployments, oldest first.
    pub fn of(&self, engine: &str) -> &[Deployment] {
        self.engines.get(engine).map(Vec::as_slice).unwrap_or_default()
    }

    /// The IDs of the images that an engine's deployments were made of.
    pub fn images_of(&self, engine: &str) -> BTreeSet<String> {
        self.of(engine).iter().flat_map(|one| one.services.values()).map(|service| service.image_id.clone()).collect()
    }

    /// The IDs of the containers that were seen to end well by themselves, by the last deployment of each engine.
    pub fn completed(&self) -> BTreeSet<String> {
        let last = self.engines.values().filter_map(|all| all.last());
        last.flat_map(|one| one.services.values()).filter_map(|service| service.completed.clone()).collect()
    }

    /// Adds what an engine has now, and writes it down; what is as it was is none. The present one and `keep` before it
    /// stay. The project's lock must be held.
    pub fn add(&mut self, state: &StateDir, engine: &str, deployment: Deployment, keep: u32) -> Result<(), StateError> {
        let all = self.engines.entry(engine.to_owned()).or_default();
        match all.last_mut() {
            Some(last) if last.is_like(&deployment) && last.services == deployment.services => return Ok(()),
            Some(last) if last.is_like(&deployment) => last.services = deployment.services,
            _ => all.push(deployment),
        }
        let superfluous = all.len().saturating_sub(keep as usize + 1);
        all.drain(..superfluous);
        crate::failpoint!("state.deployments.before-write");
        state.write_record(FILE, self, Readers::Owner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::report::Told as _;

    fn deployment(action: u64, image: &str) -> Deployment {
        Deployment {
            action,
            at: Timestamp::now(),
            operator: Operator::default(),
            manifest: serde_json::json!({"project": "p"}),
            services: BTreeMap::from([(
                "web".to_owned(),
                DeployedService { image_id: image.to_owned(), is_up: true, ..Default::default() },
            )]),
        }
    }

    #[test]
    fn the_last_ones_stay_and_what_is_as_it_was_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        for (action, image) in [(1, "a"), (2, "a"), (4, "b"), (5, "c"), (9, "d")] {
            let mut all = Deployments::read(&state).unwrap();
            all.add(&state, "ENGINE", deployment(action, image), 2).unwrap();
        }
        let all = Deployments::read(&state).unwrap();
        assert_eq!(all.of("ENGINE").iter().map(|one| one.action).collect::<Vec<_>>(), [4, 5, 9]);
        assert_eq!(all.images_of("ENGINE"), BTreeSet::from(["b".into(), "c".into(), "d".into()]));
        assert!(all.of("OTHER").is_empty() && all.images_of("OTHER").is_empty());
        let mode = std::fs::metadata(state.file(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "values of the environment are in it");
    }

    #[test]
    fn a_job_that_ran_once_more_is_no_other_state_and_its_container_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        for (action, id) in [(1, "one"), (2, "two")] {
            let mut all = Deployments::read(&state).unwrap();
            let mut job = deployment(action, "a");
            job.services.get_mut("web").unwrap().completed = Some(id.to_owned());
            all.add(&state, "ENGINE", job, 2).unwrap();
        }
        let all = Deployments::read(&state).unwrap();
        assert_eq!(all.of("ENGINE").iter().map(|one| one.action).collect::<Vec<_>>(), [1]);
        assert_eq!(all.completed(), ["two".to_owned()].into());
    }

    #[test]
    fn a_record_that_can_t_be_understood_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        state.create().unwrap();
        for text in ["{", ""] {
            std::fs::write(state.file(FILE), text).unwrap();
            let hint = Deployments::read(&state).unwrap_err().hint().map(|hint| crate::catalogue::english(&hint));
            assert!(hint.is_some_and(|hint| hint.contains("deployments.json away")), "{text:?}");
        }
    }
}
