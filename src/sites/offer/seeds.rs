//! The seeds of databases.

use std::io;
use std::path::PathBuf;

use super::{SeedSource, Sources};
use crate::manifest::Manifest;
use crate::sites::plan::{Offer, OfferedSeed};
use crate::sites::seed_files;

/// Offers the seeds that are here. Blocking: all of them are read.
///
/// # Errors
/// A seed that can't be read.
pub fn offer_seeds(
    manifest: &Manifest,
    (offer, sources): (&mut Offer, &mut Sources),
) -> Result<(), (PathBuf, io::Error)> {
    for (_, database, definition) in manifest.databases.iter() {
        let Some(path) = &definition.seed else { continue };
        let Some(files) = seed_files::list(path).map_err(|error| (path.clone(), error))? else { continue };
        offer.seeds.push(OfferedSeed {
            database: database.to_owned(),
            digest: seed_files::digest(&files),
            bytes: files.iter().map(|file| file.bytes).sum(),
        });
        sources.seeds.insert(database.to_owned(), SeedSource { path: path.clone(), files });
    }
    Ok(())
}
