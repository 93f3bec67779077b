//! What ends a wait, and what does not: an engine that shows one thing after the other.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::Address;
use crate::manifest::model::Period;
use crate::services::scripted_engine::{Answer, FakeEngine, Rule};

/// So long that no test sees its end.
const EVER: Duration = Duration::from_secs(3600);
const LOOKED: &str = "/containers/c1/json";

struct Scene {
    engine: Engine,
    fake: FakeEngine,
    stop: CancellationToken,
    _folder: TempDir,
}

/// What the engine shows of the container; `more` comes over it.
fn shows(state: Value, restarts: u64, policy: &str) -> Answer {
    let container = json!({"Id": "c1", "Name": "/p-a-1", "State": state, "RestartCount": restarts,
        "HostConfig": {"RestartPolicy": {"Name": policy}}});
    Answer::Json(200, Box::leak(container.to_string().into_boxed_str()))
}

fn running() -> Answer {
    shows(json!({"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}), 0, "unless-stopped")
}

fn created() -> Answer {
    shows(json!({"Status": "created"}), 0, "unless-stopped")
}

fn ended(code: i64, policy: &str) -> Answer {
    shows(json!({"Status": "exited", "ExitCode": code}), 0, policy)
}

fn restarting(restarts: u64) -> Answer {
    shows(json!({"Status": "restarting", "ExitCode": 3}), restarts, "unless-stopped")
}

impl Scene {
    async fn of(looks: impl IntoIterator<Item = Answer>) -> Self {
        Self::with(vec![("GET", LOOKED, Answer::Each(looks.into_iter().collect()))]).await
    }

    async fn with(rules: Vec<Rule>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        Self { engine, fake, stop: CancellationToken::new(), _folder: folder }
    }

    async fn wait_within(&self, until: Until, timeout: Duration) -> Result<(), NotReady> {
        let reporter = Reporter::new(Vec::new(), self.stop.clone());
        let wait = Wait {
            engine: &self.engine,
            id: "c1",
            name: "p-a-1",
            until: &until,
            timeout,
            reach: &Reach::default(),
            outage: &OutageWait::new(&self.engine, &reporter),
            helpers: &Helpers::new(&self.engine, "p", &[]),
            interrupted_by: Some(&reporter),
        };
        wait.run().await
    }

    async fn wait(&self, until: Until) -> Result<(), NotReady> {
        self.wait_within(until, EVER).await
    }

    fn asked(&self, word: &str) -> usize {
        self.fake.requests().iter().filter(|request| request.contains(word)).count()
    }
}

fn at_once() -> Until {
    Until::Running(Period(Duration::ZERO))
}

#[tokio::test]
async fn what_ends_is_told_with_its_exit_code_by_the_first_look_that_sees_it() {
    for (until, end) in [
        (at_once(), ended(7, "unless-stopped")),
        // The engine starts it again: it has not ended as a job does.
        (at_once(), ended(0, "unless-stopped")),
        (Until::Healthy, ended(7, "no")),
        // What has a check must be healthy, not done.
        (Until::Healthy, ended(0, "no")),
        (Until::Completed, ended(7, "no")),
    ] {
        let scene = Scene::of([created(), end]).await;
        let error = scene.wait(until.clone()).await.unwrap_err();
        assert!(matches!(error, NotReady::Ended { .. }), "{until:?}: {error}");
        assert_eq!(scene.asked(LOOKED), 2, "{until:?}");
    }
}

#[tokio::test]
async fn what_the_kernel_ended_when_memory_was_short_is_told_so() {
    for (state, said) in [
        (json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}), "exit code 137 (SIGKILL), out of memory"),
        (json!({"Status": "exited", "ExitCode": 1, "OOMKilled": true}), "exit code 1, out of memory"),
        (json!({"Status": "exited", "ExitCode": 137}), "exit code 137 (SIGKILL)"),
    ] {
        let error = Scene::of([created(), shows(state, 0, "no")]).await.wait(at_once()).await.unwrap_err();
        let told = crate::catalogue::english(&crate::report::Told::message(&error));
        assert!(told.ends_with(said), "{told}");
    }
}

#[tokio::test]
async fn a_job_is_done_when_it_has_ended_with_0_and_nothing_starts_it_again() {
    for policy in ["no", "on-failure"] {
        Scene::of([created(), ended(0, policy)]).await.wait(at_once()).await.unwrap();
    }
    Scene::of([running(), ended(0, "no")]).await.wait(Until::Completed).await.unwrap();
}

#[tokio::test]
async fn three_restarts_while_it_is_waited_for_are_a_loop_and_those_before_count_for_nothing() {
    let up = shows(json!({"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}), 42, "unless-stopped");
    Scene::of([restarting(40), restarting(41), restarting(42), up]).await.wait(at_once()).await.unwrap();
    let looped = Scene::of([40, 41, 42, 43].map(restarting)).await;
    let error = looped.wait(at_once()).await.unwrap_err();
    assert!(matches!(error, NotReady::RestartLoop { restarts: 43, exit: Exit { code: 3, .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_program_that_can_not_run_in_a_container_that_restarts_is_not_what_failed() {
    const REFUSED: Answer =
        Answer::Json(409, r#"{"message": "Container c1 is restarting, wait until the container is running"}"#);
    let rules =
        |looks: Vec<Answer>| vec![("GET", LOOKED, Answer::Each(looks)), ("POST", "/containers/c1/exec", REFUSED)];
    let looks = vec![running(), restarting(1), restarting(2), restarting(3)];
    let looped = Scene::with(rules(looks)).await;
    let error = looped.wait(Until::Tcp(80)).await.unwrap_err();
    assert!(matches!(error, NotReady::RestartLoop { restarts: 3, exit: Exit { code: 3, .. }, .. }), "{error}");
    assert_eq!(looped.asked("/containers/c1/exec"), 1);
    let over = Scene::with(rules(vec![running(), ended(3, "no")])).await;
    let error = over.wait(Until::Tcp(80)).await.unwrap_err();
    assert!(matches!(error, NotReady::Ended { exit: Exit { code: 3, .. }, .. }), "{error}");
    // In one that runs on, it is.
    let error = Scene::with(rules(vec![running()])).await.wait(Until::Tcp(80)).await.unwrap_err();
    assert!(matches!(error, NotReady::Engine(_)), "{error}");
}

#[tokio::test]
async fn what_somebody_removed_is_not_waited_for() {
    let scene = Scene::of([running(), Answer::Json(404, r#"{"message": "No such container"}"#)]).await;
    let error = scene.wait(Until::Running(Period(EVER))).await.unwrap_err();
    assert!(matches!(error, NotReady::Gone { .. }), "{error}");
}

#[tokio::test]
async fn whose_time_is_over_is_told_with_what_was_seen_last() {
    let of = async |look: Answer, time: u64| match Scene::of([look])
        .await
        .wait_within(at_once(), Duration::from_millis(time))
        .await
    {
        Err(NotReady::TimedOut { last, .. }) => crate::catalogue::english(&last),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(created(), 2000).await, "it is created");
    assert_eq!(of(Answer::Stall, 100).await, "it has not answered yet");
}

#[tokio::test]
async fn an_end_that_is_asked_for_ends_the_wait_of_what_is_not_ready_yet() {
    let scene = Scene::of([created()]).await;
    scene.stop.cancel();
    let error = scene.wait(at_once()).await.unwrap_err();
    assert!(matches!(error, NotReady::Interrupted { .. }), "{error}");
    let scene = Scene::of([running()]).await;
    scene.stop.cancel();
    scene.wait(at_once()).await.unwrap();
}

#[tokio::test]
async fn what_went_down_with_the_engine_is_started_once_more() {
    let rules = |looks: Vec<Answer>| {
        vec![("GET", LOOKED, Answer::Each(looks)), ("POST", "/containers/c1/start", Answer::Json(204, ""))]
    };
    let scene = Scene::with(rules(vec![created(), Answer::Close, ended(137, "no"), running()])).await;
    scene.wait(at_once()).await.unwrap();
    assert_eq!(scene.asked("/containers/c1/start"), 1);
    // That it ends again is its own doing.
    let scene = Scene::with(rules(vec![created(), Answer::Close, ended(137, "no"), ended(1, "no")])).await;
    let error = scene.wait(at_once()).await.unwrap_err();
    assert!(matches!(error, NotReady::Ended { exit: Exit { code: 1, .. }, .. }), "{error}");
    assert_eq!(scene.asked("/containers/c1/start"), 1);
}

#[tokio::test]
async fn what_an_engine_that_answers_can_not_tell_ends_the_wait() {
    let scene = Scene::of([created(), Answer::Json(500, r#"{"message": "no"}"#)]).await;
    let error = scene.wait(at_once()).await.unwrap_err();
    assert!(matches!(error, NotReady::Engine(_)), "{error}");
    assert_eq!(scene.asked(LOOKED), 2);
}
