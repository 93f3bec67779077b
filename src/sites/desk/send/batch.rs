//! Files on one connection: several are offered at once, and go piece by piece in turn.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;

use super::limit::Limiter;
use super::order::SendFile;
use crate::fs::hash_file;
use crate::report::{Activity, Message, Meter, Reporter};
use crate::sites::SitesError;
use crate::sites::desk::conversation::{Hearing, Speaking, unexpected};
use crate::sites::protocol::{FileOffer, Frame, FrameError, FromReceiver, PIECE_HEAD, Reply, ToReceiver};

/// So many files are on the line at once: while the site makes one safe on its disk, others go on.
const AT_ONCE: usize = 8;
/// So many with those that the site still makes safe after all of them was sent: the line need not wait for that disk. Each takes
/// as much of the site's memory as it has pieces ahead.
const MOST_OPEN: usize = 16;
/// The site ends what nobody has said anything to for a minute.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// A connection on which files go.
pub(super) struct Batch<'r> {
    site: &'r str,
    speaking: Speaking,
    hearing: Hearing,
    reporter: &'r Reporter,
    pub bytes_sent: u64,
}

/// A file that is being sent.
struct Sending {
    number: u32,
    file: File,
    at: u64,
    meter: Meter,
}

/// Files that were offered.
struct Offered<'f> {
    files: HashMap<u32, &'f SendFile>,
    waiting: VecDeque<u32>,
    /// Offered, and not settled yet.
    open: HashSet<u32>,
    /// Those of them that were sent to their ends.
    complete: HashSet<u32>,
    sending: VecDeque<Sending>,
    /// Those that have arrived as something else once.
    again: HashSet<u32>,
}

impl Offered<'_> {
    /// Whether another one may be offered.
    fn has_room(&self) -> bool {
        self.open.len() < MOST_OPEN && self.open.difference(&self.complete).count() < AT_ONCE
    }

    /// Whether it was offered, and was not settled until now.
    fn settle(&mut self, file: u32) -> bool {
        self.complete.remove(&file);
        self.open.remove(&file)
    }
}

impl<'r> Batch<'r> {
    pub fn new(site: &'r str, speaking: Speaking, hearing: Hearing, reporter: &'r Reporter) -> Self {
        Self { site, speaking, hearing, reporter, bytes_sent: 0 }
    }

    pub async fn say(&mut self, frame: &Frame) -> Result<(), SitesError> {
        self.speaking.say(frame).await
    }

    /// Says something and waits for what comes of it.
    pub async fn ask(&mut self, what: &ToReceiver) -> Result<FromReceiver, SitesError> {
        self.say(&Frame::control(what)).await?;
        self.answer().await
    }

    /// What the site says next; meanwhile it hears that this side is there.
    pub async fn answer(&mut self) -> Result<FromReceiver, SitesError> {
        loop {
            match timeout(ALIVE_EVERY, self.hearing.next()).await {
                Ok(heard) => return self.understand(heard).await,
                Err(_) => self.say(&Frame::Alive).await?,
            }
        }
    }

    async fn understand(&mut self, heard: Result<Reply, FrameError>) -> Result<FromReceiver, SitesError> {
        match heard {
            Ok(Reply::Receiver(from)) => Ok(from),
            Ok(other) => Err(unexpected(self.site, &other)),
            Err(error) => Err(self.hearing.lost(&error).await),
        }
    }

    pub fn unexpected(&self, from: FromReceiver) -> SitesError {
        unexpected(self.site, &Reply::Receiver(from))
    }

    pub fn refused(&self, why: Message) -> SitesError {
        SitesError::Refused { site: self.site.to_owned(), why }
    }

    /// Sends files, each by its number; adds those that have arrived to `arrived`.
    pub async fn send(
        &mut self,
        files: Vec<(u32, &SendFile)>,
        limiter: &mut Limiter,
        arrived: &mut HashSet<u32>,
    ) -> Result<(), SitesError> {
        let mut offered = Offered {
            waiting: files.iter().map(|(number, _)| *number).collect(),
            files: files.into_iter().collect(),
            open: HashSet::new(),
            complete: HashSet::new(),
            sending: VecDeque::new(),
            again: HashSet::new(),
        };
        loop {
            while let Some(heard) = self.hearing.heard().transpose() {
                let from = self.understand(heard).await?;
                self.hear(from, &mut offered, arrived).await?;
            }
            while offered.has_room()
                && let Some(number) = offered.waiting.pop_front()
            {
                let file = offered.files[&number];
                let (target, digest) = (file.target.clone(), file.digest.clone());
                let offer = FileOffer { file: number, target, digest, bytes: file.bytes };
                self.say(&Frame::control(&ToReceiver::Offer(offer))).await?;
                offered.open.insert(number);
            }
            match offered.sending.pop_front() {
                Some(sending) => {
                    let number = sending.number;
                    match self.send_piece(sending, &offered, limiter).await? {
                        Some(sending) => offered.sending.push_back(sending),
                        None => _ = offered.complete.insert(number),
                    }
                }
                None if offered.open.is_empty() => return Ok(()),
                None => {
                    let from = self.answer().await?;
                    self.hear(from, &mut offered, arrived).await?;
                }
            }
        }
    }

    /// Sends the next piece of a file; gives it back while there is more of it.
    async fn send_piece(
        &mut self,
        mut sending: Sending,
        offered: &Offered<'_>,
        limiter: &mut Limiter,
    ) -> Result<Option<Sending>, SitesError> {
        let source = offered.files[&sending.number];
        let left = source.bytes - sending.at;
        if left > 0 {
            let most = (limiter.piece() as u64).min(left) as usize;
            let mut piece = BytesMut::zeroed(PIECE_HEAD + most);
            let read = sending.file.read(&mut piece[PIECE_HEAD..]).await.map_err(|error| unreadable(source, error))?;
            if read == 0 {
                return Err(SitesError::SourceChanged { path: source.source.clone() });
            }
            piece.truncate(PIECE_HEAD + read);
            limiter.pass(read).await;
            self.say(&Frame::piece(sending.number, piece)).await?;
            self.bytes_sent += read as u64;
            sending.at += read as u64;
            sending.meter.reach(sending.at);
            if sending.at < source.bytes {
                return Ok(Some(sending));
            }
        }
        self.say(&Frame::control(&ToReceiver::Complete { file: sending.number })).await?;
        Ok(None)
    }

    async fn hear(
        &mut self,
        from: FromReceiver,
        offered: &mut Offered<'_>,
        arrived: &mut HashSet<u32>,
    ) -> Result<(), SitesError> {
        match from {
            FromReceiver::Wants { file, offset } if offered.open.contains(&file) => {
                let source = offered.files[&file];
                if offset > source.bytes {
                    return Err(self.refused(message!("send-offset", subject = source.subject, offset = offset)));
                }
                let opened = async {
                    let mut opened = File::open(&source.source).await?;
                    if opened.metadata().await?.len() != source.bytes {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    opened.seek(io::SeekFrom::Start(offset)).await?;
                    Ok::<_, io::Error>(opened)
                };
                let opened = match opened.await {
                    Ok(opened) => opened,
                    Err(error) => return Err(unreadable(source, error)),
                };
                self.reporter.began(Activity::SendFile, &source.subject, Some(source.bytes));
                let mut meter = self.reporter.meter(Activity::SendFile, &source.subject, Some(source.bytes));
                meter.reach(offset);
                offered.sending.push_back(Sending { number: file, file: opened, at: offset, meter });
            }
            FromReceiver::Has { file } if offered.settle(file) => {
                let source = offered.files[&file];
                if source.is_missing {
                    self.reporter.began(Activity::SendFile, &source.subject, Some(source.bytes));
                    self.reporter.done(Activity::SendFile, &source.subject, message!("send-was-there"));
                }
                arrived.insert(file);
            }
            FromReceiver::Arrived { file } if offered.settle(file) => {
                let source = offered.files[&file];
                self.reporter.done(Activity::SendFile, &source.subject, message!("send-arrived"));
                arrived.insert(file);
            }
            FromReceiver::Differs { file } if offered.settle(file) => {
                let source = offered.files[&file];
                let path = source.source.clone();
                let ours = tokio::task::spawn_blocking(move || hash_file(&path)).await.map_err(io::Error::other);
                let is_ours = ours.flatten().is_ok_and(|(digest, _)| digest == source.digest);
                if !is_ours {
                    return Err(SitesError::SourceChanged { path: source.source.clone() });
                }
                // It went on with something else, or something on the way changed it.
                if !offered.again.insert(file) {
                    return Err(self.refused(message!("send-damaged", subject = source.subject)));
                }
                offered.waiting.push_back(file);
            }
            FromReceiver::Trouble { file, why } => {
                let subject = offered.files.get(&file).map(|file| file.subject.clone()).unwrap_or_default();
                return Err(self.refused(message!(
                    "because",
                    what = message!("words", text = subject),
                    why = why.message()
                )));
            }
            other => return Err(self.unexpected(other)),
        }
        Ok(())
    }
}

fn unreadable(file: &SendFile, source: io::Error) -> SitesError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => SitesError::SourceChanged { path: file.source.clone() },
        _ => SitesError::Source { path: file.source.clone(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_sent_to_its_end_leaves_the_line_to_others() {
        let mut offered = Offered {
            files: HashMap::new(),
            waiting: VecDeque::new(),
            open: HashSet::new(),
            complete: HashSet::new(),
            sending: VecDeque::new(),
            again: HashSet::new(),
        };
        let offer = |offered: &mut Offered<'_>| {
            let before = offered.open.len();
            for number in 0.. {
                if !offered.has_room() {
                    return offered.open.len() - before;
                }
                offered.open.insert(number);
            }
            unreachable!()
        };
        assert_eq!(offer(&mut offered), AT_ONCE);
        offered.complete.extend([0, 1, 2]);
        assert_eq!(offer(&mut offered), 3);
        // However slow the disk there is.
        offered.complete.extend(0..9);
        assert_eq!(offer(&mut offered), MOST_OPEN - AT_ONCE - 3);
        assert!(offered.settle(0) && !offered.settle(0) && offered.has_room());
        // What a site says to have come before it was sent is counted nowhere any more.
        assert!(offered.settle(12));
        offered.complete.insert(12);
        assert!(offered.has_room());
    }
}
