//! Files that must survive a pulled plug: durable writes, outputs, digests, names that are safe in a path.
//!
//! Owns the one way in which `dpl` replaces a file (beside it, synced, renamed, folder synced), and what is done where the
//! user says where to write and that is not a regular file. Knows nothing of what the files mean.

mod attached;
mod digest;
mod disk;
mod durable;
mod names;
mod output;
mod regular;

pub use attached::{Attached, TRAILER_BYTES, make_runnable, open_program};
pub use digest::{Digest, Hasher, HashingReader, HashingWriter, InvalidDigest, as_told, hash_file};
pub use disk::{Disk, FAT32_LARGEST, largest_file, refuses_name};
pub use durable::{
    DurableFile, Mode, TEMPORARY_MARK, create_dir_durably, set_mode, sync_dir, write_durably, write_durably_alone,
    write_new_durably,
};
pub use names::{escape, serialize_shown};
pub use output::{Output, OutputOptions, OutputTarget, StreamKind, follow_links, write_output};
pub use regular::open_regular;

use rustix::io::Errno;

use crate::report::Message;

/// What to do where a file system knows no locks.
pub fn lock_hint(error: &std::io::Error) -> Option<Message> {
    (Errno::from_io_error(error) == Some(Errno::NOLCK)).then(|| message!("hint-no-locks"))
}
