//! Any bytes as a package's index and as a package: refused, or an index that reads back and names nothing outside its folder.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::packages::fuzz::index(bytes));
