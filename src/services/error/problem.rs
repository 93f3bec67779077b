//! What keeps a plan from being carried out, known before anything is changed. Checks make a [`Problem`]; nothing here looks at an
//! engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::in_one_line;
use crate::manifest::model::{Cpus, Reference};
use crate::report::{Listed, Message, Told};
use crate::services::container::environment::InputError;

/// Something that would make a plan fail, known beforehand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    ImageMissing { service: String, reference: Reference },
    PlatformDiffers { service: String, reference: Reference, platform: String, image: String },
    PastImageGone { services: Vec<String>, reference: String, id: String },
    NameTaken { service: String, container: String },
    NameOfProject { service: String, container: String, project: String },
    NameOfService { service: String, container: String, other: String },
    NameAsideTaken { service: String, container: String },
    NamesakeVanishes { service: String, container: String },
    PortTaken { service: String, port: String, holder: String },
    PortFreedLater { service: String, port: String, holder: String, other: String },
    PortHeld { service: String, port: String, holder: Message },
    NoPortsPublished,
    NoSuchAddress { service: String, address: String },
    AddressWithoutSubnet { service: String, address: String, network: String },
    AddressOutside { service: String, address: String, network: String, subnets: Vec<String> },
    AddressTwice { service: String, other: String, address: String, network: String },
    AddressTaken { service: String, address: String, network: String, holder: String },
    OtherPostgres { service: String, folder: String, written_by: String, image: String, reference: Reference },
    SourceMissing { service: String, path: String, target: String },
    DeviceMissing { service: String, path: String },
    SourceVanished { service: String, path: String, target: String, container: String },
    SourceMoved { service: String, path: String, target: String, container: String, was: String },
    OrphansUnknown { why: Message },
    VolumesUnknown { why: Message },
    Input { service: String, source: InputError },
    GpuMissing { service: String },
    TooManyCpus { service: String, cpus: Cpus, there: u64 },
    RuntimeMissing { service: String, runtime: String, known: Vec<String> },
    EngineTooOld { service: String, field: &'static str, api: &'static str },
    NamespaceMissing { service: String, container: String },
    NamespaceDown { service: String, container: String },
    NetworkMissing { name: String },
    NetworkDiffers { name: String, fields: Vec<String> },
    NetworkInUse { name: String, container: String },
    SubnetTaken { name: String, subnet: String, other: String, taken: String },
    NetworkNotOurs { name: String, fields: Vec<String> },
    LogNotKept { service: String },
    NothingProvesHealth { service: String, other: String, reference: Reference },
    NetworkTwice { name: String },
    DataInUse { service: String, data: String, container: String },
    DataOfOrphan { service: String, data: String, container: String },
    DataOfReturning { service: String, data: String, container: String },
    DatabaseShared { service: String, data: String, other: String },
    VolumeMissing { name: String },
    VolumeDiffers { name: String, fields: Vec<String> },
}

/// A sentence whose values have the names of the problem's own fields, in the sentence's order.
macro_rules! sentence {
    ($key:tt, $($value:ident),+) => {
        message!($key $(, $value = $value)+)
    };
}

impl Told for Problem {
    fn message(&self) -> Message {
        match self {
            Self::ImageMissing { service, reference } => {
                sentence!("problem-image-missing", service, reference)
            }
            Self::PlatformDiffers { service, reference, platform, image } => {
                sentence!("problem-platform-differs", service, platform, reference, image)
            }
            Self::PastImageGone { services, id, reference } => {
                message!("problem-past-image-gone", services = Listed::of(services), id = id, reference = reference)
            }
            Self::NameTaken { service, container } => {
                sentence!("problem-name-taken", service, container)
            }
            Self::NameOfProject { service, container, project } => {
                sentence!("problem-name-of-project", service, container, project)
            }
            Self::NameOfService { service, container, other } => {
                sentence!("problem-name-of-service", service, container, other)
            }
            Self::NamesakeVanishes { service, container } => {
                sentence!("problem-namesake-vanishes", service, container)
            }
            Self::PortTaken { service, port, holder } => {
                sentence!("problem-port-taken", service, port, holder)
            }
            Self::PortFreedLater { service, port, holder, other } => {
                sentence!("problem-port-freed-later", service, port, holder, other)
            }
            Self::PortHeld { service, port, holder } => {
                sentence!("problem-port-held", service, port, holder)
            }
            Self::NoPortsPublished => message!("problem-no-ports-published"),
            Self::NoSuchAddress { service, address } => {
                sentence!("problem-no-such-address", service, address)
            }
            Self::AddressWithoutSubnet { service, network, address } => {
                sentence!("problem-address-without-subnet", service, network, address)
            }
            Self::AddressOutside { service, address, network, subnets } => message!(
                "problem-address-outside",
                service = service,
                address = address,
                network = network,
                subnets = Listed::of(subnets)
            ),
            Self::AddressTwice { service, other, address, network } => {
                sentence!("problem-address-twice", service, other, address, network)
            }
            Self::AddressTaken { service, address, network, holder } => {
                sentence!("problem-address-taken", service, address, network, holder)
            }
            Self::OtherPostgres { service, folder, written_by, reference, image } => {
                sentence!("problem-other-postgres", service, folder, written_by, reference, image)
            }
            Self::DeviceMissing { service, path } => sentence!("problem-device-missing", service, path),
            Self::SourceMissing { service, path, target } => {
                sentence!("problem-source-missing", service, path, target)
            }
            Self::SourceVanished { service, path, target, container } => {
                sentence!("problem-source-vanished", service, path, target, container)
            }
            Self::SourceMoved { service, path, target, container, was } => {
                sentence!("problem-source-moved", service, path, target, container, was)
            }
            Self::OrphansUnknown { why } => message!("problem-orphans-unknown", why = why),
            Self::NameAsideTaken { service, container } => {
                sentence!("problem-name-aside-taken", service, container)
            }
            Self::VolumesUnknown { why } => message!("problem-volumes-unknown", why = why),
            Self::Input { service, .. } => message!("problem-input", service = service),
            Self::GpuMissing { service } => message!("problem-gpu-missing", service = service),
            Self::TooManyCpus { service, cpus, there } => sentence!("problem-too-many-cpus", service, cpus, there),
            Self::RuntimeMissing { service, runtime, known } => {
                message!("problem-runtime-missing", service = service, runtime = runtime, known = Listed::of(known))
            }
            Self::EngineTooOld { service, field, api } => {
                sentence!("problem-engine-too-old", service, field, api)
            }
            Self::NamespaceMissing { service, container } => {
                sentence!("problem-namespace-missing", service, container)
            }
            Self::NamespaceDown { service, container } => {
                sentence!("problem-namespace-down", service, container)
            }
            Self::NetworkMissing { name } => message!("problem-network-missing", name = name),
            Self::NetworkDiffers { name, fields } => {
                message!("problem-network-differs", name = name, fields = Listed::of(fields))
            }
            Self::NetworkInUse { name, container } => {
                sentence!("problem-network-in-use", name, container)
            }
            Self::SubnetTaken { name, subnet, other, taken } => {
                sentence!("problem-subnet-taken", name, subnet, other, taken)
            }
            Self::NetworkNotOurs { name, fields } => {
                message!("problem-network-not-ours", name = name, fields = Listed::of(fields))
            }
            Self::LogNotKept { service } => message!("problem-log-not-kept", service = service),
            Self::NothingProvesHealth { service, other, reference } => {
                sentence!("problem-nothing-proves-health", service, other, reference)
            }
            Self::NetworkTwice { name } => message!("problem-network-twice", name = name),
            Self::DataInUse { service, container, data } => {
                sentence!("problem-data-in-use", service, container, data)
            }
            Self::DataOfOrphan { service, container, data } => {
                sentence!("problem-data-of-orphan", service, container, data)
            }
            Self::DataOfReturning { service, container, data } => {
                sentence!("problem-data-of-returning", service, container, data)
            }
            Self::DatabaseShared { service, other, data } => {
                sentence!("problem-database-shared", service, other, data)
            }
            Self::VolumeMissing { name } => message!("problem-volume-missing", name = name),
            Self::VolumeDiffers { name, fields } => {
                message!("problem-volume-differs", name = name, fields = Listed::of(fields))
            }
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::ImageMissing { .. } => Some(message!("hint-image-into-store")),
            Self::PortTaken { holder, .. } => Some(message!("hint-port-of-container", container = holder)),
            Self::PortHeld { .. } => Some(message!("hint-port-of-process")),
            _ => None,
        }
    }
}

impl Problem {
    pub(super) fn missing_image(&self) -> Option<&Reference> {
        match self {
            Self::ImageMissing { reference, .. } => Some(reference),
            _ => None,
        }
    }
}

/// A line for each problem; the file of a secret that several services lack is one problem.
pub(super) fn lines(problems: &[Problem]) -> Vec<Message> {
    let mut lines = Vec::new();
    let mut files: BTreeMap<&Path, (Message, BTreeSet<&str>)> = BTreeMap::new();
    let mut empty: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for problem in problems {
        match problem {
            Problem::Input { service, source: InputError::SecretFile { path, source, .. } } => {
                let why = in_one_line(&**source);
                files.entry(path).or_insert_with(|| (why, BTreeSet::new())).1.insert(service);
            }
            Problem::Input { service, source: InputError::SecretEmpty { path, .. } } => {
                empty.entry(path).or_default().insert(service);
            }
            problem => lines.push(in_one_line(problem)),
        }
    }
    lines.extend(files.into_iter().map(|(path, (why, services))| {
        message!("problem-secret-file", path = path.display(), why = why, services = Listed::of(services))
    }));
    lines.extend(empty.into_iter().map(|(path, services)| {
        message!("problem-secret-empty", path = path.display(), services = Listed::of(services))
    }));
    lines
}
