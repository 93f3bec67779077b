//! `lock status` and `lock release`.

use clap::Subcommand;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::lock::{lock_name, sentence, timing};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::state::{Holder, at_work};

#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Show who works on this project, from where, since when, and whether the process is alive
    Status(ManifestArguments),
    /// Remove the lock on the engine; its holder stops before the next change
    Release(ManifestArguments),
}

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
    session.confirm(&question)?;
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
