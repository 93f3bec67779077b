//! What was loaded where: for each engine the loads of the project, each with the image of every reference.
//!
//! A record is what the references named after a load that changed something. Before a load changes anything, what
//! is there and what is coming is written down, so that a load that is killed loses no image that somebody may want
//! back. `images prune --engine` goes by it, and so does the way back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::folder::{Readers, StateDir};
use super::operator::Operator;

pub(super) const FILE: &str = "loads.json";
/// What it was called before each project had its own.
pub(super) const OLD_FILE: &str = "releases.json";
/// Far more than anybody goes back; an entry is some kilobytes.
const MOST_LOADS: usize = 200;
/// Image IDs that are remembered beyond the loads, newest last.
const MOST_LOADED: usize = 2000;

/// The loads of a project, by the engine's own ID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loads {
    #[serde(default)]
    engines: BTreeMap<String, EngineLoads>,
}

/// What one engine got, oldest load first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLoads {
    #[serde(default, alias = "releases")]
    pub loads: Vec<LoadRecord>,
    /// The IDs of all images that `dpl` sent to the engine or found under the project's references there.
    #[serde(default)]
    pub loaded: Vec<String>,
}

/// What the project's references named at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Counts up from 1 on each engine.
    pub number: u64,
    pub at: Timestamp,
    pub origin: LoadOrigin,
    #[serde(flatten)]
    pub operator: Operator,
    /// The engine's ID of the image of each reference.
    pub images: BTreeMap<String, String>,
}

/// How a record came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadOrigin {
    /// A load brought it.
    Loaded,
    /// A load found it: what was there before the first one, what others brought, or what a killed load left.
    Found,
}

/// The record of one engine's loads, to be written to while the project's lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadLog {
    state: StateDir,
    engine: String,
    operator: Operator,
}

impl Loads {
    /// # Errors
    /// A file that is there and can't be understood: what it says of images is not to be guessed.
    pub fn read(state: &StateDir) -> Result<Self, StateError> {
        Ok(super::older_records::loads(state)?.followed_by(state.read_record(FILE)?))
    }

    /// These, and behind them those that came later; what both have comes once.
    pub(super) fn followed_by(mut self, later: Self) -> Self {
        for (engine, later) in later.engines {
            let all = self.engines.entry(engine).or_default();
            all.know(later.loaded);
            for one in later.loads {
                if !all.loads.contains(&one) {
                    all.loads.push(one);
                }
            }
        }
        self
    }

    pub fn of(&self, engine: &str) -> EngineLoads {
        self.engines.get(engine).cloned().unwrap_or_default()
    }
}

impl EngineLoads {
    /// The IDs of the images that the last `count` loads name. What was only found does not count as one of them,
    /// but nothing that lies between them is left out.
    pub fn images_of_last(&self, count: u32) -> BTreeSet<&str> {
        let mut left = count.max(1);
        let mut images = BTreeSet::new();
        for load in self.loads.iter().rev() {
            images.extend(load.images.values().map(String::as_str));
            if load.origin == LoadOrigin::Loaded {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        images
    }

    /// Whether an image with this ID is known to have been the project's.
    pub fn knows(&self, id: &str) -> bool {
        self.loaded.iter().any(|known| known == id)
            || self.loads.iter().any(|load| load.images.values().any(|known| known == id))
    }

    fn last(&self) -> BTreeMap<String, String> {
        self.loads.last().map(|load| load.images.clone()).unwrap_or_default()
    }

    fn add(&mut self, origin: LoadOrigin, operator: &Operator, images: BTreeMap<String, String>) {
        let number = self.loads.last().map_or(1, |load| load.number + 1);
        let at = Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
        self.know(images.values().cloned());
        self.loads.push(LoadRecord { number, at, origin, operator: operator.clone(), images });
        let superfluous = self.loads.len().saturating_sub(MOST_LOADS);
        self.loads.drain(..superfluous);
    }

    fn know(&mut self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            if !self.loaded.contains(&id) {
                self.loaded.push(id);
            }
        }
        let superfluous = self.loaded.len().saturating_sub(MOST_LOADED);
        self.loaded.drain(..superfluous);
    }
}

impl LoadLog {
    pub fn new(state: StateDir, engine: &str, operator: Operator) -> Self {
        Self { state, engine: engine.to_owned(), operator }
    }

    /// Before a load changes anything: what its references name now, and the IDs of the images that are coming.
    pub fn before_load(&self, named: &BTreeMap<String, String>, coming: &[String]) -> Result<(), StateError> {
        self.update(|engine| {
            let mut found = engine.last();
            found.extend(named.clone());
            if found != engine.last() {
                engine.add(LoadOrigin::Found, &self.operator, found);
            }
            engine.know(coming.iter().cloned());
        })
    }

    /// After a load: what its references name now. One that changed nothing is not recorded.
    pub fn after_load(&self, named: &BTreeMap<String, String>) -> Result<(), StateError> {
        self.update(|engine| {
            let mut images = engine.last();
            images.extend(named.clone());
            if images != engine.last() {
                engine.add(LoadOrigin::Loaded, &self.operator, images);
            }
        })
    }

    fn update(&self, change: impl FnOnce(&mut EngineLoads)) -> Result<(), StateError> {
        let mut loads = Loads::read(&self.state)?;
        let engine = loads.engines.entry(self.engine.clone()).or_default();
        let before = engine.clone();
        change(engine);
        if *engine == before {
            return Ok(());
        }
        crate::failpoint!("state.loads.before-write");
        self.state.write_record(FILE, &loads, Readers::Group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect()
    }

    fn log(folder: &std::path::Path) -> (LoadLog, StateDir) {
        let state = StateDir::beside(&folder.join("stack.json"), "p");
        (LoadLog::new(state.clone(), "ENGINE", Operator::default()), state)
    }

    #[test]
    fn the_images_of_the_last_releases_are_those_to_go_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let (log, state) = log(folder.path());
        log.before_load(&images("a=0"), &["1".into()]).unwrap();
        for (before, after) in [("a=0", "a=1 b=1b"), ("a=1", "a=2"), ("a=2", "a=2"), ("a=2", "a=3")] {
            log.before_load(&images(before), &[]).unwrap();
            log.after_load(&images(after)).unwrap();
        }
        let engine = Loads::read(&state).unwrap().of("ENGINE");
        let numbers: Vec<_> = engine.loads.iter().map(|load| (load.number, load.origin)).collect();
        use LoadOrigin::{Found, Loaded};
        assert_eq!(numbers, [(1, Found), (2, Loaded), (3, Loaded), (4, Loaded)]);
        assert_eq!(engine.images_of_last(2), BTreeSet::from(["1b", "2", "3"]), "b was not loaded again");
        assert_eq!(engine.images_of_last(9), BTreeSet::from(["0", "1", "1b", "2", "3"]));
        assert!(engine.knows("0") && engine.knows("1") && !engine.knows("4"));
        assert!(Loads::read(&state).unwrap().of("OTHER").loads.is_empty());
    }

    #[test]
    fn what_a_killed_load_left_takes_no_place_among_the_releases() {
        let folder = tempfile::tempdir().unwrap();
        let (log, state) = log(folder.path());
        log.after_load(&images("a=1 b=1b")).unwrap();
        log.before_load(&images("a=1 b=1b"), &["2".into(), "2b".into()]).unwrap();
        // Killed when one of two names had moved; then loaded again.
        log.before_load(&images("a=2 b=1b"), &["2b".into()]).unwrap();
        log.after_load(&images("a=2 b=2b")).unwrap();
        let engine = Loads::read(&state).unwrap().of("ENGINE");
        assert_eq!(engine.images_of_last(2), BTreeSet::from(["1", "1b", "2", "2b"]));
        assert_eq!(engine.images_of_last(1), BTreeSet::from(["2", "2b"]));
    }

    #[test]
    fn a_record_that_can_t_be_understood_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (log, state) = log(folder.path());
        log.after_load(&images("a=1")).unwrap();
        std::fs::write(state.file(FILE), "{").unwrap();
        assert!(log.after_load(&images("a=2")).is_err());
        assert_eq!(std::fs::read(state.file(FILE)).unwrap(), b"{");
    }
}
