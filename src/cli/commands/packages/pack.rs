//! `pack`: what machines lack, as one file.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::full::FullArguments;
use super::goals::goals;
use super::keys::SigningArguments;
use super::release::left_out;
use super::selected::SelectionArguments;
use super::self_extracting::{Program, SelfExtractingArguments, sign_file};
use super::signatures::Signer;
use super::split::{check_disk, part_bytes};
use crate::cli::commands::sites::{SitesFile, desk};
use crate::cli::grammar::values::{number, number_from};
use crate::cli::session::operations::path;
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::stdout;
use crate::cli::text::table::{self, Column, size};
use crate::fs::{Digest, Disk, Mode, Output as OutputFile, OutputOptions, OutputTarget};
use crate::images::{release_file, replaced_part};
use crate::packages::delta::CreateOptions;
use crate::packages::{
    DeltaCandidate, DeltaOptions, DeltaTotals, DeltaUse, GoalNeeds, MadeDelta, PackGoal, PackInput, PackPlan,
    PackagesError, PartsList, PartsOutput, Release, delta_candidates, make_deltas, plan_pack, read_release,
    spool_bytes,
};
use crate::report::{Activity, Reporter};
use crate::sites::{Offer, SitesError, Sources, offer_seeds};

#[derive(Debug, Args)]
pub struct PackArguments {
    #[command(flatten)]
    pub selection: SelectionArguments,
    #[command(flatten)]
    pub file: SitesFile,
    #[command(flatten)]
    pub signing: SigningArguments,
    /// The release to pack [default: what lies here now]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "secrets", "folder"])]
    pub release: Option<String>,
    /// For whom: site:NAME, release:NAME (machines that have that release), FILE (an inventory), none (a machine that has nothing);
    /// several make one package for all of them [default: none, with --full]
    #[arg(long = "for", value_name = "MACHINE", required_unless_present = "full")]
    pub goals: Vec<String>,
    #[command(flatten)]
    pub full: FullArguments,
    #[command(flatten)]
    pub program: SelfExtractingArguments,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write parts of this size at most (4000m, 4g), FILE.001 and on, and FILE.parts.json, which lists them [default: one file]
    #[arg(long, value_name = "SIZE")]
    pub split: Option<String>,
    /// Write this part alone again, after a pack with the same arguments [default: all parts]
    #[arg(long, value_name = "N", value_parser = number_from(1_u64), requires = "split")]
    pub part: Option<u64>,
    /// Also pack layers that a machine's engine has and its store has not
    #[arg(long)]
    pub whole: bool,
    /// Send layers as what they differ in from those that the machines have: auto where that is clearly smaller, always where it is
    /// smaller at all
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub delta: DeltaWhen,
    /// How hard deltas are compressed, 1 to 19
    #[arg(long, value_name = "N", default_value_t = CreateOptions::LEVEL,
        value_parser = number(1..=19_i32))]
    pub delta_level: i32,
    /// Continue even if the disk seems too small
    #[arg(long)]
    pub no_space_check: bool,
}

/// When layers go as deltas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DeltaWhen {
    #[default]
    Auto,
    Off,
    Always,
}

/// What `pack --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PackReport {
    /// The file; `-` for standard output.
    pub output: String,
    pub release: Option<String>,
    /// The digest of the package's index: its identity.
    pub package: String,
    /// The ID of the key that signs it; null for an unsigned one.
    pub key: Option<String>,
    /// Whether it was written; false for what `--dry-run` shows.
    pub done: bool,
    pub images: u64,
    pub files: u64,
    pub seeds: u64,
    /// Bytes of what it carries.
    pub bytes: u64,
    /// Layers that it carries as deltas.
    pub deltas: DeltaTotals,
    /// The files of a package in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Bytes of what was written: of the file, of all parts, or of the part that was made again; 0 for what `--dry-run` shows.
    pub written_bytes: u64,
    /// For whom it is, and what each of them makes it carry.
    pub goals: Vec<GoalNeeds>,
}

/// Unfinished packages beside the one that is written begin so.
pub(super) const MARK: &str = ".dpl-pack-";

/// `dpl pack`.
pub fn run(arguments: &PackArguments, session: &mut Session) -> Result<u8, Failure> {
    let is_stream = arguments.output == Path::new("-");
    if is_stream && session.output.json {
        return Err(Failure::usage(message!("usage-pack-json")));
    }
    if is_stream && !session.global.dry_run {
        stdout::check().map_err(Failure::Output)?;
        if io::stdout().is_terminal() {
            return Err(Failure::usage(message!("usage-pack-terminal")));
        }
    }
    let split = part_bytes(arguments, &session.output)?;
    if is_stream && (split.is_some() || arguments.program.self_extracting) {
        return Err(Failure::usage(message!("usage-pack-split-stream")));
    }
    let (project, targets) = session.targets(&arguments.selection.content.targets)?;
    if arguments.release.is_some() && !targets.is_empty() {
        return Err(Failure::usage(message!("usage-pack-targets")));
    }
    let store = project.manifest().paths.images.clone();
    let goals = match arguments.full.full {
        true => vec![PackGoal::nothing("none")],
        false => goals(&arguments.goals, &arguments.file, store.as_deref(), session)?,
    };
    let key = arguments.signing.signing_key()?;
    if key.is_none() && !arguments.signing.unsigned {
        session.output.say(&message!("pack-no-key"));
    }
    let mut input = match &arguments.release {
        Some(name) => of_release(&read_release(path(store.as_deref(), "images")?, name)?, &project)?,
        None => of_desk(arguments, &goals, (&project, &targets), session)?,
    };
    input.key = key.as_ref().map(|key| key.public().text().to_owned());
    input.revokes = arguments.signing.revoked()?;
    if key.is_none() && !input.revokes.is_empty() {
        return Err(Failure::usage(message!("usage-revoke-unsigned")));
    }
    // A part that is made again is one of the same package.
    let listed = arguments.part.and_then(|_| PartsList::read(&arguments.output));
    if let (Some(listed), None) = (&listed, &arguments.release) {
        input.created.clone_from(&listed.created);
    }
    check_goals(&input, &goals)?;
    let program = arguments.program.program(&input.architecture)?;
    // Gone with the end of the command.
    let _recompressed = arguments.full.prepare(&mut input, &arguments.output, session)?;
    let plan = plan_pack(&input, &goals, arguments.whole)?;
    let deltas = Deltas::plan(&input, &goals, arguments, session)?;
    let key_id = key.as_ref().map(|key| key.public().id());
    if session.global.dry_run {
        show(&PackReport { key: key_id, ..report_of(&plan, arguments) }, session)?;
        deltas.say(session);
        return Ok(0);
    }
    if let Some(existing) = replaced(arguments).filter(|_| !is_stream) {
        session.confirm(&message!("confirm-overwrite", path = existing.display()))?;
    }
    if !is_stream {
        let all = plan.file_bytes(None) + program.as_ref().map_or(0, Program::added_bytes);
        let largest = split.map_or(all, |part| part.min(all));
        let written = if arguments.part.is_some() { largest } else { all };
        check_disk(&arguments.output, (largest, written), !arguments.no_space_check)?;
    }
    let command = command_of(arguments);
    let (program, signing) = (program.as_ref(), key.as_ref());
    let (plan, written) = session.change_at(WorkPlace::Here, &project, &command, |session, reporter| {
        input.deltas = deltas.make(store.as_deref(), &reporter)?;
        let plan = plan_pack(&input, &goals, arguments.whole)?;
        if listed.as_ref().is_some_and(|listed| !listed.is_of(&plan_digest(&plan), split)) {
            return Err(PackagesError::OtherPackage { list: PartsList::path(&arguments.output) }.into());
        }
        reporter.settled(plan_digest(&plan));
        let signer = signing.map(|key| Signer { key, plan: &plan, store: store.as_deref() });
        let signature = match listed.as_ref().and_then(|listed| listed.signature.clone()) {
            Some(signature) => Some(signature.into_bytes()),
            None => signer.as_ref().map(Signer::of_index).transpose()?,
        };
        let target = Target { output: &arguments.output, split, only: arguments.part, program };
        let subject = arguments.output.display().to_string();
        reporter.began(Activity::WritePackage, &subject, Some(plan.bytes()));
        match target.write(&plan, signature.as_deref(), (&reporter, &subject)) {
            Ok((bytes, parts)) => {
                if program.is_some()
                    && let Some(signature) = sign_file(&arguments.output, signer.as_ref())?
                {
                    session.output.say(&message!("pack-signed-file", path = signature.display(), file = &subject));
                }
                reporter.done(Activity::WritePackage, &subject, message!("package-written", bytes = bytes));
                Ok((plan, (bytes, parts)))
            }
            Err(error) => {
                // The line names the file already.
                let reason = match &error {
                    PackagesError::File { source, .. } => &**source,
                    other => other,
                };
                reporter.failed(Activity::WritePackage, &subject, reason);
                Err(error.into())
            }
        }
    })?;
    let mut report = PackReport { key: key_id, ..report_of(&plan, arguments) };
    (report.done, report.written_bytes) = (true, written.0);
    report.parts = written.1.iter().map(|part| part.display().to_string()).collect();
    show(&report, session)?;
    Ok(0)
}

/// The file that would be replaced. A part that is made again is there to be replaced.
fn replaced(arguments: &PackArguments) -> Option<PathBuf> {
    match (arguments.part, &arguments.split) {
        (Some(_), _) => None,
        (None, Some(_)) => replaced_part(&arguments.output),
        (None, None) => {
            let is_file = matches!(OutputTarget::of(&arguments.output), Ok(OutputTarget::Existing(_)));
            is_file.then(|| arguments.output.clone())
        }
    }
}

fn plan_digest(plan: &PackPlan) -> Digest {
    Digest::of(&plan.index.to_bytes())
}

fn report_of(plan: &PackPlan, arguments: &PackArguments) -> PackReport {
    PackReport {
        output: arguments.output.display().to_string(),
        release: plan.index.release.clone(),
        package: plan_digest(plan).to_string(),
        key: None,
        done: false,
        images: plan.index.images.len() as u64,
        files: plan.index.files.len() as u64,
        seeds: plan.index.seeds.len() as u64,
        bytes: plan.bytes(),
        deltas: plan.index.delta_totals(),
        parts: Vec::new(),
        written_bytes: 0,
        goals: plan.goals.clone(),
    }
}

/// Layers that may go as deltas.
struct Deltas {
    candidates: Vec<DeltaCandidate>,
    options: DeltaOptions,
}

impl Deltas {
    /// Looks what there is to make deltas of, and whether there is room for it.
    fn plan(
        input: &PackInput,
        goals: &[PackGoal],
        arguments: &PackArguments,
        session: &Session,
    ) -> Result<Self, PackagesError> {
        let when = match arguments.delta {
            DeltaWhen::Always => DeltaUse::Always,
            DeltaWhen::Auto | DeltaWhen::Off => DeltaUse::Auto,
        };
        let create = CreateOptions { level: arguments.delta_level, ..CreateOptions::default() };
        let mut deltas = Self { candidates: Vec::new(), options: DeltaOptions { when, create } };
        if arguments.delta == DeltaWhen::Off {
            return Ok(deltas);
        }
        deltas.candidates = delta_candidates(input, goals, arguments.whole)?;
        let needed = spool_bytes(&deltas.candidates, &deltas.options);
        let store = input.store.as_deref().unwrap_or(Path::new("."));
        if let Some(free) = Disk::of(store).map(|disk| disk.free_bytes).filter(|free| *free < needed)
            && !arguments.no_space_check
        {
            let folder = store.display();
            session.output.warn(&message!("pack-no-room-for-deltas", folder = folder, free = free, needed = needed));
            deltas.candidates.clear();
        }
        Ok(deltas)
    }

    fn say(&self, session: &Session) {
        if !self.candidates.is_empty() {
            let bytes: u64 = self.candidates.iter().map(|candidate| candidate.layer.bytes).sum();
            session.output.say(&message!("pack-may-be-deltas", layers = self.candidates.len(), bytes = bytes));
        }
    }

    fn make(&self, store: Option<&Path>, reporter: &Reporter) -> Result<Vec<MadeDelta>, PackagesError> {
        match store {
            Some(store) => make_deltas(store, &self.candidates, &self.options, reporter),
            None => Ok(Vec::new()),
        }
    }
}

fn command_of(arguments: &PackArguments) -> String {
    let mut words = vec!["dpl".to_owned(), "pack".to_owned()];
    words.extend(arguments.selection.content.targets.iter().cloned());
    if let Some(release) = &arguments.release {
        words.extend(["--release".to_owned(), release.clone()]);
    }
    let flags = [(arguments.full.full, "--full"), (arguments.program.self_extracting, "--self-extracting")];
    words.extend(flags.iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| (*flag).to_owned()));
    words.extend(arguments.goals.iter().flat_map(|goal| ["--for".to_owned(), goal.clone()]));
    words.extend(["--output".to_owned(), arguments.output.display().to_string()]);
    words.join(" ")
}

/// What lies on this machine now.
fn of_desk(
    arguments: &PackArguments,
    goals: &[PackGoal],
    of: (&Arc<Project>, &[String]),
    session: &mut Session,
) -> Result<PackInput, Failure> {
    let (project, _) = of;
    let architecture = goals.iter().find_map(PackGoal::architecture);
    let selected = arguments.selection.look(of, (architecture, "dpl pack"), session)?;
    for file in &selected.offer.left_out {
        session.output.warn(&left_out(&file.path, file.reason));
    }
    let input = PackInput {
        project: project.manifest().project.clone(),
        release: None,
        created: jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string(),
        by: desk(),
        architecture: selected.architecture.clone(),
        manifest: selected.manifest.clone(),
        store: selected.sources.store.clone(),
        ..PackInput::default()
    };
    Ok(input.with_offer(&selected.offer, &selected.sources))
}

/// A release: its images and files are kept in the store, its seeds must still be those that they were.
fn of_release(release: &Release, project: &Project) -> Result<PackInput, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let sources = release.files.iter().map(|file| {
        let kept = release_file(store, &release.name, &file.digest);
        (file.path.clone(), kept)
    });
    let file_sources: BTreeMap<String, PathBuf> = sources.collect();
    let (mut offer, mut seeds) = (Offer::default(), Sources::default());
    if !release.seeds.is_empty() {
        offer_seeds(project.manifest(), (&mut offer, &mut seeds))
            .map_err(|(path, source)| SitesError::Source { path, source })?;
    }
    let is_same = |database: &str| {
        let here = offer.seeds.iter().find(|seed| seed.database == database);
        let then = release.seeds.iter().find(|seed| seed.database == database);
        here.zip(then).is_some_and(|(here, then)| here.digest == then.digest)
    };
    let mut seed_sources = BTreeMap::new();
    for seed in release.seeds.iter().filter(|seed| is_same(&seed.database)) {
        for (file, path) in seeds.seed_files(&seed.database) {
            seed_sources.insert((seed.database.clone(), file.path.clone()), path);
        }
    }
    Ok(PackInput {
        project: release.project.clone(),
        release: Some(release.name.clone()),
        created: release.created.clone(),
        by: release.by.clone(),
        architecture: release.architecture.clone(),
        manifest: release.manifest.clone(),
        images: release.images.clone(),
        files: release.files.clone(),
        seeds: release.seeds.clone(),
        store: Some(store.to_owned()),
        file_sources,
        seed_sources,
        ..PackInput::default()
    })
}

/// Machines of another architecture, or with another project, can't use it.
fn check_goals(input: &PackInput, goals: &[PackGoal]) -> Result<(), PackagesError> {
    let other = goals.iter().filter_map(PackGoal::architecture).find(|name| *name != input.architecture);
    if let Some(other) = other.filter(|_| !input.images.is_empty()) {
        return Err(PackagesError::Architectures { names: vec![input.architecture.clone(), other.to_owned()] });
    }
    match goals.iter().filter_map(PackGoal::project).find(|name| *name != input.project) {
        Some(here) => Err(PackagesError::OtherProject { package: input.project.clone(), here: here.to_owned() }),
        None => Ok(()),
    }
}

/// Where a package goes.
struct Target<'a> {
    output: &'a Path,
    /// The most bytes of a part.
    split: Option<u64>,
    only: Option<u64>,
    /// What stands before it.
    program: Option<&'a Program>,
}

impl Target<'_> {
    /// Gives the bytes written, and the parts of a package in parts.
    fn write(
        &self,
        plan: &PackPlan,
        signature: Option<&[u8]>,
        of: (&Reporter, &str),
    ) -> Result<(u64, Vec<PathBuf>), PackagesError> {
        let (reporter, _) = of;
        if self.output == Path::new("-") {
            let (mut out, bytes) = plan.write(io::stdout().lock(), signature, of)?;
            out.flush().map_err(PackagesError::Write)?;
            return Ok((bytes, Vec::new()));
        }
        let in_file =
            |source: PackagesError| PackagesError::File { path: self.output.to_owned(), source: Box::new(source) };
        let to_write = |error: io::Error| in_file(PackagesError::Write(error));
        let written = |error| match error {
            PackagesError::Write(_) => in_file(error),
            other => other,
        };
        let is_private = plan.index.files.iter().any(|file| file.private);
        let mode = if is_private { Mode::Private } else { Mode::Shared };
        if let Some(part_bytes) = self.split {
            let package = (plan_digest(plan), plan.file_bytes(signature));
            let out = PartsOutput::new((self.output, mode, MARK), package, part_bytes, self.only).map_err(to_write)?;
            let (out, _) = plan.write(out, signature, of).map_err(written)?;
            let parts = out.commit(&plan.index.created, signature).map_err(to_write)?;
            let bytes = parts.iter().map(|(_, bytes)| bytes).sum();
            return Ok((bytes, parts.into_iter().map(|(path, _)| path).collect()));
        }
        let gives_up = || reporter.asked_to_stop();
        let opening = OutputOptions { mode, mark: MARK, gives_up: &gives_up };
        let mut out = OutputFile::create(self.output, &opening).map_err(to_write)?;
        self.program.map(|program| program.begin(&mut out)).transpose().map_err(to_write)?;
        let (mut out, bytes) = plan.write(out, signature, of).map_err(written)?;
        self.program.map(|program| program.end(&mut out)).transpose().map_err(to_write)?;
        let bytes = bytes + self.program.map_or(0, Program::added_bytes);
        crate::failpoint!("packages.pack.before-rename");
        out.flush().and_then(|()| out.commit()).map_err(to_write)?;
        crate::failpoint!("packages.pack.after-rename");
        Ok((bytes, Vec::new()))
    }
}

fn show(report: &PackReport, session: &mut Session) -> Result<(), Failure> {
    let output = &session.output;
    if output.json {
        output.document(report)?;
        return Ok(());
    }
    if report.goals.len() > 1 || !report.done {
        let title = |key| Column::new(output.catalogue.word(key));
        let columns = [
            title(message!("column-for")).at_least(12),
            title(message!("column-lacks")).right(),
            title(message!("column-alone")).right().leaves(1),
        ];
        let row = |goal: &GoalNeeds| vec![goal.name.clone(), size(goal.bytes), size(goal.alone_bytes)];
        let text = table::within(&columns, report.goals.iter().map(row).collect(), output.width());
        match report.done {
            true => text.lines().for_each(|line| output.line(line)),
            false => output.data(&text)?,
        }
    }
    let DeltaTotals { layers, bytes, whole_bytes } = report.deltas;
    if layers > 0 {
        output.say(&message!("pack-deltas", layers = layers, bytes = bytes, whole = whole_bytes));
    }
    let (images, files, seeds, bytes) = (report.images, report.files, report.seeds, report.bytes);
    output.say(&match report.done {
        true if report.parts.len() > 1 => {
            message!(
                "pack-done-parts",
                parts = report.parts.len(),
                first = &report.parts[0],
                bytes = report.written_bytes
            )
        }
        true => {
            let output = report.parts.first().unwrap_or(&report.output);
            message!("pack-done", output = output, bytes = report.written_bytes)
        }
        false => message!("pack-would", images = images, files = files, seeds = seeds, bytes = bytes),
    });
    Ok(())
}
