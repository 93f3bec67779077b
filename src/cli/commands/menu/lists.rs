//! The menu's lists: actions, services with their state, databases with their backups.
//!
//! Where the engine can't be reached a list is shorter, and says why: numbers are numbers without it.

use std::time::Duration;

use jiff::Timestamp;

use super::entries::{MENU, MenuKind};
use crate::catalogue::Catalogue;
use crate::cli::ask::picker::Page;
use crate::cli::commands::databases;
use crate::cli::commands::status::{self, Drawing};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
use crate::engine::Engine;
use crate::manifest::SiteList;
use crate::report::{Message, Told as _};

/// The menu does not wait longer for an engine that is merely to be looked at.
const PATIENCE: Duration = Duration::from_secs(10);

/// A numbered list.
pub struct List {
    /// A line above it.
    title: Option<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// For each row what a filter searches, in small letters.
    pub words: Vec<String>,
    /// What is to be said before it.
    pub notes: Vec<Message>,
}

impl List {
    fn new(columns: Vec<Column>, rows: Vec<Vec<String>>) -> Self {
        let words = rows.iter().map(|row| console::strip_ansi_codes(&row.join(" ")).to_lowercase()).collect();
        Self { title: None, columns, rows, words, notes: Vec::new() }
    }

    /// As lines; as wide as it likes where `width` is absent.
    pub fn text(&self, width: Option<usize>) -> String {
        let table = table::fitted(&self.columns, &self.rows, width);
        match &self.title {
            Some(title) => format!("\n{title}\n{}", table.split_once('\n').map_or("", |(_, rows)| rows)),
            None => table,
        }
    }

    /// Its header and its rows, to be shown in part.
    pub fn page(&self, width: usize) -> Page {
        let table = table::fitted(&self.columns, &self.rows, Some(width));
        let mut lines = table.lines().map(str::to_owned);
        let header = lines.next().unwrap_or_default();
        Page { header: self.title.clone().unwrap_or(header), rows: lines.collect() }
    }
}

/// What can be done; the last row leaves.
pub fn actions(project: &Project, session: &Session) -> List {
    let catalogue = session.output.catalogue;
    let title = message!(
        "menu-title",
        project = &project.manifest().project,
        path = project.path.file_name().unwrap_or_default().to_string_lossy()
    );
    let entries = MENU.iter().map(|entry| vec![entry.number.to_string(), catalogue.text(&entry.title())]);
    let leave = vec!["0".to_owned(), catalogue.text(&message!("menu-leave"))];
    let columns = vec![Column::new("").right(), Column::new("").at_least(8)];
    let mut list = List::new(columns, entries.chain([leave]).collect());
    // A command's own word finds it in every language.
    for (words, entry) in list.words.iter_mut().zip(&MENU) {
        words.push_str(&format!(" {}", command(entry.kind)));
    }
    list.title = Some(catalogue.text(&title));
    list
}

/// The command that does the same.
fn command(kind: MenuKind) -> &'static str {
    match kind {
        MenuKind::Save => "save",
        MenuKind::Load => "load",
        MenuKind::Restart => "restart",
        MenuKind::Stop => "stop",
        MenuKind::Dump => "db dump",
        MenuKind::Rebuild => "db rebuild",
        MenuKind::Backup => "db backup",
        MenuKind::Restore => "db restore",
        MenuKind::Status => "status",
        MenuKind::Logs => "logs",
        MenuKind::Plan => "plan",
        MenuKind::Doctor => "doctor",
        MenuKind::Send => "send",
        MenuKind::AtSite => "on",
    }
}

/// The services with state, health and drift, from the look that `status` takes.
pub fn services(project: &Project, session: &mut Session) -> Result<List, Failure> {
    let manifest = project.manifest();
    let all: Vec<String> = manifest.services.iter().map(|(_, name, _)| name.to_owned()).collect();
    let looked = session.engine().and_then(|engine| {
        session.wait_for(async {
            let looked = tokio::time::timeout(PATIENCE, crate::services::status(&engine, manifest, &all)).await;
            looked.map_err(|_| no_answer()).and_then(|report| Ok(report?))
        })
    });
    let mut notes = Vec::new();
    let (report, is_known) = match looked {
        Ok(report) => (report, true),
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(failure) => {
            notes.push(message!("menu-no-state", why = failure.message()));
            (crate::services::status_report(manifest, &all, &Default::default()), false)
        }
    };
    let output = session.output.clone();
    let paint = |tone, text: &str| output.paint_err(tone, text);
    let drawing = Drawing { catalogue: output.catalogue, now: Timestamp::now(), paint: &paint };
    let rows = report.services.iter().map(|service| {
        let mut row = drawing.choice_row(service);
        if !is_known {
            row[status::STATE] = String::new();
        }
        row
    });
    let rows = rows.collect();
    Ok(List { notes, ..List::new(drawing.choice_columns(), rows) })
}

/// The sites of the project.
pub fn sites(sites: &SiteList, catalogue: &Catalogue) -> List {
    let title = |key| Column::new(catalogue.word(key));
    let columns = vec![
        title(message!("column-number")).right(),
        title(message!("column-site")).at_least(8),
        title(message!("column-address")).at_least(12).leaves(2),
        title(message!("column-folder")).at_least(12).leaves(1),
    ];
    let rows = sites.sites.iter().enumerate().map(|(place, (name, site))| {
        let offline = || catalogue.word(message!("site-offline")).to_owned();
        vec![
            (place + 1).to_string(),
            name.clone(),
            site.ssh.clone().unwrap_or_else(offline),
            site.folder.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let rows = rows.collect();
    List::new(columns, rows)
}

fn no_answer() -> Failure {
    Failure::Work(format!("the engine did not answer within {} s", PATIENCE.as_secs()).into())
}

/// The engine, and the time by its clock.
fn introduced(session: &mut Session) -> Result<(Engine, Timestamp), Failure> {
    let engine = session.engine()?;
    let now = session.wait_for(async { Ok(engine.facts().await?.now()) })?;
    Ok((engine, now))
}

/// The databases with their size, and how old their last backups are.
pub fn databases(project: &Project, session: &mut Session) -> Result<List, Failure> {
    let chosen = select::databases(project.manifest(), &[], Unselected::All)?;
    let mut notes = Vec::new();
    let (engine, now) = match introduced(session) {
        Ok((engine, now)) => (Some(engine), now),
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(failure) => {
            notes.push(message!("menu-no-state", why = failure.message()));
            (None, Timestamp::now())
        }
    };
    let (listed, warnings) = databases::look(project, &chosen, engine.as_ref(), session)?;
    notes.extend(warnings);
    let dash = || "-".to_owned();
    let catalogue = session.output.catalogue;
    let title = |key| Column::new(catalogue.word(key));
    let columns = vec![
        title(message!("column-number")).right(),
        title(message!("column-database")).at_least(8),
        title(message!("column-size")).right(),
        title(message!("column-backup")).right(),
        title(message!("column-verified")).right().leaves(1),
        title(message!("column-seed")).leaves(2),
        title(message!("column-server")).at_least(6).leaves(3),
    ];
    let rows = listed.databases.iter().map(|database| {
        let of = |id: &Option<String>| {
            let backup = listed.backups.iter().find(|backup| Some(&backup.id) == id.as_ref());
            backup.map_or_else(dash, |backup| age(&backup.created_at, now, catalogue))
        };
        vec![
            database.index.to_string(),
            database.name.clone(),
            match database.exists {
                Some(false) => catalogue.word(message!("menu-no-database")).to_owned(),
                _ => database.size_bytes.map_or_else(dash, table::size),
            },
            of(&database.last_backup),
            of(&database.last_verified),
            if database.seed.is_some() { "✓".to_owned() } else { dash() },
            database.service.clone(),
        ]
    });
    let rows = rows.collect();
    Ok(List { notes, ..List::new(columns, rows) })
}

/// The backups of the one database that the selectors choose, newest first; and their IDs.
pub fn backups(targets: &[String], project: &Project, catalogue: &Catalogue) -> Result<(List, Vec<String>), Failure> {
    let chosen = select::databases(project.manifest(), targets, Unselected::All)?;
    let database = databases::only_one(chosen, "db restore")?;
    let mut backups = databases::backups_of(project, &database)?;
    backups.reverse();
    if backups.is_empty() {
        return Err(Failure::usage_with_hint(
            message!("usage-no-backup-of", database = database),
            message!("hint-restore-file", database = &database),
        ));
    }
    let now = Timestamp::now();
    let title = |key| Column::new(catalogue.word(key));
    let columns = vec![
        title(message!("column-number")).right(),
        title(message!("column-backup")).at_least(16),
        title(message!("column-age")).right(),
        title(message!("column-size")).right(),
        title(message!("column-rows")).right().leaves(2),
        title(message!("column-verified")).leaves(1),
    ];
    let rows = backups.iter().enumerate().map(|(place, backup)| {
        vec![
            (place + 1).to_string(),
            // The database is known: its own part of the ID tells backups apart.
            backup.id.rsplit('/').next().unwrap_or(&backup.id).to_owned(),
            age(&backup.created_at, now, catalogue),
            table::size(backup.bytes),
            backup.rows.to_string(),
            databases::proof(backup, catalogue),
        ]
    });
    let rows = rows.collect();
    let ids = backups.iter().map(|backup| backup.id.clone()).collect();
    Ok((List::new(columns, rows), ids))
}

/// How long ago it was: `3 h`.
fn age(time: &str, now: Timestamp, catalogue: &Catalogue) -> String {
    let then = time.parse::<Timestamp>().unwrap_or(now);
    catalogue.ago(now.duration_since(then).max(jiff::SignedDuration::ZERO).unsigned_abs())
}
