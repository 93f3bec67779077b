//! `package`: looks into a package, and changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::place::open;
use super::planned::{PlannedPackage, Question, say_verdict};
use super::release::section;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, size};
use crate::manifest::FileUse;
use crate::packages::{FieldChange, Namespace, PackageIndex, PackageReader, PublicKey, diff_manifests};
use crate::report::Listed;
use crate::sites::{ImageResult, PlanOptions, shown};

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
    #[serde(flatten)]
    pub planned: PlannedPackage,
    /// Services of the manifest whose images it changes, where there is a project by now.
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
    let mut facts = vec![
        vec![fact(message!("fact-release")), index.release.clone().unwrap_or_else(|| "-".to_owned())],
        vec![fact(message!("fact-created")), table::time(&index.created)],
        vec![fact(message!("fact-who")), shown(&index.by)],
        vec![fact(message!("fact-manifest")), shown(&index.manifest)],
        vec![fact(message!("fact-package")), reader.digest().to_string()],
        vec![fact(message!("fact-signature")), output.catalogue.text(&signed)],
        vec![fact(message!("fact-contents")), size(index.bytes())],
    ];
    if !index.revokes.is_empty() {
        let id = |text: &String| PublicKey::parse(text).map_or_else(|_| shown(text), |key| key.id());
        let ids: Vec<String> = index.revokes.iter().map(id).collect();
        facts.push(vec![fact(message!("fact-revokes")), ids.join(", ")]);
    }
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
    let question = Question {
        files: &arguments.package.files,
        folder: arguments.folder.as_deref(),
        options: PlanOptions::default(),
        allow_older: true,
    };
    let mut looked = question.look(session)?;
    let mut services = Vec::new();
    if looked.has_project {
        let images = &looked.planned.plan.images;
        let sent = |reference: &str| {
            images.iter().any(|image| image.result == ImageResult::Sent && image.reference == reference)
        };
        for (_, service, definition) in looked.project.manifest().services.iter() {
            if crate::images::engine_name(&definition.image).is_some_and(|name| sent(&name)) {
                services.push(service.to_owned());
            }
        }
    }
    let mut fields = Vec::new();
    for file in looked.reader.index.files.iter().filter(|file| file.purpose == FileUse::Manifest) {
        let Ok(here) = std::fs::read(looked.place.folder.join(&file.path)) else { continue };
        if let Some(content) = looked.files.content(&file.digest) {
            fields.extend(diff_manifests(&file.path, &here, &content));
        }
    }
    let report = PackagePlanReport { planned: looked.planned, services, fields };
    let output = &session.output;
    if output.json {
        output.document(&report)?;
        return Ok(0);
    }
    let line = |field: &FieldChange| {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), shown);
        let (from, to) = (value(&field.from), value(&field.to));
        format!("{}: {}: {from} → {to}\n", shown(&field.file), shown(&field.field))
    };
    let fields: String = report.fields.iter().map(line).collect();
    output.data(&report.planned.text(&fields, output))?;
    say_verdict(&looked.verdict, session);
    session.output.say(&match report.services.is_empty() {
        true => message!("package-changes-nothing"),
        false => message!("package-changes", services = Listed::of(&report.services)),
    });
    if super::self_extracting::is_one() {
        super::self_extracting::words(session);
    }
    Ok(0)
}
