//! How a session asks for the project's lock on the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::project::Project;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::engine::{LockNews, LockRequest, LockTiming};
use crate::manifest::model::{InvalidValue, Period};
use crate::report::{Message, Told as _};
use crate::state::Holder;

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

/// Who holds the lock, by the holder's own text.
pub fn sentence(holder: &str) -> Message {
    match serde_json::from_str::<Holder>(holder) {
        Ok(holder) => holder.message(),
        Err(_) => message!("lock-somebody"),
    }
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
