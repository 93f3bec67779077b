//! A command at the site, whatever becomes of the connection.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::conversation::Conversation;
use super::remote::Remote;
use crate::report::{Message, Told as _};
use crate::sites::SitesError;
use crate::sites::protocol::{Frame, Reply, Request, RunRequest, Signal, TerminalRequest, ToRun};

/// The site ends what nobody has said anything to for a minute.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// The site says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// After a connection is lost it is tried again after so long, then after twice as long, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So long it is tried.
const PATIENCE: Duration = Duration::from_secs(600);
/// Ctrl-C, as a terminal in raw mode gives it.
const CTRL_C: u8 = 3;

/// What is to run at a site.
#[derive(Debug, Clone, Default)]
pub struct RunAtSite {
    /// dpl's arguments.
    pub arguments: Vec<String>,
    pub folder: Option<std::path::PathBuf>,
    pub environment: std::collections::BTreeMap<String, String>,
    pub terminal: Option<TerminalRequest>,
    pub outlives_connection: bool,
    /// Whether it may read standard input, where it has no terminal.
    pub takes_input: bool,
    pub desk: String,
    /// The run to attach to instead of starting one; empty for the newest that runs.
    pub attach_to: Option<String>,
}

/// What the operator does meanwhile.
#[derive(Debug)]
pub enum ToSite {
    Input(Bytes),
    InputEnd,
    Resize(TerminalRequest),
    Signal(Signal),
}

/// What is to be shown.
#[derive(Debug)]
pub enum Said {
    Output(Bytes),
    Error(Bytes),
    /// The connection is lost; the command goes on, and connecting is tried again.
    Lost(Message),
    /// The connection is there again.
    Back,
    /// The site will end the command when the connection is lost.
    EndsWithLogin,
}

/// A name for a run: sorted by time, and nobody else's.
pub fn new_run_id() -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), std::process::id());
    format!("{now:012x}-{:08x}", random as u32)
}

/// Runs it, shows what it says, and gives its exit code.
///
/// # Errors
/// Where the site can't be reached, or where the connection is lost for longer than anybody waits. A command that outlives
/// its connection goes on then.
pub async fn run(
    remote: &Remote,
    what: &RunAtSite,
    input: &mut mpsc::Receiver<ToSite>,
    said: &mut dyn FnMut(Said) -> io::Result<()>,
) -> Result<u8, SitesError> {
    let mut watch = Watch {
        id: what.attach_to.clone().unwrap_or_else(new_run_id),
        what,
        offset: 0,
        has_begun: what.attach_to.is_some(),
        was_asked: what.attach_to.is_some(),
        input_lost: false,
    };
    let outlives = what.outlives_connection || what.attach_to.is_some();
    let mut lost_since = None::<Instant>;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match remote.ask(&watch.request()).await {
            Ok(mut conversation) => {
                watch.was_asked = true;
                if lost_since.take().is_some() {
                    pause = FIRST_PAUSE;
                    // Who shows it can't be told more either.
                    let _ = said(Said::Back);
                }
                match watch.follow(&mut conversation, remote, input, said).await {
                    Ok(code) => return Ok(code),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // A command that was never asked for may be started again by the operator; one that ends with its connection has ended.
        // One that was asked for may have begun there: asked for again under its name, it is not started twice.
        if !outlives || !error.is_unreachable() || !watch.was_asked {
            return Err(error);
        }
        remote.forget().await;
        let since = *lost_since.get_or_insert_with(Instant::now);
        if pause == FIRST_PAUSE {
            let _ = said(Said::Lost(error.message()));
        }
        watch.input_lost |= what.terminal.is_none();
        if since.elapsed() > PATIENCE || leaves(input, pause).await {
            return Err(SitesError::Left { site: remote.name().to_owned(), id: watch.id });
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits; true where the operator wants to wait no longer.
async fn leaves(input: &mut mpsc::Receiver<ToSite>, pause: Duration) -> bool {
    let mut waited = std::pin::pin!(sleep(pause));
    loop {
        tokio::select! {
            () = &mut waited => return false,
            typed = input.recv() => match typed {
                Some(ToSite::Input(bytes)) if bytes.contains(&CTRL_C) => return true,
                Some(ToSite::Signal(_)) => return true,
                Some(_) => {}
                None => {
                    waited.await;
                    return false;
                }
            },
        }
    }
}

struct Watch<'w> {
    id: String,
    what: &'w RunAtSite,
    /// How many bytes of the run's record were shown.
    offset: u64,
    has_begun: bool,
    /// Whether the site was asked to start it.
    was_asked: bool,
    /// What was read of standard input before a connection was lost may be lost with it.
    input_lost: bool,
}

impl Watch<'_> {
    fn request(&self) -> Request {
        if self.has_begun {
            return Request::Attach { id: self.id.clone(), offset: self.offset, terminal: self.what.terminal };
        }
        let RunAtSite { arguments, folder, environment, terminal, outlives_connection, desk, .. } = self.what.clone();
        let id = self.id.clone();
        Request::Run(Box::new(RunRequest { id, arguments, folder, environment, terminal, outlives_connection, desk }))
    }

    /// Shows what one connection gives.
    async fn follow(
        &mut self,
        conversation: &mut Conversation,
        remote: &Remote,
        input: &mut mpsc::Receiver<ToSite>,
        said: &mut dyn FnMut(Said) -> io::Result<()>,
    ) -> Result<u8, SitesError> {
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_input = true;
        if self.input_lost {
            // What is missing can't be told; the command sees the end of its input.
            let _ = conversation.send(&Frame::DataEnd).await;
            has_input = false;
        }
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                // What has come counts before the time in which nothing was looked at.
                biased;
                frame = conversation.next() => {
                    heard = Instant::now();
                    let frame = match frame {
                        Ok(frame) => frame,
                        Err(error) => return Err(conversation.lost(&error).await),
                    };
                    let length = frame.length();
                    let shown = match frame {
                        Frame::Output(bytes) => said(Said::Output(bytes)),
                        Frame::Error(bytes) => said(Said::Error(bytes)),
                        Frame::Control(bytes) => match serde_json::from_slice::<Reply>(&bytes) {
                            Ok(Reply::Began(began)) => {
                                self.id = began.id;
                                if began.ends_with_login && !self.has_begun {
                                    let _ = said(Said::EndsWithLogin);
                                }
                                self.has_begun = true;
                                continue;
                            }
                            Ok(Reply::Ended(ended)) => return Ok(ended.code),
                            Ok(Reply::NoSuchRun) => {
                                let (site, id) = (remote.name().to_owned(), self.id.clone());
                                return Err(SitesError::NoSuchRun { site, id });
                            }
                            Ok(other) => return Err(conversation.unexpected(&other)),
                            Err(error) => {
                                let why = message!("because", what = message!("site-unknown-answer"), why = error);
                                return Err(SitesError::Refused { site: remote.name().to_owned(), why });
                            }
                        },
                        Frame::Data(_) | Frame::Piece(_) | Frame::DataEnd | Frame::Alive => continue,
                    };
                    self.offset += length;
                    if shown.is_err() && !self.what.outlives_connection {
                        // Nobody reads it any more, as with a pipe.
                        return Ok(0);
                    }
                }
                typed = input.recv(), if has_input => {
                    let frame = match typed {
                        Some(ToSite::Input(bytes)) => Frame::Data(bytes),
                        Some(ToSite::InputEnd) => Frame::DataEnd,
                        Some(ToSite::Resize(size)) => Frame::control(&ToRun::Resize(size)),
                        Some(ToSite::Signal(signal)) => Frame::control(&ToRun::Signal { signal }),
                        None => {
                            has_input = false;
                            continue;
                        }
                    };
                    // A connection that is gone says so to the one who reads.
                    let _ = conversation.send(&frame).await;
                }
                _ = alive.tick() => {
                    let _ = conversation.send(&Frame::Alive).await;
                }
                () = sleep_until(heard + SILENCE) => {
                    let why = message!("site-silent", seconds = SILENCE.as_secs());
                    return Err(SitesError::ConnectionLost { site: remote.name().to_owned(), why });
                }
            }
        }
    }
}
