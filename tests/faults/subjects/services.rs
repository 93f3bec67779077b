//! Services: a Redis with a value in a volume that nothing may lose, and another one that depends on it.

use serde_json::Value;

use super::Subject;
use super::housekeeping::wipe;
use crate::harness::run;
use crate::support::Site;
use crate::support_engine::{Stack, eventually, shared_engine};

/// What is done to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// `start` where there is nothing yet.
    FirstStart,
    /// `start` of a paused container.
    Unpause,
    /// `start` with a service that would like a GPU.
    WithGpu,
    /// `restart` of what has not changed.
    Restart,
    /// `restart` with a new configuration.
    Replace,
    /// `restart` with a configuration that can't work, then one that can.
    ReplaceInVain,
    Stop,
    Remove,
    /// `remove` with everything that it takes by word.
    RemoveAll,
    /// `rollback N`, to an earlier image and an earlier configuration.
    Rollback,
}

pub struct Services {
    stack: Stack,
    deed: Deed,
    /// The container that served before.
    old: Option<String>,
    /// The earlier image and the later one, which have the name one after the other.
    images: Vec<String>,
    /// The action that is rolled back.
    action: Option<&'static str>,
}

/// A container of the service that keeps the value.
struct Container {
    id: String,
    name: String,
    runs: bool,
}

/// Not more often than twice a second: each check is a command in a container, of which every lane has one all the time.
const CHECK: &str = r#"{"test": ["CMD", "redis-cli", "ping"], "interval": "500ms", "timeout": "2s", "retries": 60}"#;

fn manifest(release: &str, command: &str, gpus: &str) -> String {
    format!(
        r#"{{"project": "PROJECT", "volumes": {{"data": {{}}}}, "services": {{
            "cache": {{"image": "redis:7.0", "command": {command}, "environment": {{"RELEASE": "{release}"}},
                "volumes": ["data:/data"], "restart": "always", "stop_grace_period": "5s", "healthcheck": {CHECK}{gpus}}},
            "app": {{"image": "redis:7.0", "depends_on": {{"cache": {{"condition": "service_healthy"}}}},
                "stop_grace_period": "5s", "ready": {{"tcp": 6379}}}}}}}}"#
    )
}

const SERVES: &str = r#"["redis-server", "--appendonly", "yes"]"#;
const FAILS: &str = r#"["sh", "-c", "exit 7"]"#;

impl Services {
    pub fn new(deed: Deed) -> Self {
        Self::on(&shared_engine(), deed)
    }

    pub fn on(engine: &str, deed: Deed) -> Self {
        let mut services = Self {
            stack: Stack::on(engine, &manifest("1", SERVES, "")),
            deed,
            old: None,
            images: Vec::new(),
            action: None,
        };
        if deed == Deed::Rollback {
            services.images = ["one", "two"].map(|version| services.make_image(version)).into();
        }
        services
    }

    /// An image of its own that serves as the other one does.
    fn make_image(&self, version: &str) -> String {
        let made = self.stack.docker(&["create", "redis:7.0"]);
        let id =
            self.stack.docker(&["commit", "--change", &format!("LABEL version={version}"), &made, &self.image_name()]);
        self.stack.docker(&["rm", &made]);
        id
    }

    fn image_name(&self) -> String {
        format!("{}/cache:1", self.stack.project)
    }

    /// The manifest with the image whose name moves.
    fn rewrite_with_own_image(&self, release: &str) {
        let text = manifest(release, SERVES, "");
        self.stack.rewrite(&text.replacen("redis:7.0", "PROJECT/cache:1", 1));
    }

    /// Two releases, one after the other, of which the second one is the action that is rolled back.
    fn release_twice(&mut self) {
        self.stack.docker(&["tag", &self.images[0], &self.image_name()]);
        self.rewrite_with_own_image("1");
        run(&self.stack.site, &["start"]).success("the first release");
        assert_eq!(self.ask(&self.stack.container("cache"), &["set", "stock", "42"]), "OK");
        self.stack.docker(&["tag", &self.images[0], &kept(&self.images[0])]);
        self.stack.docker(&["tag", &self.images[1], &self.image_name()]);
        self.rewrite_with_own_image("2");
        run(&self.stack.site, &["restart", "cache"]).success("the second release");
        let history = run(&self.stack.site, &["history", "--json"]).success("the history");
        let history: Value = serde_json::from_str(&history.stdout).unwrap();
        let action = history["actions"].as_array().unwrap().last().unwrap()["number"].to_string();
        self.action = Some(action.leak());
        self.old = Some(self.stack.inspect("cache", "{{.Id}}"));
    }

    fn project_filter(&self) -> String {
        format!("label=com.docker.compose.project={}", self.stack.project)
    }

    fn containers(&self, service: &str) -> Vec<Container> {
        let filters = [self.project_filter(), format!("label=com.docker.compose.service={service}")];
        let format = "{{.ID}} {{.Names}} {{.State}}";
        let listed = self.stack.docker(&[
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &filters[0],
            "--filter",
            &filters[1],
            "--format",
            format,
        ]);
        let container = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let (id, name, state) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            Container { id, name, runs: state == "running" }
        };
        listed.lines().map(container).collect()
    }

    fn release(&self, id: &str) -> String {
        let environment = self.stack.docker(&["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", id]);
        environment.lines().find_map(|line| line.strip_prefix("RELEASE=")).unwrap_or_default().to_owned()
    }

    fn ask(&self, id: &str, command: &[&str]) -> String {
        let output = std::process::Command::new("docker")
            .args([&["exec", id, "redis-cli"], command].concat())
            .env("DOCKER_HOST", &self.stack.engine)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A container that answers with the value.
    #[track_caller]
    fn serves(&self, id: &str, context: &str) {
        eventually(&format!("{context}: {id} has the value"), || self.ask(id, &["get", "stock"]) == "42");
    }

    fn clear(&self) {
        let project = self.project_filter();
        for (list, remove) in [
            (vec!["ps", "--all", "--quiet"], vec!["rm", "--force", "--volumes"]),
            (vec!["volume", "ls", "--quiet"], vec!["volume", "rm"]),
            (vec!["network", "ls", "--quiet"], vec!["network", "rm"]),
        ] {
            let ids = self.stack.docker(&[list, vec!["--filter", &project]].concat());
            if !ids.is_empty() {
                self.stack.docker(&[remove, ids.split_whitespace().collect()].concat());
            }
        }
    }
}

impl Services {
    /// Fails unless everything runs as it did.
    #[track_caller]
    pub fn is_untouched(&self, context: &str) {
        let cache = self.containers("cache");
        assert_eq!(
            cache.iter().map(|container| Some(&container.id)).collect::<Vec<_>>(),
            [self.old.as_ref()],
            "{context}"
        );
        assert!(cache[0].runs && self.containers("app").iter().all(|container| container.runs), "{context}");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if self.images.is_empty() {
            return;
        }
        // Images go only after the containers that were made of them.
        let container = |service| self.stack.container(service);
        let containers = ["cache", "app"].map(container);
        let _ = std::process::Command::new("docker")
            .args(["rm", "--force", "--volumes"])
            .args(containers)
            .env("DOCKER_HOST", &self.stack.engine)
            .output();
        wipe(&self.stack, &self.images);
    }
}

/// The name under which an image is kept that lost its own.
fn kept(id: &str) -> String {
    format!("dpl-kept:{}", &id["sha256:".len()..][..32])
}

impl Subject for Services {
    fn site(&self) -> &Site {
        &self.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        match self.deed {
            Deed::FirstStart | Deed::Unpause | Deed::WithGpu => vec!["start"],
            Deed::Restart | Deed::Replace | Deed::ReplaceInVain => vec!["restart", "cache"],
            Deed::Stop => vec!["stop", "all"],
            Deed::Remove => vec!["remove", "all"],
            Deed::Rollback => vec!["rollback", self.action.expect("it was prepared")],
            Deed::RemoveAll => vec!["remove", "all", "--volumes", "--networks", "--orphans"],
        }
    }

    fn prepare(&mut self) {
        self.clear();
        self.old = None;
        if self.deed == Deed::Rollback {
            return self.release_twice();
        }
        self.stack.rewrite(&manifest("1", SERVES, ""));
        if self.deed == Deed::Unpause {
            // Health checks fail while a container is paused, and engines remember that for a while.
            let text = manifest("1", SERVES, "").replace("service_healthy", "service_started");
            self.stack.rewrite(&text.replace(CHECK, r#"{"disable": true}"#));
        }
        if self.deed == Deed::WithGpu {
            self.stack.rewrite(&manifest("1", SERVES, r#", "gpus": {"count": "all", "required": false}"#));
        }
        if matches!(self.deed, Deed::FirstStart | Deed::WithGpu) {
            return;
        }
        run(&self.stack.site, &["start"]).success("the first start");
        let cache = self.stack.container("cache");
        assert_eq!(self.ask(&cache, &["set", "stock", "42"]), "OK");
        self.old = Some(self.stack.inspect("cache", "{{.Id}}"));
        match self.deed {
            Deed::Unpause => drop(self.stack.docker(&["pause", &cache])),
            Deed::Replace => self.stack.rewrite(&manifest("2", SERVES, "")),
            Deed::ReplaceInVain => self.stack.rewrite(&manifest("2", FAILS, "")),
            _ => {}
        }
    }

    fn holds(&self, context: &str) {
        let Some(old) = &self.old else { return };
        if self.deed == Deed::RemoveAll {
            return;
        }
        self.stack.docker(&["volume", "inspect", &format!("{}_data", self.stack.project)]);
        if self.deed == Deed::Remove {
            return;
        }
        let cache = self.containers("cache");
        let is_there = cache.iter().any(|container| container.id == *old);
        // A way back may have stopped at a container that never was any good; the old one is there then.
        let serving = cache.iter().filter(|container| container.runs && container.id != *old);
        if !is_there {
            assert_eq!(serving.clone().count(), 1, "{context}: neither the old container nor a new one");
        }
        serving.filter(|_| self.deed != Deed::ReplaceInVain).for_each(|container| self.serves(&container.id, context));
        // The engine may be at a stop that the killed process asked for.
        let runs = || self.containers("cache").iter().any(|container| container.runs && container.id == *old);
        eventually(&format!("{context}: the old container has the value or is down"), || {
            !runs() || self.ask(old, &["get", "stock"]) == "42"
        });
    }

    fn before_again(&mut self) {
        if self.deed == Deed::ReplaceInVain {
            self.stack.rewrite(&manifest("2", SERVES, ""));
        }
    }

    fn is_done(&self, context: &str) {
        let cache = self.containers("cache");
        let probes = self.stack.docker(&["ps", "-aq", "--filter", &format!("label=dpl.probe={}", self.stack.project)]);
        assert_eq!(probes, "", "{context}: a throw-away container stays");
        if self.deed == Deed::RemoveAll {
            let project = self.project_filter();
            for list in [vec!["ps", "-a"], vec!["volume", "ls"], vec!["network", "ls"]] {
                let left = self.stack.docker(&[list, vec!["--quiet", "--filter", &project]].concat());
                assert_eq!(left, "", "{context}: something is left");
            }
            return;
        }
        if self.deed == Deed::Remove {
            assert!(cache.is_empty() && self.containers("app").is_empty(), "{context}");
            self.stack.docker(&["volume", "inspect", &format!("{}_data", self.stack.project)]);
            return;
        }
        assert_eq!(cache.len(), 1, "{context}: {:?}", cache.iter().map(|other| &other.name).collect::<Vec<_>>());
        assert_eq!(cache[0].name, self.stack.container("cache"), "{context}");
        let policy = self.stack.inspect("cache", "{{.HostConfig.RestartPolicy.Name}}");
        assert_eq!(policy, "always", "{context}");
        if self.deed == Deed::Stop {
            let running = self.containers("app").into_iter().chain(cache).any(|container| container.runs);
            assert!(!running, "{context}");
            return;
        }
        assert!(cache[0].runs, "{context}");
        let app = self.containers("app");
        assert!(app.len() == 1 && app[0].runs, "{context}: who depends on it runs");
        let is_replaced = matches!(self.deed, Deed::Replace | Deed::ReplaceInVain | Deed::Rollback);
        let release = if is_replaced && self.deed != Deed::Rollback { "2" } else { "1" };
        assert_eq!(self.release(&cache[0].id), release, "{context}");
        if self.deed == Deed::Rollback {
            assert_eq!(self.stack.inspect("cache", "{{.Image}}"), self.images[0], "{context}");
            let named = self.stack.docker(&["image", "inspect", "--format", "{{.Id}}", &self.image_name()]);
            assert_eq!(named, self.images[0], "{context}");
            // The way forward.
            self.stack.docker(&["image", "inspect", &kept(&self.images[1])]);
        }
        match &self.old {
            Some(old) => {
                // What a killed engine left in its runtime never starts again, and is recreated.
                let may_be_new = is_replaced || self.stack.engine != shared_engine();
                assert!(may_be_new || *old == cache[0].id, "{context}: it was replaced");
                assert!(!is_replaced || *old != cache[0].id, "{context}: it was not replaced");
                self.serves(&cache[0].id, context);
            }
            None => eventually(context, || self.ask(&cache[0].id, &["ping"]) == "PONG"),
        }
    }
}
