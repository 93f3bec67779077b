//! Services that are down for a moment, on the way through an action: whoever finds the note after a crash knows that
//! they are to run again.

use std::collections::BTreeSet;
use std::io;

use super::StateError;
use super::folder::StateDir;
use crate::fs::{Mode, write_durably};

const FILE: &str = "stopped.json";

/// The services that an action stopped and has not started again. The project's lock must be held.
pub fn stopped_services(state: &StateDir) -> Result<BTreeSet<String>, StateError> {
    let path = state.file(FILE);
    match std::fs::read(&path) {
        // A note that can't be understood is as good as none; its file is replaced as a whole, so this is no half one.
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(StateError::Read { path, source }),
    }
}

/// Notes, durably, which services are about to be stopped for a moment; none where all of them run again.
pub fn note_stopped_services(state: &StateDir, services: &BTreeSet<String>) -> Result<(), StateError> {
    let path = state.file(FILE);
    let write = |source| StateError::Write { path: path.clone(), source };
    if services.is_empty() {
        crate::failpoint!("state.stopped.before-remove");
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write(error)),
            _ => Ok(()),
        };
    }
    state.create()?;
    crate::failpoint!("state.stopped.before-write");
    let text = serde_json::to_vec(services).map_err(|error| write(error.into()))?;
    write_durably(&path, &text, Mode::Shared).map_err(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stopped_is_known_until_it_runs_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"));
        assert!(stopped_services(&state).unwrap().is_empty());
        let services = BTreeSet::from(["app".to_owned(), "api".to_owned()]);
        note_stopped_services(&state, &services).unwrap();
        assert_eq!(stopped_services(&state).unwrap(), services);
        note_stopped_services(&state, &BTreeSet::new()).unwrap();
        note_stopped_services(&state, &BTreeSet::new()).unwrap();
        assert!(stopped_services(&state).unwrap().is_empty());
    }
}
