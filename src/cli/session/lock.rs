//! How a session asks for the project's lock on the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Session;
use super::project::Project;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::engine::{LockNews, LockRequest, LockTiming};
use crate::manifest::model::{InvalidValue, Period};
use crate::report::{Message, Told as _};
use crate::state::{Holder, StateDir, at_work};

/// The name of a project's lock on its engine.
pub fn lock_name(project: &Project) -> String {
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
        describe: sentence,
        patience,
        notify: Arc::new(move |news| match news {
            LockNews::Watching { holder } => output.say(&message!("lock-watching", holder = sentence(&holder))),
            LockNews::Waiting { holder } => output.say(&message!("lock-waiting", holder = sentence(&holder))),
            LockNews::TakenOver { holder } => output.warn(&taken_over(&holder)),
        }),
        timing: timing(),
    }
}

fn is_gone(holder: &str) -> bool {
    serde_json::from_str::<Holder>(holder).is_ok_and(|holder| holder.is_gone())
}

/// Who holds the lock, by the holder's own text.
pub fn sentence(holder: &str) -> Message {
    match serde_json::from_str::<Holder>(holder) {
        Ok(holder) => holder.message(),
        Err(_) => message!("lock-somebody"),
    }
}

/// Whose lock was taken over. Nobody is at work any more, so it is not the sentence of one who is.
fn taken_over(holder: &str) -> Message {
    match serde_json::from_str::<Holder>(holder) {
        Ok(Holder { user, host, pid, what, since, .. }) => {
            message!("lock-taken-over", user = user, what = what, since = since, pid = pid, host = host)
        }
        Err(_) => message!("lock-taken-over-somebody"),
    }
}

/// Who changes the project at this moment, from here or from elsewhere; `None` for work of this session itself. A look that
/// can't tell says nothing.
pub fn others_at_work(project: &Project, session: &mut Session) -> Result<Option<Message>, Failure> {
    if session.action_number() > 0 {
        return Ok(None);
    }
    if let Some(holder) = at_work_here(&project.state()) {
        return Ok(Some(holder));
    }
    let (engine, name) = (session.engine()?, lock_name(project));
    let lock = session.wait_for(async { Ok(engine.look_at_lock(&name).await.ok().flatten()) })?;
    Ok(lock.filter(|lock| !is_gone(&lock.holder)).map(|lock| sentence(&lock.holder)))
}

fn at_work_here(state: &StateDir) -> Option<Message> {
    let holder = at_work(state).ok().flatten()?;
    Some(holder.map_or_else(|| message!("lock-somebody"), |holder| holder.message()))
}

/// Tests do not wait a minute for a holder to go stale.
pub fn timing() -> LockTiming {
    let milliseconds = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let default = LockTiming::default();
    LockTiming {
        heartbeat: milliseconds("DPL_LOCK_BEAT_MS").map_or(default.heartbeat, Duration::from_millis),
        stale: milliseconds("DPL_LOCK_STALE_MS").map_or(default.stale, Duration::from_millis),
    }
}

/// `--lock-wait`.
pub fn patience(lock_wait: Option<&str>) -> Result<Duration, Failure> {
    let Some(text) = lock_wait else {
        return Ok(Duration::ZERO);
    };
    let period: Period = text.parse().map_err(|error: InvalidValue| {
        Failure::usage(message!("usage-flag-value", flag = "--lock-wait", why = error.message()))
    })?;
    Ok(period.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;
    use crate::state::{Lock, Operator};

    #[test]
    fn a_lock_that_was_taken_over_is_not_told_as_one_who_is_at_work() {
        let holder = Holder::of_process(&Operator::of_process(), "dpl load 25");
        let said = english(&taken_over(&serde_json::to_string(&holder).unwrap()));
        assert!(said.contains("`dpl load 25`") && said.contains("is gone or silent"), "{said}");
        assert!(!said.contains("is working"), "{said}");
        assert!(english(&taken_over("{}")).contains("somebody"));
    }

    #[test]
    fn a_look_tells_of_an_action_that_is_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        assert_eq!(at_work_here(&state), None);
        let lock = Lock::acquire(&state, &Operator::of_process(), "dpl restart api", Duration::ZERO).unwrap();
        let said = at_work_here(&state).map(|message| english(&message)).unwrap_or_default();
        assert!(said.contains("`dpl restart api`"), "{said}");
        drop(lock);
        assert_eq!(at_work_here(&state), None);
    }
}
