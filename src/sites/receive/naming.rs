//! Making images of blobs that have arrived.

use std::time::{Duration, Instant};

use super::record::Open;
use super::targets::{Targets, blocking};
use crate::engine::{Address, Engine, ImageStore, image_architecture};
use crate::images::{Adopted, Adoption, EngineLayers, ImagesError, OutgoingImage, adopt};
use crate::report::{Activity, Message};
use crate::sites::error::in_one_line;

/// A save or a prune that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);

/// Names the images of which all is here: in the store, or in the engine beside it.
pub(super) async fn name(
    targets: &mut Targets,
    images: Vec<OutgoingImage>,
    journal: Option<Open>,
) -> Result<Adopted, Message> {
    let store = targets.store().await?;
    let project = Some(targets.manifest()?.manifest.project.clone());
    let address = targets.place.engine_address().map(str::to_owned);
    let architecture = image_architecture(std::env::consts::ARCH).to_owned();
    let mut adoption = Adoption { store, architecture, project, images, engine: None };
    if let Ok(address) = Address::resolve(address.as_deref())
        && let Ok(engine) = Engine::connect(address).await
        && let Ok(facts) = engine.facts().await
    {
        if !facts.architecture.is_empty() {
            adoption.architecture.clone_from(&facts.architecture);
        }
        // Nobody can see in which form an engine of the containerd store has its layers.
        if facts.image_store == ImageStore::Classic {
            adoption.engine = EngineLayers::of_engine(&engine).await.ok();
        }
    }
    blocking(move || {
        let begun = Instant::now();
        let adopted = loop {
            match adopt(&adoption) {
                Err(ImagesError::StoreBusy { .. }) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Err(error) => break Err(in_one_line(&error)),
                Ok(adopted) => break Ok(adopted),
            }
        }?;
        for reference in &adopted.named {
            Open::step(journal.as_ref(), Activity::NameImage, reference, || Ok(()))?;
        }
        Ok(adopted)
    })
    .await
}
