//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpl::cli::run()
}

/// The C library calls what is listed in this section before it calls `main`, and with it the standard library's start.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_START: extern "C" fn() = before_start;

extern "C" fn before_start() {
    dpl::cli::look_before_start();
}
