//! A package in several files, for disks that take no larger ones: `FILE.001` and on, and `FILE.parts.json`, which lists them.
//!
//! `header` is what each part begins with, `writer` makes parts as they stream by, `reader` reads them one after the other, from a
//! folder or a pipe. The bytes behind the headers, one after the other, are the package.

mod header;
mod reader;
mod writer;

pub use header::{PartHeader, PartsList};
pub use reader::{PartsSource, PartsStream, damaged_parts, first_part, is_part, parts_beside};
pub use writer::PartsOutput;
