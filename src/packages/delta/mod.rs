//! Deltas inside layers: a layer's tar as what it shares with the layers of an earlier release, and what is new in it.
//!
//! The format is that of docs/package-format.md. A layer is proved by the digest of its tar (diff ID), so the tar must come
//! back bit for bit: equal file bodies are copied, changed files are compressed with their old versions as prefix, and all
//! that is not understood is carried as it is. Exactness never depends on understanding a header.
//!
//! - [`BaseIndex`] reads the old layers' headers; [`create()`] makes a delta against them.
//! - [`apply()`] rebuilds the layer. Both need the old layers as plain tars that can be read at any place ([`ReadAt`]): layers
//!   of a store are decompressed beside them first, and their digests are compared while that is done.

mod apply;
mod bases;
mod create;
mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod similar;
mod tar_walk;
#[cfg(test)]
mod tests;

pub use apply::{Wanted, apply};
pub use bases::{BaseIndex, BaseLayer, ReadAt};
pub use create::{CreateOptions, Created, create};
pub use error::{DeltaError, as_told};
pub use format::{Body, Header, NumberedTar, Tar};
