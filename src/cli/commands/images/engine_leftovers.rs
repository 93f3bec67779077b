//! `images prune --engine` as the operator sees it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::housekeeping::PruneArguments;
use super::shown::print;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::table;
use crate::engine::Engine;
use crate::images::{
    EnginePruneOptions, EnginePruneReport, EngineRecords, KeptCause, LeftoverCause, engine_prune, plan_engine_prune,
};
use crate::report::{Message, Reporter};
use crate::state::{Deployments, Loads};

/// `dpl images prune --engine`.
pub fn prune(arguments: &PruneArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let options = EnginePruneOptions {
        keep_releases: project.manifest().keep_releases,
        unknown_kept: arguments.unknown,
        all_dangling: arguments.dangling,
    };
    let engine = session.engine()?;
    let records = records(&project, &engine, session)?;
    let store = project.manifest().paths.images.as_deref();
    let plan = session.runtime()?.block_on(plan_engine_prune(&engine, store, &records, options))?;
    operations::act(&PruneEngine { options, plan }, &project, session)
}

fn records(project: &Project, engine: &Engine, session: &mut Session) -> Result<EngineRecords, Failure> {
    let (state, id) = (project.state(), &session.engine_id(engine)?);
    let deployed = Deployments::images_of_all_projects(&state, id)?;
    Ok(EngineRecords { loads: Loads::read(&state)?.of(id), deployed })
}

/// Removes from the engine what loads left, as it has been planned.
struct PruneEngine {
    options: EnginePruneOptions,
    plan: EnginePruneReport,
}

impl Operation for PruneEngine {
    fn announcement(&self) -> Message {
        message!("will-prune-engine")
    }

    fn command(&self) -> String {
        let unknown = if self.options.unknown_kept { " --unknown" } else { "" };
        let dangling = if self.options.all_dangling { " --dangling" } else { "" };
        format!("dpl images prune --engine{unknown}{dangling}")
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if self.plan.images.is_empty() {
            return Ok(());
        }
        if !session.global.yes {
            self.print_plan(session)?;
        }
        let question = message!(
            "confirm-engine-prune",
            images = self.plan.images.len(),
            size = table::size(self.plan.size_bytes),
            engine = &self.plan.engine
        );
        session.confirm(&question)
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        self.print_plan(session)?;
        self.notes(session);
        Shown::of(&self.plan)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&self.plan, reporter)?;
        if self.plan.images.is_empty() {
            self.notes(session);
            return document(&EnginePruneReport { done: true, ..self.plan.clone() });
        }
        let engine = session.engine()?;
        // Read again: somebody may have loaded since.
        let records = records(project, &engine, session)?;
        let store = project.manifest().paths.images.as_deref();
        let begun = Instant::now();
        let pruning = engine_prune(&engine, store, &records, self.options, &self.plan, reporter);
        let report = session.runtime()?.block_on(pruning)?;
        let message = message!(
            "images-engine-prune-done",
            images = report.images.len(),
            size = table::size(report.size_bytes),
            time = begun.elapsed().as_secs_f64()
        );
        session.output.say(&message);
        document(&report)
    }
}

impl PruneEngine {
    fn print_plan(&self, session: &Session) -> Result<(), Failure> {
        let goes = session.output.paint_word(Tone::Attention, message!("word-would-go"));
        let stays = session.output.paint_word(Tone::Good, message!("word-stays"));
        let row = |name: &Option<String>, id: &str, result: &str, bytes: u64, why: &Message| {
            let shown = id.trim_start_matches("sha256:").chars().take(12).collect();
            let name = name.clone().unwrap_or_else(|| "-".to_owned());
            vec![name, shown, result.to_owned(), table::size(bytes), session.output.catalogue.text(why)]
        };
        let mut rows = Vec::new();
        for image in &self.plan.images {
            let why = match image.why {
                LeftoverCause::NotNeeded => message!("why-not-needed"),
                LeftoverCause::LeftByLoad => message!("why-left-by-load"),
                LeftoverCause::UnknownKept => message!("why-unrecorded"),
                LeftoverCause::Dangling => message!("why-nameless"),
            };
            rows.push(row(&image.name, &image.id, &goes, image.size_bytes, &why));
        }
        for image in &self.plan.kept {
            let why = match image.why {
                KeptCause::WayBack => message!("why-way-back"),
                KeptCause::Container => {
                    let container = image.container.as_deref().unwrap_or_default();
                    message!("why-container", container = container)
                }
                KeptCause::Unknown => message!("why-unrecorded"),
                KeptCause::Refused => message!("why-engine-needs-it"),
            };
            rows.push(row(&image.name, &image.id, &stays, image.size_bytes, &why));
        }
        if rows.is_empty() {
            return Ok(());
        }
        print(
            [
                message!("column-image"),
                message!("column-id"),
                message!("column-result"),
                message!("column-size"),
                message!("column-why"),
            ],
            rows,
            session,
        )
    }

    fn notes(&self, session: &Session) {
        if self.plan.images.is_empty() {
            session.output.say(&message!("images-engine-nothing"));
        }
        let unknown = self.plan.kept.iter().filter(|image| image.why == KeptCause::Unknown).count();
        if unknown > 0 {
            session.output.say(&message!("images-engine-unknown", count = unknown));
        }
    }
}
