//! Any bytes as a delta, as its body, as its operations, and as a new layer: refused, or the layer that was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dpl::packages::delta::fuzz::delta(bytes));
