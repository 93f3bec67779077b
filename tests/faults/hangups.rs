//! The terminal goes away in the middle of an action: a window is closed, a connection drops. The action goes on to its end.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Chance, takes_all};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::images::{Load, Size};
use crate::subjects::services::{self, Services};
use crate::support::Site;
use crate::support_engine::Stack;
use crate::tally::Tally;

/// No command of these tests takes nearly so long.
const BOUND: Duration = Duration::from_secs(90);

/// A terminal with the program in it, as the session's leader, that can be closed.
struct Window {
    master: OwnedFd,
    program: Child,
    said: Vec<u8>,
}

impl Window {
    /// With a point at which the program freezes.
    fn open(site: &Site, arguments: &[&str], point: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let noctty = OFlags::NOCTTY.bits() as i32;
        let slave = OpenOptions::new().read(true).write(true).custom_flags(noctty).open(name).unwrap();
        let command = site.command(arguments);
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).current_dir(site.path()).env_clear();
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        leader.env("TERM", "xterm-256color").env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
        leader.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let program = leader.spawn().unwrap();
        Self { master, program, said: Vec::new() }
    }

    /// Reads what is shown until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + BOUND;
        while !holds(self) {
            let said = String::from_utf8_lossy(&self.said);
            assert!(Instant::now() < deadline, "not {what}: {said}");
            if let Some(status) = self.program.try_wait().unwrap() {
                panic!("ended before it was {what}: {status}: {said}");
            }
            let mut watched = [PollFd::new(&self.master, PollFlags::IN)];
            let patience = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            if poll(&mut watched, Some(&patience)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let length = rustix::io::read(&self.master, &mut bytes).unwrap_or_default();
                self.said.extend_from_slice(&bytes[..length]);
            }
        }
    }

    #[track_caller]
    fn says(&mut self, text: &str) {
        self.until(text, |window| String::from_utf8_lossy(&window.said).contains(text));
        self.said.clear();
    }

    fn keys(&mut self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    #[track_caller]
    fn freezes(&mut self) {
        self.until("at the point", |window| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", window.program.id())).unwrap_or_default();
            stat.contains(") T ")
        });
    }

    /// Closes the window while the program stands still, and waits for the program's end.
    #[track_caller]
    fn close(self) -> ExitStatus {
        let Self { master, mut program, .. } = self;
        // The kernel sends SIGHUP and SIGCONT, and every call on the terminal fails from here on.
        drop(master);
        let go_on = Command::new("kill").args(["-CONT", &program.id().to_string()]).status().unwrap();
        assert!(go_on.success());
        ended(&mut program)
    }
}

#[track_caller]
fn ended(program: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(status) = program.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            program.kill().unwrap();
            program.wait().unwrap();
            panic!("still at work after {BOUND:?}");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Closes the terminal at `count` of the points that chance chooses, or at all of them with `DPL_FAULTS_ALL`.
#[track_caller]
fn hang_up_at(points: &[&str], count: usize, mut subject: impl Subject) {
    let mut points = points.to_vec();
    let mut chance = Chance::of(points[0]);
    while points.len() > count && !takes_all() {
        points.remove(chance.up_to(points.len() as u64) as usize - 1);
    }
    let mut tally = Tally::of("hang-ups");
    for point in points {
        tally.case();
        subject.prepare();
        let arguments = [&subject.command()[..], &["--yes", "-f", "stack.json"]].concat();
        let mut window = Window::open(subject.site(), &arguments, point);
        window.freezes();
        let status = window.close();
        assert_eq!(status.code(), Some(0), "{point}: {status}");
        subject.is_done(point);
    }
}

#[test]
fn a_start_outlives_its_terminal() {
    let points =
        ["services.execute.before-network", "services.execute.before-create:2", "services.execute.after-start"];
    hang_up_at(&points, 1, Services::new(services::Deed::FirstStart));
}

#[test]
fn a_restart_outlives_its_terminal() {
    let points = [
        "state.journal.after-begin",
        "engine.lock.after-make",
        "services.execute.before-restart",
        "services.execute.after-restart",
        "state.journal.before-end",
    ];
    hang_up_at(&points, 1, Services::new(services::Deed::Restart));
}

#[test]
fn a_replacement_outlives_its_terminal() {
    let points = [
        "services.execute.after-create",
        "services.execute.after-stop",
        "services.execute.before-rename:2",
        "services.execute.after-start",
        "services.execute.after-ready",
        "services.execute.before-remove",
    ];
    hang_up_at(&points, 1, Services::new(services::Deed::Replace));
}

#[test]
fn a_load_outlives_its_terminal() {
    let points = ["images.load.before-archive", "images.load.after-layer", "images.load.before-tag:2"];
    hang_up_at(&points, 1, Load::new(Size::Small));
}

#[test]
fn a_backup_outlives_its_terminal() {
    let points = ["databases.dump.before-record", "databases.backup.before-rename", "databases.backup.after-rename"];
    hang_up_at(&points, 1, Databases::new(databases::Deed::Backup));
}

#[test]
fn a_rebuild_outlives_its_terminal() {
    let points = [
        "databases.rebuild.before-restore",
        "databases.rebuild.before-stop",
        "databases.rebuild.after-close",
        "databases.rebuild.after-renames",
        "databases.rebuild.before-start",
        "databases.rebuild.before-drop",
    ];
    hang_up_at(&points, 1, Databases::new(databases::Deed::Rebuild));
}

/// A replacement as the second link of a chain.
struct Chain(Services);

impl Subject for Chain {
    fn site(&self) -> &Site {
        self.0.site()
    }

    fn command(&self) -> Vec<&'static str> {
        vec!["do", "4 - cache - 3 - cache"]
    }

    fn prepare(&mut self) {
        self.0.prepare();
    }

    fn holds(&self, context: &str) {
        self.0.holds(context);
    }

    fn is_done(&self, context: &str) {
        self.0.is_done(context);
    }
}

#[test]
fn a_chain_outlives_its_terminal_and_does_its_other_links() {
    let points = ["services.execute.before-stop", "services.execute.after-stop", "services.execute.before-start"];
    hang_up_at(&points, 1, Chain(Services::new(services::Deed::Replace)));
}

const PAIR: &str = r#"{ "project": "PROJECT", "services": {
    "one": { "image": "expert/expert_ui:latest", "stop_signal": "SIGKILL" },
    "two": { "image": "expert/expert_ui:latest", "stop_signal": "SIGKILL" } } }"#;

#[test]
fn a_menu_finishes_the_action_in_hand_and_leaves() {
    let _tally = Tally::of_one("hang-ups");
    let stack = Stack::new(PAIR);
    stack.run(&["start"]).success();
    let started = || ["one", "two"].map(|service| stack.inspect(service, "{{.State.StartedAt}}"));
    let before = started();
    let mut window = Window::open(&stack.site, &["stack.json"], "services.execute.before-restart");
    window.says("action:");
    window.keys("3\r");
    window.says("which:");
    window.keys("1,2\r");
    window.says("Go on?");
    window.keys("\r");
    window.freezes();
    assert_eq!(window.close().code(), Some(0));
    let after = started();
    assert!(before[0] != after[0] && before[1] != after[1], "{before:?} {after:?}");
    assert_eq!(stack.inspect("two", "{{.State.Running}}"), "true");
}

#[test]
fn a_look_of_the_menu_ends_with_its_terminal() {
    let _tally = Tally::of_one("hang-ups");
    let stack = Stack::new(PAIR);
    stack.run(&["start"]).success();
    let mut window = Window::open(&stack.site, &["stack.json"], "none");
    window.says("action:");
    // It follows a log in which nothing more comes.
    window.keys("10\r");
    window.says("which:");
    window.keys("1\r");
    window.says("Ctrl-C");
    window.close();
}

#[test]
fn a_full_disk_under_what_is_said_stops_nothing() {
    let _tally = Tally::of_one("hang-ups");
    let stack = Stack::new(PAIR);
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let run = |arguments: &[&str]| {
        let mut command = stack.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
        ended(&mut command.stdout(full()).stderr(full()).spawn().unwrap())
    };
    assert_eq!(run(&["do", "3 - one - 3 - two"]).code(), Some(0));
    assert_eq!(["one", "two"].map(|service| stack.inspect(service, "{{.State.Running}}")), ["true", "true"]);
    // The document is what was asked for: that it is not there is said by the code, when all is done.
    assert_eq!(run(&["stop", "all", "--json"]).code(), Some(1));
    assert_eq!(["one", "two"].map(|service| stack.inspect(service, "{{.State.Running}}")), ["false", "false"]);
}
