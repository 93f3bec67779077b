//! What the program says, and how it looks: sentences and tables on both streams, progress, error pages.
//!
//! Asks nothing and knows no command.

pub(super) mod failure;
pub(super) mod manifest_page;
pub(super) mod output;
pub(super) mod progress;
pub(super) mod qr;
pub(super) mod stdout;
pub(super) mod table;
pub(super) mod terminal_size;
