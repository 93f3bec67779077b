//! Any text as a selector: names of the manifest by number, each once, or an error of one line.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dpl::manifest::{Choices, Variables, read_manifest};
use libfuzzer_sys::fuzz_target;

static CHOICES: LazyLock<Choices> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/local-docker.json");
    let loaded = read_manifest(path.as_ref(), Variables::new(BTreeMap::new())).expect("the manifest is right");
    Choices::services(&loaded.manifest)
});

fuzz_target!(|text: &str| {
    match CHOICES.select(&[text]) {
        Ok(names) => {
            let all = CHOICES.all();
            let places: Vec<usize> = names.iter().filter_map(|name| all.iter().position(|known| known == name)).collect();
            assert_eq!(places.len(), names.len());
            assert!(places.is_sorted_by(|a, b| a < b));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
