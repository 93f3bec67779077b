//! What this machine has for a site: looked up here, before the site is asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::contents::Offered;
use super::send::Sending;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::manifest::{FileUse, Loaded, Variables, read_manifest};
use crate::sites::{ComingText, Offer, OfferedFile, Placement, ProjectPlace, Sources, manifest_for};

/// No manifest, and no `env_file`, is read that is larger.
const LARGEST_TEXT: u64 = 1 << 20;

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

/// What the manifest is made of, as it will be there: the site reads it beforehand, and says what it has of what it names.
pub(super) fn coming_texts(offer: &Offer, sources: &Sources) -> Vec<ComingText> {
    let is_read = |file: &&OfferedFile| !matches!(file.purpose, FileUse::Config | FileUse::Patch);
    let text = |file: &OfferedFile| {
        let mut bytes = Vec::new();
        // One that is larger is no text, and a secret need not be one: that it is there is all that counts of it.
        if file.bytes <= LARGEST_TEXT {
            File::open(sources.files.get(&file.path)?).ok()?.take(LARGEST_TEXT).read_to_end(&mut bytes).ok()?;
        }
        Some(ComingText { path: file.path.clone(), text: String::from_utf8_lossy(&bytes).into_owned() })
    };
    offer.files.iter().filter(is_read).filter_map(text).collect()
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
