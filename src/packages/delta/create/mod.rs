//! From a new layer and the old ones to a delta.
//!
//! 1. This thread reads the new tar once, header by header (`tar_walk`), and looks each file up among the old ones (`bases`):
//!    an equal one becomes a copy operation, headers and small things become literal bytes.
//! 2. What has changed is gathered in segments (`groups`), with the old versions that are to be its prefix.
//! 3. Other threads compress the segments (`work`), each a frame of its own.
//! 4. One more writes the groups in their order (`emit`), so that the number of threads changes no byte.

mod emit;
mod groups;
mod work;

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use self::emit::Emitter;
use self::groups::{Group, GroupBuilder, PIECE_BYTES};
use self::work::{Packed, pack, worker_count};
use super::bases::BaseIndex;
use super::error::DeltaError;
use super::format::{Header, NumberedTar, Tar};
use super::tar_walk::{BLOCK, Names, Step, TarWalk, padding};
use crate::fs::{Digest, HashingReader};

/// Headers come in blocks of 512 bytes.
const READ_BYTES: usize = 64 << 10;

/// How to make a delta.
#[derive(Debug, Clone, Copy)]
pub struct CreateOptions {
    /// zstd's own scale, 1 to 19.
    pub level: i32,
    /// Threads that compress; fewer are used where they would need more memory than `pack` may take.
    pub threads: usize,
}

impl CreateOptions {
    /// The level where none is named: higher ones take twice the time for a tenth of the bytes.
    pub const LEVEL: i32 = 9;
    pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
}

impl Default for CreateOptions {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { level: Self::LEVEL, threads }
    }
}

/// A delta that was made: its header, and the body that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub header: Header,
}

impl Created {
    /// What comes before the body in a delta.
    pub fn header_bytes(&self) -> Vec<u8> {
        self.header.to_bytes()
    }

    /// Of header and body.
    pub fn size(&self) -> u64 {
        self.header_bytes().len() as u64 + self.header.body.size
    }
}

/// Makes the delta from the bases to the tar that `new` gives, whose digest must be `diff_id`, and writes its body. A delta is
/// [`Created::header_bytes`] and the body. The same input makes the same bytes, whatever the number of threads.
///
/// # Errors
/// The new tar is another one than its digest says; something can't be read or written.
pub fn create(
    new: impl Read,
    diff_id: &Digest,
    bases: &BaseIndex<'_>,
    options: &CreateOptions,
    body: impl Write + Send,
) -> Result<Created, DeltaError> {
    let workers = worker_count(options);
    let (jobs, waiting) = sync_channel::<Job>(0);
    let (order, finished) = sync_channel::<Receiver<Result<Packed, DeltaError>>>(workers + 1);
    // It ends with the last worker, so that a reader whose workers are gone does not wait for them.
    let waiting = Arc::new(Mutex::new(waiting));
    thread::scope(|scope| {
        for _ in 0..workers {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .spawn_scoped(scope, move || work_off(&waiting, bases, options.level))
                .map_err(DeltaError::Thread)?;
        }
        drop(waiting);
        let emitting = thread::Builder::new()
            .spawn_scoped(scope, move || emit_all(finished, body, options.level))
            .map_err(DeltaError::Thread)?;
        let read = read_new(new, bases, Groups { jobs, order });
        let emitted = match emitting.join() {
            Ok(emitted) => emitted,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Where groups found no taker, the emitter knows why.
        let read = match read {
            Err(Stopped::Failed(error)) => return Err(error),
            Err(Stopped::NoTaker) => None,
            Ok(read) => Some(read),
        };
        let (body, mut used) = emitted?;
        let read = read.expect("the emitter stops before the last group only where it fails");
        if read.result.diff_id != *diff_id {
            return Err(DeltaError::NewDiffers { wanted: diff_id.clone(), read: read.result.diff_id });
        }
        used.extend(read.copied_from);
        let tar = |number: u32| {
            let layer = bases.layer(number);
            NumberedTar { number, diff_id: layer.diff_id.clone(), size: layer.size }
        };
        Ok(Created { header: Header { result: read.result, bases: used.into_iter().map(tar).collect(), body } })
    })
}

/// A group, and where it goes when its segment is compressed.
type Job = (Group, Sender<Result<Packed, DeltaError>>);

/// Where groups go: to the threads that compress them, and their results to the emitter, in order.
struct Groups {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Result<Packed, DeltaError>>>,
}

impl Groups {
    fn send(&self, group: Group) -> Result<(), Stopped> {
        let (result, receiver) = channel();
        self.order.send(receiver).map_err(|_| Stopped::NoTaker)?;
        self.jobs.send((group, result)).map_err(|_| Stopped::NoTaker)
    }
}

/// Why the new tar was not read to its end.
enum Stopped {
    Failed(DeltaError),
    /// The other threads have ended.
    NoTaker,
}

impl From<DeltaError> for Stopped {
    fn from(error: DeltaError) -> Self {
        Self::Failed(error)
    }
}

fn work_off(waiting: &Mutex<Receiver<Job>>, bases: &BaseIndex<'_>, level: i32) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((group, result)) = job else { return };
        // An emitter that has failed takes no results.
        let _ = result.send(pack(group, bases, level));
    }
}

type Emitted = (super::format::Body, BTreeSet<u32>);

fn emit_all(
    finished: Receiver<Receiver<Result<Packed, DeltaError>>>,
    body: impl Write,
    level: i32,
) -> Result<Emitted, DeltaError> {
    let mut emitter = Emitter::new(body, level)?;
    for result in finished {
        match result.recv() {
            Ok(packed) => emitter.group(packed?)?,
            // The reader found no worker for it, and stops.
            Err(_) => break,
        }
    }
    emitter.finish()
}

/// What the reader knows at the end.
struct NewRead {
    result: Tar,
    copied_from: BTreeSet<u32>,
}

fn read_new(new: impl Read, bases: &BaseIndex<'_>, groups: Groups) -> Result<NewRead, Stopped> {
    let mut reader = NewReader {
        new: HashingReader::new(BufReader::with_capacity(READ_BYTES, new)),
        bases,
        groups,
        builder: GroupBuilder::default(),
    };
    reader.headers()?;
    let NewReader { new, groups, builder, .. } = reader;
    let (copied_from, last) = builder.finish();
    groups.send(last)?;
    let (_, diff_id, size) = new.finish();
    Ok(NewRead { result: Tar { diff_id, size }, copied_from })
}

struct NewReader<'a, R> {
    new: HashingReader<BufReader<R>>,
    bases: &'a BaseIndex<'a>,
    groups: Groups,
    builder: GroupBuilder,
}

impl<R: Read> NewReader<'_, R> {
    fn headers(&mut self) -> Result<(), Stopped> {
        let mut walk = TarWalk::default();
        loop {
            let block = self.read(BLOCK)?;
            let Ok(whole) = <&[u8; BLOCK]>::try_from(block.as_slice()) else {
                self.literal(&block)?;
                return Ok(());
            };
            let step = walk.step(whole);
            if let Step::Unknown(names) = step {
                return self.body(block, &names, u64::MAX);
            }
            self.literal(&block)?;
            match step {
                Step::Extension(size) => {
                    // Its size is far below a piece.
                    let bytes = self.read(size as usize)?;
                    walk.extension(&bytes);
                    self.literal(&bytes)?;
                    self.padding(size)?;
                }
                Step::Body(names, size) => {
                    self.body(Vec::new(), &names, size)?;
                    self.padding(size)?;
                }
                _ => {}
            }
        }
    }

    /// The content of a file, of which `begun` was read already. A size of `u64::MAX`: to the end.
    fn body(&mut self, begun: Vec<u8>, names: &Names, size: u64) -> Result<(), Stopped> {
        let mut piece = begun;
        let mut at = 0;
        let mut before = None;
        while at < size {
            let wanted = PIECE_BYTES.min(usize::try_from(size - at).unwrap_or(usize::MAX));
            let missing = wanted - piece.len();
            self.read_to(&mut piece, missing)?;
            if piece.is_empty() {
                return Ok(());
            }
            before = self.piece(&piece, names, size, at, before)?;
            at += piece.len() as u64;
            let is_cut = piece.len() < wanted;
            piece.clear();
            if is_cut {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One piece of a file; the old file that it is equal to a piece of.
    fn piece(
        &mut self,
        piece: &[u8],
        names: &Names,
        size: u64,
        at: u64,
        before: Option<u32>,
    ) -> Result<Option<u32>, Stopped> {
        if piece.len() < groups::COPY_BYTES {
            self.literal(piece)?;
            return Ok(None);
        }
        if let Some(range) = self.bases.equal(names, size, at, piece, before)? {
            self.builder.copy(range, self.bases)?;
            self.send_full()?;
            return Ok(self.bases.file_of(&range));
        }
        let old = self.bases.version(names, size);
        let old = old.map(|place| (place, self.bases.file(place).content.size));
        if !self.builder.has_room(piece.len(), old) {
            let group = self.builder.take();
            self.groups.send(group)?;
        }
        self.builder.data(piece, old, at, size);
        Ok(None)
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.builder.literal(bytes);
        self.send_full()
    }

    fn padding(&mut self, size: u64) -> Result<(), Stopped> {
        let bytes = self.read(padding(size) as usize)?;
        self.literal(&bytes)
    }

    fn send_full(&mut self) -> Result<(), Stopped> {
        if self.builder.is_full() {
            let group = self.builder.take();
            self.groups.send(group)?;
        }
        Ok(())
    }

    /// So many bytes, or fewer at the end.
    fn read(&mut self, size: usize) -> Result<Vec<u8>, DeltaError> {
        let mut bytes = Vec::new();
        self.read_to(&mut bytes, size)?;
        Ok(bytes)
    }

    fn read_to(&mut self, bytes: &mut Vec<u8>, size: usize) -> Result<(), DeltaError> {
        let read: io::Result<usize> = (&mut self.new).take(size as u64).read_to_end(bytes);
        read.map(|_| ()).map_err(DeltaError::New)
    }
}
