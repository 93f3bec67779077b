//! Any bytes as a `backup.json`: refused, or a record that names nothing outside its folder.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::databases::fuzz::record(bytes));
