//! Bind sources on another machine: an engine refuses to create a container that mounts one which is not there
//! (`POST /containers/create`, a mount of type `bind`).

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::starting::Starting;
use crate::engine::{EngineError, EngineErrorKind, MountKind, MountSpec};
use crate::manifest::model;
use crate::services::snapshot::helper::Helpers;

/// So many are looked for at once where one of them is missing.
const AT_ONCE: usize = 8;

/// Those that the engine's host has not. Without an image to make a helper of, nothing can be said.
pub(in crate::services) async fn missing(
    starting: &[Starting<'_>],
    helpers: &Helpers<'_>,
) -> Result<BTreeSet<String>, EngineError> {
    let sources: BTreeSet<String> = starting
        .iter()
        .flat_map(|starting| &starting.service.volumes)
        .filter(|mount| mount.kind == model::MountKind::Bind)
        .filter_map(|mount| mount.source.clone())
        .collect();
    let all: Vec<String> = sources.iter().cloned().collect();
    // Nearly always all are there, and one container says so.
    if sources.is_empty() || helpers.images().is_empty() || are_there(helpers, &all).await? {
        return Ok(BTreeSet::new());
    }
    let looked = stream::iter(sources).map(|source| async move {
        let is_there = are_there(helpers, std::slice::from_ref(&source)).await?;
        Ok::<_, EngineError>((!is_there).then_some(source))
    });
    looked.buffer_unordered(AT_ONCE).try_filter_map(|missing| async { Ok(missing) }).try_collect().await
}

async fn are_there(helpers: &Helpers<'_>, sources: &[String]) -> Result<bool, EngineError> {
    let Some(image) = helpers.images().first() else {
        return Ok(true);
    };
    let mut spec = helpers.spec(image);
    spec.mounts = sources
        .iter()
        .enumerate()
        .map(|(place, source)| MountSpec {
            kind: MountKind::Bind { source: source.clone(), propagation: None },
            target: format!("/dpl/{place}"),
            read_only: true,
            selinux: None,
        })
        .collect();
    match helpers.create(&spec).await {
        Ok(id) => helpers.engine.discard_container(&id).await.map(|()| true),
        Err(error) if error.kind() == EngineErrorKind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}
