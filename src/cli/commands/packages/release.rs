//! `release`: what the project consists of at one time, kept by name in the image store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::goals::NONE;
use super::selected::SelectionArguments;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::operations::path;
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column, size};
use crate::images::{release_file, remove_release};
use crate::packages::{
    Change, NewRelease, PackagesError, Release, ReleaseDiff, create_release, diff_releases, list_releases, read_release,
};
use crate::report::{Activity, Message};
use crate::sites::shown;

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Write down what the project consists of now; the image store keeps it
    Create(CreateArguments),
    /// List the releases, the oldest first
    List(ManifestArguments),
    /// Show what a release consists of
    Show(NamedArguments),
    /// Show what changed from one release to another
    Diff(DiffArguments),
    /// Forget a release; what only it needs goes with the next `images prune`
    Remove(NamedArguments),
}

#[derive(Debug, Args)]
pub struct CreateArguments {
    /// The name: letters, digits, `-`, `_`, `.` and `+`
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub selection: SelectionArguments,
}

#[derive(Debug, Args)]
pub struct NamedArguments {
    /// The release
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The older release
    #[arg(value_name = "OLDER")]
    pub older: String,
    /// The newer release
    #[arg(value_name = "NEWER")]
    pub newer: String,
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

/// What `release list --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReleasesReport {
    /// The oldest first.
    pub releases: Vec<Release>,
}

impl ReleaseCommand {
    pub fn changes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Remove(_))
    }
}

/// `dpl release …`.
pub fn run(command: &ReleaseCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        ReleaseCommand::Create(arguments) => create(arguments, session),
        ReleaseCommand::List(arguments) => {
            let project = session.project(arguments.manifest.as_deref())?;
            list(store(&project)?, session)
        }
        ReleaseCommand::Show(NamedArguments { name, manifest }) => {
            let project = session.project(manifest.as_deref())?;
            let release = read_release(store(&project)?, name)?;
            show(&release, session)
        }
        ReleaseCommand::Diff(DiffArguments { older, newer, manifest }) => {
            let project = session.project(manifest.as_deref())?;
            let store = store(&project)?;
            let (older, newer) = (read_release(store, older)?, read_release(store, newer)?);
            let kept = |release: &Release, digest: &crate::fs::Digest| {
                std::fs::read(release_file(store, &release.name, digest)).ok()
            };
            show_diff(&diff_releases(&older, &newer, kept), session)
        }
        ReleaseCommand::Remove(NamedArguments { name, manifest }) => {
            let project = session.project(manifest.as_deref())?;
            remove(name, &project, session)
        }
    }
}

fn store(project: &Project) -> Result<&Path, Failure> {
    path(project.manifest().paths.images.as_deref(), "images")
}

fn create(arguments: &CreateArguments, session: &mut Session) -> Result<u8, Failure> {
    let name = arguments.name.as_str();
    if name == NONE {
        return Err(Failure::usage(message!("usage-release-none", name = name)));
    }
    let (project, targets) = session.targets(&arguments.selection.content.targets)?;
    let store = store(&project)?.to_owned();
    // Before gigabytes are saved for it.
    match read_release(&store, name) {
        Ok(_) => return Err(crate::images::ImagesError::ReleaseExists { name: name.to_owned() }.into()),
        Err(PackagesError::NoRelease { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let command = format!("dpl release create {name}");
    let selected = arguments.selection.look((&project, &targets), (None, &command), session)?;
    let new = NewRelease {
        name,
        project: &project.manifest().project,
        architecture: &selected.architecture,
        manifest: &selected.manifest,
        offer: &selected.offer,
        sources: &selected.sources,
    };
    if session.global.dry_run {
        return show(&new.document(), session);
    }
    let release = session.change_at(WorkPlace::Here, &project, &command, |_, reporter| {
        reporter.began(Activity::CreateRelease, name, None);
        match create_release(&store, &new) {
            Ok(release) => {
                reporter.done(Activity::CreateRelease, name, message!("release-kept"));
                Ok(release)
            }
            Err(error) => {
                reporter.failed(Activity::CreateRelease, name, &error);
                Err(error.into())
            }
        }
    })?;
    let output = &session.output;
    for file in &release.left_out {
        output.warn(&left_out(&file.path, file.reason));
    }
    let (images, files, seeds) = (release.images.len(), release.files.len(), release.seeds.len());
    let bytes = release.image_bytes();
    output.say(&message!("release-created", name = name, images = images, bytes = bytes, files = files, seeds = seeds));
    if output.json {
        output.document(&release)?;
    }
    Ok(0)
}

/// Why a file is not part of a release or a package.
pub fn left_out(path: &str, reason: crate::sites::LeftOutBecause) -> Message {
    use crate::sites::LeftOutBecause::{Missing, Outside, Secret};
    let path = shown(path);
    match reason {
        Secret => message!("left-out-secret", path = path),
        Outside => message!("left-out-outside", path = path),
        Missing => message!("left-out-missing", path = path),
    }
}

fn list(store: &Path, session: &mut Session) -> Result<u8, Failure> {
    let releases = list_releases(store)?;
    let output = &session.output;
    if output.json {
        output.document(&ReleasesReport { releases })?;
        return Ok(0);
    }
    if releases.is_empty() {
        output.say(&message!("releases-none"));
        return Ok(0);
    }
    let rows = releases.iter().map(|release| {
        vec![
            release.name.clone(),
            table::time(&release.created),
            shown(&release.by),
            release.images.len().to_string(),
            release.files.len().to_string(),
            release.seeds.len().to_string(),
            size(release.image_bytes()),
        ]
    });
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-release")),
        title(message!("column-created")),
        title(message!("column-who")).at_least(8).leaves(3),
        title(message!("column-images")).right(),
        title(message!("column-files")).right().leaves(2),
        title(message!("column-seeds")).right().leaves(1),
        title(message!("column-size")).right(),
    ];
    output.data(&table::within(&columns, rows.collect(), output.width()))?;
    Ok(0)
}

fn show(release: &Release, session: &mut Session) -> Result<u8, Failure> {
    let output = &session.output;
    if output.json {
        output.document(release)?;
        return Ok(0);
    }
    let fact = |key| output.catalogue.word(key).to_owned();
    let first = [fact(message!("fact-release")), release.name.clone()];
    let facts = vec![
        vec![fact(message!("fact-project")), shown(&release.project)],
        vec![fact(message!("fact-created")), table::time(&release.created)],
        vec![fact(message!("fact-who")), shown(&release.by)],
        vec![fact(message!("fact-manifest")), shown(&release.manifest)],
    ];
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let mut text = table::columns(&first, facts);
    let images = release.images.iter().map(|image| {
        let bytes = image.layers.iter().map(|layer| layer.bytes).sum::<u64>();
        let layers = image.layers.len().to_string();
        vec![shown(&image.reference), image.config.digest.short().to_owned(), layers, size(bytes)]
    });
    text.push_str(&section(
        &[message!("column-image"), message!("column-id"), message!("column-layers"), message!("column-size")],
        images.collect(),
        output,
    ));
    let files = release.files.iter();
    let files = files.map(|file| vec![shown(&file.path), file.digest.short().to_owned(), size(file.bytes)]);
    let three = |kind| [kind, message!("column-digest"), message!("column-size")];
    text.push_str(&section(&three(message!("column-file")), files.collect(), output));
    let seeds = release.seeds.iter();
    let seeds = seeds.map(|seed| vec![shown(&seed.database), seed.digest.short().to_owned(), size(seed.bytes)]);
    text.push_str(&section(&three(message!("column-seed")), seeds.collect(), output));
    output.data(&text)?;
    for file in &release.left_out {
        output.say(&left_out(&file.path, file.reason));
    }
    Ok(0)
}

/// A table below others; nothing where it has no rows.
pub fn section(titles: &[Message], rows: Vec<Vec<String>>, output: &Output) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut columns: Vec<Column> =
        titles.iter().map(|title| Column::new(output.catalogue.word(title.clone()))).collect();
    if let Some(first) = columns.first_mut() {
        *first = first.at_least(12);
    }
    if let Some(last) = columns.last_mut() {
        *last = last.right();
    }
    format!("\n{}", table::within(&columns, rows, output.width()))
}

fn show_diff(diff: &ReleaseDiff, session: &mut Session) -> Result<u8, Failure> {
    let output = &session.output;
    if output.json {
        output.document(diff)?;
        return Ok(0);
    }
    let word = |change| match change {
        Change::Added => output.paint_word(Tone::Good, message!("word-added")),
        Change::Removed => output.paint_word(Tone::Bad, message!("word-removed")),
        Change::Changed => output.paint_word(Tone::Attention, message!("word-changed")),
    };
    let mut text = String::new();
    let images = diff.images.iter().map(|image| {
        let layers = format!("{}/{}", image.new_layers, image.layers_total);
        vec![shown(&image.reference), word(image.change), layers, size(image.new_bytes)]
    });
    let titles =
        [message!("column-image"), message!("column-change"), message!("column-new-layers"), message!("column-size")];
    text.push_str(&section(&titles, images.collect(), output));
    let three = |kind| [kind, message!("column-change"), message!("column-size")];
    let files = diff.files.iter().map(|file| vec![shown(&file.path), word(file.change), size(file.bytes)]);
    text.push_str(&section(&three(message!("column-file")), files.collect(), output));
    let seeds = diff.seeds.iter().map(|seed| vec![shown(&seed.database), word(seed.change), size(seed.bytes)]);
    text.push_str(&section(&three(message!("column-seed")), seeds.collect(), output));
    if !diff.fields.is_empty() {
        text.push('\n');
    }
    for field in &diff.fields {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), shown);
        let (from, to) = (value(&field.from), value(&field.to));
        text.push_str(&format!("{}: {}: {from} → {to}\n", shown(&field.file), shown(&field.field)));
    }
    output.data(text.trim_start_matches('\n'))?;
    output.say(&match text.is_empty() {
        true => message!("releases-equal", from = &diff.from, to = &diff.to),
        false => message!("releases-differ", to = &diff.to, layers = diff.new_layers, bytes = diff.new_bytes),
    });
    Ok(0)
}

fn remove(name: &str, project: &Arc<Project>, session: &mut Session) -> Result<u8, Failure> {
    let store = store(project)?.to_owned();
    // A damaged one can be removed as well.
    if let Err(error @ (PackagesError::NoRelease { .. } | PackagesError::ReleaseName { .. })) =
        read_release(&store, name)
    {
        return Err(error.into());
    }
    if session.global.dry_run {
        session.output.say(&message!("release-would-go", name = name));
        return Ok(0);
    }
    session.confirm(&message!("confirm-release-remove", name = name))?;
    let command = format!("dpl release remove {name}");
    session.change_at(WorkPlace::Here, project, &command, |_, reporter| {
        reporter.began(Activity::RemoveRelease, name, None);
        match remove_release(&store, name) {
            Ok(_) => {
                reporter.done(Activity::RemoveRelease, name, message!("word-removed"));
                Ok(())
            }
            Err(error) => {
                reporter.failed(Activity::RemoveRelease, name, &error);
                Err(error.into())
            }
        }
    })?;
    session.output.say(&message!("release-removed", name = name));
    Ok(0)
}
