//! A PostgreSQL server in a container, or one outside: the way in, its programs, and its disk.
//!
//! Knows nothing of dumps, and of no database but the one that it is asked about.

pub(super) mod connect;
pub(super) mod psql;
pub(super) mod room;
pub(super) mod sql;
