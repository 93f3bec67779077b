//! A PostgreSQL server in a container, or one outside: the way in, its programs, and its disk.
//!
//! Knows nothing of dumps, and of no database but the one that it is asked about.

pub(super) mod any_bytes;
pub(super) mod client;
pub(super) mod command;
pub(super) mod connect;
pub(super) mod disk_space;
pub(super) mod guard;
pub(super) mod helper_route;
pub(super) mod idle_sessions;
pub(super) mod quoting;
pub(super) mod session;
