//! Running for so long without a break.

use std::time::Duration;

use tokio::time::Instant;

use super::Look;
use crate::engine::ContainerView;

/// A long period is looked into so often.
const BETWEEN: Duration = Duration::from_millis(500);

/// Counts from the moment at which a start was first seen; another start starts over. The engine's clock is not asked:
/// it may be another machine's.
#[derive(Debug)]
pub(super) struct Steady {
    period: Duration,
    start: Option<(String, Instant)>,
}

impl Steady {
    pub fn new(period: Duration) -> Self {
        Self { period, start: None }
    }

    /// When to look again: as the period that counts now ends; `None` where none counts, or it is over.
    pub fn end(&self) -> Option<Instant> {
        // A long one is looked at in between: what ends or restarts meanwhile is told soon.
        let now = Instant::now();
        let end = self.start.as_ref().map(|(_, since)| (*since + self.period).min(now + BETWEEN))?;
        (end > now).then_some(end)
    }

    pub fn look(&mut self, view: &ContainerView) -> Look {
        let since = match &self.start {
            Some((start, since)) if *start == view.started_at => *since,
            _ => {
                let now = Instant::now();
                self.start = Some((view.started_at.clone(), now));
                now
            }
        };
        if since.elapsed() >= self.period {
            return Look::Ready;
        }
        Look::NotYet(message!("look-too-short", seconds = self.period.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started_at(time: &str) -> ContainerView {
        ContainerView { started_at: time.to_owned(), ..ContainerView::default() }
    }

    #[test]
    fn no_period_is_met_at_once() {
        assert!(matches!(Steady::new(Duration::ZERO).look(&started_at("a")), Look::Ready));
    }

    #[tokio::test]
    async fn another_start_starts_over() {
        let mut steady = Steady::new(Duration::from_secs(3600));
        assert!(matches!(steady.look(&started_at("a")), Look::NotYet(_)));
        let hour_ago = Instant::now().checked_sub(Duration::from_secs(3600)).expect("the machine runs for longer");
        steady.start = Some(("a".to_owned(), hour_ago));
        assert!(matches!(steady.look(&started_at("b")), Look::NotYet(_)));
        steady.start = Some(("b".to_owned(), hour_ago));
        assert!(matches!(steady.look(&started_at("b")), Look::Ready));
    }
}
