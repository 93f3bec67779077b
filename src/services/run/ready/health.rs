//! The engine's health check.

use jiff::Timestamp;

use super::Look;
use super::running_for::Steady;
use crate::engine::{ContainerView, HealthState};
use crate::services::error::NotReady;
use crate::services::plan::STEADY_REPLACEMENT;

/// What is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Check {
    /// What counts where the plan expected a check and the container has none.
    steady: Steady,
    /// Of an unhealthy container that nobody has waited for so far: the start of the check that called it so.
    before: Option<Option<String>>,
}

impl Default for Check {
    fn default() -> Self {
        Self { steady: Steady::new(STEADY_REPLACEMENT), before: None }
    }
}

impl Check {
    /// Ready when healthy, by a check that began after the container's last start: right after a restart the engine can
    /// still show the state from before. A container that is unhealthy when the wait begins, perhaps because it was
    /// paused, gets one more check.
    pub fn look(&mut self, name: &str, view: &ContainerView) -> Result<Look, NotReady> {
        let is_fresh = is_fresh(view);
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
                Some(entry) => format!("its health check ends with exit code {}", entry.exit_code),
                None => "its health check has not run yet".to_owned(),
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
    use crate::engine::HealthEntry;

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
}
