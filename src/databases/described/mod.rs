//! What a database is, read from a server as data and written back as SQL of ours: tables with their rows, properties, roles.

pub(super) mod inventory;
pub(super) mod properties;
pub(super) mod roles;
