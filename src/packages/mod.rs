//! Releases and packages: what goes to machines that no connection reaches.
//!
//! `pack` makes a package, `format` is what it looks like, `parts` divides it, `keys` signs it, `unpack` receives it.
//! `delta` is the codec of layers that differ little; `release` writes down what a release is made of; `contents` is what releases and packages have in common. Which blobs a machine
//! lacks, and what becomes of them there, is the business of [`crate::sites`]: a package is that transfer as a file.

mod contents;
pub mod delta;
mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
mod pack;
mod parts;
mod release;
#[cfg(test)]
mod tests;
mod unpack;

pub use contents::{ContentFile, ContentSeed, SeedPart};
pub use error::{PackagesError, as_told};
pub use format::{DeltaTotals, FileSource, Namespace, PackageIndex, PackageReader, PackageSource, StreamSource};
pub use keys::{
    KeyRecord, OwnKey, PublicKey, SigningKey, TrustedKeys, Verdict, generate_key, own_keys, read_public_key,
    signing_key,
};
pub use pack::{
    DeltaCandidate, DeltaOptions, DeltaUse, GoalNeeds, MadeDelta, PackGoal, PackInput, PackPlan, delta_candidates,
    make_deltas, plan_pack, spool_bytes,
};
pub use parts::{
    PartHeader, PartsList, PartsOutput, PartsSource, PartsStream, damaged_parts, first_part, is_part, parts_beside,
};
pub use release::{
    Change, FieldChange, FileChange, ImageChange, NewRelease, Release, ReleaseDiff, SeedChange, create_release,
    diff_manifests, diff_releases, list_releases, read_release,
};
pub use unpack::{ProjectFiles, Unpacked, Unpacking, plan_unpack};
