//! From a delta and the old layers to the new one.
//!
//! 1. One thread reads the delta (`read`), holds every size, range and operation to the limits of the format, and hands on each
//!    group with what its segment needs.
//! 2. Others decompress the segments (`read::decode`).
//! 3. This thread carries out the operations in their order (`rebuild`); one more hashes what they give (`sink`).
//!
//! Everything in a delta is hostile: it allocates nothing above the limits, reads nothing outside the bases, and writes nothing
//! beyond the size that it declares, which the caller's limit holds. What was written before an error is worth nothing.

mod memory;
mod read;
mod rebuild;
mod sink;

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use self::memory::Memory;
use self::read::{DeltaReader, Segment, Undecoded, decode};
use self::rebuild::Rebuilder;
use self::sink::{Hashed, Sink};
use super::bases::BaseLayer;
use super::error::DeltaError;
use super::format::{Header, Tar};
use crate::fs::Digest;

/// What the groups in work may take of the 160 MiB that applying a delta may need.
const GROUPS_BYTES: usize = 96 << 20;

/// What the caller knows of the layer.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub diff_id: &'a Digest,
    /// No more is written.
    pub most_bytes: u64,
    /// Threads that decompress.
    pub threads: usize,
}

/// Writes the layer that the delta rebuilds. Its digest has been compared when this returns without an error, and before that
/// what was written must not be used.
///
/// Of the bases those that the delta names must be there, in any order. The caller has compared their bytes with their
/// digests; a base that is another one all the same is found at the end, as a result that differs.
///
/// # Errors
/// The delta is damaged, or for another layer or other bases; something can't be read or written.
pub fn apply(
    mut delta: impl Read + Send,
    bases: &[BaseLayer<'_>],
    wanted: &Wanted<'_>,
    output: impl Write,
) -> Result<Tar, DeltaError> {
    let header = Header::read(&mut delta)?;
    let result = header.result.clone();
    if result.diff_id != *wanted.diff_id {
        return Err(DeltaError::AnotherResult { wanted: wanted.diff_id.clone(), result: result.diff_id });
    }
    if result.size > wanted.most_bytes {
        return Err(DeltaError::TooLarge { size: result.size, most: wanted.most_bytes });
    }
    let bases = Numbered::of(&header, bases)?;
    let (bases, header) = (&bases, &header);
    let memory = &Memory::new(GROUPS_BYTES);
    let workers = wanted.threads.clamp(1, 4);
    let (groups, next) = sync_channel::<Group<'_>>(workers + 1);
    let (segments, waiting) = sync_channel::<Job>(workers + 1);
    let waiting = Arc::new(Mutex::new(waiting));
    thread::scope(|scope| {
        for _ in 0..workers {
            let waiting = Arc::clone(&waiting);
            spawn(scope, move || work_off(&waiting, bases))?;
        }
        drop(waiting);
        let (pieces, hashed) = Hashed::channel();
        let hashing = spawn(scope, move || hashed.digest())?;
        let reading = spawn(scope, move || read_groups(delta, header, bases, memory, &groups, &segments))?;
        let sink = Sink::new(output, pieces, result.size);
        let rebuilt = rebuild(next, bases, sink);
        // A reader that waits for room must not wait for ever where nobody rebuilds any more.
        memory.close();
        let read = joined(reading);
        let digest = joined(hashing);
        // The reader's error is the cause where both have one; a body that is not the one that was written explains all others.
        match (read, rebuilt) {
            (Err(error), _) | (Ok(Reading::Whole), Err(error)) | (Ok(Reading::Stopped), Err(error)) => Err(error),
            (Ok(Reading::Stopped), Ok(())) => Err(DeltaError::damaged(message!("delta-damage-end"))),
            (Ok(Reading::Whole), Ok(())) if digest == result.diff_id => Ok(result.clone()),
            (Ok(Reading::Whole), Ok(())) => {
                Err(DeltaError::ResultDiffers { wanted: result.diff_id.clone(), result: digest })
            }
        }
    })
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, DeltaError> {
    thread::Builder::new().spawn_scoped(scope, work).map_err(DeltaError::Thread)
}

fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The bases that a delta names, by its numbers.
struct Numbered<'a> {
    layers: Vec<(u32, BaseLayer<'a>)>,
}

impl<'a> Numbered<'a> {
    fn of(header: &Header, given: &[BaseLayer<'a>]) -> Result<Self, DeltaError> {
        let mut layers = Vec::with_capacity(header.bases.len());
        for named in &header.bases {
            let base = given.iter().find(|base| *base.diff_id == named.diff_id && base.size == named.size);
            let base = base.ok_or_else(|| DeltaError::BaseMissing { diff_id: named.diff_id.clone() })?;
            if layers.last().is_some_and(|(number, _)| *number >= named.number) {
                return Err(DeltaError::damaged(message!("delta-damage-header")));
            }
            layers.push((named.number, *base));
        }
        Ok(Self { layers })
    }

    fn get(&self, number: u32) -> Option<&BaseLayer<'a>> {
        let place = self.layers.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.layers[place].1)
    }
}

/// A group on its way to the thread that rebuilds.
struct Group<'m> {
    /// Operations and literal bytes, behind those that name the prefix.
    control: Vec<u8>,
    segment: Option<Receiver<Result<Segment, DeltaError>>>,
    /// Held until the group is done with.
    _room: memory::Room<'m>,
}

type Job = (Undecoded, SyncSender<Result<Segment, DeltaError>>);

fn work_off(waiting: &Mutex<Receiver<Job>>, bases: &Numbered<'_>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((undecoded, result)) = job else { return };
        // The thread that rebuilds may have stopped.
        let _ = result.send(decode(undecoded, bases));
    }
}

/// How reading ended where nothing is wrong with the delta.
enum Reading {
    Whole,
    /// Nobody took the groups.
    Stopped,
}

fn read_groups<'m>(
    delta: impl Read,
    header: &Header,
    bases: &Numbered<'_>,
    memory: &'m Memory,
    groups: &SyncSender<Group<'m>>,
    segments: &SyncSender<Job>,
) -> Result<Reading, DeltaError> {
    let mut reader = DeltaReader::new(delta, header, bases)?;
    while let Some(sizes) = reader.next_group()? {
        let Some(room) = memory.take(sizes.in_work_bytes()) else { return Ok(Reading::Stopped) };
        let (control, undecoded) = reader.group(&sizes)?;
        let segment = match undecoded {
            None => None,
            Some(undecoded) => {
                let (result, receiver) = sync_channel(1);
                if segments.send((undecoded, result)).is_err() {
                    return Ok(Reading::Stopped);
                }
                Some(receiver)
            }
        };
        if groups.send(Group { control, segment, _room: room }).is_err() {
            return Ok(Reading::Stopped);
        }
    }
    reader.finish()?;
    Ok(Reading::Whole)
}

fn rebuild(next: Receiver<Group<'_>>, bases: &Numbered<'_>, sink: Sink<impl Write>) -> Result<(), DeltaError> {
    let mut rebuilder = Rebuilder::new(sink);
    for group in next {
        let segment = match group.segment {
            None => Segment::default(),
            // A worker ends without an answer only where it panics.
            Some(receiver) => receiver.recv().map_err(|_| DeltaError::damaged(message!("delta-damage-segment")))??,
        };
        rebuilder.group(&group.control, &segment, bases)?;
    }
    rebuilder.finish()
}
