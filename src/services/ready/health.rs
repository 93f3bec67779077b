//! The engine's health check.

use jiff::Timestamp;

use super::Look;
use crate::engine::{ContainerView, HealthState};
use crate::services::error::NotReady;

/// Ready when healthy, by a check that began after the container's last start: right after a restart the engine can
/// still show the state from before.
pub(super) fn look(name: &str, view: &ContainerView) -> Result<Look, NotReady> {
    match view.health {
        // The plan expected a check, and the container has none: running is all that there is.
        HealthState::None => Ok(Look::Ready),
        HealthState::Healthy if is_fresh(view) => Ok(Look::Ready),
        HealthState::Unhealthy if is_fresh(view) => Err(NotReady::Unhealthy { container: name.to_owned() }),
        HealthState::Starting | HealthState::Healthy | HealthState::Unhealthy => {
            let last = view.health_log.last().filter(|_| is_fresh(view));
            Ok(Look::NotYet(match last {
                Some(entry) => format!("its health check ends with exit code {}", entry.exit_code),
                None => "its health check has not run yet".to_owned(),
            }))
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

    #[test]
    fn a_state_from_before_the_restart_does_not_count() {
        let (before, start, after) =
            ("2024-05-01T18:00:00.1+08:00", "2024-05-01T10:00:00.2Z", "2024-05-01T18:00:00.3+08:00");
        assert!(matches!(look("c", &view(HealthState::Healthy, start, before)), Ok(Look::NotYet(_))));
        assert!(matches!(look("c", &view(HealthState::Unhealthy, start, before)), Ok(Look::NotYet(_))));
        assert!(matches!(look("c", &view(HealthState::Healthy, start, after)), Ok(Look::Ready)));
        assert!(matches!(look("c", &view(HealthState::Unhealthy, start, after)), Err(NotReady::Unhealthy { .. })));
        assert!(matches!(look("c", &view(HealthState::Starting, start, after)), Ok(Look::NotYet(_))));
    }
}
