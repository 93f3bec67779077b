//! Any documents and any layer as an image layout: refused, or an image whose parts have their digests.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    dpl::images::fuzz::layout(bytes, folder.path());
});
