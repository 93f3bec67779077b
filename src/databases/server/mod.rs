//! A PostgreSQL server in a container, or one outside: the way in, its programs, and its disk.
//!
//! Knows nothing of dumps, and of no database but the one that it is asked about.

pub(super) mod client;
pub(super) mod connect;
pub(super) mod disk_space;
pub(super) mod home_session;
pub(super) mod quoting;
pub(super) mod way;
