//! `save` and `load` as the operator sees them.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::meant::services_to;
use super::{compression, print, references, some_of};
use crate::cli::arguments::{FormatChoice, LoadArguments, SaveArguments};
use crate::cli::failure::Failure;
use crate::cli::operations::{self, Operation, document, path};
use crate::cli::output::Tone;
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::engine::Engine;
use crate::images::{
    Compression, CompressionOptions, DiskPurpose, DiskSpace, DiskVerdict, LoadOptions, LoadResult, PlannedLoadResult,
    PlannedSaveResult, SaveOptions, SaveResult, SpaceCheck, StoreFormat, plan_load, plan_save,
};
use crate::manifest::Reference;
use crate::report::{Message, Reporter};
use crate::state::choose_manifest;

/// `dpl save`.
pub fn save(arguments: &SaveArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = services_to("save", &arguments.targets, session)?;
    operations::act(&Save { services, options: save_options(arguments) }, &project, session)
}

/// `dpl load`.
pub fn load(arguments: &LoadArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = services_to("load", &arguments.targets, session)?;
    operations::act(
        &Load { services, options: LoadOptions { space: space_check(arguments.no_space_check), ..Default::default() } },
        &project,
        session,
    )
}

fn save_options(arguments: &SaveArguments) -> SaveOptions {
    SaveOptions {
        compression: CompressionOptions {
            compression: match arguments.format {
                FormatChoice::Layout => compression(arguments.compression, Compression::Zstd),
                // `docker load` of 20.10 reads no zstd.
                FormatChoice::DockerArchive => compression(arguments.compression, Compression::Gzip),
            },
            level: arguments.level,
            threads: arguments.threads,
        },
        format: match arguments.format {
            FormatChoice::Layout => StoreFormat::Layout,
            FormatChoice::DockerArchive => StoreFormat::DockerArchive,
        },
        project: None,
        space: space_check(arguments.no_space_check),
    }
}

pub(super) fn space_check(is_off: bool) -> SpaceCheck {
    if is_off { SpaceCheck::Ignore } else { SpaceCheck::Refuse }
}

/// Saves the services' images from the engine to the store.
#[derive(Debug)]
pub struct Save {
    pub services: Vec<String>,
    pub options: SaveOptions,
}

impl Operation for Save {
    fn announcement(&self) -> Message {
        message!("will-save", targets = self.services.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl save {}", self.services.join(" "))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let plan = session.wait_for(async { Ok(plan_save(&engine, store, &references, &self.options).await?) })?;
        let rows = plan.images.iter().map(|image| {
            let (tone, result) = match image.result {
                PlannedSaveResult::WouldSave => (Tone::Attention, message!("word-would-save")),
                PlannedSaveResult::Unchanged => (Tone::Good, message!("word-unchanged")),
            };
            vec![
                image.reference.clone(),
                session.output.paint_word(tone, result),
                some_of(image.layers_to_send, image.layers_total, session),
                table::size(image.engine_bytes),
            ]
        });
        print(
            [
                message!("column-image"),
                message!("column-result"),
                message!("column-new-layers"),
                message!("column-in-engine"),
            ],
            rows.collect(),
            session,
        )?;
        show_disks(&plan.disks, session)?;
        document(&plan)
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
        message!("will-load", targets = self.services.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl load {}", self.services.join(" "))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
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
            vec![
                image.reference.clone(),
                session.output.paint_word(tone, result),
                some_of(image.layers_to_send, image.layers_total, session),
                image.bytes_to_send.map_or_else(|| "?".to_owned(), table::size),
                image.from.clone(),
            ]
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
        show_disks(&plan.disks, session)?;
        document(&plan)
    }

    fn brings(&self, shown: &Value) -> Vec<(String, String)> {
        let images = shown["images"].as_array().into_iter().flatten();
        let new = images.filter(|image| image["result"] == "would-load");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        new.map(|image| (text(&image["reference"]), text(&image["image_id"]))).collect()
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let Ends { store, engine, references } = Ends::of(&self.services, project, session)?;
        let mut options = self.options.clone();
        options.releases = Some(project.load_log(&session.engine_id(&engine)?));
        let report =
            session.runtime()?.block_on(crate::images::load(&engine, store, &references, &options, reporter))?;
        let folder = std::env::current_dir().map_err(|error| Failure::Work(Box::new(error)))?;
        choose_manifest(&folder, &project.path)?;
        let loaded = report.images.iter().filter(|image| image.result == LoadResult::Loaded).count();
        let all_bytes: u64 = report.images.iter().map(|image| image.total_bytes).sum();
        // A link of a chain is followed by what is next.
        let message = match loaded > 0 && !session.is_in_chain {
            true => message!(
                "load-done-next",
                loaded = loaded,
                present = report.images.len() - loaded,
                sent = report.bytes_sent,
                spared = all_bytes.saturating_sub(report.bytes_sent),
                time = report.seconds,
                targets = self.services.join(" ")
            ),
            false => message!(
                "load-done",
                loaded = loaded,
                present = report.images.len() - loaded,
                sent = report.bytes_sent,
                spared = all_bytes.saturating_sub(report.bytes_sent),
                time = report.seconds
            ),
        };
        session.output.say(&message);
        document(&report)
    }
}

/// The images that the store has for references that the engine lacks: reference and ID; an error where it lacks one too.
pub fn found_in_store(
    references: &[Reference],
    project: &Project,
    session: &mut Session,
) -> Result<Vec<(String, String)>, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    let plan = session.wait_for(async { Ok(plan_load(&engine, store, references).await?) })?;
    Ok(plan.images.into_iter().map(|image| (image.reference, image.image_id)).collect())
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

/// What would be written where, and whether there is room for it.
pub(super) fn show_disks(disks: &[DiskSpace], session: &Session) -> Result<(), Failure> {
    if disks.is_empty() || session.output.json {
        return Ok(());
    }
    let catalogue = session.output.catalogue;
    let rows = disks.iter().map(|disk| {
        let (tone, verdict) = match disk.verdict {
            DiskVerdict::Enough => (Tone::Good, message!("word-enough")),
            DiskVerdict::Unsure => (Tone::Attention, message!("word-perhaps-too-little")),
            DiskVerdict::TooLittle => (Tone::Bad, message!("word-too-little")),
            DiskVerdict::Unknown => (Tone::Quiet, message!("word-unknown")),
        };
        let purpose = match disk.purpose {
            DiskPurpose::Store => message!("word-images"),
            DiskPurpose::Spool => message!("word-engine-export"),
            DiskPurpose::Engine => message!("word-engine-layers"),
            DiskPurpose::Export => message!("word-archive"),
        };
        let needed = match (disk.needed_bytes, disk.needed_at_most_bytes) {
            (least, most) if least == most => table::size(most),
            (least, most) => {
                let range = message!("word-range", least = least, most = most);
                catalogue.text(&range)
            }
        };
        let free = disk.free_bytes.map_or_else(|| "?".to_owned(), table::size);
        let verdict = session.output.paint_word(tone, verdict);
        vec![disk.folder.display().to_string(), catalogue.word(purpose).to_owned(), needed, free, verdict]
    });
    let header = [
        message!("column-folder"),
        message!("column-purpose"),
        message!("column-needed"),
        message!("column-free"),
        message!("column-room"),
    ];
    let table = table::columns(&catalogue.words(header), rows.collect());
    session.output.data(&format!("\n{table}"))
}
