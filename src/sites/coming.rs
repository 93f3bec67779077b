//! What is coming to a project's folder, before it is there.

use super::inventory::{Received, look_at_files};
use super::plan::{PlanOptions, becomes};
use super::protocol::{InventoryRequest, ProjectPlace};
use crate::fs::Digest;
use crate::manifest::{ComingFile, ComingFiles};

/// The files that will get their places in a project's folder, as far as `content` has them: not those that were changed there and stay.
/// Blocking.
pub fn coming_files(
    place: &ProjectPlace,
    files: &[(String, Digest)],
    options: PlanOptions,
    mut content: impl FnMut(&str) -> Option<ComingFile>,
) -> ComingFiles {
    let paths = files.iter().map(|(path, _)| path.clone()).collect();
    let request = InventoryRequest { project: place.clone(), files: paths, ..InventoryRequest::default() };
    let there = look_at_files(&request, None, &Received::read(&place.folder));
    let mut coming = ComingFiles::default();
    for (path, digest) in files {
        let found = there.iter().find(|there| there.path == *path);
        let (present, received) = found.map_or((None, None), |found| (found.digest.as_ref(), found.received.as_ref()));
        if becomes(digest, present, received, options).is_sent()
            && let Some(content) = content(path)
        {
            coming.add(&place.folder.join(path), content);
        }
    }
    coming
}

/// Those that come with a request. Blocking.
pub(super) fn coming_of(request: &InventoryRequest) -> ComingFiles {
    let options = PlanOptions { overwrite: request.overwrite, ..PlanOptions::default() };
    let files: Vec<(String, Digest)> =
        request.coming.iter().map(|file| (file.path.clone(), Digest::of(file.text.as_bytes()))).collect();
    coming_files(&request.project, &files, options, |path| {
        let text = request.coming.iter().find(|file| file.path == path)?;
        Some(ComingFile::Content(text.text.clone().into_bytes()))
    })
}
