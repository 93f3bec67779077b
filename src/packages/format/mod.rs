//! Packages as files: a tar archive whose first entry says all of it (docs/package-format.md).
//!
//! `index` is that first entry, `source` where a package is read from, `reader` and `writer` are the archive around it.

mod index;
mod plain_texts;
mod reader;
mod source;
mod writer;

pub use index::{
    DOCKER_MANIFEST_NAME, DeltaTotals, Entry, LAYOUT_INDEX_NAME, LAYOUT_NAME, Namespace, Needs, PackageIndex, seal_of,
};
pub use reader::PackageReader;
pub use source::{FileSource, PackageSource, StreamSource};
pub use writer::{EntrySource, PackageWriter};
