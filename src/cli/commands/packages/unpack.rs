//! `unpack`: receives a package into the image store, the project's folder and the seeds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::place::explain;
use super::planned::{Looked, PlannedPackage, Question, say_verdict};
use crate::cli::ask::prompt::Unanswered;
use crate::cli::session::{Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::fs::Digest;
use crate::packages::{PackageIndex, PackagesError, PublicKey, TrustedKeys, Unpacked, Unpacking, Verdict};
use crate::report::Listed;
use crate::sites::{FileResult, PlanOptions, Recorded, TransferPlan, shown};
use crate::state::{Operator, Receipt, add_receipt};

#[derive(Debug, Args)]
pub struct UnpackArguments {
    /// The package, one of its parts with the others beside it, or all of them; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The project's folder on this machine [default: that of the manifest, else this folder]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Replace files and seeds that were changed here
    #[arg(long)]
    pub overwrite: bool,
    /// Also write layers to the store that only the engine has, where the package has them
    #[arg(long)]
    pub whole: bool,
    /// Take a release that is older than one that was unpacked before
    #[arg(long)]
    pub allow_older: bool,
    /// Continue even if a disk seems too small
    #[arg(long)]
    pub no_space_check: bool,
}

/// What `unpack --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UnpackReport {
    #[serde(flatten)]
    pub planned: PlannedPackage,
    /// What was done; null for a plan alone.
    pub receipt: Option<Receipt>,
}

/// `dpl unpack`.
pub fn run(arguments: &UnpackArguments, session: &mut Session) -> Result<u8, Failure> {
    let question = Question {
        files: &arguments.files,
        folder: arguments.folder.as_deref(),
        options: PlanOptions { overwrite: arguments.overwrite, whole: arguments.whole },
        allow_older: arguments.allow_older,
    };
    let mut looked = question.look(session)?;
    show(&looked.planned, session)?;
    say_verdict(&looked.verdict, session);
    if session.global.dry_run {
        if session.output.json {
            session.output.document(&UnpackReport { planned: looked.planned, receipt: None })?;
        }
        return Ok(0);
    }
    check_space(&looked.planned.plan, arguments)?;
    if let Verdict::Unknown(key) = &looked.verdict
        && offer_trust(key, &mut looked.keys, session)?
    {
        looked.planned.key = Some(key.id());
    }
    // Nobody answers for what it writes there.
    if looked.planned.key.is_none() && !looked.planned.outside.is_empty() {
        let places = Listed::of(looked.planned.outside.iter().map(|place| shown(place)));
        session.confirm(&message!("confirm-outside", places = places))?;
    }
    session.agree(&message!("unpack-question", folder = looked.place.folder.display()), Unanswered::Yes)?;
    let begun = Instant::now();
    revoke(&mut looked, session)?;
    let (planned, manifest) = (looked.planned.clone(), looked.manifest.clone());
    let receipt = carry_out(looked, &arguments.files, session).map_err(|failure| in_parts(failure, arguments))?;
    let (bytes, time) = (receipt.bytes, begun.elapsed().as_secs_f64());
    session.output.say(&message!("unpack-done", images = receipt.images, bytes = bytes, time = time));
    session.output.say(&message!("unpack-next", manifest = manifest.display()));
    if session.output.json {
        session.output.document(&UnpackReport { planned, receipt: Some(receipt) })?;
    }
    Ok(0)
}

/// Asks at a terminal whether to trust the key of a package from now on; with `--yes` nobody is trusted by the way.
fn offer_trust(key: &PublicKey, keys: &mut TrustedKeys, session: &mut Session) -> Result<bool, Failure> {
    if session.global.yes {
        return Ok(false);
    }
    match session.confirm(&message!("confirm-key-trust", id = key.id(), key = key.text())) {
        Ok(()) => {
            keys.trust(key)?;
            session.output.say(&message!("key-trusted", id = key.id(), path = keys.file().display()));
            Ok(true)
        }
        Err(Failure::Declined) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Revokes what a package of a trusted key revokes; none revokes itself.
fn revoke(looked: &mut Looked, session: &mut Session) -> Result<(), Failure> {
    if looked.planned.key.is_none() {
        return Ok(());
    }
    let index = &looked.reader.index;
    for text in index.revokes.iter().filter(|text| Some(*text) != index.key.as_ref()) {
        let key = PublicKey::parse(text)?;
        if looked.keys.revoke(&key)? {
            session.output.warn(&message!("key-revoked-by-package", id = key.id()));
        }
    }
    Ok(())
}

fn command_of(files: &[PathBuf], index: &PackageIndex) -> String {
    let what = index.release.as_ref().map(|release| format!(" (release {release})")).unwrap_or_default();
    let files: Vec<String> = files.iter().take(3).map(|file| file.display().to_string()).collect();
    format!("dpl unpack {}{what}", files.join(" "))
}

fn show(planned: &PlannedPackage, session: &mut Session) -> Result<(), Failure> {
    let (global, output) = (&session.global, &session.output);
    let is_asked = !global.yes && !global.dry_run;
    if (output.json || global.quiet) && !is_asked {
        return Ok(());
    }
    let text = planned.text("", output);
    match global.dry_run {
        true => output.data(&text)?,
        // Where something is done, standard output is for what came of it.
        false => text.lines().for_each(|line| output.line(line)),
    }
    Ok(())
}

fn check_space(plan: &TransferPlan, arguments: &UnpackArguments) -> Result<(), PackagesError> {
    match plan.space.iter().find(|need| need.is_short()).filter(|_| !arguments.no_space_check) {
        None => Ok(()),
        Some(need) => Err(PackagesError::NoSpace {
            folder: need.folder.clone(),
            needed: need.needed,
            free: need.free.unwrap_or_default(),
        }),
    }
}

/// Says which part is damaged, where one is.
fn in_parts(failure: Failure, arguments: &UnpackArguments) -> Failure {
    match failure {
        Failure::Work(error) => match error.downcast::<PackagesError>() {
            Ok(error) => explain(*error, &arguments.files).into(),
            Err(error) => Failure::Work(error),
        },
        other => other,
    }
}

/// Does what has been agreed to. The project's lock and journal are used before its manifest is there: what the package brings says where
/// they are.
fn carry_out(looked: Looked, files: &[PathBuf], session: &mut Session) -> Result<Receipt, Failure> {
    let Looked { mut reader, files: project_files, place, project, planned, .. } = looked;
    let (index, runtime) = (reader.index.clone(), session.runtime()?);
    place.make_folders().map_err(|error| PackagesError::Source { path: place.folder.clone(), source: error })?;
    session.change_at(WorkPlace::Here, &project, &command_of(files, &index), |session, reporter| {
        reporter.settled(&planned.package);
        let unpacking = Unpacking::new(&mut reader, project_files, &planned.plan, place);
        let store = project.manifest().paths.images.clone();
        let running = unpacking.run(store.as_deref(), Recorded::By(reporter.clone()), &reporter);
        let unpacked = runtime.block_on(running)?;
        for path in &unpacked.kept {
            session.output.warn(&message!("send-changed-meanwhile", path = shown(path)));
        }
        let receipt = receipt_of(&planned, &index, &unpacked);
        crate::failpoint!("packages.unpack.before-receipt");
        add_receipt(&project.state(), &receipt)?;
        Ok(receipt)
    })
}

fn receipt_of(planned: &PlannedPackage, index: &PackageIndex, unpacked: &Unpacked) -> Receipt {
    let operator = Operator::of_process();
    let plan = &planned.plan;
    let unchanged = |result: FileResult| result == FileResult::Unchanged;
    let came: BTreeSet<&Digest> = plan.blobs.iter().map(|blob| &blob.digest).collect();
    let layers: BTreeSet<&Digest> =
        index.images.iter().flat_map(|image| &image.layers).map(|layer| &layer.blob).collect();
    let rebuilt: BTreeSet<&Digest> = plan.deltas.iter().map(|delta| &delta.layer).collect();
    let of_deltas =
        index.images.iter().flat_map(|image| &image.layers).filter(|layer| rebuilt.contains(&layer.diff_id));
    let came_as_deltas: BTreeSet<&Digest> = of_deltas.map(|layer| &layer.blob).collect();
    Receipt {
        package: planned.package.clone(),
        project: index.project.clone(),
        release: index.release.clone(),
        created: index.created.clone(),
        received: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        by: format!("{}@{}", operator.user, operator.host),
        key: planned.key.clone(),
        images: unpacked.named.len() as u64,
        images_before: (index.images.len() - unpacked.named.len().min(index.images.len())) as u64,
        layers: layers.intersection(&came).count() as u64,
        layers_before: layers.difference(&came).filter(|blob| !came_as_deltas.contains(*blob)).count() as u64,
        files: unpacked.placed.len() as u64,
        files_before: plan.files.iter().filter(|file| unchanged(file.result)).count() as u64,
        kept_files: (unpacked.kept.len() + plan.files.iter().filter(|file| file.result == FileResult::Kept).count())
            as u64,
        rebuilt_layers: unpacked.rebuilt,
        seeds: unpacked.seeds.len() as u64,
        seeds_before: plan.seeds.iter().filter(|seed| unchanged(seed.result)).count() as u64,
        kept_seeds: plan.seeds.iter().filter(|seed| seed.result == FileResult::Kept).count() as u64,
        bytes: unpacked.bytes,
    }
}
