//! `inventory`: what a machine has of a project, as a small document; as a QR code for a phone; and read back.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{SitesFile, read as read_list, remote, select};
use crate::catalogue::system_words;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::qr;
use crate::report::Told as _;
use crate::sites::{
    Inventory, InventoryRequest, InventoryTextError, ProjectPlace, ShortInventory, collect_inventory, inventory_of,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct InventoryArguments {
    #[command(subcommand)]
    pub command: Option<InventoryCommand>,
    #[command(flatten)]
    pub file: SitesFile,
    /// The site [default: this machine]
    #[arg(value_name = "SITE")]
    pub site: Option<String>,
    /// Draw a short form of it as a QR code in the terminal
    #[arg(long)]
    pub qr: bool,
}

#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// Read an inventory, or the text of its QR code, and print it as JSON
    Read {
        /// The file with it; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// A larger file is no inventory.
const LARGEST: u64 = 16 << 20;

/// `dpl inventory`.
pub fn run(arguments: &InventoryArguments, session: &mut Session) -> Result<u8, Failure> {
    if let Some(InventoryCommand::Read { file }) = &arguments.command {
        return read(file, session);
    }
    if arguments.qr && session.output.json {
        return Err(Failure::usage(message!("usage-qr-json")));
    }
    let inventory = match &arguments.site {
        Some(selector) => at_site(selector, &arguments.file, session)?,
        None => {
            let request = here(session);
            session.wait_for(async { Ok(collect_inventory(&request).await) })?
        }
    };
    if arguments.qr {
        let text = ShortInventory::of(&inventory).to_text();
        qr::draw(&text, message!("hint-inventory-file"), &session.output)?;
        return Ok(0);
    }
    session.output.document(&inventory)?;
    Ok(0)
}

/// The inventory of a site.
pub(in crate::cli::commands) fn at_site(
    selector: &str,
    file: &SitesFile,
    session: &mut Session,
) -> Result<Inventory, Failure> {
    let list = read_list(file, session)?;
    let sites = select(&list, &[selector.to_owned()])?;
    let [(name, site)] = sites.as_slice() else {
        return Err(Failure::usage(message!("usage-one-site", selector = selector)));
    };
    let remote = remote(name, site)?;
    let project = ProjectPlace {
        folder: site.folder.clone().unwrap_or_default().into(),
        manifest: site.manifest.clone(),
        variables: site.variables.clone(),
    };
    let request = InventoryRequest { project, seeds: true, ..InventoryRequest::default() };
    session.wait_for(async {
        remote.connect_first().await?;
        Ok(inventory_of(&remote, request).await?)
    })
}

/// This machine, by the manifest that is meant.
fn here(session: &Session) -> InventoryRequest {
    let manifest = session.manifest_file().and_then(|path| std::path::absolute(path).ok());
    let folder = manifest.as_deref().and_then(Path::parent).map(Path::to_owned);
    let host = session.global.host.clone().map(|host| ("DOCKER_HOST".to_owned(), host));
    let project = ProjectPlace {
        folder: folder.or_else(|| std::env::current_dir().ok()).unwrap_or_default(),
        manifest: manifest.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        variables: host.into_iter().collect(),
    };
    InventoryRequest { project, seeds: true, ..InventoryRequest::default() }
}

fn read(path: &Path, session: &Session) -> Result<u8, Failure> {
    match read_either(path)? {
        Either::Whole(inventory) => session.output.document(&inventory)?,
        Either::Short(short) => session.output.document(&short)?,
    }
    Ok(0)
}

/// An inventory in one of its forms.
pub(in crate::cli::commands) enum Either {
    Whole(Box<Inventory>),
    Short(Box<ShortInventory>),
}

/// Reads an inventory, or the text of its QR code; `-` is standard input.
pub(in crate::cli::commands) fn read_either(path: &Path) -> Result<Either, Failure> {
    let unreadable = |error: io::Error| {
        let why = system_words(&error);
        Failure::usage(message!("usage-inventory-unreadable", path = path.display(), why = why))
    };
    let mut bytes = Vec::new();
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).map_err(unreadable)?),
    };
    input.take(LARGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    let wrong = |error: InventoryTextError| {
        Failure::usage(message!("usage-inventory-unreadable", path = path.display(), why = error.message()))
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong(InventoryTextError::NotOne))?;
    if ShortInventory::is_text(&text) {
        return Ok(Either::Short(Box::new(ShortInventory::of_text(&text).map_err(wrong)?)));
    }
    let inventory: Inventory = serde_json::from_str(&text).map_err(|_| wrong(InventoryTextError::NotOne))?;
    match inventory.format {
        Inventory::FORMAT => Ok(Either::Whole(Box::new(inventory))),
        other => Err(wrong(InventoryTextError::Format(other))),
    }
}
