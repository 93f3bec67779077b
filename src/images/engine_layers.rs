//! Which layers an engine has and lacks, and what its store will call the image that it gets.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};

use crate::engine::{Engine, EngineError, ImageStore, ImageView};
use crate::fs::Digest;
use crate::images::formats::compression::Compression;
use crate::images::formats::documents::{CONFIG_TYPE, Descriptor, ImageManifest};

/// The chain ID of each layer: the digest of everything up to it (image-spec, "Layer ChainID"). The same layer above
/// other ones is another file system.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

/// How many images are asked for at once when the engine is looked over.
const INSPECTED_AT_ONCE: usize = 8;

/// The layers that an engine has.
#[derive(Debug, Clone)]
pub struct EngineLayers {
    store: ImageStore,
    /// Chain IDs on the classic store, which keeps layers only where they were applied; diff IDs on the containerd
    /// store, which keeps the layers themselves and applies them itself.
    present: HashSet<Digest>,
}

impl EngineLayers {
    pub fn none(store: ImageStore) -> Self {
        Self { store, present: HashSet::new() }
    }

    /// The layers of all images that the engine has.
    ///
    /// # Errors
    /// The engine's.
    pub async fn of_engine(engine: &Engine) -> Result<Self, EngineError> {
        let listed = engine.list_images().await?;
        let ids = listed.into_iter().filter(|image| image.complete).map(|image| image.id);
        let views: Vec<Option<ImageView>> = futures::stream::iter(ids)
            .map(|id| async move { engine.inspect_image(&id).await })
            .buffer_unordered(INSPECTED_AT_ONCE)
            .try_collect()
            .await?;
        let mut layers = Self::none(engine.image_store().await?);
        for view in views.into_iter().flatten() {
            let diff_ids: Result<Vec<_>, _> = view.diff_ids.iter().map(|diff_id| diff_id.parse()).collect();
            if let Ok(diff_ids) = diff_ids {
                layers.add(&diff_ids);
            }
        }
        Ok(layers)
    }

    /// How the engine keeps them.
    pub fn store(&self) -> ImageStore {
        self.store
    }

    /// Adds the layers of an image that the engine has. On the containerd store it is an assumption that they lie
    /// there uncompressed: no API shows it, and the look at the image after the load finds out.
    pub fn add(&mut self, diff_ids: &[Digest]) {
        match self.store {
            ImageStore::Classic => self.present.extend(chain_ids(diff_ids)),
            ImageStore::Containerd => self.present.extend(diff_ids.iter().cloned()),
        }
    }

    /// The diff IDs that have to be sent for an image, each once, lowest first.
    pub fn lacking(&self, diff_ids: &[Digest]) -> Vec<Digest> {
        let keys = self.keys(diff_ids);
        let lacking = diff_ids.iter().zip(&keys).filter(|(_, key)| !self.present.contains(key));
        distinct(lacking.map(|(diff_id, _)| diff_id))
    }

    /// What the engine will have of an image and has not yet: two images that both lack something need it sent once.
    pub fn lacking_keys(&self, diff_ids: &[Digest]) -> Vec<Digest> {
        self.keys(diff_ids).into_iter().filter(|key| !self.present.contains(key)).collect()
    }

    fn keys(&self, diff_ids: &[Digest]) -> Vec<Digest> {
        match self.store {
            ImageStore::Classic => chain_ids(diff_ids),
            ImageStore::Containerd => diff_ids.to_vec(),
        }
    }
}

/// What each of the images of one load lacks, given their diff IDs; a layer that several lack counts for the first.
pub fn lacking_each<'a>(known: &EngineLayers, images: impl IntoIterator<Item = &'a [Digest]>) -> Vec<Vec<Digest>> {
    let mut counted = HashSet::new();
    let lacking = images.into_iter().map(|diff_ids| known.lacking(diff_ids));
    lacking.map(|layers| layers.into_iter().filter(|layer| counted.insert(layer.clone())).collect()).collect()
}

/// Each digest once, in the order of its first place.
pub fn distinct<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Vec<Digest> {
    let mut seen = HashSet::new();
    digests.into_iter().filter(|digest| seen.insert(*digest)).cloned().collect()
}

/// The manifest of an image whose layers are uncompressed, as it is sent to the containerd store. Equal images give
/// equal bytes, so its digest, which that store takes for the image's ID, can be known before and after.
pub fn plain_manifest(config_digest: &Digest, config_size: u64, layers: &[(Digest, u64)]) -> ImageManifest {
    let plain = Compression::None.layer_type();
    ImageManifest::new(
        Descriptor::new(CONFIG_TYPE, config_digest.clone(), config_size),
        layers.iter().map(|(diff_id, bytes)| Descriptor::new(plain, diff_id.clone(), *bytes)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn digests(names: &str) -> Vec<Digest> {
        names.split_whitespace().map(digest).collect()
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        // Seen on an engine: `docker inspect` of an image with two layers, and its layerdb folder.
        let first: Digest = "sha256:79645d952545840981a1d0dab267dbcd1a5e3c6138320726450b8d9cd5f18e19".parse().unwrap();
        let second: Digest = "sha256:3eca84d0e0669b62b113ea53a5abf373ce6b0b0d5495e13d8151cf28fb3e3b7a".parse().unwrap();
        let chain = chain_ids(&[first.clone(), second]);
        assert_eq!(chain[0], first);
        assert_eq!(chain[1].to_string(), "sha256:f14598ae0c18c566d93901a022e7081b110fb4fb10a160de4aad4aad66e0ca34");
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn a_layer_on_another_base_is_lacking_on_the_classic_store_only() {
        let image = digests("base app");
        for (store, lacking) in [(ImageStore::Classic, "base app"), (ImageStore::Containerd, "base")] {
            let mut engine = EngineLayers::none(store);
            engine.add(&digests("other app"));
            assert_eq!(engine.lacking(&image), digests(lacking));
        }
    }

    #[test]
    fn only_what_lies_above_a_common_base_is_lacking() {
        let mut engine = EngineLayers::none(ImageStore::Classic);
        engine.add(&digests("a b c"));
        assert_eq!(engine.lacking(&digests("a b d e")), digests("d e"));
        assert!(engine.lacking(&digests("a b")).is_empty());
    }

    #[test]
    fn a_layer_that_several_images_lack_counts_for_the_first() {
        let mut engine = EngineLayers::none(ImageStore::Classic);
        engine.add(&digests("base"));
        let images = [digests("base a"), digests("base a b"), digests("base")];
        let lacking = lacking_each(&engine, images.iter().map(Vec::as_slice));
        assert_eq!(lacking, [digests("a"), digests("b"), Vec::new()]);
    }

    #[test]
    fn a_layer_that_is_there_twice_is_sent_once() {
        let engine = EngineLayers::none(ImageStore::Classic);
        assert_eq!(engine.lacking(&digests("a empty b empty")), digests("a empty b"));
    }

    proptest! {
        #[test]
        fn once_an_image_is_there_nothing_of_it_is_lacking(
            images in proptest::collection::vec("[abc]( [abc]){0,4}", 1..5),
            containerd in any::<bool>(),
        ) {
            let mut engine = EngineLayers::none(if containerd { ImageStore::Containerd } else { ImageStore::Classic });
            for image in &images {
                engine.add(&digests(image));
            }
            for image in &images {
                prop_assert!(engine.lacking(&digests(image)).is_empty());
            }
        }
    }
}
