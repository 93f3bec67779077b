//! Which databases of the manifest are meant.

use crate::cli::session::Project;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::manifest::model::Database;

/// A database of the manifest, found by its name.
pub fn database<'p>(project: &'p Project, name: &str) -> Result<&'p Database, Failure> {
    let found = project.manifest().databases.get(name);
    found.ok_or_else(|| Failure::usage(message!("usage-no-database", name = name)))
}

/// The one database that was chosen.
pub fn only_one(mut databases: Vec<String>, command: &str) -> Result<String, Failure> {
    let one = databases.pop().filter(|_| databases.is_empty());
    one.ok_or_else(|| Failure::usage(message!("usage-one-restore", command = command)))
}

/// The one database that a selector chooses.
pub fn one_database(project: &Project, selector: &str, command: &'static str) -> Result<String, Failure> {
    let mut chosen = select::databases(project.manifest(), &[selector.to_owned()], Unselected::Refused { command })?;
    match (chosen.pop(), chosen.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(Failure::usage(message!("usage-one-database", command = command, selector = selector))),
    }
}
