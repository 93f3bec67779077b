//! Database backups: what a site offers, and one brought here file by file. Nothing gets the name of a backup before it is
//! verified; that is `databases::Arrival`'s.

use super::{FetchError, Fetching, reply};
use crate::databases::{Arrival, Arriving, ArrivingFile, BACKUP_RECORD, BackupDocument, MissingFile};
use crate::report::{Activity, Meter, Reporter};
use crate::sites::SitesError;
use crate::sites::desk::remote::Remote;
use crate::sites::protocol::{BackupOffer, BackupsRequest, FileToRead, FolderAt, Reply, Request, Root};

/// So many files are asked for at once: their names fit into a frame.
const AT_ONCE: usize = 500;
/// What a site may say at most: names of backups, files of one, a record.
const MOST_BACKUPS: usize = 100_000;
const MOST_FILES: usize = 2_000_000;
const LARGEST_RECORD: u64 = 128 << 20;

/// What came of a backup.
#[derive(Debug)]
pub enum Fetched {
    Now(BackupDocument),
    /// It was here already.
    Before(BackupDocument),
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
