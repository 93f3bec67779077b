//! The system's own `ssh`: connections that are started as the user's configuration says, and kept for others to share.
//!
//! Knows nothing of engines and sites; who connects says what runs at the other end.

mod destination;
mod master;
mod words;

pub use destination::{Destination, host_and_port};
pub use master::{Master, Questions, last_words};
pub use words::read_words;
