//! What a container is waited for, how long, and what the snapshot already answers.

use std::time::Duration;

use super::ServicePlan;
use crate::engine::{ContainerState, HealthState};
use crate::manifest::model::{Period, ReadyProbe, Service};
use crate::services::plan::decide::has_ended_well;
use crate::services::plan::step::STEADY_REPLACEMENT;
use crate::services::plan::{PlanInput, Until};
use crate::services::snapshot::observed::ObservedContainer;

/// A first container without any proof of its own counts as started after so long: what can't work at all ends in the first moments, and nobody
/// wants to watch an idle engine for longer.
const STEADY_START: Duration = Duration::from_millis(250);

/// A probe that doesn't say how long it may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(120);
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
    if has_healthcheck(input, service) {
        return Until::Healthy;
    }
    match service.ready.as_ref().map(|ready| &ready.probe) {
        Some(ReadyProbe::Tcp(port)) => Until::Tcp(*port),
        Some(ReadyProbe::Http(probe)) => Until::Http(probe.clone()),
        Some(ReadyProbe::Log(pattern)) => Until::Log(pattern.clone()),
        Some(ReadyProbe::RunningFor(period)) => Until::Running(*period),
        Some(ReadyProbe::Completed(_)) => Until::Completed,
        None => Until::Running(Period(if is_replacement { STEADY_REPLACEMENT } else { STEADY_START })),
    }
}

/// Whether containers of the service have a health check: the manifest's, or the image's.
fn has_healthcheck(input: &PlanInput, service: &Service) -> bool {
    let from_image = || input.snapshot.image(&service.image).is_some_and(|image| image.healthcheck.is_some());
    match &service.healthcheck {
        Some(check) if check.is_off() => false,
        // Without a test of its own it only changes the times of the image's.
        Some(check) if check.test.is_empty() => from_image(),
        Some(_) => true,
        None => from_image(),
    }
}

/// Whether nothing of the manifest or the image proves that the service is up.
pub(in crate::services::plan) fn has_no_check(input: &PlanInput, service: &Service) -> bool {
    service.ready.is_none() && !has_healthcheck(input, service)
}

/// How long that may take.
pub(super) fn timeout(input: &PlanInput, service_plan: &ServicePlan, until: &Until) -> Period {
    if let Some(timeout) = input.request.options.wait_timeout {
        return Period(timeout);
    }
    let stated = service_plan.service.ready.as_ref().and_then(|ready| ready.timeout);
    let timeout = match until {
        Until::Healthy => stated.map_or_else(|| health_timeout(input, service_plan.service), |stated| stated.0),
        Until::Completed => stated.map_or(COMPLETION_TIMEOUT, |stated| stated.0),
        Until::Running(period) => stated.map_or(PROBE_TIMEOUT, |stated| stated.0).max(period.0 * 2),
        Until::Tcp(_) | Until::Http(_) | Until::Log(_) => stated.map_or(PROBE_TIMEOUT, |stated| stated.0),
    };
    Period(timeout)
}

/// The latest moment at which the engine itself must have called it unhealthy, and some slack. Each time that the
/// manifest does not set is the image's, as the engine merges them (moby, daemon/commit.go).
fn health_timeout(input: &PlanInput, service: &Service) -> Duration {
    let check = service.healthcheck.clone().unwrap_or_default();
    let image = input.snapshot.image(&service.image).and_then(|image| image.healthcheck).unwrap_or_default();
    let time = |stated: Option<Period>, of_image: Duration, otherwise: Duration| match stated {
        Some(stated) => stated.0,
        None if of_image.is_zero() => otherwise,
        None => of_image,
    };
    let each =
        time(check.interval, image.interval, ENGINE_INTERVAL) + time(check.timeout, image.timeout, ENGINE_TIMEOUT);
    let start = time(check.start_period, image.start_period, Duration::ZERO);
    let retries = check.retries.or(Some(image.retries)).filter(|retries| *retries > 0).unwrap_or(ENGINE_RETRIES);
    (start + each * retries).max(Duration::from_secs(60)) + Duration::from_secs(30)
}

/// Whether an untouched container is known to meet this already.
pub(super) fn is_met(seen: &ObservedContainer, until: &Until) -> bool {
    match until {
        Until::Completed => has_ended_well(seen),
        Until::Healthy => seen.view.state == ContainerState::Running && seen.view.health == HealthState::Healthy,
        Until::Running(_) => seen.view.state == ContainerState::Running,
        Until::Tcp(_) | Until::Http(_) | Until::Log(_) => false,
    }
}
