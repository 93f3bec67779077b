//! Any bytes as a manifest: an error with a place inside the text, or a manifest that prints and reads back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    dpl::manifest::fuzz::manifest(bytes, folder.path());
});
