//! Data folders: snapshots, differences and restores of real folders, judged by looking at them and by stock restic. Without an
//! engine.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod kills;
mod locks;
mod others;
mod place;
mod restoring;
mod retention;
mod taking;
