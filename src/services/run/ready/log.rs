//! A line of the log that matches, written since the container's last start.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use regex::Regex;

use super::{Look, Wait};
use crate::engine::{ContainerView, EngineError, LogLine, LogQuery};
use crate::services::container::log_lines::Lines;
use crate::services::error::NotReady;

/// How long one look listens before the container's state is looked at again.
const LISTEN: Duration = Duration::from_millis(250);

/// Follows the log from one look to the next.
pub(super) struct Search {
    pattern: Regex,
    open: Option<Open>,
}

struct Open {
    /// The start whose log it is, as the engine writes it.
    started_at: String,
    log: Pin<Box<dyn Stream<Item = Result<LogLine, EngineError>> + Send>>,
    lines: Lines,
}

impl Search {
    pub fn new(pattern: &str) -> Result<Self, NotReady> {
        let compiled =
            Regex::new(pattern).map_err(|source| NotReady::Pattern { pattern: pattern.to_owned(), source })?;
        Ok(Self { pattern: compiled, open: None })
    }

    pub async fn look(&mut self, wait: &Wait<'_>, view: &ContainerView) -> Result<Look, NotReady> {
        let begin = begin_of_run(view);
        if self.open.as_ref().is_none_or(|open| open.started_at != view.started_at) {
            // The engine counts in whole seconds here; lines of an earlier run are left out by their own time.
            let query = LogQuery {
                follow: true,
                since: begin.map(Timestamp::as_second),
                timestamps: true,
                ..LogQuery::default()
            };
            let log = Box::pin(wait.engine.logs(wait.id, &query));
            self.open = Some(Open { started_at: view.started_at.clone(), log, lines: Lines::default() });
        }
        let Some(open) = &mut self.open else {
            return Ok(Look::NotYet(message!("look-log-closed")));
        };
        let listened = tokio::time::timeout(LISTEN, async {
            while let Some(piece) = open.log.next().await {
                let lines = open.lines.feed(piece?);
                let is_new = |time: Option<Timestamp>| time.is_none_or(|time| begin.is_none_or(|begin| time > begin));
                if lines.iter().any(|line| is_new(line.time) && self.pattern.is_match(&line.text)) {
                    return Ok(true);
                }
            }
            Ok::<bool, EngineError>(false)
        })
        .await;
        match listened {
            Ok(Ok(true)) => return Ok(Look::Ready),
            // The log has ended, and with it the container's run: another look opens the next one.
            Ok(Ok(false)) => self.open = None,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {}
        }
        Ok(Look::NotYet(message!("look-no-line", pattern = self.pattern)))
    }
}

/// After this moment a line belongs to the present run: the end of the one before. Not the present one's start: the engine
/// notes that when the process runs already, and may have said that it is ready. `None` for a first run.
fn begin_of_run(view: &ContainerView) -> Option<Timestamp> {
    let ended: Timestamp = view.finished_at.parse().ok()?;
    (ended > Timestamp::UNIX_EPOCH).then_some(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_begins_at_the_end_of_the_one_before() {
        let view = |finished_at: &str| ContainerView {
            started_at: "2026-01-01T00:00:05Z".to_owned(),
            finished_at: finished_at.to_owned(),
            ..ContainerView::default()
        };
        assert_eq!(begin_of_run(&view("0001-01-01T00:00:00Z")), None);
        assert_eq!(begin_of_run(&view("2026-01-01T00:00:01.5Z")), "2026-01-01T00:00:01.5Z".parse().ok());
    }
}
