//! What the two sides of a connection say to each other: frames, and the documents in them. Pure: knows no ssh and no files.
//!
//! The site's side writes [`MARK`] before its first frame, so that whatever a login script prints is skipped. Then it says
//! [`Hello`]; the desk answers with one [`Request`]. A connection carries one request.

mod frame;
mod message;
mod transfer;

pub use frame::{Frame, FrameError, FrameReader, FrameWriter, LARGEST_PAYLOAD, PIECE_HEAD};
pub use message::{
    BackupOffer, BackupsRequest, Began, ComingText, Ended, EngineFacts, Facts, FileHead, FileToRead, FolderAt, Hello,
    InventoryRequest, ProjectPlace, ReadRequest, Reply, Request, Root, RunRequest, RunSummary, Sentence, Signal,
    TerminalRequest, ToRun,
};
pub use transfer::{FileOffer, FromReceiver, ProjectFile, ReceiveRequest, Target, ToReceiver};

/// The version of the protocol; both sides must have the same.
pub const VERSION: u32 = 1;

/// What stands before the first frame. No login script prints a NUL.
pub const MARK: &[u8] = b"\0dpl-serve\0";
