//! A new database from a dump: created beside the present one, restored, compared, patched, analysed.

use super::options::{Adaptation, Owners};
use super::patches::Patches;
use crate::databases::archive::owners::Owned;
use crate::databases::containers::helper::{Access, Helper, Reach, starting_beside};
use crate::databases::described::inventory::{self, Inventory, Table, shorten};
use crate::databases::described::properties::Properties;
use crate::databases::documents::PatchReport;
use crate::databases::dump::Jobs;
use crate::databases::error::DatabasesError;
use crate::databases::replace::examine::source::{Expected, Source, by_name};
use crate::databases::replace::swap::renames;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting::qualified;
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

/// Whether `pg_restore` failed at something that may depend on what other tables hold already: rows, and what checks them
/// (the description of the archive's entry in what it says, which no language changes). One of several processes does not
/// say at which entry it failed, and works on nothing but such.
pub(in crate::databases) fn depends_on_order(error: &DatabasesError) -> bool {
    let DatabasesError::Tool { program: "pg_restore", source, .. } = error else { return false };
    let text = source.text();
    if !text.contains("TOC entry ") {
        // What libpq says of a server that is gone, and pg_restore of the end of one process (`parallel.c`), in C's language.
        return text.contains("worker process died") && !text.contains("server closed the connection");
    }
    let entries = text.lines().filter_map(|line| line.split_once("TOC entry ")?.1.split_once("; "));
    let mut described = entries.filter_map(|(_, entry)| entry.splitn(3, ' ').nth(2));
    described.any(|entry| {
        [
            "TABLE DATA ",
            "FK CONSTRAINT ",
            "CHECK CONSTRAINT ",
            "INDEX ",
            "CONSTRAINT ",
            "MATERIALIZED VIEW DATA ",
            "SEQUENCE SET ",
        ]
        .iter()
        .any(|kind| entry.starts_with(kind))
    })
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
        let created = server.client.execute(home, "create the new database", &statement).await;
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
        let mut restored = match self.fill(helper, server, reporter).await {
            Ok(restored) => restored,
            Err(error) => {
                reporter.failed(Activity::RestoreDatabase, self.subject, &error);
                return Err(error);
            }
        };
        let message = message!("databases-restored", tables = restored.tables, rows = restored.rows);
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
    async fn fill(&self, helper: &Helper, server: &Server, reporter: &Reporter) -> Result<Restored, DatabasesError> {
        self.make_way(server).await?;
        crate::failpoint!("databases.rebuild.before-restore");
        let parallel = self.source.can_be_read_in_parallel() && self.jobs.get() > 1;
        match self.pg_restore(helper, if parallel { self.jobs.get() } else { 1 }).await {
            // Rows that ask other tables' rows (constraints by function, tables of extensions) came before them: in the
            // dump's own order, one after the other, they don't.
            Err(error) if parallel && depends_on_order(&error) => {
                reporter.warn(message!("databases-one-by-one", database = self.subject));
                renames::drop_aside(server, self.target).await?;
                server
                    .client
                    .execute(
                        server.maintenance(self.target),
                        "create the new database",
                        &self.properties.create(self.target),
                    )
                    .await?;
                self.make_way(server).await?;
                self.pg_restore(helper, 1).await?;
            }
            restored => restored?,
        }
        self.give_to_owners(helper, server).await?;
        crate::failpoint!("databases.rebuild.after-restore");
        let analysed = async { if self.patches.files.is_empty() { self.analyze(helper).await } else { Ok(()) } };
        // Only a drop would have to wait for that; other databases of the server feel it.
        let written = async {
            if self.drop_follows {
                server.client.execute(server.home(), "write the new database to the disk", "CHECKPOINT;").await?;
            }
            Ok(())
        };
        futures::try_join!(self.compare(server), analysed, written).map(|(restored, (), ())| restored)
    }

    /// An archive that makes the schema `public` itself finds none.
    async fn make_way(&self, server: &Server) -> Result<(), DatabasesError> {
        if self.expected.makes_public {
            let statement = "DROP SCHEMA IF EXISTS public;";
            server.client.execute(self.target, "drop the empty schema public", statement).await?;
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
        // Large objects have owners too, and are in no schema.
        let sections = ["--section=pre-data", "--section=post-data", "--no-privileges", "--file=-"].map(str::to_owned);
        let arguments: Vec<String> = sections.into_iter().chain([self.source.inside()]).collect();
        let script = helper.client.tool("pg_restore", self.subject, &arguments).await?;
        let script = String::from_utf8_lossy(&script.stdout);
        let restorer = &server.client.credentials.user;
        let statements: Vec<String> = script
            .lines()
            .filter_map(Owned::read)
            .map(|owned| owned.given_to(self.adaptation.owners.of(&owned.owner, restorer)))
            .collect();
        let statements = statements.join("\n");
        // A sequence that a column owns is refused before the column's table has its owner, which it gets with it.
        let twice = format!("\\set ON_ERROR_STOP 0\n{statements}\n\\set ON_ERROR_STOP 1\n{statements}\n");
        server.client.execute(self.target, "give the objects to their owners", &twice).await.map(drop)
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
        let expected = by_name(&self.expected.tables);
        let rows = |table: &Table| expected.get(&(table.schema.as_str(), table.name.as_str())).copied();
        Inventory::count_restored(&mut session, &mut found.tables, rows).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::error::Said;

    #[test]
    fn rows_that_came_too_early_are_told_from_what_is_wrong_in_any_order() {
        let said = |text: &str| DatabasesError::Tool {
            program: "pg_restore",
            database: "d".to_owned(),
            code: 1,
            source: Said::new(text.as_bytes()),
        };
        let data = "pg_restore: während PROCESSING TOC:\npg_restore: von TOC entry 3318; 0 16386 TABLE DATA layer postgres\n\
                    pg_restore: Fehler: COPY failed for table \"layer\": ERROR: violates foreign key constraint";
        assert!(depends_on_order(&said(data)));
        let schema = "pg_restore: from TOC entry 215; 1259 16386 TABLE t postgres\npg_restore: error: no such role";
        assert!(!depends_on_order(&said(schema)));
        assert!(!depends_on_order(&said("pg_restore: error: could not connect")));
        // As 15 says it with `--jobs`.
        let several = "pg_restore: error: COPY failed for table \"c\": ERROR:  new row violates check constraint \"c_check\"\n\
                       pg_restore: error: a worker process died unexpectedly";
        assert!(depends_on_order(&said(several)));
        let gone = "pg_restore: error: COPY failed for table \"c\": server closed the connection unexpectedly\n\
                    pg_restore: error: a worker process died unexpectedly";
        assert!(!depends_on_order(&said(gone)));
    }
}
