//! The documents that frames of control carry. Unknown fields are passed over, so that a later version may add some.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalogue::{by_key, english};
use crate::fs::Digest;
use crate::report::Message;

/// A sentence of the site's: by key and values, so that people have it in the language of the desk, and in English for a desk
/// that does not know the key. Its texts may hold anything: [`Sentence::message`] is not fit for a screen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    text: String,
    #[serde(default)]
    said: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct ByKey(#[serde(with = "by_key")] Message);

impl From<&Message> for Sentence {
    fn from(message: &Message) -> Self {
        // A message has text for keys, which is all that could fail.
        let said = serde_json::to_value(ByKey(message.clone())).unwrap_or_default();
        Self { text: english(message), said }
    }
}

impl Sentence {
    pub fn message(&self) -> Message {
        match ByKey::deserialize(&self.said) {
            Ok(ByKey(message)) => message,
            Err(_) => message!("words", text = self.text),
        }
    }
}

use super::transfer::{FromReceiver, ReceiveRequest};

/// The first thing that the site's side says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// dpl's own.
    pub version: String,
    /// Milliseconds since 1970 by the site's clock.
    pub now: i64,
}

/// What the desk asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Run a command of dpl.
    Run(Box<RunRequest>),
    /// Show what a command that outlives its connection has said from a place on, and go on showing it.
    Attach {
        id: String,
        /// Bytes of its record that are known already.
        offset: u64,
        terminal: Option<TerminalRequest>,
    },
    /// The commands that outlived, or outlive, their connections.
    List,
    /// What is here.
    Facts { folder: Option<PathBuf> },
    /// What is here of a project: an inventory, in pieces of data.
    Inventory(InventoryRequest),
    /// The database backups that are here.
    Backups(BackupsRequest),
    /// The files of a folder.
    Names(FolderAt),
    /// What files hold.
    Read(ReadRequest),
    /// Files are to come.
    Receive(ReceiveRequest),
    /// Data is to come, to see how fast: at each end of some it is said how much came.
    Measure,
}

/// A project at this end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectPlace {
    /// Its folder; absolute.
    pub folder: PathBuf,
    /// The manifest, relative to the folder; where absent, the one remembered for the folder.
    pub manifest: Option<String>,
    /// Environment variables over those that are there; `DOCKER_HOST` says where the engine is.
    pub variables: BTreeMap<String, String>,
}

/// Of what an inventory is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRequest {
    pub project: ProjectPlace,
    /// Files of which it is to be told whether they are there, relative to the folder.
    pub files: Vec<String>,
    /// Whether seeds are read, which may be large.
    pub seeds: bool,
    /// Files that are to come and that the manifest is made of: the inventory is of the store and the seeds that it names then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coming: Vec<ComingText>,
    /// Whether they replace files that were changed there.
    #[serde(default)]
    pub overwrite: bool,
    /// Whether the request itself is in the pieces of data that follow, since it is too long for a frame.
    #[serde(default)]
    pub follows: bool,
}

/// A file that is to come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComingText {
    /// Relative to the folder.
    pub path: String,
    pub text: String,
}

/// Backups that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupsRequest {
    pub project: ProjectPlace,
    /// Databases, as everywhere, and IDs of backups; all databases where there are none.
    pub names: Vec<String>,
    /// All backups of each, not the newest alone.
    pub all: bool,
}

/// A folder that the site knows, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// `paths.backups` of the site's manifest.
    Backups,
    /// The project's records: of them, the journal alone is given.
    State,
}

/// A folder below a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderAt {
    pub project: ProjectPlace,
    pub root: Root,
    /// Relative; it can't lead out of the root.
    pub path: String,
}

/// Files to read. The answer is, for each: [`Reply::File`], its data and the end of its data; then [`Reply::Done`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    pub project: ProjectPlace,
    pub files: Vec<FileToRead>,
    /// Bytes a second, at most.
    pub limit: Option<u64>,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileToRead {
    pub root: Root,
    /// Relative; it can't lead out of the root.
    pub path: String,
    /// So many of its first bytes are known at the desk.
    pub from: u64,
    /// Their digest, where it has to be the same file still; else all of it is sent.
    pub known: Option<Digest>,
    /// Whether its digest is asked for: of a file that nothing else proves.
    pub proved: bool,
    /// A larger one is not sent.
    pub most: u64,
    /// Whether one that is not there is as good as an empty one.
    pub optional: bool,
}

/// A command to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunRequest {
    /// By which it is attached to; of the desk's choosing, so that asking again starts nothing twice.
    pub id: String,
    /// dpl's arguments.
    pub arguments: Vec<String>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
    pub environment: BTreeMap<String, String>,
    pub terminal: Option<TerminalRequest>,
    /// Whether it goes on when the connection ends.
    pub outlives_connection: bool,
    /// Who asked for it, as the desk says.
    pub desk: String,
}

/// The terminal at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRequest {
    pub columns: u16,
    pub rows: u16,
}

/// What the desk says to a command that runs, beside its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum ToRun {
    Resize(TerminalRequest),
    Signal { signal: Signal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    Interrupt,
    Terminate,
    HangUp,
}

/// What the site answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Began(Began),
    /// The command is over.
    Ended(Ended),
    /// No such run is known.
    NoSuchRun,
    Runs {
        runs: Vec<RunSummary>,
    },
    Facts(Box<Facts>),
    Backup(Box<BackupOffer>),
    Receiver(FromReceiver),
    /// So many bytes of data came.
    Measured {
        bytes: u64,
    },
    Names {
        names: Vec<(String, u64)>,
    },
    File(FileHead),
    /// Nothing more comes.
    Done,
    /// It can't be done.
    Failed {
        why: Sentence,
    },
}

/// A database backup that the site has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOffer {
    /// `expert/20260704T101530Z`.
    pub id: String,
    pub database: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub bytes: u64,
    /// Why it can't be read at the site: such a one can't be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Sentence>,
}

/// What stands before a file's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// What it has, all in all.
    pub bytes: u64,
    /// Where the data begins.
    pub from: u64,
    /// Of its first `bytes` bytes, where that was asked for.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Began {
    pub id: String,
    /// Whether the site ends it with the connection, although it is meant to go on.
    #[serde(default)]
    pub ends_with_login: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code; 128 and the signal's number where one ended it.
    pub code: u8,
}

/// A command that outlives its connection.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunSummary {
    pub id: String,
    /// The command as it was typed.
    pub command: String,
    /// Who asked for it.
    pub desk: String,
    /// When it began, as RFC 3339 has it.
    pub began: String,
    /// Its exit code, once it is over.
    pub code: Option<u8>,
    /// Whether its process is there.
    pub is_running: bool,
}

/// What a look at the site shows, beside what an engine says itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Facts {
    pub user: String,
    pub architecture: String,
    /// Where the engine listens, and what it is: name, version and kind of store; else why it does not answer.
    pub engine: Option<EngineFacts>,
    pub engine_problem: Option<Sentence>,
    /// Free bytes in the project's folder, and where the engine keeps its data.
    pub folder_free: Option<u64>,
    pub engine_free: Option<u64>,
    /// Whether the project's folder is there, and can be written to.
    pub folder_problem: Option<Sentence>,
    /// Whether logind ends what was started here when the connection is over.
    pub kills_user_processes: bool,
    /// Whether the ssh server there runs a command of its own for this user (`ForceCommand`), which passes on what it is asked for.
    #[serde(default)]
    pub forced_command: bool,
    /// Whether the folder that dpl runs from is there since now.
    pub program: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EngineFacts {
    pub version: String,
    pub store: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, Language};

    #[test]
    fn a_sentence_of_the_sites_is_in_the_language_of_the_desk() {
        let said = message!("because", what = message!("declined"), why = "磁盘");
        let text = serde_json::to_string(&Sentence::from(&said)).unwrap();
        let heard = serde_json::from_str::<Sentence>(&text).unwrap().message();
        assert_eq!(heard, said);
        assert_eq!(Catalogue::of(Language::Chinese).text(&heard), "未做任何更改：磁盘");
        // A later version says what this one has no sentence for.
        let later = r#"{"text": "the moon is full", "said": {"key": "moon-full"}}"#;
        let heard = serde_json::from_str::<Sentence>(later).unwrap().message();
        assert_eq!(english(&heard), "the moon is full");
    }
}
