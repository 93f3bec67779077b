//! Networks and volumes that the plan's services need and the engine lacks.

use std::collections::BTreeMap;

use super::ServicePlan;
use super::recreate_networks::Vacated;
use crate::manifest::model::MountKind;
use crate::services::plan::builder::{Builder, must_succeed};
use crate::services::plan::cause::Cause;
use crate::services::plan::step::{Operation, StepId};
use crate::services::plan::{After, PlanInput};

/// Plans what is missing; gives for each service the steps that its containers wait for.
pub(super) fn build<'a>(
    input: &PlanInput<'a>,
    service_plans: &[ServicePlan<'a>],
    vacated: &Vacated,
    builder: &mut Builder,
) -> BTreeMap<&'a str, Vec<After>> {
    let (manifest, snapshot) = (input.manifest, input.snapshot);
    let mut made: BTreeMap<String, StepId> = BTreeMap::new();
    let mut waits = BTreeMap::new();
    for service_plan in service_plans.iter().filter(|service_plan| service_plan.starts()) {
        let networks = service_plan.service.network_keys().into_iter().filter_map(|key| {
            let name = manifest.network_name(key);
            let is_there = snapshot.network(&name).is_some() && !vacated.removed.contains_key(&name);
            (!is_there).then(|| Operation::CreateNetwork { key: key.to_owned(), name })
        });
        let volumes = service_plan.service.volumes.iter().filter(|mount| mount.kind == MountKind::Volume);
        let volumes = volumes.filter_map(|mount| mount.source.as_deref()).filter_map(|key| {
            let name = manifest.volume_name(key);
            let is_there = snapshot.volume(&name).is_some();
            (!is_there).then(|| Operation::CreateVolume { key: key.to_owned(), name })
        });
        let after = networks
            .chain(volumes)
            .map(|operation| {
                let object = match &operation {
                    Operation::CreateNetwork { name, .. } => format!("network {name}"),
                    Operation::CreateVolume { name, .. } => format!("volume {name}"),
                    _ => String::new(),
                };
                let is_recreated = match &operation {
                    Operation::CreateNetwork { name, .. } => vacated.removed.contains_key(name),
                    _ => false,
                };
                // When all are gone: until then everything can go back to those that were there.
                let before: Vec<After> = match is_recreated {
                    true => vacated.removed.values().copied().map(must_succeed).collect(),
                    false => Vec::new(),
                };
                must_succeed(*made.entry(object).or_insert_with(|| builder.resource(operation, Cause::Missing, before)))
            })
            .collect();
        waits.insert(service_plan.name, after);
    }
    waits
}
