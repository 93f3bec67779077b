//! A dump on disk: its folder's name, the `backup.json` beside the archive, what is known of its verification, and what the
//! archive lists. Never talks to a server.

pub(super) mod contents;
pub(super) mod header;
pub(super) mod large_object_files;
pub(super) mod names;
pub(super) mod owners;
pub(super) mod record;
pub(super) mod script;
pub(super) mod staging;
pub(super) mod tar_stream;
pub(super) mod verification;
