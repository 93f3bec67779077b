//! `dpl` takes Docker stacks to machines without a registry, runs them there and keeps their databases safe.
//!
//! The modules, from the one that meets people down to the ones that import none of ours (imports run this way only; see
//! docs/architecture.md):
//!
//! - [`cli`]: arguments, menu, prompts, tables, progress, error pages.
//! - [`packages`]: what a release changes, in one file.
//! - [`sites`]: other machines: dpl at the other end of an ssh connection.
//! - [`databases`]: PostgreSQL: dump, backup, rebuild, restore.
//! - [`folders`]: folders of data: snapshots, differences, restores.
//! - [`services`]: containers: snapshot, plan, run, readiness, status, logs.
//! - [`images`]: the image store; save, load, import and export.
//! - [`manifest`]: the typed service manifest: reading, checking, selecting.
//! - [`engine`]: the Docker Engine in our words.
//! - [`state`]: what is remembered between runs.
//! - [`ssh`]: connections of the system's own ssh.
//! - [`catalogue`]: every sentence that a person reads, in two languages.
//! - [`report`]: events that work emits while it runs.
//! - [`fs`]: durable writes and digests.
//! - `fuzz_seeds`: for tests alone, what the fuzz targets begin with.
//! - [`mod@failpoint`]: named points at which the fault tests kill the process.

// Made of the sentences by `build.rs`; before all modules, so that all of them can use it.
include!(concat!(env!("OUT_DIR"), "/message.rs"));

pub mod catalogue;
pub mod cli;
pub mod databases;
pub mod engine;
pub mod failpoint;
pub mod folders;
pub mod fs;
#[cfg(test)]
mod fuzz_seeds;
pub mod images;
pub mod manifest;
pub mod packages;
pub mod report;
pub mod services;
pub mod sites;
pub mod ssh;
pub mod state;
