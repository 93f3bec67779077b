//! Services on a real engine: `DPL_TEST_ENGINE=unix://… cargo test --test engine_services`, inside the engine's network
//! namespace, where its ports are published.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dpl::catalogue::english;
use dpl::engine::{Address, Engine};
use dpl::fs::Digest;
use dpl::manifest::Manifest;
use dpl::manifest::model::{
    BindOptions, Condition, Dependency, EnvFile, EnvValue, Gpu, Healthcheck, HttpProbe, Logging, Mount, MountKind,
    NamespaceMode, Port, Ready, ReadyProbe, RestartPolicy, SecretSource, Service, Tmpfs, Ulimit, Volume,
};
use dpl::report::{Event, Listener, Reporter};
use dpl::services::{
    self, Action, Depth, ExecuteOptions, Extent, LogOptions, Options, Plan, Recreate, Request, ServiceOutcome,
    ServicesError, ServicesReport, Snapshot, Wait, WayBack,
};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::support_engine::{eventually, free_port};

/// What belongs under an error's own line.
fn particulars(error: &ServicesError) -> Vec<String> {
    error.particulars().iter().map(|(_, line)| english(line)).collect()
}

/// A project of its own on the engine, taken away at the end.
struct Site {
    engine: Engine,
    manifest: Manifest,
    folder: tempfile::TempDir,
}

impl Site {
    async fn new(project: &str) -> Self {
        let address = std::env::var("DPL_TEST_ENGINE")
            .expect("DPL_TEST_ENGINE must name a private engine (unix://…): start one with scripts/engine.sh up NAME");
        let address = Address::resolve(Some(&address)).expect("DPL_TEST_ENGINE is an address");
        let engine = Engine::connect(address).await.expect("the test's engine answers");
        let manifest = Manifest { project: project.to_owned(), ..Manifest::default() };
        let site = Self { engine, manifest, folder: tempfile::tempdir().unwrap() };
        site.clean().await;
        site
    }

    /// Adds a service whose image serves HTTP on port 80 with the given answer to `/version`.
    async fn service(&mut self, name: &str, image: Image, change: impl FnOnce(&mut Service)) {
        let reference = format!("{}/{name}:1", self.manifest.project);
        image.load(&self.engine, &reference).await;
        let mut service =
            Service { image: reference.parse().unwrap(), restart: RestartPolicy::UnlessStopped, ..Service::default() };
        service.stop_grace_period = Some("1s".parse().unwrap());
        change(&mut service);
        self.manifest.services.push(name.to_owned(), Some(service));
    }

    async fn new_image(&self, name: &str, image: Image) {
        image.load(&self.engine, &format!("{}/{name}:1", self.manifest.project)).await;
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let mut services = dpl::manifest::model::Numbered::default();
        let mut change = Some(change);
        for (_, other, service) in self.manifest.services.iter() {
            let mut service = service.clone();
            if let (true, Some(change)) = (other == name, change.take_if(|_| other == name)) {
                change(&mut service);
            }
            services.push(other.to_owned(), Some(service));
        }
        self.manifest.services = services;
    }

    fn request(&self, action: Action, selection: &[&str], options: Options) -> Request {
        Request { action, selection: selection.iter().map(|name| (*name).to_owned()).collect(), options }
    }

    async fn plan(&self, action: Action, selection: &[&str], options: Options) -> Result<Plan, ServicesError> {
        let request = self.request(action, selection, options);
        let snapshot = Snapshot::take(&self.engine, &self.manifest, &request, Depth::WithHelpers).await?;
        services::plan(&request, &self.manifest, &snapshot)
    }

    async fn act_with(
        &self,
        action: Action,
        selection: &[&str],
        options: Options,
        reporter: &Reporter,
    ) -> Result<ServicesReport, ServicesError> {
        let plan = self.plan(action, selection, options).await?;
        services::execute(&self.engine, &self.manifest, &plan, &ExecuteOptions::default(), reporter).await
    }

    async fn act(&self, action: Action, selection: &[&str]) -> Result<ServicesReport, ServicesError> {
        self.act_with(action, selection, options(), &Reporter::default()).await
    }

    async fn status(&self) -> services::StatusReport {
        let all: Vec<String> = self.manifest.services.names().map(str::to_owned).collect();
        services::status(&self.engine, &self.manifest, &all).await.unwrap()
    }

    /// `name: state health [drift]`, a line a service.
    async fn states(&self) -> Vec<String> {
        let line = |service: services::ServiceStatus| {
            let drift = if service.drift.is_empty() { String::new() } else { format!(" {:?}", service.drift) };
            format!("{}: {} {}{drift}", service.name, service.state, service.health)
        };
        self.status().await.services.into_iter().map(line).collect()
    }

    async fn container_id(&self, name: &str) -> String {
        self.engine.inspect_container(name).await.unwrap().expect("the container is there").id
    }

    /// Everything of the project goes, whatever a test left.
    async fn clean(&self) {
        let ids = self.engine.list_containers(&[("dpl.project", &self.manifest.project)]).await.unwrap();
        for id in ids {
            self.engine.discard_container(&id).await.unwrap();
        }
        let is_ours = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("dpl.project").is_some_and(|project| *project == self.manifest.project)
        };
        for network in self.engine.list_networks().await.unwrap().iter().filter(|network| is_ours(&network.labels)) {
            self.engine.remove_network(&network.name).await.unwrap();
        }
        for volume in self.engine.list_volumes().await.unwrap().iter().filter(|volume| is_ours(&volume.labels)) {
            self.engine.remove_volume(&volume.name).await.unwrap();
        }
    }
}

fn options() -> Options {
    Options { wait_timeout: Some(Duration::from_secs(60)), ..Options::default() }
}

/// An image of busybox: what differs between two of them.
#[derive(Clone)]
struct Image {
    version: &'static str,
    command: Vec<&'static str>,
    health: Option<&'static str>,
    volume: Option<&'static str>,
}

const SERVE: &str = "cp -r /www /run-www 2>/dev/null; echo ready to serve; exec httpd -f -p 80 -h /www";

impl Image {
    fn serving(version: &'static str) -> Self {
        Self { version, command: vec!["sh", "-c", SERVE], health: None, volume: None }
    }

    fn running(version: &'static str, script: &'static str) -> Self {
        Self { command: vec!["sh", "-c", script], ..Self::serving(version) }
    }

    async fn load(&self, engine: &Engine, reference: &str) {
        let layer = self.layer();
        let diff_id = Digest::of(&layer);
        let mut config = serde_json::json!({
            "architecture": engine.facts().await.unwrap().architecture, "os": "linux",
            "config": { "Cmd": self.command, "Env": ["PATH=/bin", "FROM_IMAGE=yes"] },
            "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
        });
        if let Some(test) = self.health {
            config["config"]["Healthcheck"] = serde_json::json!({
                "Test": ["CMD-SHELL", test], "Interval": 200_000_000, "Timeout": 2_000_000_000_u64, "Retries": 3
            });
        }
        if let Some(volume) = self.volume {
            config["config"]["Volumes"] = serde_json::json!({ volume: {} });
        }
        let config = config.to_string();
        let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
        let layer_name = format!("{}.tar", diff_id.hex());
        let manifest =
            serde_json::json!([{ "Config": config_name, "RepoTags": [reference], "Layers": [layer_name] }]).to_string();
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in [
            (layer_name.as_str(), layer.as_slice()),
            (&config_name, config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            append(&mut archive, name, bytes, 0o644);
        }
        let bytes = bytes::Bytes::from(archive.into_inner().unwrap());
        let answer: Vec<_> = engine.load_images(futures::stream::iter([Ok(bytes)])).try_collect().await.unwrap();
        assert!(engine.inspect_image(reference).await.unwrap().is_some(), "{answer:?}");
    }

    fn layer(&self) -> Vec<u8> {
        let mut layer = tar::Builder::new(Vec::new());
        append(&mut layer, "bin/busybox", &std::fs::read("/bin/busybox").expect("busybox-static is installed"), 0o755);
        for applet in
            ["sh", "sleep", "httpd", "cat", "cp", "echo", "nc", "test", "date", "touch", "ls", "stat", "env", "true"]
        {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
        }
        append(&mut layer, "www/version", self.version.as_bytes(), 0o644);
        append(&mut layer, "www/health", b"ok", 0o644);
        layer.into_inner().unwrap()
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, bytes).unwrap();
}

fn needs(service: &mut Service, other: &str, condition: Condition) {
    service.depends_on.insert(other.to_owned(), Dependency { condition, restart: false, required: true });
}

fn http(path: &str) -> Option<Ready> {
    Some(Ready { probe: ReadyProbe::Http(HttpProbe { port: 80, path: path.to_owned(), status: None }), timeout: None })
}

fn published(port: u16) -> Port {
    Port { target: 80, published: Some(port), ..Port::default() }
}

/// What a published port answers to a request.
fn ask(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// Waits for this answer.
#[track_caller]
fn answers(port: u16, path: &str, wanted: &str) {
    eventually(wanted, || ask(port, path).as_deref() == Some(wanted));
}

fn results(report: &ServicesReport) -> Vec<(&str, ServiceOutcome)> {
    report.services.iter().map(|service| (service.name.as_str(), service.result)).collect()
}

fn failures(error: &ServicesError) -> &[services::ServiceFailure] {
    match error {
        ServicesError::Failed { failures, .. } => failures,
        other => panic!("not a failure of services: {other} {:?}", other.particulars()),
    }
}

#[tokio::test]
async fn a_stack_starts_in_order_settles_and_goes_away() {
    let mut site = Site::new("t-whole").await;
    let port = free_port();
    let folder = site.folder.path().to_owned();
    std::fs::write(folder.join("password"), "s3cret-password\n").unwrap();
    std::fs::write(folder.join("db.env"), "MODE=fast\n").unwrap();
    std::fs::create_dir(folder.join("long")).unwrap();
    let check = Healthcheck {
        test: ["CMD", "test", "-f", "/up"].map(str::to_owned).into(),
        interval: Some("200ms".parse().unwrap()),
        retries: Some(50),
        ..Healthcheck::default()
    };
    let mount = |kind, source: &Path, target: &str, create_host_path| Mount {
        kind,
        source: Some(source.to_str().unwrap().to_owned()),
        target: target.to_owned(),
        bind: BindOptions { propagation: None, create_host_path, ..BindOptions::default() },
        ..Mount::default()
    };
    let (long, short) = (folder.join("long"), folder.join("made/by/the/engine"));
    site.service("db", Image::running("db", "sleep 0.5; touch /up; exec sleep 1000"), |service| {
        service.healthcheck = Some(check);
        service
            .environment
            .insert("PASSWORD".to_owned(), EnvValue::Secret(SecretSource::File(folder.join("password"))));
        service.environment.insert("PLAIN".to_owned(), EnvValue::Plain("a=b c".to_owned()));
        service.env_file.push(EnvFile { path: folder.join("db.env"), required: true, ..EnvFile::default() });
        service.volumes.push(mount(MountKind::Bind, &long, "/long", false));
        service.volumes.push(mount(MountKind::Bind, &short, "/short", true));
        service.volumes.push(mount(MountKind::Volume, Path::new("data"), "/data", false));
        service.tmpfs.push(Tmpfs { target: "/cache".to_owned(), options: "size=1m".to_owned() });
        service.mem_limit = Some("64m".parse().unwrap());
        service.cpus = Some("0.5".parse().unwrap());
        service.pids_limit = Some(50);
        service.shm_size = Some("8m".parse().unwrap());
        service.ulimits.insert("nofile".to_owned(), Ulimit { soft: 1024, hard: 2048 });
        service.cap_drop.push("NET_RAW".to_owned());
        service.sysctls.insert("net.core.somaxconn".to_owned(), "512".to_owned());
        service.extra_hosts.insert("elsewhere".to_owned(), vec!["10.0.0.1".to_owned()]);
        service.logging = Some(Logging {
            driver: Some("json-file".to_owned()),
            options: [("max-size".to_owned(), "1m".to_owned())].into_iter().collect(),
        });
    })
    .await;
    site.service("api", Image::serving("api"), |service| {
        needs(service, "db", Condition::ServiceHealthy);
        service.ready = http("/health");
        service.ports.push(published(port));
    })
    .await;
    site.service("ui", Image::serving("ui"), |service| {
        needs(service, "api", Condition::ServiceHealthy);
        service.ready = Some(Ready { probe: ReadyProbe::Tcp(80), timeout: None });
    })
    .await;
    site.service("log", Image::serving("log"), |service| {
        service.ready = Some(Ready { probe: ReadyProbe::Log("^ready to .erve$".to_owned()), timeout: None });
    })
    .await;
    site.service("migrate", Image::running("migrate", "echo migrated"), |service| service.restart = RestartPolicy::No)
        .await;
    site.service("after", Image::serving("after"), |service| {
        needs(service, "migrate", Condition::ServiceCompletedSuccessfully);
    })
    .await;
    site.manifest.volumes.insert("data".to_owned(), Volume::default());
    let all = ["db", "api", "ui", "log", "migrate", "after"];

    let report =
        site.act(Action::Start, &all).await.unwrap_or_else(|error| panic!("{error}: {:?}", error.particulars()));
    assert!(report.services.iter().all(|service| service.result == ServiceOutcome::Created), "{report:?}");
    assert_eq!(report.resources, ["network t-whole_default", "volume t-whole_data"]);
    let running = [
        "db: running healthy",
        "api: running none",
        "ui: running none",
        "log: running none",
        "migrate: exited none",
        "after: running none",
    ];
    assert_eq!(site.states().await, running);
    assert_eq!(ask(port, "/version").as_deref(), Some("api"));
    assert!(short.is_dir());

    let db = site.engine.inspect_container("t-whole-db-1").await.unwrap().unwrap();
    for (name, value) in [("PASSWORD", "s3cret-password"), ("PLAIN", "a=b c"), ("MODE", "fast"), ("FROM_IMAGE", "yes")]
    {
        assert_eq!(db.environment.0.get(name).map(String::as_str), Some(value), "{name}");
    }
    let started = |name: &'static str| {
        let engine = site.engine.clone();
        async move { engine.inspect_container(name).await.unwrap().unwrap().started_at.parse::<jiff::Timestamp>().unwrap() }
    };
    assert!(started("t-whole-db-1").await < started("t-whole-api-1").await);
    assert!(started("t-whole-api-1").await < started("t-whole-ui-1").await);

    let again = site.plan(Action::Start, &all, options()).await.unwrap();
    assert!(again.is_empty(), "{again:?}");

    let lines: Vec<_> =
        services::logs(&site.engine, &site.manifest, &["migrate".to_owned(), "log".to_owned()], &LogOptions::default())
            .try_collect()
            .await
            .unwrap();
    let texts: BTreeSet<(&str, &str)> = lines.iter().map(|line| (line.service.as_str(), line.text.as_str())).collect();
    assert_eq!(texts, [("log", "ready to serve"), ("migrate", "migrated")].into());

    let before = site.container_id("t-whole-api-1").await;
    let report = site.act(Action::Restart, &["api"]).await.unwrap();
    assert_eq!(results(&report), [("api", ServiceOutcome::Restarted)]);
    assert_eq!(site.container_id("t-whole-api-1").await, before);

    site.act(Action::Stop, &all).await.unwrap();
    assert_eq!(site.states().await[..2], ["db: exited none", "api: exited none"]);
    let report = site.act(Action::Start, &["ui"]).await.unwrap();
    let outcomes: BTreeSet<_> =
        results(&report).into_iter().collect::<Vec<_>>().iter().map(|(name, _)| *name).collect();
    assert_eq!(outcomes, ["api", "db", "ui"].into());

    let plan = site.plan(Action::Remove, &all, Options::default()).await.unwrap();
    assert!(plan.steps.iter().all(|step| step.service.is_some()));
    let extent = [Extent::Volumes, Extent::Networks, Extent::Orphans].into();
    let options = Options { extent, ..Options::default() };
    let report = site.act_with(Action::Remove, &all, options, &Reporter::default()).await.unwrap();
    assert!(report.services.iter().all(|service| service.result == ServiceOutcome::Removed), "{report:?}");
    assert!(site.engine.list_containers(&[("dpl.project", "t-whole")]).await.unwrap().is_empty());
    assert!(!site.engine.list_networks().await.unwrap().iter().any(|network| network.name == "t-whole_default"));
    assert!(!site.engine.list_volumes().await.unwrap().iter().any(|volume| volume.name == "t-whole_data"));
}

#[tokio::test]
async fn a_replacement_that_never_gets_healthy_gives_way_to_the_old_container() {
    let mut site = Site::new("t-unhealthy").await;
    let port = free_port();
    let good = Image { health: Some("test -f /www/health"), volume: Some("/store"), ..Image::serving("one") };
    site.service("api", good.clone(), |service| {
        service.ports.push(published(port));
        service.restart = RestartPolicy::Always;
        let secret = SecretSource::File(site_secret(&service.image.to_string()));
        service.environment.insert("TOKEN".to_owned(), EnvValue::Secret(secret));
    })
    .await;
    site.service("ui", Image::serving("ui"), |service| needs(service, "api", Condition::ServiceHealthy)).await;
    site.act(Action::Start, &["api", "ui"]).await.unwrap();
    assert_eq!(ask(port, "/version").as_deref(), Some("one"));
    let container = "t-unhealthy-api-1";
    let (old, ui) = (site.container_id(container).await, site.container_id("t-unhealthy-ui-1").await);
    write_into_volume(&site, container).await;

    let script = "echo the token is $TOKEN; echo going nowhere >&2; exec httpd -f -p 80 -h /www";
    let bad =
        Image { health: Some("echo no database; exit 1"), volume: Some("/store"), ..Image::running("two", script) };
    site.new_image("api", bad).await;
    site.new_image("ui", Image::serving("ui2")).await;
    let error = site.act(Action::Restart, &["api", "ui"]).await.unwrap_err();
    let failure = &failures(&error)[0];
    assert!(matches!(failure.way_back, WayBack::PutBack), "{failure:?}");
    assert!(failure.log.contains(&"going nowhere".to_owned()), "{failure:?}");
    assert!(failure.log.contains(&"the token is ******".to_owned()), "{failure:?}");
    assert!(failure.health.contains(&"no database".to_owned()), "{failure:?}");
    let outcomes = results(error.report().unwrap());
    assert_eq!(outcomes, [("api", ServiceOutcome::Failed), ("ui", ServiceOutcome::Skipped)]);

    // The old one serves again, with its data and its policy, and nothing else is left.
    answers(port, "/version", "one");
    assert_eq!(site.container_id(container).await, old);
    assert_eq!(site.container_id("t-unhealthy-ui-1").await, ui);
    assert_eq!(read_from_volume(&site, container).await, "kept");
    let view = site.engine.inspect_container(container).await.unwrap().unwrap();
    assert_eq!(view.restart, dpl::engine::RestartPolicy::Always);
    assert_eq!(site.engine.list_containers(&[("dpl.project", "t-unhealthy")]).await.unwrap().len(), 2);

    // A good one takes its place, and the data follows.
    site.new_image("api", Image { version: "three", ..good }).await;
    let report = site.act(Action::Restart, &["api", "ui"]).await.unwrap();
    assert_eq!(results(&report), [("api", ServiceOutcome::Recreated), ("ui", ServiceOutcome::Recreated)]);
    assert_eq!(ask(port, "/version").as_deref(), Some("three"));
    assert_eq!(read_from_volume(&site, container).await, "kept");
    assert_eq!(site.states().await, ["api: running healthy", "ui: running none"]);
    assert_eq!(site.engine.list_containers(&[("dpl.project", "t-unhealthy")]).await.unwrap().len(), 2);
    site.clean().await;
}

/// A file that holds a secret, for the life of the test process.
fn site_secret(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("dpl-test-{}-{}", std::process::id(), dpl::fs::escape(name)));
    std::fs::write(&path, "swordfish-1234\n").unwrap();
    path
}

async fn write_into_volume(site: &Site, container: &str) {
    let command = ["sh", "-c", "echo -n kept > /store/file"].map(str::to_owned).into();
    let spec = dpl::engine::ExecSpec { command, ..Default::default() };
    assert_eq!(site.engine.exec(container, &spec, b"").await.unwrap().exit_code, 0);
}

async fn read_from_volume(site: &Site, container: &str) -> String {
    let command = ["cat", "/store/file"].map(str::to_owned).into();
    let spec = dpl::engine::ExecSpec { command, ..Default::default() };
    String::from_utf8(site.engine.exec(container, &spec, b"").await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_replacement_that_ends_fails_at_once_with_its_exit_code() {
    let mut site = Site::new("t-exit").await;
    let port = free_port();
    site.service("api", Image::serving("one"), |service| {
        service.ports.push(published(port));
        service.ready = http("/health");
        service.restart = RestartPolicy::No;
    })
    .await;
    site.act(Action::Start, &["api"]).await.unwrap();
    site.new_image("api", Image::running("two", "echo bad migration; exit 3")).await;
    // Not when the time for it is over, which would be said instead.
    let error = site.act(Action::Restart, &["api"]).await.unwrap_err();
    let text = particulars(&error).join("\n");
    assert!(
        text.contains("exit code 3") && text.contains("bad migration") && text.contains("back as it was"),
        "{text}"
    );
    answers(port, "/version", "one");
    site.clean().await;
}

#[tokio::test]
async fn a_crash_loop_fails_at_once_and_a_late_dependency_does_not() {
    let mut site = Site::new("t-loop").await;
    site.service("looping", Image::running("one", "echo again; exit 7"), |service| service.ready = http("/health"))
        .await;
    let error = site.act(Action::Start, &["looping"]).await.unwrap_err();
    let text = particulars(&error).join("\n");
    assert!(text.contains("restarts again and again") && text.contains("exit code 7"), "{text}");

    let once = "if test -f /once; then exec httpd -f -p 80 -h /www; else touch /once; exit 1; fi";
    site.service("late", Image::running("late", once), |service| service.ready = http("/health")).await;
    site.act(Action::Start, &["late"]).await.unwrap_or_else(|error| panic!("{:?}", error.particulars()));
    site.clean().await;
}

#[tokio::test]
async fn a_busy_port_costs_nothing_that_ran() {
    let mut site = Site::new("t-port").await;
    let (port, other) = (free_port(), free_port());
    site.service("api", Image::serving("one"), |service| service.ports.push(published(port))).await;
    site.act(Action::Start, &["api"]).await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, other)).unwrap();
    site.change("api", |service| service.ports[0].published = Some(other));
    let before = site.engine.inspect_container("t-port-api-1").await.unwrap().unwrap();
    let error = site.act(Action::Restart, &["api"]).await.unwrap_err();
    let text = particulars(&error).join("\n");
    assert!(
        text.contains(&format!("port {other}/tcp of the host is in use by process"))
            && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    let after = site.engine.inspect_container("t-port-api-1").await.unwrap().unwrap();
    assert_eq!((after.id, after.started_at), (before.id, before.started_at), "nothing was stopped for it");

    // One that is taken only when the plan has been made is found by the engine, and the old container is back.
    drop(taken);
    let plan = site.plan(Action::Restart, &["api"], options()).await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, other)).unwrap();
    let (how, reporter) = (ExecuteOptions::default(), Reporter::default());
    let error = services::execute(&site.engine, &site.manifest, &plan, &how, &reporter).await.unwrap_err();
    assert!(matches!(failures(&error)[0].way_back, WayBack::PutBack), "{error:?}");
    answers(port, "/version", "one");
    drop(taken);
    site.act(Action::Restart, &["api"]).await.unwrap();
    answers(other, "/version", "one");
    site.clean().await;
}

#[tokio::test]
async fn what_changes_in_an_env_file_or_on_the_engine_is_drift_and_applied() {
    let mut site = Site::new("t-drift").await;
    let path = site.folder.path().join("api.env");
    std::fs::write(&path, "LEVEL=info\nKEPT=1\n").unwrap();
    let file = EnvFile { path: path.clone(), required: true, ..EnvFile::default() };
    site.service("api", Image::serving("one"), |service| service.env_file.push(file)).await;
    site.act(Action::Start, &["api"]).await.unwrap();
    assert_eq!(site.states().await, ["api: running none"]);
    std::fs::write(&path, "LEVEL=debug\nKEPT=1\n").unwrap();
    assert_eq!(site.states().await, ["api: running none [\"environment.LEVEL\"]"]);
    let report = site.act(Action::Restart, &["api"]).await.unwrap();
    assert_eq!(report.services[0].cause, "configuration: environment.LEVEL");
    assert_eq!(site.states().await, ["api: running none"]);

    let id = site.container_id("t-drift-api-1").await;
    site.engine.set_restart_policy(&id, dpl::engine::RestartPolicy::No).await.unwrap();
    assert_eq!(site.states().await, ["api: running none [\"restart\"]"]);
    let report = site.act(Action::Start, &["api"]).await.unwrap();
    assert_eq!(results(&report), [("api", ServiceOutcome::Waited)]);
    assert_eq!(site.container_id("t-drift-api-1").await, id);
    assert_eq!(site.states().await, ["api: running none"]);
    site.clean().await;
}

#[tokio::test]
async fn a_container_that_dpl_did_not_make_is_never_touched() {
    let mut site = Site::new("t-stranger").await;
    site.service("api", Image::serving("one"), |_| {}).await;
    let spec = dpl::engine::ContainerSpec {
        name: "t-stranger-api-1".to_owned(),
        image: "t-stranger/api:1".to_owned(),
        ..Default::default()
    };
    let _ = site.engine.discard_container(&spec.name).await;
    let stranger = site.engine.create_container(&spec).await.unwrap();
    let error = site.act(Action::Start, &["api"]).await.unwrap_err();
    assert!(particulars(&error)[0].contains("dpl did not create it"), "{error:?}");
    assert_eq!(site.container_id("t-stranger-api-1").await, stranger);
    site.engine.discard_container(&stranger).await.unwrap();
    site.clean().await;
}

#[tokio::test]
async fn a_gpu_that_is_not_there_is_left_out_or_refused() {
    let mut site = Site::new("t-gpu").await;
    let gpu = |required| Gpu { count: Some(dpl::manifest::model::GpuCount::All), required, ..Gpu::default() };
    site.service("may", Image::serving("one"), |service| service.gpus.push(gpu(false))).await;
    site.service("must", Image::serving("two"), |service| service.gpus.push(gpu(true))).await;
    site.act(Action::Start, &["may"]).await.unwrap();
    assert_eq!(site.status().await.services[0].containers[0].dropped, ["gpus"]);
    let again = site.plan(Action::Start, &["may"], options()).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    let error = site.act(Action::Start, &["must"]).await.unwrap_err();
    assert_eq!(particulars(&error), ["must: the engine can't provide the GPU that it requires"]);
    site.clean().await;
}

#[tokio::test]
async fn namespaces_follow_the_container_that_provides_them() {
    let mut site = Site::new("t-namespace").await;
    site.service("net", Image::serving("one"), |service| service.ready = http("/health")).await;
    site.service("guest", Image::running("guest", "exec sleep 1000"), |service| {
        service.network_mode = Some(NamespaceMode::Service("net".to_owned()));
    })
    .await;
    site.act(Action::Start, &["guest"]).await.unwrap();
    site.new_image("net", Image::serving("two")).await;
    let report = site.act(Action::Restart, &["net"]).await.unwrap();
    assert_eq!(results(&report), [("net", ServiceOutcome::Recreated), ("guest", ServiceOutcome::Recreated)]);
    let again = site.plan(Action::Start, &["net", "guest"], options()).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    let command = ["sh", "-c", "nc -w 2 127.0.0.1 80 </dev/null"].map(str::to_owned).into();
    let spec = dpl::engine::ExecSpec { command, ..Default::default() };
    assert_eq!(site.engine.exec("t-namespace-guest-1", &spec, b"").await.unwrap().exit_code, 0);
    site.clean().await;
}

#[tokio::test]
async fn a_plan_that_has_become_stale_is_refused() {
    let mut site = Site::new("t-stale").await;
    site.service("api", Image::serving("one"), |_| {}).await;
    site.act(Action::Start, &["api"]).await.unwrap();
    let forced = Options { recreate: Recreate::All, ..options() };
    let plan = site.plan(Action::Start, &["api"], forced).await.unwrap();
    let old = site.container_id("t-stale-api-1").await;
    site.engine.rename_container(&old, "t-stale-elsewhere").await.unwrap();
    let (how, reporter) = (ExecuteOptions::default(), Reporter::default());
    let error = services::execute(&site.engine, &site.manifest, &plan, &how, &reporter).await.unwrap_err();
    assert!(particulars(&error)[0].contains("was renamed since the plan was made"), "{error:?}");
    assert_eq!(site.engine.list_containers(&[("dpl.project", "t-stale")]).await.unwrap(), [old]);
    site.clean().await;
}

/// Asks for an end at the first event that matches.
struct StopAt {
    token: CancellationToken,
    words: (&'static str, &'static str),
    heard: Mutex<Vec<String>>,
}

impl Listener for StopAt {
    fn hear(&self, event: &Event) {
        if let Event::Began { activity, subject, .. } = event {
            self.heard.lock().unwrap().push(format!("{} {subject}", activity.word()));
            if (activity.word(), subject.as_str()) == self.words {
                self.token.cancel();
            }
        }
    }
}

#[tokio::test]
async fn an_end_that_is_asked_for_finishes_the_service_in_hand_and_begins_no_other() {
    let mut site = Site::new("t-stop").await;
    site.service("first", Image::serving("one"), |service| service.ready = http("/health")).await;
    site.service("second", Image::serving("one"), |service| needs(service, "first", Condition::ServiceHealthy)).await;
    site.act(Action::Start, &["first", "second"]).await.unwrap();
    site.new_image("first", Image::serving("two")).await;
    site.new_image("second", Image::serving("two")).await;
    let second = site.container_id("t-stop-second-1").await;
    let token = CancellationToken::new();
    let stop_at =
        Arc::new(StopAt { token: token.clone(), words: ("stop-container", "first"), heard: Mutex::default() });
    let reporter = Reporter::new(vec![stop_at.clone()], token);
    let error = site.act_with(Action::Restart, &["first", "second"], options(), &reporter).await.unwrap_err();
    assert!(matches!(error, ServicesError::Interrupted { .. }), "{error:?}");
    assert_eq!(
        results(error.report().unwrap()),
        [("first", ServiceOutcome::Recreated), ("second", ServiceOutcome::Skipped)]
    );
    assert_eq!(site.container_id("t-stop-second-1").await, second);
    assert_eq!(site.states().await, ["first: running none", "second: running none [\"image\"]"]);
    site.clean().await;
}

#[tokio::test]
async fn logs_follow_as_lines_come() {
    let mut site = Site::new("t-logs").await;
    let script = "for n in 1 2 3; do echo out $n; echo err $n >&2; sleep 0.1; done; exec sleep 1000";
    site.service("api", Image::running("one", script), |_| {}).await;
    site.act_with(Action::Start, &["api"], Options { wait: Wait::WhereNeeded, ..options() }, &Reporter::default())
        .await
        .unwrap();
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let selection = ["api".to_owned()];
    let lines = services::logs(&site.engine, &site.manifest, &selection, &options).take(6).try_collect::<Vec<_>>();
    let lines = tokio::time::timeout(Duration::from_secs(20), lines).await.expect("six lines come").unwrap();
    let texts: BTreeSet<String> = lines.iter().map(|line| format!("{} {}", line.source, line.text)).collect();
    let wanted = (1..=3).flat_map(|n| [format!("stdout out {n}"), format!("stderr err {n}")]).collect();
    assert_eq!(texts, wanted);
    assert!(lines.iter().all(|line| line.time.is_some()));
    site.clean().await;
}

#[tokio::test]
async fn a_probe_from_inside_the_container_tells_the_same() {
    let mut site = Site::new("t-inside").await;
    // Another network namespace's view: no network of this engine is reachable from here.
    site.service("http", Image::serving("one"), |service| {
        service.ready = http("/health");
        service.network_mode = Some(NamespaceMode::Service("net".to_owned()));
    })
    .await;
    site.service("net", Image::running("net", "exec sleep 1000"), |_| {}).await;
    site.service("tcp", Image::serving("one"), |service| {
        service.ready = Some(Ready { probe: ReadyProbe::Tcp(80), timeout: None });
        needs(service, "http", Condition::ServiceHealthy);
    })
    .await;
    site.act(Action::Start, &["net", "http", "tcp"]).await.unwrap_or_else(|error| panic!("{:?}", error.particulars()));
    site.clean().await;
}
