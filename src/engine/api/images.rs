//! Images: list, inspect, tag, remove, and the two streams, export and load.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{BuildInfo, HealthConfig, ImageConfig, ImageInspect, ImageManifestSummaryKindEnum, ImageSummary};
use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::upload::gzip;
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};
use crate::engine::facts::ImageStore;
use crate::engine::limits::stall::{Turn, Watchdog};
use crate::report::{Listed, Message};

/// An image as the engine knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageView {
    /// The config's digest on the classic store, the manifest's on the containerd store.
    pub id: String,
    /// Familiar references, `name:tag`.
    pub tags: Vec<String>,
    /// Digests of the uncompressed layers, lowest first (`RootFS.Layers`); none where the engine lacks the image's
    /// content.
    pub diff_ids: Vec<String>,
    pub size_bytes: u64,
    pub architecture: String,
    pub os: String,
    pub created: String,
    /// The image's run configuration, as canonical JSON: equal text means equal configuration.
    pub config: serde_json::Value,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// The health check that the image brings, where it brings one.
    pub healthcheck: Option<HealthTimes>,
}

/// When a health check runs; zero where the engine's own defaults count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthTimes {
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub retries: u32,
}

/// An image in the engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageListing {
    pub id: String,
    /// Familiar references, `name:tag`; empty when it has lost them all.
    pub tags: Vec<String>,
    /// Whether it goes by a registry's digest (`name@sha256:…`): such an image is no leftover, even without a tag.
    pub has_digest: bool,
    pub size_bytes: u64,
    /// Whether everything that the image is made of is there. The containerd store also registers images whose
    /// layers it lacks: before API 1.48 it leaves those out of the list, since then it says so.
    pub complete: bool,
    pub labels: BTreeMap<String, String>,
}

/// A line of the engine's answer to a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    /// A layer, by a name that tells it from the load's others, and how many bytes of it have been applied.
    pub applied: Option<(String, u64)>,
}

/// How often a list of images is asked for when images come and go meanwhile.
const LIST_ATTEMPTS: u32 = 5;

/// So long after each attempt an image that is being removed has to go.
const GOING: Duration = Duration::from_millis(50);

impl Engine {
    /// All images but the merely intermediate ones (`GET /images/json`). The containerd store takes several
    /// milliseconds for each.
    pub async fn list_images(&self) -> Result<Vec<ImageListing>, EngineError> {
        self.list_images_that(HashMap::new()).await
    }

    async fn list_images_that(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<ImageListing>, EngineError> {
        let options = ListImagesOptionsBuilder::default().manifests(true).filters(&filters).build();
        let mut attempts = 0;
        let images = loop {
            attempts += 1;
            match self.with_timeout(self.docker().list_images(Some(options.clone()))).await {
                Ok(images) => break images,
                Err(error) => {
                    let error = EngineError::new(message!("verb-list-objects"), message!("object-images"), error);
                    // Both stores stumble over an image that goes away while they count.
                    if attempts == LIST_ATTEMPTS || !(error.is_not_found() || error.is_layer_gone()) {
                        return Err(error);
                    }
                }
            }
        };
        let mut listed: Vec<ImageListing> = images.into_iter().map(listing).collect();
        // The containerd store lists an image once for each of its names.
        listed.sort_by(|one, other| one.id.cmp(&other.id));
        listed.dedup_by(|later, kept| {
            let same = later.id == kept.id;
            if same {
                kept.tags.append(&mut later.tags);
                kept.complete |= later.complete;
                kept.has_digest |= later.has_digest;
            }
            same
        });
        Ok(listed)
    }

    /// All tagged references with the image that each names: `(reference, image ID)`.
    pub async fn list_image_tags(&self) -> Result<Vec<(String, String)>, EngineError> {
        let images = self.list_images().await?;
        let tags = images.into_iter().flat_map(|image| {
            let id = image.id;
            image.tags.into_iter().map(move |tag| (tag, id.clone()))
        });
        Ok(tags.collect())
    }

    /// `None` when the engine has no such image (`GET /images/{name}/json`), or can't have one: it answers 400 to a name that
    /// is not one to it (upper-case letters above all), and other programs write such names into stores.
    pub async fn inspect_image(&self, reference: &str) -> Result<Option<ImageView>, EngineError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.with_timeout(self.docker().inspect_image(reference)).await {
                Ok(image) => return Ok(Some(view(image))),
                Err(error) => error,
            };
            // Since 28, an image without its configuration has an empty `RootFS`, which the API's own types forbid.
            let unreadable = matches!(error, ApiError::JsonDataError { .. });
            let error = EngineError::new(message!("verb-inspect"), message!("object-image", name = reference), error);
            if error.is_not_found() || error.kind() == EngineErrorKind::Refused {
                return Ok(None);
            }
            if error.is_layer_gone() && attempts < LIST_ATTEMPTS {
                tokio::time::sleep(GOING).await;
                continue;
            }
            if !unreadable {
                return Err(error);
            }
            match self.hollow_image(reference).await? {
                Some(image) => return Ok(Some(image)),
                // It was just going away when it was looked at: it may be gone now.
                None if attempts < LIST_ATTEMPTS => {}
                None => return Err(error),
            }
        }
    }

    /// How many bytes each step of an image's history added, the lowest first, without tar headers; 0 for steps that
    /// made no layer (`GET /images/{name}/history`).
    pub async fn history_sizes(&self, reference: &str) -> Result<Vec<u64>, EngineError> {
        let history = self.with_timeout(self.docker().image_history(reference)).await;
        let history = history.map_err(|error| {
            EngineError::new(message!("verb-inspect"), message!("object-image", name = reference), error)
        })?;
        Ok(history.iter().rev().map(|step| step.size.max(0) as u64).collect())
    }

    /// Whether the engine has all that an image is made of. The classic store registers no image without its layers.
    /// The containerd store does: since API 1.48 it then shows it without layers, before that it only leaves it out
    /// of its list.
    pub async fn image_is_whole(&self, image: &ImageView) -> Result<bool, EngineError> {
        const SHOWN_WITHOUT_LAYERS: (u32, u32) = (1, 48);
        if self.image_store().await? == ImageStore::Classic {
            return Ok(true);
        }
        if self.api().numbers() >= SHOWN_WITHOUT_LAYERS {
            return Ok(!image.diff_ids.is_empty());
        }
        let filter = match image.tags.first() {
            Some(tag) => ("reference".to_owned(), vec![tag.clone()]),
            None => ("dangling".to_owned(), vec!["true".to_owned()]),
        };
        let listed = self.list_images_that(HashMap::from([filter])).await?;
        Ok(listed.iter().any(|listed| listed.id == image.id && listed.complete))
    }

    /// An image that is registered under this ID or name and of which the engine lacks the content.
    async fn hollow_image(&self, reference: &str) -> Result<Option<ImageView>, EngineError> {
        let images = self.list_images().await?;
        let mut hollow = images.into_iter().filter(|image| !image.complete);
        let found = hollow.find(|image| image.id == reference || image.tags.iter().any(|tag| tag == reference));
        Ok(found.map(|image| ImageView {
            tags: image.tags,
            ..view(ImageInspect { id: Some(image.id), ..Default::default() })
        }))
    }

    /// Gives the image another name (`POST /images/{name}/tag`).
    pub async fn tag_image(&self, image: &str, name: &str, tag: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
        self.with_timeout(self.docker().tag_image(image, Some(options))).await.map_err(|error| {
            EngineError::new(
                message!("verb-tag"),
                message!("object-image-as", name = image, tag = format_args!("{name}:{tag}")),
                error,
            )
        })
    }

    /// Removes a tag, and the image with its last one; without force, so an image that a container uses stays.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let options = RemoveImageOptionsBuilder::default().build();
        match self.with_timeout(self.docker().remove_image(reference, Some(options), None)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(EngineError::new(message!("verb-remove-object"), message!("object-image", name = reference), error))
            }
        }
    }

    /// One tar stream with all the images named, each shared layer once (`GET /images/get`). The engine spools it
    /// first, so the first bytes come late. Ends with an error when nothing moves any more.
    pub fn export_images(
        &self,
        references: &[String],
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let names: Vec<&str> = references.iter().map(String::as_str).collect();
        let object = message!("object-image", name = Listed::of(references));
        let watchdog = Watchdog::new(self, message!("verb-export"), object.clone());
        let stream = self.transfers().export_images(&names);
        let stream = stream
            .map(move |chunk| chunk.map_err(|error| EngineError::new(message!("verb-export"), object.clone(), error)));
        futures::stream::unfold(Some((Box::pin(stream), watchdog)), |transfer| async move {
            let (mut stream, watchdog) = transfer?;
            watchdog.restart_silence();
            let chunk = tokio::select! {
                biased;
                chunk = stream.next() => chunk?,
                stalled = watchdog.stalled() => Err(stalled),
            };
            watchdog.moved(Turn::Moving);
            let rest = chunk.is_ok().then_some((stream, watchdog));
            Some((chunk, rest))
        })
    }

    /// Sends a tar stream to the engine (`POST /images/load`). Success of the stream proves nothing: the API answers
    /// 200 on failures too, so the caller inspects the image afterwards. Ends with an error when nothing moves any
    /// more. To an engine that is not on this machine it goes compressed.
    pub fn load_images<S>(&self, archive: S) -> impl Stream<Item = Result<LoadProgress, EngineError>> + Send + use<S>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        // Not quiet: its lines are what shows that layers are being applied.
        let options = ImportImageOptionsBuilder::default().quiet(false).build();
        let archive = match self.address().may_share_folders() {
            true => archive.left_stream(),
            false => gzip(archive).right_stream(),
        };
        let watchdog = Arc::new(Watchdog::new(self, message!("verb-load-object"), ARCHIVE));
        let watching = Arc::clone(&watchdog);
        let body = futures::stream::unfold((Box::pin(archive), watching), |(mut archive, watchdog)| async move {
            // Asked for more: what was given before is on its way.
            watchdog.moved(Turn::Ours);
            let piece = archive.next().await;
            watchdog.moved(if piece.is_some() { Turn::Moving } else { Turn::Working });
            piece.map(|piece| (piece, (archive, watchdog)))
        });
        let lines = self.transfers().import_image_stream(options, body, None).map(load_line);
        futures::stream::unfold(Some((Box::pin(lines), watchdog, self.clone())), |transfer| async move {
            let (mut lines, watchdog, engine) = transfer?;
            tokio::select! {
                biased;
                line = lines.next() => {
                    watchdog.restart_silence();
                    let line = match line? {
                        Err(error) if error.is_unreachable() && engine.answers().await => Err(broke_off(&error)),
                        line => line,
                    };
                    // What comes after an error of the engine's own is heard too.
                    Some((line, Some((lines, watchdog, engine))))
                }
                stalled = watchdog.stalled() => Some((Err(stalled), None)),
            }
        })
    }
}

const ARCHIVE: Message = message!("object-archive");

/// An answer that ended early, though the engine is there: it, or what stands before it, ended this one call.
fn broke_off(error: &EngineError) -> EngineError {
    let why = message!("engine-broke-off", why = error.cause());
    EngineError::other(EngineErrorKind::Failed, message!("verb-load-object"), ARCHIVE, why)
}

fn load_line(line: Result<BuildInfo, ApiError>) -> Result<LoadProgress, EngineError> {
    match line {
        Ok(info) => match info.error_detail.and_then(|detail| detail.message) {
            Some(words) => {
                let words = message!("words", text = words);
                Err(EngineError::other(EngineErrorKind::Failed, message!("verb-load-object"), ARCHIVE, words))
            }
            None => {
                let applied = info.progress_detail.and_then(|detail| u64::try_from(detail.current?).ok());
                Ok(LoadProgress { applied: info.id.zip(applied) })
            }
        },
        Err(error) => Err(EngineError::new(message!("verb-load-object"), ARCHIVE, error)),
    }
}

fn listing(image: ImageSummary) -> ImageListing {
    let complete = match &image.manifests {
        Some(manifests) if !manifests.is_empty() => manifests
            .iter()
            .any(|manifest| manifest.kind == Some(ImageManifestSummaryKindEnum::IMAGE) && manifest.available),
        _ => true,
    };
    ImageListing {
        id: image.id,
        has_digest: image.repo_digests.iter().any(|digest| digest != "<none>@<none>"),
        tags: image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect(),
        size_bytes: image.size.max(0) as u64,
        complete,
        labels: image.labels.into_iter().collect(),
    }
}

/// The `config` of an image's configuration file in the form of [`ImageView::config`], so that the two can be
/// compared; `None` when it is no run configuration.
pub fn run_config(config: &serde_json::Value) -> Option<serde_json::Value> {
    serde_json::from_value::<ImageConfig>(config.clone()).ok().map(canonical)
}

/// Engines differ in which empty fields they write, and a set comes in any order.
fn canonical(mut config: ImageConfig) -> serde_json::Value {
    for set in [&mut config.exposed_ports, &mut config.volumes].into_iter().flatten() {
        set.sort();
    }
    let mut value = serde_json::to_value(&config).unwrap_or_default();
    if let Some(healthcheck) = value.get_mut("Healthcheck") {
        drop_empty(healthcheck);
    }
    drop_empty(&mut value);
    value.sort_all_objects();
    value
}

/// Drops the fields that say nothing; what stands inside them (a port without options, an empty label) stays.
fn drop_empty(value: &mut serde_json::Value) {
    use serde_json::Value;
    if let Value::Object(fields) = value {
        fields.retain(|_, value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Number(number) => number.as_i64() != Some(0),
            Value::Bool(true) => true,
        });
    }
}

fn view(image: ImageInspect) -> ImageView {
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
        healthcheck: config.healthcheck.as_ref().and_then(health_times),
        config: canonical(config),
    }
}

/// The times of a check; `None` where there is none, or it is switched off.
pub(super) fn health_times(check: &HealthConfig) -> Option<HealthTimes> {
    check.test.as_ref()?.first().filter(|word| *word != "NONE")?;
    let period = |nanoseconds: Option<i64>| {
        Duration::from_nanos(nanoseconds.and_then(|time| u64::try_from(time).ok()).unwrap_or_default())
    };
    Some(HealthTimes {
        interval: period(check.interval),
        timeout: period(check.timeout),
        start_period: period(check.start_period),
        retries: check.retries.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations_that_differ_in_empty_fields_and_order_are_one() {
        let classic = json!({"Hostname": "", "AttachStdin": false, "Cmd": ["/x"], "Volumes": null, "Image": "sha256:1",
            "ExposedPorts": {"80/tcp": {}, "443/tcp": {}}, "Labels": {"a": "", "b": "1"}});
        let containerd = json!({"Labels": {"b": "1", "a": ""}, "ExposedPorts": {"443/tcp": {}, "80/tcp": {}},
            "Cmd": ["/x"], "Healthcheck": {}});
        let (classic, containerd) = (run_config(&classic).unwrap(), run_config(&containerd).unwrap());
        assert_eq!(classic.to_string(), containerd.to_string());
        assert_eq!(classic["ExposedPorts"], json!({"443/tcp": {}, "80/tcp": {}}));
        assert_ne!(run_config(&json!({"Cmd": ["/y"]})), run_config(&json!({"Cmd": ["/x"]})));
    }
}
