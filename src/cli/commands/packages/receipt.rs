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
    let Receipt { project, received, package, .. } = receipt;
    let release = receipt.release.as_deref().unwrap_or(&receipt.created);
    let key = receipt.key.as_deref().unwrap_or("unsigned");
    let count = |(name, new, before, kept): (&str, u64, u64, u64)| {
        let parts = [(new, "new"), (before, "there"), (kept, "kept")];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        let parts: Vec<String> = parts.collect();
        format!("{name} {}", if parts.is_empty() { "none".to_owned() } else { parts.join(" ") })
    };
    let counts = counts_of(receipt).map(count).join(", ");
    format!("dpl receipt: {project} {release}, {received}, {package}, {key}, {counts}")
}

/// What came, what was there, and what was kept as it was changed there.
fn counts_of(receipt: &Receipt) -> [(&'static str, u64, u64, u64); 4] {
    [
        ("images", receipt.images, receipt.images_before, 0),
        ("layers", receipt.layers, receipt.layers_before, 0),
        ("files", receipt.files, receipt.files_before, receipt.kept_files),
        ("seeds", receipt.seeds, receipt.seeds_before, receipt.kept_seeds),
    ]
}

fn facts(receipt: &Receipt, output: &Output) -> String {
    let fact = |key| output.catalogue.word(key).to_owned();
    let release = receipt.release.clone().unwrap_or_else(|| "-".to_owned());
    let first = [fact(message!("fact-release")), release];
    let signed = match &receipt.key {
        Some(key) => message!("receipt-signed", key = shown(key)),
        None => message!("receipt-unsigned"),
    };
    let arrived = message!(
        "receipt-arrived",
        images = receipt.images,
        layers = receipt.layers,
        files = receipt.files,
        seeds = receipt.seeds,
        bytes = receipt.bytes
    );
    let before = message!(
        "receipt-before",
        images = receipt.images_before,
        layers = receipt.layers_before,
        files = receipt.files_before,
        seeds = receipt.seeds_before
    );
    let kept = message!("receipt-kept", files = receipt.kept_files, seeds = receipt.kept_seeds);
    let compared = match receipt.layers_before {
        0 => message!("receipt-compared"),
        _ => message!("receipt-compared-but-layers"),
    };
    let mut facts = vec![
        vec![fact(message!("fact-project")), receipt.project.clone()],
        vec![fact(message!("fact-created")), table::time(&receipt.created)],
        vec![fact(message!("fact-received")), table::time(&receipt.received)],
        vec![fact(message!("fact-who")), receipt.by.clone()],
        vec![fact(message!("fact-package")), receipt.package.clone()],
        vec![fact(message!("fact-arrived")), output.catalogue.text(&arrived)],
        vec![fact(message!("fact-before")), output.catalogue.text(&before)],
    ];
    if receipt.rebuilt_layers > 0 {
        let rebuilt = message!("receipt-rebuilt", layers = receipt.rebuilt_layers);
        facts.push(vec![String::new(), output.catalogue.text(&rebuilt)]);
    }
    if receipt.kept_files + receipt.kept_seeds > 0 {
        facts.push(vec![fact(message!("fact-kept")), output.catalogue.text(&kept)]);
    }
    facts.push(vec![fact(message!("fact-signature")), output.catalogue.text(&signed)]);
    facts.push(vec![fact(message!("fact-verified")), output.catalogue.text(&compared)]);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    table::columns(&first, facts)
}
