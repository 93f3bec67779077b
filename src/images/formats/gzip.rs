//! Gzip: written on several threads, where blocks become members of their own, in order; read member by member.
//!
//! A file of several members is one gzip file (RFC 1952, section 2.2), which Go's reader in every engine, `gzip` and our
//! own reader take as one stream.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::bufread::GzDecoder;
use libdeflater::{CompressionLvl, Compressor};

/// Reads all members of an archive that is packed as a whole. What follows the last one is left alone, as gzip and every
/// engine do: tapes and `dd conv=sync` fill up with zeros, others append a signature. An archive that is cut off there is
/// known by the end that its tar lacks. Layers are read more strictly: programs differ in what they make of such a one.
pub struct GzipMembers<R: BufRead> {
    /// Of the present member.
    decoder: GzDecoder<Slot<R>>,
    has_ended: bool,
}

/// The reader beneath; out of its place only while the decoder is made ready for the next member.
struct Slot<R>(Option<R>);

/// Of a member (RFC 1952, "ID1").
const FIRST_BYTE: u8 = 0x1f;

impl<R: BufRead> GzipMembers<R> {
    pub fn new(reader: R) -> Self {
        Self { decoder: GzDecoder::new(Slot(Some(reader))), has_ended: false }
    }

    /// Goes on to the next member, if there is one.
    fn advance(&mut self) -> io::Result<()> {
        self.has_ended = self.decoder.get_mut().fill_buf()?.first() != Some(&FIRST_BYTE);
        if !self.has_ended {
            let slot = self.decoder.reset(Slot(None));
            self.decoder.reset(slot);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended {
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.advance()?,
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}

impl<R: BufRead> Read for Slot<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |reader| reader.read(buffer))
    }
}

impl<R: BufRead> BufRead for Slot<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.as_mut().map_or(Ok(&[]), BufRead::fill_buf)
    }

    fn consume(&mut self, bytes: usize) {
        if let Some(reader) = &mut self.0 {
            reader.consume(bytes);
        }
    }
}

/// Sixteen windows of deflate: starting again costs less than a percent of the ratio, and the blocks of sixteen threads
/// stay below 20 MiB.
const BLOCK_BYTES: usize = 512 << 10;

const MOST_THREADS: u32 = 16;

/// Compresses what is written into it.
pub struct ParallelGzip<W: Write> {
    writer: W,
    block: Vec<u8>,
    jobs: Sender<Job>,
    /// Members on their way, in order.
    pending: VecDeque<Receiver<Vec<u8>>>,
    pending_limit: usize,
    is_empty: bool,
    workers: Vec<JoinHandle<()>>,
}

/// A block, and where its member goes.
struct Job {
    block: Vec<u8>,
    member: SyncSender<Vec<u8>>,
}

impl<W: Write> ParallelGzip<W> {
    /// `level` is libdeflate's: 0 to 12, of which 1 to 9 mean about what they mean to gzip.
    ///
    /// # Errors
    /// Not even one thread can be had. Fewer than were asked for only take longer.
    pub fn new(writer: W, level: i32, threads: u32) -> io::Result<Self> {
        let level = CompressionLvl::new(level.clamp(0, 12)).expect("libdeflate has levels 0 to 12");
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = threads.clamp(1, MOST_THREADS) as usize;
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            match thread::Builder::new().spawn(move || work(&waiting, level)) {
                Ok(worker) => workers.push(worker),
                Err(error) if workers.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Self {
            writer,
            block: Vec::with_capacity(BLOCK_BYTES),
            jobs,
            pending: VecDeque::new(),
            pending_limit: threads + 1,
            is_empty: true,
            workers,
        })
    }

    fn submit(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let (member, receiver) = sync_channel(1);
        self.jobs.send(Job { block, member }).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.pending.push_back(receiver);
        self.is_empty = false;
        while self.pending.len() > self.pending_limit {
            self.write_next()?;
        }
        Ok(())
    }

    fn write_next(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else {
            return Ok(());
        };
        let member = receiver.recv().map_err(|_| io::Error::other("a thread that compresses has ended"))?;
        self.writer.write_all(&member)
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || self.is_empty {
            self.submit()?;
        }
        while !self.pending.is_empty() {
            self.write_next()?;
        }
        drop(self.jobs);
        for worker in self.workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Ok(self.writer)
    }
}

fn work(waiting: &Mutex<Receiver<Job>>, level: CompressionLvl) {
    let mut compressor = Compressor::new(level);
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, member }) = job else {
            return;
        };
        let mut packed = vec![0; compressor.gzip_compress_bound(block.len())];
        let size = compressor.gzip_compress(&block, &mut packed).expect("a member within its bound fits");
        packed.truncate(size);
        // The receiver may have given up.
        let _ = member.send(packed);
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.submit()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn packed(bytes: &[u8], threads: u32) -> Vec<u8> {
        let mut encoder = ParallelGzip::new(Vec::new(), 6, threads).unwrap();
        for piece in bytes.chunks(70_001) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn members_read_as_one_file_whatever_the_number_of_threads() {
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 5).to_le_bytes()).collect();
        for size in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, bytes.len()] {
            let alone = packed(&bytes[..size], 1);
            assert_eq!(packed(&bytes[..size], 3), alone, "the result does not depend on the threads");
            let mut read = Vec::new();
            flate2::bufread::MultiGzDecoder::new(alone.as_slice()).read_to_end(&mut read).unwrap();
            assert!(read == bytes[..size], "{size}");
        }
    }

    #[test]
    fn a_writer_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = ParallelGzip::new(Full, 1, 2).unwrap();
        let written = encoder.write_all(&vec![7; 10 * BLOCK_BYTES]).and_then(|()| encoder.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
