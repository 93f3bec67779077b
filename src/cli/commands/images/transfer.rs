//! `save` and `load` as the operator sees them.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::chosen::references;
use super::compression::{
    CompressionChoice, EffortArguments, compression_flags, compression_options, space_check, space_flag,
};
use super::disks::shown_with_disks;
use super::meant::services_to;
use super::shown::{image_row, print};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, document, path};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::table;
use crate::engine::Engine;
use crate::images::{
    Compression, LoadOptions, LoadPlan, LoadReport, LoadResult, PlannedLoadResult, PlannedSaveResult, SaveOptions,
    SaveResult, StoreFormat, plan_load, plan_save,
};
use crate::manifest::Reference;
use crate::report::{Listed, Message, Reporter};
use crate::services::status;
use crate::state::choose_manifest;

#[derive(Debug, Args)]
pub struct SaveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// How layers are compressed [default: zstd in the store, gzip in archives]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    #[command(flatten)]
    pub effort: EffortArguments,
    /// What to write: the image store, or archives as deploy.py writes them
    #[arg(long, value_enum, default_value_t = FormatChoice::Layout)]
    pub format: FormatChoice,
    /// Continue even if a disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// The image store: an OCI image layout
    Layout,
    /// One `docker save` archive for each image
    DockerArchive,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Continue even if the engine's disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

/// `dpl save`.
pub fn save(arguments: &SaveArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = services_to("save", &arguments.targets, session)?;
    operations::act(&Save { services, options: save_options(arguments) }, &project, session)
}

/// `dpl load`.
pub fn load(arguments: &LoadArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = services_to("load", &arguments.targets, session)?;
    operations::act(&Load { services, options: load_options(arguments) }, &project, session)
}

fn save_options(arguments: &SaveArguments) -> SaveOptions {
    let format = match arguments.format {
        FormatChoice::Layout => StoreFormat::Layout,
        FormatChoice::DockerArchive => StoreFormat::DockerArchive,
    };
    SaveOptions {
        compression: compression_options(arguments.compression, arguments.effort, usual_compression(format)),
        format,
        project: None,
        space: space_check(arguments.no_space_check),
    }
}

/// How it is compressed where that is not said.
fn usual_compression(format: StoreFormat) -> Compression {
    match format {
        StoreFormat::Layout => Compression::Zstd,
        // `docker load` of 20.10 reads no zstd.
        StoreFormat::DockerArchive => Compression::Gzip,
    }
}

fn load_options(arguments: &LoadArguments) -> LoadOptions {
    LoadOptions { space: space_check(arguments.no_space_check), ..Default::default() }
}

/// Saves the services' images from the engine to the store.
#[derive(Debug)]
pub struct Save {
    pub services: Vec<String>,
    pub options: SaveOptions,
}

impl Operation for Save {
    fn announcement(&self) -> Message {
        message!("will-save", targets = Listed::of(&self.services))
    }

    fn command(&self) -> String {
        let SaveOptions { compression, format, project: _, space } = &self.options;
        let archive = if *format == StoreFormat::DockerArchive { " --format docker-archive" } else { "" };
        let compression = compression_flags(compression, usual_compression(*format));
        format!("dpl save {}{archive}{compression}{}", typed(&self.services), space_flag(*space))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let plan = session.wait_for(async { Ok(plan_save(&engine, store, &references, &self.options).await?) })?;
        let rows = plan.images.iter().map(|image| {
            let (tone, result) = match image.result {
                PlannedSaveResult::WouldSave => (Tone::Attention, message!("word-would-save")),
                PlannedSaveResult::Unchanged => (Tone::Good, message!("word-unchanged")),
            };
            let layers = (image.layers_to_send, image.layers_total);
            image_row(&image.reference, (tone, result), layers, [table::size(image.engine_bytes)], session)
        });
        print(
            [
                message!("column-image"),
                message!("column-result"),
                message!("column-new-layers"),
                message!("column-engine-size"),
            ],
            rows.collect(),
            session,
        )?;
        shown_with_disks(&plan, &plan.disks, self.options.space, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let options = SaveOptions { project: Some(project.manifest().project.clone()), ..self.options.clone() };
        let report =
            session.runtime()?.block_on(crate::images::save(&engine, store, &references, &options, reporter))?;
        let saved = report.images.iter().filter(|image| image.result == SaveResult::Saved).count();
        let all_bytes: u64 = report.images.iter().map(|image| image.total_bytes).sum();
        let message = message!(
            "save-done",
            saved = saved,
            unchanged = report.images.len() - saved,
            new = report.new_bytes,
            spared = all_bytes.saturating_sub(report.new_bytes),
            time = report.seconds
        );
        session.output.say(&message);
        document(&report)
    }
}

/// Loads the services' images from the store into the engine, and remembers the manifest for this folder.
#[derive(Debug)]
pub struct Load {
    pub services: Vec<String>,
    pub options: LoadOptions,
}

impl Operation for Load {
    fn announcement(&self) -> Message {
        message!("will-load", targets = Listed::of(&self.services))
    }

    fn command(&self) -> String {
        format!("dpl load {}{}", typed(&self.services), space_flag(self.options.space))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let plan = session.wait_for(async { Ok(plan_load(&engine, store, &references).await?) })?;
        for notice in &plan.notices {
            session.output.warn(notice);
        }
        let rows = plan.images.iter().map(|image| {
            let (tone, result) = match image.result {
                PlannedLoadResult::WouldLoad => (Tone::Attention, message!("word-would-load")),
                PlannedLoadResult::Present => (Tone::Good, message!("word-present")),
            };
            let size = image.bytes_to_send.map_or_else(|| "?".to_owned(), table::size);
            let layers = (image.layers_to_send, image.layers_total);
            image_row(&image.reference, (tone, result), layers, [size, image.from.clone()], session)
        });
        print(
            [
                message!("column-image"),
                message!("column-result"),
                message!("column-layers-to-send"),
                message!("column-size"),
                message!("column-from"),
            ],
            rows.collect(),
            session,
        )?;
        let shown = shown_with_disks(&plan, &plan.disks, self.options.space, session)?;
        let new = plan.images.iter().filter(|image| image.result == PlannedLoadResult::WouldLoad);
        let brings = new.map(|image| (image.reference.clone(), image.image_id.clone())).collect();
        Ok(Shown { brings, ..shown })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let mut options = self.options.clone();
        options.releases = Some(project.load_log(&session.engine_id(&engine)?));
        let report =
            session.runtime()?.block_on(crate::images::load(&engine, store, &references, &options, reporter))?;
        let folder = std::env::current_dir().map_err(|error| Failure::Work(Box::new(error)))?;
        // A path that is not UTF-8 can't be written down; the load is done all the same.
        if folder.to_str().is_some() && project.path.to_str().is_some() {
            choose_manifest(&folder, &project.path)?;
        }
        let loaded = report.images.iter().filter(|image| image.result == LoadResult::Loaded).count();
        let all_bytes: u64 = report.images.iter().map(|image| image.total_bytes).sum();
        let done = message!(
            "load-done",
            loaded = loaded,
            present = report.images.len() - loaded,
            sent = report.bytes_sent,
            spared = all_bytes.saturating_sub(report.bytes_sent),
            time = report.seconds
        );
        // A link of a chain is followed by what is next.
        let outdated = match session.is_in_chain {
            true => Vec::new(),
            false => self.outdated(&report, project, &engine, session)?,
        };
        let message = match outdated.is_empty() {
            true => done,
            false => message!("load-done-next", done = done, targets = outdated.join(" ")),
        };
        session.output.say(&message);
        document(&report)
    }
}

impl Load {
    /// The services that a restart brings to their images: those whose image was loaded, and those whose containers run on
    /// another one than their reference names. A restart of all others would stop them for nothing.
    fn outdated(
        &self,
        report: &LoadReport,
        project: &Project,
        engine: &Engine,
        session: &mut Session,
    ) -> Result<Vec<String>, Failure> {
        let loaded: Vec<Option<Reference>> = report
            .images
            .iter()
            .filter(|image| image.result == LoadResult::Loaded)
            .map(|image| image.reference.parse().ok())
            .collect();
        // The load is done, whatever an engine that can't be asked any more says.
        let looked = session.runtime()?.block_on(status(engine, project.manifest(), &self.services));
        let drifted = |name: &str| {
            let services = looked.iter().flat_map(|report| &report.services);
            services
                .filter(|service| service.name == name)
                .any(|service| service.drift.iter().any(|what| what == "image"))
        };
        let is_outdated = |name: &&String| {
            let service = project.manifest().services.get(name.as_str());
            let is_loaded =
                service.is_some_and(|service| loaded.iter().flatten().any(|image| is_same(image, &service.image)));
            is_loaded || drifted(name)
        };
        Ok(self.services.iter().filter(is_outdated).cloned().collect())
    }
}

/// Whether two references name the same image of an engine; a digest beside a tag does not count.
fn is_same(one: &Reference, other: &Reference) -> bool {
    (one.name(), one.tag()) == (other.name(), other.tag())
}

/// The load that would bring the engine these images; an error where the store lacks one.
pub fn load_of(references: &[Reference], project: &Project, session: &mut Session) -> Result<LoadPlan, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    session.wait_for(async { Ok(plan_load(&engine, store, references).await?) })
}

/// The store, the engine, and the images that go from the one to the other.
struct Ends<'a> {
    store: &'a Path,
    engine: Engine,
    references: Vec<Reference>,
}

impl<'a> Ends<'a> {
    fn of(services: &[String], project: &'a Project, session: &mut Session) -> Result<Self, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        Ok(Self { store, engine: session.engine()?, references: references(services, project) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_save_and_a_load_with_all_their_flags() {
        let save = [
            "dpl save web db",
            "dpl save web --compression gzip --level -1 --threads 3 --no-space-check",
            "dpl save web --format docker-archive",
            "dpl save web --format docker-archive --compression none",
        ];
        assert_typed_again(&save, &[], |command| match command {
            Command::Save(arguments) => {
                Save { options: save_options(&arguments), services: arguments.targets.targets }.command()
            }
            other => panic!("{other:?}"),
        });
        let load = ["dpl load web db", "dpl load web --no-space-check"];
        assert_typed_again(&load, &[], |command| match command {
            Command::Load(arguments) => {
                Load { options: load_options(&arguments), services: arguments.targets.targets }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
