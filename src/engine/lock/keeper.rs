//! Taking the lock, keeping it alive, noticing its loss.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{LockNews, LockRequest, LockView};
use crate::engine::connect::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

/// How often a lock that somebody has is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(250);

/// How often it is tried to make a lock anew.
const AGAIN: u32 = 20;

/// Looks after one lock for all clones of an engine.
pub struct Keeper {
    /// The engine without this keeper.
    engine: Engine,
    request: LockRequest,
    lock: Arc<Mutex<Hold>>,
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
    beat: u64,
    /// When the engine last had our beat.
    confirmed: Instant,
    beating: JoinHandle<()>,
}

impl Keeper {
    pub fn new(engine: Engine, request: LockRequest) -> Self {
        Self { engine, request, lock: Arc::new(Mutex::new(Hold::NotTaken)) }
    }

    /// Returns when a change may be made: takes the lock first, or makes sure that it is still ours.
    pub async fn ensure(&self) -> Result<(), EngineError> {
        let mut lock = self.lock.lock().await;
        match &mut *lock {
            Hold::NotTaken => {
                let id = acquire(&self.engine, &self.request).await?;
                // Taken, so that it is given back even if the first beat can't be written.
                let beating = self.beat_on();
                let mut held = Held { id, beat: 0, confirmed: Instant::now(), beating };
                let written = beat(&self.engine, &self.request, &mut held).await;
                *lock = if matches!(written, Ok(false)) { Hold::Lost } else { Hold::Held(held) };
                written?;
            }
            // A process that was frozen wakes up here, and must not trust what it knew before.
            Hold::Held(held) if held.confirmed.elapsed() > self.request.timing.stale / 3 => {
                if !beat(&self.engine, &self.request, held).await? {
                    *lock = Hold::Lost;
                }
            }
            Hold::Held(_) | Hold::Lost => {}
        }
        if matches!(*lock, Hold::Lost) { Err(self.lost()) } else { Ok(()) }
    }

    /// Takes the lock at once if somebody else has it, instead of with the first change: what is planned while they
    /// are at work is of no use.
    pub async fn mind_others(&self) -> Result<(), EngineError> {
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
        let mut lock = self.lock.lock().await;
        match std::mem::replace(&mut *lock, Hold::NotTaken) {
            Hold::Held(held) => {
                held.beating.abort();
                self.engine.remove_lock(&held.id).await
            }
            Hold::NotTaken | Hold::Lost => Ok(()),
        }
    }

    /// Beats until the lock is given back or lost.
    fn beat_on(&self) -> JoinHandle<()> {
        let (engine, request, lock) = (self.engine.clone(), self.request.clone(), Arc::downgrade(&self.lock));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(request.timing.beat).await;
                let Some(lock) = lock.upgrade() else { return };
                let mut lock = lock.lock().await;
                let Hold::Held(held) = &mut *lock else { return };
                // An engine that does not answer now may do so later; whoever wants to change something meanwhile
                // is told by its own call.
                if let Ok(false) = beat(&engine, &request, held).await {
                    *lock = Hold::Lost;
                    return;
                }
            }
        })
    }

    fn lost(&self) -> EngineError {
        EngineError::other(
            EngineErrorKind::LockLost,
            "go on with",
            "the work",
            format!(
                "the lock {} on the engine is no longer ours: somebody took it over or removed it",
                self.request.name
            ),
        )
    }
}

/// Writes one beat; whether the lock is still ours.
async fn beat(engine: &Engine, request: &LockRequest, held: &mut Held) -> Result<bool, EngineError> {
    // By the time before the call: when the answer comes, it may be old.
    let now = Instant::now();
    if !engine.write_beat(&held.id, held.beat + 1).await? {
        // Whoever tidies up stopped containers removes the lock as well. As long as nobody can have taken us for gone,
        // nobody else can have had it meanwhile.
        if held.confirmed.elapsed() > request.timing.stale / 2 {
            return Ok(false);
        }
        let Some(id) = make_again(engine, request).await? else {
            return Ok(false);
        };
        held.id = id;
        if !engine.write_beat(&held.id, held.beat + 1).await? {
            return Ok(false);
        }
    }
    held.beat += 1;
    held.confirmed = now;
    Ok(true)
}

/// Makes a lock of ours anew that went away; `None` when somebody else has it now.
async fn make_again(engine: &Engine, request: &LockRequest) -> Result<Option<String>, EngineError> {
    for _ in 0..AGAIN {
        if let Some(id) = engine.make_lock(request).await? {
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
        if let Some(id) = engine.make_lock(request).await? {
            return Ok(id);
        }
        // It may have been given back since.
        let Some(now) = engine.read_lock(&request.name).await? else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let (known, news) = Seen::again(seen.take(), &now);
        let holder = (request.describe)(&now.holder);
        if (request.is_gone)(&now.holder) || known.since.elapsed() > request.timing.stale {
            engine.remove_lock(&now.id).await?;
            (request.hear)(LockNews::TakenOver { holder });
            continue;
        }
        if known.alive && begun.elapsed() >= request.patience {
            return Err(EngineError::other(EngineErrorKind::Locked, "change", "anything on this engine", holder));
        }
        match news {
            Some(News::Somebody) => (request.hear)(LockNews::Watching { holder }),
            Some(News::Alive) => (request.hear)(LockNews::Waiting { holder }),
            None => {}
        }
        seen = Some(known);
        tokio::time::sleep(LOOK).await;
    }
}

/// Somebody else's lock, as it was when it last changed.
struct Seen {
    view: LockView,
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
