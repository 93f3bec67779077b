//! Images: list, inspect, tag, remove, and the two streams, export and load.

use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::connect::Engine;
use super::error::{EngineError, EngineErrorKind};

/// An image as the engine knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageView {
    /// The config's digest on the classic store, the manifest's on the containerd store.
    pub id: String,
    /// Familiar references, `name:tag`.
    pub tags: Vec<String>,
    /// Digests of the uncompressed layers, lowest first (`RootFS.Layers`).
    pub diff_ids: Vec<String>,
    pub size_bytes: u64,
    pub architecture: String,
    pub os: String,
    pub created: String,
    /// The image's run configuration, as canonical JSON: equal text means equal configuration.
    pub config: serde_json::Value,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// Whether the image brings a health check of its own.
    pub has_healthcheck: bool,
}

/// A line of the engine's answer to a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    pub text: String,
}

impl Engine {
    /// All tagged references with the image that each names: `(reference, image ID)` (`GET /images/json`).
    pub async fn list_image_tags(&self) -> Result<Vec<(String, String)>, EngineError> {
        let images = self.image_summaries().await?;
        let tags = images.into_iter().flat_map(|image| {
            let id = image.id;
            image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").map(move |tag| (tag, id.clone()))
        });
        Ok(tags.collect())
    }

    /// The IDs of all images that are not merely intermediate, each once.
    pub async fn list_image_ids(&self) -> Result<Vec<String>, EngineError> {
        let mut ids: Vec<String> = self.image_summaries().await?.into_iter().map(|image| image.id).collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    async fn image_summaries(&self) -> Result<Vec<bollard::models::ImageSummary>, EngineError> {
        let options = ListImagesOptionsBuilder::default().build();
        self.docker().list_images(Some(options)).await.map_err(|error| EngineError::new("list", "images", error))
    }

    /// `None` when the engine has no such image (`GET /images/{name}/json`).
    pub async fn inspect_image(&self, reference: &str) -> Result<Option<ImageView>, EngineError> {
        match self.docker().inspect_image(reference).await {
            Ok(image) => Ok(Some(view(image))),
            Err(error) => {
                let error = EngineError::new("inspect", format!("image {reference}"), error);
                if error.is_not_found() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Gives the image another name (`POST /images/{name}/tag`).
    pub async fn tag_image(&self, image: &str, name: &str, tag: &str) -> Result<(), EngineError> {
        let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
        self.docker()
            .tag_image(image, Some(options))
            .await
            .map_err(|error| EngineError::new("tag", format!("image {image} as {name}:{tag}"), error))
    }

    /// Removes a tag, and the image with its last one; without force, so an image that a container uses stays.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().build();
        match self.docker().remove_image(reference, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(EngineError::new("remove", format!("image {reference}"), error)),
        }
    }

    /// One tar stream with all the images named, each shared layer once (`GET /images/get`). The engine spools it
    /// first, so the first bytes come late.
    pub fn export_images(
        &self,
        references: &[String],
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let names: Vec<&str> = references.iter().map(String::as_str).collect();
        let object = references.join(", ");
        let stream = self.transfers().export_images(&names);
        stream.map(move |chunk| chunk.map_err(|error| EngineError::new("export", format!("image {object}"), error)))
    }

    /// Sends a tar stream to the engine (`POST /images/load`). Success of the stream proves nothing: the API answers
    /// 200 on failures too, so the caller inspects the image afterwards.
    pub fn load_images<S>(&self, archive: S) -> impl Stream<Item = Result<LoadProgress, EngineError>> + Send + use<S>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        self.transfers().import_image_stream(options, archive, None).map(|line| match line {
            Ok(info) => match info.error_detail.and_then(|detail| detail.message) {
                Some(message) => Err(EngineError::other(EngineErrorKind::Failed, "load", "the archive", message)),
                None => Ok(LoadProgress { text: info.stream.or(info.status).unwrap_or_default() }),
            },
            Err(error) => Err(EngineError::new("load", "the archive", error)),
        })
    }
}

fn view(image: bollard::models::ImageInspect) -> ImageView {
    let config = image.config.unwrap_or_default();
    ImageView {
        id: image.id.unwrap_or_default(),
        tags: image.repo_tags.unwrap_or_default(),
        diff_ids: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        size_bytes: image.size.unwrap_or_default().max(0) as u64,
        architecture: image.architecture.unwrap_or_default(),
        os: image.os.unwrap_or_default(),
        created: image.created.map(|time| time.to_string()).unwrap_or_default(),
        volumes: config.volumes.clone().unwrap_or_default(),
        has_healthcheck: config
            .healthcheck
            .as_ref()
            .and_then(|check| check.test.as_ref())
            .is_some_and(|test| !test.is_empty() && test[0] != "NONE"),
        config: serde_json::to_value(&config).unwrap_or_default(),
    }
}
