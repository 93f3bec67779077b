//! The Docker Engine in our words: connecting, what it can do, and each call that `dpl` makes.
//!
//! The only room that knows bollard and the shapes of the Engine API. Status codes become meanings
//! ([`EngineErrorKind`]) here; deciding what to call, and in which order, is for the rooms above.

mod address;
mod connect;
mod containers;
mod error;
mod exec;
mod facts;
mod hold;
mod images;
mod logs;
mod networks;
mod spec;
mod volumes;

pub use address::{Address, AddressError};
pub use connect::Engine;
pub use containers::{
    ContainerState, ContainerSummary, ContainerView, EnvironmentView, HealthEntry, HealthState, LimitsView, MountView,
};
pub use error::{EngineError, EngineErrorKind};
pub use exec::{ExecOutput, ExecResult, ExecSession, ExecSpec};
pub use facts::{EngineFacts, ImageStore, LimitSupport};
pub use hold::ContainerHold;
pub use images::{ImageView, LoadProgress};
pub use logs::{LogLine, LogQuery, LogSource};
pub use networks::{AddressPool, NetworkSpec, NetworkView};
pub use spec::{
    BindPropagation, ContainerSpec, Device, GpuRequest, HealthSpec, LogSpec, MountKind, MountSpec, NetworkAttachment,
    PublishedPort, RestartPolicy, Ulimit,
};
pub use volumes::{VolumeSpec, VolumeView};
