//! Everything that could keep a rebuild from its end, asked before anything is made: all that is wrong at once.

pub(in crate::databases) mod fitness;
pub(super) mod obstacles;
mod settings;
pub(in crate::databases) mod source;

use std::path::Path;

use self::source::{Expected, Mark, Source};
use crate::databases::described::inventory::{Inventory, Role, TableInventory};
use crate::databases::described::properties::Properties;
use crate::databases::dump::backup::{self, Shrink};
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::replace::drop_old::{self, OldDatabase};
use crate::databases::replace::options::{Identity, NewDatabase, Placement, RebuildOptions};
use crate::databases::replace::preserve::Preservation;
use crate::databases::replace::recovery;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting;
use crate::report::{Message, Reporter};

/// PostgreSQL's `NAMEDATALEN`, without the end mark.
const LONGEST_NAME: usize = 63;

/// Where the rows come from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// One of our folders, or an archive of pg_dump's.
    Path(&'a Path),
    /// The same, read through already; again where somebody has touched it since.
    Examined(&'a Examination),
}

/// A dump that [`examine`] read from its first byte to its last.
#[derive(Debug, Clone)]
pub struct Examination {
    source: Source,
    expected: Expected,
    marks: Vec<Mark>,
}

impl Origin<'_> {
    fn path(&self) -> &Path {
        match self {
            Origin::Path(path) => path,
            Origin::Examined(examination) => &examination.source.path,
        }
    }
}

/// What would keep [`rebuild()`](crate::databases::rebuild()) from beginning, as it finds it itself; for those who have several to do,
/// and want to begin with none before all of them can be done. What was read need not be read again:
/// [`Origin::Examined`].
pub async fn examine(
    server: &Server,
    database: &str,
    source: &Path,
    options: &RebuildOptions,
    reporter: &Reporter,
) -> Result<Examination, DatabasesError> {
    let examining = Examining { server, database, origin: Origin::Path(source), options, reporter };
    let Examined { source, expected, marks, .. } = Box::pin(examining.run()).await?;
    Ok(Examination { source, expected, marks })
}

/// What was found before anything was made.
pub(in crate::databases) struct Examined {
    pub source: Source,
    pub expected: Expected,
    /// From before it was read.
    marks: Vec<Mark>,
    pub properties: Properties,
    /// Those that the server lacks and somebody wants to be made.
    pub roles: Vec<Role>,
    /// Whether there is a database to be replaced.
    pub replaces: bool,
}

/// A dump, and its marks from before it was read.
struct Read {
    source: Source,
    marks: Vec<Mark>,
}

/// What is looked at before a database is replaced.
pub(super) struct Examining<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    pub origin: Origin<'a>,
    pub options: &'a RebuildOptions,
    pub reporter: &'a Reporter,
}

impl Examining<'_> {
    /// Everything that can be known beforehand, and all that is wrong with it at once.
    pub async fn run(&self) -> Result<Examined, DatabasesError> {
        let server = self.server;
        let (Read { source, marks }, verified) = self.read_through().await?;
        let present = Properties::read(&server.client, server.maintenance(self.database), self.database).await?;
        let replaces = present.is_some() && self.options.placement == Placement::Replace;
        let mut problems = Vec::new();
        let known = verified.as_ref().ok().cloned().or_else(|| source.known());
        let mut properties = None;
        let mut roles = Vec::new();
        if let Some(expected) = &known {
            let own = match present {
                Some(present) => present,
                None => {
                    let mut own = self.options.new.apply(server, expected).await?;
                    self.options.adaptation.apply(&mut own, &server.client.credentials.user);
                    settings::leave_out_unknown(server, &mut own, self.reporter).await?;
                    own
                }
            };
            let wanted = fitness::Wanted { database: self.database, expected, properties: &own, replaces };
            let findings = fitness::look(server, &wanted, self.options).await?;
            problems.extend(findings.problems);
            roles = findings.roles;
            properties = Some(own);
        }
        if replaces
            && self.options.identity == Identity::Same
            && let Some(other) = known.as_ref().and_then(|expected| expected.database.as_ref())
            && other != self.database
        {
            problems.push(message!("unfit-other-database", other = other, database = self.database));
        }
        problems.extend(self.options.patches.problems());
        let size_of_new = known.as_ref().map_or(0, |expected| expected.size_bytes);
        if replaces {
            problems.extend(obstacles::of(server, self.database).await?);
            problems.extend(Preservation::problems_of(server, self.database, &self.options.preserve).await?);
            if let Some(expected) = known.filter(|expected| expected.tables.is_empty() && !expected.holds_rows)
                && self.options.shrink == Shrink::Refuse
            {
                problems.extend(self.emptying(expected.defined_tables).await?);
            }
            problems.extend(self.problems_of_backups(size_of_new).await?);
        }
        if self.name().len() > LONGEST_NAME {
            problems.push(message!(
                "unfit-long-name",
                name = self.name(),
                bytes = self.name().len(),
                most = LONGEST_NAME
            ));
        }
        if let Placement::Beside(name) = &self.options.placement
            && server.has(name).await?
        {
            problems.push(message!("unfit-name-taken", name = name));
        }
        match (verified, properties) {
            (Ok(expected), Some(properties)) if problems.is_empty() => {
                Ok(Examined { source, expected, marks, properties, roles, replaces })
            }
            (Err(error), _) if problems.is_empty() => Err(error),
            (verified, _) => {
                if let Err(error) = verified {
                    problems.insert(0, in_one_line(&error));
                }
                let (database, source_path) = (self.name().to_owned(), self.origin.path().to_owned());
                Err(DatabasesError::Unfit { database, source_path, problems })
            }
        }
    }

    /// The dump, and what must come out of it once all of it was read.
    async fn read_through(&self) -> Result<(Read, Result<Expected, DatabasesError>), DatabasesError> {
        if let Origin::Examined(Examination { source, expected, marks }) = self.origin
            && source.marks().is_ok_and(|now| now == *marks)
        {
            return Ok((Read { source: source.clone(), marks: marks.clone() }, Ok(expected.clone())));
        }
        let source = Source::open(self.origin.path())?;
        // Damage may be that a file is missing: that is for the reading to say.
        let marks = source.marks().unwrap_or_default();
        let verified = Box::pin(source.verify(self.server, &self.options.adaptation, self.reporter)).await;
        Ok((Read { source, marks }, verified))
    }

    fn name(&self) -> &str {
        self.options.placement.name(self.database)
    }

    /// What would keep those from being backed up and proved that go once the new one is in place: the present database,
    /// or kept ones that are too many with it.
    async fn problems_of_backups(&self, size_of_new: u64) -> Result<Vec<Message>, DatabasesError> {
        let kept = drop_old::kept_names(self.database, &recovery::look(self.server).await?);
        let all: Vec<&str> = kept.iter().map(String::as_str).chain([self.database]).collect();
        let (settings, going) = match &self.options.old {
            OldDatabase::BackUpAndDrop(settings) => (settings, &all[kept.len()..]),
            OldDatabase::Keep { count, backup } => (backup, &all[..all.len().saturating_sub(*count)]),
            OldDatabase::Drop => return Ok(Vec::new()),
        };
        if going.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = going.iter().map(|name| quoting::literal(name)).collect();
        let query = format!(
            "SELECT json_build_array(coalesce(sum(bytes), 0), coalesce(max(bytes), 0)) FROM \
             (SELECT pg_catalog.pg_database_size(oid) AS bytes FROM pg_catalog.pg_database WHERE datname IN ({})) AS sizes",
            names.join(", ")
        );
        let home = self.server.maintenance(self.database);
        let asking = || message!("sql-ask-for-the-size-of-the-database");
        let [together, largest]: [u64; 2] = self.server.client.query(home, asking, &query).await?;
        let mut problems = Vec::new();
        // With so many none has to go.
        let enough = all.len();
        problems.extend(backup::problem_of_place(&settings.folder, self.database, together, enough));
        // One after the other.
        problems.extend(obstacles::of_proof(self.server, largest, size_of_new, enough).await?);
        Ok(problems)
    }

    /// What would be lost to a source that holds no rows, whether or not it makes some tables.
    async fn emptying(&self, made: u64) -> Result<Option<Message>, DatabasesError> {
        let mut session = self.server.client.session(self.database).await?;
        let mut tables = TableInventory::read(&mut session).await?.tables;
        let rows = match Inventory::count(&mut session, &mut tables).await {
            Ok(()) => match tables.iter().map(|table| table.rows).sum::<u64>() {
                0 => None,
                rows => Some(message!("words", text = rows)),
            },
            // Tables that no query can be planned for may have rows all the same.
            Err(DatabasesError::Sql { .. }) => Some(message!("rows-uncounted")),
            Err(error) => return Err(error),
        };
        // One that could not count has ended.
        let _ = session.close().await;
        let (database, tables) = (self.database, tables.len());
        Ok(rows.map(|rows| match made {
            0 => message!("unfit-no-tables", database = database, rows = rows, tables = tables),
            made => message!("unfit-no-rows", made = made, database = database, rows = rows, tables = tables),
        }))
    }
}

impl NewDatabase {
    /// What is asked for, over what the source was, over what the server makes by itself.
    async fn apply(&self, server: &Server, source: &Expected) -> Result<Properties, DatabasesError> {
        let mut properties = match &source.properties {
            Some(properties) => properties.clone(),
            None => self.by_default(server, source).await?,
        };
        if let Some(owner) = &self.owner {
            properties.owner = owner.clone();
        }
        if let Some(encoding) = &self.encoding {
            properties.encoding = encoding.clone();
        }
        if let Some(locale) = &self.locale {
            properties.locale_provider = "libc".to_owned();
            (properties.locale, properties.icu_rules) = (None, None);
            (properties.collate, properties.ctype) = (locale.clone(), locale.clone());
        }
        Ok(properties)
    }

    /// As `CREATE DATABASE` without a word more would make it, in the archive's encoding.
    async fn by_default(&self, server: &Server, source: &Expected) -> Result<Properties, DatabasesError> {
        let template = Properties::read(&server.client, server.home(), "template1").await?.unwrap_or_default();
        Ok(Properties {
            owner: server.client.credentials.user.clone(),
            encoding: source.encoding.clone().unwrap_or(template.encoding),
            collate: template.collate,
            ctype: template.ctype,
            locale_provider: template.locale_provider,
            locale: template.locale,
            icu_rules: template.icu_rules,
            tablespace: "pg_default".to_owned(),
            connection_limit: -1,
            ..Properties::default()
        })
    }
}
