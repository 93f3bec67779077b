//! `data list`.

use super::place::{DataTargets, folder, open, password_source, repository_folder};
use crate::catalogue::Catalogue;
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
use crate::folders::{
    Access, DataDocument, DataFolderDocument, SnapshotDocument, Verified, exists, short, snapshots_of,
};
use crate::report::Message;

/// `dpl data list`.
pub fn run(arguments: &DataTargets, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let names = select::data(project.manifest(), &selectors, Unselected::All)?;
    let listed = look(&project, &names)?;
    if session.output.json {
        session.output.document(&listed)?;
        return Ok(0);
    }
    if !exists(&repository_folder(&project)?) {
        session.output.warn(&message!("data-list-no-repository"));
    }
    session.output.data(&page(&listed, session.output.catalogue, session.output.width()))?;
    Ok(0)
}

/// The data folders and their snapshots; none of these where there is no repository yet.
fn look(project: &Project, names: &[String]) -> Result<DataDocument, Failure> {
    let place = repository_folder(project)?;
    password_source(project)?;
    let opened = exists(&place).then(|| open(project, Access::Look)).transpose()?;
    let verified = Verified::read(&place)?;
    let mut listed = DataDocument { repository: place.display().to_string(), ..DataDocument::default() };
    let before = project.manifest().databases.last_number();
    for name in names {
        let folder = folder(project, name)?;
        let snapshots = opened.as_ref().map(|store| snapshots_of(store, &folder)).transpose()?.unwrap_or_default();
        let snapshots: Vec<SnapshotDocument> =
            snapshots.iter().map(|snapshot| SnapshotDocument::of(&folder, snapshot, &verified)).collect();
        listed.data.push(DataFolderDocument {
            index: before + project.manifest().data.number_of(name).unwrap_or_default(),
            name: name.clone(),
            path: folder.path.display().to_string(),
            snapshots: snapshots.len(),
            last_snapshot_at: snapshots.last().map(|snapshot| snapshot.at.clone()),
            last_verified_at: snapshots.iter().filter_map(|snapshot| snapshot.verified_at.clone()).max(),
        });
        listed.snapshots.extend(snapshots);
    }
    Ok(listed)
}

fn page(listed: &DataDocument, catalogue: &Catalogue, width: Option<usize>) -> String {
    let title = |key: Message| Column::new(catalogue.word(key));
    let time = |at: &Option<String>| at.as_deref().map_or_else(|| "-".to_owned(), table::time);
    let rows = listed.data.iter().map(|folder| {
        vec![
            format!("{:>2}", folder.index),
            folder.name.clone(),
            folder.path.clone(),
            folder.snapshots.to_string(),
            time(&folder.last_snapshot_at),
            time(&folder.last_verified_at),
        ]
    });
    let columns = [
        title(message!("column-number")),
        title(message!("column-data")).at_least(8).cut_late(),
        title(message!("column-folder")).at_least(10).leaves(3),
        title(message!("column-snapshots")).leaves(2),
        title(message!("column-last-snapshot")).at_least(10).leaves(1),
        title(message!("column-last-verified")).at_least(10).leaves(4),
    ];
    let folders = table::within(&columns, rows.collect(), width);
    if listed.snapshots.is_empty() {
        return folders;
    }
    let rows = listed.snapshots.iter().map(|snapshot| {
        vec![
            short(&snapshot.id).to_owned(),
            snapshot.data.clone(),
            table::time(&snapshot.at),
            snapshot.files.to_string(),
            table::size(snapshot.bytes),
            table::size(snapshot.added_bytes),
            proof(snapshot, catalogue),
            if snapshot.before_restore {
                catalogue.word(message!("data-before-restore")).to_owned()
            } else {
                String::new()
            },
        ]
    });
    let columns = [
        title(message!("column-snapshot")),
        title(message!("column-data")).at_least(8),
        title(message!("column-taken")).at_least(10),
        title(message!("column-files")).leaves(3),
        title(message!("column-size")).leaves(1),
        title(message!("column-added")).leaves(4),
        title(message!("column-verified")).at_least(8).leaves(2),
        title(message!("column-note")).at_least(8).leaves(5),
    ];
    format!("{folders}\n{}", table::within(&columns, rows.collect(), width))
}

/// When a snapshot was verified, and whether by its structure alone.
fn proof(snapshot: &SnapshotDocument, catalogue: &Catalogue) -> String {
    match (&snapshot.verified_at, snapshot.verified.as_deref()) {
        (Some(at), Some("structure")) => catalogue.text(&message!("data-structure-verified", time = table::time(at))),
        (Some(at), _) => table::time(at),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_fit_in_both_languages() {
        let snapshot = |before_restore: bool, verified: Option<&str>| SnapshotDocument {
            id: "0a1b2c3d".repeat(8),
            data: "expert".to_owned(),
            at: "2026-01-31T08:00:00Z".to_owned(),
            files: 60_000,
            bytes: 10_700_000_000,
            added_bytes: 27_300_000,
            before_restore,
            verified_at: verified.map(|_| "2026-02-01T08:00:00Z".to_owned()),
            verified: verified.map(str::to_owned),
            ..SnapshotDocument::default()
        };
        let folder = |index, at: Option<&str>| DataFolderDocument {
            index,
            name: "expert".to_owned(),
            path: "/data1/project-danganju/data_root/intelligence/expert".to_owned(),
            snapshots: 3,
            last_snapshot_at: at.map(str::to_owned),
            last_verified_at: None,
        };
        let listed = DataDocument {
            repository: "/data1/backups/data".to_owned(),
            data: vec![folder(4, Some("2026-01-31T08:00:00Z")), folder(5, None)],
            snapshots: vec![snapshot(true, None), snapshot(false, Some("structure")), snapshot(false, Some("data"))],
        };
        for (language, width) in table::every_width() {
            table::assert_fits(&page(&listed, Catalogue::of(language), Some(width)), width);
        }
    }
}
