//! Taking the lock, keeping it alive, noticing its loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::moment::Moment;
use super::{LockNews, LockRequest, LockView};
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

/// How often a lock that somebody has is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is tried to make the lock again.
const AGAIN: u32 = 20;

/// Looks after one lock for all clones of an engine.
pub struct LockKeeper {
    /// The engine without this keeper.
    engine: Engine,
    request: LockRequest,
    lock: Arc<Mutex<Hold>>,
    /// Held while a heartbeat is written, so that a question need not wait for the engine; taken before `lock`.
    writing: Arc<Mutex<()>>,
}

/// What there is of the lock.
enum Hold {
    /// Nothing was changed yet.
    NotTaken,
    Held(Held),
    Lost,
}

struct Held {
    id: String,
    heartbeat: u64,
    /// When the engine last had our heartbeat.
    confirmed: Moment,
    heartbeats: JoinHandle<()>,
}

impl LockKeeper {
    pub fn new(engine: Engine, request: LockRequest) -> Self {
        Self { engine, request, lock: Arc::new(Mutex::new(Hold::NotTaken)), writing: Arc::default() }
    }

    /// Returns when a change may be made: takes the lock first, or makes sure that it is still ours.
    pub async fn ensure(&self) -> Result<(), EngineError> {
        let trust = self.request.timing.stale / 3;
        {
            let mut lock = self.lock.lock().await;
            match &*lock {
                Hold::NotTaken => {
                    let id = acquire(&self.engine, &self.request).await?;
                    crate::failpoint!("engine.lock.after-make");
                    // The first heartbeat comes with the others: nobody takes a new lock for a dead one so soon.
                    *lock = Hold::Held(Held {
                        id,
                        heartbeat: 0,
                        confirmed: Moment::now(),
                        heartbeats: self.send_heartbeats(),
                    });
                    return Ok(());
                }
                Hold::Held(held) if held.confirmed.elapsed() <= trust => return Ok(()),
                Hold::Held(_) => {}
                Hold::Lost => return Err(self.lost()),
            }
        }
        // A process that was frozen, or whose machine slept, wakes up here, and must not trust what it knew before.
        let _writing = self.writing.lock().await;
        heartbeat(&self.engine, &self.request, &self.lock, trust).await?;
        if matches!(*self.lock.lock().await, Hold::Lost) { Err(self.lost()) } else { Ok(()) }
    }

    /// Takes the lock at once if somebody else has it, instead of with the first change: what is planned while they
    /// are at work is of no use.
    pub async fn wait_for_other_operators(&self) -> Result<(), EngineError> {
        match self.engine.read_lock(&self.request.name).await? {
            Some(_) => self.ensure().await,
            None => Ok(()),
        }
    }

    /// Why no further change may be made, once that is so.
    pub async fn lost_now(&self) -> Option<EngineError> {
        matches!(*self.lock.lock().await, Hold::Lost).then(|| self.lost())
    }

    /// Gives the lock back.
    pub async fn release(&self) -> Result<(), EngineError> {
        // A heartbeat that is under way may be making the lock again.
        let _writing = self.writing.lock().await;
        let mut lock = self.lock.lock().await;
        match std::mem::replace(&mut *lock, Hold::NotTaken) {
            Hold::Held(held) => {
                held.heartbeats.abort();
                crate::failpoint!("engine.lock.before-remove");
                self.engine.remove_lock(&held.id).await
            }
            Hold::NotTaken | Hold::Lost => Ok(()),
        }
    }

    /// Writes heartbeats until the lock is given back or lost, at once for the first time.
    fn send_heartbeats(&self) -> JoinHandle<()> {
        let (engine, request) = (self.engine.clone(), self.request.clone());
        let (lock, writing) = (Arc::downgrade(&self.lock), self.writing.clone());
        tokio::spawn(async move {
            loop {
                let Some(lock) = lock.upgrade() else { return };
                {
                    let _writing = writing.lock().await;
                    // An engine that does not answer now may do so later; a change that is tried meanwhile
                    // fails by its own call.
                    let _ = heartbeat(&engine, &request, &lock, Duration::ZERO).await;
                    if !matches!(*lock.lock().await, Hold::Held(_)) {
                        return;
                    }
                }
                drop(lock);
                tokio::time::sleep(request.timing.heartbeat).await;
            }
        })
    }

    fn lost(&self) -> EngineError {
        EngineError::other(
            EngineErrorKind::LockLost,
            message!("verb-continue"),
            message!("object-work"),
            message!("engine-lock-lost", name = self.request.name),
        )
    }
}

/// Writes one heartbeat, if the last one is older than `trust`, and notes what came of it. No other may be under way.
async fn heartbeat(
    engine: &Engine,
    request: &LockRequest,
    lock: &Mutex<Hold>,
    trust: Duration,
) -> Result<(), EngineError> {
    let (mut id, number, confirmed) = match &*lock.lock().await {
        Hold::Held(held) if held.heartbeat == 0 || held.confirmed.elapsed() > trust => {
            (held.id.clone(), held.heartbeat + 1, held.confirmed)
        }
        _ => return Ok(()),
    };
    // By the time before the call: when the answer comes, it may be old.
    let now = Moment::now();
    let is_ours = write(engine, request, &mut id, number, confirmed).await?;
    let mut lock = lock.lock().await;
    match &mut *lock {
        Hold::Held(held) if is_ours => {
            held.id = id;
            held.heartbeat = number;
            held.confirmed = now;
        }
        Hold::Held(_) => *lock = Hold::Lost,
        Hold::NotTaken | Hold::Lost => {}
    }
    Ok(())
}

/// Writes a heartbeat; whether the lock is still ours. It may have another ID then.
async fn write(
    engine: &Engine,
    request: &LockRequest,
    id: &mut String,
    number: u64,
    confirmed: Moment,
) -> Result<bool, EngineError> {
    if engine.write_heartbeat(id, number).await? {
        return Ok(true);
    }
    // `docker container prune` removes the lock as well. As long as nobody can have taken us for gone,
    // nobody else can have had it meanwhile.
    if confirmed.elapsed() > request.timing.stale / 2 {
        return Ok(false);
    }
    match recreate(engine, request).await? {
        Some(again) => *id = again,
        None => return Ok(false),
    }
    engine.write_heartbeat(id, number).await
}

/// Makes a lock of ours again that went away; `None` when somebody else has it now.
async fn recreate(engine: &Engine, request: &LockRequest) -> Result<Option<String>, EngineError> {
    for _ in 0..AGAIN {
        if let Some(id) = engine.create_lock(request).await? {
            return Ok(Some(id));
        }
        // The name is taken until the old container is gone for good.
        let there = engine.read_lock(&request.name).await?;
        if there.is_some_and(|there| there.holder != request.holder) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Takes the lock; gives the container's ID.
async fn acquire(engine: &Engine, request: &LockRequest) -> Result<String, EngineError> {
    let begun = Instant::now();
    let mut seen: Option<Seen> = None;
    loop {
        if let Some(id) = engine.create_lock(request).await? {
            return Ok(id);
        }
        // It may have been given back since.
        let Some(now) = engine.read_lock(&request.name).await? else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let (known, news) = Seen::again(seen.take(), &now);
        let holder = now.holder.clone();
        if (request.is_gone)(&holder) || known.since.elapsed() > request.timing.stale {
            engine.remove_lock(&now.id).await?;
            (request.notify)(LockNews::TakenOver { holder });
            continue;
        }
        if known.alive && begun.elapsed() >= request.patience {
            let holder = (request.describe)(&holder);
            let (operation, object) = (message!("verb-change"), message!("object-anything"));
            return Err(EngineError::other(EngineErrorKind::Locked, operation, object, holder));
        }
        match news {
            Some(News::Somebody) => (request.notify)(LockNews::Watching { holder }),
            Some(News::Alive) => (request.notify)(LockNews::Waiting { holder }),
            None => {}
        }
        seen = Some(known);
        tokio::time::sleep(LOOK).await;
    }
}

/// Somebody else's lock, as it was when it last changed.
struct Seen {
    view: LockView,
    /// By the clock that stands still while this machine sleeps: nobody was watched meanwhile.
    since: Instant,
    /// Whether it was seen to change.
    alive: bool,
}

/// What a look at a lock tells for the first time.
enum News {
    Somebody,
    Alive,
}

impl Seen {
    /// What is known after one more look.
    fn again(before: Option<Self>, now: &LockView) -> (Self, Option<News>) {
        let fresh = |alive| Self { view: now.clone(), since: Instant::now(), alive };
        match before {
            Some(before) if before.view == *now => (before, None),
            Some(before) if before.view.id == now.id => (fresh(true), (!before.alive).then_some(News::Alive)),
            _ => (fresh(false), Some(News::Somebody)),
        }
    }
}
