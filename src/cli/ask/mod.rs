//! The terminal as somebody sits at it: keys, questions, screens of their own, a command in a container.
//!
//! Knows no command and no session: what a question needs is handed to it.

pub(super) mod keyboard;
pub(super) mod line;
pub(super) mod picker;
pub(super) mod prompt;
pub(super) mod remote;
pub(super) mod terminal;
pub(super) mod watch;
