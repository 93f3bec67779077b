//! An archive that says little of itself, read through once by `pg_restore` in a container without a network.

use std::path::Path;

use super::Source;
use super::expected::Expected;
use crate::databases::archive::script::{self, ScriptFacts};
use crate::databases::containers::helper::{Access, Helper, Reach};
use crate::databases::described::inventory::{Givens, Table};
use crate::databases::error::{DatabasesError, Said};
use crate::databases::replace::options::{Adaptation, Owners};
use crate::databases::server::any_bytes;
use crate::databases::server::client::chance;
use crate::databases::server::connect::Server;
use crate::engine::ExecSpec;

impl Source {
    pub(super) async fn schema_facts(
        &self,
        server: &Server,
        adaptation: &Adaptation,
    ) -> Result<ScriptFacts, DatabasesError> {
        let helper = Helper::start(server, &self.folder, Access::Read, Reach::Nothing).await?;
        let facts = self.schema_facts_in(&helper, adaptation).await;
        helper.end().await;
        facts
    }

    async fn schema_facts_in(&self, helper: &Helper, adaptation: &Adaptation) -> Result<ScriptFacts, DatabasesError> {
        let mut arguments = vec!["--schema-only".to_owned(), "--file=-".to_owned()];
        // Who owns what shows, and is left out of what is needed behind it.
        arguments.extend(Adaptation { owners: Owners::AsDumped, ..adaptation.clone() }.arguments());
        arguments.push(self.inside());
        let schema = helper.client.run("pg_restore", &arguments, b"").await?;
        if schema.exit_code != 0 {
            return Err(self.damaged(&schema.stderr));
        }
        Ok(script::read_schema(&String::from_utf8_lossy(&schema.stdout)))
    }

    fn damaged(&self, stderr: &[u8]) -> DatabasesError {
        DatabasesError::Damaged {
            path: self.path.clone(),
            damage: message!("damage-pg-restore", said = Said::new(stderr)),
        }
    }

    pub(super) async fn read_through(
        &self,
        server: &Server,
        adaptation: &Adaptation,
    ) -> Result<Expected, DatabasesError> {
        let helper = Helper::start(server, &self.folder, Access::Read, Reach::Nothing).await?;
        let found = self.read_through_in(&helper, adaptation).await;
        helper.end().await;
        found
    }

    async fn read_through_in(&self, helper: &Helper, adaptation: &Adaptation) -> Result<Expected, DatabasesError> {
        let listing = helper.client.run("pg_restore", &["--list".to_owned(), self.inside()], b"").await?;
        if listing.exit_code != 0 {
            let said = Said::new(&listing.stderr);
            // What pg_restore says in C's language (`pg_backup_archiver.c`) of an archive whose format is newer than it.
            return Err(match said.text().contains("unsupported version (") {
                true => DatabasesError::NewerArchive { path: self.path.clone(), source: said },
                false => self.damaged(&listing.stderr),
            });
        }
        let facts = self.schema_facts_in(helper, adaptation).await?;
        let token = chance("dpl-end");
        let program = helper.client.program("pg_restore");
        let command = ["sh", "-c", COUNT, program.as_str(), &token, &self.inside()].map(str::to_owned).into();
        let spec = ExecSpec { command, environment: vec!["LC_ALL=C".to_owned()], ..Default::default() };
        let counted = helper.client.engine.exec(&helper.client.container, &spec, b"").await?;
        // Of a database without an encoding names may be no UTF-8.
        let text = String::from_utf8(counted.stdout).unwrap_or_else(|error| any_bytes::decode(error.as_bytes()));
        let rows = script::read_counts(&text);
        let Some(rows) = rows.filter(|rows| rows.exit_code == 0) else {
            return Err(self.damaged(&counted.stderr));
        };
        let mut expected = self.found(&String::from_utf8_lossy(&listing.stdout), &facts, rows);
        expected.needs(&facts, adaptation, &helper.client.credentials.user);
        Ok(expected)
    }

    fn found(&self, listing: &str, facts: &ScriptFacts, rows: script::Rows) -> Expected {
        let version = script::header(listing, "Dumped from database version:").unwrap_or_default();
        let total: u64 = rows.tables.values().sum();
        let tables = rows.tables.into_iter().map(|((schema, name), rows)| Table { schema, name, oid: 0, rows });
        Expected {
            label: self.path.display().to_string(),
            database: None,
            tables: tables.collect(),
            holds_rows: rows.inserts > 0 || total > 0,
            inserts: rows.inserts,
            defined_tables: facts.tables,
            exhaustive: false,
            large_objects: None,
            roles: Vec::new(),
            tablespaces: Vec::new(),
            made_roles: Vec::new(),
            extensions: facts.extensions.iter().cloned().collect(),
            major: version.split(['.', ' ', 'd', 'b', 'r']).next().and_then(|major| major.parse().ok()),
            server_version: version,
            size_bytes: rows.bytes + BYTES_BESIDE_A_ROW * total,
            bytes: size_of(&self.path),
            properties: None,
            encoding: facts.encoding.clone(),
            makes_public: facts.makes_public,
            givens: Givens::default(),
        }
    }
}

/// A row's header and the pointer to it (PostgreSQL's "Database Page Layout"); its values take about what their text does.
const BYTES_BESIDE_A_ROW: u64 = 28;

/// For progress only: what can't be looked at has no size.
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// `$0` is pg_restore, `$1` the word that tells its exit code from a row, `$2` the archive. Rows are counted where they
/// are, since the engine's stream would be the bottleneck.
const COUNT: &str = r#"{ "$0" --data-only --file=- "$2"; echo "$1 $?"; } | awk -v end="$1" '
  index($0, end " ") == 1 { print "exit\t" substr($0, length(end) + 2); next }
  inside && $0 == "\\." { print rows "\t" head; inside = 0; next }
  inside { rows++; bytes += length($0) + 1; next }
  /^COPY .* FROM stdin;$/ { inside = 1; rows = 0; head = $0 }
  /^INSERT INTO / { inserts++ }
  END { printf "inserts\t%.0f\nbytes\t%.0f\n", inserts, bytes }'"#;
