//! Networks and volumes that are there, and are not what the manifest wants.

use crate::manifest::model::{MountKind, Network, Volume};
use crate::services::error::Problem;
use crate::services::plan::Ground;
use crate::services::plan::converge::Work;

pub(super) fn networks(ground: &Ground, works: &[Work]) -> Vec<Problem> {
    let mut keys: Vec<&str> =
        works.iter().filter(|work| work.starts()).flat_map(|work| work.service.network_keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Network::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = ground.manifest.network_name(key);
            let wanted = ground.manifest.networks.get(key).unwrap_or(&default);
            let Some(actual) = ground.snapshot.network(&name) else {
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

pub(super) fn volumes(ground: &Ground, works: &[Work]) -> Vec<Problem> {
    let mut keys: Vec<&str> = works
        .iter()
        .filter(|work| work.starts())
        .flat_map(|work| &work.service.volumes)
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.source.as_deref())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Volume::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = ground.manifest.volume_name(key);
            let wanted = ground.manifest.volumes.get(key).unwrap_or(&default);
            let Some(actual) = ground.snapshot.volume(&name) else {
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
