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
use crate::engine::Engine;
use crate::manifest::Manifest;
use crate::report::{Reporter, in_one_line};
use crate::services::error::{NotReady, ServiceFailure, ServicesError, StepError, WayBack};
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
    // Looked at when the snapshot was taken. One more than the processors, since a swap waits for disks and processes as well.
    let cpus = engine.facts().await.map_or(1, |facts| facts.cpus);
    let at_once = (options.parallel, usize::try_from(cpus).map_or(2, |cpus| cpus.saturating_add(1)));
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

    /// Leaves a step out; what was begun in its place is taken back.
    fn skip(&mut self, step: &Step) {
        let undo = self.undo_log.take_undo(step);
        if undo.is_empty() {
            self.states[step.id] = State::Skipped;
            return;
        }
        for earlier in self.plan.steps.iter().filter(|other| other.is_in_the_place_of(step)) {
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
        if self.is_proved(step) && matches!(step.operation, Operation::RemoveContainer { .. }) {
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

    /// Whether the new container of the step's place has proved itself.
    fn is_proved(&self, step: &Step) -> bool {
        let of_place = self.plan.steps.iter().filter(|other| other.is_in_the_place_of(step));
        of_place.filter(|other| other.commits).any(|other| self.states[other.id] == State::Done)
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
                // Nothing failed but the way back itself.
                None => match way_back {
                    WayBack::NotNeeded | WayBack::PutBack => None,
                    WayBack::Down { .. } if !performer.was_up(&undo) => None,
                    way_back => {
                        let container = way_back.container().unwrap_or("none").to_owned();
                        Some((StepError::LeftBehind { container }, way_back))
                    }
                },
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
