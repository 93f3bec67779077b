//! A desk and a site at the ends of a wire that is slow, loses packets and breaks: nothing is lost, nothing has its name before
//! its content, and the same command again comes to its end.
//!
//! `DPL_FAULTS_ALL` takes whole rows in place of samples: 40 places of each transfer and of an action, and silences of a minute.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::images::bench::{Bench, Recipe, layer};
use crate::fetching::{Kept, same};
use crate::support::{Run, Site, side_by_side};
use crate::support_engine::{Stack, eventually, shared_engine, unique};
use crate::support_ssh::Sshd;
use crate::support_wire::Wire;

/// Commands under way at once: they wait for the wire more than they work.
const SIDE_BY_SIDE: usize = 4;
/// No command of these tests takes nearly so long.
const BOUND: Duration = Duration::from_secs(120);

pub fn takes_all() -> bool {
    std::env::var_os("DPL_FAULTS_ALL").is_some()
}

/// The places at which a command that moves so many bytes is cut.
fn places(bytes: u64) -> Vec<u64> {
    let count = if takes_all() { 40 } else { 5 };
    (0..count).map(|place| bytes * (2 * place + 1) / (2 * count)).collect()
}

/// Both ends of a wire.
pub struct Ends {
    pub sshd: Sshd,
    pub wire: Wire,
    pub desk: Site,
    /// The project's folder at the site.
    pub there: PathBuf,
}

/// How a command ended whose connections were broken.
struct Cut {
    code: i32,
    said: String,
    was_cut: bool,
}

impl Ends {
    /// `more` are further lines of the site's sshd_config.
    #[track_caller]
    pub fn new(there: &Path, more: &str) -> Self {
        let wire = Wire::new();
        let sshd = Sshd::behind(&wire, &configuration(there, more));
        let mut desk = Site::new();
        sshd.admit(&mut desk);
        desk.set("XDG_RUNTIME_DIR", desk.path().display().to_string());
        desk.set("HOME", desk.path().display().to_string());
        desk.set("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/desk-cache"));
        desk.set("DOCKER_HOST", "unix:///nonexistent");
        let (ssh, folder) = (sshd.address(), there.display());
        desk.write(
            "sites.json",
            &format!(r#"{{"sites": {{"site": {{"ssh": "{ssh}", "folder": "{folder}", "manifest": "stack.json"}}}}}}"#),
        );
        let ends = Self { sshd, wire, desk, there: there.to_owned() };
        // The program is large without optimisation: it is there before the wire is slow.
        static BROUGHT: Once = Once::new();
        BROUGHT.call_once(|| {
            ends.run(&["--json", "sites", "--check", "site"]);
            ends.wire.cut();
        });
        ends
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.desk.run(arguments)
    }

    /// Starts a command, and gives it with the file that has what it says.
    pub fn begin(&self, arguments: &[&str]) -> (Child, PathBuf) {
        let said = self.desk.file(&unique("said"));
        let file = fs::File::create(&said).unwrap();
        let mut command = self.desk.command(arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        (command.spawn().unwrap(), said)
    }

    /// The bytes that a command moves, with the connection that it makes.
    #[track_caller]
    fn bytes_of(&self, arguments: &[&str]) -> u64 {
        let before = self.wire.bytes();
        self.run(arguments).success();
        let bytes = self.wire.bytes() - before;
        assert!(bytes > 10_000, "{bytes}");
        bytes
    }

    /// Runs a command, breaks all connections once so many bytes have gone over the wire, and looks at what is there then.
    #[track_caller]
    fn cut_at(&self, bytes: u64, arguments: &[&str], look: impl Fn()) -> Cut {
        let before = self.wire.bytes();
        let (mut child, said) = self.begin(arguments);
        let (deadline, mut was_cut) = (Instant::now() + BOUND, false);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if !was_cut && self.wire.bytes() - before >= bytes {
                was_cut = self.wire.cut();
                look();
            }
            assert!(Instant::now() < deadline, "cut at {bytes}: {}", fs::read_to_string(&said).unwrap());
            std::thread::park_timeout(Duration::from_millis(if was_cut { 20 } else { 1 }));
        };
        Cut { code: status.code().unwrap_or(-1), said: fs::read_to_string(said).unwrap(), was_cut }
    }

    /// Nothing of dpl may be left at the site after a command.
    #[track_caller]
    fn is_left_alone(&self) {
        let mut left = Vec::new();
        eventually("nothing of dpl is left at the site", || {
            left = self.wire.processes_there();
            left.is_empty()
        });
    }
}

fn configuration(there: &Path, more: &str) -> String {
    let (cache, there) = (concat!(env!("CARGO_TARGET_TMPDIR"), "/site-cache"), there.display());
    let engine = shared_engine();
    format!("SetEnv DOCKER_HOST={engine} XDG_CACHE_HOME={cache} XDG_STATE_HOME={there}/records\n{more}")
}

/// A desk's project whose images are in its store alone, with a seed and a file beside the manifest.
pub struct Delivery {
    desk: Site,
    names: Vec<String>,
}

impl Delivery {
    pub async fn new() -> Self {
        let bench = Bench::new("wire").await;
        let base = layer(2_400_000);
        bench.make("one:1", &Recipe::of([base.clone(), layer(600_000)])).await;
        bench.make("two:1", &Recipe::of([base, layer(20_000)])).await;
        let mut desk = Site::new();
        desk.set("DOCKER_HOST", shared_engine());
        let names = vec![bench.name("one:1"), bench.name("two:1")];
        let text = format!(
            r#"{{"project": "{}", "paths": {{"images": "store"}}, "env_file": "vars.env",
                "databases": {{"d": {{"service": "one", "seed": "seeds/d"}}}},
                "services": {{"one": {{"image": "{}"}}, "two": {{"image": "{}"}}}}}}"#,
            unique("w"),
            names[0],
            names[1]
        );
        desk.write("stack.json", &text);
        desk.write("vars.env", "A=1\n");
        desk.write("seeds/d/backup.json", "{}");
        desk.write("seeds/d/archive/toc.dat", &"PGDMP ".repeat(40_000));
        desk.run(&["-f", "stack.json", "save"]).success();
        bench.wipe(&["one:1", "two:1"]).await;
        Self { desk, names }
    }

    /// The same project at the desk of other ends.
    #[track_caller]
    pub fn copy_to(&self, ends: &Ends) {
        for what in ["stack.json", "vars.env", "seeds", "store"] {
            let copied = Command::new("cp").arg("-r").arg(self.desk.file(what)).arg(ends.desk.path()).status().unwrap();
            assert!(copied.success());
        }
    }

    /// What has a name at the site is whole.
    #[track_caller]
    pub fn holds(&self, ends: &Ends, context: &str) {
        let there = &ends.there;
        for file in ["stack.json", "vars.env"] {
            if let Ok(text) = fs::read(there.join(file)) {
                assert_eq!(text, fs::read(self.desk.file(file)).unwrap(), "{context}: {file}");
            }
        }
        if there.join("seeds/d").exists() {
            same(&there.join("seeds/d"), &self.desk.file("seeds/d"));
        }
        let mut names = dpl::images::stored_names(&there.join("store"));
        names.sort();
        // The manifest is in place last: what it needs is there.
        if there.join("stack.json").exists() {
            assert!(names == self.names && there.join("seeds/d").exists(), "{context}: {names:?}");
        }
        if !names.is_empty() {
            // The manifest may not be there yet.
            let looks = Site::new();
            let store = there.join("store");
            looks.write(
                "looks.json",
                &format!(
                    r#"{{"project": "looks", "paths": {{"images": "{}"}}, "services": {{"one": {{"image": "{}"}},
                        "two": {{"image": "{}"}}}}}}"#,
                    store.display(),
                    self.names[0],
                    self.names[1]
                ),
            );
            let verified = looks.run(&["-f", "looks.json", "images", "verify"]);
            assert_eq!(verified.code, 0, "{context}: {}", verified.stdout);
        }
    }

    #[track_caller]
    pub fn is_done(&self, ends: &Ends, context: &str) {
        let store = ends.there.join("store");
        let mut names = dpl::images::stored_names(&store);
        names.sort();
        assert_eq!(names, self.names, "{context}");
        assert!(ends.there.join("seeds/d").exists() && ends.there.join("vars.env").exists(), "{context}");
        self.holds(ends, context);
        let found = Command::new("find").arg(&ends.there).args(["-name", "*.part"]).output().unwrap();
        assert!(found.stdout.is_empty(), "{context}: {}", String::from_utf8_lossy(&found.stdout));
        let again = ends.run(&["--json", "--yes", "-f", "stack.json", "send", "site"]).success().json();
        assert_eq!(again["sites"][0]["plan"]["bytes"], 0, "{context}");
    }
}

pub const SEND: [&str; 5] = ["--yes", "-f", "stack.json", "send", "site"];

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_cut_anywhere_comes_to_its_end() {
    let delivery = Delivery::new().await;
    let ends = |there: &Site| {
        let ends = Ends::new(there.path(), "");
        ends.wire.rate("60mbit");
        delivery.copy_to(&ends);
        ends
    };
    let whole = Site::new();
    let bytes = ends(&whole).bytes_of(&SEND);
    assert!(bytes > 1_500_000, "{bytes}");
    side_by_side(SIDE_BY_SIDE, &places(bytes), |place| {
        let there = Site::new();
        let ends = ends(&there);
        let context = format!("cut at {place} of {bytes}");
        let cut = ends.cut_at(*place, &SEND, || delivery.holds(&ends, &context));
        // What the site has and what the line gives is asked again, too.
        assert!(cut.code == 0 && cut.was_cut, "{context}: {}: {}", cut.code, cut.said);
        delivery.is_done(&ends, &context);
        ends.is_left_alone();
    });
}

#[test]
fn a_fetch_that_is_cut_anywhere_comes_to_its_end() {
    let kept = Kept::new();
    kept.grow(2);
    let fetch = ["-f", "desk.json", "fetch", "site"];
    let ends = || {
        let ends = Ends::new(kept.sites.stack.site.path(), "");
        ends.wire.rate("60mbit");
        ends.desk.write("desk.json", r#"{"project": "desk", "paths": {"backups": "kept"}, "services": {}}"#);
        ends
    };
    let bytes = ends().bytes_of(&fetch);
    side_by_side(SIDE_BY_SIDE, &places(bytes), |place| {
        let ends = ends();
        let here = ends.desk.file("kept/sites/site/databases").join(&kept.id);
        let holds = || {
            if here.exists() {
                same(&here, &kept.there);
            }
        };
        let cut = ends.cut_at(*place, &fetch, holds);
        assert!(matches!(cut.code, 0 | 4) && cut.was_cut, "cut at {place} of {bytes}: {}", cut.said);
        holds();
        if cut.code != 0 {
            ends.run(&fetch).success();
        }
        assert!(here.exists());
        holds();
        assert!(ends.desk.file("kept/sites/site/journal.jsonl").exists());
        ends.is_left_alone();
    });
}

const RESTARTED: &str =
    r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;

#[test]
fn a_change_that_is_cut_anywhere_is_done_once_and_its_exit_code_is_not_lost() {
    let restart = ["on", "site", "restart", "a"];
    let ends = || {
        let stack = Stack::new(RESTARTED);
        stack.run(&["start"]).success();
        let ends = Ends::new(stack.site.path(), "");
        (stack, ends)
    };
    let (stack, first) = ends();
    let bytes = first.bytes_of(&restart);
    drop((stack, first));
    side_by_side(SIDE_BY_SIDE, &places(bytes), |place| {
        let (stack, ends) = ends();
        let before = stack.inspect("a", "{{.State.StartedAt}}");
        let restarts = || stack.run(&["history", "--json"]).success().stdout.matches("dpl restart a").count();
        let cut = ends.cut_at(*place, &restart, || {});
        let context = format!("cut at {place} of {bytes}: {}", cut.said);
        match cut.code {
            0 => {}
            // Nobody was asked yet.
            4 => {
                assert_eq!(restarts(), 0, "{context}");
                ends.run(&restart).success();
            }
            _ => panic!("{}: {context}", cut.code),
        }
        assert_eq!(restarts(), 1, "{context}");
        assert_ne!(stack.inspect("a", "{{.State.StartedAt}}"), before, "{context}");
        ends.is_left_alone();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_slow_and_loses_packets_only_takes_longer() {
    let delivery = Delivery::new().await;
    let there = Site::new();
    let ends = Ends::new(there.path(), "");
    delivery.copy_to(&ends);
    ends.wire.rate("20mbit");
    ends.wire.lose(2.0);
    ends.run(&SEND).success();
    delivery.is_done(&ends, "2 % are lost");
}

/// Both sides notice after seconds what takes them a minute otherwise.
const QUICK: &str = "ClientAliveInterval 1\nClientAliveCountMax 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_is_pulled_out_is_noticed_and_all_goes_on_when_it_is_back() {
    let delivery = Delivery::new().await;
    let there = Site::new();
    let mut ends = Ends::new(there.path(), if takes_all() { "" } else { QUICK });
    delivery.copy_to(&ends);
    if !takes_all() {
        ends.desk.set("SSH_OPTIONS", "-o ServerAliveInterval=1 -o ServerAliveCountMax=2");
    }
    let slow = r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0", "stop_signal": "SIGCONT", "stop_grace_period": "5s"}}}"#;
    let stack = Stack::new(slow);
    stack.run(&["start"]).success();
    let sites = fs::read_to_string(ends.desk.file("sites.json")).unwrap();
    let other = sites.replace(&*there.path().to_string_lossy(), &stack.site.path().to_string_lossy());
    ends.desk.write("other.json", &other);
    let before = stack.inspect("a", "{{.State.StartedAt}}");
    let (mut sending, sends) = ends.begin(&[&SEND[..], &["--limit", "600kB/s"]].concat());
    let store = ends.there.join("store/.dpl-store/incoming");
    let arrived = || {
        fs::read_dir(&store)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum::<u64>()
    };
    eventually("something has arrived", || arrived() > 200_000);
    let (mut changing, changes) = ends.begin(&["on", "--sites", "other.json", "site", "restart", "a"]);
    eventually("the restart is under way", || {
        ends.wire.processes_there().iter().any(|words| words.contains("restart a"))
    });
    ends.wire.unplug();
    let said = |file: &Path| fs::read_to_string(file).unwrap();
    eventually("both have noticed", || [&sends, &changes].iter().all(|file| said(file).contains("is lost")));
    ends.wire.plug_in();
    for (child, file) in [(&mut sending, &sends), (&mut changing, &changes)] {
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", said(file));
    }
    assert_ne!(stack.inspect("a", "{{.State.StartedAt}}"), before);
    delivery.is_done(&ends, "pulled out");
    ends.is_left_alone();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_there_that_is_slow_only_takes_longer() {
    // Longer than a side waits for a word, where whole rows are taken.
    let delay = if takes_all() { "65000000:when=3" } else { "100000" };
    let slow = format!(
        "ForceCommand exec strace -f -qq -o /dev/null -e trace=fsync,fdatasync,syncfs -e inject=fsync,fdatasync,syncfs:delay_enter={delay} \
         sh -c \"$SSH_ORIGINAL_COMMAND\""
    );
    let delivery = Delivery::new().await;
    let there = Site::new();
    let ends = Ends::new(there.path(), &slow);
    delivery.copy_to(&ends);
    let said = ends.run(&SEND).success().stderr;
    assert!(!said.contains("is lost"), "{said}");
    delivery.is_done(&ends, "a slow disk");
}

#[test]
fn a_server_that_lets_in_few_at_once_is_asked_again() {
    let stack = Stack::new(RESTARTED);
    let ends = Ends::new(stack.site.path(), "MaxStartups 2:100:3\nLogLevel VERBOSE");
    let silent = || TcpStream::connect((ends.wire.site, ends.sshd.port)).unwrap();
    let held = [silent(), silent()];
    let (mut desk, said) = ends.begin(&["on", "site", "list"]);
    eventually("the server has refused it", || ends.sshd.log().contains("MaxStartups"));
    drop(held);
    let status = desk.wait().unwrap();
    let said = fs::read_to_string(said).unwrap();
    assert!(status.success() && said.contains("redis:7.0"), "{said}");
}

#[test]
fn a_site_whose_host_key_has_changed_is_not_spoken_to() {
    let stack = Stack::new(RESTARTED);
    let mut ends = Ends::new(stack.site.path(), "");
    ends.run(&["on", "site", "list"]).success();
    ends.wire.cut();
    // The same address, and another machine.
    drop(std::mem::replace(&mut ends.sshd, Sshd::start("")));
    ends.sshd = Sshd::behind(&ends.wire, &configuration(stack.site.path(), ""));
    ends.sshd.admit(&mut ends.desk);
    for arguments in [&["on", "site", "restart", "a"][..], &["inventory", "site"]] {
        let failed = ends.run(arguments).failure(4);
        assert!(failed.stderr.contains("Host key verification failed"), "{}", failed.stderr);
    }
    assert!(stack.run(&["history", "--json"]).success().json()["actions"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_stalls_is_left_after_a_minute_and_the_send_goes_on_in_a_new_connection() {
    // The minute is dpl's own; a sample shows that a pause is none.
    let pause = if takes_all() { Duration::from_secs(62) } else { Duration::from_secs(2) };
    let delivery = Delivery::new().await;
    let there = Site::new();
    let ends = Ends::new(there.path(), "");
    delivery.copy_to(&ends);
    ends.wire.rate("8mbit");
    let (mut desk, said) = ends.begin(&SEND);
    let store = ends.there.join("store/.dpl-store/incoming");
    eventually("something arrives", || fs::read_dir(&store).is_ok_and(|files| files.count() > 0));
    let signal = |name: &str| {
        for process in ends.wire.processes_there() {
            let number = process.split(':').next().unwrap().to_owned();
            let _ = Command::new("kill").args([name, &number]).status();
        }
    };
    signal("-STOP");
    let stopped = Instant::now();
    eventually("the pause is over", || stopped.elapsed() > pause);
    signal("-CONT");
    let status = desk.wait().unwrap();
    let said = fs::read_to_string(said).unwrap();
    assert!(status.success() && said.contains("is lost") == takes_all(), "{said}");
    delivery.is_done(&ends, "stalled");
}
