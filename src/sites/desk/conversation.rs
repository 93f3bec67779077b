//! One request at the site: the process there, and the frames that go to and fro.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, ChildStdin, ChildStdout, Session, Stdio};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::program::MISSING;
use super::remote::RemoteOptions;
use crate::catalogue::io_error;
use crate::report::{Message, Told as _};
use crate::sites::SitesError;
use crate::sites::protocol::{Frame, FrameError, FrameReader, FrameWriter, Hello, MARK, Reply, VERSION};
use crate::ssh::{last_words, read_words};

/// So long the far side may take to start dpl.
const FIRST_WORD: Duration = Duration::from_secs(20);
/// A login script prints less than this.
const MOST_NOISE: usize = 64 << 10;
/// So long the reason for an end may take to arrive behind it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why there is none.
pub(super) enum NoConversation {
    /// The server takes no more streams on this connection.
    Refused(Message),
    /// The connection has ended.
    Gone(Message),
    /// dpl is not there; the machine's architecture.
    Missing(String),
    Final(SitesError),
}

pub(super) struct Conversation {
    site: String,
    reader: FrameReader<ChildStdout>,
    writer: FrameWriter<ChildStdin>,
    /// How far the site's clock is ahead of this machine's.
    pub clock_ahead_ms: i64,
    words: JoinHandle<Vec<u8>>,
    _child: Child<Arc<Session>>,
}

impl Conversation {
    /// Starts what `script` says, and hears its first words.
    pub async fn begin(options: &RemoteOptions, session: Arc<Session>, script: &str) -> Result<Self, NoConversation> {
        let mut command = session.clone().arc_raw_command(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let silent = || NoConversation::Gone(message!("site-silent", seconds = FIRST_WORD.as_secs()));
        // A connection that nobody has noticed to be dead opens nothing, and says nothing.
        let spawned = timeout(FIRST_WORD, command.spawn()).await.map_err(|_| silent())?;
        let mut child = spawned.map_err(|error| match error {
            openssh::Error::SshMux(why) => NoConversation::Refused(message!("words", text = why)),
            other => NoConversation::Gone(message!("words", text = other)),
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin().take(), child.stdout().take(), child.stderr().take())
        else {
            return Err(NoConversation::Gone(message!("frame-ended")));
        };
        let words = tokio::spawn(read_words(stderr));
        let mut reader = FrameReader::new(stdout);
        let noise = match timeout(FIRST_WORD, reader.skip_to(MARK, MOST_NOISE)).await {
            Ok(Ok(())) => None,
            Ok(Err(noise)) => Some(noise),
            Err(_) => return Err(silent()),
        };
        if let Some(noise) = noise {
            return Err(why_not(options, &session, words, &String::from_utf8_lossy(&noise)).await);
        }
        let mut conversation = Self {
            site: options.name.clone(),
            reader,
            writer: FrameWriter::new(stdin),
            clock_ahead_ms: 0,
            words,
            _child: child,
        };
        let hello = match conversation.next().await {
            Ok(Frame::Control(bytes)) => serde_json::from_slice::<Hello>(&bytes).ok(),
            _ => None,
        };
        match hello {
            Some(hello) if hello.protocol == VERSION => {
                conversation.clock_ahead_ms = hello.now - jiff::Timestamp::now().as_millisecond();
                Ok(conversation)
            }
            Some(hello) => {
                Err(NoConversation::Final(SitesError::Version { site: options.name.clone(), theirs: hello.version }))
            }
            None => Err(NoConversation::Gone(message!("site-unknown-answer"))),
        }
    }

    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.writer.send(frame).await
    }

    /// As [`Conversation::send`], for what needs the connection.
    pub async fn send_all(&mut self, frame: &Frame) -> Result<(), SitesError> {
        match self.send(frame).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(&FrameError::Io(error)).await),
        }
    }

    /// The next frame. Cancel safe.
    pub async fn next(&mut self) -> Result<Frame, FrameError> {
        self.reader.next().await
    }

    /// The next document.
    pub async fn reply(&mut self) -> Result<Reply, SitesError> {
        loop {
            match self.next().await {
                Ok(Frame::Control(bytes)) => {
                    return serde_json::from_slice(&bytes).map_err(|error| SitesError::Refused {
                        site: self.site.clone(),
                        why: message!("because", what = message!("site-unknown-answer"), why = error),
                    });
                }
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error).await),
            }
        }
    }

    /// Why the connection ended, in the far side's words where it has said any.
    pub async fn lost(&mut self, error: &FrameError) -> SitesError {
        let said = timeout(LAST_WORDS, &mut self.words).await.ok().and_then(Result::ok).unwrap_or_default();
        lost(&self.site, &said, error)
    }

    pub fn unexpected(&self, reply: &Reply) -> SitesError {
        unexpected(&self.site, reply)
    }

    /// Its two directions, for those who say and hear at the same time. A site that says nothing for `silence` is gone.
    pub fn split(self, silence: Duration) -> (Speaking, Hearing) {
        let Self { site, mut reader, writer, words, _child: child, .. } = self;
        let (sender, frames) = mpsc::channel(HEARD_AHEAD);
        let (heard, last_heard) = watch::channel(Instant::now());
        let listening = tokio::spawn(async move {
            loop {
                let frame = match timeout(silence, reader.next()).await {
                    Ok(frame) => frame,
                    Err(_) => Err(FrameError::Ended),
                };
                let _ = heard.send(Instant::now());
                let is_end = frame.is_err();
                if matches!(frame, Ok(Frame::Alive)) {
                    continue;
                }
                if sender.send(frame).await.is_err() || is_end {
                    return;
                }
            }
        });
        let speaking = Speaking { site: site.clone(), writer, silence, last_heard, _child: child };
        (speaking, Hearing { site, frames, words: Some(words), listening })
    }
}

/// So many frames may wait to be looked at.
const HEARD_AHEAD: usize = 64;
/// A write that waits is looked at so often.
const LOOK: Duration = Duration::from_secs(5);

/// What is said to a site.
pub(super) struct Speaking {
    site: String,
    writer: FrameWriter<ChildStdin>,
    silence: Duration,
    last_heard: watch::Receiver<Instant>,
    _child: Child<Arc<Session>>,
}

impl Speaking {
    /// Waits for as long as the site takes it, or lives.
    pub async fn say(&mut self, frame: &Frame) -> Result<(), SitesError> {
        let mut saying = std::pin::pin!(self.writer.send(frame));
        loop {
            let why = match timeout(LOOK, &mut saying).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => FrameError::Io(error).message(),
                Err(_) if self.last_heard.borrow().elapsed() < self.silence => continue,
                Err(_) => message!("site-silent", seconds = self.silence.as_secs()),
            };
            return Err(SitesError::ConnectionLost { site: self.site.clone(), why });
        }
    }
}

/// What a site says.
pub(super) struct Hearing {
    site: String,
    frames: mpsc::Receiver<Result<Frame, FrameError>>,
    /// `None` once they were heard.
    words: Option<JoinHandle<Vec<u8>>>,
    listening: JoinHandle<()>,
}

impl Hearing {
    /// The next document, if it has come; `None` where none has.
    pub fn heard(&mut self) -> Result<Option<Reply>, FrameError> {
        match self.frames.try_recv() {
            Ok(frame) => self.read(frame).map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(FrameError::Ended),
        }
    }

    /// The next document. Cancel safe.
    pub async fn next(&mut self) -> Result<Reply, FrameError> {
        let frame = self.frames.recv().await.unwrap_or(Err(FrameError::Ended));
        self.read(frame)
    }

    fn read(&self, frame: Result<Frame, FrameError>) -> Result<Reply, FrameError> {
        let why = match frame? {
            Frame::Control(bytes) => match serde_json::from_slice(&bytes) {
                Ok(reply) => return Ok(reply),
                Err(error) => message!("because", what = message!("site-unknown-answer"), why = error),
            },
            _ => message!("site-unknown-answer"),
        };
        Err(FrameError::Io(io_error(io::ErrorKind::InvalidData, why)))
    }

    /// Why the connection ended, in the far side's words where it has said any.
    pub async fn lost(&mut self, error: &FrameError) -> SitesError {
        let said = match self.words.take() {
            Some(words) => timeout(LAST_WORDS, words).await.ok().and_then(Result::ok).unwrap_or_default(),
            None => Vec::new(),
        };
        lost(&self.site, &said, error)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lost(site: &str, said: &[u8], error: &FrameError) -> SitesError {
    let said = last_words(&String::from_utf8_lossy(said));
    let why = if said.is_empty() { error.message() } else { message!("words", text = said) };
    SitesError::ConnectionLost { site: site.to_owned(), why }
}

/// A reply that was not waited for.
pub(super) fn unexpected(site: &str, reply: &Reply) -> SitesError {
    let why = match reply {
        Reply::Failed { why } => why.message(),
        _ => message!("site-unknown-answer"),
    };
    SitesError::Refused { site: site.to_owned(), why }
}

/// Why dpl there did not answer.
async fn why_not(
    options: &RemoteOptions,
    session: &Session,
    words: JoinHandle<Vec<u8>>,
    noise: &str,
) -> NoConversation {
    if let Some(architecture) = noise.lines().rev().find_map(|line| line.strip_prefix(MISSING)) {
        return NoConversation::Missing(architecture.trim().to_owned());
    }
    let said = timeout(LAST_WORDS, words).await.ok().and_then(Result::ok).unwrap_or_default();
    let said = last_words(&String::from_utf8_lossy(&said));
    if session.check().await.is_err() {
        return NoConversation::Gone(message!("frame-ended"));
    }
    let site = options.name.clone();
    let said = if said.is_empty() { last_words(noise) } else { said };
    NoConversation::Final(match options.sudo && said.contains("sudo") {
        true => SitesError::Sudo { site, said },
        false => SitesError::NoAnswer { site, said },
    })
}
