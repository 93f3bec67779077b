//! What of the project is meant: chosen by flags, looked up on this machine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::commands::sites::{Part, WantedImages, references};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::engine::image_architecture;
use crate::sites::{Offer, Placement, SitesError, Sources, offer_files, offer_seeds};

#[derive(Debug, Default, Args)]
pub struct SelectionArguments {
    /// The services whose images are meant [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Only this: images, the manifest with what it extends and reads, the seeds of databases [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub only: Vec<Part>,
    /// Files that hold secrets, too, readable for their owner alone
    #[arg(long)]
    pub secrets: bool,
    /// The project's folder on this machine; files below it lie there as they do here [default: the manifest's folder]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// What is meant, and where it lies on this machine.
pub struct Selected {
    pub offer: Offer,
    pub sources: Sources,
    /// The manifest, relative to the project's folder.
    pub manifest: String,
    /// The architecture of the images.
    pub architecture: String,
}

impl SelectionArguments {
    /// Looks up what is meant; images that the store lacks are saved from the engine first, for `command`. They
    /// are for `architecture`, else for the one here.
    pub fn look(
        &self,
        (project, targets): (&Arc<Project>, &[String]),
        (architecture, command): (Option<&str>, &str),
        session: &mut Session,
    ) -> Result<Selected, Failure> {
        let is_meant = |part| self.only.is_empty() || self.only.contains(&part);
        let placement = match &self.folder {
            None => Placement::of(&project.path, None),
            Some(folder) => Placement::in_folder(&std::path::absolute(folder).map_err(Failure::Output)?),
        };
        let Some(manifest) = placement.path(&project.path) else {
            return Err(Failure::usage(message!("usage-manifest-outside", path = project.path.display())));
        };
        let (mut offer, mut sources) = (Offer::default(), Sources::default());
        let unreadable = |(path, source): (PathBuf, io::Error)| Failure::from(SitesError::Source { path, source });
        if is_meant(Part::Manifest) {
            let into = (&mut offer, &mut sources);
            offer_files(&project.loaded, &placement, self.secrets, into).map_err(unreadable)?;
        }
        if is_meant(Part::Seeds) {
            offer_seeds(project.manifest(), (&mut offer, &mut sources)).map_err(unreadable)?;
        }
        let references = match is_meant(Part::Images) {
            true => references(project.manifest(), targets)?,
            false => Vec::new(),
        };
        sources.store.clone_from(&project.manifest().paths.images);
        let architecture = architecture.map_or_else(|| architecture_here(session), str::to_owned);
        let images = WantedImages { references, store: sources.store.clone(), command: command.to_owned() };
        offer.images = images.find(&architecture, project, session)?;
        Ok(Selected { offer, sources, manifest, architecture })
    }
}

/// The engine's, where one answers; else this machine's.
fn architecture_here(session: &mut Session) -> String {
    let engine = session.engine().ok();
    let facts =
        engine.and_then(|engine| session.wait_for(async { Ok(engine.facts().await?.architecture.clone()) }).ok());
    facts
        .filter(|architecture| !architecture.is_empty())
        .unwrap_or_else(|| image_architecture(std::env::consts::ARCH).to_owned())
}
