//! The images that the manifest names, as far as a plan depends on them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{self, try_join_all};

use super::observed::{Observed, ObservedContainer, ObservedImage};
use crate::engine::{Engine, EngineError, ImageStore};
use crate::manifest::Manifest;
use crate::services::error::ServicesError;

/// The images that the manifest names. One that a container of its service runs already tells all that a plan needs
/// through that container; only the others are inspected.
pub(super) async fn look_at_images(
    engine: &Engine,
    manifest: &Manifest,
    containers: &[ObservedContainer],
    ids: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, ObservedImage>, EngineError> {
    let mut known = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (_, name, service) in manifest.services.iter() {
        let reference = service.image.to_string();
        // The list knows tags only; a reference by digest is asked for by itself.
        let id = ids.get(&reference);
        if id.is_none() && service.image.digest().is_none() {
            continue;
        }
        let running = containers
            .iter()
            .find(|seen| seen.service == name && Some(&seen.view.image_id) == id && service.healthcheck.is_none());
        match running {
            Some(seen) => {
                let image = ObservedImage {
                    id: seen.view.image_id.clone(),
                    has_healthcheck: seen.view.has_healthcheck,
                    volumes: seen.view.declared_volumes.clone(),
                    postgres: postgres(&seen.view.environment.0),
                    same_as: BTreeSet::new(),
                };
                known.insert(reference, image);
            }
            None => {
                unknown.insert(reference);
            }
        }
    }
    unknown.retain(|reference| !known.contains_key(reference));
    let asked =
        try_join_all(unknown.iter().map(|reference| look_at_image(engine, reference, reference, manifest, containers)))
            .await?;
    known.extend(unknown.into_iter().zip(asked).filter_map(|(reference, image)| Some((reference, image?))));
    Ok(known)
}

impl Observed {
    /// Lets a reference be the name of an image that the engine does not have yet. What the image declares is taken to
    /// be what the present one does.
    pub(super) fn suppose_loaded(&mut self, reference: &str, id: String) {
        let image = self.images.entry(reference.to_owned()).or_default();
        *image = ObservedImage { id, same_as: BTreeSet::new(), ..std::mem::take(image) };
    }

    /// Lets a reference be the name of another image, as it will be once the name has moved there; `false` where the
    /// engine has no such image.
    pub async fn suppose_image(
        &mut self,
        engine: &Engine,
        manifest: &Manifest,
        (reference, id): (&str, &str),
    ) -> Result<bool, ServicesError> {
        let image = look_at_image(engine, id, reference, manifest, &self.containers)
            .await
            .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })?;
        let is_there = image.is_some();
        if let Some(image) = image {
            self.images.insert(reference.to_owned(), image);
        }
        Ok(is_there)
    }
}

/// The image `name`, which is or is to be `reference`'s.
async fn look_at_image(
    engine: &Engine,
    name: &str,
    reference: &str,
    manifest: &Manifest,
    containers: &[ObservedContainer],
) -> Result<Option<ObservedImage>, EngineError> {
    let Some(image) = engine.inspect_image(name).await? else {
        return Ok(None);
    };
    let mut same_as = BTreeSet::new();
    if engine.image_store().await? == ImageStore::Containerd {
        // There the ID is the manifest's digest, and one image can come in several manifests: its configuration and
        // its layers tell.
        let used: BTreeSet<&str> = containers
            .iter()
            .filter(|seen| {
                manifest.services.get(&seen.service).is_some_and(|service| service.image.to_string() == reference)
            })
            .map(|seen| seen.view.image_id.as_str())
            .filter(|id| *id != image.id)
            .collect();
        let others = future::join_all(used.iter().map(|id| engine.inspect_image(id))).await;
        for (id, other) in used.into_iter().zip(others) {
            if other?.is_some_and(|other| other.diff_ids == image.diff_ids && other.config == image.config) {
                same_as.insert(id.to_owned());
            }
        }
    }
    let environment = image.config["Env"].as_array().into_iter().flatten().filter_map(|pair| pair.as_str());
    let environment: BTreeMap<String, String> = environment
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Some(ObservedImage {
        id: image.id,
        has_healthcheck: image.has_healthcheck,
        volumes: image.volumes,
        postgres: postgres(&environment),
        same_as,
    }))
}

fn postgres(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let wanted = ["PG_MAJOR", "PGDATA"];
    let set = wanted.into_iter().filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone())));
    set.collect()
}
