//! What of the project is meant: chosen by flags, looked up on this machine.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::commands::sites::{ContentArguments, Offered};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::engine::image_architecture;
use crate::images::{OutgoingImage, others_in_engine};
use crate::report::Listed;
use crate::sites::{Offer, Placement, Sources};

#[derive(Debug, Default, Args)]
pub struct SelectionArguments {
    #[command(flatten)]
    pub content: ContentArguments,
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
        let placement = match &self.folder {
            None => Placement::of(&project.path, None),
            Some(folder) => Placement::in_folder(&std::path::absolute(folder).map_err(Failure::Output)?),
        };
        let Some(manifest) = placement.path(&project.path) else {
            return Err(Failure::usage(message!("usage-manifest-outside", path = project.path.display())));
        };
        let Offered { mut offer, sources, images } =
            self.content.look((project, targets), (&project.loaded, &placement), command)?;
        let architecture = architecture.map_or_else(|| architecture_here(session), str::to_owned);
        offer.images = images.find(&architecture, project, session)?;
        warn_of_others(&architecture, &offer.images, session)?;
        Ok(Selected { offer, sources, manifest, architecture })
    }
}

/// Says which images the engine has in another version than the image store, whose are taken: they may have been built since.
fn warn_of_others(architecture: &str, images: &[OutgoingImage], session: &mut Session) -> Result<(), Failure> {
    let Ok(engine) = session.engine() else { return Ok(()) };
    match session.wait_for(async { Ok(others_in_engine(&engine, architecture, images).await?) }) {
        Ok(others) if !others.is_empty() => {
            session.output.warn(&message!("store-has-others", images = Listed::of(&others)));
            Ok(())
        }
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        // What the engine has is not needed.
        _ => Ok(()),
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
