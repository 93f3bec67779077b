//! A line of the log that matches, written since the container's last start.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use regex::Regex;

use super::{Look, Wait};
use crate::engine::{ContainerView, EngineError, LogLine, LogQuery};
use crate::services::error::NotReady;
use crate::services::lines::Lines;

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
        let started: Option<Timestamp> = view.started_at.parse().ok();
        if self.open.as_ref().is_none_or(|open| open.started_at != view.started_at) {
            // The engine counts in whole seconds here; lines from before the start are left out by their own time.
            let query = LogQuery {
                follow: true,
                since: started.map(Timestamp::as_second),
                timestamps: true,
                ..LogQuery::default()
            };
            let log = Box::pin(wait.engine.logs(wait.id, &query));
            self.open = Some(Open { started_at: view.started_at.clone(), log, lines: Lines::default() });
        }
        let Some(open) = &mut self.open else {
            return Ok(Look::NotYet("its log is not open".to_owned()));
        };
        let listened = tokio::time::timeout(LISTEN, async {
            while let Some(piece) = open.log.next().await {
                let lines = open.lines.feed(piece?);
                let is_new =
                    |time: Option<Timestamp>| time.is_none_or(|time| started.is_none_or(|start| time >= start));
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
        Ok(Look::NotYet(format!("no line of its log matches `{}`", self.pattern)))
    }
}
