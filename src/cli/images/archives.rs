//! `images import` and `images export` as the operator sees them.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::housekeeping::chosen;
use super::transfer::{show_disks, space_check};
use super::{compression, print, some_of};
use crate::cli::arguments::{CompressionArguments, ExportArguments, ImportArguments};
use crate::cli::failure::Failure;
use crate::cli::operations::{self, Operation, document, path};
use crate::cli::output::Tone;
use crate::cli::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::{prompt, table};
use crate::fs::OutputTarget;
use crate::images::{
    Compression, CompressionOptions, ExportOptions, ExportReport, ExportTarget, ImportOptions, ImportReport,
    ImportResult, InvalidPlatform, Platform, export, import, part_path, plan_export, plan_import,
};
use crate::manifest::Reference;
use crate::manifest::types::ByteSize;
use crate::report::{Message, Reporter};

/// `dpl images import`. Its arguments are files, whatever they are called: none of them names the manifest.
pub fn import_files(arguments: &ImportArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let platform = match &arguments.platform {
        Some(text) => {
            text.parse().map_err(|error: InvalidPlatform| Failure::usage(message!("usage-text", text = error)))?
        }
        None => Platform::host(),
    };
    let name = arguments.name.as_deref().map(str::parse::<Reference>).transpose();
    let name = name.map_err(|error| Failure::usage(message!("usage-text", text = error)))?;
    let stdin = arguments.files.iter().any(|file| file == Path::new("-"));
    if stdin && io::stdin().is_terminal() {
        return Err(Failure::usage(message!("usage-archive-from-terminal")));
    }
    let options = ImportOptions {
        is_platform_asked: arguments.platform.is_some(),
        name,
        compression: compression_options(&arguments.compression, Compression::Zstd),
        space: space_check(arguments.no_space_check),
        platform,
        project: Some(project.manifest().project.clone()),
    };
    operations::act(&Import { files: arguments.files.clone(), options }, &project, session)
}

fn compression_options(arguments: &CompressionArguments, usual: Compression) -> CompressionOptions {
    let CompressionArguments { compression: chosen, level, threads } = *arguments;
    CompressionOptions { compression: compression(chosen, usual), level, threads }
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
        format!("dpl images import {}", self.names())
    }

    fn needs_engine(&self) -> bool {
        false
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let plan = session.runtime()?.block_on(plan_import(store, &self.files, &self.options))?;
        let rows = plan.images.iter().map(|image| {
            let (tone, result) = match (image.result, &image.replaced) {
                (ImportResult::Unchanged, _) => (Tone::Good, message!("word-unchanged")),
                (ImportResult::Imported, None) => (Tone::Attention, message!("word-would-import")),
                (ImportResult::Imported, Some(_)) => (Tone::Attention, message!("word-would-replace")),
            };
            vec![
                image.reference.clone(),
                session.output.paint_word(tone, result),
                some_of(image.layers_new, image.layers_total, session),
                image.from.clone(),
            ]
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
        show_disks(&plan.disks, session)?;
        document(&plan)
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
        document(&report)
    }
}

/// `dpl images export`.
pub fn export_images(arguments: &ExportArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, targets) = session.targets(&arguments.targets)?;
    let to_stdout = arguments.output == Path::new("-");
    if to_stdout && session.output.json {
        return Err(Failure::usage(message!("usage-archive-and-json")));
    }
    if to_stdout && !session.global.dry_run && io::stdout().is_terminal() {
        return Err(Failure::usage(message!("usage-archive-to-terminal")));
    }
    let split = arguments.split.as_deref().map(str::parse::<ByteSize>).transpose();
    let split = split.map_err(|error| Failure::usage(message!("usage-text", text = error)))?.map(|size| size.0);
    if split.is_some_and(|bytes| bytes < LEAST_PART_BYTES) {
        return Err(Failure::usage(message!("usage-split-too-small")));
    }
    if split.is_some() && to_stdout {
        return Err(Failure::usage(message!("usage-split-stdout")));
    }
    let references = chosen(&targets, &project, Unselected::All)?;
    let options = ExportOptions {
        compression: compression_options(&arguments.compression, by_name(&arguments.output)),
        space: space_check(arguments.no_space_check),
    };
    operations::act(&Export { references, output: arguments.output.clone(), split, options }, &project, session)
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
        let split = self.split.map(|bytes| format!(" --split {bytes}")).unwrap_or_default();
        format!("dpl images export --output {}{split} {}", self.output.display(), self.names())
    }

    fn needs_engine(&self) -> bool {
        false
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        // What can't be looked at is told when it is opened.
        let path = if self.split.is_some() { part_path(&self.output, 1) } else { self.output.clone() };
        if self.is_stream() || !matches!(OutputTarget::of(&path), Ok(OutputTarget::Existing(_))) {
            return Ok(());
        }
        let question = message!("confirm-overwrite", path = path.display());
        prompt::confirm(session, &question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
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
        show_disks(&plan.disks, session)?;
        document(&plan)
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
        let message = message!(
            "images-export-done",
            images = report.images.len(),
            layers = report.layers,
            output = &report.output,
            bytes = table::size(report.written_bytes),
            time = report.seconds
        );
        session.output.say(&message);
        document(&report)
    }
}
