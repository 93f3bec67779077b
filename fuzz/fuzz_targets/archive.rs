//! Any bytes as a `docker save` archive: refused, or read alike as a stream and as a file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::images::fuzz::archive(bytes));
