//! Data have one owner: a container outside of the plan that writes to the same folder or volume, and runs or may be
//! brought back by the engine, is a conflict. Two PostgreSQL servers on one folder destroy it.
//!
//! Services of one manifest may share data, since its author decided so; never those of a database server.

use crate::engine::{ContainerState, RestartPolicy};
use crate::manifest::model::{Mount, MountKind};
use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;
use crate::services::snapshot::observed::{ForeignContainer, Role, is_up};
use crate::services::snapshot::sources::DataPlace;

/// Where the official image has a server's data.
const POSTGRES_DATA: &str = "/var/lib/postgresql/data";

pub(super) fn of(input: &PlanInput, service_plan: &ServicePlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for mount in service_plan.service.volumes.iter().filter(|mount| !mount.read_only) {
        let Some(place) = place(input, mount) else {
            continue;
        };
        let service = service_plan.name.to_owned();
        let data = place.to_string();
        if let Some((container, comes_back)) = outside(input, service_plan, &place) {
            let is_orphan = input.snapshot.orphans(input.manifest).any(|seen| seen.view.name == container);
            problems.push(match comes_back {
                _ if is_orphan => Problem::DataOfOrphan { service, data, container },
                false => Problem::DataInUse { service, data, container },
                true => Problem::DataOfReturning { service, data, container },
            });
        } else if let Some(other) = shares_a_database(input, service_plan.name, mount, &place) {
            problems.push(Problem::DatabaseShared { service, data, other });
        }
    }
    problems.sort_by_key(ToString::to_string);
    problems.dedup_by_key(|problem| problem.to_string());
    problems
}

fn place(input: &PlanInput, mount: &Mount) -> Option<DataPlace> {
    let place = input.snapshot.sources.of_manifest_mount(input.manifest, mount)?;
    (place != DataPlace::Shared).then_some(place)
}

/// A container that is none of the manifest's and uses the place, and whether it is only about to.
fn outside(input: &PlanInput, service_plan: &ServicePlan, place: &DataPlace) -> Option<(String, bool)> {
    let snapshot = input.snapshot;
    let uses = |mounts: &[crate::engine::MountView]| {
        let is_it = |mount: &crate::engine::MountView| {
            !mount.read_only && snapshot.sources.of_mount_among(mount, &snapshot.volumes) == *place
        };
        mounts.iter().any(is_it)
    };
    // One that is taken over is stopped for its replacement.
    let adopted = |other: &ForeignContainer| {
        let mut mains = service_plan.replicas.iter().filter_map(|(replica, _)| replica.main);
        mains.any(|seen| seen.view.id == other.id)
    };
    // An engine that comes back starts those again that failed, too (moby, `restartmanager`).
    let comes_back = |state: ContainerState, restart: RestartPolicy| {
        !is_up(state) && matches!(restart, RestartPolicy::Always | RestartPolicy::OnFailure(_))
    };
    let foreign = snapshot
        .foreign_containers
        .iter()
        .filter(|other| other.helper_of.is_none() && !adopted(other))
        .map(|other| (&other.name, other.state, other.restart, &other.mounts));
    // What an earlier run left beside a service's container is the plan's own business, as the service is.
    let left = snapshot
        .containers
        .iter()
        .filter(|seen| {
            input.manifest.services.get(&seen.service).is_none()
                || (seen.role == Role::Failed && seen.service != service_plan.name)
        })
        .map(|seen| (&seen.view.name, seen.view.state, seen.view.restart, &seen.view.mounts));
    foreign
        .chain(left)
        .filter(|(_, state, restart, _)| is_up(*state) || comes_back(*state, *restart))
        .find(|(.., mounts)| uses(mounts))
        .map(|(name, state, restart, _)| (name.clone(), comes_back(state, restart)))
}

/// Another service that writes to the same place, where one of the two keeps a database server's data there.
fn shares_a_database(input: &PlanInput, name: &str, mount: &Mount, place: &DataPlace) -> Option<String> {
    let is_data = is_database(input, name, mount);
    let others = input.manifest.services.iter().filter(|(_, other, service)| *other != name && service.replicas() > 0);
    let mut mounts = others.flat_map(|(_, other, service)| service.volumes.iter().map(move |mount| (other, mount)));
    let shared = mounts.find(|(other, theirs)| {
        !theirs.read_only
            && self::place(input, theirs).as_ref() == Some(place)
            && (is_data || is_database(input, other, theirs))
    });
    shared.map(|(other, _)| other.to_owned())
}

/// Whether a mount is where a PostgreSQL server has its data.
fn is_database(input: &PlanInput, name: &str, mount: &Mount) -> bool {
    let Some(service) = input.manifest.services.get(name) else {
        return false;
    };
    let image = input.snapshot.image(&service.image);
    let is_server = image.is_some_and(|image| !image.postgres.is_empty())
        || input.manifest.databases.iter().any(|(_, _, database)| database.service.as_deref() == Some(name));
    let stated = input.snapshot.inputs.get(name).and_then(|inputs| inputs.value("PGDATA"));
    let of_image = image.and_then(|image| image.postgres.get("PGDATA")).map(String::as_str);
    let folder = stated.or(of_image).unwrap_or(POSTGRES_DATA);
    let target = mount.target.trim_end_matches('/');
    let holds = folder.strip_prefix(target).is_some_and(|below| below.is_empty() || below.starts_with('/'));
    is_server && holds && mount.kind != MountKind::Tmpfs
}
