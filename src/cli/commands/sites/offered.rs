//! What this machine has for a site: looked up here, before the site is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::contents::Offered;
use super::send::Sending;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::manifest::{FileUse, Loaded, Variables, read_manifest};
use crate::sites::{ComingText, Offer, OfferedFile, Placement, ProjectPlace, Sources, manifest_for};

/// A request has less than 256 KiB.
const MOST_COMING: u64 = 200 << 10;

/// Looks up what is chosen of the manifest that is the site's.
pub(super) fn offer(
    sending: &Sending<'_>,
    place: &ProjectPlace,
    project: &Arc<Project>,
    session: &mut Session,
) -> Result<Offered, Failure> {
    let wanted = place.manifest.as_deref();
    let path = manifest_for(&project.path, wanted);
    let other = match path == project.path {
        true => None,
        false => Some(read_manifest(&path, variables(sending))?),
    };
    let loaded: &Loaded = other.as_ref().unwrap_or(&project.loaded);
    if let Some(name) = wanted.and_then(|wanted| Path::new(wanted).file_name())
        && path.file_name() != Some(name)
    {
        let (given, wanted) = (path.display(), name.display());
        session.output.warn(&message!("send-other-manifest", site = sending.name, wanted = wanted, given = given));
    }
    let placement = Placement::of(&path, wanted);
    sending.arguments.content.look((project, sending.targets), (loaded, &placement), "dpl send")
}

/// What the manifest is made of, as it will be there: the site reads it beforehand, and says what it has of what it names. Nothing where
/// that is too much for one request: the site reads it when it comes, then.
pub(super) fn coming_texts(offer: &Offer, sources: &Sources) -> Vec<ComingText> {
    let is_read = |file: &&OfferedFile| !matches!(file.purpose, FileUse::Config | FileUse::Patch);
    let files: Vec<&OfferedFile> = offer.files.iter().filter(is_read).collect();
    if files.iter().map(|file| file.bytes).sum::<u64>() > MOST_COMING {
        return Vec::new();
    }
    let text = |file: &&OfferedFile| {
        let text = std::fs::read_to_string(sources.files.get(&file.path)?).ok()?;
        Some(ComingText { path: file.path.clone(), text })
    };
    let texts: Vec<ComingText> = files.iter().map(text).collect::<Option<_>>().unwrap_or_default();
    // Escaped letters take more room.
    match serde_json::to_vec(&texts).is_ok_and(|bytes| bytes.len() as u64 <= MOST_COMING) {
        true => texts,
        false => Vec::new(),
    }
}

/// This machine's own environment counts; what it lacks is as at the site.
fn variables(sending: &Sending<'_>) -> Variables {
    let mut all: BTreeMap<String, String> = sending.site.variables.clone();
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    all.extend(std::env::vars_os().filter_map(text));
    Variables::new(all)
}
