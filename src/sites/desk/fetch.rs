//! Brings database backups and the journal of a site here. What has arrived stays: a connection that breaks is made again, and
//! the same command again goes on in the middle of a file.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::conversation::Conversation;
use super::remote::Remote;
use crate::databases::{Arrival, Arriving, ArrivingFile, BACKUP_RECORD, BackupDocument, DatabasesError, MissingFile};
use crate::fs::{DurableFile, Hasher, Mode, create_dir_durably, hash_file};
use crate::report::{Activity, Message, Meter, Reporter, Told};
use crate::sites::SitesError;
use crate::sites::protocol::{
    BackupOffer, BackupsRequest, FileHead, FileToRead, FolderAt, Frame, ProjectPlace, ReadRequest, Reply, Request, Root,
};

/// A site that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A connection is made again so often when nothing comes of it, after pauses that grow up to the longest.
const TRIES: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So many files are asked for at once: their names fit into a frame.
const AT_ONCE: usize = 500;
/// What a site may say at most: names of backups, files of one, a record, a journal.
const MOST_BACKUPS: usize = 100_000;
const MOST_FILES: usize = 2_000_000;
const LARGEST_RECORD: u64 = 128 << 20;
const LARGEST_JOURNAL: u64 = 256 << 20;
/// The journal's name here.
const JOURNAL: &str = crate::state::JOURNAL;

/// Why something could not be brought here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    Site(#[source] SitesError),
    Dump(#[source] DatabasesError),
    File {
        path: PathBuf,
        source: io::Error,
    },
    NoRoom {
        folder: PathBuf,
        wanted: u64,
        free: u64,
    },
    /// Another backup of this ID is here.
    Other {
        path: PathBuf,
    },
    /// The journal that came is not the one that the site has.
    Journal,
    Stopped,
}

impl Told for FetchError {
    fn message(&self) -> Message {
        match self {
            Self::Site(error) => error.message(),
            Self::Dump(error) => error.message(),
            Self::File { path, .. } => message!("fetch-file", path = path.display()),
            Self::NoRoom { folder, wanted, free } => {
                message!("fetch-no-room", folder = folder.display(), wanted = wanted, free = free)
            }
            Self::Other { path } => message!("fetch-other", path = path.display()),
            Self::Journal => message!("fetch-journal-digest"),
            Self::Stopped => message!("failure-interrupted"),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Site(error) if error.is_unreachable() => Some(message!("hint-fetch-again")),
            Self::Other { .. } => Some(message!("hint-fetch-other")),
            _ => None,
        }
    }
}

impl From<SitesError> for FetchError {
    fn from(error: SitesError) -> Self {
        Self::Site(error)
    }
}

impl From<DatabasesError> for FetchError {
    fn from(error: DatabasesError) -> Self {
        Self::Dump(error)
    }
}

/// Where things come from and go to.
pub struct Fetching<'f> {
    pub remote: &'f Remote,
    pub project: ProjectPlace,
    /// The site's folder here; backups get their places below it.
    pub folder: PathBuf,
    /// Bytes a second, at most.
    pub limit: Option<u64>,
    /// Who does it, for the proof of a backup.
    pub operator: String,
}

/// What came of a backup.
#[derive(Debug)]
pub enum Fetched {
    Now(BackupDocument),
    /// It was here already.
    Before(BackupDocument),
}

/// What came of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedJournal {
    pub path: PathBuf,
    pub bytes: u64,
    pub new_bytes: u64,
}

/// The database backups of a site.
///
/// # Errors
/// A site that can't be reached or refuses.
pub async fn offered_backups(remote: &Remote, request: BackupsRequest) -> Result<Vec<BackupOffer>, SitesError> {
    let mut conversation = remote.ask(&Request::Backups(request)).await?;
    let mut offers = Vec::new();
    loop {
        match reply(&mut conversation, remote).await? {
            Reply::Backup(offer) if is_plain_id(&offer.id) && offers.len() < MOST_BACKUPS => offers.push(*offer),
            Reply::Done => return Ok(offers),
            other => return Err(conversation.unexpected(&other)),
        }
    }
}

/// It is a part of paths before anything else is known of it.
fn is_plain_id(id: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%".contains(&b))
    };
    id.len() < 600 && id.split_once('/').is_some_and(|(database, stamp)| is_plain(database) && is_plain(stamp))
}

async fn reply(conversation: &mut Conversation, remote: &Remote) -> Result<Reply, SitesError> {
    match timeout(SILENCE, conversation.reply()).await {
        Ok(reply) => reply,
        Err(_) => Err(silent(remote)),
    }
}

fn silent(remote: &Remote) -> SitesError {
    let why = message!("site-silent", seconds = SILENCE.as_secs());
    SitesError::ConnectionLost { site: remote.name().to_owned(), why }
}

impl Fetching<'_> {
    /// Whether a backup is here already, as far as its name tells.
    pub fn has(&self, offer: &BackupOffer) -> bool {
        self.folder.join("databases").join(&offer.id).join(BACKUP_RECORD).exists()
    }

    /// Brings a backup here, verified.
    ///
    /// # Errors
    /// What has arrived until then stays, and is gone on with.
    pub async fn backup(&self, offer: &BackupOffer, reporter: &Reporter) -> Result<Fetched, FetchError> {
        let id = offer.id.as_str();
        reporter.began(Activity::FetchBackup, id, Some(offer.bytes));
        let mut meter = reporter.meter(Activity::FetchBackup, id, Some(offer.bytes));
        let result = self.with_patience(&mut meter, reporter, async |meter| self.try_backup(offer, meter).await).await;
        match &result {
            Ok(Fetched::Now(document)) => {
                let message = message!("fetch-backup-done", path = &document.path);
                reporter.done(Activity::FetchBackup, id, message);
            }
            Ok(Fetched::Before(_)) => reporter.done(Activity::FetchBackup, id, message!("fetch-present")),
            Err(error) => reporter.failed(Activity::FetchBackup, id, error),
        }
        result
    }

    /// Tries again when the connection breaks, as long as something comes; and once where something arrived damaged.
    async fn with_patience<T>(
        &self,
        meter: &mut Meter,
        reporter: &Reporter,
        work: impl AsyncFn(&mut Meter) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let (mut tries, mut was_damaged) = (0, false);
        loop {
            let before = meter.done_bytes();
            let done = tokio::select! {
                done = work(meter) => done,
                () = reporter.stop_asked() => Err(FetchError::Stopped),
            };
            match done {
                Err(FetchError::Dump(DatabasesError::Damaged { .. })) if !was_damaged => was_damaged = true,
                Err(FetchError::Site(error)) if error.is_unreachable() && meter.done_bytes() > 0 => {
                    tries = if meter.done_bytes() > before { 1 } else { tries + 1 };
                    if tries > TRIES {
                        return Err(error.into());
                    }
                    reporter.notice(message!("fetch-again", site = self.remote.name(), why = error.message()));
                    self.remote.forget().await;
                    let pause = Duration::from_millis(250 << tries).min(LONGEST_PAUSE);
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = reporter.stop_asked() => return Err(FetchError::Stopped),
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_backup(&self, offer: &BackupOffer, meter: &mut Meter) -> Result<Fetched, FetchError> {
        let place = format!("databases/{}", offer.id);
        let record = self.read_whole(&format!("{place}/{BACKUP_RECORD}"), LARGEST_RECORD).await?;
        let arrival = match Arrival::begin(&self.folder, &offer.id, &record)? {
            Arriving::Here(document) => return Ok(Fetched::Before(*document)),
            Arriving::Other(path) => return Err(FetchError::Other { path }),
            Arriving::Missing(arrival) => arrival,
        };
        let mut missing = arrival.missing()?;
        if let Some(unnamed) = arrival.unnamed() {
            missing.extend(arrival.missing_objects(&self.names(format!("{place}/{unnamed}")).await?)?);
        }
        let wanted: u64 = missing.iter().map(|file| file.bytes - file.have).sum();
        self.check_room(wanted)?;
        meter.set_total(arrival.bytes());
        meter.reach(arrival.bytes().saturating_sub(wanted).max(1));
        for files in missing.chunks(AT_ONCE) {
            self.read_files(&place, files, &arrival, meter).await?;
        }
        Ok(Fetched::Now(arrival.finish(&self.operator).await?))
    }

    fn check_room(&self, wanted: u64) -> Result<(), FetchError> {
        let free = crate::fs::Disk::of(&self.folder).map(|disk| disk.free_bytes);
        match free {
            Some(free) if free < wanted => Err(FetchError::NoRoom { folder: self.folder.clone(), wanted, free }),
            _ => Ok(()),
        }
    }

    /// The files of a folder there.
    async fn names(&self, path: String) -> Result<Vec<(String, u64)>, FetchError> {
        let folder = FolderAt { project: self.project.clone(), root: Root::Backups, path };
        let mut conversation = self.remote.ask(&Request::Names(folder)).await?;
        let mut all = Vec::new();
        loop {
            match reply(&mut conversation, self.remote).await? {
                Reply::Names { names } if all.len() < MOST_FILES => all.extend(names),
                Reply::Done => return Ok(all),
                other => return Err(conversation.unexpected(&other).into()),
            }
        }
    }

    fn file(&self, root: Root, path: String, most: u64) -> FileToRead {
        FileToRead { root, path, from: 0, known: None, proved: false, most, optional: false }
    }

    async fn ask(&self, files: Vec<FileToRead>) -> Result<Conversation, FetchError> {
        let request = ReadRequest { project: self.project.clone(), files, limit: self.limit };
        Ok(self.remote.ask(&Request::Read(request)).await?)
    }

    async fn read_whole(&self, path: &str, most: u64) -> Result<Vec<u8>, FetchError> {
        let mut conversation = self.ask(vec![self.file(Root::Backups, path.to_owned(), most)]).await?;
        let head = self.head(&mut conversation).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut conversation).await? {
            if bytes.len() as u64 + piece.len() as u64 > most.min(head.bytes) {
                return Err(self.refused(message!("damage-file-longer", wanted = head.bytes)));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn refused(&self, why: Message) -> FetchError {
        SitesError::Refused { site: self.remote.name().to_owned(), why }.into()
    }

    async fn head(&self, conversation: &mut Conversation) -> Result<FileHead, FetchError> {
        match reply(conversation, self.remote).await? {
            Reply::File(head) => Ok(head),
            other => Err(conversation.unexpected(&other).into()),
        }
    }

    /// The next bytes of a file; `None` at its end.
    async fn piece(&self, conversation: &mut Conversation) -> Result<Option<Bytes>, FetchError> {
        loop {
            match timeout(SILENCE, conversation.next()).await {
                Ok(Ok(Frame::Data(bytes))) => return Ok(Some(bytes)),
                Ok(Ok(Frame::DataEnd)) => return Ok(None),
                Ok(Ok(Frame::Control(bytes))) => {
                    let reply = serde_json::from_slice::<Reply>(&bytes).unwrap_or(Reply::Done);
                    return Err(conversation.unexpected(&reply).into());
                }
                Ok(Ok(Frame::Alive | Frame::Output(_) | Frame::Error(_) | Frame::Piece(_))) => {}
                Ok(Err(error)) => return Err(conversation.lost(&error).await.into()),
                Err(_) => return Err(silent(self.remote).into()),
            }
        }
    }

    async fn read_files(
        &self,
        place: &str,
        files: &[MissingFile],
        arrival: &Arrival,
        meter: &mut Meter,
    ) -> Result<(), FetchError> {
        let wanted = files.iter().map(|file| FileToRead {
            from: file.have,
            ..self.file(Root::Backups, format!("{place}/{}", file.path), file.bytes)
        });
        let mut conversation = self.ask(wanted.collect()).await?;
        for file in files {
            let head = self.head(&mut conversation).await?;
            // One that is shorter there now starts over.
            let from = if head.from == file.have { file.have } else { 0 };
            let mut opened: ArrivingFile = arrival.open(&file.going_on_from(from))?;
            while let Some(piece) = self.piece(&mut conversation).await? {
                opened.write(&piece)?;
                meter.add(piece.len() as u64);
            }
            opened.finish()?;
        }
        Ok(())
    }

    /// Brings the journal here: what is new of it.
    ///
    /// # Errors
    /// What was here stays.
    pub async fn journal(&self, reporter: &Reporter) -> Result<Option<FetchedJournal>, FetchError> {
        let name = self.remote.name();
        reporter.began(Activity::FetchJournal, name, None);
        let mut meter = reporter.meter(Activity::FetchJournal, name, None);
        let result = self.with_patience(&mut meter, reporter, async |meter| self.try_journal(meter).await).await;
        match &result {
            Ok(Some(journal)) => {
                let message = message!("fetch-journal-done", bytes = journal.new_bytes, path = journal.path.display());
                reporter.done(Activity::FetchJournal, name, message);
            }
            Ok(None) => reporter.done(Activity::FetchJournal, name, message!("fetch-no-journal")),
            Err(error) => reporter.failed(Activity::FetchJournal, name, error),
        }
        result
    }

    async fn try_journal(&self, meter: &mut Meter) -> Result<Option<FetchedJournal>, FetchError> {
        let path = self.folder.join(JOURNAL);
        let failed = |source| FetchError::File { path: path.clone(), source };
        create_dir_durably(&self.folder).map_err(failed)?;
        let own = match hash_file(&path) {
            Ok(own) => Some(own),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let (known, have) = own.map_or((None, 0), |(digest, bytes)| (Some(digest), bytes));
        let wanted = FileToRead {
            from: have,
            known,
            proved: true,
            optional: true,
            ..self.file(Root::State, JOURNAL.to_owned(), LARGEST_JOURNAL)
        };
        let mut conversation = self.ask(vec![wanted]).await?;
        let head = self.head(&mut conversation).await?;
        let Some(digest) = head.digest.filter(|_| head.bytes > 0) else { return Ok(None) };
        let mut file = DurableFile::create(&path, Mode::Private).map_err(failed)?;
        let mut hasher = Hasher::new();
        if head.from > 0 {
            if head.from != have {
                return Err(FetchError::Journal);
            }
            copy(&path, &mut file, &mut hasher).map_err(failed)?;
        }
        let mut bytes = head.from;
        while let Some(piece) = self.piece(&mut conversation).await? {
            bytes += piece.len() as u64;
            if bytes > head.bytes {
                return Err(FetchError::Journal);
            }
            file.write_all(&piece).map_err(failed)?;
            hasher.update(&piece);
            meter.add(piece.len() as u64);
        }
        if bytes != head.bytes || hasher.finish() != digest {
            return Err(FetchError::Journal);
        }
        let new_bytes = bytes - head.from;
        if head.from == 0 && have > 0 {
            // Another journal than the one that was here, which is kept.
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            fs::rename(&path, self.folder.join(format!("journal-{now}.jsonl"))).map_err(failed)?;
        }
        if new_bytes > 0 {
            file.commit().map_err(failed)?;
        }
        Ok(Some(FetchedJournal { path, bytes, new_bytes }))
    }
}

fn copy(path: &Path, file: &mut DurableFile, hasher: &mut Hasher) -> io::Result<()> {
    let mut own = fs::File::open(path)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        match own.read(&mut piece)? {
            0 => return Ok(()),
            length => {
                file.write_all(&piece[..length])?;
                hasher.update(&piece[..length]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_lead_elsewhere_are_refused() {
        assert!(is_plain_id("expert/20260704T101530Z") && is_plain_id("%E6%A1%A3/20260704T101530Z-2"));
        for id in
            ["", "expert", "../x", "expert/..", "expert/../x", "/etc/passwd", "a/b/c", "a/\u{1b}[2J", "a/ b", ".a/b"]
        {
            assert!(!is_plain_id(id), "{id}");
        }
    }
}
