//! Brings database backups (`backups`) and the journal (`journal`) of a site here. What has arrived stays: a connection that breaks
//! is made again, and the same command again goes on in the middle of a file.

mod backups;
mod error;
mod journal;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::conversation::Conversation;
use super::remote::Remote;
use crate::databases::DatabasesError;
use crate::report::{Message, Meter, Reporter, Told};
use crate::sites::SitesError;
use crate::sites::protocol::{FileHead, FileToRead, Frame, ProjectPlace, ReadRequest, Reply, Request, Root};

pub use backups::{Fetched, offered_backups};
pub use error::FetchError;
pub use journal::FetchedJournal;

/// A site that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A connection is made again so often when nothing comes of it, after pauses that grow up to the longest.
const TRIES: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where things come from and go to.
pub struct Fetching<'f> {
    pub remote: &'f Remote,
    pub project: ProjectPlace,
    /// The site's folder here; backups get their places below it.
    pub folder: PathBuf,
    /// Bytes a second, at most.
    pub limit: Option<u64>,
    /// Who does it, for the proof of a backup.
    pub operator: String,
}

async fn reply(conversation: &mut Conversation, remote: &Remote) -> Result<Reply, SitesError> {
    match timeout(SILENCE, conversation.reply()).await {
        Ok(reply) => reply,
        Err(_) => Err(silent(remote)),
    }
}

fn silent(remote: &Remote) -> SitesError {
    let why = message!("site-silent", seconds = SILENCE.as_secs());
    SitesError::ConnectionLost { site: remote.name().to_owned(), why }
}

impl Fetching<'_> {
    /// Tries again when the connection breaks, as long as something comes; and once where something arrived damaged.
    async fn with_patience<T>(
        &self,
        meter: &mut Meter,
        reporter: &Reporter,
        work: impl AsyncFn(&mut Meter) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let (mut tries, mut was_damaged) = (0, false);
        loop {
            let before = meter.done_bytes();
            let done = tokio::select! {
                done = work(meter) => done,
                () = reporter.stop_asked() => Err(FetchError::Stopped),
            };
            match done {
                Err(FetchError::Dump(DatabasesError::Damaged { .. })) if !was_damaged => was_damaged = true,
                Err(FetchError::Site(error)) if error.is_unreachable() && meter.done_bytes() > 0 => {
                    tries = if meter.done_bytes() > before { 1 } else { tries + 1 };
                    if tries > TRIES {
                        return Err(error.into());
                    }
                    reporter.notice(message!("fetch-again", site = self.remote.name(), why = error.message()));
                    self.remote.forget().await;
                    let pause = Duration::from_millis(250 << tries).min(LONGEST_PAUSE);
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = reporter.stop_asked() => return Err(FetchError::Stopped),
                    }
                }
                done => return done,
            }
        }
    }

    fn file(&self, root: Root, path: String, most: u64) -> FileToRead {
        FileToRead { root, path, from: 0, known: None, proved: false, most, optional: false }
    }

    async fn ask(&self, files: Vec<FileToRead>) -> Result<Conversation, FetchError> {
        let request = ReadRequest { project: self.project.clone(), files, limit: self.limit };
        Ok(self.remote.ask(&Request::Read(request)).await?)
    }

    fn refused(&self, why: Message) -> FetchError {
        SitesError::Refused { site: self.remote.name().to_owned(), why }.into()
    }

    async fn head(&self, conversation: &mut Conversation) -> Result<FileHead, FetchError> {
        match reply(conversation, self.remote).await? {
            Reply::File(head) => Ok(head),
            other => Err(conversation.unexpected(&other).into()),
        }
    }

    /// The next bytes of a file; `None` at its end.
    async fn piece(&self, conversation: &mut Conversation) -> Result<Option<Bytes>, FetchError> {
        loop {
            match timeout(SILENCE, conversation.next()).await {
                Ok(Ok(Frame::Data(bytes))) => return Ok(Some(bytes)),
                Ok(Ok(Frame::DataEnd)) => return Ok(None),
                Ok(Ok(Frame::Control(bytes))) => {
                    let reply = serde_json::from_slice::<Reply>(&bytes).unwrap_or(Reply::Done);
                    return Err(conversation.unexpected(&reply).into());
                }
                Ok(Ok(Frame::Alive | Frame::Output(_) | Frame::Error(_) | Frame::Piece(_))) => {}
                Ok(Err(error)) => return Err(conversation.lost(&error).await.into()),
                Err(_) => return Err(silent(self.remote).into()),
            }
        }
    }
}
