//! Short-lived containers of our own: programs beside a server, files to and from them, and a server to try things in.
//!
//! `helper` runs programs with a folder of ours, or with a volume to and from which `copy` carries files; `throwaway` is a
//! server without a network; `feed` is how a program there gets what is written here; `stale` removes what killed runs left of them.

pub(super) mod copy;
pub(super) mod feed;
pub(super) mod helper;
pub(super) mod stale;
pub(super) mod throwaway;
