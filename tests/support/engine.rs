//! Real engines for tests: the shared private one that `scripts/test.sh` starts, and one's own to kill.

#![allow(dead_code)]

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Site, repository};

/// The address of the private engine that the tests share.
///
/// Without one a test fails, and says what to do; it is never skipped.
#[track_caller]
pub fn shared_engine() -> String {
    match std::env::var("DPL_TEST_ENGINE") {
        Ok(address) if !address.is_empty() => address,
        _ => panic!("this test needs a private Docker Engine: run scripts/test.sh, which starts one (as root)"),
    }
}

/// The docker command on an engine; its standard output. Fails the test when the command fails.
#[track_caller]
pub fn docker_on(engine: &str, arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).env("DOCKER_HOST", engine).output().unwrap();
    assert!(output.status.success(), "docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Whether an engine has all of an image: it can export only such a one. What it exports is thrown away.
pub fn is_whole(engine: &str, image: &str) -> bool {
    // Not by `--output`: docker puts a new file in the place of what it is given.
    let mut export = Command::new("docker");
    export.args(["image", "save", image]).env("DOCKER_HOST", engine).stdin(Stdio::null());
    export.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Waits until `holds`, or fails the test when it does not.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Instant::now();
        if holds() {
            return;
        }
        assert!(asked < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(pause_after(asked.elapsed()));
    }
}

/// How long not to ask again what took so long to ask: an engine or a server has time for what is waited for then, and none of
/// the states that are waited for is over so soon.
fn pause_after(asked: Duration) -> Duration {
    asked.saturating_mul(2).clamp(Duration::from_millis(50), Duration::from_millis(150))
}

/// The same of what is asked of an engine or a server.
#[track_caller]
pub fn eventually_asked(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let asking = async {
            loop {
                let asked = Instant::now();
                if holds().await {
                    break;
                }
                tokio::time::sleep(pause_after(asked.elapsed())).await;
            }
        };
        let held = tokio::time::timeout(PATIENCE, asking).await;
        assert!(held.is_ok(), "{place}: not within {PATIENCE:?}: {what}");
    }
}

/// A word that no other test of this run uses.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}n{}", std::process::id(), COUNTER.fetch_add(1, Ordering::SeqCst))
}

/// A port of this network namespace that nobody listens on, and that no other test takes while this process lives.
///
/// Below the range that the kernel gives to clients (32768 on), so that no connection has it meanwhile. Each is held by an
/// abstract Unix socket of its number, which belongs to the network namespace as ports do, and goes with the process.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    // Processes begin at different places, so that they seldom meet.
    let start = (std::process::id().wrapping_mul(7919) % u32::from(COUNT)) as u16;
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        let name = SocketAddr::from_abstract_name(format!("dpl-test-port-{port}")).unwrap();
        let Ok(holder) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            HELD.lock().unwrap().push(holder);
            return port;
        }
    }
    panic!("no port is free from {FIRST} on");
}

/// A site on an engine, with a project of its own; what it leaves there is removed at its end.
pub struct Stack {
    pub site: Site,
    pub engine: String,
    pub project: String,
}

impl Stack {
    /// On the shared engine; `PROJECT` in the text is replaced by a name of its own.
    #[track_caller]
    pub fn new(manifest: &str) -> Self {
        Self::on(&shared_engine(), manifest)
    }

    pub fn on(engine: &str, manifest: &str) -> Self {
        let project = unique("t");
        let mut site = Site::new();
        site.set("DOCKER_HOST", engine);
        let stack = Self { site, engine: engine.to_owned(), project };
        stack.rewrite(manifest);
        stack
    }

    /// Writes the manifest again. Its `postgres:15` is another version where `DPL_TEST_POSTGRES` names one.
    pub fn rewrite(&self, manifest: &str) {
        let postgres = std::env::var("DPL_TEST_POSTGRES").unwrap_or_else(|_| "postgres:15".to_owned());
        let manifest = manifest.replace("\"postgres:15\"", &format!("\"{postgres}\""));
        self.site.write("stack.json", &manifest.replace("PROJECT", &self.project));
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> crate::support::Run {
        self.site.run(&[arguments, &["-f", "stack.json"]].concat())
    }

    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        docker_on(&self.engine, arguments)
    }

    pub fn container(&self, service: &str) -> String {
        format!("{}-{service}-1", self.project)
    }

    /// A field of a container, by a Go template.
    #[track_caller]
    pub fn inspect(&self, service: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, &self.container(service)])
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let quiet = |arguments: &[&str]| {
            let output = Command::new("docker").args(arguments).env("DOCKER_HOST", &self.engine).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        // What a killed run left goes as well.
        let lock = format!("{}-dpl-lock", self.project);
        for (list, remove, also) in [
            (vec!["ps", "-aq"], vec!["rm", "-f", "-v"], Some(lock.as_str())),
            (vec!["network", "ls", "-q"], vec!["network", "rm"], None),
            (vec!["volume", "ls", "-q"], vec!["volume", "rm"], None),
        ] {
            let ids = quiet(&[list, vec!["--filter", &label]].concat());
            let ids: Vec<&str> = ids.split_whitespace().chain(also).collect();
            if !ids.is_empty() {
                quiet(&[remove, ids].concat());
            }
        }
    }
}

/// An engine of one's own, to be killed and started again.
///
/// `scripts/test.sh` lets the tests of nextest's group `own-engines` share one for each place of the group: a place has one
/// test at a time. Otherwise it lives as long as the test.
pub struct PrivateEngine {
    name: String,
    pub address: String,
    is_shared: bool,
}

impl PrivateEngine {
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let group = std::env::var("NEXTEST_TEST_GROUP").unwrap_or_else(|_| "own-engines".to_owned());
        assert_eq!(group, "own-engines", "a test that starts an engine belongs to this group in .config/nextest.toml");
        let of_place = || {
            let prefix = std::env::var("DPL_TEST_OWN_ENGINES").ok().filter(|prefix| !prefix.is_empty())?;
            let place = std::env::var("NEXTEST_TEST_GROUP_SLOT").ok().filter(|place| place != "none")?;
            flags.is_empty().then(|| format!("{prefix}-{place}"))
        };
        let shared = of_place();
        let is_shared = shared.is_some();
        let name = shared.unwrap_or_else(|| unique("own-"));
        let address = engine_sh(&[&["up", &name], flags].concat()).trim_start_matches("DOCKER_HOST=").to_owned();
        Self { name, address, is_shared }
    }

    /// Gives it an image of the shared engine, unless a test before this one did.
    #[track_caller]
    pub fn take_image(&self, reference: &str) {
        let known = Command::new("docker").args(["-H", &self.address, "image", "inspect", reference]).output().unwrap();
        if known.status.success() {
            return;
        }
        let copied = Command::new("sh")
            .args(["-c", "docker -H \"$1\" save \"$3\" | docker -H \"$2\" load", "sh"])
            .args([&shared_engine(), &self.address, reference])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }

    /// Runs a line of shell in its network.
    #[track_caller]
    pub fn in_its_network(&self, line: &str) {
        let space = format!("--net=/run/netns/{}", engine_sh(&["netns", &self.name]));
        let done = Command::new("nsenter").args([&space, "sh", "-ec", line]).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// SIGKILL; its data stays.
    pub fn kill(&self) {
        engine_sh(&["kill", &self.name]);
    }

    pub fn start_again(&self) {
        engine_sh(&["up", &self.name]);
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        // What a failed test leaves of it is nothing for the next one.
        if self.is_shared && !std::thread::panicking() {
            return;
        }
        let _ = Command::new(repository().join("scripts/engine.sh")).args(["down", &self.name]).output();
    }
}

#[track_caller]
fn engine_sh(arguments: &[&str]) -> String {
    let output = Command::new(repository().join("scripts/engine.sh")).args(arguments).output().unwrap();
    assert!(output.status.success(), "engine.sh {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
