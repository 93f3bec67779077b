//! What of a project goes to another machine, by a connection or in a package: chosen by flags, looked up on this machine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::images::{OutgoingImage, OutgoingImages, SaveOptions, outgoing_images, save};
use crate::manifest::{Loaded, Manifest, Reference};
use crate::report::Listed;
use crate::sites::{Offer, Placement, SitesError, Sources, offer_files, offer_seeds};

#[derive(Debug, Default, Args)]
pub struct ContentArguments {
    /// The services whose images are meant [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Only this: images, the manifest with what it extends and reads, the seeds of databases [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub only: Vec<Part>,
    /// Files that hold secrets, too, readable for their owner alone
    #[arg(long)]
    pub secrets: bool,
}

/// What can go to another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The images of the services
    Images,
    /// The manifest, what it extends and the files that it reads
    Manifest,
    /// The seeds of databases
    Seeds,
}

/// What is here; the images are still to be found, for the other machine's architecture.
pub(in crate::cli::commands) struct Offered {
    pub offer: Offer,
    pub sources: Sources,
    pub images: WantedImages,
}

/// The images that are meant.
pub(in crate::cli::commands) struct WantedImages {
    references: Vec<Reference>,
    store: Option<PathBuf>,
    /// What needs them, for the journal.
    command: String,
}

impl ContentArguments {
    /// Looks up what is meant of a manifest whose files belong where `placement` says; seeds and images are those of this machine's own
    /// `project`.
    pub(in crate::cli::commands) fn look(
        &self,
        (project, targets): (&Arc<Project>, &[String]),
        (loaded, placement): (&Loaded, &Placement),
        command: &str,
    ) -> Result<Offered, Failure> {
        let is_meant = |part| self.only.is_empty() || self.only.contains(&part);
        let (mut offer, mut sources) = (Offer::default(), Sources::default());
        let unreadable = |(path, source): (PathBuf, io::Error)| Failure::from(SitesError::Source { path, source });
        if is_meant(Part::Manifest) {
            offer_files(loaded, placement, self.secrets, (&mut offer, &mut sources)).map_err(unreadable)?;
        }
        if is_meant(Part::Seeds) {
            // Seeds lie where the manifest of this machine says.
            offer_seeds(project.manifest(), (&mut offer, &mut sources)).map_err(unreadable)?;
            let has_seed = |name: &str| loaded.manifest.databases.get(name).is_some_and(|there| there.seed.is_some());
            offer.seeds.retain(|seed| has_seed(&seed.database));
        }
        let references = match is_meant(Part::Images) {
            true => references(&loaded.manifest, targets)?,
            false => Vec::new(),
        };
        sources.store.clone_from(&project.manifest().paths.images);
        let images = WantedImages { references, store: sources.store.clone(), command: command.to_owned() };
        Ok(Offered { offer, sources, images })
    }
}

/// The images of the services that are chosen, each once.
fn references(manifest: &Manifest, targets: &[String]) -> Result<Vec<Reference>, Failure> {
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
