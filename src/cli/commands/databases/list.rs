//! `db list`.

use clap::Args;

use super::chosen::database;
use super::leftovers::is_of_nobody;
use super::reach::{connect, is_same_server, unreadable_credentials};
use super::settings::backups_folder;
use crate::catalogue::Catalogue;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
use crate::databases::{self, BackupDocument, DatabaseDocument, DatabasesDocument, OtherDatabase, ServerDatabase};
use crate::engine::Engine;
use crate::manifest::model::{Database, Period};
use crate::report::{Message, Told as _};

#[derive(Debug, Args)]
pub struct DatabaseListArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Exit with code 1 when a database has no backup younger than this (36h) [default: not checked]
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<Period>,
    /// Exit with code 1 when a database has no backup verified within this time (7d) [default: not checked]
    #[arg(long, value_name = "AGE")]
    pub verified: Option<Period>,
}

/// `dpl db list`.
pub fn list(arguments: &DatabaseListArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let chosen = select::databases(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let (listed, warnings) = look(&project, &chosen, Some(&engine), session)?;
    for warning in &warnings {
        session.output.warn(warning);
    }
    let late = late(&listed, arguments, jiff::Timestamp::now());
    let code = u8::from(!late.is_empty());
    if session.output.json {
        session.output.document(&listed)?;
    } else {
        session.output.data(&page(&listed, session.output.catalogue, session.output.width()))?;
    }
    for message in &late {
        session.output.warn(message);
    }
    Ok(code)
}

/// What is older than it may be.
fn late(listed: &DatabasesDocument, arguments: &DatabaseListArguments, now: jiff::Timestamp) -> Vec<Message> {
    let is_within = |time: &Option<String>, age: Period| {
        let time = time.as_ref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        time.is_some_and(|time| now.duration_since(time).unsigned_abs() <= age.0 || time > now)
    };
    let mut late = Vec::new();
    for database in &listed.databases {
        let backups = || listed.backups.iter().filter(|backup| backup.database == database.name);
        let good = || backups().filter(|backup| backup.found_bad.is_none() && !backup.from_the_future);
        if let Some(age) = arguments.max_age
            && !good().any(|backup| is_within(&Some(backup.created_at.clone()), age))
        {
            late.push(message!("db-list-backup-late", database = &database.name, age = spoken(age)));
        }
        if let Some(age) = arguments.verified
            && !good().any(|backup| is_within(&backup.verified_at, age))
        {
            late.push(message!("db-list-verified-late", database = &database.name, age = spoken(age)));
        }
    }
    late
}

/// A span of time in the language of the reader, where it has whole minutes.
fn spoken(period: Period) -> Message {
    let seconds = period.0.as_secs();
    match (seconds, period.0.subsec_nanos()) {
        (1.., 0) if seconds.is_multiple_of(86_400) => message!("time-days", count = seconds / 86_400),
        (1.., 0) if seconds.is_multiple_of(3_600) => message!("time-hours", count = seconds / 3_600),
        (1.., 0) if seconds.is_multiple_of(60) => message!("time-minutes", count = seconds / 60),
        _ => message!("words", text = period),
    }
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
    // Several databases of one server are one question to it.
    let mut asked: Vec<(&Database, Result<Vec<ServerDatabase>, Message>)> = Vec::new();
    for name in chosen {
        let database = database(project, name)?;
        let server = match engine {
            None => None,
            Some(engine) => {
                let is_same = |(other, _): &&(&Database, _)| is_same_server(other, database);
                let known = asked.iter().find(is_same).map(|(_, answer)| answer.clone());
                let unreadable = unreadable_credentials(project.manifest(), database);
                let answer = match (unreadable, known) {
                    (Some(why), _) => Err(why),
                    (None, Some(answer)) => answer,
                    (None, None) => {
                        let listed = session.wait_for(async {
                            let server = connect(engine, project.manifest(), database).await?;
                            Ok(databases::list(&server).await?)
                        });
                        let answer = match listed {
                            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                            listed => listed.map_err(|failure| failure.message()),
                        };
                        asked.push((database, answer.clone()));
                        answer
                    }
                };
                // A server that does not run is worth a warning; what lies on disk is listed all the same.
                if let Err(why) = &answer {
                    warnings.push(message!("db-not-reached", database = name, why = why));
                }
                answer.ok()
            }
        };
        let folder = project.manifest().paths.backups.as_ref().map(|_| backups_folder(project)).transpose()?;
        let backups = folder.as_ref().map(|folder| databases::backups(folder, name)).transpose()?.unwrap_or_default();
        for backup in backups.iter().filter(|backup| backup.from_the_future) {
            warnings.push(message!("backup-from-the-future", id = &backup.id));
        }
        for backup in &backups {
            let bad = backup.found_bad.as_ref().map(|why| message!("backup-found-bad", id = &backup.id, why = why));
            let untried = backup.untried.as_ref().map(|why| message!("backup-untried", id = &backup.id, why = why));
            warnings.extend(bad.into_iter().chain(untried));
        }
        if let Some(folder) = &folder {
            for (path, error) in databases::unreadable_backups(folder, name)? {
                let message =
                    message!("unreadable-backup", path = path.display(), why = Failure::from(error).message());
                warnings.push(message);
                listed.unreadable.push(path.display().to_string());
            }
        }
        if chosen.len() == project.manifest().databases.names().count() {
            for other in server.iter().flatten().filter(|there| is_of_nobody(project.manifest(), &there.name)) {
                let ServerDatabase { name, size_bytes, .. } = other.clone();
                let other = OtherDatabase { name, service: database.server_name(), size_bytes };
                if !listed.others.contains(&other) {
                    listed.others.push(other);
                }
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
    Ok(databases::backups(&backups_folder(project)?, database)?)
}

fn last_verified(backups: &[BackupDocument]) -> Option<String> {
    backups.iter().rev().find(|backup| backup.verified_at.is_some()).map(|backup| backup.id.clone())
}

/// The databases, and their backups.
fn page(listed: &DatabasesDocument, catalogue: &Catalogue, width: Option<usize>) -> String {
    let title = |key| Column::new(catalogue.word(key));
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
    let columns = [
        title(message!("column-number")),
        title(message!("column-database")).at_least(8),
        title(message!("column-server")).at_least(8).leaves(3),
        title(message!("column-size")).leaves(1),
        title(message!("column-connections")).leaves(5),
        title(message!("column-last-backup")).at_least(20).leaves(2),
        title(message!("column-last-verified")).at_least(20).leaves(4),
        title(message!("column-seed")).at_least(8).leaves(6),
    ];
    let mut databases = table::within(&columns, rows.collect(), width);
    let beside = listed.databases.iter().flat_map(|database| {
        let row = |name: &String| vec![database.name.clone(), name.clone(), why_beside(database, name, catalogue)];
        database.leftovers.iter().map(row)
    });
    let others = listed.others.iter().map(|other| {
        vec!["-".to_owned(), other.name.clone(), catalogue.word(message!("leftover-why-other")).to_owned()]
    });
    let beside: Vec<Vec<String>> = beside.chain(others).collect();
    if !beside.is_empty() {
        let columns = [
            title(message!("column-database")).at_least(8),
            title(message!("column-beside")).at_least(20),
            title(message!("column-why")).at_least(12).leaves(1),
        ];
        databases = format!("{databases}\n{}", table::within(&columns, beside, width));
    }
    if listed.backups.is_empty() {
        return databases;
    }
    let rows = listed.backups.iter().map(|backup| {
        vec![
            backup.id.clone(),
            table::size(backup.bytes),
            backup.tables.to_string(),
            backup.rows.to_string(),
            proof(backup, catalogue),
        ]
    });
    let columns = [
        title(message!("column-backup")).at_least(20),
        title(message!("column-size")).leaves(0),
        title(message!("column-tables")).leaves(2),
        title(message!("column-rows")).leaves(1),
        title(message!("column-verified")).at_last_resort(10),
    ];
    format!("{databases}\n{}", table::within(&columns, rows.collect(), width))
}

/// Kept on purpose, or left by a run that was killed.
fn why_beside(database: &DatabaseDocument, name: &str, catalogue: &Catalogue) -> String {
    catalogue.text(&match databases::is_kept(&database.name, name) {
        true => message!("db-list-kept"),
        false => message!("db-list-left"),
    })
}

/// What is known of a backup since it was made.
pub fn proof(backup: &BackupDocument, catalogue: &Catalogue) -> String {
    // To the second: `2026-07-04T10:15:30Z`.
    let short = |time: &String| table::time(time);
    match (&backup.found_bad, &backup.verified_at, &backup.checked_at) {
        (Some(_), _, _) => catalogue.word(message!("word-bad")).to_owned(),
        (None, Some(time), _) => short(time),
        (None, None, Some(time)) => catalogue.text(&message!("word-files-checked", time = short(time))),
        (None, None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;

    #[test]
    fn the_tables_fit_40_60_80_and_120_columns_in_both_languages() {
        let database = |index, name: &str, exists: bool| DatabaseDocument {
            index,
            name: name.to_owned(),
            service: "postgres".to_owned(),
            exists: Some(exists),
            size_bytes: exists.then_some(734_003_200),
            connections: exists.then_some(12),
            last_backup: exists.then(|| "2026-01-31T08-00-00Z".to_owned()),
            last_verified: None,
            seed: Some("/srv/danganju/seeds/expert".to_owned()),
            ..DatabaseDocument::default()
        };
        let backup = |found_bad: bool, verified: bool, checked: bool| BackupDocument {
            id: "2026-01-31T08-00-00Z".to_owned(),
            bytes: 27_300_000,
            tables: 42,
            rows: 123_456,
            found_bad: found_bad.then(|| message!("declined")),
            verified_at: verified.then(|| "2026-02-01T08:00:00Z".to_owned()),
            checked_at: checked.then(|| "2026-02-02T08:00:00Z".to_owned()),
            database: "minerva".to_owned(),
            path: "/srv/danganju/backups/databases/minerva/2026-01-31T08-00-00Z".to_owned(),
            server_version: "15.4".to_owned(),
            created_at: "2026-01-31T08:00:00Z".to_owned(),
            duration_ms: 1_200,
            database_bytes: 734_003_200,
            ..BackupDocument::default()
        };
        let listed = DatabasesDocument {
            databases: vec![database(1, "minerva", true), database(2, "档案", false)],
            backups: vec![backup(true, false, false), backup(false, true, false), backup(false, false, true)],
            ..DatabasesDocument::default()
        };
        insta::assert_snapshot!(table::pages(|catalogue, width| page(&listed, catalogue, width)));
    }

    #[test]
    fn a_span_of_time_is_said_in_the_language() {
        let said = |text: &str| Catalogue::of(Language::Chinese).text(&super::spoken(text.parse().unwrap()));
        let spans = ["7d", "36h", "1h30m", "90s", "500ms", "0"].map(said);
        assert_eq!(spans, ["7 天", "36 小时", "90 分钟", "1m30s", "500ms", "0s"]);
    }

    #[test]
    fn a_backup_that_is_late_bad_or_from_the_future_does_not_count_for_monitoring() {
        let now: jiff::Timestamp = "2026-02-10T12:00:00Z".parse().unwrap();
        let mut backup = BackupDocument {
            id: "shop/20260210T000000Z".to_owned(),
            database: "shop".to_owned(),
            created_at: "2026-02-10T00:00:00Z".to_owned(),
            verified_at: Some("2026-02-05T00:00:00Z".to_owned()),
            ..BackupDocument::default()
        };
        let late = |backups: Vec<BackupDocument>, max_age: &str, verified: &str| -> Vec<&'static str> {
            let database = DatabaseDocument { name: "shop".to_owned(), ..DatabaseDocument::default() };
            let listed = DatabasesDocument { databases: vec![database], backups, ..DatabasesDocument::default() };
            let arguments = DatabaseListArguments {
                targets: crate::cli::grammar::arguments::TargetArguments { targets: Vec::new() },
                max_age: Some(max_age.parse().unwrap()),
                verified: Some(verified.parse().unwrap()),
            };
            super::late(&listed, &arguments, now).iter().map(|message| message.key).collect()
        };
        let (backup_late, verified_late) = ("db-list-backup-late", "db-list-verified-late");
        assert_eq!(late(vec![backup.clone()], "36h", "7d"), Vec::<&str>::new());
        assert_eq!(late(vec![backup.clone()], "11h", "7d"), [backup_late]);
        assert_eq!(late(vec![backup.clone()], "36h", "5d"), [verified_late]);
        assert_eq!(late(Vec::new(), "36h", "7d"), [backup_late, verified_late]);
        backup.found_bad = Some(message!("declined"));
        assert_eq!(late(vec![backup.clone()], "36h", "7d"), [backup_late, verified_late]);
        (backup.found_bad, backup.from_the_future) = (None, true);
        assert_eq!(late(vec![backup], "36h", "7d"), [backup_late, verified_late]);
    }
}
