//! Files that must survive a pulled plug: durable writes, digests, names that are safe in a path.
//!
//! Owns the one way in which `dpl` replaces a file (beside it, synced, renamed, folder synced). Knows nothing of
//! what the files mean.

mod digest;
mod durable;
mod names;

pub use digest::{Digest, Hasher, HashingReader, HashingWriter, InvalidDigest, hash_file};
pub use durable::{DurableFile, Mode, create_dir_durably, sync_dir, write_durably};
pub use names::escape;
