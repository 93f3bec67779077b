//! What loads left in an engine and nothing needs any more: images kept for a way back that is too long ago, and
//! images that lost every name.
//!
//! Only what the project's record of loads, or its store, proves to be the project's; others' only on request. An
//! image that a container uses is never touched, nor is one that has a name of anybody's.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::{Engine, ImageListing};
use crate::failpoint;
use crate::images::error::ImagesError;
use crate::images::formats::platform::Platform;
use crate::images::identity::Identity;
use crate::images::names::KEPT_REPOSITORY;
use crate::images::pipes::blocking;
use crate::images::store::layout::{Layout, StoredImage};
use crate::report::{Activity, Reporter};
use crate::state::EngineLoads;

/// Which images are looked at beyond those that are known to be the project's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnginePruneOptions {
    /// How many loads keep their images for the way back (`keep_releases`).
    pub keep_releases: u32,
    /// Images kept under `dpl-kept` that this project's record does not know: another project's, or from before the
    /// record.
    pub unknown_kept: bool,
    /// Images without a name, wherever they come from.
    pub all_dangling: bool,
}

/// What the project's records know of an engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineRecords {
    pub loads: EngineLoads,
    /// The IDs of the images that `dpl rollback` may want back.
    pub deployed: BTreeSet<String>,
}

/// What `dpl images prune --engine` prints: what would be removed, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct EnginePruneReport {
    /// The engine's name.
    pub engine: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    pub images: Vec<EngineLeftover>,
    /// What was looked at and stays.
    pub kept: Vec<KeptLeftover>,
    /// The sum of the images' sizes; layers that they share with images that stay are not freed.
    pub size_bytes: u64,
}

/// An image that goes from the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EngineLeftover {
    /// `dpl-kept:…`; null for an image without a name.
    pub name: Option<String>,
    /// The engine's ID.
    pub id: String,
    pub size_bytes: u64,
    pub why: LeftoverCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverCause {
    /// None of the last loads had it, and `dpl rollback` does not need it.
    NotNeeded,
    /// A load left it without a name.
    LeftByLoad,
    /// It is kept, and this project's record does not know it.
    UnknownKept,
    /// It has no name, and nobody knows who left it.
    Dangling,
}

/// An image that stays in the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptLeftover {
    pub name: Option<String>,
    pub id: String,
    pub size_bytes: u64,
    pub why: KeptCause,
    /// The container that uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeptCause {
    /// One of the last loads had it, or `dpl rollback` may need it.
    WayBack,
    /// A container uses it.
    Container,
    /// This project's record does not know it: another project may need it.
    Unknown,
    /// The engine refuses to remove it: another image is built on it, or a container uses it by now.
    Refused,
}

/// Looks at the engine's images; changes nothing. `store` helps to recognise what a load left without a name.
pub async fn plan_engine_prune(
    engine: &Engine,
    store: Option<&Path>,
    records: &EngineRecords,
    options: EnginePruneOptions,
) -> Result<EnginePruneReport, ImagesError> {
    let listed = engine.list_images().await?;
    let containers = engine.list_container_summaries().await?;
    let users: HashMap<&str, &str> =
        containers.iter().map(|container| (container.image_id.as_str(), container.name.as_str())).collect();
    let mut needed = records.loads.images_of_last(options.keep_releases);
    needed.extend(records.deployed.iter().map(String::as_str));
    let mut report = EnginePruneReport { engine: engine.facts().await?.name.clone(), ..EnginePruneReport::default() };
    let mut stored = None;
    for image in &listed {
        for name in looked_at(image) {
            let (id, size_bytes) = (image.id.clone(), image.size_bytes);
            let mut stays = |why, container: Option<&str>| {
                let (name, id, container) = (name.clone(), image.id.clone(), container.map(str::to_owned));
                report.kept.push(KeptLeftover { name, id, size_bytes, why, container });
            };
            if let Some(container) = users.get(id.as_str()) {
                stays(KeptCause::Container, Some(container));
                continue;
            }
            if needed.contains(id.as_str()) {
                stays(KeptCause::WayBack, None);
                continue;
            }
            let mut is_known = records.loads.knows(&id);
            if !is_known && name.is_none() {
                if stored.is_none() {
                    stored = Some(stored_images(engine, store).await?);
                }
                is_known = is_stored(engine, &id, stored.as_deref().unwrap_or_default()).await?;
            }
            let why = match (&name, is_known) {
                (Some(_), true) => LeftoverCause::NotNeeded,
                (None, true) => LeftoverCause::LeftByLoad,
                (Some(_), false) if options.unknown_kept => LeftoverCause::UnknownKept,
                (None, false) if options.all_dangling => LeftoverCause::Dangling,
                (_, false) => {
                    stays(KeptCause::Unknown, None);
                    continue;
                }
            };
            report.images.push(EngineLeftover { name, id, size_bytes, why });
        }
    }
    report.size_bytes = total(&report.images);
    Ok(report)
}

/// Removes what was shown. The project's lock must be held.
///
/// # Errors
/// Something would go now that was not shown; the engine's.
pub async fn engine_prune(
    engine: &Engine,
    store: Option<&Path>,
    records: &EngineRecords,
    options: EnginePruneOptions,
    shown: &EnginePruneReport,
    reporter: &Reporter,
) -> Result<EnginePruneReport, ImagesError> {
    let mut report = plan_engine_prune(engine, store, records, options).await?;
    if let Some(image) = report.images.iter().find(|image| !shown.images.contains(image)) {
        let what = message!("changed-image-goes", image = image.name.as_ref().unwrap_or(&image.id));
        return Err(ImagesError::PlanChanged { what });
    }
    let wanted = std::mem::take(&mut report.images);
    let all = wanted.len();
    for (done, image) in wanted.into_iter().enumerate() {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all });
        }
        let subject = image.name.clone().unwrap_or_else(|| image.id.clone());
        // Somebody may have given it a name, or moved that one, since it was looked at.
        let view = engine.inspect_image(&subject).await?;
        let is_same =
            |view: &crate::engine::ImageView| view.id == image.id && (image.name.is_some() || view.tags.is_empty());
        if !view.as_ref().is_some_and(is_same) {
            continue;
        }
        reporter.began(Activity::RemoveImage, &subject, Some(image.size_bytes));
        failpoint!("images.engine-prune.before-remove");
        match engine.remove_image(&subject).await {
            Ok(()) => {
                let message = message!("images-engine-removed", size = image.size_bytes);
                reporter.done(Activity::RemoveImage, &subject, message);
                report.images.push(image);
            }
            Err(error) if error.is_conflict() => {
                reporter.done(Activity::RemoveImage, &subject, message!("images-engine-refused"));
                let EngineLeftover { name, id, size_bytes, .. } = image;
                report.kept.push(KeptLeftover { name, id, size_bytes, why: KeptCause::Refused, container: None });
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                reporter.failed(Activity::RemoveImage, &subject, &error);
                return Err(error.into());
            }
        }
    }
    report.size_bytes = total(&report.images);
    report.done = true;
    Ok(report)
}

/// Under which names an image is a candidate: each of those it is kept under, or none when it has no name at all.
fn looked_at(image: &ImageListing) -> Vec<Option<String>> {
    if image.tags.is_empty() {
        return if image.has_digest { Vec::new() } else { vec![None] };
    }
    image.tags.iter().filter(|tag| is_kept_name(tag)).map(|tag| Some(tag.clone())).collect()
}

fn is_kept_name(tag: &str) -> bool {
    let digits = tag.strip_prefix(KEPT_REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn total(images: &[EngineLeftover]) -> u64 {
    let mut seen = HashSet::new();
    images.iter().filter(|image| seen.insert(&image.id)).map(|image| image.size_bytes).sum()
}

async fn stored_images(engine: &Engine, store: Option<&Path>) -> Result<Vec<StoredImage>, ImagesError> {
    let Some(folder) = store.map(Path::to_owned) else {
        return Ok(Vec::new());
    };
    let platform = Platform::of_engine(engine.facts().await?);
    blocking(move || {
        Ok(Layout::open_for(&folder, &platform)?.map(|layout| layout.images().collect()).unwrap_or_default())
    })
    .await
}

/// Whether the store has this very image: then a load brought it, and another one can bring it back.
async fn is_stored(engine: &Engine, id: &str, stored: &[StoredImage]) -> Result<bool, ImagesError> {
    let Some(view) = engine.inspect_image(id).await? else {
        return Ok(false);
    };
    let store = engine.image_store().await?;
    Ok(stored.iter().any(|image| Identity::of_stored(image).is(store, &view)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_loads_give_are_looked_at() {
        let hex = "0123456789abcdef".repeat(2);
        assert!(is_kept_name(&format!("dpl-kept:{hex}")));
        for other in [format!("dpl-kept:{}", &hex[1..]), format!("x/dpl-kept:{hex}"), format!("dpl-kept2:{hex}")] {
            assert!(!is_kept_name(&other), "{other}");
        }
    }
}
