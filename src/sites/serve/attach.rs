//! Shows the record of a command that outlives its connection, and what the desk says to it.

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::record::Records;
use super::{ALIVE_EVERY, Reader, SILENCE, Writer, in_words, keeper, logind, say, send, while_alive};
use crate::report::{Message, Told as _};
use crate::sites::protocol::{Began, Frame, FrameError, FrameReader, Reply, TerminalRequest, ToRun};

/// Sends the frames of a run from a place of its record on, until its end or the connection's.
pub(super) async fn attach(
    records: &Records,
    id: &str,
    offset: u64,
    terminal: Option<TerminalRequest>,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Message> {
    let found = records.meant(id).map_err(in_words(message!("serve-results-read")))?;
    let Some(record) = found else {
        return send(writer, &Frame::control(&Reply::NoSuchRun)).await;
    };
    let asked = record.asked().map_err(in_words(message!("serve-results-read")))?;
    let began = Began { id: asked.request.id, ends_with_login: logind::ends_what_outlives_its_login() };
    send(writer, &Frame::control(&Reply::Began(began))).await?;
    let mut file = File::open(record.output()).await.map_err(in_words(message!("serve-results-read")))?;
    file.seek(std::io::SeekFrom::Start(offset)).await.map_err(in_words(message!("serve-results-read")))?;
    let mut shown = FrameReader::new(file);
    // One that has ended has no keeper any more.
    let mut keeper = keeper::connect(&record).await.ok();
    if let (Some(keeper), Some(size)) = (&mut keeper, terminal.filter(|_| asked.request.terminal.is_some())) {
        tell(keeper, &Frame::control(&ToRun::Resize(size))).await;
    }
    let (mut alive, mut last_heard) = (tokio::time::interval(ALIVE_EVERY), Instant::now());
    loop {
        let is_over = keeper.is_none() && !record.is_running();
        match show(&mut shown, writer, &mut last_heard).await {
            Shown::End | Shown::ConnectionEnded => return Ok(()),
            Shown::Damaged(why) => return Err(message!("serve-result-damaged", why = why)),
            Shown::All if is_over => {
                return Err(message!("serve-end-unknown"));
            }
            Shown::All => {}
        }
        tokio::select! {
            _ = alive.tick() => if say(writer, &Frame::Alive, &mut last_heard).await.is_err() {
                return Ok(());
            },
            woken = wake(&mut keeper) => if !woken {
                keeper = None;
            },
            heard = timeout_at(last_heard + SILENCE, reader.next()) => {
                let Ok(Ok(frame)) = heard else { return Ok(()) };
                if let Some(keeper) = &mut keeper {
                    while_alive(writer, tell(keeper, &frame)).await;
                }
                last_heard = Instant::now();
            }
        }
    }
}

enum Shown {
    /// All that there is so far.
    All,
    /// The command's end was among it.
    End,
    ConnectionEnded,
    Damaged(Message),
}

async fn show(shown: &mut FrameReader<File>, writer: &mut Writer, last_heard: &mut Instant) -> Shown {
    loop {
        match shown.next().await {
            Ok(frame) => {
                if say(writer, &frame, last_heard).await.is_err() {
                    return Shown::ConnectionEnded;
                }
                if matches!(frame, Frame::Control(_)) {
                    return Shown::End;
                }
            }
            Err(FrameError::Ended) => return Shown::All,
            Err(error) => return Shown::Damaged(error.message()),
        }
    }
}

/// Waits until there is more to show; false once the keeper is gone.
async fn wake(keeper: &mut Option<UnixStream>) -> bool {
    let mut many = [0; 256];
    match keeper {
        Some(keeper) => matches!(keeper.read(&mut many).await, Ok(length) if length > 0),
        None => {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            true
        }
    }
}

async fn tell(keeper: &mut UnixStream, frame: &Frame) {
    // One that has just ended hears nothing.
    let _ = keeper.write_all(&frame.encode()).await;
}
