//! What a container is waited for, how long, and what the snapshot already answers.

use std::time::Duration;

use super::ServicePlan;
use crate::engine::{ContainerState, HealthState};
use crate::manifest::model::{Healthcheck, ReadyProbe};
use crate::manifest::types::Period;
use crate::services::plan::decide::is_done;
use crate::services::plan::{PlanInput, Until};
use crate::services::snapshot::observed::ObservedContainer;

/// A replacement without any proof of its own must at least live so long before the old container goes.
const STEADY_REPLACEMENT: Duration = Duration::from_secs(2);
/// And anything else so long before it counts as started: what can't work at all ends in the first moments, and nobody
/// wants to watch an idle engine for longer.
const STEADY_START: Duration = Duration::from_millis(250);

/// A probe that doesn't say how long it may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(120);
/// A health check that the image brings: its times aren't known here, and the engine's word ends the wait earlier.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(300);
/// A one-shot service: migrations take their time.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What the engine does where a health check doesn't say ("Dockerfile reference", HEALTHCHECK).
const ENGINE_INTERVAL: Duration = Duration::from_secs(30);
const ENGINE_TIMEOUT: Duration = Duration::from_secs(30);
const ENGINE_RETRIES: u32 = 3;

/// How a service proves that it is up: a health check of the manifest or the image wins over `ready`; with neither,
/// running is enough.
pub(super) fn until(input: &PlanInput, service_plan: &ServicePlan, is_replacement: bool) -> Until {
    if service_plan.is_one_shot {
        return Until::Completed;
    }
    let service = service_plan.service;
    let from_image = || input.snapshot.image(&service.image).is_some_and(|image| image.has_healthcheck);
    let has_healthcheck = match &service.healthcheck {
        Some(check) if check.is_off() => false,
        // Without a test of its own it only changes the times of the image's.
        Some(check) if check.test.is_empty() => from_image(),
        Some(_) => true,
        None => from_image(),
    };
    if has_healthcheck {
        return Until::Healthy;
    }
    match service.ready.as_ref().map(|ready| &ready.probe) {
        Some(ReadyProbe::Tcp(port)) => Until::Tcp(*port),
        Some(ReadyProbe::Http(probe)) => Until::Http(probe.clone()),
        Some(ReadyProbe::Log(pattern)) => Until::Log(pattern.clone()),
        Some(ReadyProbe::RunningFor(period)) => Until::Running(*period),
        None => Until::Running(Period(if is_replacement { STEADY_REPLACEMENT } else { STEADY_START })),
    }
}

/// How long that may take.
pub(super) fn timeout(input: &PlanInput, service_plan: &ServicePlan, until: &Until) -> Period {
    if let Some(timeout) = input.request.options.wait_timeout {
        return Period(timeout);
    }
    let stated = service_plan.service.ready.as_ref().and_then(|ready| ready.timeout);
    let timeout = match until {
        Until::Healthy => service_plan.service.healthcheck.as_ref().map_or(HEALTH_TIMEOUT, health_timeout),
        Until::Completed => COMPLETION_TIMEOUT,
        Until::Running(period) => stated.map_or(PROBE_TIMEOUT, |stated| stated.0).max(period.0 * 2),
        Until::Tcp(_) | Until::Http(_) | Until::Log(_) => stated.map_or(PROBE_TIMEOUT, |stated| stated.0),
    };
    Period(timeout)
}

/// The latest moment at which the engine itself must have called it unhealthy, and some slack.
fn health_timeout(check: &Healthcheck) -> Duration {
    let or = |period: Option<Period>, otherwise| period.map_or(otherwise, |period| period.0);
    let each = or(check.interval, ENGINE_INTERVAL) + or(check.timeout, ENGINE_TIMEOUT);
    let start = or(check.start_period, Duration::ZERO);
    (start + each * check.retries.unwrap_or(ENGINE_RETRIES).max(1)).max(Duration::from_secs(60))
        + Duration::from_secs(30)
}

/// Whether an untouched container is known to meet this already.
pub(super) fn is_met(seen: &ObservedContainer, until: &Until) -> bool {
    match until {
        Until::Completed => is_done(seen),
        Until::Healthy => seen.view.state == ContainerState::Running && seen.view.health == HealthState::Healthy,
        Until::Running(_) => seen.view.state == ContainerState::Running,
        Until::Tcp(_) | Until::Http(_) | Until::Log(_) => false,
    }
}
