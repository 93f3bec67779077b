//! `db list`.

use super::reach::connect;
use super::{backups_folder, database};
use crate::cli::arguments::TargetArguments;
use crate::cli::failure::Failure;
use crate::cli::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::databases::{self, BackupDocument, DatabaseDocument, DatabasesDocument};
use crate::engine::Engine;
use crate::report::Message;

/// `dpl db list`.
pub fn list(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let chosen = select::databases(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let (listed, warnings) = look(&project, &chosen, Some(&engine), session)?;
    for warning in &warnings {
        session.output.warn(warning);
    }
    if session.output.json {
        session.output.document(&listed)?;
        return Ok(0);
    }
    print(&listed, session)?;
    Ok(0)
}

/// The chosen databases and their backups, and what is to be warned of; of their servers nothing where there is no engine.
pub fn look(
    project: &Project,
    chosen: &[String],
    engine: Option<&Engine>,
    session: &mut Session,
) -> Result<(DatabasesDocument, Vec<Message>), Failure> {
    let mut listed = DatabasesDocument::default();
    let mut warnings = Vec::new();
    for name in chosen {
        let database = database(project, name)?;
        let server = engine.map(|engine| {
            session.wait_for(async {
                let server = connect(engine, project.manifest(), database).await?;
                Ok(databases::list(&server).await?)
            })
        });
        // A server that does not run is worth a warning; what lies on disk is listed all the same.
        let server = match server.transpose() {
            Ok(databases) => databases,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                let message = Message::new("db-not-reached").with("database", name).with("why", failure.summary());
                warnings.push(message);
                None
            }
        };
        let backups = match &project.manifest().paths.backups {
            Some(folder) => databases::backups(folder, name)?,
            None => Vec::new(),
        };
        if let Some(folder) = &project.manifest().paths.backups {
            for (path, error) in databases::unreadable_backups(folder, name)? {
                let message = Message::new("unreadable-backup").with("path", path.display());
                warnings.push(message.with("why", Failure::from(error).summary()));
                listed.unreadable.push(path.display().to_string());
            }
        }
        let there = server.iter().flatten().find(|candidate| candidate.name == *name);
        listed.databases.push(DatabaseDocument {
            index: project.manifest().databases.number_of(name).unwrap_or_default() as u64,
            name: name.clone(),
            service: database.server_name(),
            exists: server.as_ref().map(|_| there.is_some()),
            size_bytes: there.map(|database| database.size_bytes),
            connections: there.map(|database| database.connections),
            last_verified: last_verified(&backups),
            last_backup: backups.last().map(|backup| backup.id.clone()),
            seed: database.seed.as_ref().filter(|seed| seed.exists()).map(|seed| seed.display().to_string()),
            leftovers: server.as_ref().map(|all| databases::leftovers_of(name, all)).unwrap_or_default(),
        });
        listed.backups.extend(backups);
    }
    Ok((listed, warnings))
}

/// The backups of a database, oldest first.
pub fn backups_of(project: &Project, database: &str) -> Result<Vec<BackupDocument>, Failure> {
    Ok(databases::backups(backups_folder(project)?, database)?)
}

fn last_verified(backups: &[BackupDocument]) -> Option<String> {
    backups.iter().rev().find(|backup| backup.verified_at.is_some()).map(|backup| backup.id.clone())
}

fn print(listed: &DatabasesDocument, session: &Session) -> Result<(), Failure> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = listed.databases.iter().map(|database| {
        vec![
            format!("{:>2}", database.index),
            database.name.clone(),
            database.service.clone(),
            text(database.size_bytes.map(table::size)),
            text(database.connections.map(|count| count.to_string())),
            text(database.last_backup.clone()),
            text(database.last_verified.clone()),
            text(database.seed.clone()),
        ]
    });
    let header = ["NO", "DATABASE", "SERVER", "SIZE", "CONNECTIONS", "LAST BACKUP", "LAST VERIFIED", "SEED"];
    session.output.data(&table::columns(&header, rows.collect()))?;
    let beside = listed.databases.iter().flat_map(|database| {
        database
            .leftovers
            .iter()
            .map(|name| vec![database.name.clone(), name.clone(), why_beside(database, name, session)])
    });
    let beside: Vec<Vec<String>> = beside.collect();
    if !beside.is_empty() {
        session.output.data(&format!("\n{}", table::columns(&["DATABASE", "BESIDE IT", "WHY"], beside)))?;
    }
    if listed.backups.is_empty() {
        return Ok(());
    }
    let rows = listed.backups.iter().map(|backup| {
        vec![
            backup.id.clone(),
            table::size(backup.bytes),
            backup.tables.to_string(),
            backup.rows.to_string(),
            proof(backup),
        ]
    });
    let header = ["BACKUP", "SIZE", "TABLES", "ROWS", "VERIFIED"];
    session.output.data(&format!("\n{}", table::columns(&header, rows.collect())))
}

/// Kept on purpose, or left by a run that was killed.
fn why_beside(database: &DatabaseDocument, name: &str, session: &Session) -> String {
    session.output.catalogue.text(&match databases::is_kept(&database.name, name) {
        true => Message::new("db-list-kept"),
        false => Message::new("db-list-left"),
    })
}

/// What is known of a backup since it was made.
pub fn proof(backup: &BackupDocument) -> String {
    // To the second: `2026-07-04T10:15:30`.
    let short = |time: &String| time.chars().take(19).collect::<String>();
    match (&backup.found_bad, &backup.verified_at, &backup.checked_at) {
        (Some(_), _, _) => "BAD".to_owned(),
        (None, Some(time), _) => short(time),
        (None, None, Some(time)) => format!("files {}", short(time)),
        (None, None, None) => "-".to_owned(),
    }
}
