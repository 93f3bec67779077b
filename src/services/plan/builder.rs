//! Puts steps in order. A step only ever waits for steps before it, so no plan has a cycle.

use super::step::{After, AnonymousVolumes, Operation, Step, StepId, Target};
use super::{Cause, Expected, Plan, PlanInput, Warning};
use crate::manifest::model::RestartPolicy;
use crate::services::snapshot::observed::ObservedContainer;

/// A plan in the making.
#[derive(Debug, Default)]
pub(super) struct Builder {
    steps: Vec<Step>,
    warnings: Vec<Warning>,
    expected: Vec<Expected>,
}

impl Builder {
    pub fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// A step that belongs to no service.
    pub fn resource(&mut self, operation: Operation, cause: Cause, after: Vec<After>) -> StepId {
        self.push(None, None, operation, cause, after)
    }

    fn push(
        &mut self,
        service: Option<&str>,
        number: Option<u32>,
        operation: Operation,
        cause: Cause,
        mut after: Vec<After>,
    ) -> StepId {
        let id = self.steps.len();
        after.sort_by_key(|after| (after.step, after.whatever_comes_of_it));
        // Where one step is waited for twice, its success counts.
        after.dedup_by_key(|after| after.step);
        self.steps.push(Step {
            id,
            service: service.map(str::to_owned),
            number,
            operation,
            cause,
            after,
            undo: Vec::new(),
            commits: false,
        });
        id
    }

    /// The container as a step's target; the plan expects it as it is.
    pub fn target(&mut self, seen: &ObservedContainer) -> Target {
        let expected = Expected { id: seen.view.id.clone(), name: seen.view.name.clone(), is_up: seen.is_up() };
        if !self.expected.contains(&expected) {
            self.expected.push(expected);
        }
        Target { container: seen.view.name.clone(), id: Some(seen.view.id.clone()), made_by: None }
    }

    pub fn finish(self, input: &PlanInput) -> Plan {
        Plan {
            project: input.manifest.project.clone(),
            action: input.request.action,
            steps: self.steps,
            warnings: self.warnings,
            expected: self.expected,
        }
    }
}

/// Steps of one replica, one after the other.
pub(super) struct Chain<'b> {
    pub builder: &'b mut Builder,
    service: String,
    number: u32,
    cause: Cause,
    waits_for: Vec<After>,
    last: Option<StepId>,
}

impl<'b> Chain<'b> {
    pub fn new(builder: &'b mut Builder, service: &str, number: u32, cause: Cause) -> Self {
        Self { builder, service: service.to_owned(), number, cause, waits_for: Vec::new(), last: None }
    }

    /// The next step waits for these as well.
    pub fn wait_for(&mut self, after: &[After]) {
        self.waits_for.extend_from_slice(after);
    }

    /// The cause of the steps to come.
    pub fn cause_mut(&mut self) -> &mut Cause {
        &mut self.cause
    }

    /// The last step so far.
    pub fn last(&self) -> Option<StepId> {
        self.last
    }

    pub fn step(&mut self, operation: Operation) -> StepId {
        let mut after = std::mem::take(&mut self.waits_for);
        after.extend(self.last.map(must_succeed));
        let id = self.builder.push(Some(&self.service), Some(self.number), operation, self.cause.clone(), after);
        self.last = Some(id);
        id
    }

    /// What takes the last step back.
    pub fn undo(&mut self, operations: impl IntoIterator<Item = Operation>) {
        if let Some(last) = self.last {
            self.builder.steps[last].undo.extend(operations);
        }
    }

    /// The last step's success makes the chain so far final.
    pub fn commit(&mut self) {
        if let Some(last) = self.last {
            self.builder.steps[last].commits = true;
        }
    }

    /// Stops it where it runs, and removes it; its volumes stay.
    pub fn discard(&mut self, seen: &ObservedContainer) {
        let target = self.builder.target(seen);
        if seen.is_up() {
            self.step(Operation::StopContainer { target: target.clone() });
        }
        self.step(Operation::RemoveContainer { target, volumes: AnonymousVolumes::Keep });
    }
}

pub(super) fn must_succeed(step: StepId) -> After {
    After { step, whatever_comes_of_it: false }
}

pub(super) fn whatever_comes_of(step: StepId) -> After {
    After { step, whatever_comes_of_it: true }
}

/// What puts an old container back in its place: its name, its policy, and its life where it served.
pub(super) fn operations_that_restore(
    kept: &Target,
    name: &str,
    policy: RestartPolicy,
    served: bool,
) -> Vec<Operation> {
    let named = Target { container: name.to_owned(), ..kept.clone() };
    let mut operations = vec![
        Operation::RenameContainer { target: kept.clone(), to: name.to_owned() },
        Operation::SetRestartPolicy { target: named.clone(), policy },
    ];
    if served {
        operations.push(Operation::StartContainer { target: named });
    }
    operations
}
