//! The snapshots of data folders: how old the last ones are, and how large their repository is.

use std::time::Duration;

use super::report::{DoctorCheck, Say, Verdict};
use crate::catalogue::Catalogue;
use crate::cli::commands::data::{folders, open, repository_folder};
use crate::cli::session::Project;
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::folders::{Access, exists, snapshots_of};
use crate::report::{Listed, Told as _};

/// Nothing where the manifest has no data folders.
pub(super) fn snapshots(project: &Project, catalogue: &Catalogue, say: Say) -> Option<DoctorCheck> {
    let names: Vec<String> = project.manifest().data.names().map(str::to_owned).collect();
    if names.is_empty() {
        return None;
    }
    let warning =
        |found| DoctorCheck::ok("snapshots", say(found)).but(Verdict::Warning, say(message!("hint-data-init")));
    Some(match look(project, &names, catalogue) {
        Ok(Some(found)) => found.into_check(say),
        Ok(None) => warning(message!("data-list-no-repository-yet")),
        Err(failure) => {
            let advice = say(message!("hint-data-list"));
            DoctorCheck::ok("snapshots", say(failure.message())).but(Verdict::Warning, advice)
        }
    })
}

/// Data folders by the age of their last snapshots.
struct Found {
    aged: Vec<String>,
    without: Vec<String>,
    bytes: u64,
}

impl Found {
    fn into_check(self, say: Say) -> DoctorCheck {
        let Self { aged, without, bytes } = self;
        let size = table::size(bytes);
        if without.is_empty() {
            return DoctorCheck::ok(
                "snapshots",
                say(message!("doctor-snapshots", ages = Listed::of(&aged), size = size)),
            );
        }
        let found = say(message!("doctor-without-snapshot", names = Listed::of(&without), size = size));
        DoctorCheck::ok("snapshots", found).but(Verdict::Warning, say(message!("doctor-take-snapshot")))
    }
}

/// `None` where there is no repository yet.
fn look(project: &Project, names: &[String], catalogue: &Catalogue) -> Result<Option<Found>, Failure> {
    let place = repository_folder(project)?;
    if !exists(&place) {
        return Ok(None);
    }
    let store = open(project, Access::Look)?;
    let mut found = Found { aged: Vec::new(), without: Vec::new(), bytes: store.bytes()? };
    for folder in folders(project, names)? {
        match snapshots_of(&store, &folder)?.pop() {
            None => found.without.push(folder.name),
            Some(last) => {
                let age = jiff::Timestamp::now().duration_since(last.time);
                let age = catalogue.ago(Duration::try_from(age).unwrap_or_default());
                found.aged.push(format!("{} {age}", folder.name));
            }
        }
    }
    Ok(Some(found))
}
