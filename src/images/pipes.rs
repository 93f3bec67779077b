//! Bytes on their way between tasks and threads, a few megabytes at most, and whether their stream ended or broke off.

use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::mpsc;

use bytes::{Buf, Bytes, BytesMut};
use futures::future::{Either, select};
use tokio::sync::mpsc as task;
use tokio_util::sync::CancellationToken;

/// Small enough to be freed and reused without asking the kernel for new pages each time.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks may wait between two threads: 1 MiB.
const WAITING_CHUNKS: usize = 16;

/// What travels from thread to thread. A channel that closes without `End` broke off: nobody may take what came
/// before for the whole.
enum Piece {
    Chunk(Bytes),
    End,
}

/// The sending side of a stream between two threads.
pub struct ChunkSender(mpsc::SyncSender<Piece>);

/// The reading side; reads an error when the stream broke off.
pub struct ChunkReader {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// The other side is gone; why, only it knows.
#[derive(Debug)]
pub struct HungUp;

pub fn chunk_channel() -> (ChunkSender, ChunkReader) {
    let (sender, receiver) = mpsc::sync_channel(WAITING_CHUNKS);
    (ChunkSender(sender), ChunkReader { receiver, current: Bytes::new(), ended: false })
}

impl ChunkSender {
    pub fn send(&self, chunk: Bytes) -> Result<(), HungUp> {
        self.0.send(Piece::Chunk(chunk)).map_err(|_| HungUp)
    }

    /// Says that this was all.
    pub fn end(self) -> Result<(), HungUp> {
        self.0.send(Piece::End).map_err(|_| HungUp)
    }
}

impl ChunkReader {
    /// The next chunk as it was sent; `None` at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.current.has_remaining() {
            return Ok(Some(std::mem::take(&mut self.current)));
        }
        if self.ended {
            return Ok(None);
        }
        match self.receiver.recv() {
            Ok(Piece::Chunk(chunk)) => Ok(Some(chunk)),
            Ok(Piece::End) => {
                self.ended = true;
                Ok(None)
            }
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() {
            match self.next_chunk()? {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// Fills a chunk as far as there are bytes; empty at the end.
pub fn read_chunk(reader: &mut impl Read) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
    let mut filled = 0;
    while filled < CHUNK_BYTES {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk.freeze())
}

/// Reads, in a thread, what a task receives.
pub struct TaskReader {
    receiver: task::Receiver<io::Result<Vec<Bytes>>>,
    waiting: std::vec::IntoIter<Bytes>,
    current: Bytes,
    read_bytes: u64,
}

impl TaskReader {
    pub fn new(receiver: task::Receiver<io::Result<Vec<Bytes>>>) -> Self {
        Self { receiver, waiting: Vec::new().into_iter(), current: Bytes::new(), read_bytes: 0 }
    }

    /// How many bytes have been read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }
}

impl Read for TaskReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() {
            match self.waiting.next() {
                Some(chunk) => self.current = chunk,
                None => match self.receiver.blocking_recv() {
                    Some(chunks) => self.waiting = chunks?.into_iter(),
                    None => return Ok(0),
                },
            }
        }
        let read = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..read]);
        self.read_bytes += read as u64;
        Ok(read)
    }
}

/// Sends, from a thread, what a task passes on. Dropped without [`TaskWriter::finish`], it breaks the stream off, so
/// that the receiver can't take a part for the whole.
pub struct TaskWriter {
    sender: Option<task::Sender<io::Result<Bytes>>>,
    buffer: BytesMut,
    ended: CancellationToken,
}

/// Fewer, larger pieces for the socket.
const SENT_BYTES: usize = 2 * CHUNK_BYTES;

impl TaskWriter {
    /// `ended` says that nobody will receive any more, though the channel may stand open: a connection that hangs
    /// neither takes from it nor lets go of it.
    pub fn new(sender: task::Sender<io::Result<Bytes>>, ended: CancellationToken) -> Self {
        Self { sender: Some(sender), buffer: BytesMut::with_capacity(SENT_BYTES), ended }
    }

    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let Some(sender) = &self.sender else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (sent, ended) = (pin!(sender.send(piece)), pin!(self.ended.cancelled()));
        match futures::executor::block_on(select(sent, ended)) {
            Either::Left((Ok(()), _)) => Ok(()),
            Either::Left((Err(_), _)) | Either::Right(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(SENT_BYTES)).freeze();
        self.send(Ok(chunk))
    }

    /// Sends what is left and ends the stream.
    pub fn finish(mut self) -> io::Result<()> {
        self.pass_on()?;
        self.sender = None;
        Ok(())
    }
}

impl Write for TaskWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SENT_BYTES - self.buffer.len();
        let taken = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == SENT_BYTES {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

impl Drop for TaskWriter {
    fn drop(&mut self) {
        // The receiver may be gone already; then nobody can be misled.
        let _ = self.send(Err(io::Error::other("the sender stopped")));
    }
}

/// Runs blocking work beside the tasks; a panic in it is one here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_breaks_off_is_never_taken_for_a_whole() {
        let (sender, mut reader) = chunk_channel();
        sender.send(Bytes::from_static(b"half")).unwrap();
        drop(sender);
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        let (sender, mut reader) = chunk_channel();
        sender.send(Bytes::from_static(b"all")).unwrap();
        sender.end().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all");
    }

    /// What a task would pass on: all that was sent, each piece in a batch with an empty one.
    fn batched(mut receiver: task::Receiver<io::Result<Bytes>>) -> task::Receiver<io::Result<Vec<Bytes>>> {
        let (sender, batches) = task::channel(16);
        while let Some(piece) = receiver.blocking_recv() {
            sender.blocking_send(piece.map(|piece| vec![piece, Bytes::new()])).unwrap();
        }
        batches
    }

    #[test]
    fn a_dropped_writer_leaves_an_error_behind_what_was_sent() {
        let (sender, receiver) = task::channel(4);
        let mut writer = TaskWriter::new(sender, CancellationToken::new());
        writer.write_all(b"half").unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert!(io::copy(&mut TaskReader::new(batched(receiver)), &mut io::sink()).is_err());

        let (sender, receiver) = task::channel(4);
        let mut writer = TaskWriter::new(sender, CancellationToken::new());
        writer.write_all(&vec![7; 3 * CHUNK_BYTES]).unwrap();
        writer.finish().unwrap();
        let mut reader = TaskReader::new(batched(receiver));
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 3 * CHUNK_BYTES as u64);
        assert_eq!(reader.read_bytes(), 3 * CHUNK_BYTES as u64);
    }
}
