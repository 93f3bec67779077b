//! `db dump`: the delivery's seed, a folder with the same content as a backup.

use std::path::Path;

use super::backup::{self, Shrink};
use crate::databases::archive::names;
use crate::databases::archive::record::Record;
use crate::databases::archive::staging::Staging;
use crate::databases::archive::verification::{Known, Verification};
use crate::databases::containers::throwaway::ServerImage;
use crate::databases::documents::BackupDocument;
use crate::databases::dump::{self, DumpOrder, Jobs, Level, LockPatience, PasswordHashes};
use crate::databases::error::{DatabasesError, DumpKind};
use crate::databases::replace::examine::source::{SourceKind, source_kind};
use crate::databases::server::connect::Server;
use crate::databases::stopping::unless_stopped;
use crate::databases::verify::{self, Depth, VerifySettings};
use crate::report::{Activity, Reporter};

/// How and where to dump.
#[derive(Debug, Clone)]
pub struct SeedSettings {
    /// `databases.<name>.seed`.
    pub path: std::path::PathBuf,
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    /// Compared with the seed that is there.
    pub shrink: Shrink,
    /// Who does it, for the record.
    pub operator: String,
    /// Whether it is restored into a throw-away server and compared before it takes the old one's place.
    pub verify: bool,
}

/// Dumps `database` to its seed. The seed that was there is replaced in one step when the new one is read back and
/// found good; on an error it is untouched.
pub async fn dump_seed(
    server: &Server,
    database: &str,
    settings: &SeedSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    reporter.began(Activity::DumpDatabase, database, None);
    let result = place(server, database, settings, reporter).await;
    match &result {
        Ok(document) => {
            let message = message!("databases-seed-written", path = &document.path);
            reporter.done(Activity::DumpDatabase, database, message);
        }
        Err(error) => reporter.failed(Activity::DumpDatabase, database, error),
    }
    result
}

async fn place(
    server: &Server,
    database: &str,
    settings: &SeedSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let target = &settings.path;
    let home = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staging = Staging::open(home)?;
    let stamp = names::stamp(jiff::Timestamp::now());
    let order = DumpOrder {
        database,
        recorded_as: database,
        since: None,
        stamp: &stamp,
        jobs: settings.jobs,
        level: settings.level,
        hashes: settings.hashes,
        patience: LockPatience::default(),
        operator: &settings.operator,
        project: None,
    };
    let record = dump::dump(server, &order, staging.path(), reporter).await?;
    if settings.shrink == Shrink::Refuse {
        refuse_shrunken(target, &record)?;
    }
    let verification = match settings.verify {
        true => proved(server, settings, staging.path(), reporter).await?,
        false => {
            unless_stopped(reporter, database, verify::check_files(staging.path(), &record)).await?;
            Verification::default()
        }
    };
    crate::failpoint!("databases.seed.before-exchange");
    if std::fs::symlink_metadata(target).is_ok() {
        staging.exchange(target)?;
    } else {
        staging.publish(target)?;
    }
    crate::failpoint!("databases.seed.after-exchange");
    Ok(BackupDocument::new(&Known { record, verification }, target))
}

/// A seed that can't be restored must not take the place of one that can.
async fn proved(
    server: &Server,
    settings: &SeedSettings,
    folder: &Path,
    reporter: &Reporter,
) -> Result<Verification, DatabasesError> {
    let image = ServerImage::of(server).await;
    let how = VerifySettings { depth: Depth::Restore, jobs: settings.jobs, operator: settings.operator.clone() };
    verify::prove(&image, folder, &how, reporter).await?;
    Ok(Verification::read(folder))
}

/// The seed may be all that a delivery has of the data. Of one that others made no more is known than that it is there.
fn refuse_shrunken(target: &Path, record: &Record) -> Result<(), DatabasesError> {
    match source_kind(target) {
        Ok(SourceKind::Backup) => {
            // One that can't be read is no measure.
            let last = Record::read(target).ok();
            backup::refuse_shrunken(DumpKind::Seed, record, last.as_ref())
        }
        Ok(SourceKind::Custom | SourceKind::Directory | SourceKind::Tar | SourceKind::Sql)
            if record.tables.is_empty() =>
        {
            Err(DatabasesError::Emptied { what: DumpKind::Seed, database: record.database.clone(), tables: 0 })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::archive::record::{RECORD_FILE, tests::record};

    #[test]
    fn an_empty_database_does_not_replace_a_seed_with_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (seed, whole) = (folder.path().join("seed"), record());
        let empty = Record { tables: Vec::new(), ..record() };
        assert!(refuse_shrunken(&seed, &empty).is_ok(), "there was none");
        std::fs::create_dir(&seed).unwrap();
        assert!(refuse_shrunken(&seed, &empty).is_ok(), "what is there is no seed");
        std::fs::write(seed.join(RECORD_FILE), whole.to_json()).unwrap();
        assert!(matches!(refuse_shrunken(&seed, &empty), Err(DatabasesError::Emptied { what: DumpKind::Seed, .. })));
        assert!(refuse_shrunken(&seed, &whole).is_ok());
        let plain = folder.path().join("seed.sql");
        std::fs::write(&plain, "CREATE TABLE t ();").unwrap();
        assert!(matches!(refuse_shrunken(&plain, &empty), Err(DatabasesError::Emptied { .. })));
        assert!(refuse_shrunken(&plain, &whole).is_ok());
    }
}
