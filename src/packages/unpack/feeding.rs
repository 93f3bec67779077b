//! Feeding the receiving side: an entry of the package goes to all places that want it, each from where it has come to before.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ProjectFiles;
use crate::packages::PackagesError;
use crate::packages::format::{Entry, PackageReader};
use crate::report::{Meter, Reporter};
use crate::sites::{FileOffer, FromReceiver, ProjectPlace, Receiver, Recorded, Target, ToReceiver};

/// What is no larger is kept in memory, for as many places as want it.
pub const SMALL_BYTES: u64 = 1 << 20;
/// So much is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// More places at once the receiving side does not take.
const PLACES_AT_ONCE: usize = crate::sites::MOST_AT_ONCE / 2;

/// The receiving side, and what it says.
pub(super) struct Feed {
    receiver: Receiver,
    said: mpsc::UnboundedReceiver<FromReceiver>,
    reporter: Reporter,
    meter: Option<Meter>,
    /// The number of the next file.
    next: u32,
    /// Bytes that were taken.
    pub bytes: u64,
}

/// A place that wants an entry from a byte on.
struct Wanting {
    file: u32,
    offset: u64,
}

impl Feed {
    pub fn new(place: ProjectPlace, recorded: Recorded, reporter: &Reporter) -> Self {
        let (says, said) = mpsc::unbounded_channel();
        let receiver = Receiver::new(place, recorded, says);
        Self { receiver, said, reporter: reporter.clone(), meter: None, next: 0, bytes: 0 }
    }

    pub fn measure(&mut self, meter: Meter) {
        self.meter = Some(meter);
    }

    pub async fn tell(&mut self, what: ToReceiver) -> Result<(), PackagesError> {
        self.receiver.follow(what).await.map_err(|why| PackagesError::Receive { why })
    }

    /// Asks for something, and waits for what comes of it.
    pub async fn ask(&mut self, what: ToReceiver) -> Result<FromReceiver, PackagesError> {
        self.tell(what).await?;
        self.hear().await
    }

    async fn hear(&mut self) -> Result<FromReceiver, PackagesError> {
        // The receiver has a sender of its own: it can't end.
        self.said.recv().await.ok_or_else(|| PackagesError::Receive { why: message!("package-receiver-silent") })
    }

    /// Hands the present entry of the package to all places that want it; passes over it where none does.
    pub async fn entry(
        &mut self,
        reader: &mut PackageReader,
        entry: &Entry,
        targets: Vec<Target>,
    ) -> Result<(), PackagesError> {
        if targets.is_empty() {
            return reader.skip(entry.bytes);
        }
        if targets.len() > PLACES_AT_ONCE || targets.len() > 1 && entry.bytes <= SMALL_BYTES {
            let content = read_small(reader, entry)?;
            // One after the other: two that have the same folder share what has come.
            for target in targets {
                let wanting = self.offer(entry, vec![target]).await?;
                self.pieces(&wanting, 0, &content).await;
                self.complete(entry, wanting).await?;
            }
            return self.passed(entry.bytes);
        }
        let wanting = self.offer(entry, targets).await?;
        let Some(first) = wanting.iter().map(|wanting| wanting.offset).min() else {
            reader.skip(entry.bytes)?;
            return self.passed(entry.bytes);
        };
        reader.skip(first)?;
        self.passed(first)?;
        let mut position = first;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.pieces(&wanting, position, &buffer[..read]).await;
            position += read as u64;
            self.bytes += read as u64;
            self.passed(read as u64)?;
            // A disk that is full says so before all has been read in vain.
            if let Ok(said) = self.said.try_recv() {
                return Err(trouble(entry, &said));
            }
        }
        self.complete(entry, wanting).await
    }

    /// Hands a file of the project to a place that wants it.
    pub async fn file(&mut self, files: &mut ProjectFiles, entry: &Entry, target: Target) -> Result<(), PackagesError> {
        let wanting = self.offer(entry, vec![target]).await?;
        let Some(mut position) = wanting.first().map(|wanting| wanting.offset) else { return Ok(()) };
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = files.piece(entry, position, &mut buffer)?;
            if read == 0 {
                break;
            }
            self.pieces(&wanting, position, &buffer[..read]).await;
            position += read as u64;
            self.bytes += read as u64;
        }
        self.complete(entry, wanting).await
    }

    fn passed(&mut self, bytes: u64) -> Result<(), PackagesError> {
        if let Some(meter) = &mut self.meter {
            meter.add(bytes);
        }
        match self.reporter.asked_to_stop() {
            true => Err(PackagesError::Stopped),
            false => Ok(()),
        }
    }

    /// Offers an entry to places, and hears which want it.
    async fn offer(&mut self, entry: &Entry, targets: Vec<Target>) -> Result<Vec<Wanting>, PackagesError> {
        let count = targets.len();
        for target in targets {
            let offer = FileOffer { file: self.next, target, digest: entry.digest.clone(), bytes: entry.bytes };
            self.next += 1;
            self.tell(ToReceiver::Offer(offer)).await?;
        }
        let mut wanting = Vec::new();
        for _ in 0..count {
            match self.hear().await? {
                FromReceiver::Wants { file, offset } => wanting.push(Wanting { file, offset }),
                FromReceiver::Has { .. } => {}
                other => return Err(trouble(entry, &other)),
            }
        }
        Ok(wanting)
    }

    /// Hands over what begins at a byte of the entry.
    async fn pieces(&mut self, wanting: &[Wanting], position: u64, bytes: &[u8]) {
        for place in wanting {
            let has = usize::try_from(place.offset.saturating_sub(position)).unwrap_or(usize::MAX).min(bytes.len());
            if has < bytes.len() {
                self.receiver.piece(place.file, Bytes::copy_from_slice(&bytes[has..])).await;
            }
        }
    }

    /// Says that all of an entry was handed over, and hears that it has passed its digest.
    async fn complete(&mut self, entry: &Entry, wanting: Vec<Wanting>) -> Result<(), PackagesError> {
        for place in &wanting {
            self.tell(ToReceiver::Complete { file: place.file }).await?;
        }
        for _ in &wanting {
            match self.hear().await? {
                FromReceiver::Arrived { .. } => {}
                other => return Err(trouble(entry, &other)),
            }
        }
        Ok(())
    }
}

fn read_small(reader: &mut PackageReader, entry: &Entry) -> Result<Vec<u8>, PackagesError> {
    let mut content = Vec::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(content),
            _ if entry.bytes > SMALL_BYTES => return Err(PackagesError::TooManyCopies { path: entry.name.clone() }),
            read => content.extend_from_slice(&buffer[..read]),
        }
    }
}

fn trouble(entry: &Entry, said: &FromReceiver) -> PackagesError {
    match said {
        FromReceiver::Differs { .. } => PackagesError::Differs { name: entry.name.clone() },
        FromReceiver::Trouble { why, .. } => PackagesError::Receive { why: why.message() },
        other => unexpected(other),
    }
}

pub(super) fn unexpected(said: &FromReceiver) -> PackagesError {
    PackagesError::Receive { why: message!("package-receiver-unexpected", said = format!("{said:?}")) }
}
