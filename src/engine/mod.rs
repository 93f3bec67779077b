//! The Docker Engine in our words: connecting, what it can do, and each call that `dpl` makes.
//!
//! The only room that knows bollard and the shapes of the Engine API. Status codes become meanings
//! ([`EngineErrorKind`]) here; deciding what to call, and in which order, is for the rooms above.

mod address;
mod archive;
mod calls;
mod connect;
mod containers;
mod error;
mod events;
mod exec;
mod facts;
mod hold;
mod images;
mod lock;
mod logs;
mod networks;
mod place;
mod spec;
mod ssh;
mod stats;
mod views;
mod volumes;
mod watchdog;
mod wire;

pub use address::{Address, AddressError};
pub use connect::Engine;
pub use error::{EngineError, EngineErrorKind};
pub use events::ContainerEvent;
pub use exec::{ExecEnd, ExecOutput, ExecResult, ExecSession, ExecSpec, TerminalSize};
pub use facts::{ApiVersion, EngineFacts, ImageStore, LimitSupport};
pub use hold::ContainerHold;
pub use images::{ImageListing, ImageView, LoadProgress, run_config};
pub use lock::{LockNews, LockRequest, LockTiming, LockView};
pub use logs::{LogLine, LogQuery, LogSource};
pub use networks::{AddressPool, NetworkSpec, NetworkView};
pub use spec::{
    BindPropagation, ContainerSpec, Device, GpuRequest, HealthSpec, LogSpec, MountKind, MountSpec, NetworkAttachment,
    PublishedPort, RestartPolicy, Ulimit,
};
pub use stats::ContainerUsage;
pub use views::{
    ContainerState, ContainerSummary, ContainerView, EnvironmentView, HealthEntry, HealthState, LimitsView, MountView,
};
pub use volumes::{VolumeSpec, VolumeView};
pub use watchdog::StallLimits;
