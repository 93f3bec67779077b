//! What a store holds; changes nothing.

use std::collections::HashMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::Engine;
use crate::fs::Digest;
use crate::images::error::{ImagesError, in_one_line};
use crate::images::formats::documents::{Descriptor, SAVED_AT, foreign_name};
use crate::images::formats::platform::Platform;
use crate::images::identity::Identity;
use crate::images::pipes::blocking;
use crate::images::store::archives::{ArchiveFolder, OldArchive};
use crate::images::store::layout::{BLOBS, Layout, StoredImage, why_absent};
use crate::images::store::name_records::lost_names;
use crate::report::{Message, Reporter};

/// What `dpl images list` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ImageList {
    /// The store's folder.
    pub store: String,
    /// In the order of the store's index.
    pub images: Vec<ListedImage>,
    /// Archives in the store's folder and in folders below it, newest first.
    pub archives: Vec<ListedArchive>,
    /// References whose images are in the store and that its index does not name any more; `dpl images repair` restores
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}

/// An archive beside the store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListedArchive {
    /// Below the store's folder.
    pub file: String,
    pub size_bytes: u64,
    pub images: Vec<ListedArchiveImage>,
    /// Why it, or an image in it, can't be used; null where all can.
    pub problem: Option<Message>,
}

/// An image in an archive, under one of its references.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListedArchiveImage {
    pub reference: String,
    /// The digest of the image's configuration.
    pub image_id: String,
    pub layers: u64,
    /// Whether the store has this very image under the reference.
    pub in_store: bool,
}

/// An image of the store, under one of its references.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListedImage {
    pub reference: String,
    /// The digest of the image's configuration; null where its documents can't be read.
    pub image_id: Option<String>,
    pub layers: u64,
    /// Bytes that all of it takes in the store.
    pub size_bytes: u64,
    /// Bytes that no other reference of the store needs: what removing this one would free.
    pub own_bytes: u64,
    /// When it was saved, RFC 3339; null for what another program wrote.
    pub saved_at: Option<String>,
    /// Whether the reference names this image in the engine; null where no engine answered.
    pub in_engine: Option<bool>,
    /// The services of the manifest that use the reference, by number.
    pub services: Vec<String>,
    /// Set where it is not an image that an engine runs here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OtherKind>,
}

/// What an entry of the store is that no load can bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OtherKind {
    /// A chart, a signature or the like, which other programs put there.
    NotAnImage,
    /// An image for other platforms only.
    OtherPlatform,
    /// Its documents can't be read.
    Damaged,
}

/// Lists the store's images. `services` gives the services of each reference with its tag; without an engine it
/// stays unknown whether the engine has them.
///
/// # Errors
/// A store that can't be read, and a link that leads nowhere; one that is not there is empty.
pub async fn list_images(
    engine: Option<&Engine>,
    images_dir: &Path,
    services: &HashMap<String, Vec<String>>,
    reporter: &Reporter,
) -> Result<ImageList, ImagesError> {
    let (folder, reporter) = (images_dir.to_owned(), reporter.clone());
    let platform = match engine {
        Some(engine) => Platform::of_engine(engine.facts().await?),
        None => Platform::host(),
    };
    let (layout, listed, archives, lost) = blocking(move || {
        // That of a disk that is not mounted is not empty.
        if let Some(why) = why_absent(&folder).filter(|_| folder.is_symlink()) {
            return Err(ImagesError::NotAStore { folder, why });
        }
        let layout = Layout::open_for(&folder, &platform)?;
        let archives = list_archives(&folder, &platform, layout.as_ref(), &reporter)?;
        let listed = layout.as_ref().map(read_all).unwrap_or_default();
        let lost = layout.as_ref().map(lost_names).transpose()?.unwrap_or_default();
        let lost: Vec<String> = lost.into_iter().map(|record| record.name).collect();
        Ok::<_, ImagesError>((layout, listed, archives, lost))
    })
    .await?;
    let mut images = Vec::new();
    for (mut image, entry) in listed {
        if let (Some(engine), Some(layout), Some(entry)) = (engine, &layout, entry) {
            let view = engine.inspect_image(&image.reference).await?;
            let store = engine.image_store().await?;
            // Read again, so that the documents of all images are never held at once.
            let stored = layout.read_image(&entry).ok();
            let is_it = |view| stored.as_ref().is_some_and(|stored| Identity::of_stored(stored).is(store, view));
            image.in_engine = Some(view.as_ref().is_some_and(is_it));
        }
        image.services = services.get(&image.reference).cloned().unwrap_or_default();
        images.push(image);
    }
    Ok(ImageList { store: images_dir.display().to_string(), images, archives, lost })
}

/// How many bytes lie among the blobs of a store whose index names no image: what a save that did not finish left there.
pub fn unnamed_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder.join(BLOBS)).into_iter().flatten().flatten();
    let files = files.filter_map(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file);
    files.map(|file| file.len()).sum()
}

fn list_archives(
    folder: &Path,
    platform: &Platform,
    layout: Option<&Layout>,
    reporter: &Reporter,
) -> Result<Vec<ListedArchive>, ImagesError> {
    let mut archives = ArchiveFolder::open(folder)?.with_reporter(reporter).for_platform(platform);
    let mut listed = Vec::new();
    for (path, read) in archives.read_all() {
        let size_bytes = std::fs::metadata(&path).map(|file| file.len()).unwrap_or_default();
        let file = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        let (images, problem) = match read {
            Ok(archive) => {
                let problem = archive.damaged.first().map(|damaged| damaged.why.clone());
                (archive_images(&archive, layout), problem)
            }
            Err(error @ ImagesError::Interrupted { .. }) => return Err(error),
            Err(error) => (Vec::new(), Some(in_one_line(&error))),
        };
        listed.push(ListedArchive { file, size_bytes, images, problem });
    }
    archives.remember();
    Ok(listed)
}

fn archive_images(archive: &OldArchive, layout: Option<&Layout>) -> Vec<ListedArchiveImage> {
    let mut images = Vec::new();
    for name in archive.references() {
        let Some(image) = archive.image(&name) else {
            continue;
        };
        let stored = name.parse().ok().zip(layout).and_then(|(name, layout)| layout.image(&name).ok().flatten());
        images.push(ListedArchiveImage {
            image_id: image.config_digest.to_string(),
            layers: image.layers.len() as u64,
            in_store: stored.is_some_and(|stored| stored.config_digest == image.config_digest),
            reference: name,
        });
    }
    images
}

/// What there is to say of each entry of the index, and the entry where it leads to an image. Each image is read twice:
/// thousands of names may lead to documents of megabytes.
fn read_all(layout: &Layout) -> Vec<(ListedImage, Option<Descriptor>)> {
    // How many entries need a blob: what removing one of two names of an image frees is nothing.
    let mut needs: HashMap<Digest, usize> = HashMap::new();
    for image in layout.images() {
        for blob in blobs(&image).into_keys() {
            *needs.entry(blob).or_default() += 1;
        }
    }
    let list = |(entry, name): (&Descriptor, Option<String>)| {
        let (image, kind) = match layout.read_image(entry) {
            Ok(image) => (Some(image), None),
            Err(ImagesError::OtherKind { .. }) => (None, Some(OtherKind::NotAnImage)),
            Err(ImagesError::NoPlatform { .. }) => (None, Some(OtherKind::OtherPlatform)),
            Err(_) => (None, Some(OtherKind::Damaged)),
        };
        let own = |image: &StoredImage| {
            let own = blobs(image).into_iter().filter(|(blob, _)| needs.get(blob).is_none_or(|count| *count == 1));
            own.map(|(_, bytes)| bytes).sum()
        };
        let listed = ListedImage {
            reference: name.unwrap_or_else(|| entry.shown_name()),
            image_id: image.as_ref().map(|image| image.config_digest.to_string()),
            layers: image.as_ref().map_or(0, |image| image.layers.len() as u64),
            size_bytes: image.as_ref().map_or(0, StoredImage::total_bytes),
            own_bytes: image.as_ref().map_or(0, own),
            saved_at: entry.annotation(SAVED_AT).map(str::to_owned),
            in_engine: None,
            services: Vec::new(),
            kind,
        };
        (listed, image.map(|_| entry.clone()))
    };
    let foreign = layout.index.foreign.iter().map(|entry| ListedImage {
        reference: foreign_name(entry),
        image_id: None,
        layers: 0,
        size_bytes: 0,
        own_bytes: 0,
        saved_at: None,
        in_engine: None,
        services: Vec::new(),
        kind: Some(OtherKind::NotAnImage),
    });
    layout.named_entries().map(list).chain(foreign.map(|listed| (listed, None))).collect()
}

/// Each blob of an image with its size.
fn blobs(image: &StoredImage) -> HashMap<Digest, u64> {
    let layers = image.layers.iter().map(|layer| (layer.blob.clone(), layer.size_bytes));
    let documents = [
        (image.manifest.digest.clone(), image.manifest.size),
        (image.config_digest.clone(), image.config_bytes.len() as u64),
    ];
    layers.chain(documents).collect()
}
