//! `receipt`: what packages have brought, for those who made them.

use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::grammar::values::number_from;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::cli::text::{qr, table};
use crate::sites::shown;
use crate::state::{Receipt, receipts};

#[derive(Debug, Args)]
pub struct ReceiptArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// The last N receipts
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = number_from(1_usize))]
    pub last: usize,
    /// Draw the last one as a QR code, for a phone
    #[arg(long)]
    pub qr: bool,
}

/// What `receipt --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptsReport {
    /// The oldest first.
    pub receipts: Vec<Receipt>,
}

/// `dpl receipt`.
pub fn run(arguments: &ReceiptArguments, session: &mut Session) -> Result<u8, Failure> {
    if arguments.qr && session.output.json {
        return Err(Failure::usage(message!("usage-qr-json")));
    }
    let project = session.project(arguments.manifest.as_deref())?;
    let mut all = receipts(&project.state())?;
    let passed = all.len().saturating_sub(arguments.last);
    all.drain(..passed);
    let output = &session.output;
    if output.json {
        output.document(&ReceiptsReport { receipts: all })?;
        return Ok(0);
    }
    let Some(last) = all.last() else {
        output.say(&message!("receipts-none"));
        return Ok(0);
    };
    if arguments.qr {
        qr::draw(&in_one_line(last), message!("hint-receipt-text"), output)?;
        return Ok(0);
    }
    let shown: Vec<String> = all.iter().map(|receipt| facts(receipt, output)).collect();
    output.data(&shown.join("\n"))?;
    Ok(0)
}

/// What a phone reads: one line, for people as for programs.
fn in_one_line(receipt: &Receipt) -> String {
    let Receipt { project, received, package, images, files, seeds, .. } = receipt;
    let release = receipt.release.as_deref().unwrap_or(&receipt.created);
    let key = receipt.key.as_deref().unwrap_or("unsigned");
    format!(
        "dpl receipt: {project} {release}, {received}, {package}, {key}, images {images}, files {files}, seeds {seeds}"
    )
}

fn facts(receipt: &Receipt, output: &Output) -> String {
    let fact = |key| output.catalogue.word(key).to_owned();
    let release = receipt.release.clone().unwrap_or_else(|| "-".to_owned());
    let first = [fact(message!("fact-release")), release];
    let verified = match &receipt.key {
        Some(key) => message!("receipt-signed", key = shown(key)),
        None => message!("receipt-unsigned"),
    };
    let counts = message!(
        "receipt-counts",
        images = receipt.images,
        files = receipt.files,
        seeds = receipt.seeds,
        bytes = receipt.bytes
    );
    let mut facts = vec![
        vec![fact(message!("fact-project")), receipt.project.clone()],
        vec![fact(message!("fact-created")), table::time(&receipt.created)],
        vec![fact(message!("fact-received")), table::time(&receipt.received)],
        vec![fact(message!("fact-who")), receipt.by.clone()],
        vec![fact(message!("fact-package")), receipt.package.clone()],
        vec![fact(message!("fact-contents")), output.catalogue.text(&counts)],
        vec![fact(message!("fact-verified")), output.catalogue.text(&verified)],
    ];
    if receipt.rebuilt_layers > 0 {
        let rebuilt = message!("receipt-rebuilt", layers = receipt.rebuilt_layers);
        facts.push(vec![String::new(), output.catalogue.text(&rebuilt)]);
    }
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    table::columns(&first, facts)
}
