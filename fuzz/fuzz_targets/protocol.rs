//! Any bytes as what the other side of a connection to a site says: refused, or something that can be said again; no path that leads
//! out of its root.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::sites::fuzz::protocol(bytes));
