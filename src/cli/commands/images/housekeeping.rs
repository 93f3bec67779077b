//! `images prune` and `images remove` as the operator sees them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::chosen::{chosen, needed};
use super::shown::print;
use crate::cli::session::operations::{self, Operation, Shown, document, path, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::progress::ProgressListener;
use crate::cli::text::table;
use crate::images::{
    ArchivePruning, ArchiveState, NeededImages, PrunePlan, PruneReport, RemoveReport, RemoveTargets, RemovedImage,
    StillNeeded, plan_prune, plan_remove, prune, remove,
};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Also remove old archives that no manifest needs, or whose images are all in the store
    #[arg(long)]
    pub archives: bool,
    /// Clean the engine instead of the store: remove images that earlier loads left there and nothing needs
    #[arg(long, conflicts_with = "archives")]
    pub engine: bool,
    /// With --engine: also remove all images without a name, whatever their origin
    #[arg(long, requires = "engine")]
    pub dangling: bool,
    /// With --engine: also remove kept images that this project has no record of
    #[arg(long, requires = "engine")]
    pub unknown: bool,
}

#[derive(Debug, Args)]
pub struct RemoveImagesArguments {
    /// References, services, IDs of unnamed images, and a manifest (.json)
    #[arg(required = true, value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// Also remove images that a manifest still names, or that another project saved
    #[arg(long)]
    pub force: bool,
}

/// `dpl images prune`.
pub fn prune_store(arguments: &PruneArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let archives = if arguments.archives { ArchivePruning::Remove } else { ArchivePruning::Keep };
    let needed = needed(&project)?;
    // Packed archives are read through, which may take minutes.
    let reporter =
        Reporter::new(vec![Arc::new(ProgressListener::new(session.output.clone()))], CancellationToken::new());
    let plan = session.runtime()?.block_on(plan_prune(store, &needed, archives, &reporter))?;
    drop(reporter);
    operations::act(&Prune { needed, archives, plan }, &project, session)
}

/// Takes out of the store what no manifest names, as it has been planned.
struct Prune {
    needed: NeededImages,
    archives: ArchivePruning,
    plan: PrunePlan,
}

impl Operation for Prune {
    fn announcement(&self) -> Message {
        message!("will-prune-images")
    }

    fn command(&self) -> String {
        let archives = if self.archives == ArchivePruning::Remove { " --archives" } else { "" };
        format!("dpl images prune{archives}")
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        let report = &self.plan.report;
        if self.plan.is_empty() {
            return Ok(());
        }
        if !session.global.yes {
            show_prune(report, session)?;
        }
        let question = message!(
            "confirm-prune",
            images = report.images.len(),
            blobs = report.blobs.len(),
            archives = removed_archives(report),
            store = &report.store,
            freed = table::size(report.freed_bytes)
        );
        session.confirm(&question)
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        show_prune(&self.plan.report, session)?;
        if self.plan.is_empty() {
            say_nothing_to_prune(&self.plan.report, session);
        }
        Shown::of(&self.plan.report)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&self.plan.report, reporter)?;
        if self.plan.is_empty() {
            notes(&self.plan.report, session);
            say_nothing_to_prune(&self.plan.report, session);
            return document(&PruneReport { done: true, ..self.plan.report.clone() });
        }
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let begun = Instant::now();
        let pruning = prune(store, &self.needed, self.archives, &self.plan, reporter);
        let report = session.runtime()?.block_on(pruning)?;
        notes(&report, session);
        let message = message!(
            "images-prune-done",
            images = report.images.len(),
            blobs = report.blobs.len(),
            archives = removed_archives(&report),
            freed = table::size(report.freed_bytes),
            time = begun.elapsed().as_secs_f64()
        );
        session.output.say(&message);
        document(&report)
    }
}

fn say_nothing_to_prune(report: &PruneReport, session: &Session) {
    session.output.say(&message!("images-nothing-to-prune", store = &report.store));
}

fn removed_archives(report: &PruneReport) -> usize {
    report.archives.iter().filter(|archive| archive.removed).count()
}

/// The plan as a table, and what stays and why.
fn show_prune(report: &PruneReport, session: &Session) -> Result<(), Failure> {
    let goes = session.output.paint_word(Tone::Attention, message!("word-would-go"));
    let stays = session.output.paint_word(Tone::Good, message!("word-stays"));
    let word = |key| session.output.catalogue.word(key).to_owned();
    let mut rows = image_rows(&report.images, &goes, session);
    for blob in &report.blobs {
        let shown: String = blob.digest.chars().take("sha256:".len() + 12).collect();
        let size = table::size(blob.size_bytes);
        rows.push(vec![
            word(message!("word-blob")),
            shown,
            goes.clone(),
            size,
            word(message!("why-no-image-names-it")),
        ]);
    }
    for file in &report.leftovers {
        let size = table::size(file.size_bytes);
        let why = word(message!("why-writer-interrupted"));
        rows.push(vec![word(message!("word-leftover")), file.path.clone(), goes.clone(), size, why]);
    }
    for file in &report.set_aside {
        let (size, why) = (table::size(file.size_bytes), word(message!("why-all-named-again")));
        rows.push(vec![word(message!("word-old-index")), file.path.clone(), goes.clone(), size, why]);
    }
    for archive in &report.archives {
        let why = match archive.state {
            ArchiveState::Unneeded => message!("why-archive-unneeded"),
            ArchiveState::InStore => message!("why-archive-in-store"),
            ArchiveState::Needed => message!("why-archive-needed"),
            ArchiveState::Unknown => message!("why-archive-unknown"),
        };
        let result = if archive.removed { goes.clone() } else { stays.clone() };
        let size = table::size(archive.size_bytes);
        rows.push(vec![word(message!("word-archive")), archive.file.clone(), result, size, word(why)]);
    }
    if !rows.is_empty() {
        print(
            [
                message!("column-kind"),
                message!("column-what"),
                message!("column-result"),
                message!("column-size"),
                message!("column-why"),
            ],
            rows,
            session,
        )?;
    }
    notes(report, session);
    Ok(())
}

fn image_rows(images: &[RemovedImage], goes: &str, session: &Session) -> Vec<Vec<String>> {
    let catalogue = session.output.catalogue;
    let row = |image: &RemovedImage| {
        let why = match (image.layers_total, image.layers_kept) {
            (0, _) => String::new(),
            (total, 0) => catalogue.text(&message!("why-all-layers-go", total = total)),
            (total, kept) => catalogue.text(&message!("why-layers-stay", kept = kept, total = total)),
        };
        let kind = catalogue.word(message!("word-image")).to_owned();
        vec![kind, image.reference.clone(), goes.to_owned(), table::size(image.freed_bytes), why]
    };
    images.iter().map(row).collect()
}

/// What the operator should know of what stays.
fn notes(report: &PruneReport, session: &Session) {
    if report.young > 0 {
        session.output.say(&message!("images-prune-young", count = report.young));
    }
    for other in &report.others {
        session.output.say(&message!("images-other-kind", name = other));
    }
    for reference in &report.lost {
        session.output.warn(&message!("images-prune-lost", reference = reference));
    }
    for reference in &report.newer {
        session.output.warn(&message!("images-record-newer", reference = reference));
    }
    if !report.unsure.is_empty() {
        session.output.warn(&message!("images-prune-unsure", files = Listed::of(&report.unsure)));
    }
    if !report.missing.is_empty() {
        let message =
            message!("images-prune-missing", count = report.missing.len(), references = Listed::of(&report.missing));
        session.output.warn(&message);
    }
    for kept in &report.kept {
        let message = if kept.projects.is_empty() {
            message!("images-prune-unnamed", reference = &kept.reference)
        } else {
            let projects = Listed::of(&kept.projects);
            message!("images-prune-kept", reference = &kept.reference, projects = projects)
        };
        session.output.say(&message);
    }
    let is_offered = |state| matches!(state, ArchiveState::Unneeded | ArchiveState::InStore);
    let offered: Vec<u64> = report
        .archives
        .iter()
        .filter(|archive| !archive.removed && is_offered(archive.state))
        .map(|archive| archive.size_bytes)
        .collect();
    if !offered.is_empty() {
        let message =
            message!("images-prune-archives", count = offered.len(), size = table::size(offered.iter().sum()));
        session.output.say(&message);
    }
}

/// `dpl images remove`.
pub fn remove_images(arguments: &RemoveImagesArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, targets) = session.targets(&arguments.targets)?;
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let targets = removed(&targets, &project)?;
    let still_needed = if arguments.force { StillNeeded::Removed } else { StillNeeded::Refused };
    let needed = needed(&project)?;
    let plan = session.runtime()?.block_on(plan_remove(store, &targets, &needed, still_needed))?;
    operations::act(&RemoveImages { targets, needed, still_needed, plan }, &project, session)
}

/// What is meant by targets: what looks like an ID and is no service is one.
fn removed(targets: &[String], project: &Project) -> Result<RemoveTargets, Failure> {
    let is_service = |target: &String| project.manifest().services.get(target).is_some();
    let id = |target: &String| RemoveTargets::id_of(target).filter(|_| !is_service(target)).map(str::to_owned);
    let ids: Vec<String> = targets.iter().filter_map(id).collect();
    let others: Vec<String> = targets.iter().filter(|target| id(target).is_none()).cloned().collect();
    let references = match others.is_empty() {
        true => Vec::new(),
        false => chosen(&others, project, Unselected::Refused { command: "images remove" })?,
    };
    Ok(RemoveTargets { references, ids })
}

/// Takes images out of the store, as it has been planned.
struct RemoveImages {
    targets: RemoveTargets,
    needed: NeededImages,
    still_needed: StillNeeded,
    plan: RemoveReport,
}

impl Operation for RemoveImages {
    fn announcement(&self) -> Message {
        message!("will-remove-images", targets = Listed::of(self.names()))
    }

    fn command(&self) -> String {
        let force = if self.still_needed == StillNeeded::Removed { " --force" } else { "" };
        format!("dpl images remove{force} {}", self.names().join(" "))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if !session.global.yes {
            self.print_plan(session)?;
        }
        let question = message!(
            "confirm-remove-images",
            images = self.plan.images.len(),
            store = &self.plan.store,
            freed = table::size(self.plan.freed_bytes)
        );
        session.confirm(&question)
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        self.print_plan(session)?;
        Shown::of(&self.plan)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&self.plan, reporter)?;
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let begun = Instant::now();
        let removing = remove(store, &self.targets, &self.needed, self.still_needed, &self.plan, reporter);
        let report = session.runtime()?.block_on(removing)?;
        let message = message!(
            "images-remove-done",
            images = report.images.len(),
            freed = table::size(report.freed_bytes),
            time = begun.elapsed().as_secs_f64()
        );
        session.output.say(&message);
        document(&report)
    }
}

impl RemoveImages {
    fn names(&self) -> Vec<String> {
        self.targets.names()
    }

    fn print_plan(&self, session: &Session) -> Result<(), Failure> {
        let goes = session.output.paint_word(Tone::Attention, message!("word-would-go"));
        let rows = image_rows(&self.plan.images, &goes, session);
        print(
            [
                message!("column-kind"),
                message!("column-what"),
                message!("column-result"),
                message!("column-size"),
                message!("column-layers"),
            ],
            rows,
            session,
        )
    }
}
