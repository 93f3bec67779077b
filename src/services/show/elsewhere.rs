//! Containers of a project that were created from another folder: another clone of the manifests, on this host or another.
//! Their history and their way back lie there.

use std::collections::BTreeMap;

use crate::engine::{Engine, EngineError};
use crate::manifest::Manifest;
use crate::services::container::{labels, spec};
use crate::services::reports::OtherFolder;
use crate::services::snapshot::ownership::own_containers;

/// Every other folder that containers of the project were created from. Containers of an older dpl do not say theirs.
pub async fn other_folders(engine: &Engine, manifest: &Manifest) -> Result<Vec<OtherFolder>, EngineError> {
    let own = spec::folder(manifest);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for mut container in own_containers(engine, manifest).await? {
        let Some(folder) = container.labels.remove(labels::FOLDER).filter(|folder| own.as_ref() != Some(folder)) else {
            continue;
        };
        let created = last.entry(folder).or_default();
        *created = container.created.max(*created);
    }
    Ok(last.into_iter().map(|(folder, last_created)| OtherFolder { folder, last_created }).collect())
}
