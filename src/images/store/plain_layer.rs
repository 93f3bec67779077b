//! A layer as the tar that it is uncompressed, in a file without a name, which is gone when nobody holds it any more.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::fs::{Digest, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::store::layer_check::{LayerOf, pass_on};
use crate::images::store::layout::OWN_FOLDER;

/// A layer's tar, which has its diff ID.
#[derive(Debug)]
pub struct PlainLayer {
    pub diff_id: Digest,
    pub bytes: u64,
    pub file: File,
}

/// A file without a name on the disk of a store.
///
/// # Errors
/// The store's own folder can't be written to.
pub fn nameless_file(store: &Path) -> Result<File, ImagesError> {
    let folder = store.join(OWN_FOLDER);
    let made = create_dir_durably(&folder).and_then(|()| tempfile::tempfile_in(&folder));
    made.map_err(|source| ImagesError::file(message!("verb-write-to"), &folder, source))
}

impl PlainLayer {
    /// Decompresses a layer of a store beside it, and compares its digests on the way. `goes_on` is asked for each piece.
    ///
    /// # Errors
    /// The layer is damaged; there is no room for it.
    pub(in crate::images) fn of_store(of: LayerOf<'_>, goes_on: &mut dyn FnMut() -> bool) -> Result<Self, ImagesError> {
        let folder = of.layout.folder();
        let mut file = nameless_file(folder)?;
        let bytes = pass_on(of, |piece| match goes_on() {
            true => file
                .write_all(piece)
                .map_err(|source| ImagesError::file(message!("verb-write-to"), &folder.join(OWN_FOLDER), source)),
            false => Err(ImagesError::Stopped),
        })?;
        Ok(Self { diff_id: of.layer.diff_id.clone(), bytes, file })
    }
}
