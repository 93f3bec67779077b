//! The engine's health check.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Look;
use super::running_for::Steady;
use crate::engine::{ContainerView, HealthState};
use crate::services::error::NotReady;
use crate::services::plan::STEADY_REPLACEMENT;

/// What ends or restarts before its first check is told soon.
const BETWEEN: Duration = Duration::from_millis(250);

/// The engine's own, where neither manifest nor image says ("Dockerfile reference", HEALTHCHECK).
const ENGINE_INTERVAL: Duration = Duration::from_secs(30);

/// What is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Check {
    /// What counts where the plan expected a check and the container has none.
    steady: Steady,
    /// Before this the engine runs no check.
    first: Option<Instant>,
    /// Of an unhealthy container that nobody has waited for so far: the start of the check that called it so.
    before: Option<Option<String>>,
}

impl Default for Check {
    fn default() -> Self {
        Self { steady: Steady::new(STEADY_REPLACEMENT), first: None, before: None }
    }
}

impl Check {
    /// When to look again, where a look before can't show anything but an end. Each costs the engine time, of which the
    /// starts of other containers have need.
    pub fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.first.filter(|first| *first > now).map(|first| first.min(now + BETWEEN))
    }

    /// Ready when healthy, by a check that began after the container's last start: right after a restart the engine can
    /// still show the state from before. A container that is unhealthy when the wait begins, perhaps because it was
    /// paused, gets one more check.
    pub fn look(&mut self, name: &str, view: &ContainerView) -> Result<Look, NotReady> {
        let is_fresh = is_fresh(view);
        self.first = match view.healthcheck {
            _ if is_fresh => None,
            // In a start period newer engines look at times of their own.
            Some(times) if times.start_period.is_zero() => {
                let interval = if times.interval.is_zero() { ENGINE_INTERVAL } else { times.interval };
                Some(self.first.unwrap_or_else(|| Instant::now() + interval))
            }
            _ => None,
        };
        let last = view.health_log.last().filter(|_| is_fresh);
        let is_unhealthy = view.health == HealthState::Unhealthy && is_fresh;
        let before =
            self.before.get_or_insert_with(|| last.filter(|_| is_unhealthy).map(|last| last.started_at.clone()));
        let is_news = last.map(|last| &last.started_at) != before.as_ref();
        match view.health {
            HealthState::None => Ok(self.steady.look(view)),
            HealthState::Healthy if is_fresh => Ok(Look::Ready),
            HealthState::Unhealthy if is_fresh && is_news => Err(NotReady::Unhealthy { container: name.to_owned() }),
            HealthState::Starting | HealthState::Healthy | HealthState::Unhealthy => Ok(Look::NotYet(match last {
                Some(entry) => message!("look-health-failing", code = entry.exit_code),
                None => message!("look-health-not-run"),
            })),
        }
    }
}

fn is_fresh(view: &ContainerView) -> bool {
    let Some(last) = view.health_log.last() else {
        return false;
    };
    match (last.started_at.parse::<Timestamp>(), view.started_at.parse::<Timestamp>()) {
        (Ok(checked), Ok(started)) => checked >= started,
        // Times that can't be read can't speak against the engine's word.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{HealthEntry, HealthTimes};

    fn view(health: HealthState, started_at: &str, checked_at: &str) -> ContainerView {
        let entry = HealthEntry { started_at: checked_at.to_owned(), exit_code: 1, output: String::new() };
        ContainerView { health, started_at: started_at.to_owned(), health_log: vec![entry], ..ContainerView::default() }
    }

    fn look(view: &ContainerView) -> Result<Look, NotReady> {
        let mut check = Check { before: Some(None), ..Check::default() };
        check.look("c", view)
    }

    #[test]
    fn a_state_from_before_the_restart_does_not_count() {
        let (before, start, after) =
            ("2024-05-01T18:00:00.1+08:00", "2024-05-01T10:00:00.2Z", "2024-05-01T18:00:00.3+08:00");
        assert!(matches!(look(&view(HealthState::Healthy, start, before)), Ok(Look::NotYet(_))));
        assert!(matches!(look(&view(HealthState::Unhealthy, start, before)), Ok(Look::NotYet(_))));
        assert!(matches!(look(&view(HealthState::Healthy, start, after)), Ok(Look::Ready)));
        assert!(matches!(look(&view(HealthState::Unhealthy, start, after)), Err(NotReady::Unhealthy { .. })));
        assert!(matches!(look(&view(HealthState::Starting, start, after)), Ok(Look::NotYet(_))));
    }

    #[test]
    fn before_the_first_check_of_a_container_it_is_looked_at_seldom() {
        let times = |interval, start_period| HealthTimes { interval, start_period, ..HealthTimes::default() };
        let (second, long) = (Duration::from_secs(1), Duration::from_secs(3600));
        let next = |check: &mut Check, view: &ContainerView| {
            assert!(matches!(check.look("c", view), Ok(Look::NotYet(_))));
            check.next().map(|next| next - Instant::now())
        };
        let fresh = |times| {
            let health = HealthState::Starting;
            ContainerView { health, healthcheck: Some(times), ..ContainerView::default() }
        };
        let mut check = Check::default();
        assert!(next(&mut check, &fresh(times(long, Duration::ZERO))).unwrap() <= BETWEEN);
        // The time counts from the first look.
        let first = check.first;
        next(&mut check, &fresh(times(long, Duration::ZERO)));
        assert_eq!(check.first, first);
        check.first = Some(Instant::now());
        assert_eq!(next(&mut check, &fresh(times(long, Duration::ZERO))), None, "it may be the last look from now on");
        // In a start period newer engines look more often; after a check the next look may be the last one.
        assert_eq!(next(&mut Check::default(), &fresh(times(second, second))), None);
        let (start, now) = ("2024-05-01T10:00:00Z", "2024-05-01T12:00:00Z");
        let healthcheck = Some(times(long, Duration::ZERO));
        let checked = ContainerView { healthcheck, ..view(HealthState::Starting, start, now) };
        assert_eq!(next(&mut Check::default(), &checked), None);
    }

    #[test]
    fn what_is_unhealthy_when_the_wait_begins_gets_one_more_check() {
        let (start, then, now) = ("2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z");
        let mut check = Check::default();
        assert!(matches!(check.look("c", &view(HealthState::Unhealthy, start, then)), Ok(Look::NotYet(_))));
        assert!(matches!(check.look("c", &view(HealthState::Unhealthy, start, then)), Ok(Look::NotYet(_))));
        assert!(matches!(check.look("c", &view(HealthState::Unhealthy, start, now)), Err(NotReady::Unhealthy { .. })));
        let mut check = Check::default();
        assert!(matches!(check.look("c", &view(HealthState::Unhealthy, start, then)), Ok(Look::NotYet(_))));
        assert!(matches!(check.look("c", &view(HealthState::Healthy, start, now)), Ok(Look::Ready)));
        let mut check = Check::default();
        assert!(matches!(check.look("c", &view(HealthState::Starting, start, then)), Ok(Look::NotYet(_))));
        assert!(matches!(check.look("c", &view(HealthState::Unhealthy, start, now)), Err(NotReady::Unhealthy { .. })));
    }

    #[test]
    fn what_has_no_check_after_all_must_run_as_long_as_a_replacement_that_nothing_proves() {
        let started_at = "2024-05-01T10:00:00Z".to_owned();
        let unchecked = ContainerView { health: HealthState::None, started_at, ..ContainerView::default() };
        let mut check = Check::default();
        let Ok(Look::NotYet(why)) = check.look("c", &unchecked) else { panic!("running is no proof") };
        let why = crate::catalogue::english(&why);
        assert!(why.contains(&STEADY_REPLACEMENT.as_secs().to_string()), "{why}");
        // The same when that time is over.
        check.steady = Steady::new(Duration::ZERO);
        assert!(matches!(check.look("c", &unchecked), Ok(Look::Ready)));
    }
}
