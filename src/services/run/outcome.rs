//! What a run came to, service by service.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::executor::State;
use crate::services::plan::{Operation, Plan, Step};
use crate::services::reports::{ServiceOutcome, ServiceResult, ServicesReport};

/// When each service's work began and ended.
#[derive(Debug)]
pub(super) struct Outcomes<'a> {
    services: Vec<&'a str>,
    times: BTreeMap<String, (Instant, Instant)>,
}

impl<'a> Outcomes<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Self { services: plan.services(), times: BTreeMap::new() }
    }

    pub fn began(&mut self, step: &Step) {
        if let Some(service) = &step.service {
            let now = Instant::now();
            self.times.entry(service.clone()).or_insert((now, now));
        }
    }

    pub fn ended(&mut self, step: &Step) {
        if let Some((_, end)) = step.service.as_ref().and_then(|service| self.times.get_mut(service)) {
            *end = Instant::now();
        }
    }

    pub fn failed(&mut self, step: &Step) {
        self.ended(step);
    }

    pub fn report(&self, plan: &Plan, states: &[State]) -> ServicesReport {
        let services = self.services.iter().map(|name| {
            let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.service.as_deref() == Some(*name)).collect();
            let spent = self.times.get(*name).map(|(begin, end)| end.duration_since(*begin)).unwrap_or_default();
            ServiceResult {
                name: (*name).to_owned(),
                result: outcome(&steps, states),
                cause: steps.first().map(|step| step.cause.to_string()).unwrap_or_default(),
                milliseconds: spent.as_millis() as u64,
            }
        });
        let resources = plan.steps.iter().filter(|step| states[step.id] == State::Done).filter_map(|step| match &step
            .operation
        {
            Operation::CreateNetwork { name, .. } | Operation::RemoveNetwork { name } => {
                Some(format!("network {name}"))
            }
            Operation::CreateVolume { name, .. } | Operation::RemoveVolume { name } => Some(format!("volume {name}")),
            _ => None,
        });
        ServicesReport {
            project: plan.project.clone(),
            action: plan.action,
            services: services.collect(),
            resources: resources.collect(),
            engine_was_away: false,
        }
    }
}

fn outcome(steps: &[&Step], states: &[State]) -> ServiceOutcome {
    let any = |state| steps.iter().any(|step| states[step.id] == state);
    if any(State::Failed) {
        return ServiceOutcome::Failed;
    }
    if any(State::Skipped) {
        let changes = |state| {
            let mut changes = steps.iter().filter(|step| !matches!(step.operation, Operation::WaitReady { .. }));
            changes.any(|step| states[step.id] == state)
        };
        return match (changes(State::Done), changes(State::Skipped)) {
            (false, _) => ServiceOutcome::Skipped,
            (true, true) => ServiceOutcome::Partly,
            (true, false) => ServiceOutcome::Unproven,
        };
    }
    let did = |wanted: fn(&Operation) -> bool| steps.iter().any(|step| wanted(&step.operation));
    let created = did(|operation| matches!(operation, Operation::CreateContainer { .. }));
    if created && steps.iter().any(|step| step.commits) {
        ServiceOutcome::Recreated
    } else if created {
        ServiceOutcome::Created
    } else if did(|operation| matches!(operation, Operation::RestartContainer { .. })) {
        ServiceOutcome::Restarted
    } else if did(|operation| {
        matches!(operation, Operation::StartContainer { .. } | Operation::UnpauseContainer { .. })
    }) {
        ServiceOutcome::Started
    } else if did(|operation| matches!(operation, Operation::WaitReady { .. } | Operation::SetRestartPolicy { .. })) {
        ServiceOutcome::Waited
    } else if did(|operation| matches!(operation, Operation::RemoveContainer { .. })) {
        ServiceOutcome::Removed
    } else {
        ServiceOutcome::Stopped
    }
}
