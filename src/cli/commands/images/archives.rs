//! `images import` and `images export` as the operator sees them.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::chosen::chosen;
use super::compression::{CompressionArguments, compression_flags, space_check, space_flag};
use super::disks::shown_with_disks;
use super::shown::{image_row, print};
use crate::cli::grammar::typed::{quoted, typed};
use crate::cli::session::operations::{self, Operation, Shown, document, path};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::{stdout, table};
use crate::fs::OutputTarget;
use crate::images::{
    Compression, ExportOptions, ExportReport, ExportTarget, ImagesError, ImportLeftOut, ImportOptions, ImportReport,
    ImportResult, InvalidPlatform, Platform, export, import, plan_export, plan_import, replaced_part,
};
use crate::manifest::Reference;
use crate::manifest::model::ByteSize;
use crate::report::{Message, Reporter, Told as _};

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Archives of `docker save` or of other programs, folders that are OCI layouts, the first part of a split archive
    /// (FILE.001), or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub compression: CompressionArguments,
    /// The platform to choose from an index of several platforms [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub platform: Option<String>,
    /// The name (name:tag) for the only image of a file [default: the name in the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Continue even if the store's disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Services (their images are exported) or references (name:tag), and a manifest (.json) [default: all]
    #[arg(value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// The archive to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write parts of this size (4000m, 4g): FILE.001, FILE.002 and so on [default: one file]
    #[arg(long, value_name = "SIZE")]
    pub split: Option<String>,
    #[command(flatten)]
    pub compression: CompressionArguments,
    /// Continue even if the disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

/// `dpl images import`. The first `.json` file among its arguments is the manifest, as everywhere.
pub fn import_files(arguments: &ImportArguments, session: &mut Session) -> Result<u8, Failure> {
    let mut files = arguments.files.clone();
    let manifest = session.manifest_among(&mut files);
    if files.is_empty() {
        return Err(Failure::usage(message!("usage-nothing-to-import")));
    }
    let project = session.project(manifest.as_deref())?;
    let options = ImportOptions { project: Some(project.manifest().project.clone()), ..arguments.options()? };
    let stdin = files.iter().any(|file| file == Path::new("-"));
    if stdin && io::stdin().is_terminal() {
        return Err(Failure::usage(message!("usage-archive-from-terminal")));
    }
    operations::act(&Import { files, options }, &project, session)
}

/// How what is imported is compressed where that is not said.
const USUAL_COMPRESSION: Compression = Compression::Zstd;

impl ImportArguments {
    /// What they say, for a project that is not known yet.
    fn options(&self) -> Result<ImportOptions, Failure> {
        let platform = match &self.platform {
            Some(text) => text.parse().map_err(|error: InvalidPlatform| Failure::usage(error.message()))?,
            None => Platform::host(),
        };
        let name = self.name.as_deref().map(str::parse::<Reference>).transpose();
        let name = name.map_err(|error| Failure::usage(error.message()))?;
        if let Some(name) = name.as_ref().filter(|name| name.tag().is_none()) {
            return Err(Failure::usage(message!("usage-import-name", name = name)));
        }
        Ok(ImportOptions {
            compression: self.compression.options(USUAL_COMPRESSION),
            platform,
            is_platform_asked: self.platform.is_some(),
            name,
            project: None,
            space: space_check(self.no_space_check),
        })
    }
}

/// Takes files into the store.
struct Import {
    files: Vec<PathBuf>,
    options: ImportOptions,
}

impl Import {
    fn names(&self) -> String {
        self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ")
    }
}

impl Operation for Import {
    fn announcement(&self) -> Message {
        message!("will-import-images", files = self.names())
    }

    fn command(&self) -> String {
        let ImportOptions { compression, platform, is_platform_asked, name, project: _, space } = &self.options;
        let files: Vec<String> = self.files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        let compression = compression_flags(compression, USUAL_COMPRESSION);
        let platform = if *is_platform_asked { format!(" --platform {platform}") } else { String::new() };
        let name = name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
        format!("dpl images import {}{compression}{platform}{name}{}", typed(&files), space_flag(*space))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let plan = session.runtime()?.block_on(plan_import(store, &self.files, &self.options))?;
        let rows = plan.images.iter().map(|image| {
            let (tone, result) = match (image.result, &image.replaced) {
                (ImportResult::Unchanged, _) => (Tone::Good, message!("word-unchanged")),
                (ImportResult::Imported, None) => (Tone::Attention, message!("word-would-import")),
                (ImportResult::Imported, Some(_)) => (Tone::Attention, message!("word-would-replace")),
            };
            let layers = (image.layers_new, image.layers_total);
            image_row(&image.reference, (tone, result), layers, [image.from.clone()], session)
        });
        print(
            [
                message!("column-image"),
                message!("column-result"),
                message!("column-new-layers"),
                message!("column-from"),
            ],
            rows.collect(),
            session,
        )?;
        for ImportLeftOut { from, name, why, .. } in &plan.left_out {
            session.output.say(&message!("images-left-out", file = from, name = name, why = why));
        }
        let mut shown = shown_with_disks(&plan, &plan.disks, self.options.space, session)?;
        shown.failures.extend(not_all_imported(&plan));
        Ok(shown)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let report: ImportReport = session.runtime()?.block_on(import(store, &self.files, &self.options, reporter))?;
        let unchanged = report.images.iter().filter(|image| image.result == ImportResult::Unchanged).count();
        let message = message!(
            "images-import-done",
            imported = report.images.len() - unchanged,
            unchanged = unchanged,
            new = table::size(report.new_bytes),
            time = report.seconds
        );
        session.output.say(&message);
        let document = document(&report)?;
        match not_all_imported(&report) {
            None => Ok(document),
            Some(failure) => Err(Failure::Some { document, failures: vec![failure] }),
        }
    }
}

/// That images were damaged where they come from; what is not an image for this machine is no failure.
fn not_all_imported(report: &ImportReport) -> Option<Failure> {
    let failed = report.damaged();
    (!failed.is_empty()).then(|| ImagesError::NotAllImported { failed }.into())
}

/// `dpl images export`.
pub fn export_images(arguments: &ExportArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, targets) = session.targets(&arguments.targets)?;
    let to_stdout = arguments.output == Path::new("-");
    if to_stdout && session.output.json {
        return Err(Failure::usage(message!("usage-archive-and-json")));
    }
    if to_stdout && !session.global.dry_run {
        stdout::check().map_err(Failure::Output)?;
        if io::stdout().is_terminal() {
            return Err(Failure::usage(message!("usage-archive-to-terminal")));
        }
    }
    let split = arguments.split()?;
    if split.is_some_and(|bytes| bytes < LEAST_PART_BYTES) {
        return Err(Failure::usage(message!("usage-split-too-small")));
    }
    if split.is_some() && to_stdout {
        return Err(Failure::usage(message!("usage-split-stdout")));
    }
    let references = chosen(&targets, &project, Unselected::All)?;
    let (output, options) = (arguments.output.clone(), arguments.options());
    operations::act(&Export { references, output, split, options }, &project, session)
}

impl ExportArguments {
    /// The size of a part, in bytes.
    fn split(&self) -> Result<Option<u64>, Failure> {
        let split = self.split.as_deref().map(str::parse::<ByteSize>).transpose();
        Ok(split.map_err(|error| Failure::usage(error.message()))?.map(|size| size.0))
    }

    fn options(&self) -> ExportOptions {
        ExportOptions {
            compression: self.compression.options(by_name(&self.output)),
            space: space_check(self.no_space_check),
        }
    }
}

const LEAST_PART_BYTES: u64 = 1 << 20;

/// What the name of an archive says about its compression.
fn by_name(output: &Path) -> Compression {
    match output.extension().and_then(|ending| ending.to_str()) {
        Some("gz" | "tgz") => Compression::Gzip,
        Some("zst" | "tzst") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Writes images of the store as one archive.
struct Export {
    references: Vec<Reference>,
    /// `-` is standard output.
    output: PathBuf,
    /// The size of a part, in bytes.
    split: Option<u64>,
    options: ExportOptions,
}

impl Export {
    fn names(&self) -> String {
        self.references.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    fn is_stream(&self) -> bool {
        self.output == Path::new("-")
    }
}

impl Operation for Export {
    fn announcement(&self) -> Message {
        message!("will-export-images", images = self.names(), output = self.output.display())
    }

    fn command(&self) -> String {
        let ExportOptions { compression, space } = &self.options;
        let references: Vec<String> = self.references.iter().map(ToString::to_string).collect();
        let output = quoted(&self.output.to_string_lossy());
        let split = self.split.map(|bytes| format!(" --split {bytes}")).unwrap_or_default();
        let compression = compression_flags(compression, by_name(&self.output));
        let space = space_flag(*space);
        format!("dpl images export {} --output {output}{split}{compression}{space}", typed(&references))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        // What can't be looked at is told when it is opened.
        let is_file = |path: &PathBuf| matches!(OutputTarget::of(path), Ok(OutputTarget::Existing(_)));
        let replaced = match self.split {
            Some(_) => replaced_part(&self.output),
            None => Some(self.output.clone()).filter(|path| !self.is_stream() && is_file(path)),
        };
        let Some(path) = replaced else {
            return Ok(());
        };
        let question = message!("confirm-overwrite", path = path.display());
        session.confirm(&question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let target = match (self.is_stream(), self.split) {
            (true, _) => ExportTarget::Stream(Box::new(io::sink())),
            (false, Some(part_bytes)) => ExportTarget::Parts { output: self.output.clone(), part_bytes },
            (false, None) => ExportTarget::Path(self.output.clone()),
        };
        let plan = session.runtime()?.block_on(plan_export(store, &self.references, target, self.options))?;
        let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let rows = plan
            .images
            .iter()
            .map(|image| vec![image.reference.clone(), short(&image.image_id), image.layers_total.to_string()]);
        print([message!("column-image"), message!("column-id"), message!("column-layers")], rows.collect(), session)?;
        let message = message!(
            "images-export-would",
            images = plan.images.len(),
            layers = plan.layers,
            output = &plan.output,
            bytes = plan.layer_bytes.map_or_else(|| "?".to_owned(), table::size)
        );
        session.output.say(&message);
        shown_with_disks(&plan, &plan.disks, self.options.space, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let target = if self.is_stream() {
            // Not through std's own buffer, which looks for the ends of lines in an archive.
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(Failure::Output)?;
            ExportTarget::Stream(Box::new(File::from(stdout)))
        } else {
            match self.split {
                Some(part_bytes) => ExportTarget::Parts { output: self.output.clone(), part_bytes },
                None => ExportTarget::Path(self.output.clone()),
            }
        };
        let exporting = export(store, &self.references, target, self.options, reporter);
        let report: ExportReport = session.runtime()?.block_on(exporting)?;
        let (images, bytes) = (report.images.len(), table::size(report.written_bytes));
        let message = match report.parts.as_slice() {
            [first, .., last] => message!(
                "images-export-done-parts",
                images = images,
                layers = report.layers,
                parts = report.parts.len(),
                first = first,
                last = last,
                bytes = bytes,
                time = report.seconds
            ),
            _ => message!(
                "images-export-done",
                images = images,
                layers = report.layers,
                output = &report.output,
                bytes = bytes,
                time = report.seconds
            ),
        };
        session.output.say(&message);
        document(&report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::images::ImagesCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_an_import_and_an_export_with_all_their_flags() {
        let import = [
            "dpl images import a.tar 'b c.tar' -",
            "dpl images import a.tar --compression none --level 19 --threads 2 --platform linux/arm/v7 --name a/b:1 \
             --no-space-check",
        ];
        assert_typed_again(&import, &[], |command| match command {
            Command::Images(ImagesCommand::Import(arguments)) => {
                Import { options: arguments.options().unwrap(), files: arguments.files }.command()
            }
            other => panic!("{other:?}"),
        });
        let export = [
            "dpl images export web:1 registry:5000/db:2 --output '/media/a b/all.tar'",
            "dpl images export web:1 --output all.tar.gz --split 4294967296 --level 9 --threads 2 --no-space-check",
            "dpl images export web:1 --output all.tar.gz --compression zstd",
        ];
        assert_typed_again(&export, &[], |command| match command {
            Command::Images(ImagesCommand::Export(arguments)) => {
                let references = arguments.targets.iter().map(|target| target.parse().unwrap()).collect();
                let (split, options) = (arguments.split().unwrap(), arguments.options());
                Export { references, output: arguments.output, split, options }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
