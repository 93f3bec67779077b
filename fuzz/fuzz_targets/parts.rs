//! Any bytes as parts of a package: refused, or parts that fit together and hold no more than there is.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::packages::fuzz::parts(bytes));
