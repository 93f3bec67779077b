//! `db dump`: the delivery's seed, a folder with the same content as a backup.

use std::path::Path;

use super::backup::Workshop;
use super::documents::BackupDocument;
use super::dump::{self, DumpOrder, Jobs, Level, PasswordHashes};
use super::error::DatabasesError;
use super::names;
use super::server::Server;
use super::verification::{Known, Verification};
use super::verify;
use crate::report::{Activity, Message, Reporter};

/// How and where to dump.
#[derive(Debug, Clone)]
pub struct SeedSettings {
    /// `databases.<name>.seed`.
    pub path: std::path::PathBuf,
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    /// Who does it, for the record.
    pub operator: String,
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
            let message =
                Message::new("databases-seed-written").with("database", database).with("path", &document.path);
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
    let workshop = Workshop::open(home)?;
    let stamp = names::stamp(jiff::Timestamp::now());
    let order = DumpOrder {
        database,
        recorded_as: database,
        stamp: &stamp,
        jobs: settings.jobs,
        level: settings.level,
        hashes: settings.hashes,
        operator: &settings.operator,
    };
    let record = dump::dump(server, &order, workshop.path(), reporter).await?;
    verify::check_files(workshop.path(), &record).await?;
    crate::failpoint!("databases.seed.before-exchange");
    if std::fs::symlink_metadata(target).is_ok() {
        workshop.exchange(target)?;
    } else {
        workshop.publish(target)?;
    }
    crate::failpoint!("databases.seed.after-exchange");
    Ok(BackupDocument::new(&Known { record, verification: Verification::default() }, target))
}
