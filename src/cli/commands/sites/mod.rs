//! Other machines: `sites` lists and checks them, `on` runs a command there, `send` brings what is missing there, `fetch` brings
//! backups here, `inventory` says what a machine has, `serve` is dpl's own end at the site.

mod command;
mod contents;
mod fetch;
mod inventory;
mod list;
mod offered;
mod on;
mod send;
mod serve;
mod support;
mod table_of_send;
mod table_of_sites;

use std::path::PathBuf;

use clap::Args;

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::manifest::{Choices, Site, SiteList, Variables, read_sites, sites_file};
use crate::sites::{Remote, RemoteOptions};

pub(super) use command::{SiteCommand, captured, desk};
pub use contents::ContentArguments;
pub(super) use contents::Offered;
pub use fetch::{FetchArguments, FetchReport, run as fetch};
pub(super) use inventory::{Either, at_site, read_either};
pub use inventory::{InventoryArguments, run as inventory};
pub use list::{SitesArguments, SitesReport, run as sites};
pub use on::{OnArguments, run as on};
pub use send::{SendArguments, SendReport, run as send};
pub use serve::{ServeArguments, run as serve};
pub(super) use table_of_send::{Carrier, keeps_something, tables};

#[derive(Debug, Default, Args)]
pub struct SitesFile {
    /// The file that names the sites [default: DPL_SITES, else sites.json beside the manifest]
    #[arg(long, value_name = "FILE")]
    pub sites: Option<PathBuf>,
}

/// The project's sites.
pub(super) fn read(file: &SitesFile, session: &mut Session) -> Result<SiteList, Failure> {
    let path = file.sites.clone().unwrap_or_else(|| sites_file(session.manifest_file().as_deref()));
    if !path.exists() {
        return Err(Failure::usage_with_hint(
            message!("usage-no-sites", path = path.display()),
            message!("hint-write-sites"),
        ));
    }
    Ok(read_sites(&path, &Variables::of_process())?)
}

/// The sites that arguments choose, in the order of the file.
pub(super) fn select(list: &SiteList, selectors: &[String]) -> Result<Vec<(String, Site)>, Failure> {
    let names = Choices::sites(list).select(selectors)?.into_names();
    Ok(names.into_iter().map(|name| (name.clone(), list.sites[&name].clone())).collect())
}

/// A site to connect to.
pub(super) fn remote(name: &str, site: &Site) -> Result<Remote, Failure> {
    if let Some(problem) = &site.problem {
        return Err(Failure::usage(message!("usage-site-problem", site = name, problem = problem)));
    }
    match RemoteOptions::of(name, site) {
        Some(options) => Ok(Remote::new(options)),
        None => Err(Failure::usage(message!("usage-site-offline", site = name))),
    }
}
