//! The documents of a transfer: files that a desk gives to a site.
//!
//! The desk offers files by numbers of its own; the site says from where on it wants each, and what has become of it. Pieces of
//! several files come as they like. Once all have arrived, the desk asks that they get their names.

use serde::{Deserialize, Serialize};

use super::message::{ProjectPlace, Sentence};
use crate::fs::Digest;
use crate::images::OutgoingImage;

/// What is to be received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveRequest {
    pub project: ProjectPlace,
    /// Who sends, as the desk says.
    pub desk: String,
}

/// A place at the site: a root that the site's own manifest gives, and what is below it. No path leads out of its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "root", rename_all = "snake_case")]
pub enum Target {
    /// A blob of the image store: its digest is its name.
    Images,
    /// A file of the project's folder.
    Project(ProjectFile),
    /// A file of a database's seed.
    Seeds {
        database: String,
        /// The digest of the whole seed.
        seed: Digest,
        /// Relative to the seed; empty where the seed is one file.
        path: String,
    },
}

/// A file of the project's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFile {
    /// Relative to the folder.
    pub path: String,
    /// Whether its owner alone may read it.
    pub private: bool,
    pub executable: bool,
    /// What is expected to be there: a file that has been changed since is not replaced.
    pub replaces: Option<Digest>,
}

/// A file that the desk has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOffer {
    pub file: u32,
    pub target: Target,
    pub digest: Digest,
    pub bytes: u64,
}

/// What the desk says while it sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum ToReceiver {
    Offer(FileOffer),
    /// All of it was sent.
    Complete {
        file: u32,
    },
    /// Files of the project that have arrived are put in place.
    PlaceFiles,
    /// An image that is to be named next.
    Image(Box<OutgoingImage>),
    /// The images that were told get their names.
    NameImages,
    /// A seed that has arrived is put in place.
    PlaceSeed {
        database: String,
        seed: Digest,
    },
    End,
}

/// What the site says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum FromReceiver {
    Ready,
    /// It wants the file from this byte on.
    Wants {
        file: u32,
        offset: u64,
    },
    /// It has the file.
    Has {
        file: u32,
    },
    /// The file is there, and is the one that was offered.
    Arrived {
        file: u32,
    },
    /// What came is another file; nothing of it is kept.
    Differs {
        file: u32,
    },
    /// The file can't be received.
    Trouble {
        file: u32,
        why: Sentence,
    },
    FilesPlaced {
        placed: Vec<String>,
        /// Files that were changed since they were looked at.
        kept: Vec<String>,
    },
    ImagesNamed {
        named: Vec<String>,
        unchanged: Vec<String>,
        /// Blobs without which an image could not be named.
        lacking: Vec<Digest>,
    },
    SeedPlaced {
        database: String,
    },
}
