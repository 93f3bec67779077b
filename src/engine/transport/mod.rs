//! The ways to an engine: its socket, TCP, or a command on its host behind ssh.

pub(super) mod hijack;
pub(super) mod ssh;
