//! What the fuzz targets of this module do with any bytes. The seeds in `fuzz/seeds` run as ordinary tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use super::{Choices, Loaded, ManifestErrors, Variables, read_manifest, to_json};

/// Any bytes as a manifest: an error with a place inside the text, or a manifest that prints and reads back the same.
pub fn manifest(bytes: &[u8], folder: &Path) {
    match read(folder, bytes) {
        Ok(loaded) => {
            let printed = to_json(&loaded.manifest).to_string();
            // In its long form a manifest may be larger than what is read.
            if printed.len() < 500_000 {
                let again = read(folder, printed.as_bytes()).expect("what was printed reads back");
                assert_eq!(again.manifest, loaded.manifest);
            }
        }
        Err(errors) => {
            assert!(errors.count() > 0);
            for span in errors.problems.iter().filter_map(|problem| problem.span) {
                assert!(errors.sources.file(span.file).text.get(span.start..span.end).is_some());
            }
        }
    }
}

fn read(folder: &Path, bytes: &[u8]) -> Result<Loaded, ManifestErrors> {
    let path = folder.join("stack.json");
    std::fs::write(&path, bytes).expect("the folder is writable");
    read_manifest(&path, Variables::new(BTreeMap::from([("V".to_owned(), "8".to_owned())])))
}

static CHOICES: LazyLock<Choices> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/local-docker.json");
    let loaded = read_manifest(path.as_ref(), Variables::new(BTreeMap::new())).expect("the manifest is right");
    Choices::services(&loaded.manifest)
});

/// Any text as a selector: names of the manifest by number, each once, or an error of one line.
pub fn selector(text: &str) {
    match CHOICES.select(&[text]) {
        Ok(selection) => {
            let all = CHOICES.names();
            let places: Vec<usize> =
                selection.names().iter().filter_map(|name| all.iter().position(|known| known == name)).collect();
            assert_eq!(places.len(), selection.names().len());
            assert!(places.is_sorted_by(|a, b| a < b));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn the_seeds_of_the_manifest_target_hold() {
        fuzz_seeds::each("manifest", |bytes| {
            let folder = tempfile::tempdir().unwrap();
            manifest(bytes, folder.path());
        });
    }

    #[test]
    fn the_seeds_of_the_selector_target_hold() {
        fuzz_seeds::each("selector", |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                selector(text);
            }
        });
    }
}
