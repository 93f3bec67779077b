//! What a service is as a container: its spec for the engine, its labels, the fingerprint that tells drift, its
//! environment. Pure: knows neither what runs nor what is planned.

pub(in crate::services) mod environment;
pub(in crate::services) mod fingerprint;
pub(in crate::services) mod labels;
pub(in crate::services) mod log_lines;
pub(in crate::services) mod ports;
pub(in crate::services) mod spec;
