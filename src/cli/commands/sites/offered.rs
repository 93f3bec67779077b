//! What this machine has for a site: looked up here, before the site is asked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::send::Sending;
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::images::{OutgoingImage, OutgoingImages, SaveOptions, outgoing_images, save};
use crate::manifest::{Loaded, Manifest, Reference, Variables, read_manifest};
use crate::report::Listed;
use crate::sites::{Offer, Placement, ProjectPlace, SitesError, Sources, manifest_for, offer_files, offer_seeds};

/// What is here; the images are still to be found, for the site's architecture.
pub(super) struct Offered {
    pub offer: Offer,
    pub sources: Sources,
    pub images: WantedImages,
}

/// The images that are to be sent.
pub(in crate::cli::commands) struct WantedImages {
    pub references: Vec<Reference>,
    pub store: Option<PathBuf>,
    /// What needs them, for the journal.
    pub command: String,
}

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
    let parts = sending.parts();
    let (mut offer, mut sources) = (Offer::default(), Sources::default());
    let unreadable = |(path, source): (PathBuf, io::Error)| Failure::from(SitesError::Source { path, source });
    if parts.manifest {
        let placement = Placement::of(&path, wanted);
        let secrets = sending.arguments.secrets;
        offer_files(loaded, &placement, secrets, (&mut offer, &mut sources)).map_err(unreadable)?;
    }
    if parts.seeds {
        // Seeds lie where the manifest of this machine says.
        offer_seeds(project.manifest(), (&mut offer, &mut sources)).map_err(unreadable)?;
        offer
            .seeds
            .retain(|seed| loaded.manifest.databases.get(&seed.database).is_some_and(|there| there.seed.is_some()));
    }
    let references = match parts.images {
        true => references(&loaded.manifest, sending.targets)?,
        false => Vec::new(),
    };
    sources.store.clone_from(&project.manifest().paths.images);
    let images = WantedImages { references, store: sources.store.clone(), command: "dpl send".to_owned() };
    Ok(Offered { offer, sources, images })
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

/// The images of the services that are chosen, each once.
pub(in crate::cli::commands) fn references(manifest: &Manifest, targets: &[String]) -> Result<Vec<Reference>, Failure> {
    let mut references: Vec<Reference> = Vec::new();
    for service in select::services(manifest, targets, Unselected::All)? {
        if let Some(service) = manifest.services.get(&service)
            && !references.contains(&service.image)
        {
            references.push(service.image.clone());
        }
    }
    Ok(references)
}

impl WantedImages {
    /// The images as the store here has them; those that it lacks are saved from the engine first.
    pub fn find(
        &self,
        architecture: &str,
        project: &Arc<Project>,
        session: &mut Session,
    ) -> Result<Vec<OutgoingImage>, Failure> {
        if self.references.is_empty() {
            return Ok(Vec::new());
        }
        let Some(store) = &self.store else {
            let hint = message!("hint-add-path", name = "images");
            return Err(Failure::usage_with_hint(message!("usage-no-path", name = "images"), hint));
        };
        let found = outgoing_images(Some(store.as_path()), architecture, &self.references)?;
        if found.missing.is_empty() {
            return Ok(found.images);
        }
        let missing: Vec<String> = found.missing.iter().map(Reference::to_string).collect();
        if session.global.dry_run {
            session.output.warn(&message!("send-would-save", images = Listed::of(&missing)));
            return Ok(found.images);
        }
        session.output.say(&message!("send-saves", images = Listed::of(&missing)));
        let command = format!("{} (saves {})", self.command, missing.join(" "));
        session.change(project, &command, |session, reporter| {
            let engine = session.engine()?;
            let options = SaveOptions { project: Some(project.manifest().project.clone()), ..SaveOptions::default() };
            let saving = save(&engine, store, &found.missing, &options, &reporter);
            session.runtime()?.block_on(saving)?;
            Ok(())
        })?;
        let OutgoingImages { images, missing } =
            outgoing_images(Some(store.as_path()), architecture, &self.references)?;
        match missing.is_empty() {
            true => Ok(images),
            false => {
                let references = missing.iter().map(Reference::to_string).collect();
                let folder = store.clone();
                Err(crate::images::ImagesError::NotInStore {
                    references,
                    folder,
                    unreadable: Vec::new(),
                    is_name_lost: false,
                }
                .into())
            }
        }
    }
}
