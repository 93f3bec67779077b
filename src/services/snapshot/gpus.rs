//! Whether the engine can give a service the GPUs that it asks for.
//!
//! No API tells: a container is created with any request, and only its start fails. So a throw-away container asks for
//! the very GPUs and is started with a program that no image has. Devices are attached before the program is looked
//! for: an engine that gives them refuses the program (400), one that can't fails earlier (500). Tried on 20.10 and 28.

use super::starting::Starting;
use crate::engine::{EngineError, EngineErrorKind, GpuRequest};
use crate::failpoint;
use crate::manifest::Manifest;
use crate::manifest::model::Service;
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::{Gpus, Observed};

/// A path that no image has.
const NO_PROGRAM: &str = "/dpl-gpu-probe/no-such-program";

/// What is tried: GPU requests, and the runtime that is to fulfil them.
type Attempt = (Vec<GpuRequest>, Option<String>);

/// Whether its container had to do without a GPU that it would take.
pub(in crate::services) fn waits_for_one(name: &str, service: &Service, observed: &Observed) -> bool {
    service.wants_gpu()
        && observed.containers.iter().any(|seen| seen.service == name && seen.view.labels.contains_key(labels::GPUS))
}

/// Tries every wish once, for services whose image is there.
pub(in crate::services) async fn probe(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    starting: &[Starting<'_>],
    observed: &mut Observed,
) -> Result<(), EngineError> {
    let mut tried: Vec<(Attempt, bool)> = Vec::new();
    for starting in starting.iter().filter(|starting| starting.service.wants_gpu()) {
        let Some(image) = observed.image(&starting.service.image).map(|image| image.id.clone()) else {
            continue;
        };
        let runtime = || starting.service.runtime.clone();
        let all = (spec::wanted_gpus(starting.service), runtime());
        let required = (spec::required_gpus(starting.service), runtime());
        let gpus = if try_once(helpers, manifest, &image, &all, &mut tried).await? {
            Gpus::Present
        } else if required.0.is_empty() || required == all {
            Gpus::Absent
        } else if try_once(helpers, manifest, &image, &required, &mut tried).await? {
            Gpus::RequiredOnly
        } else {
            Gpus::Absent
        };
        observed.gpus.insert(starting.name.to_owned(), gpus);
    }
    Ok(())
}

async fn try_once(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    image: &str,
    attempt: &Attempt,
    tried: &mut Vec<(Attempt, bool)>,
) -> Result<bool, EngineError> {
    if let Some((_, is_there)) = tried.iter().find(|(other, _)| other == attempt) {
        return Ok(*is_there);
    }
    let mut started = start_probe(helpers, manifest, image, attempt, tried.len()).await?;
    if started.is_none() {
        // A run that holds the lock has thrown it away.
        started = start_probe(helpers, manifest, image, attempt, tried.len()).await?;
    }
    let is_there = started.unwrap_or(false);
    tried.push((attempt.clone(), is_there));
    Ok(is_there)
}

/// Whether the engine gives what the probe asks for; `None` where somebody removed the probe before it was started.
async fn start_probe(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    image: &str,
    attempt: &Attempt,
    number: usize,
) -> Result<Option<bool>, EngineError> {
    let mut spec = helpers.spec(image);
    spec.name = format!("{}.dpl-gpu-probe-{}-{}", manifest.project, std::process::id(), number);
    spec.entrypoint = Some(vec![NO_PROGRAM.to_owned()]);
    (spec.gpus, spec.runtime) = attempt.clone();
    failpoint!("services.gpus.before-probe");
    let id = helpers.create(&spec).await?;
    failpoint!("services.gpus.after-create");
    let started = helpers.engine.start_container(&id).await;
    // A program that is not found is the same answer as a container that is not.
    let is_gone = helpers.engine.inspect_container(&id).await?.is_none();
    helpers.engine.discard_container(&id).await?;
    match started {
        Ok(()) => Ok(Some(true)),
        Err(error) => match error.kind() {
            EngineErrorKind::NotFound if is_gone => Ok(None),
            EngineErrorKind::Refused | EngineErrorKind::NotFound => Ok(Some(true)),
            EngineErrorKind::Failed => Ok(Some(false)),
            _ => Err(error),
        },
    }
}
