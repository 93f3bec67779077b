//! What is coming to a project's folder, before it is there.

use super::inventory::{Received, look_at_files};
use super::plan::{Offer, OfferedFile, PlanOptions, becomes};
use super::protocol::{InventoryRequest, ProjectPlace};
use crate::manifest::{ComingFile, ComingFiles};

/// The offered files that will get their places in a project's folder, as far as `content` has them: not those that were changed there
/// and stay. Blocking.
pub fn coming_files(
    place: &ProjectPlace,
    offer: &Offer,
    options: PlanOptions,
    mut content: impl FnMut(&OfferedFile) -> Option<ComingFile>,
) -> ComingFiles {
    let files = offer.files.iter().map(|file| file.path.clone()).collect();
    let request = InventoryRequest { project: place.clone(), files, seeds: false };
    let there = look_at_files(&request, None, &Received::read(&place.folder));
    let mut coming = ComingFiles::default();
    for file in &offer.files {
        let found = there.iter().find(|there| there.path == file.path);
        let (present, received) = found.map_or((None, None), |found| (found.digest.as_ref(), found.received.as_ref()));
        if becomes(&file.digest, present, received, options).is_sent()
            && let Some(content) = content(file)
        {
            coming.add(&place.folder.join(&file.path), content);
        }
    }
    coming
}
