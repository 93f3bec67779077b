//! Whose a container is: the one answer to "is this container ours?".
//!
//! Labels alone don't tell: an image made by `docker commit` from one of our containers carries all its labels, and every
//! container of that image inherits them (moby#36321). A container that dpl made has a fingerprint with a random key of
//! its own, so one whose fingerprint is its image's did not get it from dpl.

use std::collections::BTreeMap;

use crate::engine::{ContainerSummary, Engine, EngineError, ImageListing};
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
    project: &str,
) -> Result<Vec<ContainerSummary>, EngineError> {
    let (containers, images) = futures::try_join!(engine.list_container_summaries(), engine.list_images())?;
    let inherited = InheritedLabels::of(&images);
    Ok(containers.into_iter().filter(|container| inherited.owner(container) == Some(project)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
