//! Networks and volumes that are there, and are not what the manifest wants.

use crate::manifest::model::{MountKind, Network, Volume};
use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;

pub(super) fn networks(input: &PlanInput, service_plans: &[ServicePlan]) -> Vec<Problem> {
    let mut keys: Vec<&str> = service_plans
        .iter()
        .filter(|service_plan| service_plan.starts())
        .flat_map(|service_plan| service_plan.service.network_keys())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Network::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = input.manifest.network_name(key);
            let wanted = input.manifest.networks.get(key).unwrap_or(&default);
            let Some(actual) = input.snapshot.network(&name) else {
                return wanted.external.then_some(Problem::NetworkMissing { name });
            };
            let pools = || wanted.ipam.config.iter().filter_map(|pool| pool.subnet.as_ref());
            let differs = [
                ("driver", wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver)),
                ("`internal`", wanted.internal != actual.internal),
                ("subnet", pools().any(|subnet| !actual.subnets.contains(subnet))),
                ("driver option", wanted.driver_opts.iter().any(|(key, value)| actual.options.get(key) != Some(value))),
            ];
            let what = differs.into_iter().find(|(_, differs)| *differs && !wanted.external)?.0;
            Some(Problem::NetworkDiffers { name, what })
        })
        .collect()
}

pub(super) fn volumes(input: &PlanInput, service_plans: &[ServicePlan]) -> Vec<Problem> {
    let mut keys: Vec<&str> = service_plans
        .iter()
        .filter(|service_plan| service_plan.starts())
        .flat_map(|service_plan| &service_plan.service.volumes)
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.source.as_deref())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Volume::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = input.manifest.volume_name(key);
            let wanted = input.manifest.volumes.get(key).unwrap_or(&default);
            let Some(actual) = input.snapshot.volume(&name) else {
                return wanted.external.then_some(Problem::VolumeMissing { name });
            };
            let differs = [
                ("driver", wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver)),
                ("driver option", wanted.driver_opts.iter().any(|(key, value)| actual.options.get(key) != Some(value))),
            ];
            let what = differs.into_iter().find(|(_, differs)| *differs && !wanted.external)?.0;
            Some(Problem::VolumeDiffers { name, what })
        })
        .collect()
}
