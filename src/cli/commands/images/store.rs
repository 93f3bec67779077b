//! `images list` and `images verify` as the operator sees them.

use std::collections::{HashMap, HashSet};
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
use crate::images::{
    ImageList, NeededImages, OtherKind, ProblemKind, Thoroughness, VerifyReport, list_images, unnamed_bytes, verify,
};
use crate::report::{Listed, Message, Reporter, Several, Told as _};

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
            let absent = message!("images-store-absent", folder = &listed.store);
            let said = vec![absent, message!("hint-store-absent")];
            session.output.say(&message!("words", text = Several(said)));
        } else if listed.lost.is_empty() {
            session.output.say(&nothing_named(&listed.store, unnamed_bytes(store)));
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
        title(message!("column-image")).at_least(28).cut_late(),
        title(message!("column-id")).leaves(4),
        title(message!("column-layers")).leaves(5),
        title(message!("column-size")),
        title(message!("column-own-size")).leaves(3),
        // The day is said by 12 columns of it.
        title(message!("column-saved")).at_least(12).leaves(6),
        title(message!("column-in-engine")).leaves(1),
        title(message!("column-services")).at_least(8).leaves(2),
    ];
    table::within(&columns, rows.collect(), width)
}

/// Of a store whose index names no image.
fn nothing_named(folder: &str, bytes: u64) -> Message {
    match bytes {
        0 => {
            let empty = message!("images-store-empty", folder = folder);
            message!("words", text = Several(vec![empty, message!("hint-store-empty")]))
        }
        bytes => message!("images-store-unnamed", folder = folder, bytes = bytes),
    }
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
        if archive.images.is_empty() || archive.problem.is_some() {
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
    session.output.say(&closing(&report, begun.elapsed().as_secs_f64()));
    Ok(code)
}

/// The last line: what was looked at, and what helps.
fn closing(report: &VerifyReport, seconds: f64) -> Message {
    let &VerifyReport { images, layers, archives, .. } = report;
    match (report.ok, report.contents_read) {
        (true, true) => {
            message!("images-verified", images = images, layers = layers, archives = archives, time = seconds)
        }
        (true, false) => {
            message!("images-verified-quick", images = images, layers = layers, archives = archives, time = seconds)
        }
        (false, _) => {
            let problems = report.problems.len();
            let count = message!("images-not-whole", problems = problems, images = images, archives = archives);
            message!("words", text = Several([vec![count], what_helps(report)].concat()))
        }
    }
}

/// What to do about the problems of each kind, with the names of what has to be brought again.
fn what_helps(report: &VerifyReport) -> Vec<Message> {
    let of = |kind: ProblemKind| {
        let mut seen = HashSet::new();
        let problems = report.problems.iter().filter(|problem| problem.kind == kind);
        problems.map(|problem| &problem.reference).filter(|name| seen.insert(*name)).collect::<Vec<&String>>()
    };
    let (images, archives) = (of(ProblemKind::Image), of(ProblemKind::Archive));
    let mut helps = Vec::new();
    if !of(ProblemKind::Index).is_empty() {
        helps.push(message!("verify-index-helps"));
    }
    if !images.is_empty() {
        helps.push(message!("verify-image-helps", references = Listed::of(&images), count = images.len()));
    }
    if !archives.is_empty() {
        helps.push(message!("verify-archive-helps", files = Listed::of(&archives), count = archives.len()));
    }
    helps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Language, english};
    use crate::images::{ListedArchive, ListedImage, StoreProblem};

    #[test]
    fn the_last_line_of_a_verification_says_what_was_looked_at_and_what_helps_by_name() {
        let problem = |reference: &str, kind| {
            let (reference, problem) = (reference.to_owned(), message!("damage-missing"));
            StoreProblem { reference, kind, problem }
        };
        let whole = VerifyReport { ok: true, contents_read: true, images: 2, layers: 3, ..VerifyReport::default() };
        assert!(english(&closing(&whole, 1.0)).starts_with("no problems found: 2 images, 3 layers, 0 archives"));
        let quick = english(&closing(&VerifyReport { contents_read: false, ..whole }, 1.0));
        assert!(quick.contains("documents and sizes") && quick.contains("contents were not read"), "{quick}");
        let with = |problems| VerifyReport { problems, images: 2, archives: 2, ..VerifyReport::default() };
        let archives = closing(&with(["x.tar", "y.tar"].map(|file| problem(file, ProblemKind::Archive)).to_vec()), 1.0);
        let said = english(&archives);
        assert!(said.contains("x.tar, y.tar can't be repaired: copy these archives again"), "{said}");
        assert!(!said.contains("dpl images repair"), "no repair changes an archive: {said}");
        assert!(Catalogue::of(Language::Chinese).text(&archives).contains("x.tar、y.tar 无法修复"));
        let twice = vec![problem("a:1", ProblemKind::Image), problem("a:1", ProblemKind::Image)];
        let said = english(&closing(&with(twice), 1.0));
        assert!(said.starts_with("2 problems in ") && said.contains("for a:1: `dpl images repair` removes"), "{said}");
        let said = english(&closing(&with(vec![problem("names/x", ProblemKind::Record)]), 1.0));
        assert_eq!(said, "1 problem in 2 images and 2 archives", "the problem itself says what to do");
    }

    #[test]
    fn what_a_save_left_that_did_not_finish_is_not_called_empty() {
        let folder = tempfile::tempdir().unwrap();
        let said = || english(&nothing_named("images", unnamed_bytes(folder.path())));
        assert!(said().starts_with("the image store images is empty; `dpl save` or"), "{}", said());
        let blobs = folder.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        assert!(said().contains("is empty"), "{}", said());
        std::fs::write(blobs.join("0".repeat(64)), [0_u8; 1200]).unwrap();
        assert!(said().contains("1.2 kB") && !said().contains("is empty"), "{}", said());
    }

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
        let narrow = listed_table(&listed, Catalogue::of(Language::English), Some(126));
        assert!(narrow.contains("gpu:v1.5_no_subtask ") && narrow.contains("2026-01-31T") && narrow.contains('…'));
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
