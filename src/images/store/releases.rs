//! Releases in a store: documents that name images by digest, each in a folder of its own inside the store's own folder. What they
//! lead to stays in the store, whatever the index names.
//!
//! What else a document says belongs to its writer; here it is a document with `images`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failpoint;
use crate::fs::{Digest, DurableFile, HashingReader, Mode, create_dir_durably, open_regular, sync_dir};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::documents::Descriptor;
use crate::images::store::layout::{OWN_FOLDER, blob_path};
use crate::images::store::lock::StoreLock;
use crate::images::store::sidecar::{read_sidecar, write_sidecar};

const RELEASES: &str = "releases";
const DOCUMENT: &str = "release.json";
const FILES: &str = "files";
/// What the name of a folder begins with that is no release yet, or none any more.
const UNFINISHED: &str = ".";
const LONGEST_NAME: usize = 64;

/// A blob that a release needs.
pub struct NeededBlob<'a> {
    pub digest: &'a Digest,
    pub bytes: u64,
    /// Of which image.
    pub reference: &'a str,
}

/// A file whose content is kept with a release.
pub struct KeptFile<'a> {
    pub digest: &'a Digest,
    pub source: &'a Path,
}

/// As much of a release's document as the store has to understand.
#[derive(Deserialize)]
struct WithImages {
    images: Vec<WithManifest>,
}

#[derive(Deserialize)]
struct WithManifest {
    manifest: ManifestBlob,
}

#[derive(Deserialize)]
struct ManifestBlob {
    digest: Digest,
    bytes: u64,
    media_type: String,
}

/// Whether a release may have this name, which becomes a folder's.
pub fn is_release_name(name: &str) -> bool {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.' | b'+');
    let begins = name.bytes().next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    begins && name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

/// The folder of a release; its name is one by [`is_release_name`].
fn release_folder(store: &Path, name: &str) -> PathBuf {
    store.join(OWN_FOLDER).join(RELEASES).join(name)
}

/// The content of a file that is kept with a release.
pub fn release_file(store: &Path, name: &str, digest: &Digest) -> PathBuf {
    release_folder(store, name).join(FILES).join(digest.hex())
}

/// The signature of a package of a release, whose index has this digest: it is made once, so that the package is the same
/// bytes whenever it is made.
pub fn release_signature(store: &Path, name: &str, index: &Digest) -> PathBuf {
    release_folder(store, name).join("signatures").join(format!("{}.minisig", index.hex()))
}

/// The names of the releases, in their order.
///
/// # Errors
/// A folder that can't be read.
pub fn release_names(store: &Path) -> Result<Vec<String>, ImagesError> {
    let folder = store.join(OWN_FOLDER).join(RELEASES);
    let failed = |source| ImagesError::file(message!("verb-list"), &folder, source);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().ok();
        names.extend(name.filter(|name| is_release_name(name) && entry.path().is_dir()));
    }
    names.sort();
    Ok(names)
}

/// The document of a release; `None` where there is no such release.
///
/// # Errors
/// A document that is damaged, or that is not one of these.
pub fn read_release<T: DeserializeOwned>(store: &Path, name: &str) -> Result<Option<T>, ImagesError> {
    let folder = release_folder(store, name);
    if !is_release_name(name) || !folder.is_dir() {
        return Ok(None);
    }
    match read_sidecar(&folder.join(DOCUMENT)) {
        Some(document) => Ok(Some(document)),
        None => Err(ImagesError::DamagedRelease { name: name.to_owned(), path: folder.join(DOCUMENT) }),
    }
}

/// The manifests of all images that releases name.
///
/// # Errors
/// A release that can't be read: what it needs is not guessed.
pub(in crate::images) fn needed_by_releases(store: &Path) -> Result<Vec<Descriptor>, ImagesError> {
    let mut needed = Vec::new();
    for name in release_names(store)? {
        let Some(WithImages { images }) = read_release::<WithImages>(store, &name)? else { continue };
        needed.extend(
            images
                .into_iter()
                .map(|image| Descriptor::new(image.manifest.media_type, image.manifest.digest, image.manifest.bytes)),
        );
    }
    Ok(needed)
}

/// Writes a release, under the store's lock: the files that it keeps, then its document, then its name. Blocking.
///
/// # Errors
/// Somebody else writes to the store, or has made a release of that name; a blob that is not there; a file that is not what
/// it was.
pub fn write_release(
    store: &Path,
    name: &str,
    blobs: &[NeededBlob<'_>],
    files: &[KeptFile<'_>],
    document: &impl Serialize,
) -> Result<(), ImagesError> {
    let _lock = StoreLock::take(store)?;
    for blob in blobs {
        let path = blob_path(store, blob.digest);
        let there = fs::metadata(&path).ok().map(|blob| blob.len());
        if there != Some(blob.bytes) {
            let why = match there {
                None => BlobDamage::Missing,
                Some(size_bytes) => BlobDamage::WrongSize { size_bytes, expected_bytes: blob.bytes },
            };
            return Err(ImagesError::DamagedBlob { reference: blob.reference.to_owned(), path, why });
        }
    }
    let folder = release_folder(store, name);
    if folder.exists() {
        return Err(ImagesError::ReleaseExists { name: name.to_owned() });
    }
    let unfinished = folder.with_file_name(format!("{UNFINISHED}{name}"));
    let failed = |source| ImagesError::file(message!("verb-write"), &folder, source);
    remove_all(&unfinished).map_err(failed)?;
    create_dir_durably(&unfinished.join(FILES)).map_err(failed)?;
    for file in files {
        let kept = unfinished.join(FILES).join(file.digest.hex());
        keep(file, &kept).map_err(|source| ImagesError::file(message!("verb-read"), file.source, source))?;
    }
    write_sidecar(&unfinished.join(DOCUMENT), document).map_err(failed)?;
    failpoint!("images.releases.before-name");
    fs::rename(&unfinished, &folder).map_err(failed)?;
    failpoint!("images.releases.after-name");
    sync_dir(folder.parent().unwrap_or(store)).map_err(failed)
}

/// Copies a file, which may hold secrets, and compares it with its digest.
fn keep(file: &KeptFile<'_>, kept: &Path) -> io::Result<()> {
    let mut copy = DurableFile::create(kept, Mode::Private)?;
    let mut reader = HashingReader::new(open_regular(file.source)?);
    io::copy(&mut reader, &mut copy)?;
    copy.flush()?;
    let (_, digest, _) = reader.finish();
    match digest == *file.digest {
        true => copy.commit(),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed meanwhile")),
    }
}

/// Removes a release, under the store's lock; whether there was one. Its images stay until the next prune.
///
/// # Errors
/// Somebody else writes to the store; a folder that can't be removed.
pub fn remove_release(store: &Path, name: &str) -> Result<bool, ImagesError> {
    if !is_release_name(name) || !release_folder(store, name).is_dir() {
        return Ok(false);
    }
    let _lock = StoreLock::take(store)?;
    let folder = release_folder(store, name);
    let failed = |source| ImagesError::file(message!("verb-remove"), &folder, source);
    // Its name goes first: what is left of it is no release that could be read half.
    let leaving = folder.with_file_name(format!("{UNFINISHED}{name}"));
    remove_all(&leaving).map_err(failed)?;
    match fs::rename(&folder, &leaving) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        renamed => renamed.map_err(failed)?,
    }
    sync_dir(folder.parent().unwrap_or(store)).map_err(failed)?;
    remove_all(&leaving).map_err(failed)?;
    Ok(true)
}

fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_release_is_there_as_a_whole_once_and_gone_as_a_whole() {
        let store = tempfile::tempdir().unwrap();
        let source = store.path().join("stack.json");
        fs::write(&source, "{}").unwrap();
        let digest = Digest::of(b"{}");
        let files = [KeptFile { digest: &digest, source: &source }];
        let manifest = json!({"digest": Digest::of(b"m"), "bytes": 1, "media_type": "t"});
        let document = json!({"images": [{"manifest": manifest}], "more": 1});
        write_release(store.path(), "v1.0", &[], &files, &document).unwrap();
        assert_eq!(read_release::<Value>(store.path(), "v1.0").unwrap(), Some(document.clone()));
        assert_eq!(fs::read(release_file(store.path(), "v1.0", &digest)).unwrap(), b"{}");
        let needed = needed_by_releases(store.path()).unwrap();
        assert_eq!(needed[0].digest, Digest::of(b"m"));
        let again = write_release(store.path(), "v1.0", &[], &[], &document);
        assert!(matches!(again, Err(ImagesError::ReleaseExists { .. })), "{again:?}");
        assert_eq!(release_names(store.path()).unwrap(), ["v1.0"]);
        assert!(remove_release(store.path(), "v1.0").unwrap() && !remove_release(store.path(), "v1.0").unwrap());
        assert!(release_names(store.path()).unwrap().is_empty());
    }

    #[test]
    fn what_a_release_lacks_or_was_changed_leaves_none() {
        let store = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"a blob");
        let blobs = [NeededBlob { digest: &digest, bytes: 6, reference: "a:1" }];
        let error = write_release(store.path(), "v1", &blobs, &[], &json!({"images": []})).unwrap_err();
        assert!(matches!(error, ImagesError::DamagedBlob { why: BlobDamage::Missing, .. }), "{error:?}");
        let source = store.path().join("stack.json");
        fs::write(&source, "changed").unwrap();
        let files = [KeptFile { digest: &digest, source: &source }];
        assert!(write_release(store.path(), "v1", &[], &files, &json!({"images": []})).is_err());
        assert!(release_names(store.path()).unwrap().is_empty());
        // The next one is not disturbed by what is left of it.
        write_release(store.path(), "v1", &[], &[], &json!({"images": []})).unwrap();
    }

    #[test]
    fn a_damaged_release_is_an_error_and_not_an_empty_one() {
        let store = tempfile::tempdir().unwrap();
        write_release(store.path(), "v1", &[], &[], &json!({"images": []})).unwrap();
        let path = release_folder(store.path(), "v1").join(DOCUMENT);
        let text = fs::read_to_string(&path).unwrap().replace("images", "imagez");
        fs::write(path, text).unwrap();
        let error = needed_by_releases(store.path()).unwrap_err();
        assert!(matches!(error, ImagesError::DamagedRelease { .. }), "{error:?}");
    }

    #[test]
    fn a_name_becomes_a_folder_only_where_it_can_lead_nowhere_else() {
        let long = "x".repeat(65);
        for wrong in ["", ".", "..", ".v1", "-v1", "a/b", "../a", "a b", "a\n", "版本", long.as_str()] {
            assert!(!is_release_name(wrong), "{wrong:?}");
        }
        for right in ["v1", "2026-11-03", "1.2.3+4", "a_b"] {
            assert!(is_release_name(right), "{right}");
        }
    }
}
