//! Waiting until a container is what its dependents need: one deadline, the freshest state only.
//!
//! Each way of proof has a file of its own. Whatever is waited for, a container that ends, or restarts again and again,
//! fails at once.

mod health;
mod http;
mod inside;
mod log;
mod running_for;
mod tcp;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use crate::services::snapshot::reach::Reach;

use crate::engine::{ContainerState, ContainerView, Engine, EngineError};
use crate::report::{Message, Reporter, Told as _};
use crate::services::error::{Exit, NotReady};
use crate::services::plan::Until;
use crate::services::run::outage::OutageWait;
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::ends_as_job;

/// So many restarts by the engine while it is waited for are a loop; one or two may be a dependency that was late.
const LOOP: u64 = 3;

/// A container that is waited for.
pub(super) struct Wait<'a> {
    pub engine: &'a Engine,
    pub id: &'a str,
    pub name: &'a str,
    pub until: &'a Until,
    pub timeout: Duration,
    pub reach: &'a Reach,
    pub outage: &'a OutageWait<'a>,
    pub helpers: &'a Helpers<'a>,
    /// Whose wish to stop ends the wait; nobody's where something has to be brought to its end.
    pub interrupted_by: Option<&'a Reporter>,
}

/// What one look at a container shows.
pub(super) enum Look {
    Ready,
    /// It has ended well, and nothing is to start it again: a job that is done.
    Done,
    /// Why not yet.
    NotYet(Message),
}

/// What looks, and what it remembers from one look to the next.
enum Probe<'a> {
    Running(running_for::Steady),
    Healthy(health::Check),
    Tcp(u16, inside::Inside<'a>),
    Http(crate::manifest::model::HttpProbe, inside::Inside<'a>),
    Log(log::Search),
    Completed,
}

impl Probe<'_> {
    fn of(until: &Until) -> Result<Self, NotReady> {
        Ok(match until {
            Until::Running(period) => Self::Running(running_for::Steady::new(period.0)),
            Until::Healthy => Self::Healthy(health::Check::default()),
            Until::Tcp(port) => Self::Tcp(*port, inside::Inside::default()),
            Until::Http(probe) => Self::Http(probe.clone(), inside::Inside::default()),
            Until::Log(pattern) => Self::Log(log::Search::new(pattern)?),
            Until::Completed => Self::Completed,
        })
    }

    /// When to look again, where nothing can be ready before.
    fn earliest(&self) -> Option<Instant> {
        match self {
            Self::Running(steady) => steady.end(),
            Self::Healthy(check) => check.next(),
            _ => None,
        }
    }
}

impl<'a> Wait<'a> {
    /// Returns when the container is ready, or when it is certain that it won't be.
    pub async fn run(&self) -> Result<(), NotReady> {
        let mut probe = Probe::of(self.until)?;
        let result = self.watch(&mut probe).await;
        if let Probe::Tcp(_, inside) | Probe::Http(_, inside) = probe {
            inside.end().await;
        }
        result
    }

    async fn watch(&self, probe: &mut Probe<'a>) -> Result<(), NotReady> {
        let begun = Instant::now();
        let mut deadline = begun + self.timeout;
        let mut restarts = Restarts::default();
        let mut last = message!("look-nothing-seen");
        let mut was_engine_away = false;
        loop {
            match tokio::time::timeout_at(deadline, self.look(probe, &mut restarts)).await {
                Ok(Ok(Look::Ready)) => return Ok(()),
                Ok(Ok(Look::NotYet(why))) => last = why,
                // The time for which the engine is away says nothing about the container, and does not count.
                Ok(Err(NotReady::Engine(error))) => {
                    let since = Instant::now();
                    if !self.outage.outlasts(&error).await {
                        return Err(error.into());
                    }
                    last = error.cause().clone();
                    was_engine_away = true;
                    deadline += since.elapsed();
                }
                // It went down with the engine, which says nothing about it; one without a restart policy stays down.
                Ok(Ok(Look::Done) | Err(NotReady::Ended { .. })) if was_engine_away => {
                    was_engine_away = false;
                    self.outage.call(|| self.engine.start_container(self.id)).await?;
                }
                Ok(Ok(Look::Done)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(NotReady::TimedOut { container: self.name.to_owned(), waited: self.timeout, last });
            }
            self.pause(begun, deadline, probe.earliest()).await?;
        }
    }

    async fn look(&self, probe: &mut Probe<'a>, restarts: &mut Restarts) -> Result<Look, NotReady> {
        let Some(view) = self.engine.inspect_container(self.id).await? else {
            return Err(NotReady::Gone { container: self.name.to_owned() });
        };
        if let Probe::Completed = probe {
            return self.completed(&view);
        }
        restarts.note(self.name, &view)?;
        match view.state {
            ContainerState::Exited if matches!(probe, Probe::Running(_)) && ends_as_job(&view) => Ok(Look::Done),
            ContainerState::Exited | ContainerState::Dead => Err(self.ended(&view)),
            ContainerState::Running => {
                let looked = match probe {
                    Probe::Running(steady) => Ok(steady.look(&view)),
                    Probe::Healthy(check) => check.look(self.name, &view),
                    Probe::Tcp(port, inside) => tcp::look(self, &view, *port, inside).await,
                    Probe::Http(probe, inside) => http::look(self, &view, probe, inside).await,
                    Probe::Log(search) => search.look(self, &view).await,
                    Probe::Completed => self.completed(&view),
                };
                match looked {
                    Err(NotReady::Engine(error)) if !error.is_unreachable() => {
                        self.unless_it_went_down(error, &view, restarts).await
                    }
                    looked => looked,
                }
            }
            state => Ok(Look::NotYet(message!("look-state", state = state.message()))),
        }
    }

    /// No program runs in a container that has just ended, or is about to be started again: then its end counts, which the
    /// next look tells, and not what the engine says of the program.
    async fn unless_it_went_down(
        &self,
        error: EngineError,
        before: &ContainerView,
        restarts: &mut Restarts,
    ) -> Result<Look, NotReady> {
        let Some(view) = self.engine.inspect_container(self.id).await? else {
            return Err(NotReady::Gone { container: self.name.to_owned() });
        };
        restarts.note(self.name, &view)?;
        if view.state == ContainerState::Running && view.started_at == before.started_at {
            return Err(error.into());
        }
        Ok(Look::NotYet(message!("look-state", state = view.state.message())))
    }

    fn completed(&self, view: &ContainerView) -> Result<Look, NotReady> {
        match view.state {
            ContainerState::Exited if view.exit_code == 0 => Ok(Look::Ready),
            ContainerState::Exited | ContainerState::Dead => Err(self.ended(view)),
            state => Ok(Look::NotYet(message!("look-state", state = state.message()))),
        }
    }

    fn ended(&self, view: &ContainerView) -> NotReady {
        NotReady::Ended { container: self.name.to_owned(), exit: exit(view) }
    }

    /// Looks often at first, when most containers become ready, and less often later.
    async fn pause(&self, begun: Instant, deadline: Instant, earliest: Option<Instant>) -> Result<(), NotReady> {
        let pause = match begun.elapsed() {
            waited if waited < Duration::from_secs(2) => Duration::from_millis(50),
            waited if waited < Duration::from_secs(10) => Duration::from_millis(200),
            _ => Duration::from_millis(500),
        };
        // A look that can't be the last one only costs the engine time, of which others have need just then.
        let until = earliest.unwrap_or(Instant::now() + pause).min(deadline);
        match self.interrupted_by {
            None => tokio::time::sleep_until(until).await,
            Some(reporter) => tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = reporter.stop_asked() => {
                    return Err(NotReady::Interrupted { container: self.name.to_owned() });
                }
            },
        }
        Ok(())
    }
}

fn exit(view: &ContainerView) -> Exit {
    Exit { code: view.exit_code, out_of_memory: view.oom_killed }
}

/// How often the engine has brought the container back since it is waited for.
#[derive(Debug, Default)]
struct Restarts {
    before: Option<u64>,
    last_exit: Option<Exit>,
}

impl Restarts {
    fn note(&mut self, name: &str, view: &ContainerView) -> Result<(), NotReady> {
        if view.state == ContainerState::Restarting {
            self.last_exit = Some(exit(view));
        }
        let before = *self.before.get_or_insert(view.restart_count);
        let restarts = view.restart_count.saturating_sub(before);
        if restarts < LOOP {
            return Ok(());
        }
        let exit = self.last_exit.unwrap_or_else(|| exit(view));
        Err(NotReady::RestartLoop { container: name.to_owned(), restarts: view.restart_count, exit })
    }
}

/// What a failed container said last.
pub(super) async fn last_words(engine: &Engine, id: &str) -> Result<Vec<String>, EngineError> {
    use futures::StreamExt;

    let query = crate::engine::LogQuery { tail: Some(LAST_LINES), timestamps: true, ..Default::default() };
    let mut lines = crate::services::container::log_lines::Lines::default();
    let mut found = Vec::new();
    let mut log = std::pin::pin!(engine.logs(id, &query));
    while let Some(piece) = log.next().await {
        found.extend(lines.feed(piece?));
    }
    found.extend(lines.finish());
    Ok(found.into_iter().map(|line| line.text).collect())
}

const LAST_LINES: u64 = 15;
