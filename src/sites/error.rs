//! What can go wrong between a desk and a site.

use std::io;
use std::path::PathBuf;

use crate::catalogue::told;
use crate::report::{Message, Several, Told};
use crate::sites::protocol::FrameError;
use crate::sites::{FetchError, InventoryTextError};

/// Why something at a site could not be done.
#[derive(Debug)]
pub enum SitesError {
    /// There is no connection to it.
    Unreachable { site: String, source: io::Error },
    /// The connection ended before the command did.
    ConnectionLost { site: String, why: Message },
    /// Nobody waits for the connection any more; the command goes on.
    Left { site: String, id: String },
    /// What the far side said instead of dpl.
    NoAnswer { site: String, said: String },
    /// dpl could not be brought to the site.
    Program { site: String, reasons: Vec<Message> },
    /// The machine is of another architecture, for which there is no program here.
    Architecture { site: String, architecture: String, looked_for: String },
    /// sudo asks for a password there, or refuses.
    Sudo { site: String, said: String },
    /// dpl there speaks another version of the protocol.
    Version { site: String, theirs: String },
    /// dpl at the site says why not.
    Refused { site: String, why: Message },
    /// There is no such command that outlived its connection.
    NoSuchRun { site: String, id: String },
    /// This program's own file can't be read.
    OwnProgram { source: io::Error },
    /// A file that is sent can't be read.
    Source { path: PathBuf, source: io::Error },
    /// A file that is sent is not the one any more that it was.
    SourceChanged { path: PathBuf },
    /// A disk there is too small.
    NoSpace { site: String, folder: String, needed: u64, free: u64 },
}

impl Told for SitesError {
    fn message(&self) -> Message {
        match self {
            Self::Unreachable { site, .. } => message!("site-unreachable", site = site),
            Self::ConnectionLost { site, why } => {
                message!("site-connection-lost", site = site, why = shown_message(why))
            }
            Self::Left { site, .. } => message!("site-left-behind", site = site),
            Self::NoAnswer { site, said } => message!("site-no-answer", site = site, said = shown(said)),
            Self::Program { site, reasons } => {
                message!("site-program", site = site, reasons = Several(reasons.clone()))
            }
            Self::Architecture { site, architecture, looked_for } => {
                message!("site-architecture", site = site, architecture = shown(architecture), file = looked_for)
            }
            Self::Sudo { site, said } => message!("site-sudo", site = site, said = shown(said)),
            Self::Version { site, theirs } => message!("site-version", site = site, theirs = shown(theirs)),
            Self::Refused { site, why } => message!("site-refused", site = site, why = shown_message(why)),
            Self::NoSuchRun { site, id } => message!("site-no-such-run", site = site, id = shown(id)),
            Self::OwnProgram { .. } => message!("site-own-program"),
            Self::Source { path, .. } => message!("send-source", path = path.display()),
            Self::NoSpace { site, folder, needed, free } => {
                message!("send-no-space", folder = shown(folder), site = site, free = free, needed = needed)
            }
            Self::SourceChanged { path } => message!("send-source-changed", path = path.display()),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Unreachable { site, .. } => Some(message!("hint-site-unreachable", site = site)),
            Self::Left { site, id } => Some(message!("hint-site-attach", site = site, id = shown(id))),
            Self::NoAnswer { .. } => Some(message!("hint-site-no-answer")),
            Self::Program { .. } => Some(message!("hint-site-program")),
            Self::Architecture { looked_for, .. } => Some(message!("hint-site-architecture", file = looked_for)),
            Self::Sudo { .. } => Some(message!("hint-site-sudo")),
            Self::NoSuchRun { site, .. } => Some(message!("hint-site-runs", site = site)),
            Self::SourceChanged { .. } => Some(message!("hint-source-changed")),
            Self::NoSpace { .. } => Some(message!("hint-send-space")),
            _ => None,
        }
    }
}

impl SitesError {
    /// Whether the site was not reached: exit code 4.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::ConnectionLost { .. } | Self::Left { .. } | Self::NoAnswer { .. }
        )
    }
}

/// What a site says, for a screen: its control characters are shown, not done.
pub fn shown(text: &str) -> String {
    let is_plain = |letter: &char| !letter.is_control() || *letter == '\t';
    text.chars()
        .map(|letter| if is_plain(&letter) { letter.to_string() } else { letter.escape_default().to_string() })
        .collect()
}

/// As [`shown`], for every text in a sentence.
pub fn shown_message(message: &Message) -> Message {
    let mut message = message.clone();
    message.change_texts(&shown);
    message
}

/// What went wrong with a file or a folder.
pub(super) fn of_path(path: &std::path::Path, error: &io::Error) -> Message {
    message!("because", what = message!("words", text = path.display()), why = in_one_line(error))
}

told!(SitesError, FetchError, InventoryTextError, FrameError; crate::databases::as_told);

impl std::error::Error for SitesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } | Self::OwnProgram { source } | Self::Source { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }
}
