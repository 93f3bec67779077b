//! Any text as SQL and as what PostgreSQL's tools print: split into statements that stand in it, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| dpl::databases::fuzz::script(text));
