//! How large the files of a package are: `--split`, and what the disk takes that they go to.

use std::path::Path;

use super::pack::{MARK, PackArguments};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::fs::{Disk, FAT32_LARGEST, largest_file, refuses_name};
use crate::manifest::model::ByteSize;
use crate::packages::PackagesError;
use crate::report::{Message, Told as _};

/// The most bytes of a part.
pub fn part_bytes(arguments: &PackArguments, output: &Output) -> Result<Option<u64>, Failure> {
    let Some(text) = &arguments.split else { return Ok(None) };
    let wrong = |why: Message| Failure::usage(message!("usage-flag-value", flag = "--split", why = why));
    let ByteSize(bytes) = text.parse::<ByteSize>().map_err(|error| wrong(error.message()))?;
    // An operator who types 4g wants the largest parts that FAT32 takes: they have one byte less.
    if bytes == FAT32_LARGEST + 1 {
        output.say(&message!("pack-split-fat32", bytes = FAT32_LARGEST));
        return Ok(Some(FAT32_LARGEST));
    }
    if bytes > FAT32_LARGEST {
        output.say(&message!("pack-split-large", bytes = FAT32_LARGEST));
    }
    Ok(Some(bytes))
}

/// Whether the disk takes files of this name and of these sizes, and has room for them.
pub fn check_disk(output: &Path, (largest, all): (u64, u64), checks_space: bool) -> Result<(), PackagesError> {
    if refuses_name(output, MARK) {
        return Err(PackagesError::FileName { path: output.to_owned() });
    }
    if let Some(most) = largest_file(output).filter(|most| largest > *most) {
        return Err(PackagesError::FileTooLarge { path: output.to_owned(), bytes: largest, most });
    }
    match Disk::of(output).map(|disk| disk.free_bytes).filter(|free| checks_space && *free < all) {
        Some(free) => Err(PackagesError::NoSpace { folder: output.display().to_string(), needed: all, free }),
        None => Ok(()),
    }
}
