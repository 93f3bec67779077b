//! For whom a package is: `--for` as it is typed.

use std::path::Path;

use crate::cli::commands::sites::{Either, SitesFile, at_site, read as read_sites, read_either};
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::images::is_release_name;
use crate::packages::{PackGoal, PackagesError, read_release};

/// What stands before a name that two kinds of things could have.
const SITE: &str = "site:";
const RELEASE: &str = "release:";
/// A machine that has nothing.
pub(super) const NONE: &str = "none";

/// Finds out what each of them has.
pub fn goals(
    texts: &[String],
    file: &SitesFile,
    store: Option<&Path>,
    session: &mut Session,
) -> Result<Vec<PackGoal>, Failure> {
    texts.iter().map(|text| goal(text, file, store, session)).collect()
}

fn goal(text: &str, file: &SitesFile, store: Option<&Path>, session: &mut Session) -> Result<PackGoal, Failure> {
    if text == NONE {
        return Ok(PackGoal::nothing(text));
    }
    if let Some(name) = text.strip_prefix(SITE) {
        return Ok(PackGoal::of_inventory(text, at_site(name, file, session)?));
    }
    if let Some(name) = text.strip_prefix(RELEASE) {
        return of_release(text, name, store);
    }
    // A folder is no inventory: it may well be called as a release.
    if Path::new(text).exists() && !Path::new(text).is_dir() || text == "-" {
        return Ok(match read_either(Path::new(text))? {
            Either::Whole(inventory) => PackGoal::of_inventory(text, *inventory),
            Either::Short(short) => PackGoal::of_short(text, *short),
        });
    }
    let is_release = is_release_name(text)
        && store.is_some_and(|store| !matches!(read_release(store, text), Err(PackagesError::NoRelease { .. })));
    let is_site = read_sites(file, session).is_ok_and(|list| list.sites.contains_key(text));
    match (is_site, is_release) {
        (true, true) => Err(Failure::usage(message!("usage-for-both", name = text))),
        (true, false) => Ok(PackGoal::of_inventory(text, at_site(text, file, session)?)),
        (false, true) => of_release(text, text, store),
        (false, false) => {
            Err(Failure::usage_with_hint(message!("usage-for-nothing", name = text), message!("hint-for")))
        }
    }
}

fn of_release(text: &str, name: &str, store: Option<&Path>) -> Result<PackGoal, Failure> {
    match store {
        Some(store) => Ok(PackGoal::of_release(text, &read_release(store, name)?)),
        None => Err(PackagesError::NoRelease { name: name.to_owned(), known: Vec::new() }.into()),
    }
}
