//! A new database from a dump: created beside the present one, restored, compared, patched, analysed.

use super::patches::Patches;
use crate::databases::containers::helper::{Access, Helper, Reach, starting_beside};
use crate::databases::described::inventory::{self, Inventory, Table, shorten};
use crate::databases::described::properties::Properties;
use crate::databases::documents::PatchReport;
use crate::databases::dump::Jobs;
use crate::databases::error::DatabasesError;
use crate::databases::replace::examine::source::{Expected, Source, by_name};
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting::qualified;
use crate::report::{Activity, Message, Reporter};

/// A source that has been verified, and the database that it becomes.
pub(in crate::databases) struct Restore<'a> {
    pub source: &'a Source,
    pub expected: &'a Expected,
    pub properties: &'a Properties,
    pub patches: &'a Patches,
    /// The new database's name.
    pub target: &'a str,
    /// The name that people know it by, for progress.
    pub subject: &'a str,
    pub jobs: Jobs,
}

/// What came out.
#[derive(Debug, Default)]
pub(in crate::databases) struct Restored {
    pub tables: u64,
    pub rows: u64,
    pub patches: Vec<PatchReport>,
}

impl Restore<'_> {
    /// Makes the database, complete: nothing is missing but its name.
    pub async fn run(&self, server: &Server, reporter: &Reporter) -> Result<Restored, DatabasesError> {
        let starting = Helper::start(server, &self.source.folder, Access::Read, Reach::Server);
        let (helper, ()) = starting_beside(starting, self.create(server, reporter)).await?;
        let space = DiskSpace::of(server, &self.properties.tablespace).await?;
        let runs_out = async {
            match &space {
                Some(space) => space.runs_out(server, self.subject).await,
                None => std::future::pending().await,
            }
        };
        let restored = tokio::select! {
            restored = self.run_in(&helper, server, reporter) => restored,
            error = runs_out => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                Err(error)
            }
        };
        helper.end().await;
        restored
    }

    async fn create(&self, server: &Server, reporter: &Reporter) -> Result<(), DatabasesError> {
        reporter.began(Activity::CreateDatabase, self.subject, None);
        crate::failpoint!("databases.rebuild.before-create");
        let statement = self.properties.create(self.target);
        let home = server.maintenance(self.target);
        let created = server.client.execute(home, "create the new database", &statement).await;
        crate::failpoint!("databases.rebuild.after-create");
        match created {
            Ok(_) => {
                let message = Message::new("databases-created").with("name", self.target);
                reporter.done(Activity::CreateDatabase, self.subject, message);
                Ok(())
            }
            Err(error) => {
                reporter.failed(Activity::CreateDatabase, self.subject, &error);
                Err(error)
            }
        }
    }

    async fn run_in(&self, helper: &Helper, server: &Server, reporter: &Reporter) -> Result<Restored, DatabasesError> {
        reporter.began(Activity::RestoreDatabase, self.subject, Some(self.expected.bytes));
        let mut restored = match self.fill(helper, server).await {
            Ok(restored) => restored,
            Err(error) => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                return Err(error);
            }
        };
        let message = Message::new("databases-restored").with("tables", restored.tables).with("rows", restored.rows);
        reporter.done(Activity::RestoreDatabase, self.subject, message);
        let alterations = self.properties.alterations(self.target);
        server.client.execute(server.home(), "set the new database's properties", &alterations).await?;
        if !self.patches.files.is_empty() {
            restored.patches = self.patches.run(helper, self.target, self.subject, reporter).await?;
            self.analyze(helper).await?;
        }
        crate::failpoint!("databases.rebuild.after-analyze");
        Ok(restored)
    }

    /// Restores in parallel, and compares tables, rows and large objects with the source. The statistics are gathered
    /// meanwhile, unless patches are to change the rows first; and so is what lies in the server's memory written to its
    /// disk, which the drop of the old database would have to wait for.
    async fn fill(&self, helper: &Helper, server: &Server) -> Result<Restored, DatabasesError> {
        if self.expected.makes_public {
            let statement = "DROP SCHEMA IF EXISTS public;";
            server.client.execute(self.target, "make room for the archive's own schema", statement).await?;
        }
        crate::failpoint!("databases.rebuild.before-restore");
        let mut arguments = vec!["--exit-on-error".to_owned(), "--no-password".to_owned()];
        if self.source.can_be_read_in_parallel() {
            arguments.push(self.jobs());
        }
        arguments.push(format!("--dbname={}", helper.client.conninfo(self.target)));
        arguments.push(self.source.inside());
        helper.client.tool("pg_restore", self.subject, &arguments).await?;
        crate::failpoint!("databases.rebuild.after-restore");
        let analysed = async { if self.patches.files.is_empty() { self.analyze(helper).await } else { Ok(()) } };
        let written = server.client.execute(server.home(), "write the new database to the disk", "CHECKPOINT;");
        futures::try_join!(self.compare(server), analysed, written).map(|(restored, (), _)| restored)
    }

    /// One more than for a dump: a restore's processes wait for the server by turns, and one that reads and unpacks
    /// leaves a core to the server.
    fn jobs(&self) -> String {
        format!("--jobs={}", self.jobs.get().saturating_add(1))
    }

    async fn analyze(&self, helper: &Helper) -> Result<(), DatabasesError> {
        let arguments = [
            "--analyze-only".to_owned(),
            "--quiet".to_owned(),
            "--no-password".to_owned(),
            format!("--jobs={}", self.jobs.get()),
            format!("--dbname={}", helper.client.conninfo(self.target)),
        ];
        helper.client.tool("vacuumdb", self.subject, &arguments).await.map(drop)
    }

    /// A `.dat.gz` that was cut between two members restores without an error: only counting finds that.
    async fn compare(&self, server: &Server) -> Result<Restored, DatabasesError> {
        let mut session = server.client.session(self.target).await?;
        let mut found = Inventory::read(&mut session).await?;
        Inventory::count(&mut session, &mut found.tables).await?;
        let mut difference = match self.expected.exhaustive {
            true => inventory::difference(&self.expected.tables, &found.tables),
            false => {
                let mut differences = Vec::new();
                let counted = by_name(&found.tables);
                for table in &self.expected.tables {
                    let rows = match counted.get(&(table.schema.as_str(), table.name.as_str())) {
                        Some(rows) => *rows == table.rows,
                        // A partitioned table, whose rows are its partitions', or an extension's, which has its own.
                        None => count_all(&mut session, table).await? >= table.rows,
                    };
                    if !rows {
                        differences.push(format!("table {}.{} has not {} rows", table.schema, table.name, table.rows));
                    }
                }
                shorten(differences)
            }
        };
        session.close().await?;
        if let Some(wanted) = self.expected.large_objects
            && difference.is_none()
            && found.large_objects != wanted
        {
            difference = Some(format!("it has {} large objects instead of {wanted}", found.large_objects));
        }
        match difference {
            None => Ok(Restored {
                tables: found.tables.len() as u64,
                rows: found.tables.iter().map(|table| table.rows).sum(),
                patches: Vec::new(),
            }),
            Some(difference) => {
                Err(DatabasesError::RestoredOtherwise { source_path: self.source.path.clone(), difference })
            }
        }
    }
}

async fn count_all(
    session: &mut crate::databases::server::client::Session,
    table: &Table,
) -> Result<u64, DatabasesError> {
    let query = format!("SELECT to_json(count(*)) FROM {}", qualified(&table.schema, &table.name));
    session.query("count the rows", &query).await
}
