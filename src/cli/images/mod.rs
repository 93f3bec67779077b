//! `save`, `load` and `images …` as the operator sees them.

mod archives;
mod engine_leftovers;
mod housekeeping;
mod meant;
mod repair;
mod store;
mod transfer;

use super::arguments::{CompressionChoice, ImagesCommand};
use super::failure::Failure;
use super::session::{Project, Session};
use super::table;
use crate::images::Compression;
use crate::manifest::Reference;
use crate::report::Message;

pub use transfer::{Load, Save, found_in_store, load, save};

/// `dpl images …`.
pub fn run(command: &ImagesCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        ImagesCommand::List(arguments) => store::list(arguments, session),
        ImagesCommand::Verify(arguments) => store::verify_store(arguments, session),
        ImagesCommand::Repair(arguments) => repair::repair_store(arguments, session),
        ImagesCommand::Prune(arguments) => housekeeping::prune_store(arguments, session),
        ImagesCommand::Import(arguments) => archives::import_files(arguments, session),
        ImagesCommand::Export(arguments) => archives::export_images(arguments, session),
        ImagesCommand::Remove(arguments) => housekeeping::remove_images(arguments, session),
    }
}

/// What was chosen, or else what is usual.
fn compression(choice: Option<CompressionChoice>, usual: Compression) -> Compression {
    match choice {
        None => usual,
        Some(CompressionChoice::Zstd) => Compression::Zstd,
        Some(CompressionChoice::Gzip) => Compression::Gzip,
        Some(CompressionChoice::None) => Compression::None,
    }
}

/// The images of services, each once, by the number of the first service that has it.
fn references(services: &[String], project: &Project) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for service in services.iter().filter_map(|name| project.manifest().services.get(name)) {
        if !references.contains(&service.image) {
            references.push(service.image.clone());
        }
    }
    references
}

/// `3 of 12`.
fn some_of(some: u64, all: u64, session: &Session) -> String {
    session.output.catalogue.text(&message!("word-some-of", some = some, all = all))
}

/// A table, unless a document is printed instead.
fn print<const N: usize>(header: [Message; N], rows: Vec<Vec<String>>, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    session.output.data(&table::columns(&session.output.catalogue.words(header), rows))
}
