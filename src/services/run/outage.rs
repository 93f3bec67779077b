//! What happens when the engine goes away in the middle of an action: it is restarted, or the connection is lost. The
//! caller waits for it to come back, looks, and goes on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engine::{Engine, EngineError, EngineErrorKind};
use crate::report::Reporter;

const PAUSE: Duration = Duration::from_millis(100);

/// So many lost connections to an engine that answers when it is asked: one restart, that was over quickly, costs all who
/// are at work at once theirs. More than that is no restart.
const LOST: u32 = 32;

/// The patience of one action.
pub struct OutageWait<'a> {
    engine: &'a Engine,
    reporter: &'a Reporter,
    was_away: AtomicBool,
    is_at_an_end: AtomicBool,
    /// Connections that were lost since the engine was last seen to be away.
    lost: AtomicU32,
    /// One waits for all.
    gate: Mutex<()>,
}

impl<'a> OutageWait<'a> {
    pub fn new(engine: &'a Engine, reporter: &'a Reporter) -> Self {
        let (was_away, is_at_an_end) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { engine, reporter, was_away, is_at_an_end, lost: AtomicU32::new(0), gate: Mutex::new(()) }
    }

    /// Whether the engine was away at some time of the action.
    pub fn was_away(&self) -> bool {
        self.was_away.load(Ordering::SeqCst)
    }

    /// Calls, and calls again when the engine is back. What is called must be fine when it is so already.
    pub async fn call<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, EngineError> {
        loop {
            match call().await {
                Err(error) if self.outlasts(&error).await => {}
                result => return result,
            }
        }
    }

    /// Whether the error only says that the engine was away, and it is back now. Waits for it; not for ever, and not
    /// when the operator asks for an end.
    pub async fn outlasts(&self, error: &EngineError) -> bool {
        let is_lost = match error.kind() {
            EngineErrorKind::Unreachable => true,
            // An engine that is going down fails what it has in hand before it falls silent.
            EngineErrorKind::Failed => self.engine.ping().await.is_err_and(|error| error.is_unreachable()),
            _ => false,
        };
        if !is_lost || self.is_at_an_end.load(Ordering::SeqCst) {
            return false;
        }
        let _gate = self.gate.lock().await;
        self.was_away.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + self.engine.patience();
        let mut was_said = false;
        while self.engine.ping().await.is_err() {
            if Instant::now() >= deadline || self.reporter.asked_to_stop() {
                self.is_at_an_end.store(true, Ordering::SeqCst);
                return false;
            }
            if !was_said {
                self.reporter.notice(message!("services-engine-away", engine = self.engine.address()));
                was_said = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if was_said {
            self.lost.store(0, Ordering::SeqCst);
            self.reporter.notice(message!("services-engine-back"));
            return true;
        }
        if self.lost.fetch_add(1, Ordering::SeqCst) >= LOST {
            self.is_at_an_end.store(true, Ordering::SeqCst);
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as Guarded};

    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::Address;
    use crate::report::{Event, Listener};
    use crate::services::scripted_engine::{Answer, FakeEngine};

    #[derive(Default)]
    struct Said(Guarded<Vec<&'static str>>);

    impl Listener for Said {
        fn hear(&self, event: &Event) {
            if let Event::Notice(message) = event {
                self.0.lock().unwrap().push(message.key);
            }
        }
    }

    struct Scene {
        engine: Engine,
        fake: FakeEngine,
        said: Arc<Said>,
        reporter: Reporter,
        stop: CancellationToken,
        _folder: TempDir,
    }

    const ASKED: &str = "/containers/c1/json";
    const FINE: Answer = Answer::Json(200, r#"{"Id": "c1"}"#);
    const PONG: Answer = Answer::Json(200, "\"OK\"");

    impl Scene {
        /// The first ping is that of the connection.
        async fn of(asked: Vec<Answer>, pings: Vec<Answer>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let rules = vec![("GET", ASKED, Answer::Each(asked)), ("GET", "/_ping", Answer::Each(pings))];
            let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
            let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
            let (said, stop) = (Arc::new(Said::default()), CancellationToken::new());
            let reporter = Reporter::new(vec![said.clone()], stop.clone());
            Self { engine, fake, said, reporter, stop, _folder: folder }
        }

        fn patient(mut self, patience: Duration) -> Self {
            self.engine = self.engine.with_patience(patience);
            self
        }

        fn count(&self, word: &str) -> usize {
            self.fake.requests().iter().filter(|request| request.contains(word)).count()
        }
    }

    #[tokio::test]
    async fn an_engine_that_comes_back_is_waited_for_and_asked_again() {
        let pings = vec![PONG, Answer::Close, Answer::Close, PONG];
        let scene = Scene::of(vec![Answer::Close, FINE], pings).await;
        let outage = OutageWait::new(&scene.engine, &scene.reporter);
        let view = outage.call(|| scene.engine.inspect_container("c1")).await.unwrap();
        assert_eq!(view.unwrap().id, "c1");
        assert!(outage.was_away());
        assert_eq!(*scene.said.0.lock().unwrap(), ["services-engine-away", "services-engine-back"]);
    }

    #[tokio::test]
    async fn what_an_engine_that_answers_refuses_is_no_outage() {
        for (status, pings) in [(409, 1), (500, 2)] {
            let scene = Scene::of(vec![Answer::Json(status, r#"{"message": "no"}"#)], vec![PONG]).await;
            let outage = OutageWait::new(&scene.engine, &scene.reporter);
            outage.call(|| scene.engine.inspect_container("c1")).await.unwrap_err();
            assert!(!outage.was_away());
            // Of a failure only the engine's silence tells whether it is going down.
            assert_eq!((scene.count(ASKED), scene.count("/_ping")), (1, pings), "{status}");
        }
    }

    #[tokio::test]
    async fn one_that_stays_away_is_waited_for_once_and_nobody_after_that_waits_again() {
        let scene = Scene::of(vec![Answer::Close], vec![PONG, Answer::Close]).await.patient(Duration::ZERO);
        let outage = OutageWait::new(&scene.engine, &scene.reporter);
        for _ in 0..3 {
            outage.call(|| scene.engine.inspect_container("c1")).await.unwrap_err();
        }
        assert_eq!((scene.count(ASKED), scene.count("/_ping")), (3, 2));
    }

    #[tokio::test]
    async fn an_end_that_is_asked_for_ends_the_wait_for_the_engine() {
        let scene = Scene::of(vec![Answer::Close], vec![PONG, Answer::Close]).await.patient(Duration::from_secs(3600));
        scene.stop.cancel();
        let outage = OutageWait::new(&scene.engine, &scene.reporter);
        outage.call(|| scene.engine.inspect_container("c1")).await.unwrap_err();
        assert_eq!(scene.count(ASKED), 1);
    }

    #[tokio::test]
    async fn connections_that_break_again_and_again_are_no_restart_of_the_engine() {
        let scene = Scene::of(vec![Answer::Close], vec![PONG]).await;
        let outage = OutageWait::new(&scene.engine, &scene.reporter);
        // As many as one restart can cost all who are at work, but two.
        outage.lost.store(LOST - 2, Ordering::SeqCst);
        outage.call(|| scene.engine.inspect_container("c1")).await.unwrap_err();
        assert_eq!(scene.count(ASKED), 3);
        assert!(scene.said.0.lock().unwrap().is_empty(), "it was never away");
    }
}
