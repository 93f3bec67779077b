//! Releases: what a project consists of at one time, written down in the image store by digests.
//!
//! `document` is the document and how it is kept, `diff` what changed between two.

mod diff;
mod document;

pub use diff::{
    Change, FieldChange, FileChange, ImageChange, ReleaseDiff, SeedChange, diff as diff_releases,
    manifests as diff_manifests,
};
pub use document::{NewRelease, Release, create as create_release, list as list_releases, read as read_release};
