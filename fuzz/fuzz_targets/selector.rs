//! Any text as a selector: names of the manifest by number, each once, or an error of one line.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| dpl::manifest::fuzz::selector(text));
