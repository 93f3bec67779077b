//! dpl at the site: answers one request of the desk on standard input and output, beside the engine.
//!
//! It runs for as long as one command lasts: no daemon, no port. A command that outlives its connection is run by a process in
//! a session of its own (`keeper`), which writes down what it says (`record`); `attach` shows that record and goes on with it.

mod attach;
mod backups;
mod facts;
mod inventory;
mod keeper;
mod logind;
mod measure;
mod reading;
mod receive;
mod record;
mod running;
mod terminal;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Stdin, Stdout};
use tokio::time::{Instant, timeout_at};

use super::error::in_one_line;
use super::protocol::{
    Began, Ended, Frame, FrameError, FrameReader, FrameWriter, Hello, MARK, Reply, Request, RunRequest, Sentence,
    ToRun, VERSION,
};
use crate::report::{Message, Told as _};
use record::Records;
use running::{Happened, Running};

pub use keeper::keep;
pub use terminal::become_command;

/// A desk that says nothing for so long is gone: it says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// The desk hears so often that this side is there.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

type Reader = FrameReader<Stdin>;
type Writer = FrameWriter<Stdout>;

/// Answers one request.
///
/// # Errors
/// The connection's; what fails of a request is told to the desk.
pub async fn serve() -> io::Result<()> {
    let mut writer = FrameWriter::new(tokio::io::stdout());
    let mut reader = FrameReader::new(tokio::io::stdin());
    writer.stream().write_all(MARK).await?;
    let now = jiff::Timestamp::now().as_millisecond();
    let hello = Hello { protocol: VERSION, version: env!("CARGO_PKG_VERSION").to_owned(), now };
    writer.send(&Frame::control(&hello)).await?;
    let request = match reader.next().await {
        Ok(Frame::Control(bytes)) => serde_json::from_slice::<Request>(&bytes).map_err(not_a_request),
        Ok(_) => Err(message!("serve-no-request")),
        // The desk only wanted to know whether dpl is here.
        Err(FrameError::Ended) => return Ok(()),
        Err(error) => Err(error.message()),
    };
    let done = match request {
        Ok(request) => answer(request, &mut reader, &mut writer).await,
        Err(why) => Err(why),
    };
    match done {
        Ok(()) => Ok(()),
        Err(why) => writer.send(&Frame::control(&Reply::Failed { why: Sentence::from(&why) })).await,
    }
}

async fn answer(request: Request, reader: &mut Reader, writer: &mut Writer) -> Result<(), Message> {
    match request {
        Request::Run(request) if request.outlives_connection => {
            let records = Records::open().map_err(in_words(message!("serve-results-folder")))?;
            if records.find(&request.id).is_none() {
                keeper::start(&records, &request).await?;
            }
            attach::attach(&records, &request.id, 0, request.terminal, reader, writer).await
        }
        Request::Run(request) => run(&request, reader, writer).await,
        Request::Attach { id, offset, terminal } => {
            let records = Records::open().map_err(in_words(message!("serve-results-folder")))?;
            attach::attach(&records, &id, offset, terminal, reader, writer).await
        }
        Request::List => {
            let runs =
                Records::open().and_then(|records| records.list()).map_err(in_words(message!("serve-results-read")))?;
            send(writer, &Frame::control(&Reply::Runs { runs })).await
        }
        Request::Facts { folder } => {
            let facts = facts::look(folder.as_deref()).await;
            send(writer, &Frame::control(&Reply::Facts(Box::new(facts)))).await
        }
        Request::Inventory(request) => inventory::send(request, reader, writer).await,
        Request::Backups(request) => backups::offer(request, writer).await,
        Request::Names(folder) => reading::names(folder, writer).await,
        Request::Read(request) => reading::read(request, writer).await,
        Request::Receive(request) => receive::receive(request, reader, writer).await,
        Request::Measure => measure::measure(reader, writer).await,
    }
}

/// Runs a command that ends with its connection.
async fn run(request: &RunRequest, reader: &mut Reader, writer: &mut Writer) -> Result<(), Message> {
    let mut running = Running::start(request).map_err(in_words(message!("serve-no-start")))?;
    send(writer, &Frame::control(&Reply::Began(Began { id: request.id.clone(), ends_with_login: false }))).await?;
    let (mut alive, mut last_heard) = (tokio::time::interval(ALIVE_EVERY), Instant::now());
    loop {
        tokio::select! {
            _ = alive.tick() => if say(writer, &Frame::Alive, &mut last_heard).await.is_err() {
                break;
            },
            happened = running.next() => match happened {
                Happened::Said(frame) => {
                    if say(writer, &frame, &mut last_heard).await.is_err() {
                        break;
                    }
                }
                Happened::Ended(code) => return send(writer, &Frame::control(&Reply::Ended(Ended { code }))).await,
            },
            heard = timeout_at(last_heard + SILENCE, reader.next()) => match heard {
                Ok(Ok(frame)) => {
                    while_alive(writer, pass_on(frame, &mut running)).await;
                    last_heard = Instant::now();
                }
                Ok(Err(_)) | Err(_) => break,
            },
        }
    }
    running.end().await;
    Ok(())
}

/// Says something. A desk that holds this up, behind a pager above all, can say nothing itself: its silence begins after it.
async fn say(writer: &mut Writer, frame: &Frame, last_heard: &mut Instant) -> io::Result<()> {
    let begun = Instant::now();
    let said = writer.send(frame).await;
    if begun.elapsed() > ALIVE_EVERY {
        *last_heard = Instant::now();
    }
    said
}

/// Waits for something that may take long, since a command does not take its input; the desk hears that this side is there.
async fn while_alive(writer: &mut Writer, work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    while tokio::time::timeout(ALIVE_EVERY, &mut work).await.is_err() {
        // Where the desk is gone, the next one who says something finds out.
        let _ = writer.send(&Frame::Alive).await;
    }
}

/// What the desk says to a command.
async fn pass_on(frame: Frame, running: &mut Running) {
    match frame {
        Frame::Data(bytes) => running.input(bytes).await,
        Frame::DataEnd => running.end_input(),
        Frame::Control(bytes) => match serde_json::from_slice::<ToRun>(&bytes) {
            Ok(ToRun::Resize(size)) => running.resize(size),
            Ok(ToRun::Signal { signal }) => running.signal(signal),
            // A later desk may say more.
            Err(_) => {}
        },
        Frame::Alive | Frame::Output(_) | Frame::Error(_) | Frame::Piece(_) => {}
    }
}

async fn send(writer: &mut Writer, frame: &Frame) -> Result<(), Message> {
    writer.send(frame).await.map_err(in_words(message!("serve-connection")))
}

/// As [`send`], for what no person can hold up: to a desk that takes nothing for too long, no more.
async fn send_in_time(writer: &mut Writer, frame: &Frame) -> Result<(), Message> {
    let sent = tokio::time::timeout(SILENCE, writer.send(frame)).await;
    let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    sent.map_err(in_words(message!("serve-connection")))
}

/// For a request that this version does not know above all.
fn not_a_request(error: serde_json::Error) -> Message {
    message!("because", what = message!("serve-no-request"), why = error)
}

/// The reason of a failure for the desk, which puts it into its own language.
fn in_words(what: Message) -> impl Fn(io::Error) -> Message {
    move |error| message!("because", what = what, why = in_one_line(&error))
}
