//! A service on which a plan failed: the error, what became of its old container, and what its container said last.

use super::in_one_line;
use super::not_ready::NotReady;
use super::step::StepError;
use crate::report::Message;

/// What became of the container that was to be replaced.
#[derive(Debug)]
pub enum WayBack {
    /// Nothing had been taken away.
    NotNeeded,
    /// It is there again, as it was.
    PutBack,
    /// It has its place again, and does not run; `error` says why, where its start failed.
    Down { container: String, error: Option<StepError> },
    /// It has its place again and runs, and its health check fails.
    Unhealthy { container: String },
    /// It has its place again and runs; its health check has not answered yet.
    Starting { container: String },
    /// It could not be put back: what it is called now, and why.
    Failed { container: String, error: Option<StepError> },
    /// Nothing is missing of what was there, and the new container could not be put away.
    Left { container: String, error: StepError },
    /// Somebody removed it meanwhile: the new one is left, where there is one.
    OldGone { left: Option<String> },
}

impl WayBack {
    fn line(&self) -> Option<Message> {
        let with_why = |message: Message, error: &Option<StepError>| match error {
            Some(error) => message!("because", what = message, why = in_one_line(error)),
            None => message,
        };
        Some(match self {
            Self::NotNeeded => return None,
            Self::PutBack => message!("way-back-done"),
            Self::Down { container, error } => with_why(message!("way-back-down", container = container), error),
            Self::Unhealthy { container } => message!("way-back-unhealthy", container = container),
            Self::Starting { container } => message!("way-back-starting", container = container),
            Self::Failed { container, error } => with_why(message!("way-back-failed", container = container), error),
            Self::Left { container, error } => {
                message!("because", what = message!("way-back-left", container = container), why = in_one_line(error))
            }
            Self::OldGone { left: Some(left) } => message!("way-back-old-gone", left = left),
            Self::OldGone { left: None } => message!("way-back-both-gone"),
        })
    }
}

/// A service on which the plan failed.
#[derive(Debug)]
pub struct ServiceFailure {
    /// Empty for networks and volumes.
    pub service: String,
    pub error: StepError,
    pub way_back: WayBack,
    /// The last lines of the failed container's log, secrets masked.
    pub log: Vec<String>,
    /// What its health check said last, secrets masked.
    pub health: Vec<String>,
}

impl ServiceFailure {
    /// What to do, where the error itself has no advice.
    pub(super) fn hint(&self) -> Option<Message> {
        let shows_in_its_log = matches!(
            self.error,
            StepError::NotReady(
                NotReady::Ended { .. }
                    | NotReady::RestartLoop { .. }
                    | NotReady::Unhealthy { .. }
                    | NotReady::TimedOut { .. }
            )
        );
        match self.way_back {
            WayBack::NotNeeded if shows_in_its_log => Some(message!("hint-logs-of", service = self.service)),
            // Its log is that of the old container again.
            WayBack::PutBack | WayBack::Unhealthy { .. } | WayBack::Starting { .. }
                if matches!(self.error, StepError::NotReady(_) | StepError::Engine(_)) =>
            {
                Some(message!("hint-replacement-failed", service = self.service))
            }
            _ => None,
        }
    }

    pub(super) fn lines(&self) -> Vec<(usize, Message)> {
        let error = in_one_line(&self.error);
        let headline = match self.service.as_str() {
            "" => error,
            service => message!("because", what = service, why = error),
        };
        let mut lines = vec![(0, headline)];
        lines.extend(self.health.iter().map(|line| (1, message!("failure-health-line", line = line))));
        lines.extend(self.log.iter().map(|line| (1, message!("failure-log-line", line = line))));
        lines.extend(self.way_back.line().map(|line| (1, line)));
        lines
    }
}
