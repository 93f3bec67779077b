//! Carrying a request out to its end: where the engine was away in the middle, or somebody changed containers after the
//! plan was made, a second look shows what is left to do.

pub(in crate::services) mod executor;
pub(in crate::services) mod outage;
mod outcome;
mod perform;
mod ready;
mod swap_slots;
pub(in crate::services) mod undo;

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::manifest::Manifest;
use crate::report::Reporter;
use crate::services::error::{NotReady, ServiceFailure, ServicesError, StepError};
use crate::services::plan::{Plan, plan};
use crate::services::reports::ServicesReport;
use crate::services::request::{Action, Recreate, Request};
use crate::services::run::executor::{ExecuteOptions, execute};
use crate::services::snapshot::{Depth, Snapshot};

/// So many looks; a site whose engine goes away more often has another problem.
const LOOKS: u32 = 4;

/// Executes a request's plan, and what is found to be left of it.
pub async fn run(
    engine: &Engine,
    manifest: &Manifest,
    request: &Request,
    first: Plan,
    options: &ExecuteOptions,
    reporter: &Reporter,
) -> Result<ServicesReport, ServicesError> {
    let mut request = request.clone();
    let mut current = first;
    let mut whole: Option<ServicesReport> = None;
    let mut looks = 1;
    loop {
        let executed = execute(engine, manifest, &current, options, reporter).await;
        let left = match &executed {
            Ok(report) => left(&request, report, &[]),
            Err(ServicesError::Failed { failures, report }) => left(&request, report, failures),
            Err(_) => None,
        };
        let executed = merged(&mut whole, executed);
        let Some(left) = left.filter(|_| looks < LOOKS && !reporter.asked_to_stop()) else {
            // What a later look found nothing left to do for is as it was asked for.
            let touched = current.services();
            return executed
                .map(|report| if looks > 1 { report.closed(|name| !touched.contains(&name)) } else { report });
        };
        looks += 1;
        reporter.notice(message!("services-second-look"));
        let snapshot = match Snapshot::take(engine, manifest, &left, Depth::WithHelpers).await {
            Ok(snapshot) => snapshot,
            // What failed before says more than that there is nobody to ask.
            Err(error) => return executed.and(Err(error)),
        };
        current = match plan(&left, manifest, &snapshot) {
            Ok(plan) => plan,
            Err(error) => return executed.and(Err(error)),
        };
        request = left;
        if current.is_empty() {
            return Ok(whole.unwrap_or_default().closed(|_| true));
        }
    }
}

/// What is still to be asked for; `None` where the result stands.
fn left(request: &Request, report: &ServicesReport, failures: &[ServiceFailure]) -> Option<Request> {
    // A version that does not come up does not get better by another try.
    if !failures.iter().all(|failure| is_passing(&failure.error, report.engine_was_away)) {
        return None;
    }
    let mut left = request.clone();
    let undone: BTreeSet<&str> = report
        .services
        .iter()
        .filter(|service| service.result.is_open())
        .map(|service| service.name.as_str())
        .collect();
    if failures.iter().any(|failure| has_stale_runtime_task(&failure.error)) {
        left.selection.retain(|name| undone.contains(name.as_str()));
        left.options.recreate = Recreate::All;
        return (!left.selection.is_empty()).then_some(left);
    }
    if report.engine_was_away {
        // What runs now has been started since.
        if left.action == Action::Restart {
            left.action = Action::Start;
        }
        left.options.recreate = Recreate::Drifted;
        return Some(left);
    }
    if failures.is_empty() {
        return None;
    }
    left.selection.retain(|name| undone.contains(name.as_str()));
    (!left.selection.is_empty()).then_some(left)
}

/// Whether a new container does better than this one (`EngineError::is_stale_runtime_task`).
fn has_stale_runtime_task(error: &StepError) -> bool {
    matches!(error, StepError::Engine(error) if error.is_stale_runtime_task())
}

/// Whether it failed for a reason that a second look does away with. An engine that was killed may leave things behind
/// in which its next life stumbles; a new container has nothing of them.
fn is_passing(error: &StepError, engine_was_away: bool) -> bool {
    match error {
        StepError::Stale { .. } => true,
        _ if has_stale_runtime_task(error) => true,
        StepError::Engine(error) | StepError::NotReady(NotReady::Engine(error)) => {
            engine_was_away || error.is_unreachable()
        }
        _ => false,
    }
}

/// The result with what was done before it.
fn merged(
    whole: &mut Option<ServicesReport>,
    executed: Result<ServicesReport, ServicesError>,
) -> Result<ServicesReport, ServicesError> {
    let mut add = |report: ServicesReport| {
        let all = match whole.take() {
            Some(mut earlier) => {
                earlier.absorb(report);
                earlier
            }
            None => report,
        };
        *whole = Some(all.clone());
        all
    };
    match executed {
        Ok(report) => Ok(add(report)),
        Err(ServicesError::Failed { failures, report }) => {
            Err(ServicesError::Failed { failures, report: Box::new(add(*report)) })
        }
        Err(ServicesError::Interrupted { report }) => {
            Err(ServicesError::Interrupted { report: Box::new(add(*report)) })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::Address;
    use crate::manifest::model::{Gpu, Service};
    use crate::services::error::{Stale, WayBack};
    use crate::services::plan::{Cause, Operation, Step, Target};
    use crate::services::reports::{ServiceOutcome, ServiceResult};
    use crate::services::scripted_engine::{Answer, FakeEngine};

    fn result(name: &str, result: ServiceOutcome) -> ServiceResult {
        ServiceResult { name: name.to_owned(), result, cause: String::new(), milliseconds: 5 }
    }

    fn failure(error: StepError) -> ServiceFailure {
        let (log, health) = (Vec::new(), Vec::new());
        ServiceFailure { service: "a".to_owned(), error, way_back: WayBack::NotNeeded, log, health }
    }

    fn stale() -> ServiceFailure {
        failure(StepError::Stale { container: "p-a-1".to_owned(), how: Stale::Removed })
    }

    fn request(action: Action) -> Request {
        Request { action, selection: vec!["a".to_owned(), "b".to_owned()], ..Request::default() }
    }

    #[test]
    fn what_failed_because_the_plan_was_stale_is_planned_again_and_nothing_else() {
        let services = vec![result("a", ServiceOutcome::Failed), result("b", ServiceOutcome::Restarted)];
        let report = ServicesReport { services, ..ServicesReport::default() };
        let left = left(&request(Action::Restart), &report, &[stale()]).unwrap();
        assert_eq!((left.action, left.selection), (Action::Restart, vec!["a".to_owned()]));
        let ended = failure(StepError::LeftBehind { container: "p-a-1".to_owned() });
        assert_eq!(super::left(&request(Action::Restart), &report, &[stale(), ended]), None);
        assert_eq!(super::left(&request(Action::Restart), &ServicesReport::default(), &[]), None);
    }

    #[test]
    fn after_an_engines_restart_nothing_is_restarted_twice_and_everything_is_looked_at() {
        let report = ServicesReport { engine_was_away: true, ..ServicesReport::default() };
        let left = |action| super::left(&request(action), &report, &[]).unwrap();
        assert_eq!((left(Action::Restart).action, left(Action::Restart).selection.len()), (Action::Start, 2));
        assert_eq!(left(Action::Stop).action, Action::Stop);
    }

    #[test]
    fn what_a_second_look_finds_done_is_no_failure() {
        let services = vec![result("a", ServiceOutcome::Failed), result("b", ServiceOutcome::Started)];
        let report = |action| ServicesReport { action, services: services.clone(), ..ServicesReport::default() };
        let ended = |action| report(action).closed(|name| name == "a").services[0].result;
        assert_eq!(ended(Action::Stop), ServiceOutcome::Stopped);
        assert_eq!(ended(Action::Remove), ServiceOutcome::Removed);
        assert_eq!(ended(Action::Start), ServiceOutcome::Waited);
        assert_eq!(report(Action::Stop).closed(|name| name == "b").services, services);
    }

    #[test]
    fn a_second_look_adds_to_what_was_done_before() {
        let one = vec![result("a", ServiceOutcome::Created), result("b", ServiceOutcome::Skipped)];
        let two = vec![result("a", ServiceOutcome::Waited), result("b", ServiceOutcome::Started)];
        let mut report = ServicesReport { services: one, ..ServicesReport::default() };
        report.absorb(ServicesReport { services: two, ..ServicesReport::default() });
        let results: Vec<(&str, ServiceOutcome)> =
            report.services.iter().map(|service| (service.name.as_str(), service.result)).collect();
        assert_eq!(results, [("a", ServiceOutcome::Created), ("b", ServiceOutcome::Started)]);
        assert_eq!(report.services[0].milliseconds, 10);
    }

    /// The engine goes away in the middle of a start, and has no GPU for what the second look finds missing.
    #[tokio::test]
    async fn a_second_look_tries_the_gpus_again() {
        const IMAGES: &str = r#"[{"Id": "sha256:a", "ParentId": "", "RepoTags": ["a:1"], "RepoDigests": [],
            "Created": 1, "Size": 1, "SharedSize": -1, "Labels": {}, "Containers": -1}]"#;
        const IMAGE: &str = r#"{"Id": "sha256:a", "RepoTags": ["a:1"], "Size": 1, "Architecture": "amd64", "Config": {},
            "RootFS": {"Type": "layers", "Layers": []}}"#;
        const INFO: &str = r#"{"ID": "fake", "Name": "fake", "Driver": "overlay2", "DriverStatus": [], "NCPU": 2,
            "DockerRootDir": "/nowhere", "Architecture": "x86_64", "Runtimes": {"runc": {"path": "runc"}}}"#;
        const RUNNING: &str = r#"{"Id": "made", "Name": "/p-a-1",
            "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}}"#;
        let no_driver = Answer::Json(500, r#"{"message": "could not select device driver"}"#);
        let started = || Answer::Json(204, "");
        let rules = vec![
            ("POST", "/containers/old/start", Answer::Each(vec![Answer::Close, started()])),
            ("GET", "/containers/json", Answer::Json(200, "[]")),
            ("GET", "/images/json", Answer::Json(200, IMAGES)),
            ("GET", "/images/a:1/json", Answer::Json(200, IMAGE)),
            ("GET", "/networks", Answer::Json(200, "[]")),
            ("GET", "/volumes", Answer::Json(200, r#"{"Volumes": []}"#)),
            ("GET", "/info", Answer::Json(200, INFO)),
            ("POST", "/networks/create", Answer::Json(201, r#"{"Id": "n1", "Warning": ""}"#)),
            ("POST", "/containers/create", Answer::Json(201, r#"{"Id": "made", "Warnings": []}"#)),
            // The one that is tried, then the service's own.
            ("POST", "/containers/made/start", Answer::Each(vec![no_driver, started()])),
            ("GET", "/containers/made/json", Answer::Json(200, RUNNING)),
            ("DELETE", "/containers/made", Answer::Json(204, "")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let gpus = vec![Gpu { required: false, ..Gpu::default() }];
        let service = Service { image: "a:1".parse().unwrap(), gpus, ..Service::default() };
        manifest.services.push("a".to_owned(), Some(service));
        let target = Target { container: "p-a-1".to_owned(), id: Some("old".to_owned()), made_by: None };
        let start = Step {
            id: 0,
            service: Some("a".to_owned()),
            number: Some(1),
            operation: Operation::StartContainer { target },
            cause: Cause::Down,
            after: Vec::new(),
            undo: Vec::new(),
            commits: false,
        };
        let first = Plan { project: "p".to_owned(), steps: vec![start], ..Plan::default() };
        let request = Request { selection: vec!["a".to_owned()], ..request(Action::Start) };
        let reporter = Reporter::new(Vec::new(), CancellationToken::new());
        let ended = run(&engine, &manifest, &request, first, &ExecuteOptions::default(), &reporter).await;
        let requests = fake.requests();
        let report = ended.unwrap_or_else(|error| panic!("{error:?}: {requests:?}"));
        assert!(report.engine_was_away, "{requests:?}");
        let created: Vec<(bool, bool)> = requests
            .iter()
            .filter(|request| request.contains("/containers/create?"))
            .map(|request| (request.contains("dpl-gpu-probe"), request.contains("\"Capabilities\"")))
            .collect();
        assert_eq!(created, [(true, true), (false, false)], "{requests:?}");
    }
}
