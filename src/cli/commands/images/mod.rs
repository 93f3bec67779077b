//! `save`, `load` and `images …` as the operator sees them.

mod archives;
mod chosen;
mod compression;
mod disks;
mod engine_leftovers;
mod housekeeping;
mod meant;
mod repair;
mod shown;
mod store;
mod transfer;

use clap::Subcommand;

use self::archives::{ExportArguments, ImportArguments};
use self::housekeeping::{PruneArguments, RemoveImagesArguments};
use self::store::VerifyArguments;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

pub(super) use compression::CompressionChoice;
pub use transfer::{Load, LoadArguments, Save, SaveArguments, load, load_of, save};

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// List the images in the store, which of them the engine has, and which services use them
    List(ManifestArguments),
    /// Compare everything in the store with its digests; exit code 1 when something is damaged
    Verify(VerifyArguments),
    /// Restore image names that the store's index has lost, for example after another store was copied over it;
    /// exit code 1 when an image stays incomplete
    Repair(ManifestArguments),
    /// Remove images that no manifest of the project names any more
    Prune(PruneArguments),
    /// Import archives (.tar, .tar.gz, .tar.zst, .tar.xz, .tar.bz2) and OCI layouts into the store
    Import(ImportArguments),
    /// Export images as one archive that `docker load` reads
    Export(ExportArguments),
    /// Remove image names from the store
    Remove(RemoveImagesArguments),
}

/// `dpl images …`.
pub fn run(command: &ImagesCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        ImagesCommand::List(arguments) => store::list(arguments, session),
        ImagesCommand::Verify(arguments) => store::verify_store(arguments, session),
        ImagesCommand::Repair(arguments) => repair::repair_store(arguments, session),
        ImagesCommand::Prune(arguments) if arguments.engine => engine_leftovers::prune(arguments, session),
        ImagesCommand::Prune(arguments) => housekeeping::prune_store(arguments, session),
        ImagesCommand::Import(arguments) => archives::import_files(arguments, session),
        ImagesCommand::Export(arguments) => archives::export_images(arguments, session),
        ImagesCommand::Remove(arguments) => housekeeping::remove_images(arguments, session),
    }
}
