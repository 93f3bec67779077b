//! The engine is killed and started again in the middle of an action: it goes on, and comes to its end.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Run;
use crate::support_engine::{PrivateEngine, Stack, docker_on, eventually};

fn private_engine(images: &[&str]) -> PrivateEngine {
    let engine = PrivateEngine::start(&[]);
    images.iter().for_each(|image| engine.take_image(image));
    engine
}

/// Three services in a row, which take two seconds to stop, since they don't know the signal; the last one has no restart policy, so nobody brings it back after an engine's restart.
fn chain(version: &str) -> String {
    r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "2s", "stop_signal": "SIGUSR2" }, "services": {
        "base": { "image": "expert/expert_api:latest", "restart": "always", "environment": { "V": "NEWEST" }, "ready": { "running_for": "1500ms" } },
        "middle": { "image": "expert/expert_api:latest", "restart": "unless-stopped", "environment": { "V": "NEWEST" }, "ready": { "running_for": "1500ms" },
                    "depends_on": { "base": { "condition": "service_healthy" } } },
        "top": { "image": "expert/expert_api:latest", "environment": { "V": "NEWEST" }, "ready": { "running_for": "3s" },
                 "depends_on": { "middle": { "condition": "service_healthy" } } } } }"#
        .replace("NEWEST", version)
}

struct Bench {
    engine: PrivateEngine,
    stack: Stack,
}

impl Bench {
    fn new() -> Self {
        let engine = private_engine(&["expert/expert_api:latest"]);
        let stack = Stack::on(&engine.address, &chain("1"));
        Self { engine, stack }
    }

    /// Runs a command, kills the engine when `holds`, and starts it again.
    fn run_and_kill(&self, arguments: &[&str], what: &str, mut holds: impl FnMut() -> bool) -> Run {
        let out = |name: &str| std::fs::File::create(self.stack.site.file(name)).unwrap();
        let mut child = self
            .stack
            .site
            .command(&[arguments, &["-f", "stack.json"]].concat())
            .stdin(Stdio::null())
            .stdout(out("out"))
            .stderr(out("err"))
            .spawn()
            .unwrap();
        eventually(what, &mut holds);
        assert!(child.try_wait().unwrap().is_none(), "{what}: it has ended before");
        self.engine.kill();
        let said = || std::fs::read_to_string(self.stack.site.file("err")).unwrap();
        eventually("the command waits for the engine", || {
            said().contains("waiting for it to come back") || child.try_wait().unwrap().is_some()
        });
        self.engine.start_again();
        let deadline = Instant::now() + Duration::from_secs(120);
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                break -2;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        };
        let text = |name: &str| std::fs::read_to_string(self.stack.site.file(name)).unwrap();
        Run { code, stdout: text("out"), stderr: text("err") }
    }

    fn states(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.stack.project);
        let listed =
            docker_on(&self.engine.address, &["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.State}}"]);
        let mut states: Vec<String> = listed.lines().map(|line| line.replace(&self.stack.project, "")).collect();
        states.sort();
        states
    }

    fn is(&self, state: &str) -> Vec<String> {
        ["base", "middle", "top"].map(|service| format!("-{service}-1 {state}")).into()
    }

    fn exists(&self, service: &str) -> bool {
        self.states().iter().any(|state| state.starts_with(&format!("-{service}-1")))
    }
}

#[test]
fn a_start_goes_on_when_the_engine_was_killed_in_the_middle() {
    let bench = Bench::new();
    for service in ["base", "middle", "top"] {
        let run = bench.run_and_kill(&["start", "--json", "--progress", "plain"], service, || {
            bench.states().contains(&format!("-{service}-1 running"))
        });
        assert_eq!(run.code, 0, "{service}: {}", run.stderr);
        assert_eq!(run.json()["engine_was_away"], true, "{service}: {}", run.stderr);
        assert_eq!(bench.states(), bench.is("running"), "{service}: {}", run.stderr);
        bench.stack.run(&["remove", "all", "--yes"]).success();
    }
}

#[test]
fn a_start_without_the_gpu_goes_on_without_it_when_the_engine_was_killed_in_the_middle() {
    let engine = private_engine(&["expert/expert_api:latest"]);
    let text = r#"{ "project": "PROJECT",
        "defaults": { "stop_signal": "SIGKILL", "ready": { "running_for": "1500ms" } }, "services": {
          "base": { "image": "expert/expert_api:latest", "restart": "unless-stopped" },
          "gpu": { "image": "expert/expert_api:latest", "restart": "unless-stopped",
            "depends_on": { "base": { "condition": "service_healthy" } },
            "gpus": [{ "driver": "nvidia", "count": "all", "capabilities": ["gpu"], "required": false }] } } }"#;
    let stack = Stack::on(&engine.address, text);
    let bench = Bench { engine, stack };
    for service in ["base", "gpu"] {
        let run = bench.run_and_kill(&["start", "--json", "--progress", "plain"], service, || {
            bench.states().contains(&format!("-{service}-1 running"))
        });
        assert_eq!(run.code, 0, "{service}: {}", run.stderr);
        assert_eq!(run.json()["engine_was_away"], true, "{service}: {}", run.stderr);
        let status = bench.stack.run(&["status", "--json"]).success().json();
        let gpu = &status["services"][1]["containers"][0];
        assert_eq!((&gpu["state"], &gpu["dropped"]), (&json!("running"), &json!(["gpus"])), "{service}: {status}");
        let requests = bench.stack.inspect("gpu", "{{json .HostConfig.DeviceRequests}}");
        assert!(!requests.contains("nvidia"), "{service}: {requests}");
        bench.stack.run(&["remove", "all", "--yes"]).success();
    }
}

#[test]
fn a_stop_goes_on_when_the_engine_was_killed_in_the_middle() {
    let bench = Bench::new();
    for service in ["top", "middle"] {
        bench.stack.run(&["start"]).success();
        let run = bench.run_and_kill(&["stop", "all", "--progress", "plain"], service, || {
            bench.states().contains(&format!("-{service}-1 exited"))
        });
        assert_eq!(run.code, 0, "{service}: {}", run.stderr);
        assert_eq!(bench.states(), bench.is("exited"), "{service}: {}", run.stderr);
    }
}

#[test]
fn a_restart_with_new_versions_goes_on_when_the_engine_was_killed_in_the_middle() {
    let bench = Bench::new();
    bench.stack.run(&["start"]).success();
    let version = |service: &str| {
        let variables = bench.stack.inspect(service, "{{range .Config.Env}}{{println .}}{{end}}");
        variables.lines().find_map(|line| line.strip_prefix("V=")).unwrap_or_default().to_owned()
    };
    for (round, moment) in
        [("2", "-base-1.dpl-next"), ("3", "-base-1.dpl-kept"), ("4", "-middle-1.dpl-kept"), ("5", "-top-1.dpl-kept")]
    {
        bench.stack.rewrite(&chain(round));
        let run = bench.run_and_kill(&["restart", "all", "--progress", "plain"], moment, || {
            bench.states().iter().any(|state| state.starts_with(moment))
        });
        assert_eq!(run.code, 0, "{moment}: {}", run.stderr);
        assert_eq!(bench.states(), bench.is("running"), "{moment}: {}", run.stderr);
        assert_eq!(["base", "middle", "top"].map(version), [round, round, round], "{moment}");
    }
    assert!(bench.exists("top"));
    let policy = bench.stack.inspect("base", "{{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(policy, "always");
}

#[test]
fn an_engine_that_does_not_come_back_ends_the_action_with_where_it_stands() {
    let mut bench = Bench::new();
    bench.stack.site.set("DPL_ENGINE_PATIENCE", "2s");
    let out = bench.stack.site.file("err");
    let mut child = bench
        .stack
        .site
        .command(&["start", "--progress", "plain", "-f", "stack.json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    // The first one is ready by then.
    eventually("the second service runs", || bench.states().contains(&"-middle-1 running".to_owned()));
    bench.engine.kill();
    eventually("the command has ended", || child.try_wait().unwrap().is_some());
    let said = std::fs::read_to_string(&out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4), "{said}");
    assert!(said.contains("done with base; not done with middle, top"), "{said}");
    assert!(said.contains("hint:") && said.contains("error: 1 service failed"), "{said}");

    bench.engine.start_again();
    bench.stack.site.set("DPL_ENGINE_PATIENCE", "2m");
    bench.stack.run(&["start"]).success();
    assert_eq!(bench.states(), bench.is("running"));
}

#[test]
fn services_that_a_rebuild_stopped_start_again_when_the_engine_is_back() {
    const MANIFEST: &str = r#"{ "project": "PROJECT", "paths": { "backups": "backups" },
        "databases": { "shop": { "service": "db", "user": "postgres", "seed": "seeds/shop", "used_by": ["app"] } },
        "services": {
            "db": { "image": "postgres:15", "restart": "always", "ready": { "tcp": 5432 },
                    "environment": { "POSTGRES_HOST_AUTH_METHOD": "trust" } },
            "app": { "image": "expert/expert_api:latest", "restart": "unless-stopped", "stop_signal": "SIGKILL" } } }"#;
    let engine = private_engine(&["postgres:15", "expert/expert_api:latest"]);
    let stack = Stack::on(&engine.address, MANIFEST);
    stack.run(&["start"]).success();
    docker_on(&engine.address, &["exec", &stack.container("db"), "createdb", "-U", "postgres", "shop"]);
    stack.run(&["db", "dump", "shop"]).success();

    let out = |name: &str| std::fs::File::create(stack.site.file(name)).unwrap();
    let mut command =
        stack.site.command(&["db", "rebuild", "shop", "--yes", "--progress", "plain", "-f", "stack.json"]);
    command.env("DPL_FAILPOINT", "databases.rebuild.before-close").env("DPL_FAILPOINT_FREEZES", "1");
    let mut child = command.stdin(Stdio::null()).stdout(out("out")).stderr(out("err")).spawn().unwrap();
    eventually("the services stand still", || stack.inspect("app", "{{.State.Status}}") == "exited");
    let process = child.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("it has come to the point", || state().contains(") T "));
    engine.kill();
    assert!(std::process::Command::new("kill").args(["-CONT", &process.to_string()]).status().unwrap().success());
    let said = || std::fs::read_to_string(stack.site.file("err")).unwrap();
    eventually("it waits", || said().contains("waiting"));
    engine.start_again();
    eventually("it has ended", || child.try_wait().unwrap().is_some());
    assert_ne!(child.wait().unwrap().code(), Some(0), "{}", said());
    assert_eq!(stack.inspect("app", "{{.State.Status}}"), "running", "{}", said());
    // Nothing is left that the next one would have to put back.
    assert!(!stack.site.state("stopped.json").exists(), "{}", said());
    eventually("the server answers", || stack.run(&["db", "list"]).code == 0);
    stack.run(&["db", "rebuild", "shop", "--yes"]).success();
}

/// Its policy stays, so that nothing has to be put back where both dpl and the engine are killed.
#[test]
fn an_old_container_that_was_stopped_for_its_replacement_stays_down_when_the_engine_comes_back() {
    let engine = private_engine(&["expert/expert_api:latest"]);
    let text = r#"{ "project": "PROJECT", "services": { "web": { "image": "expert/expert_api:latest", "stop_signal": "SIGKILL",
        "restart": "unless-stopped", "ready": { "running_for": "500ms" }, "environment": { "V": "1" } } } }"#;
    let mut stack = Stack::on(&engine.address, text);
    stack.run(&["start"]).success();
    let old = stack.inspect("web", "{{.Id}}");
    stack.rewrite(&text.replace(r#""1""#, r#""2""#));
    let state = |id: &str| {
        docker_on(&engine.address, &["inspect", "--format", "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}", id])
    };
    // Of one that is found stopped nobody knows who stopped it: that one loses its policy.
    for (point, policy) in [("after-stop", "unless-stopped"), ("before-start", "no")] {
        stack.site.set("DPL_FAILPOINT", format!("services.execute.{point}"));
        stack.site.run(&["start", "--yes", "-f", "stack.json"]);
        stack.site.set("DPL_FAILPOINT", "");
        let down = format!("exited {policy}");
        assert_eq!(state(&old), down, "{point}");
        engine.kill();
        engine.start_again();
        assert_eq!(state(&old), down, "{point}: after the engine's restart");
    }
    stack.run(&["start"]).success();
    assert!(stack.inspect("web", "{{.Config.Env}}").contains("V=2"));
    assert_eq!(stack.inspect("web", "{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped");
}

/// Where dpl may look at the engine's packet filter, no container has to be tried.
#[test]
fn a_whole_packet_filter_is_seen_without_a_container_and_an_emptied_one_is_told() {
    let engine = private_engine(&["expert/expert_api:latest"]);
    let text = r#"{ "project": "PROJECT", "services": { "web": { "image": "expert/expert_api:latest", "stop_signal": "SIGKILL",
        "ready": { "running_for": "500ms" }, "ports": ["127.0.0.1:18098:8080"], "environment": { "V": "1" } } } }"#;
    let stack = Stack::on(&engine.address, text);
    stack.run(&["start"]).success();
    let version = |version: &str| stack.rewrite(&text.replace(r#""V": "1""#, &format!(r#""V": "{version}""#)));
    let program = stack.site.command(&[]).get_program().to_owned();
    let start = format!(
        "cd {} && DOCKER_HOST={} {} start --yes -f stack.json --progress none",
        stack.site.path().display(),
        engine.address,
        program.to_string_lossy()
    );
    let helpers = || {
        let made = docker_on(
            &engine.address,
            &[
                "events",
                "--since",
                "5m",
                "--until",
                "0s",
                "--filter",
                "event=create",
                "--format",
                "{{.Actor.Attributes.name}}",
            ],
        );
        made.lines().filter(|name| name.contains(&stack.project) && name.contains(".dpl-helper")).count()
    };
    // The first start, which was none of its network, has looked for who holds the port.
    let before = helpers();
    version("2");
    engine.in_its_network(&start);
    assert!(stack.inspect("web", "{{.Config.Env}}").contains("V=2"));
    assert_eq!(helpers(), before);
    // From elsewhere it is tried: the count can tell.
    version("3");
    stack.run(&["start"]).success();
    assert_eq!(helpers(), before + 1);
    version("4");
    engine.in_its_network("iptables -t nat -F; iptables -t nat -X");
    let said = stack.site.file("said").display().to_string();
    engine.in_its_network(&format!("! ({start}) 2>{said}; grep -q \"can't publish any port\" {said}"));
    assert!(stack.inspect("web", "{{.Config.Env}} {{.State.Running}}").contains("V=3"));
    engine.kill();
    engine.start_again();
}

/// As when a firewall is reloaded behind the engine's back: every start of a container that publishes a port fails then.
#[test]
fn an_engine_whose_packet_filter_was_emptied_is_told_before_anything_stops_and_its_restart_mends_it() {
    let engine = private_engine(&["expert/expert_api:latest"]);
    let text = r#"{ "project": "PROJECT", "services": { "web": { "image": "expert/expert_api:latest", "stop_signal": "SIGKILL",
        "ports": ["127.0.0.1:18099:8080"], "environment": { "V": "1" } } } }"#;
    let stack = Stack::on(&engine.address, text);
    stack.run(&["start"]).success();
    let life = |stack: &Stack| stack.inspect("web", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}");
    let before = life(&stack);
    stack.rewrite(&text.replace(r#""1""#, r#""2""#));
    engine.in_its_network("for table in nat filter; do iptables -t $table -F; iptables -t $table -X; done");
    for command in [&["start"][..], &["restart", "web"]] {
        let run = stack.run(command).failure(1);
        let said = "the engine can't publish any port now";
        assert!(run.stderr.contains(said) && run.stderr.contains("restart"), "{command:?}: {}", run.stderr);
        assert_eq!(life(&stack), before, "{command:?}: {}", run.stderr);
    }
    let document = stack.run(&["doctor", "--json"]).failure(1).json();
    let checks = document["checks"].as_array().unwrap();
    let is_told = |check: &serde_json::Value| check["name"] == "ports" && check["verdict"] == "problem";
    assert!(checks.iter().any(|check| is_told(check) && check["advice"].is_string()), "{document}");
    // What is advised helps.
    engine.kill();
    engine.start_again();
    stack.run(&["start"]).success();
    assert!(stack.inspect("web", "{{.Config.Env}}").contains("V=2"));
}
