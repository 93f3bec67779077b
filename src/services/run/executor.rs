//! Running a plan: each step when those before it are done, as many at once as the graph and the bound allow.
//!
//! Decides nothing. A step that fails takes its own container's earlier steps back, as the plan says how; what depends
//! on it is left out, everything else goes on.

use std::num::NonZeroUsize;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::outcome::Outcomes;
use super::perform::{self, Performer};
use super::undo::UndoLog;
use crate::engine::{Engine, EngineErrorKind};
use crate::manifest::Manifest;
use crate::report::Reporter;
use crate::services::error::{NotReady, ServiceFailure, ServicesError, StepError, WayBack, in_one_line};
use crate::services::plan::{Operation, Plan, Step, StepId};
use crate::services::reports::ServicesReport;

/// How a plan is run.
#[derive(Debug, Clone, Copy)]
pub struct ExecuteOptions {
    /// So many containers are made, started or restarted at once; waits and stops don't count.
    pub parallel: NonZeroUsize,
}

impl Default for ExecuteOptions {
    fn default() -> Self {
        Self { parallel: NonZeroUsize::new(16).expect("16 is not zero") }
    }
}

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Running,
    Done,
    Failed,
    /// Left out: something before it failed, or the operator asked for an end.
    Skipped,
}

/// What ended: a step, or the way back of one that failed.
enum Event {
    Step { id: StepId, result: Result<(), StepError> },
    WentBack { id: StepId, failure: Option<ServiceFailure> },
}

/// Runs the plan's steps.
pub async fn execute(
    engine: &Engine,
    manifest: &Manifest,
    plan: &Plan,
    options: &ExecuteOptions,
    reporter: &Reporter,
) -> Result<ServicesReport, ServicesError> {
    // Looked at when the snapshot was taken. With more at once than processors, what is down is down for longer, and all together
    // take nearly as long; one alone would leave the engine idle while it waits for disks and processes.
    let cpus = engine.facts().await.map_or(1, |facts| facts.cpus);
    let at_once = (options.parallel, usize::try_from(cpus).unwrap_or(2).max(2));
    let performer = Performer::new(engine, manifest, plan, at_once, reporter);
    let run = Run {
        plan,
        reporter,
        performer: &performer,
        states: vec![State::Waiting; plan.steps.len()],
        undo_log: UndoLog::default(),
        outcomes: Outcomes::new(plan),
        failures: Vec::new(),
        running: FuturesUnordered::new(),
        was_cut_short: false,
    };
    run.finish().await
}

struct Run<'a> {
    plan: &'a Plan,
    reporter: &'a Reporter,
    performer: &'a Performer<'a>,
    states: Vec<State>,
    undo_log: UndoLog,
    outcomes: Outcomes<'a>,
    failures: Vec<ServiceFailure>,
    running: FuturesUnordered<BoxFuture<'a, Event>>,
    was_cut_short: bool,
}

impl Run<'_> {
    async fn finish(mut self) -> Result<ServicesReport, ServicesError> {
        loop {
            while self.launch() {}
            match self.running.next().await {
                Some(Event::Step { id, result: Ok(()) }) => self.done(id),
                Some(Event::Step { id, result: Err(error) }) => self.failed(id, error),
                Some(Event::WentBack { id, failure }) => self.went_back(id, failure),
                None => break,
            }
        }
        let engine_was_away = self.performer.engine_was_away();
        let report = Box::new(ServicesReport { engine_was_away, ..self.outcomes.report(self.plan, &self.states) });
        if !self.failures.is_empty() {
            return Err(ServicesError::Failed { failures: self.failures, report });
        }
        if self.was_cut_short { Err(ServicesError::Interrupted { report }) } else { Ok(*report) }
    }

    /// Looks at every waiting step once; whether anything changed.
    fn launch(&mut self) -> bool {
        let mut changed = false;
        for step in &self.plan.steps {
            if self.states[step.id] != State::Waiting {
                continue;
            }
            let before = step.after.iter().map(|after| (self.states[after.step], after.whatever_comes_of_it));
            let (mut is_open, mut is_barred) = (false, false);
            for (state, whatever) in before {
                is_open |= matches!(state, State::Waiting | State::Running);
                is_barred |= matches!(state, State::Failed | State::Skipped) && !whatever;
            }
            let asked_to_stop = self.reporter.asked_to_stop() && !self.undo_log.is_uncommitted(step);
            if is_barred || (asked_to_stop && !is_open) {
                self.was_cut_short |= asked_to_stop && !is_barred;
                self.skip(step);
                changed = true;
            } else if !is_open {
                self.begin(step);
                changed = true;
            }
        }
        changed
    }

    fn begin(&mut self, step: &Step) {
        self.states[step.id] = State::Running;
        self.outcomes.began(step);
        let may_be_interrupted = !self.undo_log.is_uncommitted(step);
        let (performer, plan, id) = (self.performer, self.plan, step.id);
        self.running.push(Box::pin(async move {
            let result = performer.perform(&plan.steps[id], may_be_interrupted).await;
            Event::Step { id, result }
        }));
    }

    /// Leaves a step out; what was begun for its replica is taken back.
    fn skip(&mut self, step: &Step) {
        let undo = self.undo_log.take_undo(step);
        if undo.is_empty() {
            self.states[step.id] = State::Skipped;
            return;
        }
        for earlier in self.plan.steps.iter().filter(|other| other.is_of_the_replica_of(step)) {
            if self.states[earlier.id] == State::Done {
                self.states[earlier.id] = State::Skipped;
            }
        }
        self.states[step.id] = State::Running;
        self.go_back(step.id, undo, None);
    }

    fn done(&mut self, id: StepId) {
        self.states[id] = State::Done;
        self.undo_log.done(&self.plan.steps[id]);
        self.outcomes.ended(&self.plan.steps[id]);
    }

    fn failed(&mut self, id: StepId, error: StepError) {
        let step = &self.plan.steps[id];
        if let StepError::NotReady(NotReady::Interrupted { .. }) = error {
            self.was_cut_short = true;
            self.states[id] = State::Skipped;
            return;
        }
        if let StepError::NotBegun = error {
            self.was_cut_short = true;
            self.skip(step);
            return;
        }
        // Who has lost the lock may not go on, whatever is left to do.
        let is_lock_lost = matches!(&error, StepError::Engine(error) if error.kind() == EngineErrorKind::LockLost);
        let is_tidying_up = self.is_proved(step) && matches!(step.operation, Operation::RemoveContainer { .. });
        if is_tidying_up && !is_lock_lost {
            // The service serves; what is left beside it is another matter.
            let container = step.operation.target().map(|target| target.container.as_str()).unwrap_or_default();
            let message = message!("services-old-left", container = container, why = in_one_line(&error));
            self.reporter.warn(message);
            self.done(id);
            return;
        }
        self.outcomes.failed(step);
        self.undo_log.failed(step);
        let undo = self.undo_log.take_undo(step);
        self.go_back(id, undo, Some(error));
    }

    /// Whether the new container of the step's replica has proved itself.
    fn is_proved(&self, step: &Step) -> bool {
        let of_replica = self.plan.steps.iter().filter(|other| other.is_of_the_replica_of(step));
        of_replica.filter(|other| other.commits).any(|other| self.states[other.id] == State::Done)
    }

    fn go_back(&mut self, id: StepId, undo: Vec<Operation>, error: Option<StepError>) {
        let (performer, plan) = (self.performer, self.plan);
        self.running.push(Box::pin(async move {
            let step = &plan.steps[id];
            // What a failed container has to say goes with it.
            let evidence = match &error {
                Some(error) => performer.evidence(step, error).await,
                None => perform::Evidence::default(),
            };
            let way_back = performer.go_back(step, &undo).await;
            let failure = match error {
                Some(error) => Some((error, way_back)),
                None => left_by(&way_back, performer.was_up(&undo)).map(|error| (error, way_back)),
            };
            let failure = failure.map(|(error, way_back)| ServiceFailure {
                service: step.service.clone().unwrap_or_default(),
                error,
                way_back,
                log: evidence.log,
                health: evidence.health,
            });
            Event::WentBack { id, failure }
        }));
    }

    fn went_back(&mut self, id: StepId, failure: Option<ServiceFailure>) {
        self.states[id] = if failure.is_some() { State::Failed } else { State::Skipped };
        self.failures.extend(failure);
    }
}

/// What is wrong with a replica on which no step failed, once it has gone back.
fn left_by(way_back: &WayBack, was_up: bool) -> Option<StepError> {
    match way_back {
        WayBack::NotNeeded | WayBack::PutBack | WayBack::Unhealthy { .. } | WayBack::Starting { .. } => None,
        WayBack::Down { .. } if !was_up => None,
        WayBack::Left { container, .. } => Some(StepError::LeftBehind { container: container.clone() }),
        WayBack::Down { .. } | WayBack::Failed { .. } | WayBack::OldGone { .. } => Some(StepError::NotBack),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::catalogue::english;
    use crate::engine::Address;
    use crate::report::{Event as Heard, Listener, Told as _};
    use crate::services::plan::{After, AnonymousVolumes, Cause, Target};
    use crate::services::reports::ServiceOutcome;
    use crate::services::scripted_engine::{Answer, FakeEngine};

    const OLD: &str = "/containers/old/json";
    const REFUSED: Answer = Answer::Json(409, r#"{"message": "removal of container old is already in progress"}"#);
    const RUNNING: Answer = Answer::Json(200, r#"{"Id": "old", "State": {"Status": "running"}}"#);
    const REMOVING: Answer = Answer::Json(200, r#"{"Id": "old", "State": {"Status": "removing"}}"#);
    const GONE: Answer = Answer::Json(404, r#"{"message": "No such container"}"#);

    #[derive(Default)]
    struct Warnings(Mutex<Vec<&'static str>>);

    impl Listener for Warnings {
        fn hear(&self, event: &Heard) {
            if let Heard::Warning(message) = event {
                self.0.lock().unwrap().push(message.key);
            }
        }
    }

    /// An engine that refuses to remove container `old`, and shows it so.
    async fn refusing(looks: Vec<Answer>) -> (Engine, FakeEngine, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let rules = vec![
            ("DELETE", "/containers/old", REFUSED),
            ("GET", OLD, Answer::Each(looks)),
            ("POST", "/containers/new/start", Answer::Json(204, "")),
        ];
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        (engine, fake, folder)
    }

    /// The end of a replacement: the new container starts, which settles it or does not, and the old one goes.
    fn replacement(settles: bool) -> Plan {
        let target = |id: &str| Target { container: format!("p-a-1.{id}"), id: Some(id.to_owned()), made_by: None };
        let step = |id, operation, after, commits| Step {
            id,
            service: Some("a".to_owned()),
            number: Some(1),
            operation,
            cause: Cause::Forced,
            after,
            undo: Vec::new(),
            commits,
        };
        let start = Operation::StartContainer { target: target("new") };
        let remove = Operation::RemoveContainer { target: target("old"), volumes: AnonymousVolumes::Keep };
        let first = After { step: 0, whatever_comes_of_it: false };
        let steps = vec![step(0, start, Vec::new(), settles), step(1, remove, vec![first], false)];
        Plan { project: "p".to_owned(), steps, ..Plan::default() }
    }

    #[tokio::test]
    async fn an_old_container_that_can_not_be_removed_is_a_warning_where_the_new_one_has_proved_itself() {
        for settles in [true, false] {
            let (engine, fake, _folder) = refusing(vec![RUNNING]).await;
            let warnings = Arc::new(Warnings::default());
            let reporter = Reporter::new(vec![warnings.clone()], CancellationToken::new());
            let (manifest, plan) = (Manifest::default(), replacement(settles));
            let executed = execute(&engine, &manifest, &plan, &ExecuteOptions::default(), &reporter).await;
            let said = warnings.0.lock().unwrap().clone();
            match executed {
                Ok(report) if settles => {
                    assert_eq!(report.services[0].result, ServiceOutcome::Started);
                    assert_eq!(said, ["services-old-left"]);
                }
                Err(ServicesError::Failed { report, .. }) if !settles => {
                    assert_eq!(report.services[0].result, ServiceOutcome::Failed);
                    assert!(said.is_empty(), "{said:?}");
                }
                other => panic!("{settles}: {other:?}: {:?}", fake.requests()),
            }
        }
    }

    #[tokio::test]
    async fn a_removal_that_is_under_way_is_waited_for_and_a_refusal_is_an_error() {
        let (engine, fake, _folder) = refusing(vec![REMOVING, REMOVING, GONE]).await;
        engine.remove_container("old").await.unwrap();
        let looks = fake.requests().iter().filter(|request| request.contains(OLD)).count();
        assert_eq!(looks, 3, "{:?}", fake.requests());
        let (engine, _fake, _folder) = refusing(vec![REMOVING, RUNNING]).await;
        assert_eq!(engine.remove_container("old").await.unwrap_err().kind(), EngineErrorKind::Conflict);
    }

    #[tokio::test]
    async fn a_network_and_a_service_that_fail_in_one_run_are_counted_each_by_itself() {
        const REFUSED: Answer = Answer::Json(400, r#"{"message": "no"}"#);
        let folder = tempfile::tempdir().unwrap();
        let rules = vec![("POST", "/networks/create", REFUSED), ("POST", "/containers/new/start", REFUSED)];
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let network = Step {
            id: 2,
            service: None,
            number: None,
            operation: Operation::CreateNetwork { key: "default".to_owned(), name: "p_default".to_owned() },
            cause: Cause::Missing,
            after: Vec::new(),
            undo: Vec::new(),
            commits: false,
        };
        let mut plan = replacement(true);
        plan.steps.push(network);
        let reporter = Reporter::new(Vec::new(), CancellationToken::new());
        let executed = execute(&engine, &Manifest::default(), &plan, &ExecuteOptions::default(), &reporter).await;
        let error = executed.unwrap_err();
        assert_eq!(english(&error.message()), "1 service and 1 network or volume failed", "{:?}", fake.requests());
    }

    #[test]
    fn only_a_new_container_is_said_to_be_left() {
        let container = || "p-a-1".to_owned();
        let said = |way_back, was_up| left_by(&way_back, was_up).map(|error| english(&error.message()));
        let down = || WayBack::Down { container: container(), error: None };
        assert_eq!(said(down(), false), None, "it did not run before either");
        assert_eq!(said(WayBack::PutBack, true), None);
        for way_back in [down(), WayBack::Failed { container: container(), error: None }] {
            let said = said(way_back, true).unwrap();
            assert_eq!(said, "another step failed, and the old container did not come back");
        }
        let left = WayBack::Left { container: container(), error: StepError::NotBegun };
        assert_eq!(said(left, true).unwrap(), "the new container could not be removed: p-a-1 is left");
    }
}
