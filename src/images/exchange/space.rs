//! Whether there is room for what an import or an export writes, looked at before anything is written.

use std::collections::HashSet;
use std::path::Path;

use crate::fs::{Digest, OutputTarget};
use crate::images::disk_space::{DiskNeed, DiskPurpose, DiskSpace, look};
use crate::images::exchange::export::ExportTarget;
use crate::images::exchange::import::ImportOptions;
use crate::images::exchange::inputs::{Input, Source};
use crate::images::exchange::offered::{layout_images, read_documents};
use crate::images::formats::compression::Compression;
use crate::images::formats::image_archive::ArchivedImage;
use crate::images::store::archives::OpenArchive;
use crate::images::store::layout::Layout;
use crate::images::store::writer::{KnownLayers, known_layers};

/// What an import adds to a store, as far as the documents of its inputs tell; of what can't be read that is told when it is
/// imported.
pub(super) fn for_import(
    folder: &Path,
    store: Option<&Layout>,
    inputs: &[Input],
    options: &ImportOptions,
) -> Vec<DiskSpace> {
    let known = store.map(known_layers).unwrap_or_default();
    let mut sum = Sum { known: &known, coming: HashSet::new(), at_least: 0, at_most: 0 };
    for input in inputs.iter().filter(|input| input.is_readable_again()) {
        let (size_bytes, nothing) = (input.size_bytes().unwrap_or_default(), &mut Vec::new());
        match input.open() {
            Ok(Source::Archive(OpenArchive::Raw(archive))) => {
                let images = read_documents(OpenArchive::Raw(archive), options.wish(), nothing).unwrap_or_default();
                sum.add(&images, |bytes| least_of(bytes, options.compression.compression));
            }
            // What is in it shows only when it is unpacked; packed again, it is about as large.
            Ok(Source::Archive(OpenArchive::Packed(_))) => {
                sum.at_most += size_bytes;
                sum.at_least += if known.is_empty() { least_of(size_bytes, Compression::Zstd) } else { 0 };
            }
            // Packed layers stay as they are.
            Ok(Source::Layout(layout)) => {
                let images = layout_images(&layout, options, nothing, |layer| Ok(layer.size_bytes));
                sum.add(&images.unwrap_or_default(), |bytes| bytes);
            }
            Err(_) => {}
        }
    }
    let Sum { at_least, at_most, .. } = sum;
    needed(DiskNeed { at_least, ..DiskNeed::exactly(folder, DiskPurpose::Store, at_most) })
}

/// What an export writes; nothing is known of pipes and devices.
pub(super) fn for_export(target: &ExportTarget, layer_bytes: u64, compression: Compression) -> Vec<DiskSpace> {
    let file = match target {
        ExportTarget::Path(path) => match OutputTarget::of(path) {
            Ok(OutputTarget::New(file) | OutputTarget::Existing(file)) => file,
            Ok(OutputTarget::Stream(..)) | Err(_) => return Vec::new(),
        },
        ExportTarget::Parts { output, .. } => output.clone(),
        ExportTarget::Stream(_) => return Vec::new(),
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at_least = least_of(layer_bytes, compression);
    needed(DiskNeed { at_least, ..DiskNeed::exactly(folder, DiskPurpose::Export, layer_bytes) })
}

fn needed(need: DiskNeed) -> Vec<DiskSpace> {
    if need.at_most == 0 { Vec::new() } else { look(&[need]) }
}

fn least_of(bytes: u64, compression: Compression) -> u64 {
    match compression {
        Compression::None => bytes,
        Compression::Zstd | Compression::Gzip => DiskNeed::least_compressed(bytes),
    }
}

/// Layers that a store does not have, each once.
struct Sum<'a> {
    known: &'a KnownLayers,
    coming: HashSet<Digest>,
    at_least: u64,
    at_most: u64,
}

impl Sum<'_> {
    fn add(&mut self, images: &[ArchivedImage<u64>], least: impl Fn(u64) -> u64) {
        for image in images {
            for (bytes, diff_id) in image.layers.iter().zip(image.config.diff_ids()) {
                if !self.known.contains_key(diff_id) && self.coming.insert(diff_id.clone()) {
                    self.at_least += least(*bytes);
                    self.at_most += bytes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::images::disk_space::DiskVerdict;
    use crate::images::formats::compression::CompressionOptions;
    use crate::images::formats::platform::Platform;
    use crate::images::store::sample_archives::archive_of;

    fn options(compression: Compression) -> ImportOptions {
        ImportOptions {
            compression: CompressionOptions { compression, level: None, threads: Some(1) },
            platform: Platform::host(),
            is_platform_asked: false,
            name: None,
            project: None,
            space: Default::default(),
        }
    }

    #[test]
    fn an_import_needs_room_for_layers_that_the_store_does_not_have_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        fs::write(&path, archive_of("team/app:1", "one")).unwrap();
        let input = || Input::Path(path.clone());
        let needed = |inputs: &[Input], compression| {
            let spaces = for_import(&folder.path().join("store"), None, inputs, &options(compression));
            (spaces[0].needed_bytes, spaces[0].needed_at_most_bytes, spaces[0].verdict)
        };
        let whole = needed(&[input()], Compression::None);
        assert_eq!((whole.0, whole.2), (whole.1, DiskVerdict::Enough));
        assert_eq!(needed(&[input(), input()], Compression::None), whole, "one layer, named twice");
        let packed = needed(&[input()], Compression::Zstd);
        assert!(packed.0 < packed.1 && packed.1 == whole.1, "{packed:?}");
        assert!(for_import(folder.path(), None, &[Input::Stdin], &options(Compression::Zstd)).is_empty());
    }

    #[test]
    fn an_export_needs_room_where_its_file_will_lie_and_none_where_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let verdict = |target: ExportTarget, bytes, compression| {
            for_export(&target, bytes, compression).first().map(|space| space.verdict)
        };
        let file = || ExportTarget::Path(folder.path().join("x.tar"));
        assert_eq!(verdict(file(), 1 << 10, Compression::None), Some(DiskVerdict::Enough));
        assert_eq!(verdict(file(), 1 << 60, Compression::None), Some(DiskVerdict::TooLittle));
        assert_eq!(verdict(ExportTarget::Path(PathBuf::from("/dev/null")), 1 << 60, Compression::None), None);
        assert_eq!(verdict(ExportTarget::Stream(Box::new(std::io::sink())), 1 << 60, Compression::None), None);
        // A link counts where it leads.
        let link = folder.path().join("link.tar");
        std::os::unix::fs::symlink("/dev/shm/dpl-test-link.tar", &link).unwrap();
        let spaces = for_export(&ExportTarget::Path(link), 1, Compression::None);
        assert_eq!(spaces[0].folder, Path::new("/dev/shm"));
    }
}
