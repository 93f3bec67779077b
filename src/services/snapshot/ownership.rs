//! Whose a container is: the one answer to "is this container ours?".
//!
//! Labels alone don't tell: an image made by `docker commit` from one of our containers carries all its labels, and every
//! container of that image inherits them (moby#36321). A container that dpl made has a fingerprint with a random key of
//! its own, so one whose fingerprint is its image's did not get it from dpl.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::Role;
use crate::engine::{ContainerSummary, Engine, EngineError, ImageListing};
use crate::manifest::Manifest;
use crate::services::container::labels;

/// What containers may have inherited: image ID → labels of ours that the image carries.
#[derive(Debug, Clone, Default)]
pub(in crate::services) struct InheritedLabels(BTreeMap<String, BTreeMap<String, String>>);

impl InheritedLabels {
    pub fn of(images: &[ImageListing]) -> Self {
        let labelled = images.iter().filter(|image| image.labels.contains_key(labels::PROJECT));
        Self(labelled.map(|image| (image.id.clone(), image.labels.clone())).collect())
    }

    /// The project that a container was made for by dpl.
    pub fn owner<'c>(&self, container: &'c ContainerSummary) -> Option<&'c str> {
        let project = container.labels.get(labels::PROJECT)?;
        let is_inherited = self.0.get(&container.image_id).is_some_and(|image| {
            let same = |label| image.get(label) == container.labels.get(label);
            same(labels::PROJECT) && same(labels::FINGERPRINT)
        });
        (!is_inherited).then_some(project)
    }
}

/// The project's containers.
pub(in crate::services) async fn own_containers(
    engine: &Engine,
    manifest: &Manifest,
) -> Result<Vec<ContainerSummary>, EngineError> {
    let (containers, images) = futures::try_join!(engine.list_container_summaries(), engine.list_images())?;
    let inherited = InheritedLabels::of(&images);
    let copies = copies(manifest, &inherited, &containers);
    let is_ours = |container: &ContainerSummary| {
        inherited.owner(container) == Some(&manifest.project) && !copies.contains(&container.id)
    };
    Ok(containers.into_iter().filter(is_ours).collect())
}

/// Containers that carry the labels of ours and are not ours: somebody copied them, labels and all. The one of the two that
/// has the name for its place is the one that dpl made, which renames none of its own to a name without a part.
pub(super) fn copies(manifest: &Manifest, inherited: &InheritedLabels, all: &[ContainerSummary]) -> BTreeSet<String> {
    let ours = all.iter().filter(|summary| inherited.owner(summary) == Some(&manifest.project));
    let mut places: BTreeMap<(&str, u32), Vec<&ContainerSummary>> = BTreeMap::new();
    for summary in ours.filter(|summary| Role::of_name(&summary.name) == Role::Main) {
        let service = summary.labels.get(labels::SERVICE).map(String::as_str).unwrap_or_default();
        places.entry((service, labels::number(&summary.labels))).or_default().push(summary);
    }
    let mut copies = BTreeSet::new();
    for ((service, number), summaries) in places {
        let name = manifest.container_name(service, number);
        if summaries.iter().any(|summary| summary.name == name) {
            copies.extend(summaries.iter().filter(|summary| summary.name != name).map(|summary| summary.id.clone()));
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Address;
    use crate::services::scripted_engine::{Answer, FakeEngine};

    fn with_labels(fingerprint: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::PROJECT.to_owned(), "p".to_owned()),
            (labels::FINGERPRINT.to_owned(), fingerprint.to_owned()),
        ])
    }

    #[test]
    fn a_container_that_has_its_labels_from_its_image_is_nobodys() {
        let image = |id: &str, labels| ImageListing {
            id: id.to_owned(),
            tags: Vec::new(),
            has_digest: false,
            size_bytes: 0,
            complete: true,
            labels,
        };
        let committed = image("committed", with_labels("one"));
        let inherited = InheritedLabels::of(&[committed, image("plain", BTreeMap::new())]);
        let container = |image: &str, fingerprint: &str| ContainerSummary {
            image_id: image.to_owned(),
            labels: with_labels(fingerprint),
            ..ContainerSummary::default()
        };
        assert_eq!(inherited.owner(&container("plain", "one")), Some("p"));
        assert_eq!(inherited.owner(&container("committed", "one")), None);
        assert_eq!(inherited.owner(&container("committed", "two")), Some("p"), "dpl made one of that very image");
        assert_eq!(inherited.owner(&container("gone", "one")), Some("p"));
        assert_eq!(inherited.owner(&ContainerSummary::default()), None);
    }

    #[tokio::test]
    async fn a_container_to_which_somebody_copied_our_labels_is_not_ours() {
        let labels = r#"{"dpl.project": "p", "dpl.service": "a", "dpl.number": "1", "dpl.fingerprint": "x"}"#;
        let one = |id: &str, name: &str| {
            format!(r#"{{"Id": "{id}", "Names": ["/{name}"], "ImageID": "i", "State": "running", "Labels": {labels}}}"#)
        };
        let own = |containers: Vec<String>| async move {
            let folder = tempfile::tempdir().unwrap();
            let list = format!("[{}]", containers.join(", ")).leak();
            let rules = vec![
                ("GET", "/containers/json", Answer::Json(200, list)),
                ("GET", "/images/json", Answer::Json(200, "[]")),
            ];
            let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
            let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
            let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
            let own = own_containers(&engine, &manifest).await.unwrap();
            own.into_iter().map(|container| container.id).collect::<Vec<_>>()
        };
        assert_eq!(own(vec![one("copy", "debug"), one("ours", "p-a-1")]).await, ["ours"]);
        // Renamed by hand, and the only one: it is what is left of the service.
        assert_eq!(own(vec![one("renamed", "debug")]).await, ["renamed"]);
        // What steps aside for a replacement is ours as well.
        let replaced = vec![one("kept", "p-a-1.dpl-kept"), one("new", "p-a-1")];
        assert_eq!(own(replaced).await, ["kept", "new"]);
    }
}
