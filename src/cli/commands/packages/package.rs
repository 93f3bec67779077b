//! `package`: looks into a package, and changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::keys::trusted_keys;
use super::place::{open, place_of};
use super::release::section;
use super::unpack::{judge, key_of, say_plan, say_verdict};
use crate::cli::commands::sites::tables;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, size};
use crate::manifest::FileUse;
use crate::packages::{FieldChange, Namespace, PackageIndex, PackageReader, diff_manifests, plan_unpack};
use crate::sites::{ImageResult, InventoryRequest, PlanOptions, TransferPlan, collect_inventory, shown};

#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// Show what is in a package
    Show(PackageArguments),
    /// Show what unpacking a package would do on this machine, and which services `load` and `restart` would change then
    Plan(PlanArguments),
}

#[derive(Debug, Args)]
pub struct PackageArguments {
    /// The package, one of its parts with the others beside it, or all of them; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub package: PackageArguments,
    /// The project's folder on this machine [default: that of the manifest, else this folder]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// What `package show --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PackageReport {
    /// The digest of the package's index: its identity.
    pub package: String,
    /// Whether there is a signature in it; who made it is not looked at.
    pub signed: bool,
    pub index: PackageIndex,
}

/// What `package plan --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PackagePlanReport {
    /// The digest of the package's index: its identity.
    pub package: String,
    pub project: String,
    pub release: Option<String>,
    pub created: String,
    /// The ID of the key that signed it and that this machine trusts; null where none does.
    pub key: Option<String>,
    pub plan: TransferPlan,
    /// Services of the manifest here whose images it changes.
    pub services: Vec<String>,
    /// Fields of manifests that it changes.
    pub fields: Vec<FieldChange>,
}

/// `dpl package …`.
pub fn run(command: &PackageCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        PackageCommand::Show(arguments) => show(&open(&arguments.files)?, session),
        PackageCommand::Plan(arguments) => plan(arguments, session),
    }
}

fn show(reader: &PackageReader, session: &mut Session) -> Result<u8, Failure> {
    let (output, index) = (&session.output, &reader.index);
    if output.json {
        let package = reader.digest().to_string();
        output.document(&PackageReport { package, signed: reader.signature.is_some(), index: index.clone() })?;
        return Ok(0);
    }
    let fact = |key| output.catalogue.word(key).to_owned();
    let first = [fact(message!("fact-project")), shown(&index.project)];
    let signed = match (&reader.signature, &index.key) {
        (Some(_), Some(key)) => message!("package-says-signed", key = shown(key)),
        _ => message!("package-says-unsigned"),
    };
    let facts = vec![
        vec![fact(message!("fact-release")), index.release.clone().unwrap_or_else(|| "-".to_owned())],
        vec![fact(message!("fact-created")), table::time(&index.created)],
        vec![fact(message!("fact-who")), shown(&index.by)],
        vec![fact(message!("fact-manifest")), shown(&index.manifest)],
        vec![fact(message!("fact-package")), reader.digest().to_string()],
        vec![fact(message!("fact-verified")), output.catalogue.text(&signed)],
        vec![fact(message!("fact-contents")), size(index.bytes())],
    ];
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let mut text = table::columns(&first, facts);
    let carried: HashSet<&str> = index.entries.iter().map(|entry| entry.name.as_str()).collect();
    let is_carried = |digest| carried.contains(Namespace::Blob.name(digest).as_str());
    let deltas: HashMap<_, _> = index.deltas.iter().map(|delta| (&delta.layer, delta.delta_bytes)).collect();
    let images = index.images.iter().map(|image| {
        let carried = image.layers.iter().filter_map(|layer| match deltas.get(&layer.diff_id) {
            Some(bytes) => Some(*bytes),
            None => is_carried(&layer.blob).then_some(layer.bytes),
        });
        let carried: Vec<u64> = carried.collect();
        let bytes = carried.iter().sum();
        let count = format!("{}/{}", carried.len(), image.layers.len());
        vec![shown(&image.reference), image.config.digest.short().to_owned(), count, size(bytes)]
    });
    let titles = [message!("column-image"), message!("column-id"), message!("column-layers"), message!("column-size")];
    text.push_str(&section(&titles, images.collect(), output));
    let three = |kind| [kind, message!("column-digest"), message!("column-size")];
    let files = index.files.iter();
    let files = files.map(|file| vec![shown(&file.path), file.digest.short().to_owned(), size(file.bytes)]);
    text.push_str(&section(&three(message!("column-file")), files.collect(), output));
    let seeds = index.seeds.iter();
    let seeds = seeds.map(|seed| vec![shown(&seed.database), seed.digest.short().to_owned(), size(seed.bytes)]);
    text.push_str(&section(&three(message!("column-seed")), seeds.collect(), output));
    output.data(&text)?;
    let totals = index.delta_totals();
    if totals.layers > 0 {
        let (layers, bytes, whole) = (totals.layers, totals.bytes, totals.whole_bytes);
        output.say(&message!("package-deltas", layers = layers, bytes = bytes, whole = whole));
    }
    if !index.needs.layers.is_empty() || !index.needs.seeds.is_empty() {
        let (layers, seeds) = (index.needs.layers.len(), index.needs.seeds.len());
        output.say(&message!("package-needs", layers = layers, seeds = seeds));
    }
    Ok(0)
}

fn plan(arguments: &PlanArguments, session: &mut Session) -> Result<u8, Failure> {
    let mut reader = open(&arguments.package.files)?;
    let index = reader.index.clone();
    let place = place_of(&index, arguments.folder.as_deref(), session)?;
    let manifest = place.folder.join(place.manifest.as_deref().unwrap_or_default());
    let verdict = judge(&reader, &trusted_keys(&place.folder, Some(&manifest), session)?)?;
    let files = index.files.iter().map(|file| file.path.clone()).collect();
    let request = InventoryRequest { project: place.clone(), files, seeds: !index.seeds.is_empty() };
    let inventory = session.wait_for(async { Ok(collect_inventory(&request).await) })?;
    let plan = plan_unpack(&index, &inventory, PlanOptions::default())?;
    let mut services = Vec::new();
    if inventory.project.is_some() {
        let project = session.project(Some(&manifest))?;
        let sent = |reference: &str| {
            plan.images.iter().any(|image| image.result == ImageResult::Sent && image.reference == reference)
        };
        for (_, service, definition) in project.manifest().services.iter() {
            if crate::images::engine_name(&definition.image).is_some_and(|name| sent(&name)) {
                services.push(service.to_owned());
            }
        }
    }
    let mut fields = Vec::new();
    for (file, content) in reader.files(|file| file.purpose == FileUse::Manifest)? {
        let Ok(here) = std::fs::read(place.folder.join(&file)) else { continue };
        fields.extend(diff_manifests(&file, &here, &content));
    }
    let report = PackagePlanReport {
        package: reader.digest().to_string(),
        project: index.project.clone(),
        release: index.release.clone(),
        created: index.created.clone(),
        key: key_of(&verdict),
        plan,
        services,
        fields,
    };
    let output = &session.output;
    if output.json {
        output.document(&report)?;
        return Ok(0);
    }
    let mut text = tables(&report.plan, output);
    for field in &report.fields {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), shown);
        let (from, to) = (value(&field.from), value(&field.to));
        text.push_str(&format!("{}: {}: {from} → {to}\n", shown(&field.file), shown(&field.field)));
    }
    say_plan(&report.plan, (&report.project, report.release.as_deref(), &report.created), output, &mut text);
    output.data(&text)?;
    say_verdict(&verdict, session);
    let services = report.services.join(", ");
    session.output.say(&match report.services.is_empty() {
        true => message!("package-changes-nothing"),
        false => message!("package-changes", services = services),
    });
    Ok(0)
}
