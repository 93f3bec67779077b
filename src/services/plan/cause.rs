//! Why a step is taken, and what a plan warns of.

use std::fmt;

use crate::catalogue::english;
use crate::manifest::model::Reference;
use crate::report::{Listed, Message};
use crate::services::snapshot::drift::{Drift, ImageDrift};

/// The cause of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// There is no container, network or volume yet.
    Missing,
    Drifted(Drift),
    /// It is to be recreated whatever it is.
    Forced,
    /// It does not run.
    Down,
    Paused,
    /// The operator named it.
    Asked,
    /// Another service needs it.
    NeededBy(String),
    /// It is restarted with a service that it depends on.
    RestartsWith(String),
    /// It lives in a namespace of a service whose container changes.
    SharesNamespaceOf(String),
    /// Nobody has yet seen it ready.
    NotReady,
    /// Its restart policy was changed on the engine, or by the manifest.
    RestartPolicy,
    /// An earlier run was cut off here.
    CutOff,
    /// More containers than `scale` says.
    Surplus {
        scale: u32,
    },
    /// The manifest does not name its service.
    Orphan,
    /// It is taken over: dpl did not make the old one.
    Adopted,
    /// A network that it is in is recreated.
    NetworkRecreated(String),
    /// The network differs from the manifest in these fields.
    NetworkDiffers(Vec<String>),
}

impl Cause {
    /// The catalogue's sentence for it.
    pub fn message(&self) -> Message {
        match self {
            Self::Missing => message!("services-cause-missing"),
            Self::Drifted(drift) => drifted(drift),
            Self::Forced => message!("services-cause-forced"),
            Self::Down => message!("services-cause-down"),
            Self::Paused => message!("services-cause-paused"),
            Self::Asked => message!("services-cause-asked"),
            Self::NeededBy(service) => message!("services-cause-needed-by", service = service),
            Self::RestartsWith(service) => message!("services-cause-restarts-with", service = service),
            Self::SharesNamespaceOf(service) => {
                message!("services-cause-shares-namespace", service = service)
            }
            Self::NotReady => message!("services-cause-not-ready"),
            Self::RestartPolicy => message!("services-cause-restart-policy"),
            Self::CutOff => message!("services-cause-cut-off"),
            Self::Surplus { scale } => message!("services-cause-surplus", scale = scale),
            Self::Orphan => message!("services-cause-orphan"),
            Self::Adopted => message!("services-cause-adopted"),
            Self::NetworkRecreated(network) => message!("services-cause-network-recreated", network = network),
            Self::NetworkDiffers(fields) => message!("services-cause-network-differs", fields = Listed::of(fields)),
        }
    }
}

fn drifted(drift: &Drift) -> Message {
    let fields = Listed::of(&drift.fields);
    match &drift.image {
        Some(ImageDrift::Changed { was, is }) if drift.fields.is_empty() => {
            message!("services-cause-image", was = short(was), is = short(is))
        }
        Some(ImageDrift::Changed { was, is }) => {
            message!("services-cause-image-and-configuration", was = short(was), is = short(is), fields = fields)
        }
        Some(ImageDrift::Missing { reference }) => {
            message!("services-cause-image-missing", reference = reference)
        }
        None => message!("services-cause-configuration", fields = fields),
    }
}

/// The text of plans in JSON, in English whatever the language of the session.
impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&english(&self.message()))
    }
}

/// An image ID as the Docker CLI shows it, with its algorithm.
pub(super) fn short(id: &str) -> String {
    match id.split_once(':') {
        Some((algorithm, hex)) if hex.len() > 12 && hex.is_char_boundary(12) => format!("{algorithm}:{}", &hex[..12]),
        _ => id.to_owned(),
    }
}

/// Something that the operator should know of a plan, and that doesn't stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A running service that was not chosen needs one that is stopped or removed.
    StillNeeded { service: String, by: Vec<String> },
    /// A container under the service's name that dpl did not make: it stays as it is.
    NotOurs { service: String, container: String },
    /// A GPU that is not required is not there.
    WithoutGpu { service: String },
    /// Nobody has tried whether there is a GPU.
    GpuUnknown { service: String },
    /// The engine makes a folder that is to be mounted.
    SourceIsMade { service: String, path: String },
    /// An anonymous volume that neither the image nor the manifest declares any more: it stays on the engine.
    VolumeLeft { service: String, path: String, volume: String },
    /// An anonymous volume of a container that is removed: it stays on the engine, and the next container has an empty one.
    VolumeStays { service: String, path: String, volume: String },
    /// A volume of the manifest that is to be removed, and that dpl did not make: it stays.
    VolumeNotOurs { volume: String },
    /// A network of the manifest that is to be removed, and that dpl did not make: it stays.
    NetworkNotOurs { network: String },
    /// A network that was to be removed has a container in it that is not the project's.
    NetworkStays { network: String, container: String },
    /// A container that failed to replace another is still there.
    FailedKept { service: String, container: String },
    /// Ports and folders of the engine's host were not looked at.
    HostUnseen,
    /// Ports of this machine's engine were not looked at: it has a network of its own.
    PortsUnseen,
    /// The old container lives in a namespace of a container that is replaced as well: it can't run again.
    NoWayBack { service: String, provider: String },
    /// It would restart with another service, but could not start again: the service whose namespace it shares does not run.
    NotRestarted { service: String, with: String, provider: String },
    /// A network is recreated: the services in it are down meanwhile, and their old containers can't run again.
    NetworkRecreated { network: String, services: Vec<String> },
    /// Containers of the project were created from another folder, by another clone of the manifests.
    OtherFolder { folder: String },
    /// Whether its environment differs is not known.
    EnvironmentUnreadable { service: String, why: Message },
    /// A mounted file was put in the place of the one that the container has.
    FileReplaced { service: String, path: String, container: String },
    /// Another version of dpl wrote what a container was made from: changes of the manifest can't be seen.
    Incomparable { service: String, container: String },
    /// The engine's machine may not be able to run the image.
    OtherArchitecture { service: String, reference: Reference, image: String, machine: String },
}

impl Warning {
    /// The catalogue's sentence for it.
    pub fn message(&self) -> Message {
        match self {
            Self::StillNeeded { service, by } => {
                message!("services-warning-still-needed", service = service, by = Listed::of(by))
            }
            Self::NotOurs { service, container } => {
                message!("services-warning-not-ours", service = service, container = container)
            }
            Self::WithoutGpu { service } => message!("services-warning-without-gpu", service = service),
            Self::GpuUnknown { service } => message!("services-warning-gpu-unknown", service = service),
            Self::SourceIsMade { service, path } => {
                message!("services-warning-source-made", service = service, path = path)
            }
            Self::VolumeLeft { service, path, volume } => {
                message!("services-warning-volume-left", service = service, volume = volume, path = path)
            }
            Self::VolumeStays { service, path, volume } => {
                message!("services-warning-volume-stays", service = service, volume = volume, path = path)
            }
            Self::VolumeNotOurs { volume } => message!("services-warning-volume-not-ours", volume = volume),
            Self::NetworkNotOurs { network } => message!("services-warning-network-not-ours", network = network),
            Self::NetworkStays { network, container } => {
                message!("services-warning-network-stays", network = network, container = container)
            }
            Self::FailedKept { service, container } => {
                message!("services-warning-failed-kept", service = service, container = container)
            }
            Self::HostUnseen => message!("services-warning-host-unseen"),
            Self::PortsUnseen => message!("services-warning-ports-unseen"),
            Self::NoWayBack { service, provider } => {
                message!("services-warning-no-way-back", service = service, provider = provider)
            }
            Self::NotRestarted { service, with, provider } => {
                message!("services-warning-not-restarted", service = service, with = with, provider = provider)
            }
            Self::NetworkRecreated { network, services } => {
                let services = Listed::of(services);
                message!("services-warning-network-recreated", network = network, services = services)
            }
            Self::OtherFolder { folder } => message!("other-folder", folder = folder),
            Self::EnvironmentUnreadable { service, why } => {
                message!("services-warning-environment-unreadable", service = service, why = why)
            }
            Self::FileReplaced { service, path, container } => {
                message!("services-warning-file-replaced", service = service, path = path, container = container)
            }
            Self::Incomparable { service, container } => {
                message!("services-warning-incomparable", service = service, container = container)
            }
            Self::OtherArchitecture { service, reference, image, machine } => {
                message!(
                    "services-warning-other-architecture",
                    service = service,
                    reference = reference,
                    image = image,
                    machine = machine
                )
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&english(&self.message()))
    }
}
