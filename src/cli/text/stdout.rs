//! Standard output, as far as data goes there: one that can't be written is an error.
//!
//! The standard library takes "bad file descriptor" for success there. And its start opens `/dev/null` in place of a standard
//! stream that was closed (`>&-`), so that everything succeeds and nothing arrives. Such a `/dev/null` looks like the one that
//! other programs give to their children (Python's and Node's is open for both directions, too), so that only a look before
//! that start tells (`main.rs`).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, fcntl_getfd};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks whether standard output is closed; to be called before the standard library's start.
pub fn look_before_start() {
    WAS_CLOSED.store(fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
}

/// Whether what is written there can arrive.
///
/// # Errors
/// It was closed when the program began, or is open for reading alone.
pub fn check() -> io::Result<()> {
    let is_for_reading = |flags: OFlags| flags & OFlags::ACCMODE == OFlags::RDONLY;
    match WAS_CLOSED.load(Ordering::Relaxed) || fcntl_getfl(rustix::stdio::stdout()).is_ok_and(is_for_reading) {
        true => Err(Errno::BADF.into()),
        false => Ok(()),
    }
}
