//! The document of a release. The images' blobs stay in the store for it, the files of the manifest are kept beside it; seeds, which
//! can be large, are known by their digests alone.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::Digest;
use crate::images::{self, KeptFile, NeededBlob, OutgoingImage, is_release_name};
use crate::packages::PackagesError;
use crate::packages::contents::{ContentFile, ContentSeed, seeds_of};
use crate::sites::{LeftOutFile, Offer, Sources};
use crate::state::Operator;

/// What a project consists of at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The format of this document: 1.
    pub format: u32,
    pub name: String,
    pub project: String,
    /// When it was made (RFC 3339, UTC); packages of it bear this time.
    pub created: String,
    /// Who made it, as `user@host`.
    pub by: String,
    /// dpl's version.
    pub dpl: String,
    /// The architecture of its images.
    pub architecture: String,
    /// The manifest, relative to the project's folder.
    pub manifest: String,
    pub images: Vec<OutgoingImage>,
    pub files: Vec<ContentFile>,
    pub seeds: Vec<ContentSeed>,
    /// Files that the manifest reads and that are not part of it.
    pub left_out: Vec<LeftOutFile>,
}

/// What becomes a release.
pub struct NewRelease<'a> {
    pub name: &'a str,
    pub project: &'a str,
    pub architecture: &'a str,
    /// The manifest, relative to the project's folder.
    pub manifest: &'a str,
    pub offer: &'a Offer,
    pub sources: &'a Sources,
}

const FORMAT: u32 = 1;

impl NewRelease<'_> {
    /// As it would be written now.
    pub fn document(&self) -> Release {
        let operator = Operator::of_process();
        Release {
            format: FORMAT,
            name: self.name.to_owned(),
            project: self.project.to_owned(),
            created: jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string(),
            by: format!("{}@{}", operator.user, operator.host),
            dpl: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: self.architecture.to_owned(),
            manifest: self.manifest.to_owned(),
            images: self.offer.images.clone(),
            files: self.offer.files.iter().map(ContentFile::from).collect(),
            seeds: seeds_of(self.offer, self.sources),
            left_out: self.offer.left_out.clone(),
        }
    }
}

impl Release {
    /// The bytes of its images in the store, each blob once.
    pub fn image_bytes(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        self.blobs().filter(|blob| seen.insert(blob.digest)).map(|blob| blob.bytes).sum()
    }

    /// The blobs of its images.
    fn blobs(&self) -> impl Iterator<Item = NeededBlob<'_>> {
        self.images.iter().flat_map(|image| {
            let documents = [&image.config, &image.manifest].map(|document| (&document.digest, document.bytes));
            let layers = image.layers.iter().map(|layer| (&layer.blob, layer.bytes));
            let reference = image.reference.as_str();
            documents.into_iter().chain(layers).map(move |(digest, bytes)| NeededBlob { digest, bytes, reference })
        })
    }
}

/// Whether a release can have this name.
///
/// # Errors
/// It can't.
pub(in crate::packages) fn check_name(name: &str) -> Result<(), PackagesError> {
    match is_release_name(name) {
        true => Ok(()),
        false => Err(PackagesError::ReleaseName { name: name.chars().take(100).collect() }),
    }
}

/// Writes a release into the store. Blocking.
///
/// # Errors
/// There is one of that name; something that belongs to it is not there, or was changed meanwhile.
pub fn create(store: &Path, new: &NewRelease<'_>) -> Result<Release, PackagesError> {
    check_name(new.name)?;
    let release = new.document();
    // A layer of which the store has only a note, or a part, is none: all are looked for under the lock.
    let blobs: Vec<NeededBlob<'_>> = release.blobs().collect();
    let mut files: Vec<(&Digest, &Path)> = Vec::new();
    for file in &release.files {
        if let Some(source) = new.sources.files.get(&file.path)
            && !files.iter().any(|(digest, _)| **digest == file.digest)
        {
            files.push((&file.digest, source));
        }
    }
    let files: Vec<KeptFile<'_>> = files.into_iter().map(|(digest, source)| KeptFile { digest, source }).collect();
    images::write_release(store, new.name, &blobs, &files, &release)?;
    Ok(release)
}

/// The releases of a store, the oldest first. Blocking.
///
/// # Errors
/// A store or a release that can't be read.
pub fn list(store: &Path) -> Result<Vec<Release>, PackagesError> {
    let names = images::release_names(store)?;
    let read = names.iter().map(|name| images::read_release::<Release>(store, name));
    let mut releases: Vec<Release> = read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    releases.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    Ok(releases)
}

/// A release by its name. Blocking.
///
/// # Errors
/// There is none of that name; it can't be read.
pub fn read(store: &Path, name: &str) -> Result<Release, PackagesError> {
    check_name(name)?;
    match images::read_release(store, name)? {
        Some(release) => Ok(release),
        None => Err(PackagesError::NoRelease { name: name.to_owned(), known: images::release_names(store)? }),
    }
}
