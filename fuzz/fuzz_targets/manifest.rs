//! Any bytes as a manifest: an error with a place inside the text, or a manifest that prints and reads back the same.

#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use dpl::manifest::{Loaded, ManifestErrors, Variables, read_manifest, to_json};
use libfuzzer_sys::fuzz_target;

fn read(folder: &Path, text: &[u8]) -> Result<Loaded, ManifestErrors> {
    let path = folder.join("stack.json");
    std::fs::write(&path, text).expect("the folder is writable");
    read_manifest(&path, Variables::new(BTreeMap::from([("V".to_owned(), "8".to_owned())])))
}

fuzz_target!(|text: &[u8]| {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    match read(folder.path(), text) {
        Ok(loaded) => {
            let printed = to_json(&loaded.manifest).to_string();
            // In its long form a manifest may be larger than what is read.
            if printed.len() < 500_000 {
                let again = read(folder.path(), printed.as_bytes()).expect("what was printed reads back");
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
});
