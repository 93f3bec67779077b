//! A new database from a dump: created beside the present one, restored, compared, patched, analysed.

use super::options::{Adaptation, Owners};
use super::parallel::in_parallel;
use super::patches::{Patched, Patches};
use super::streamed::{Restoring, Streamed};
use crate::databases::archive::owners::Owned;
use crate::databases::containers::helper::{Access, Helper, Reach, starting_beside};
use crate::databases::described::inventory::{self, Inventory, Table, TableInventory, shorten};
use crate::databases::described::properties::Properties;
use crate::databases::documents::PatchReport;
use crate::databases::dump::Jobs;
use crate::databases::dump::streamed::{MOST_TABLES, SMALL_BYTES, fits_in_lines};
use crate::databases::error::DatabasesError;
use crate::databases::replace::examine::source::{Expected, Source, by_name};
use crate::databases::replace::swap::renames;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting::qualified;
use crate::databases::server::session::Session;
use crate::report::{Activity, Reporter};

/// A source that has been verified, and the database that it becomes.
pub(in crate::databases) struct Restore<'a> {
    pub source: &'a Source,
    pub expected: &'a Expected,
    pub properties: &'a Properties,
    pub patches: &'a Patches,
    pub adaptation: &'a Adaptation,
    /// The new database's name.
    pub target: &'a str,
    /// The name that people know it by, for progress.
    pub subject: &'a str,
    pub jobs: Jobs,
    /// Whether the database that it replaces is dropped afterwards.
    pub drop_follows: bool,
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
        let restored = match Box::pin(self.as_stream(server)).await? {
            Some(streamed) => Box::pin(self.run_streamed(streamed, server, reporter)).await?,
            None => Box::pin(self.run_with_helper(server, reporter)).await?,
        };
        if self.expected.inserts > 0 {
            let message = message!(
                "databases-inserts-not-compared",
                source = &self.expected.label,
                count = self.expected.inserts
            );
            reporter.warn(message);
        }
        crate::failpoint!("databases.rebuild.after-analyze");
        Ok(restored)
    }

    /// The archive, where it is small, nothing but rows in tables, restored as it is, and the disk is far from full.
    async fn as_stream(&self, server: &Server) -> Result<Option<Streamed>, DatabasesError> {
        let Expected { size_bytes, bytes, tables, large_objects, .. } = self.expected;
        let is_small = self.source.is_ours()
            && size_bytes.max(bytes) <= &SMALL_BYTES
            && tables.len() <= MOST_TABLES
            && *large_objects == Some(0)
            && self.patches.files.is_empty()
            && !matches!(self.adaptation.owners, Owners::Mapped(_))
            && fits_in_lines(&server.client, self.target)
            && server.has_memory_for_tools()
            && !crate::failpoint::pretends("databases.large");
        if !is_small {
            return Ok(None);
        }
        match DiskSpace::of(server, &self.properties.tablespace).await? {
            Some(space) if space.is_ample(server, *size_bytes).await? => {
                Streamed::open(server, &self.source.folder, self.subject).await
            }
            _ => Ok(None),
        }
    }

    async fn run_streamed(
        &self,
        streamed: Streamed,
        server: &Server,
        reporter: &Reporter,
    ) -> Result<Restored, DatabasesError> {
        let starting = Restoring::start(server, self.target, self.adaptation);
        let (restoring, created) = futures::join!(starting, self.create(server, reporter));
        created?;
        let restoring = restoring?;
        reporter.began(Activity::RestoreDatabase, self.subject, Some(self.expected.bytes));
        let work = async {
            streamed.send(restoring, self.subject).await?;
            self.set_givens(server).await?;
            let mut session = server.client.session(self.target).await?;
            let restored = self.compare_in(&mut session).await?;
            session.run(|| message!("sql-analyze-the-tables"), "ANALYZE;").await?;
            session.close().await?;
            Ok(restored)
        };
        let restored: Result<Restored, DatabasesError> = tokio::select! {
            restored = work => restored,
            () = reporter.stop_asked() => {
                server.cancel_statements().await;
                Err(DatabasesError::Stopped { database: self.subject.to_owned() })
            }
        };
        match restored.map_err(|error| error.shown_as(self.target, self.subject)) {
            Ok(restored) => {
                self.tell_restored(&restored, reporter);
                self.set_properties(server).await?;
                Ok(restored)
            }
            Err(error) => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                Err(error)
            }
        }
    }

    fn tell_restored(&self, restored: &Restored, reporter: &Reporter) {
        let message = message!("databases-restored", tables = restored.tables, rows = restored.rows);
        reporter.done(Activity::RestoreDatabase, self.subject, message);
    }

    async fn set_properties(&self, server: &Server) -> Result<(), DatabasesError> {
        let alterations = self.properties.alterations(self.target);
        if alterations.is_empty() {
            return Ok(());
        }
        let home = server.home();
        let set = server.client.execute(home, || message!("sql-set-the-properties-of-the-new-database"), &alterations);
        set.await.map(drop)
    }

    /// What every database has, and this one otherwise.
    async fn set_givens(&self, server: &Server) -> Result<(), DatabasesError> {
        let restorer = server.client.credentials.user.as_str();
        let givens = self.expected.givens.statements(|owner| self.adaptation.owners.of(owner, restorer));
        if !givens.is_empty() {
            server.client.execute(self.target, || message!("sql-set-what-every-database-has"), &givens).await?;
        }
        crate::failpoint!("databases.rebuild.after-restore");
        Ok(())
    }

    async fn run_with_helper(&self, server: &Server, reporter: &Reporter) -> Result<Restored, DatabasesError> {
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
            () = reporter.stop_asked() => {
                server.cancel_statements().await;
                let error = DatabasesError::Stopped { database: self.subject.to_owned() };
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
        let created = server.client.execute(home, || message!("sql-create-the-new-database"), &statement).await;
        crate::failpoint!("databases.rebuild.after-create");
        match created {
            Ok(_) => {
                let message = message!("databases-created", name = self.target);
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
        let filled = self.fill(helper, server, reporter).await;
        let mut restored = match filled.map_err(|error| error.shown_as(self.target, self.subject)) {
            Ok(restored) => restored,
            Err(error) => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                return Err(error);
            }
        };
        self.tell_restored(&restored, reporter);
        self.set_properties(server).await?;
        if !self.patches.files.is_empty() {
            let on = Patched { helper, target: self.target, subject: self.subject, reporter };
            restored.patches = self.patches.run(on).await?;
            self.analyze(helper).await?;
        }
        Ok(restored)
    }

    /// Restores in parallel, and compares tables, rows and large objects with the source. The statistics are gathered
    /// meanwhile, unless patches are to change the rows first; and so is what lies in the server's memory written to its
    /// disk, which the drop of the old database would have to wait for.
    async fn fill(&self, helper: &Helper, server: &Server, reporter: &Reporter) -> Result<Restored, DatabasesError> {
        self.make_way(server).await?;
        crate::failpoint!("databases.rebuild.before-restore");
        let parallel = self.source.can_be_read_in_parallel() && self.jobs.get() > 1;
        let needs_order = match parallel {
            true => in_parallel(server, self.target, self.pg_restore(helper, self.jobs.get())).await?.needs_order(),
            false => false,
        };
        if needs_order {
            reporter.warn(message!("databases-one-by-one", database = self.subject));
            renames::drop_aside(server, self.target).await?;
            let (home, statement) = (server.maintenance(self.target), self.properties.create(self.target));
            server.client.execute(home, || message!("sql-create-the-new-database"), &statement).await?;
            self.make_way(server).await?;
        }
        if needs_order || !parallel {
            self.pg_restore(helper, 1).await?;
        }
        self.give_to_owners(helper, server).await?;
        self.set_givens(server).await?;
        let analysed = async {
            if self.patches.files.is_empty() {
                self.analyze(helper).await?;
                // Nothing else is done in it, and its end takes a while.
                helper.stop().await;
            }
            Ok(())
        };
        // Only a drop would have to wait for that; other databases of the server feel it.
        let written = async {
            if self.drop_follows {
                server
                    .client
                    .execute(server.home(), || message!("sql-write-the-new-database-to-disk"), "CHECKPOINT;")
                    .await?;
            }
            Ok(())
        };
        futures::try_join!(self.compare(server), analysed, written).map(|(restored, (), ())| restored)
    }

    /// An archive that makes the schema `public` itself finds none.
    async fn make_way(&self, server: &Server) -> Result<(), DatabasesError> {
        if self.expected.makes_public {
            let statement = "DROP SCHEMA IF EXISTS public;";
            server.client.execute(self.target, || message!("sql-drop-the-empty-schema-public"), statement).await?;
        }
        Ok(())
    }

    /// Over so many connections; one is one, in the order of the archive.
    async fn pg_restore(&self, helper: &Helper, jobs: u16) -> Result<(), DatabasesError> {
        let mut arguments = vec!["--exit-on-error".to_owned(), "--no-password".to_owned()];
        if jobs > 1 {
            arguments.push(format!("--jobs={jobs}"));
        }
        arguments.extend(self.adaptation.arguments());
        arguments.push(format!("--dbname={}", helper.client.conninfo(self.target)));
        arguments.push(self.source.inside());
        helper.client.tool("pg_restore", self.subject, &arguments).await.map(drop)
    }

    /// Gives what was restored without owners to those that the map says.
    async fn give_to_owners(&self, helper: &Helper, server: &Server) -> Result<(), DatabasesError> {
        if !matches!(self.adaptation.owners, Owners::Mapped(_)) {
            return Ok(());
        }
        let sections = ["--section=pre-data", "--section=post-data", "--no-privileges", "--file=-"].map(str::to_owned);
        let arguments: Vec<String> = sections.into_iter().chain([self.source.inside()]).collect();
        let script = helper.client.tool("pg_restore", self.subject, &arguments).await?;
        let mut script = String::from_utf8_lossy(&script.stdout).into_owned();
        script.push_str(&self.large_objects(helper).await?);
        let restorer = &server.client.credentials.user;
        let statements: Vec<String> = script
            .lines()
            .filter_map(Owned::read)
            .map(|owned| owned.given_to(self.adaptation.owners.of(&owned.owner, restorer)))
            .collect();
        let statements = statements.join("\n");
        // A sequence that a column owns is refused before the column's table has its owner, which it gets with it.
        let twice = format!("\\set ON_ERROR_STOP 0\n{statements}\n\\set ON_ERROR_STOP 1\n{statements}\n");
        server.client.execute(self.target, || message!("sql-give-the-objects-to-their-owners"), &twice).await.map(drop)
    }

    /// The statements that make the archive's large objects and name their owners, where they are no part of a section above:
    /// from 17 on, pg_dump counts them as data (`BLOB METADATA`, `dumpLO` in `pg_dump.c`).
    async fn large_objects(&self, helper: &Helper) -> Result<String, DatabasesError> {
        let listing =
            helper.client.tool("pg_restore", self.subject, &["--list".to_owned(), self.source.inside()]).await?;
        let listing = String::from_utf8_lossy(&listing.stdout);
        let entries: String =
            listing.lines().filter(|line| line.contains(" BLOB METADATA ")).flat_map(|line| [line, "\n"]).collect();
        if entries.is_empty() {
            return Ok(String::new());
        }
        let arguments = ["--use-list=/dev/stdin", "--no-privileges", "--file=-"].map(str::to_owned);
        let arguments: Vec<String> = arguments.into_iter().chain([self.source.inside()]).collect();
        let script = helper.client.tool_with("pg_restore", self.subject, &arguments, entries.as_bytes()).await?;
        Ok(String::from_utf8_lossy(&script.stdout).into_owned())
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
        let restored = self.compare_in(&mut session).await?;
        session.close().await?;
        Ok(restored)
    }

    async fn compare_in(&self, session: &mut Session) -> Result<Restored, DatabasesError> {
        let mut found = TableInventory::read(session).await?;
        let expected = by_name(&self.expected.tables);
        let rows = |table: &Table| expected.get(&(table.schema.as_str(), table.name.as_str())).copied();
        Inventory::count_restored(session, &mut found.tables, rows).await?;
        let mut difference = match self.expected.exhaustive {
            true => inventory::difference(&self.expected.tables, &found.tables),
            false => {
                let mut differences = Vec::new();
                let counted = by_name(&found.tables);
                for table in &self.expected.tables {
                    let rows = match counted.get(&(table.schema.as_str(), table.name.as_str())) {
                        Some(rows) => *rows == table.rows,
                        // A partitioned table, whose rows are its partitions', or an extension's, which has its own.
                        None => count_all(session, table).await? >= table.rows,
                    };
                    if !rows {
                        differences.push(message!(
                            "difference-not-rows",
                            schema = table.schema,
                            table = table.name,
                            rows = table.rows
                        ));
                    }
                }
                shorten(differences)
            }
        };
        if let Some(wanted) = self.expected.large_objects
            && difference.is_none()
            && found.large_objects != wanted
        {
            difference = Some(message!("difference-large-objects", found = found.large_objects, wanted = wanted));
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

async fn count_all(session: &mut Session, table: &Table) -> Result<u64, DatabasesError> {
    let query = format!("SELECT to_json(count(*)) FROM {}", qualified(&table.schema, &table.name));
    session.query(|| message!("sql-count-the-rows"), &query).await
}
