//! How a network or a volume differs from what the manifest wants, field by field.
//!
//! What dpl made carries a fingerprint, so that every field counts, also one that was taken out of the manifest. Beside
//! that, what the engine shows is compared: it tells what somebody else made under the name.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{NetworkView, VolumeView};
use crate::manifest::Manifest;
use crate::services::container::fingerprint::{Fingerprint, network_fields, volume_fields};
use crate::services::container::labels;
use crate::services::snapshot::observed::Observed;

/// Fields in which a network differs, sorted; none for one that is not ours to make, or not there.
pub(in crate::services) fn network_drift(manifest: &Manifest, key: &str, observed: &Observed) -> Vec<String> {
    let wanted = manifest.networks.get(key).cloned().unwrap_or_default();
    let Some(actual) = observed.network(&manifest.network_name(key)).filter(|_| !wanted.external) else {
        return Vec::new();
    };
    let mut fields: BTreeSet<String> = made(&actual.labels)
        .map_or_else(BTreeSet::new, |made| made.differing(&network_fields(&wanted)).into_iter().collect());
    let mut add = |differs: bool, field: &str| {
        if differs {
            fields.insert(field.to_owned());
        }
    };
    add(wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver), "driver");
    add(wanted.internal != actual.internal, "internal");
    add(wanted.attachable && !actual.attachable, "attachable");
    add(wanted.enable_ipv6 && !actual.enable_ipv6, "enable_ipv6");
    add(wanted.ipam.config.iter().any(|pool| !has_pool(actual, pool)), "ipam");
    fields.extend(missing("driver_opts", &wanted.driver_opts, &actual.options));
    fields.extend(missing("labels", &wanted.labels, &actual.labels));
    fields.into_iter().collect()
}

/// Likewise of a volume.
pub(in crate::services) fn volume_drift(manifest: &Manifest, key: &str, observed: &Observed) -> Vec<String> {
    let wanted = manifest.volumes.get(key).cloned().unwrap_or_default();
    let Some(actual) = observed.volume(&manifest.volume_name(key)).filter(|_| !wanted.external) else {
        return Vec::new();
    };
    let mut fields: BTreeSet<String> = made_of_volume(actual)
        .map_or_else(BTreeSet::new, |made| made.differing(&volume_fields(&wanted)).into_iter().collect());
    if wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver) {
        fields.insert("driver".to_owned());
    }
    fields.extend(missing("driver_opts", &wanted.driver_opts, &actual.options));
    fields.into_iter().collect()
}

fn made(labels: &BTreeMap<String, String>) -> Option<Fingerprint> {
    Fingerprint::parse(labels.get(labels::FINGERPRINT)?)
}

fn made_of_volume(volume: &VolumeView) -> Option<Fingerprint> {
    made(&volume.labels)
}

fn has_pool(actual: &NetworkView, wanted: &crate::manifest::model::AddressPool) -> bool {
    let fits = |wanted: &Option<String>, actual: &Option<String>| wanted.is_none() || wanted == actual;
    let mut pools = actual.pools.iter();
    pools.any(|pool| {
        fits(&wanted.subnet, &pool.subnet)
            && fits(&wanted.ip_range, &pool.ip_range)
            && fits(&wanted.gateway, &pool.gateway)
    })
}

fn missing<'a>(
    field: &'a str,
    wanted: impl IntoIterator<Item = (&'a String, &'a String)>,
    actual: &'a BTreeMap<String, String>,
) -> Vec<String> {
    let differing = wanted.into_iter().filter(|(name, value)| actual.get(*name) != Some(value));
    differing.map(|(name, _)| format!("{field}.{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::{AddressPool, Network, Volume};

    fn manifest(network: Network, volume: Volume) -> Manifest {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        manifest.networks.insert("n".to_owned(), network);
        manifest.volumes.insert("v".to_owned(), volume);
        manifest
    }

    /// The engine with both, as dpl made them from these.
    fn observed(network: &Network, volume: &Volume) -> Observed {
        let label = |fields| Fingerprint::keyed("key".to_owned(), &fields, BTreeSet::new()).label();
        let with = |label: String, own: BTreeMap<String, String>| {
            own.into_iter().chain([(labels::FINGERPRINT.to_owned(), label)]).collect()
        };
        let pools = network.ipam.config.iter().map(|pool| crate::engine::AddressPool {
            subnet: pool.subnet.clone(),
            ip_range: pool.ip_range.clone(),
            gateway: pool.gateway.clone(),
        });
        let network = NetworkView {
            name: "p_n".to_owned(),
            driver: "bridge".to_owned(),
            internal: network.internal,
            attachable: network.attachable,
            enable_ipv6: network.enable_ipv6,
            pools: pools.collect(),
            options: network.driver_opts.clone().into_iter().collect(),
            labels: with(label(network_fields(network)), network.labels.clone().into_iter().collect()),
            ..NetworkView::default()
        };
        let volume = VolumeView {
            name: "p_v".to_owned(),
            driver: "local".to_owned(),
            options: volume.driver_opts.clone().into_iter().collect(),
            labels: with(label(volume_fields(volume)), BTreeMap::new()),
            ..VolumeView::default()
        };
        Observed { networks: vec![network], volumes: vec![volume], ..Observed::default() }
    }

    fn pair(name: &str, value: &str) -> indexmap::IndexMap<String, String> {
        [(name.to_owned(), value.to_owned())].into_iter().collect()
    }

    #[test]
    fn every_field_of_a_network_counts_also_one_that_was_taken_out() {
        let full = Network {
            internal: true,
            attachable: true,
            enable_ipv6: true,
            labels: pair("tier", "1"),
            driver_opts: pair("mtu", "1400"),
            ipam: crate::manifest::model::Ipam {
                config: vec![AddressPool {
                    subnet: Some("10.1.0.0/16".to_owned()),
                    gateway: Some("10.1.0.1".to_owned()),
                    ip_range: None,
                }],
                ..Default::default()
            },
            ..Network::default()
        };
        let all = ["attachable", "driver_opts.mtu", "enable_ipv6", "internal", "ipam", "labels.tier"];
        let (bare, volume) = (Network::default(), Volume::default());
        for (made, wanted) in [(&full, &bare), (&bare, &full)] {
            let manifest = manifest(wanted.clone(), volume.clone());
            assert_eq!(network_drift(&manifest, "n", &observed(made, &volume)), all);
        }
        let manifest = manifest(full.clone(), volume.clone());
        assert_eq!(network_drift(&manifest, "n", &observed(&full, &volume)), [""; 0]);
        assert_eq!(network_drift(&manifest, "n", &Observed::default()), [""; 0], "there is none yet");
    }

    #[test]
    fn a_volume_on_another_device_has_drifted() {
        let on = |device: &str| Volume { driver_opts: pair("device", device), ..Volume::default() };
        let network = Network::default();
        let of = |made: &Volume, wanted: Volume| {
            volume_drift(&manifest(network.clone(), wanted), "v", &observed(&network, made))
        };
        assert_eq!(of(&on("/d1"), on("/d2")), ["driver_opts.device"]);
        assert_eq!(of(&on("/d1"), Volume::default()), ["driver_opts.device"], "it was taken out");
        assert_eq!(of(&on("/d1"), on("/d1")), [""; 0]);
    }
}
