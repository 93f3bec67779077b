//! The Docker Engine in our words: connecting, what it can do, and each call that `dpl` makes.
//!
//! `client` is the connected engine; `transport` opens the streams to it; `limits` decides how long a call may take;
//! `api` has the calls; `lock` keeps two operators from changing one engine at a time. This is the only module that knows
//! bollard and the shapes of the Engine API. Status codes become meanings ([`EngineErrorKind`]) here; what to call, and in
//! which order, is decided by the modules above.

mod address;
mod api;
mod architecture;
mod client;
mod error;
mod facts;
mod limits;
mod lock;
mod network_namespace;
mod transport;
mod words;

pub use address::{Address, AddressError};
pub use api::attach::ContainerHold;
pub use api::events::ContainerEvent;
pub use api::exec::{ExecEnd, ExecOutput, ExecResult, ExecSession, ExecSpec, TerminalSize};
pub use api::images::{HealthTimes, ImageListing, ImageView, LoadProgress, run_config};
pub use api::logs::{LogLine, LogQuery, LogSource};
pub use api::networks::{AddressPool, NetworkSpec, NetworkView};
pub use api::spec::{
    BindPropagation, ContainerSpec, Device, GpuRequest, HealthSpec, LogSpec, MountKind, MountSpec, NetworkAttachment,
    PublishedPort, RestartPolicy, Ulimit,
};
pub use api::stats::ContainerUsage;
pub use api::views::{
    ContainerState, ContainerSummary, ContainerView, EnvironmentView, HealthEntry, HealthState, LimitsView, MountView,
};
pub use api::volumes::{VolumeSpec, VolumeView};
pub use architecture::{image_architecture, runs_natively};
pub use client::Engine;
pub use error::{EngineError, EngineErrorKind, as_told};
pub use facts::{ApiVersion, EngineFacts, ImageStore, LimitSupport};
pub use limits::stall::StallLimits;
pub use lock::{LockNews, LockRequest, LockTiming, LockView};
