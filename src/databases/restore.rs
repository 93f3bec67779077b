//! A new database from a dump: created beside the present one, restored, compared.

use std::path::Path;

use super::dump::Jobs;
use super::error::DatabasesError;
use super::helper::{Access, Helper, INSIDE, Reach};
use super::inventory::{self, Inventory};
use super::properties::Properties;
use super::record::{ARCHIVE, Record};
use super::server::Server;
use crate::report::{Activity, Message, Reporter};

/// A dump that has been verified, and the empty database that it goes to.
pub(super) struct Restore<'a> {
    pub folder: &'a Path,
    pub record: &'a Record,
    /// The new database's name.
    pub target: &'a str,
    /// The name that people know it by, for progress.
    pub subject: &'a str,
    pub jobs: Jobs,
}

/// Creates the empty database `name`.
pub(super) async fn create(
    server: &Server,
    name: &str,
    subject: &str,
    properties: &Properties,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    reporter.began(Activity::CreateDatabase, subject, None);
    crate::failpoint!("databases.rebuild.before-create");
    let created =
        server.client.execute(server.maintenance(name), "create the new database", &properties.create(name)).await;
    crate::failpoint!("databases.rebuild.after-create");
    match created {
        Ok(_) => {
            reporter.done(Activity::CreateDatabase, subject, Message::new("databases-created").with("name", name));
            Ok(())
        }
        Err(error) => {
            reporter.failed(Activity::CreateDatabase, subject, &error);
            Err(error)
        }
    }
}

impl Restore<'_> {
    /// Restores in parallel, compares tables, rows and large objects with the record, and collects statistics.
    pub async fn run(&self, server: &Server, reporter: &Reporter) -> Result<(), DatabasesError> {
        reporter.began(Activity::RestoreDatabase, self.subject, Some(self.record.bytes()));
        match self.fill(server).await {
            Ok(()) => {
                let message = Message::new("databases-restored")
                    .with("tables", self.record.tables.len())
                    .with("rows", self.record.rows());
                reporter.done(Activity::RestoreDatabase, self.subject, message);
                Ok(())
            }
            Err(error) => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                Err(error)
            }
        }
    }

    async fn fill(&self, server: &Server) -> Result<(), DatabasesError> {
        let helper = Helper::start(server, self.folder, Access::Read, Reach::Server).await?;
        let filled = self.fill_with(server, &helper).await;
        helper.end().await;
        filled
    }

    async fn fill_with(&self, server: &Server, helper: &Helper) -> Result<(), DatabasesError> {
        let conninfo = format!("--dbname={}", helper.client.conninfo(self.target));
        let jobs = format!("--jobs={}", self.jobs.get());
        crate::failpoint!("databases.rebuild.before-restore");
        let arguments = [
            "--exit-on-error".to_owned(),
            "--no-password".to_owned(),
            jobs.clone(),
            conninfo.clone(),
            format!("{INSIDE}/{ARCHIVE}"),
        ];
        helper.client.tool("pg_restore", self.subject, &arguments).await?;
        crate::failpoint!("databases.rebuild.after-restore");
        self.compare(server).await?;
        let arguments = ["--analyze-only".to_owned(), "--quiet".to_owned(), "--no-password".to_owned(), jobs, conninfo];
        helper.client.tool("vacuumdb", self.subject, &arguments).await?;
        crate::failpoint!("databases.rebuild.after-analyze");
        Ok(())
    }

    /// A `.dat.gz` that was cut between two members restores without an error: only counting finds that.
    async fn compare(&self, server: &Server) -> Result<(), DatabasesError> {
        let mut session = server.client.session(self.target).await?;
        let mut restored = Inventory::read(&mut session).await?;
        Inventory::count(&mut session, &mut restored.tables).await?;
        session.close().await?;
        let mut difference = inventory::difference(&self.record.tables, &restored.tables);
        if difference.is_none() && restored.large_objects != self.record.large_objects {
            let (found, wanted) = (restored.large_objects, self.record.large_objects);
            difference = Some(format!("it has {found} large objects instead of {wanted}"));
        }
        match difference {
            None => Ok(()),
            Some(difference) => {
                Err(DatabasesError::RestoredOtherwise { source_path: self.folder.to_owned(), difference })
            }
        }
    }
}
