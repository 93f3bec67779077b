//! How large the terminals are that pages and questions are drawn on.

use std::io;

use rustix::termios::tcgetwinsize;

use crate::engine::TerminalSize;

/// The size of the terminal at standard output, where it is one.
pub fn of_stdout() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}

/// Columns and rows of the terminal at standard error, that questions and bars are drawn on.
pub fn of_stderr() -> (usize, usize) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}
