//! What packages have brought: for each a receipt, so that its sender can be told what arrived.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::folder::{Readers, StateDir};

const FILE: &str = "receipts.json";
/// Of more, the oldest are forgotten.
const MOST: usize = 500;

/// What a package brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The digest of the package's index, which names all that is in it.
    pub package: String,
    pub project: String,
    pub release: Option<String>,
    /// The release's time, as the package says (RFC 3339, UTC).
    pub created: String,
    /// When all of it was in place, by this machine's clock (RFC 3339, UTC).
    pub received: String,
    /// Who received it, as `user@host`.
    pub by: String,
    /// The ID of the key that signed it; null for an unsigned one.
    pub key: Option<String>,
    /// Images that it brought: they have their names now.
    pub images: u64,
    /// Images of it that the store had before.
    #[serde(default)]
    pub images_before: u64,
    /// Layers that it brought, each compared with its digest.
    #[serde(default)]
    pub layers: u64,
    /// Layers of its images that were here before: known by their names and lengths, not read again.
    #[serde(default)]
    pub layers_before: u64,
    /// Files that it put in place.
    pub files: u64,
    /// Files that were as they should be: their digests were compared.
    #[serde(default)]
    pub files_before: u64,
    /// Files that were changed here, and that stay.
    pub kept_files: u64,
    /// Layers that were rebuilt of deltas, each proved by its diff ID.
    #[serde(default)]
    pub rebuilt_layers: u64,
    /// Seeds that it put in place.
    pub seeds: u64,
    /// Seeds that were as they should be: their digests were compared.
    #[serde(default)]
    pub seeds_before: u64,
    /// Seeds that were changed here, and that stay.
    #[serde(default)]
    pub kept_seeds: u64,
    /// Bytes that were read of it this time, and compared with their digests.
    pub bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Receipts {
    /// The oldest first.
    receipts: Vec<Receipt>,
}

/// The receipts of a project, the oldest first.
///
/// # Errors
/// A record that can't be read.
pub fn receipts(state: &StateDir) -> Result<Vec<Receipt>, StateError> {
    Ok(state.read_record::<Receipts>(FILE)?.receipts)
}

/// Adds a receipt. The project's lock must be held.
///
/// # Errors
/// A record that can't be read or written.
pub fn add_receipt(state: &StateDir, receipt: &Receipt) -> Result<(), StateError> {
    let mut record = state.read_record::<Receipts>(FILE)?;
    record.receipts.push(receipt.clone());
    let oldest = record.receipts.len().saturating_sub(MOST);
    record.receipts.drain(..oldest);
    state.write_record(FILE, &record, Readers::Group)
}

/// The newest release time that a package of this project brought; one that can't be read counts for nothing.
///
/// # Errors
/// A record that can't be read.
pub fn newest_release(state: &StateDir) -> Result<Option<Receipt>, StateError> {
    let at = |receipt: &Receipt| receipt.created.parse::<Timestamp>().ok();
    Ok(receipts(state)?.into_iter().filter(|receipt| at(receipt).is_some()).max_by_key(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(created: &str) -> Receipt {
        Receipt { project: "p".to_owned(), created: created.to_owned(), ..Receipt::default() }
    }

    #[test]
    fn the_newest_is_that_of_the_latest_release_and_old_ones_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        assert_eq!(newest_release(&state).unwrap(), None);
        for created in ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z", "?"] {
            add_receipt(&state, &receipt(created)).unwrap();
        }
        assert_eq!(newest_release(&state).unwrap().unwrap().created, "2026-03-01T00:00:00Z");
        for _ in 0..MOST {
            add_receipt(&state, &receipt("2026-01-01T00:00:00Z")).unwrap();
        }
        assert_eq!(receipts(&state).unwrap().len(), MOST);
    }
}
