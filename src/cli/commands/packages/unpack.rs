//! `unpack`: receives a package into the image store, the project's folder and the seeds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::keys::trusted_keys;
use super::place::{explain, open, place_of};
use crate::cli::ask::prompt::Unanswered;
use crate::cli::commands::sites::{keeps_something, tables};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::cli::text::progress::ProgressListener;
use crate::cli::text::table::time;
use crate::packages::{
    PackageIndex, PackageReader, PackagesError, PublicKey, TrustedKeys, Unpacked, Unpacking, Verdict, plan_unpack,
};
use crate::report::{Activity, Message, Reporter};
use crate::sites::{InventoryRequest, PlanOptions, ProjectPlace, Recorded, TransferPlan, collect_inventory, shown};
use crate::state::{Operator, Receipt, add_receipt, newest_release};

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
    /// Bring layers to the store that only the engine has, where the package carries them
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
    /// The digest of the package's index: its identity.
    pub package: String,
    pub project: String,
    pub release: Option<String>,
    pub created: String,
    /// The ID of the key that signed it and that this machine trusts; null where none does.
    pub key: Option<String>,
    pub plan: TransferPlan,
    /// What was done; null for a plan alone.
    pub receipt: Option<Receipt>,
}

/// `dpl unpack`.
pub fn run(arguments: &UnpackArguments, session: &mut Session) -> Result<u8, Failure> {
    let mut reader = open(&arguments.files)?;
    let index = reader.index.clone();
    let place = place_of(&index, arguments.folder.as_deref(), session)?;
    let manifest = place.folder.join(place.manifest.as_deref().unwrap_or_default());
    let mut keys = trusted_keys(&place.folder, Some(&manifest), session)?;
    let verdict = judge(&reader, &keys).map_err(|error| explain(error, &arguments.files))?;
    let files = index.files.iter().map(|file| file.path.clone()).collect();
    let request = InventoryRequest { project: place.clone(), files, seeds: !index.seeds.is_empty() };
    let inventory = session.wait_for(async { Ok(collect_inventory(&request).await) })?;
    if let Some(why) = &inventory.store_problem {
        return Err(PackagesError::Receive { why: message!("words", text = shown(why)) }.into());
    }
    let options = PlanOptions { overwrite: arguments.overwrite, whole: arguments.whole };
    // Before what it lacks of it, which it need not know.
    if inventory.project.as_ref() == Some(&index.project) {
        let project = session.project(Some(&manifest))?;
        check_age(&index, &project, arguments.allow_older)?;
    }
    let plan = plan_unpack(&index, &inventory, options)?;
    let is_first = inventory.project.is_none();
    if is_first && !index.files.iter().any(|file| file.path == index.manifest) {
        return Err(PackagesError::NoManifest { folder: place.folder.display().to_string() }.into());
    }
    let mut report = UnpackReport {
        package: reader.digest().to_string(),
        project: index.project.clone(),
        release: index.release.clone(),
        created: index.created.clone(),
        key: key_of(&verdict),
        plan,
        receipt: None,
    };
    show(&report, session)?;
    say_verdict(&verdict, session);
    if session.global.dry_run {
        if session.output.json {
            session.output.document(&report)?;
        }
        return Ok(0);
    }
    check_space(&report.plan, arguments)?;
    if let Verdict::Unknown(key) = &verdict
        && offer_trust(key, &mut keys, session)?
    {
        report.key = Some(key.id());
    }
    session.agree(&message!("unpack-question", folder = place.folder.display()), Unanswered::Yes)?;
    let begun = Instant::now();
    revoke(&index, &report, &mut keys, session)?;
    let work = Work { command: command_of(arguments, &index), is_first, manifest: &manifest, place };
    let receipt = work.carry_out(&mut reader, &report, session).map_err(|failure| in_parts(failure, arguments))?;
    let (bytes, time) = (receipt.bytes, begun.elapsed().as_secs_f64());
    session.output.say(&message!("unpack-done", images = receipt.images, bytes = bytes, time = time));
    session.output.say(&message!("unpack-next", manifest = manifest.display()));
    report.receipt = Some(receipt);
    if session.output.json {
        session.output.document(&report)?;
    }
    Ok(0)
}

/// What the signature of a package is worth here.
pub fn judge(reader: &PackageReader, keys: &TrustedKeys) -> Result<Verdict, PackagesError> {
    let said = reader.index.key.as_deref().map(PublicKey::parse).transpose()?;
    keys.judge(&reader.index_bytes, reader.signature.as_deref(), said.as_ref())
}

pub fn key_of(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Trusted(key) => Some(key.id()),
        Verdict::Unknown(_) | Verdict::Unsigned => None,
    }
}

/// Says by whom a package is.
pub fn say_verdict(verdict: &Verdict, session: &Session) {
    session.output.say(&match verdict {
        Verdict::Trusted(key) => message!("package-signed-trusted", id = key.id()),
        Verdict::Unknown(key) => message!("package-signed-unknown", id = key.id(), key = key.text()),
        Verdict::Unsigned => message!("package-unsigned"),
    });
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
fn revoke(
    index: &PackageIndex,
    report: &UnpackReport,
    keys: &mut TrustedKeys,
    session: &mut Session,
) -> Result<(), Failure> {
    if report.key.is_none() {
        return Ok(());
    }
    for text in index.revokes.iter().filter(|text| Some(*text) != index.key.as_ref()) {
        let key = PublicKey::parse(text)?;
        if keys.revoke(&key)? {
            session.output.warn(&message!("key-revoked-by-package", id = key.id()));
        }
    }
    Ok(())
}

/// An older release over a newer one is somebody's decision.
fn check_age(index: &PackageIndex, project: &Project, is_allowed: bool) -> Result<(), Failure> {
    let Some(newest) = newest_release(&project.state())?.filter(|_| !is_allowed) else { return Ok(()) };
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match at(&index.created) < at(&newest.created) {
        true => Err(PackagesError::Older {
            release: index.release.clone().unwrap_or_else(|| index.created.clone()),
            created: index.created.clone(),
            newest: newest.release.unwrap_or_else(|| newest.created.clone()),
            newest_created: newest.created,
        }
        .into()),
        false => Ok(()),
    }
}

fn command_of(arguments: &UnpackArguments, index: &PackageIndex) -> String {
    let what = index.release.as_ref().map(|release| format!(" (release {release})")).unwrap_or_default();
    let files: Vec<String> = arguments.files.iter().take(3).map(|file| file.display().to_string()).collect();
    format!("dpl unpack {}{what}", files.join(" "))
}

fn show(report: &UnpackReport, session: &mut Session) -> Result<(), Failure> {
    let (global, output) = (&session.global, &session.output);
    let is_asked = !global.yes && !global.dry_run;
    if (output.json || global.quiet) && !is_asked {
        return Ok(());
    }
    let mut text = tables(&report.plan, output);
    say_plan(&report.plan, (&report.project, report.release.as_deref(), &report.created), output, &mut text);
    match global.dry_run {
        true => output.data(&text)?,
        // Where something is done, standard output is for what came of it.
        false => text.lines().for_each(|line| output.line(line)),
    }
    Ok(())
}

/// What a plan says besides its tables: project, release and time, and what it needs.
pub fn say_plan(plan: &TransferPlan, of: (&str, Option<&str>, &str), output: &Output, text: &mut String) {
    let (project, release, created) = of;
    let mut say = |message: Message| {
        text.push_str(&output.catalogue.text(&message));
        text.push('\n');
    };
    if keeps_something(plan) {
        say(message!("unpack-kept-why"));
    }
    let (project, created) = (shown(project), time(created));
    say(match release {
        Some(release) => message!("unpack-release", project = project, release = release, created = created),
        None => message!("unpack-no-release", project = project, created = created),
    });
    if !plan.deltas.is_empty() {
        let bytes: u64 = plan.deltas.iter().map(|delta| delta.bytes).sum();
        let whole: u64 = plan.deltas.iter().map(|delta| delta.whole_bytes).sum();
        say(message!("unpack-deltas", layers = plan.deltas.len(), bytes = bytes, whole = whole));
    }
    for need in &plan.space {
        let folder = shown(&need.folder);
        say(match need.free {
            Some(free) => message!("unpack-space", folder = folder, needed = need.needed, free = free),
            None => message!("unpack-space-unknown", folder = folder, needed = need.needed),
        });
    }
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

/// What has been agreed to.
struct Work<'a> {
    command: String,
    /// Whether there is no project here yet: its journal begins when its manifest is there.
    is_first: bool,
    manifest: &'a Path,
    place: ProjectPlace,
}

impl Work<'_> {
    fn carry_out(
        self,
        reader: &mut PackageReader,
        report: &UnpackReport,
        session: &mut Session,
    ) -> Result<Receipt, Failure> {
        let (index, runtime) = (reader.index.clone(), session.runtime()?);
        let mut unpacking = Unpacking::new(reader, &report.plan, self.place.clone());
        if self.is_first {
            let listener = Arc::new(ProgressListener::new(session.output.clone()));
            let reporter = Reporter::new(vec![listener], CancellationToken::new());
            runtime.block_on(unpacking.files(Recorded::By(reporter.clone()), &reporter))?;
        }
        let project = session.project(Some(self.manifest))?;
        if project.manifest().project != index.project {
            let here = project.manifest().project.clone();
            return Err(PackagesError::OtherProject { package: index.project, here }.into());
        }
        session.change_at(WorkPlace::Here, &project, &self.command, |session, reporter| {
            reporter.settled(&report.package);
            match self.is_first {
                true => {
                    for path in &unpacking.done().placed {
                        // Before there was a journal.
                        reporter.began(Activity::PlaceFile, path, None);
                        reporter.done(Activity::PlaceFile, path, message!("send-in-place"));
                    }
                }
                false => runtime.block_on(unpacking.files(Recorded::By(reporter.clone()), &reporter))?,
            }
            for path in &unpacking.done().kept {
                session.output.warn(&message!("send-changed-meanwhile", path = shown(path)));
            }
            let store = project.manifest().paths.images.clone();
            let contents = unpacking.contents(store.as_deref(), Recorded::By(reporter.clone()), &reporter);
            let unpacked = runtime.block_on(contents)?;
            let receipt = receipt_of(report, &index, &unpacked);
            crate::failpoint!("packages.unpack.before-receipt");
            add_receipt(&project.state(), &receipt)?;
            Ok(receipt)
        })
    }
}

fn receipt_of(report: &UnpackReport, index: &PackageIndex, unpacked: &Unpacked) -> Receipt {
    let operator = Operator::of_process();
    Receipt {
        package: report.package.clone(),
        project: index.project.clone(),
        release: index.release.clone(),
        created: index.created.clone(),
        received: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        by: format!("{}@{}", operator.user, operator.host),
        key: report.key.clone(),
        images: index.images.len() as u64,
        files: unpacked.placed.len() as u64,
        kept_files: unpacked.kept.len() as u64,
        rebuilt_layers: unpacked.rebuilt,
        seeds: unpacked.seeds.len() as u64,
        bytes: unpacked.bytes,
    }
}
