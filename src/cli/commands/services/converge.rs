//! An action on services: what it is told, its plan, and carrying it out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::deployments::Record;
use super::plan_page::{print, warn};
use crate::catalogue::Catalogue;
use crate::cli::commands::images::load_of;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::values::number;
use crate::cli::session::operations::{Operation, Shown, document, settle};
use crate::cli::session::stopped_services::forget_stopped;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::{Failure, find};
use crate::engine::Engine;
use crate::images::{ImagesError, LoadOptions, engine_name, is_for_another_machine, load};
use crate::manifest::model::{InvalidValue, Period};
use crate::manifest::{Manifest, Reference};
use crate::report::{Listed, Message, Reporter, Told as _};
use crate::services::{
    Action, Cause, Dependencies, Depth, ExecuteOptions, Extent, FailedContainers, Namesakes, Operation as Step,
    Options, Plan, Problem, Recreate, Request, ServiceOutcome, ServicesError, ServicesReport, Snapshot,
    Step as PlannedStep, Wait, Warning, plan, run,
};
use crate::state::Deployments;

/// What decides about a plan that starts something.
#[derive(Debug, Default, Args)]
pub struct ConvergeArguments {
    /// Do not start or wait for the services that the chosen ones depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Recreate the containers of the chosen services, changed or not
    #[arg(long)]
    pub force_recreate: bool,
    /// Recreate networks that differ from the manifest, with everything that runs in them
    #[arg(long)]
    pub recreate_networks: bool,
    /// Take over containers that have the right names but were not created by dpl
    #[arg(long)]
    pub adopt: bool,
    /// With `all`: include the services of this profile; can be repeated [default: none]
    #[arg(long, value_name = "NAME", env = "DPL_PROFILES", hide_env_values = true, value_delimiter = ',')]
    pub profile: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StartArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub converge: ConvergeArguments,
    /// How many containers are created or started at once [default: 16]
    #[arg(long, value_name = "N", value_parser = number(1..=64_u32))]
    pub parallel: Option<u32>,
    /// How long one service may take to become ready [default: as in the manifest, else 5m with a health check, 2m
    /// without]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<String>,
    /// Do not wait until services are ready, except where another service or a replacement depends on it
    #[arg(long, conflicts_with = "wait_timeout")]
    pub no_wait: bool,
    /// Keep the new container of a failed replacement, stopped, as NAME.dpl-failed
    #[arg(long)]
    pub keep_failed: bool,
}

/// The command's word for an action.
fn word(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Restart => "restart",
        Action::Stop => "stop",
        Action::Remove => "remove",
    }
}

pub fn options(converge: &ConvergeArguments) -> Options {
    Options {
        dependencies: if converge.no_deps { Dependencies::Leave } else { Dependencies::Start },
        recreate: if converge.force_recreate { Recreate::All } else { Recreate::Drifted },
        recreate_networks: converge.recreate_networks,
        namesakes: if converge.adopt { Namesakes::Adopt } else { Namesakes::Refuse },
        ..Options::default()
    }
}

/// An action on services.
#[derive(Debug)]
pub struct Converge {
    pub action: Action,
    pub services: Vec<String>,
    pub options: Options,
    pub execute: ExecuteOptions,
    /// What was warned of before the question; it is not said once more when the answer is yes.
    told: Mutex<Vec<Warning>>,
}

impl Converge {
    pub fn new(action: Action, services: Vec<String>) -> Self {
        let told = Mutex::default();
        Self { action, services, options: Options::default(), execute: ExecuteOptions::default(), told }
    }

    pub fn with(mut self, arguments: &StartArguments) -> Result<Self, Failure> {
        let timeout: Option<Period> =
            arguments.wait_timeout.as_deref().map(str::parse).transpose().map_err(|error: InvalidValue| {
                Failure::usage(message!("usage-flag-value", flag = "--wait-timeout", why = error.message()))
            })?;
        self.options = Options {
            wait_timeout: timeout.map(|period| period.0),
            wait: if arguments.no_wait { Wait::WhereNeeded } else { Wait::Ready },
            failed: if arguments.keep_failed { FailedContainers::Keep } else { FailedContainers::Remove },
            ..options(&arguments.converge)
        };
        if let Some(parallel) = arguments.parallel.and_then(|count| NonZeroUsize::new(count as usize)) {
            self.execute.parallel = parallel;
        }
        Ok(self)
    }

    /// The flags that lead to these options.
    fn flags(&self) -> Vec<String> {
        let options = &self.options;
        let said = [
            (options.dependencies == Dependencies::Leave, "--no-deps"),
            (options.recreate == Recreate::All, "--force-recreate"),
            (options.recreate_networks, "--recreate-networks"),
            (options.namesakes == Namesakes::Adopt, "--adopt"),
            (options.wait == Wait::WhereNeeded, "--no-wait"),
            (options.failed == FailedContainers::Keep, "--keep-failed"),
            (options.extent.contains(&Extent::Volumes), "--volumes"),
            (options.extent.contains(&Extent::Networks), "--networks"),
            (options.extent.contains(&Extent::Orphans), "--orphans"),
        ];
        let mut flags: Vec<String> =
            said.into_iter().filter(|(is_said, _)| *is_said).map(|(_, flag)| flag.to_owned()).collect();
        if let Some(timeout) = options.wait_timeout {
            flags.push(format!("--wait-timeout {}", Period(timeout)));
        }
        if self.execute.parallel != ExecuteOptions::default().parallel {
            flags.push(format!("--parallel {}", self.execute.parallel));
        }
        flags
    }

    pub fn request(&self) -> Request {
        Request { action: self.action, selection: self.services.clone(), options: self.options.clone() }
    }
}

impl Operation for Converge {
    fn announcement(&self) -> Message {
        let targets = Listed::of(&self.services);
        match self.action {
            Action::Start => message!("will-start", targets = targets),
            Action::Restart => message!("will-restart", targets = targets),
            Action::Stop => message!("will-stop", targets = targets),
            Action::Remove if self.services.is_empty() => message!("will-remove-orphans"),
            Action::Remove => message!("will-remove", targets = targets),
        }
    }

    fn command(&self) -> String {
        let mut words = vec!["dpl".to_owned(), word(self.action).to_owned()];
        words.extend(self.services.iter().cloned());
        words.extend(self.flags());
        words.join(" ")
    }

    fn asks_what_the_engine_is(&self) -> bool {
        true
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if self.action != Action::Remove || session.global.yes {
            return Ok(());
        }
        let targets = Listed::of(&self.services);
        let Would { plan, .. } = would(&self.request(), project, session)?;
        warn(&plan, session, |message| session.output.warn(message));
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&plan.warnings);
        if plan.steps.is_empty() {
            return Ok(());
        }
        // What else goes is named: the data in a volume don't come back.
        let question = match more(&plan, session) {
            None => message!("confirm-remove", count = self.services.len(), targets = targets),
            Some(more) if self.services.is_empty() => message!("confirm-remove-orphans", more = more),
            Some(more) => message!("confirm-remove-more", targets = targets, more = more),
        };
        session.confirm(&question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let Would { plan, failure } = would(&self.request(), project, session)?;
        print(&plan, session)?;
        let failures = failure.into_iter().collect();
        Ok(Shown { has_work: !plan.steps.is_empty(), failures, ..Shown::of(&plan)? })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        if matches!(self.action, Action::Stop | Action::Remove) {
            forget_stopped(project, &self.services)?;
        }
        carry_out(self, project, session, reporter)
    }
}

/// What would be done, as far as looking tells.
pub struct Would {
    pub plan: Plan,
    /// That images are missing, whose services the plan leaves out.
    pub failure: Option<Failure>,
}

/// What would be done, as far as looking tells. Images that only the store has count as loaded, since that comes first;
/// those that nobody has keep no other service out of the plan.
pub fn would(request: &Request, project: &Project, session: &mut Session) -> Result<Would, Failure> {
    let engine = session.engine()?;
    let manifest = project.manifest();
    let mut supposed = session.supposed_images.clone();
    let request = &with_completed(request, &Deployments::read(&project.state()).unwrap_or_default());
    let mut snapshot =
        session.wait_for(async { Ok(Snapshot::take(&engine, manifest, request, Depth::ReadOnly).await?) })?;
    let with = |snapshot: &mut Snapshot, images: &mut BTreeMap<String, String>| {
        for (reference, id) in std::mem::take(images) {
            snapshot.suppose_loaded(&reference, id);
        }
        plan(request, manifest, snapshot)
    };
    let mut planned = with(&mut snapshot, &mut supposed);
    if let Some(missing) = planned.as_ref().err().and_then(ServicesError::only_missing_images) {
        let missing = missing.into_iter().cloned().collect();
        let mut coming = loaded_first(missing, project, session)?;
        planned = with(&mut snapshot, &mut coming);
    }
    let error = match planned {
        Ok(plan) => return Ok(Would { plan, failure: None }),
        Err(error) => error,
    };
    let Some(missing) = error.only_missing_images() else {
        return Err(error.into());
    };
    // The plan for the others is the one that there would be with all images, without the services of these.
    let mut all = missing.into_iter().map(|reference| (reference.to_string(), String::new())).collect();
    match with(&mut snapshot, &mut all) {
        Ok(plan) => {
            let plan = without(plan, &lacking_image(&error));
            match plan.changes_anything() {
                true => Ok(Would { plan, failure: Some(error.into()) }),
                false => Err(error.into()),
            }
        }
        Err(_) => Err(error.into()),
    }
}

/// The images that a load before it would bring, each with its ID. Those that it can't bring are left out; why, where it is
/// more than that nobody has them, is said.
fn loaded_first(
    mut missing: Vec<Reference>,
    project: &Project,
    session: &mut Session,
) -> Result<BTreeMap<String, String>, Failure> {
    while !missing.is_empty() {
        let failure = match load_of(&missing, project, session) {
            Ok(load) => {
                for notice in load.notices.iter().filter(|notice| is_for_another_machine(notice)) {
                    session.output.warn(notice);
                }
                let names: Vec<&str> = load.images.iter().map(|image| image.reference.as_str()).collect();
                session.output.say(&message!("would-load-first", images = Listed::of(&names)));
                return Ok(load.images.into_iter().map(|image| (image.reference, image.image_id)).collect());
            }
            Err(failure) => failure,
        };
        if failure.is_stop() {
            return Err(failure);
        }
        let Failure::Work(error) = &failure else { break };
        let error = find::<ImagesError>(error.as_ref());
        // What nobody has, the plan says.
        let is_said = match error {
            Some(ImagesError::NotInStore { unreadable, is_name_lost, .. }) => unreadable.is_empty() && !is_name_lost,
            _ => false,
        };
        if !is_said {
            session.output.warn(&failure.message());
        }
        let unloadable = error.map(ImagesError::unloadable).unwrap_or_default();
        let before = missing.len();
        missing.retain(|reference| engine_name(reference).is_none_or(|name| !unloadable.contains(&name)));
        if missing.len() == before {
            break;
        }
    }
    Ok(BTreeMap::new())
}

/// The services whose images are missing.
fn lacking_image(error: &ServicesError) -> BTreeSet<&str> {
    let ServicesError::Problems(problems) = error else {
        return BTreeSet::new();
    };
    let services = problems.iter().filter_map(|problem| match problem {
        Problem::ImageMissing { service, .. } => Some(service.as_str()),
        _ => None,
    });
    services.collect()
}

/// The plan without the steps of these services, and without the networks and volumes that no other one waits for.
fn without(plan: Plan, services: &BTreeSet<&str>) -> Plan {
    let (mut kept, mut waited_for) = (Vec::new(), BTreeSet::new());
    for step in plan.steps.into_iter().rev() {
        let is_kept = match &step.service {
            Some(service) => !services.contains(service.as_str()),
            None => waited_for.contains(&step.id),
        };
        if is_kept {
            waited_for.extend(step.after.iter().map(|after| after.step));
            kept.push(step);
        }
    }
    kept.reverse();
    let places: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(place, step)| (step.id, place)).collect();
    let moved = |mut step: PlannedStep| {
        step.id = places[&step.id];
        step.after.retain(|after| places.contains_key(&after.step));
        step.after.iter_mut().for_each(|after| after.step = places[&after.step]);
        step
    };
    Plan { steps: kept.into_iter().map(moved).collect(), ..plan }
}

/// What goes beside the containers of the chosen services.
fn more(plan: &Plan, session: &Session) -> Option<String> {
    let lines = plan.steps.iter().filter(|step| match step.operation {
        Step::RemoveVolume { .. } | Step::RemoveNetwork { .. } => true,
        Step::RemoveContainer { .. } => step.cause == Cause::Orphan,
        _ => false,
    });
    let lines: Vec<String> = lines.map(|step| session.output.catalogue.text(&step.operation.message())).collect();
    (!lines.is_empty()).then(|| session.output.catalogue.list(&lines))
}

/// Does what the plan says. Images that only the store has are loaded first.
pub fn carry_out(
    converge: &Converge,
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let begun = Instant::now();
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let manifest = project.manifest();
    let record = Record::open(project, converge.action, |message| reporter.warn(message.clone()))?;
    let request = with_completed(&converge.request(), record.deployments());
    let executed = runtime.block_on(async {
        let mut planned = look_and_plan(&engine, manifest, &request).await?;
        let mut loaded: Vec<Reference> = Vec::new();
        if let Some(missing) = planned.as_ref().err().and_then(ServicesError::only_missing_images)
            && let Some(store) = &manifest.paths.images
        {
            let missing: Vec<Reference> = missing.into_iter().cloned().collect();
            let releases = project.load_log(&engine.facts().await?.id);
            let options = LoadOptions { releases: Some(releases), ..Default::default() };
            load(&engine, store, &missing, &options, reporter).await?;
            planned = look_and_plan(&engine, manifest, &request).await?;
            loaded = missing;
        }
        let mut plan = planned?;
        let told = std::mem::take(&mut *converge.told.lock().unwrap_or_else(PoisonError::into_inner));
        // The load has told of images for another machine.
        let was_told = |warning: &Warning| match warning {
            Warning::OtherArchitecture { reference, .. } if loaded.contains(reference) => true,
            warning => told.contains(warning),
        };
        plan.warnings.retain(|warning| !was_told(warning));
        warn(&plan, session, |message| reporter.warn(message.clone()));
        settle(&plan.steps, reporter)?;
        Ok::<_, Failure>(run(&engine, manifest, &request, plan, &converge.execute, reporter).await)
    })?;
    let recorded = record.add((&request, &executed), project, (&engine, reporter), session);
    if let (Err(failure), Err(_)) = (&recorded, &executed) {
        // Why the work failed matters more, and is said last.
        failure.show(&session.output);
    } else {
        recorded?;
    }
    match executed {
        Ok(report) => {
            say_done(&report, begun, session);
            document(&report)
        }
        Err(ServicesError::Interrupted { report }) => {
            say_interrupted(&report, session);
            Err(Failure::Interrupted)
        }
        Err(error) => {
            if let Some(report) = error.report().filter(|_| error.lost_the_engine()) {
                let listed = |names: Vec<&str>| Listed::of(if names.is_empty() { vec!["–"] } else { names });
                let stand = message!(
                    "services-stand",
                    done = listed(names(report, |outcome| !outcome.is_open())),
                    open = listed(names(report, ServiceOutcome::is_open))
                );
                session.output.say(&stand);
            }
            if !reporter.asked_to_stop() {
                return Err(error.into());
            }
            // What failed meanwhile is said too.
            if let Some(report) = error.report() {
                say_interrupted(report, session);
            }
            Failure::from(error).show(&session.output);
            Err(Failure::Interrupted)
        }
    }
}

/// The request with what is known of jobs: those that were seen to end.
pub fn with_completed(request: &Request, deployments: &Deployments) -> Request {
    let options = Options { completed: deployments.completed(), ..request.options.clone() };
    Request { options, ..request.clone() }
}

/// The plan, or what stands in its way; the outer error is of the looking.
async fn look_and_plan(
    engine: &Engine,
    manifest: &Manifest,
    request: &Request,
) -> Result<Result<Plan, ServicesError>, ServicesError> {
    let snapshot = Snapshot::take(engine, manifest, request, Depth::WithHelpers).await?;
    Ok(plan(request, manifest, &snapshot))
}

fn names(report: &ServicesReport, wanted: impl Fn(ServiceOutcome) -> bool) -> Vec<&str> {
    report.services.iter().filter(|service| wanted(service.result)).map(|service| service.name.as_str()).collect()
}

/// What became of each service when the operator asked for an end.
fn say_interrupted(report: &ServicesReport, session: &Session) {
    interrupted(report).iter().for_each(|line| session.output.say(line));
}

/// The same as lines, one for each kind of end.
fn interrupted(report: &ServicesReport) -> Vec<Message> {
    let of = |outcome: ServiceOutcome| names(report, |other| other == outcome);
    let changed = names(report, |outcome| !outcome.is_open() && outcome != ServiceOutcome::Waited);
    let line = |targets: Vec<&str>, message: fn(Listed) -> Message| {
        (!targets.is_empty()).then(|| message(Listed::of(targets)))
    };
    let lines = [
        line(changed, |targets| message!("services-changed", targets = targets)),
        line(of(ServiceOutcome::Waited), |targets| message!("services-settled", targets = targets)),
        line(of(ServiceOutcome::Unproven), |targets| message!("services-unproven", targets = targets)),
        line(of(ServiceOutcome::Partly), |targets| message!("services-partly", targets = targets)),
        line(of(ServiceOutcome::Skipped), |targets| message!("services-left", targets = targets)),
    ];
    lines.into_iter().flatten().collect()
}

/// What a start or restart did, each kind with how often, where there is one.
fn brought_up(report: &ServicesReport, catalogue: &Catalogue) -> Vec<String> {
    let count = |outcome| names(report, |other| other == outcome).len();
    let (created, recreated) = (count(ServiceOutcome::Created), count(ServiceOutcome::Recreated));
    let (started, restarted) = (count(ServiceOutcome::Started), count(ServiceOutcome::Restarted));
    let counted = [
        (created, message!("services-count-created", count = created)),
        (recreated, message!("services-count-replaced", count = recreated)),
        (started, message!("services-count-started", count = started)),
        (restarted, message!("services-count-restarted", count = restarted)),
    ];
    counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, message)| catalogue.text(&message)).collect()
}

fn say_done(report: &ServicesReport, begun: Instant, session: &Session) {
    let count = |outcomes: &[ServiceOutcome]| names(report, |outcome| outcomes.contains(&outcome)).len();
    let time = begun.elapsed().as_secs_f64();
    let message = match report.action {
        Action::Start | Action::Restart => match brought_up(report, session.output.catalogue) {
            what if what.is_empty() => message!("services-up-nothing", time = time),
            what => message!("services-up", what = session.output.catalogue.list(&what), time = time),
        },
        Action::Stop => {
            message!("services-stopped", count = count(&[ServiceOutcome::Stopped]), time = time)
        }
        Action::Remove => {
            message!("services-removed", count = count(&[ServiceOutcome::Removed]), time = time)
        }
    };
    session.output.say(&message);
    let fewer = count(&[ServiceOutcome::Removed]);
    if fewer > 0 && matches!(report.action, Action::Start | Action::Restart) {
        session.output.say(&message!("services-scaled-down", count = fewer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;
    use crate::services::ServiceResult;

    #[test]
    fn what_was_only_waited_for_is_not_said_to_be_changed() {
        let result =
            |name: &str, result| ServiceResult { name: name.to_owned(), result, cause: String::new(), milliseconds: 1 };
        let services = vec![
            result("auth", ServiceOutcome::Waited),
            result("api", ServiceOutcome::Recreated),
            result("ui", ServiceOutcome::Skipped),
        ];
        let lines = interrupted(&ServicesReport { services, ..ServicesReport::default() });
        let said: Vec<String> = lines.iter().map(crate::catalogue::english).collect();
        assert_eq!(
            said,
            ["changed: api", "ready, neither replaced nor restarted: auth", "left as they were: ui"],
            "one line for each kind"
        );
    }

    #[test]
    fn the_last_line_counts_what_was_done_and_leaves_out_what_was_not() {
        let said = |outcomes: &[ServiceOutcome], language| {
            let services = outcomes.iter().map(|outcome| ServiceResult {
                name: "a".to_owned(),
                result: *outcome,
                cause: String::new(),
                milliseconds: 1,
            });
            let report = ServicesReport { services: services.collect(), ..ServicesReport::default() };
            let catalogue = Catalogue::of(language);
            catalogue.list(&brought_up(&report, catalogue))
        };
        let restarted = [ServiceOutcome::Restarted, ServiceOutcome::Restarted, ServiceOutcome::Waited];
        assert_eq!(said(&restarted, Language::English), "2 restarted");
        let both = [ServiceOutcome::Created, ServiceOutcome::Started];
        assert_eq!(said(&both, Language::English), "1 created, 1 started");
        assert_eq!(said(&both, Language::Chinese), "新建 1 个、启动 1 个");
        assert_eq!(said(&[ServiceOutcome::Waited], Language::English), "");
    }
}
