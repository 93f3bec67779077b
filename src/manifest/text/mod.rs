//! Bytes to nodes that know their places, and what is said of a place.
//!
//! `parse` reads strict JSON, `node` is what it gives, `source` finds line and column of a span, `problem` collects errors.
//! Nothing here knows what a manifest means.

pub(in crate::manifest) mod node;
pub(in crate::manifest) mod parse;
pub(in crate::manifest) mod problem;
pub(in crate::manifest) mod source;
