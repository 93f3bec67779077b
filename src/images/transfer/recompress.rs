//! The images of a store under another compression, in a store of their own: for those who can't read what the store uses.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::outgoing::{OutgoingImage, outgoing_images};
use crate::fs::{Digest, HashingReader};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::compression::{CompressionOptions, PlainReader};
use crate::images::formats::documents::Descriptor;
use crate::images::formats::platform::Platform;
use crate::images::store::layer_writer::{LayerWriteError, LayerWriter};
use crate::images::store::layout::{Layout, StoredLayer};
use crate::images::store::writer::{KnownLayers, NewName, StoreWriter};
use crate::manifest::Reference;

/// Writes the images into the store `into`, their layers compressed as `options` say; gives them as they are there. Each layer is
/// compared with its digests. Blocking.
///
/// # Errors
/// A store that can't be read or written; an image that is damaged.
pub fn recompress(
    (from, into): (&Path, &Path),
    (architecture, images): (&str, &[OutgoingImage]),
    options: CompressionOptions,
) -> Result<Vec<OutgoingImage>, ImagesError> {
    let platform = Platform::linux(architecture);
    let unread = |source| ImagesError::file(message!("verb-read"), from, source);
    let layout = Layout::open_for(from, &platform)?.ok_or_else(|| unread(io::ErrorKind::NotFound.into()))?;
    let mut writer = StoreWriter::open_for(into, &platform)?;
    let layers = LayerWriter::new(into, options, KnownLayers::default());
    let mut written: HashMap<Digest, StoredLayer> = HashMap::new();
    let (mut names, mut references) = (Vec::new(), Vec::new());
    for image in images {
        let mut own = Vec::new();
        for layer in &image.layers {
            let layer = match written.get(&layer.diff_id) {
                Some(known) => known.clone(),
                None => one(&layout, &layers, (&layer.stored(), &image.reference))?,
            };
            written.insert(layer.diff_id.clone(), layer.clone());
            own.push(layer);
        }
        let config = Descriptor::new(&image.config.media_type, image.config.digest.clone(), image.config.bytes);
        let config = layout.document(&config, &image.reference)?;
        let manifest = writer.add_image(&config, &own)?.manifest;
        let wrong = |_| ImagesError::NoTag { reference: image.reference.clone(), digest: String::new() };
        let reference: Reference = image.reference.parse().map_err(wrong)?;
        references.push(reference.clone());
        names.push(NewName { reference, manifest, engine_ids: image.engine_ids.clone() });
    }
    writer.name_images_for(None, &names, &[])?;
    drop(writer);
    Ok(outgoing_images(Some(into), architecture, &references)?.images)
}

fn one(layout: &Layout, layers: &LayerWriter, (layer, name): (&StoredLayer, &str)) -> Result<StoredLayer, ImagesError> {
    let path = layout.blob_path(&layer.blob);
    let damaged = |why| ImagesError::DamagedBlob { reference: name.to_owned(), path: path.clone(), why };
    let (file, compression) = layout.open_layer(layer, name)?;
    let mut packed = HashingReader::new(file);
    let plain = PlainReader::new(&mut packed, compression);
    let mut plain = plain.map_err(|source| ImagesError::file(message!("verb-read"), &path, source))?;
    let size = layer.uncompressed_bytes.unwrap_or(layer.size_bytes);
    let taken = layers.take(&mut plain, size, Some(&layer.diff_id)).and_then(|pending| pending.finish());
    drop(plain);
    // A decoder stops where its format ends.
    io::copy(&mut packed, &mut io::sink()).map_err(|source| ImagesError::file(message!("verb-read"), &path, source))?;
    match taken {
        Ok(_) if packed.finish().1 != layer.blob => Err(damaged(BlobDamage::WrongDigest)),
        Ok(taken) => Ok(taken.layer),
        Err(LayerWriteError::WrongDigest) => Err(damaged(BlobDamage::WrongDiffId { expected: layer.diff_id.clone() })),
        Err(LayerWriteError::Undecodable(source)) => Err(damaged(BlobDamage::Undecodable(source.to_string()))),
        Err(LayerWriteError::Bomb) => Err(damaged(BlobDamage::WrongDigest)),
        Err(LayerWriteError::Source(source)) => Err(ImagesError::file(message!("verb-read"), &path, source)),
        Err(LayerWriteError::Store { path, source }) => Err(ImagesError::file(message!("verb-write"), &path, source)),
    }
}
