//! The lock on the engine: how a session asks for it, and `lock status` and `lock release`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::LockCommand;
use super::failure::Failure;
use super::output::Output;
use super::prompt;
use super::session::{Project, Session};
use crate::catalogue::Catalogue;
use crate::engine::{LockNews, LockRequest, LockTiming};
use crate::manifest::types::{InvalidValue, Period};
use crate::report::Message;
use crate::state::{Holder, at_work};

/// What `lock status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockReport {
    /// Who is at work from this machine; absent when nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<LockHolder>,
    /// Who holds the lock on the engine; absent when nobody does, or nobody has changed anything yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<LockHolder>,
}

/// Who holds a lock.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockHolder {
    pub user: String,
    pub host: String,
    pub pid: u32,
    /// The command line, as far as it holds no secrets.
    pub what: String,
    /// RFC 3339, UTC, by the holder's own clock.
    pub since: String,
    /// `false` for one that is known to be gone, or has shown no sign of life while it was watched.
    pub alive: bool,
}

impl LockHolder {
    fn new(holder: Holder, alive: bool) -> Self {
        let Holder { user, host, pid, what, since, .. } = holder;
        Self { user, host, pid, what, since, alive }
    }
}

/// The name of a project's lock on its engine.
fn lock_name(project: &Project) -> String {
    format!("{}-dpl-lock", project.manifest().project)
}

/// How this process asks for the project's lock on the engine.
pub fn request(project: &Project, holder: &Holder, patience: Duration, output: &Output) -> LockRequest {
    let output = output.clone();
    LockRequest {
        name: lock_name(project),
        labels: BTreeMap::from([("dpl.lock".to_owned(), project.manifest().project.clone())]),
        holder: serde_json::to_string(holder).unwrap_or_default(),
        is_gone,
        describe,
        patience,
        notify: Arc::new(move |news| {
            let (LockNews::Watching { holder } | LockNews::Waiting { holder } | LockNews::TakenOver { holder }) = &news;
            let holder = output.catalogue.text(&sentence(holder));
            match news {
                LockNews::Watching { .. } => output.say(&message!("lock-watching", holder = holder)),
                LockNews::Waiting { .. } => output.say(&message!("lock-waiting", holder = holder)),
                LockNews::TakenOver { .. } => output.warn(&message!("lock-taken-over", holder = holder)),
            }
        }),
        timing: timing(),
    }
}

fn is_gone(holder: &str) -> bool {
    serde_json::from_str::<Holder>(holder).is_ok_and(|holder| holder.is_gone())
}

fn describe(holder: &str) -> String {
    Catalogue::english().text(&sentence(holder))
}

/// Who holds the lock, by the holder's own text.
fn sentence(holder: &str) -> Message {
    match serde_json::from_str::<Holder>(holder) {
        Ok(Holder { user, host, pid, what, since, .. }) => {
            message!("lock-holder", user = user, what = what, since = since, pid = pid, host = host)
        }
        Err(_) => message!("lock-somebody"),
    }
}

/// Tests do not wait a minute for a holder to go stale.
fn timing() -> LockTiming {
    let milliseconds = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let default = LockTiming::default();
    LockTiming {
        heartbeat: milliseconds("DPL_LOCK_BEAT_MS").map_or(default.heartbeat, Duration::from_millis),
        stale: milliseconds("DPL_LOCK_STALE_MS").map_or(default.stale, Duration::from_millis),
    }
}

/// `--lock-wait`.
pub fn patience(session: &Session) -> Result<Duration, Failure> {
    let Some(text) = &session.global.lock_wait else {
        return Ok(Duration::ZERO);
    };
    let period: Period = text.parse().map_err(|error: InvalidValue| {
        Failure::usage(message!("usage-flag-value", flag = "--lock-wait", why = error))
    })?;
    Ok(period.0)
}

/// `dpl lock …`.
pub fn run(command: &LockCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        LockCommand::Status(arguments) => {
            let project = session.project(arguments.manifest.as_deref())?;
            status(&project, session)
        }
        LockCommand::Release(arguments) => {
            let project = session.project(arguments.manifest.as_deref())?;
            release(&project, session)
        }
    }
}

fn status(project: &Project, session: &mut Session) -> Result<u8, Failure> {
    let here = at_work(&project.state())?.map(|holder| match holder {
        Some(holder) => LockHolder::new(holder, true),
        None => LockHolder::new(unknown(), true),
    });
    let engine = session.engine()?;
    let name = lock_name(project);
    let lock = session.runtime()?.block_on(async {
        let Some(lock) = engine.look_at_lock(&name).await? else {
            return Ok::<_, Failure>(None);
        };
        let holder = serde_json::from_str(&lock.holder).unwrap_or_else(|_| unknown());
        if Holder::is_gone(&holder) {
            return Ok(Some(LockHolder::new(holder, false)));
        }
        // Two beats are time enough to see one.
        tokio::time::sleep(timing().heartbeat * 2).await;
        let again = engine.look_at_lock(&name).await?;
        let alive = again.is_none_or(|again| again != lock);
        Ok(Some(LockHolder::new(holder, alive)))
    })?;
    let report = LockReport { here, engine: lock };
    if session.output.json {
        session.output.document(&report)?;
        return Ok(0);
    }
    let catalogue = session.output.catalogue;
    let lines = [(true, &report.here), (false, &report.engine)].into_iter().filter_map(|(is_here, holder)| {
        let LockHolder { user, host, pid, what, since, alive } = holder.as_ref()?;
        let sign = catalogue.word(if *alive { message!("lock-alive") } else { message!("lock-gone") });
        let message = match is_here {
            true => message!("lock-here", user = user, host = host, what = what, since = since, pid = pid, sign = sign),
            false => {
                message!("lock-on-engine", user = user, host = host, what = what, since = since, pid = pid, sign = sign)
            }
        };
        Some(catalogue.text(&message) + "\n")
    });
    let text: String = lines.collect();
    if text.is_empty() {
        session.output.say(&message!("lock-free"));
    }
    session.output.data(&text)?;
    Ok(0)
}

fn release(project: &Project, session: &mut Session) -> Result<u8, Failure> {
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let Some(lock) = runtime.block_on(engine.look_at_lock(&lock_name(project)))? else {
        session.output.say(&message!("lock-not-held"));
        return Ok(0);
    };
    let holder = session.output.catalogue.text(&sentence(&lock.holder));
    let question = message!("lock-confirm-release", holder = &holder);
    prompt::confirm(session, &question)?;
    runtime.block_on(engine.break_lock(&lock.id))?;
    session.output.say(&message!("lock-released", holder = holder));
    Ok(0)
}

fn unknown() -> Holder {
    Holder {
        user: "somebody".to_owned(),
        host: "unknown".to_owned(),
        pid: 0,
        what: String::new(),
        since: String::new(),
        process: Default::default(),
    }
}
