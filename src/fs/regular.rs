//! Opening what has to be a regular file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::catalogue::io_error;

/// Opens a file for reading that is a regular one: a pipe that lies under its name would be waited for without end.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io_error(io::ErrorKind::Other, message!("error-not-regular")))
    }
}
