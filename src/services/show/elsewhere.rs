//! Containers of a project that were created from another folder: another clone of the manifests, on this host or another.
//! Their history and their way back lie there.

use std::collections::BTreeSet;

use crate::engine::{Engine, EngineError};
use crate::manifest::Manifest;
use crate::services::container::{labels, spec};

/// `HOST:FOLDER` of every other folder that containers of the project were created from. Containers of an older dpl do not
/// say theirs.
pub async fn other_folders(engine: &Engine, manifest: &Manifest) -> Result<Vec<String>, EngineError> {
    let own = spec::folder(manifest);
    let containers = engine.list_container_summaries().await?;
    let ours = containers.into_iter().filter(|one| one.labels.get(labels::PROJECT) == Some(&manifest.project));
    let others: BTreeSet<String> = ours.filter_map(|mut one| one.labels.remove(labels::FOLDER)).collect();
    Ok(others.into_iter().filter(|other| own.as_ref() != Some(other)).collect())
}
