//! Bytes to values and back: the documents of images, tar archives, compression. Knows no folder and no engine.

pub mod archive_writer;
pub mod compression;
pub mod documents;
pub mod gzip;
pub mod image_archive;
pub mod platform;
pub mod tar_reader;
pub mod unpack_limit;

use crate::catalogue::told;

told!(
    image_archive::ArchiveError,
    documents::DocumentError,
    tar_reader::TarError,
    platform::NoPlatform,
    platform::InvalidPlatform;
    crate::fs::as_told
);
