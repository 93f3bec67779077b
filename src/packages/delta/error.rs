//! What can go wrong while a delta is made or used.

use std::io;

use crate::catalogue::told;
use crate::fs::Digest;
use crate::report::{Message, Told};

/// A delta that was not made, or from which nothing was rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The delta can't be read.
    Read(#[source] io::Error),
    /// It does not begin as one does.
    NotADelta,
    /// It was made by a newer dpl.
    Version { version: u32 },
    /// It is not what was once written: cut off, changed, or never made by dpl.
    Damaged { why: Message },
    /// It rebuilds another layer than the one that is asked for.
    AnotherResult { wanted: Digest, result: Digest },
    /// It would be larger than the caller allows.
    TooLarge { size: u64, most: u64 },
    /// It was made against a layer that was not given.
    BaseMissing { diff_id: Digest },
    /// A base can't be read.
    Base {
        diff_id: Digest,
        #[source]
        source: io::Error,
    },
    /// All was rebuilt, and the digest is another one: a base is not the one that its digest promises.
    ResultDiffers { wanted: Digest, result: Digest },
    /// The new layer can't be read.
    New(#[source] io::Error),
    /// The new layer's bytes are not those of its digest.
    NewDiffers { wanted: Digest, read: Digest },
    /// What was made can't be written.
    Write(#[source] io::Error),
    /// The compressor refuses.
    Compressor { why: &'static str },
    /// No thread can be had.
    Thread(#[source] io::Error),
}

impl DeltaError {
    pub(super) fn damaged(why: Message) -> Self {
        Self::Damaged { why }
    }

    /// A read of the delta that failed: one that ends too early is a damaged delta.
    pub(super) fn reading(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::damaged(message!("delta-damage-cut"))
        } else {
            Self::Read(error)
        }
    }

    pub(super) fn compressor(code: usize) -> Self {
        Self::Compressor { why: zstd::zstd_safe::get_error_name(code) }
    }
}

impl Told for DeltaError {
    fn message(&self) -> Message {
        match self {
            Self::Read(_) => message!("error-delta-read"),
            Self::NotADelta => message!("error-delta-none"),
            Self::Version { version } => message!("error-delta-version", version = version),
            Self::Damaged { why } => message!("error-delta-damaged", why = why),
            Self::AnotherResult { wanted, result } => {
                message!("error-delta-another", result = result.short(), wanted = wanted.short())
            }
            Self::TooLarge { size, most } => message!("error-delta-large", size = size, most = most),
            Self::BaseMissing { diff_id } => message!("error-delta-base-missing", layer = diff_id.short()),
            Self::Base { diff_id, .. } => message!("error-delta-base", layer = diff_id.short()),
            Self::ResultDiffers { wanted, result } => {
                message!("error-delta-result", wanted = wanted.short(), result = result.short())
            }
            Self::New(_) => message!("error-delta-new"),
            Self::NewDiffers { wanted, read } => {
                message!("error-delta-new-differs", wanted = wanted.short(), read = read.short())
            }
            Self::Write(_) => message!("error-delta-write"),
            Self::Compressor { why } => message!("error-delta-compressor", why = why),
            Self::Thread(_) => message!("error-delta-thread"),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Version { .. } => Some(message!("hint-delta-version")),
            Self::NotADelta | Self::Damaged { .. } => Some(message!("hint-delta-damaged")),
            Self::ResultDiffers { .. } => Some(message!("hint-delta-base")),
            _ => None,
        }
    }
}

told!(DeltaError);
