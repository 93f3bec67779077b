//! `images list` and `images verify` as the operator sees them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::chosen::needed;
use crate::catalogue::Catalogue;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::operations::path;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::progress::ProgressListener;
use crate::cli::text::table::{self, Column};
use crate::images::{ImageList, NeededImages, OtherKind, Thoroughness, list_images, verify};
use crate::report::{Listed, Reporter};
use crate::report::{Message, Told as _};

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Check documents and sizes only; do not read the layers
    #[arg(long)]
    pub quick: bool,
}

/// The services that use each reference, which has its tag.
fn users(project: &Project) -> HashMap<String, Vec<String>> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for (_, name, service) in project.manifest().services.iter() {
        if let Some(tag) = service.image.tag() {
            users.entry(format!("{}:{tag}", service.image.name())).or_default().push(name.to_owned());
        }
    }
    users
}

/// `dpl images list`.
pub fn list(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    // The store can be looked at where no engine is.
    let engine = match session.engine() {
        Ok(engine) => Some(engine),
        Err(failure) if failure.exit_code() == 4 => {
            session.output.warn(&message!("images-no-engine", why = failure.message()));
            None
        }
        Err(failure) => return Err(failure),
    };
    let reporter =
        Reporter::new(vec![Arc::new(ProgressListener::new(session.output.clone()))], CancellationToken::new());
    let runtime = session.runtime()?;
    let listed = runtime.block_on(list_images(engine.as_ref(), store, &users(&project), &reporter))?;
    drop(reporter);
    if session.output.json {
        session.output.document(&listed)?;
        return Ok(0);
    }
    if !listed.lost.is_empty() {
        let (count, references) = (listed.lost.len(), Listed::of(&listed.lost));
        session.output.warn(&message!("images-store-lost", count = count, references = references));
    }
    if listed.images.is_empty() && listed.archives.is_empty() {
        if !store.exists() {
            session.output.say(&message!("images-store-absent", folder = &listed.store));
        } else if listed.lost.is_empty() {
            session.output.say(&message!("images-store-empty", folder = &listed.store));
        }
        return Ok(0);
    }
    if !listed.images.is_empty() {
        session.output.data(&listed_table(&listed, session.output.catalogue, session.output.width()))?;
    }
    if !listed.archives.is_empty() {
        let separator = if listed.images.is_empty() { "" } else { "\n" };
        let table = archives_table(&listed, session.output.catalogue, session.output.width());
        session.output.data(&format!("{separator}{table}"))?;
    }
    Ok(0)
}

fn listed_table(listed: &ImageList, catalogue: &Catalogue, width: Option<usize>) -> String {
    let rows = listed.images.iter().map(|image| {
        let id = image.image_id.as_deref().map(|id| id.trim_start_matches("sha256:").chars().take(12).collect());
        let in_engine = match image.in_engine {
            Some(true) => message!("word-yes"),
            Some(false) => message!("word-no"),
            None => message!("word-unknown"),
        };
        vec![
            image.reference.clone(),
            id.unwrap_or_else(|| catalogue.word(kind_word(image.kind)).to_owned()),
            image.layers.to_string(),
            table::size(image.size_bytes),
            table::size(image.own_bytes),
            image.saved_at.clone().unwrap_or_else(|| "-".to_owned()),
            catalogue.word(in_engine).to_owned(),
            image.services.join(" "),
        ]
    });
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-image")).at_least(28),
        title(message!("column-id")).leaves(4),
        title(message!("column-layers")).leaves(5),
        title(message!("column-size")),
        title(message!("column-own-size")).leaves(3),
        title(message!("column-saved")).leaves(6),
        title(message!("column-in-engine")).leaves(1),
        title(message!("column-services")).at_least(8).leaves(2),
    ];
    table::within(&columns, rows.collect(), width)
}

/// What stands in an ID's place.
fn kind_word(kind: Option<OtherKind>) -> Message {
    match kind {
        Some(OtherKind::NotAnImage) => message!("word-not-an-image"),
        Some(OtherKind::OtherPlatform) => message!("word-other-platform"),
        Some(OtherKind::Damaged) | None => message!("word-damaged"),
    }
}

/// The archives beside the store: a line for each image in them, or for what is wrong with them.
fn archives_table(listed: &ImageList, catalogue: &Catalogue, width: Option<usize>) -> String {
    let mut rows = Vec::new();
    for archive in &listed.archives {
        if archive.images.is_empty() {
            let why = catalogue.text(archive.problem.as_ref().unwrap_or(&message!("word-no-images")));
            rows.push(vec![archive.file.clone(), table::size(archive.size_bytes), why, String::new(), String::new()]);
        }
        for image in &archive.images {
            rows.push(vec![
                archive.file.clone(),
                table::size(archive.size_bytes),
                image.reference.clone(),
                image.image_id.trim_start_matches("sha256:").chars().take(12).collect(),
                catalogue.word(if image.in_store { message!("word-yes") } else { message!("word-no") }).to_owned(),
            ]);
        }
    }
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-archive")).at_least(16),
        title(message!("column-size")).leaves(2),
        title(message!("column-image")).at_least(16),
        title(message!("column-id")).leaves(3),
        title(message!("column-in-store")).leaves(1),
    ];
    table::within(&columns, rows, width)
}

/// `dpl images verify`: 0, or 1 and a list of what is wrong.
pub fn verify_store(arguments: &VerifyArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let begun = Instant::now();
    let thoroughness = if arguments.quick { Thoroughness::Quick } else { Thoroughness::Full };
    let reporter =
        Reporter::new(vec![Arc::new(ProgressListener::new(session.output.clone()))], CancellationToken::new());
    // Nothing is removed here: what other manifests need is only looked for.
    let needed = needed(&project).unwrap_or_else(|failure| {
        session.output.warn(&message!("images-verify-beside", why = failure.message()));
        NeededImages::of(project.manifest(), &[])
    });
    let report = session.runtime()?.block_on(verify(store, Some(&needed), thoroughness, &reporter))?;
    drop(reporter);
    let code = u8::from(!report.ok);
    if session.output.json {
        session.output.document(&report)?;
        return Ok(code);
    }
    for problem in &report.problems {
        let word = session.output.paint_word(Tone::Bad, message!("word-problem"));
        session.output.data(&format!(
            "{word}  {}  {}\n",
            problem.reference,
            session.output.catalogue.text(&problem.problem)
        ))?;
    }
    for other in &report.others {
        session.output.say(&message!("images-other-kind", name = other));
    }
    if !report.missing.is_empty() {
        let message = message!("images-verify-missing", references = Listed::of(&report.missing));
        session.output.warn(&message);
    }
    let (images, archives) = (report.images, report.archives);
    let message = match report.ok {
        true => {
            let time = begun.elapsed().as_secs_f64();
            message!("images-verified", images = images, layers = report.layers, archives = archives, time = time)
        }
        false => {
            let problems = report.problems.len();
            message!("images-not-whole", problems = problems, images = images, archives = archives)
        }
    };
    session.output.say(&message);
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{ListedArchive, ListedImage};

    #[test]
    fn the_table_fits_40_60_80_and_120_columns_in_both_languages() {
        let image = |reference: &str, id: Option<&str>, in_engine, services: &[&str]| ListedImage {
            reference: reference.to_owned(),
            image_id: id.map(|digit| format!("sha256:{}", digit.repeat(64))),
            layers: 12,
            size_bytes: 1_400_000_000,
            own_bytes: 27_300_000,
            saved_at: Some("2026-01-31T08:00:00Z".to_owned()),
            in_engine,
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            kind: None,
        };
        let listed = ImageList {
            store: "/srv/images".to_owned(),
            archives: Vec::new(),
            lost: Vec::new(),
            images: vec![
                image("expert/expert_api:latest", Some("1"), Some(true), &["expert-api", "档案接口"]),
                image("metis/metis_worker_gpu:v1.5_no_subtask", Some("2"), Some(false), &["metis_worker_gpu"]),
                image("metis/metis_worker:crypt", None, None, &[]),
            ],
        };
        insta::assert_snapshot!(table::pages(|catalogue, width| listed_table(&listed, catalogue, width)));
        let archive = ListedArchive {
            file: "metis_worker_gpu_v1.5_no_subtask.tar".to_owned(),
            size_bytes: 27_300_000,
            images: Vec::new(),
            problem: Some(message!("error-tar-cut-off", at = 17)),
        };
        let archives = ImageList { archives: vec![archive], ..ImageList::default() };
        table::pages(|catalogue, width| archives_table(&archives, catalogue, width));
    }
}
