//! The images that the manifest names, as far as a plan depends on them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{self, try_join_all};

use super::observed::{Observed, ObservedContainer, ObservedImage};
use crate::engine::{Engine, EngineError, ImageStore};
use crate::manifest::Manifest;
use crate::services::container::fingerprint::Fingerprint;
use crate::services::container::labels;
use crate::services::error::ServicesError;

/// The images that the manifest names. What a container of the service shows of its image is not asked again, where it
/// has nothing of its own in the image's place; the other images are inspected.
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
        let mut containers = containers.iter().filter(|seen| seen.service == name);
        // A container does not show what its image is made for.
        let shown = containers.find_map(|seen| shown_by(seen, id?)).filter(|_| service.platform.is_none());
        match shown {
            Some(image) => {
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

/// The image as a container of it shows it; `None` where the container was made with anything of its own in place of what
/// the image brings: then it tells of a manifest, perhaps an earlier one.
fn shown_by(seen: &ObservedContainer, id: &str) -> Option<ObservedImage> {
    let made = Fingerprint::parse(seen.view.labels.get(labels::FINGERPRINT)?)?;
    let is_plain = !made.has_field("healthcheck") && !POSTGRES.iter().any(|name| made.variables().contains(*name));
    (made.is_comparable() && is_plain && seen.view.image_id == id).then(|| ObservedImage {
        id: id.to_owned(),
        healthcheck: seen.view.healthcheck,
        volumes: seen.view.declared_volumes.clone(),
        postgres: postgres(&seen.view.environment.0),
        ..ObservedImage::default()
    })
}

impl Observed {
    /// Lets a reference be the name of an image that the engine does not have yet. What the image declares is taken to
    /// be what the present one does.
    pub(super) fn suppose_loaded(&mut self, reference: &str, id: String) {
        let image = self.images.entry(reference.to_owned()).or_default();
        // What it is made for may be another thing than what the present one is.
        *image = ObservedImage { id, same_as: BTreeSet::new(), has_one_platform: false, ..std::mem::take(image) };
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
    let has_one_platform = engine.image_store().await? == ImageStore::Classic;
    if !has_one_platform {
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
        healthcheck: image.healthcheck,
        volumes: image.volumes,
        postgres: postgres(&environment),
        same_as,
        architecture: image.architecture,
        has_one_platform,
    }))
}

/// What an image of PostgreSQL sets in the environment.
const POSTGRES: [&str; 2] = ["PG_MAJOR", "PGDATA"];

fn postgres(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let set = POSTGRES.into_iter().filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone())));
    set.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::{ContainerView, HealthTimes};
    use crate::services::container::fingerprint::Fields;
    use crate::services::snapshot::observed::Role;

    /// A container of image `sha256:a`, whose manifest had these fields and variables.
    fn seen(fields: &[&str], variables: &[&str]) -> ObservedContainer {
        let fields: Fields = fields.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let variables = variables.iter().map(|name| (*name).to_owned()).collect();
        let label = Fingerprint::keyed("key".to_owned(), &fields, variables).label();
        let mut view = ContainerView {
            image_id: "sha256:a".to_owned(),
            labels: [(labels::FINGERPRINT.to_owned(), label)].into(),
            healthcheck: Some(HealthTimes::default()),
            declared_volumes: vec!["/data".to_owned()],
            ..ContainerView::default()
        };
        view.environment.0.insert("PGDATA".to_owned(), "/data/pg".to_owned());
        ObservedContainer { service: "a".to_owned(), number: 1, role: Role::Main, view }
    }

    #[test]
    fn a_container_shows_what_its_image_brings_where_it_has_nothing_of_its_own_in_that_place() {
        let shown = shown_by(&seen(&["command"], &["TOKEN"]), "sha256:a").unwrap();
        assert_eq!((shown.id.as_str(), shown.healthcheck), ("sha256:a", Some(HealthTimes::default())));
        assert_eq!((shown.volumes[0].as_str(), shown.postgres["PGDATA"].as_str()), ("/data", "/data/pg"));
        // A check that the manifest of then had, or switched off; a folder or a version that it set.
        for (field, variable) in [("healthcheck", "TOKEN"), ("command", "PGDATA"), ("command", "PG_MAJOR")] {
            let shown = shown_by(&seen(&[field], &[variable]), "sha256:a");
            assert_eq!(shown, None, "{field} {variable}");
        }
        assert_eq!(shown_by(&seen(&[], &[]), "sha256:b"), None, "it runs on another image");
    }

    #[test]
    fn a_container_of_another_version_of_dpl_or_of_nobody_shows_nothing_of_its_image() {
        let mut later = seen(&[], &[]);
        let label = later.view.labels.get_mut(labels::FINGERPRINT).unwrap();
        let mut made: Value = serde_json::from_str(label).unwrap();
        made["v"] = json!(made["v"].as_u64().unwrap() + 1);
        *label = made.to_string();
        assert_eq!(shown_by(&later, "sha256:a"), None);
        let mut foreign = seen(&[], &[]);
        foreign.view.labels.clear();
        assert_eq!(shown_by(&foreign, "sha256:a"), None);
    }
}
