//! The journal of a site: what is new of it, behind what is here.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{FetchError, Fetching};
use crate::fs::{DurableFile, Hasher, Mode, create_dir_durably, hash_file};
use crate::report::{Activity, Meter, Reporter};
use crate::sites::protocol::{FileToRead, Root};

/// The largest that a site may send.
const LARGEST_JOURNAL: u64 = 256 << 20;
/// The journal's name here.
const JOURNAL: &str = crate::state::JOURNAL;

/// What came of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedJournal {
    pub path: PathBuf,
    pub bytes: u64,
    pub new_bytes: u64,
}

impl Fetching<'_> {
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
