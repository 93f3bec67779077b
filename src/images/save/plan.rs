//! What a save has to do, found out by looking: nothing here changes the engine or the store. `save` carries out what
//! this look found, and `--dry-run` shows it.

use std::collections::HashSet;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};

use crate::engine::{Engine, ImageStore, ImageView};
use crate::fs::Digest;
use crate::images::disk_space::{self, DiskNeed, DiskPurpose, DiskSpace};
use crate::images::error::ImagesError;
use crate::images::formats::compression::Compression;
use crate::images::formats::platform::Platform;
use crate::images::identity::Identity;
use crate::images::names::engine_name;
use crate::images::pipes::blocking;
use crate::images::save::docker_archives::{ArchiveJob, plan_archives};
use crate::images::save::layer_sizes::LayerEstimates;
use crate::images::save::options::{SaveOptions, StoreFormat};
use crate::images::save::report::{PlannedSave, PlannedSaveResult, SavePlan};
use crate::images::store::layout::{Layout, StoredImage};
use crate::images::store::writer::{KnownLayers, known_layers};
use crate::images::unique;
use crate::manifest::Reference;

/// An image that was asked for, as the engine has it.
#[derive(Debug, Clone)]
pub(in crate::images) struct Wanted {
    pub reference: Reference,
    /// With its tag.
    pub name: String,
    pub view: ImageView,
}

/// What is to be done for an image.
pub(in crate::images) struct Plan {
    pub wanted: Wanted,
    pub step: Step,
}

pub(in crate::images) enum Step {
    /// The store has it under this reference.
    Keep(StoredImage),
    /// The store has it under another one.
    Name(StoredImage),
    Export,
}

impl Plan {
    pub fn exports(&self) -> bool {
        matches!(self.step, Step::Export)
    }
}

/// What [`super::save()`] would do now; changes nothing.
///
/// # Errors
/// References that the engine does not have are an error that names all of them.
pub async fn plan_save(
    engine: &Engine,
    store_dir: &Path,
    references: &[Reference],
    options: &SaveOptions,
) -> Result<SavePlan, ImagesError> {
    let wanted = look_up(engine, &unique(references)?).await?;
    let facts = engine.facts().await?;
    let (image_store, platform) = (facts.image_store, Platform::of_engine(facts));
    let (folder, options) = (store_dir.to_owned(), options.clone());
    let looking = options.clone();
    let looked = blocking(move || match looking.format {
        StoreFormat::Layout => {
            let layout = Layout::open_for(&folder, &platform)?;
            let known = layout.as_ref().map(known_layers).unwrap_or_default();
            let plans = wanted.into_iter().map(|wanted| plan(layout.as_ref(), image_store, wanted)).collect::<Vec<_>>();
            let document = document(&plans, image_store, &known);
            Ok::<_, ImagesError>((document, Written::layers(plans, known)))
        }
        StoreFormat::DockerArchive => {
            let jobs = plan_archives(&folder, wanted, &looking, (image_store, &platform));
            let document = SavePlan { images: jobs.iter().map(|job| job.planned()).collect(), disks: Vec::new() };
            Ok((document, Written::archives(&jobs)))
        }
    })
    .await;
    let (mut document, written) = looked?;
    let estimates = written.estimates(engine).await;
    document.disks = written.disks(engine, store_dir, &options, &estimates).await?;
    Ok(document)
}

/// What a save is going to write, for the look at the disks.
pub(in crate::images) enum Written {
    /// The images that are exported together, and what the store has already.
    Layers { images: Vec<Wanted>, known: KnownLayers },
    /// The images of archives, exported one by one.
    Archives { images: Vec<Wanted> },
}

impl Written {
    pub fn layers(plans: impl IntoIterator<Item = Plan>, known: KnownLayers) -> Self {
        let images = plans.into_iter().filter(Plan::exports).map(|plan| plan.wanted).collect();
        Self::Layers { images, known }
    }

    pub fn archives(jobs: &[ArchiveJob]) -> Self {
        Self::Archives { images: jobs.iter().filter(|job| !job.is_done()).map(|job| job.wanted().clone()).collect() }
    }

    pub async fn estimates(&self, engine: &Engine) -> LayerEstimates {
        match self {
            Self::Layers { images, .. } => LayerEstimates::ask(engine, &images.iter().collect::<Vec<_>>()).await,
            Self::Archives { .. } => LayerEstimates::default(),
        }
    }

    /// The disks that it is written to: that of the store, and the engine's own, where the classic store spools an
    /// export before its first byte comes.
    pub async fn disks(
        &self,
        engine: &Engine,
        store: &Path,
        options: &SaveOptions,
        estimates: &LayerEstimates,
    ) -> Result<Vec<DiskSpace>, ImagesError> {
        let (written, spooled): (u64, u64) = match self {
            Self::Layers { images, known } => {
                let exported: HashSet<&String> = images.iter().flat_map(|image| &image.view.diff_ids).collect();
                let is_new = |diff_id: &&&String| !diff_id.parse::<Digest>().is_ok_and(|id| known.contains_key(&id));
                let new = exported.iter().filter(is_new).map(|diff_id| estimates.of(diff_id)).sum();
                (new, exported.iter().map(|diff_id| estimates.of(diff_id)).sum())
            }
            Self::Archives { images } => {
                let sizes = || images.iter().map(|image| image.view.size_bytes);
                (sizes().sum(), sizes().max().unwrap_or_default())
            }
        };
        if spooled == 0 {
            return Ok(Vec::new());
        }
        let mut needs = vec![match options.compression.compression {
            Compression::None => DiskNeed::exactly(store, DiskPurpose::Store, written),
            Compression::Zstd | Compression::Gzip => DiskNeed::compressed(store, DiskPurpose::Store, written),
        }];
        if engine.image_store().await? == ImageStore::Classic {
            let (folder, place) = (engine.local_root_dir().await?, &engine.facts().await?.root_dir);
            needs.push(DiskNeed::in_engine(folder, place, DiskPurpose::Spool, spooled));
        }
        Ok(disk_space::look(&needs))
    }
}

const INSPECTED_AT_ONCE: usize = 8;

/// The images as the engine has them.
pub(in crate::images) async fn look_up(engine: &Engine, references: &[Reference]) -> Result<Vec<Wanted>, ImagesError> {
    let names: Vec<String> = references.iter().filter_map(engine_name).collect();
    let views: Vec<Option<ImageView>> = futures::stream::iter(&names)
        .map(|name| engine.inspect_image(name))
        .buffered(INSPECTED_AT_ONCE)
        .try_collect()
        .await?;
    let mut wanted = Vec::new();
    let mut missing = Vec::new();
    for ((reference, name), view) in references.iter().zip(names).zip(views) {
        match view {
            Some(view) => wanted.push(Wanted { reference: reference.clone(), name, view }),
            None => missing.push(name),
        }
    }
    if missing.is_empty() { Ok(wanted) } else { Err(ImagesError::NotInEngine { references: missing }) }
}

/// What has to be done for an image; `layout` is `None` where there is no store yet.
pub(in crate::images) fn plan(layout: Option<&Layout>, image_store: ImageStore, wanted: Wanted) -> Plan {
    let Some(layout) = layout else {
        return Plan { wanted, step: Step::Export };
    };
    let is_it = |image: &StoredImage| {
        Identity::of_stored(image).is(image_store, &wanted.view) && layout.missing_blob(image).is_none()
    };
    // An entry that can't be read is one that has to be saved again.
    let named = layout.image(&wanted.reference).ok().flatten();
    let step = match named.filter(is_it) {
        Some(image) => Step::Keep(image),
        None => layout.images().find(is_it).map_or(Step::Export, Step::Name),
    };
    Plan { wanted, step }
}

pub(in crate::images) fn document(plans: &[Plan], image_store: ImageStore, known: &KnownLayers) -> SavePlan {
    let mut coming: HashSet<&str> = HashSet::new();
    let images = plans.iter().map(|Plan { wanted, step }| {
        let new_layers = match step {
            Step::Keep(_) | Step::Name(_) => 0,
            Step::Export => {
                let lacks = |diff_id: &&String| !diff_id.parse::<Digest>().is_ok_and(|id| known.contains_key(&id));
                let lacking = wanted.view.diff_ids.iter().filter(lacks);
                lacking.filter(|diff_id| coming.insert(diff_id)).count() as u64
            }
        };
        let image_id = match step {
            Step::Keep(image) | Step::Name(image) => Some(image.config_digest.to_string()),
            Step::Export => known_id(image_store, &wanted.view),
        };
        PlannedSave {
            reference: wanted.name.clone(),
            image_id,
            result: match step {
                Step::Keep(_) => PlannedSaveResult::Unchanged,
                Step::Name(_) | Step::Export => PlannedSaveResult::WouldSave,
            },
            layers_total: wanted.view.diff_ids.len() as u64,
            layers_to_send: new_layers,
            bytes_to_send: (new_layers == 0).then_some(0),
            engine_bytes: wanted.view.size_bytes,
        }
    });
    SavePlan { images: images.collect(), disks: Vec::new() }
}

/// The digest of an image's configuration, where the engine's own ID says it.
pub(in crate::images) fn known_id(image_store: ImageStore, view: &ImageView) -> Option<String> {
    (image_store == ImageStore::Classic).then(|| view.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> String {
        Digest::of(name.as_bytes()).to_string()
    }

    fn wanted(name: &str, layers: &str) -> Wanted {
        let view = ImageView {
            id: digest(name),
            tags: Vec::new(),
            diff_ids: layers.split_whitespace().map(digest).collect(),
            size_bytes: 1000,
            architecture: "amd64".into(),
            os: "linux".into(),
            created: String::new(),
            config: serde_json::Value::Null,
            volumes: Vec::new(),
            healthcheck: None,
        };
        Wanted { reference: name.parse().unwrap(), name: format!("{name}:latest"), view }
    }

    #[test]
    fn a_layer_that_several_images_need_counts_for_the_first_of_them() {
        let plans = ["one", "two"].map(|name| plan(None, ImageStore::Classic, wanted(name, &format!("base {name}"))));
        let document = document(&plans, ImageStore::Classic, &KnownLayers::new());
        let counts: Vec<_> = document.images.iter().map(|image| (image.layers_total, image.layers_to_send)).collect();
        assert_eq!(counts, [(2, 2), (2, 1)]);
        assert_eq!(document.images[0].image_id, Some(digest("one")));
        assert_eq!(document.images[0].bytes_to_send, None, "how well it compresses shows only when it is done");
    }

    #[test]
    fn the_containerd_stores_id_is_not_taken_for_the_images() {
        let plans = [plan(None, ImageStore::Containerd, wanted("one", "a"))];
        assert_eq!(document(&plans, ImageStore::Containerd, &KnownLayers::new()).images[0].image_id, None);
    }
}
