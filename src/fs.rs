//! Files that must survive a pulled plug: durable writes, outputs, digests, names that are safe in a path.
//!
//! Owns the one way in which `dpl` replaces a file (beside it, synced, renamed, folder synced), and what is done where the
//! user says where to write and that is not a regular file. Knows nothing of what the files mean.

mod digest;
mod durable;
mod names;
mod output;

pub use digest::{Digest, Hasher, HashingReader, HashingWriter, InvalidDigest, hash_file};
pub use durable::{DurableFile, Mode, create_dir_durably, sync_dir, write_durably};
pub use names::escape;
pub use output::{Output, OutputOptions, OutputTarget, StreamKind, follow_links, write_output};
