//! Services that are down for a moment, on the way through an action: the note tells after a crash that
//! they are to run again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StateError;
use super::folder::{Readers, StateDir};

pub(super) const FILE: &str = "stopped.json";

/// The note.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    services: BTreeSet<String>,
}

/// The services that an action stopped and has not started again. The project's lock must be held.
pub fn stopped_services(state: &StateDir) -> Result<BTreeSet<String>, StateError> {
    let mut services = read(&state.file(FILE))?;
    services.extend(super::older_records::stopped_services(state)?);
    Ok(services)
}

/// Notes, durably, which services are about to be stopped for a moment; none where all of them run again.
pub fn note_stopped_services(state: &StateDir, services: &BTreeSet<String>) -> Result<(), StateError> {
    write(state, services)
}

/// A note of this dpl, or of an older one, which is the list alone.
pub(super) fn read(path: &Path) -> Result<BTreeSet<String>, StateError> {
    // One that can't be understood is as good as none; its file is replaced as a whole, so this is not half of one.
    match super::folder::read_record::<Value>(path) {
        Ok(list @ Value::Array(_)) => Ok(serde_json::from_value(list).unwrap_or_default()),
        Ok(note) => Ok(serde_json::from_value::<Note>(note).unwrap_or_default().services),
        Err(StateError::Read { source, .. }) if source.kind() == io::ErrorKind::InvalidData => Ok(BTreeSet::new()),
        Err(StateError::Read { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn write(state: &StateDir, services: &BTreeSet<String>) -> Result<(), StateError> {
    if services.is_empty() {
        crate::failpoint!("state.stopped.before-remove");
        let path = state.file(FILE);
        return match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Write { path, source }),
            _ => Ok(()),
        };
    }
    crate::failpoint!("state.stopped.before-write");
    state.write_record(FILE, &Note { services: services.clone() }, Readers::Group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stopped_is_known_until_it_runs_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        assert!(stopped_services(&state).unwrap().is_empty());
        let services = BTreeSet::from(["app".to_owned(), "api".to_owned()]);
        note_stopped_services(&state, &services).unwrap();
        assert_eq!(stopped_services(&state).unwrap(), services);
        note_stopped_services(&state, &BTreeSet::new()).unwrap();
        note_stopped_services(&state, &BTreeSet::new()).unwrap();
        assert!(stopped_services(&state).unwrap().is_empty());
    }
}
