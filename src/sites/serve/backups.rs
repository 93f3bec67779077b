//! The database backups of this machine, for the desk to choose from.

use std::collections::BTreeMap;

use super::{Writer, send_in_time};
use crate::databases::{self, BackupDocument, BackupFolder};
use crate::manifest::Choices;
use crate::report::Message;
use crate::sites::error::in_one_line;
use crate::sites::protocol::{BackupOffer, BackupsRequest, Frame, Reply};

/// Names those that are asked for, the oldest first.
pub(super) async fn offer(request: BackupsRequest, writer: &mut Writer) -> Result<(), Message> {
    let found = tokio::task::spawn_blocking(move || find(&request)).await;
    let found = found.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))?;
    for offer in found {
        send_in_time(writer, &Frame::control(&Reply::Backup(Box::new(offer)))).await?;
    }
    send_in_time(writer, &Frame::control(&Reply::Done)).await
}

fn find(request: &BackupsRequest) -> Result<Vec<BackupOffer>, Message> {
    let manifest = request.project.manifest_here()?.manifest;
    let path = manifest.paths.backups.clone().ok_or_else(|| message!("usage-no-path", name = "backups"))?;
    let folder = BackupFolder { path, project: Some(manifest.project.clone()) };
    let backups_of = |database: &str| databases::backups(&folder, database).map_err(|error| in_one_line(&error));
    let (ids, selectors): (Vec<&String>, Vec<&String>) = request.names.iter().partition(|name| name.contains('/'));
    let mut found = BTreeMap::new();
    let mut add = |backup: BackupDocument| {
        let BackupDocument { id, database, created_at, bytes, .. } = backup;
        found.insert((database.clone(), id.clone()), BackupOffer { id, database, created_at, bytes, problem: None });
    };
    let choices = Choices::databases(&manifest);
    let chosen = match (selectors.is_empty(), ids.is_empty()) {
        (true, true) => choices.names().to_vec(),
        (true, false) => Vec::new(),
        _ => choices.select(&selectors).map_err(|error| in_one_line(&error))?.into_names(),
    };
    let mut unreadable = Vec::new();
    for database in &chosen {
        let backups = backups_of(database)?;
        let newest = backups.last().map(|backup| backup.id.clone()).filter(|_| !request.all);
        let broken = databases::unreadable_backups(&folder, database).map_err(|error| in_one_line(&error))?;
        for (path, error) in broken {
            let id = format!("{database}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            // Their names are their times: an older one than the newest that is whole was not asked for.
            if newest.as_ref().is_none_or(|newest| id > *newest) {
                let problem = Some((&in_one_line(&error)).into());
                unreadable.push(BackupOffer { id, database: database.clone(), problem, ..BackupOffer::default() });
            }
        }
        let has_broken = unreadable.last().is_some_and(|offer| offer.database == *database);
        if backups.is_empty() && !has_broken && !selectors.is_empty() {
            return Err(message!("usage-no-backup-of", database = database));
        }
        let passed = if request.all { 0 } else { backups.len().saturating_sub(1) };
        backups.into_iter().skip(passed).for_each(&mut add);
    }
    for id in ids {
        let mut all = Vec::new();
        for database in choices.names().iter() {
            all.extend(backups_of(database)?);
        }
        let backup = all.into_iter().find(|backup| backup.id == *id);
        add(backup.ok_or_else(|| message!("serve-no-backup", id = id))?);
    }
    Ok(found.into_values().chain(unreadable).collect())
}
