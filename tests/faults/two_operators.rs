//! Two operators on one engine, each on a machine of their own as far as the programs can tell: another host name, another
//! space of process numbers, another folder. One of them is frozen somewhere in their work and goes on later.
//!
//! Each reaches the engine through a gate that writes down when which call came by, so that all calls of both lie on one
//! clock. Never two writers: the changes of one come all before those of the other, but for the one call that a frozen
//! process may have had under way.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Chance, takes_all};
use crate::support_engine::{Stack, eventually, shared_engine};
use crate::tally::Tally;

const SERVICES: usize = 4;
/// Short, so that a schedule takes seconds; a holder that is merely slow on a busy machine loses its lock as well.
const BEAT: Duration = Duration::from_millis(100);
const STALE: Duration = Duration::from_millis(900);

fn manifest() -> String {
    let service = |number| format!(r#""s{number}": {{"image": "redis:7.0", "stop_signal": "SIGKILL"}}"#);
    let services: Vec<String> = (1..=SERVICES).map(service).collect();
    format!(r#"{{"project": "PROJECT", "services": {{{}}}}}"#, services.join(", "))
}

/// Who asked the engine for a change, and when it came by.
#[derive(Debug, Clone)]
struct Change {
    at: Instant,
    by: &'static str,
    what: String,
}

/// What both gates saw.
#[derive(Default)]
struct Seen {
    changes: Vec<Change>,
    /// Locks are changed by those who want them; that is no change of anything else.
    locks: Vec<String>,
}

/// The way of one operator to the engine.
fn open_gate(socket: &Path, engine: &str, by: &'static str, seen: &Arc<Mutex<Seen>>) -> String {
    let listener = UnixListener::bind(socket).unwrap();
    let (engine, seen) = (engine.trim_start_matches("unix://").to_owned(), seen.clone());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&engine) else { continue };
            let makes_lock = Arc::new(Mutex::new(false));
            let (up, down) = (seen.clone(), seen.clone());
            let (flag, flag_too) = (makes_lock.clone(), makes_lock);
            let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                pass_on(client, server, |bytes| {
                    if let Some(call) = call_in(bytes) {
                        *flag.lock().unwrap() = call.contains("-dpl-lock");
                        let mut seen = up.lock().unwrap();
                        if is_change(&call, &seen.locks) {
                            seen.changes.push(Change { at: Instant::now(), by, what: call });
                        }
                    }
                });
            });
            std::thread::spawn(move || {
                pass_on(server_too, client_too, |bytes| {
                    if std::mem::take(&mut *flag_too.lock().unwrap())
                        && let Some(id) = String::from_utf8_lossy(bytes).split("\"Id\":\"").nth(1)
                    {
                        down.lock().unwrap().locks.push(id.chars().take(64).collect());
                    }
                });
            });
        }
    });
    format!("unix://{}", socket.display())
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        look(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// `METHOD /path` where a request begins; the client writes its head at once.
fn call_in(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let call = line.strip_suffix(" HTTP/1.1")?;
    ["GET /", "POST /", "PUT /", "DELETE /", "HEAD /"]
        .iter()
        .any(|verb| call.starts_with(verb))
        .then(|| call.to_owned())
}

fn is_change(call: &str, locks: &[String]) -> bool {
    let only_looks = call.starts_with("GET ") || call.starts_with("HEAD ");
    // The first process builds the lock's empty image.
    let is_about_a_lock = call.contains("dpl-lock") || locks.iter().any(|lock| call.contains(lock));
    !only_looks && !is_about_a_lock
}

/// Both operators, and the services that they restart.
struct Operators {
    here: Stack,
    there: Stack,
    seen: Arc<Mutex<Seen>>,
    /// What one of them needs alone.
    whole: Duration,
}

const WORK: [&str; 6] = ["restart", "all", "--parallel", "1", "--lock-wait", "1m"];

impl Operators {
    fn new() -> Self {
        let engine = shared_engine();
        let (mut here, mut there) = (Stack::on(&engine, &manifest()), Stack::on(&engine, &manifest()));
        there.project = here.project.clone();
        there.rewrite(&manifest());
        let seen = Arc::default();
        here.run(&["start"]).success();
        for (stack, by) in [(&mut here, "here"), (&mut there, "there")] {
            let gate = open_gate(&stack.site.file("gate.sock"), &engine, by, &seen);
            stack.site.set("DOCKER_HOST", gate);
            stack.site.set("DPL_LOCK_BEAT_MS", BEAT.as_millis().to_string());
            stack.site.set("DPL_LOCK_STALE_MS", STALE.as_millis().to_string());
        }
        let begun = Instant::now();
        there.run(&WORK).success();
        Self { here, there, seen, whole: begun.elapsed() }
    }

    /// Begins the work as on a machine of its own.
    fn begins(stack: &Stack, host: &str, freezes_at: Option<&str>) -> Child {
        let program = stack.site.command(&[&WORK[..], &["--yes", "-f", "stack.json"]].concat());
        let mut command = Command::new("unshare");
        command.args(["--uts"]);
        if host == "there" {
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        }
        command.args(["sh", "-c", "hostname \"$0\" && exec \"$@\"", host]);
        command.arg(program.get_program()).args(program.get_args()).current_dir(stack.site.path()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(point) = freezes_at {
            command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
        }
        let errors = std::fs::File::create(stack.site.file("stderr")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    }

    /// One schedule; gives how many calls of the frozen one came after it had lost its lock, and whether it had.
    #[track_caller]
    fn meet(&self, chance: &mut Chance, context: &str) -> (usize, bool) {
        self.seen.lock().unwrap().changes.clear();
        // Half of them freeze just before a call, the worst of all moments, and half of them anywhere.
        let point = format!("services.execute.before-restart:{}", chance.up_to(SERVICES as u64));
        let at_point = chance.up_to(2) == 1;
        let (freeze_at, second_at) = (chance.moment(self.whole), chance.moment(self.whole));
        let frozen_for = chance.moment(STALE * 3);
        let begun = Instant::now();
        let mut here = Self::begins(&self.here, "here", at_point.then_some(&point));
        let mut there = None;
        let mut stops: Option<Instant> = None;
        let mut has_gone_on = false;
        let deadline = begun + Duration::from_secs(60);
        loop {
            let now = Instant::now();
            assert!(now < deadline, "{context}: still at work: {}", self.said());
            if there.is_none() && now - begun >= second_at {
                there = Some(Self::begins(&self.there, "there", None));
            }
            match stops {
                None if !at_point && now - begun >= freeze_at => {
                    signal(&here, "STOP");
                    stops = Some(now);
                }
                None if at_point && is_stopped(&here) => stops = Some(now),
                Some(since) if !has_gone_on && now - since >= frozen_for => {
                    signal(&here, "CONT");
                    has_gone_on = true;
                }
                _ => {}
            }
            let both =
                [here.try_wait().unwrap(), there.as_mut().and_then(|there: &mut Child| there.try_wait().unwrap())];
            if let [Some(first), Some(second)] = both {
                let codes = [first.code(), second.code()];
                assert!(codes.iter().all(|code| matches!(code, Some(0 | 5))), "{context}: {codes:?}: {}", self.said());
                let seen = self.seen.lock().unwrap();
                let late = late_calls(&seen.changes);
                assert!(late <= 1, "{context}: two writers: {}", told(&seen.changes, begun));
                // Who lost it must know, unless it was in its last call.
                let has_lost = codes.contains(&Some(5));
                assert!(late == 0 || has_lost || first.success(), "{context}: {}", told(&seen.changes, begun));
                return (late, has_lost);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The schedule in which the lock must change hands: one of them stands still, holding it, until the other one is done.
    /// No clock decides anything here.
    #[track_caller]
    fn takes_over(&self) {
        self.seen.lock().unwrap().changes.clear();
        let point = "services.execute.before-restart:2";
        let mut here = Self::begins(&self.here, "here", Some(point));
        eventually("it stands still in its work", || is_stopped(&here));
        let mut there = Self::begins(&self.there, "there", None);
        eventually("the other one is done", || there.try_wait().unwrap().is_some());
        assert_eq!(there.wait().unwrap().code(), Some(0), "{}", self.said());
        assert!(is_stopped(&here), "{}", self.said());
        signal(&here, "CONT");
        eventually("it has ended", || here.try_wait().unwrap().is_some());
        assert_eq!(here.wait().unwrap().code(), Some(5), "{}", self.said());
        let seen = self.seen.lock().unwrap();
        let at_work: Vec<&str> = seen.changes.iter().map(|change| change.by).collect();
        assert!(at_work.contains(&"here") && at_work.contains(&"there"), "{at_work:?}");
        assert!(late_calls(&seen.changes) <= 1, "{at_work:?}");
    }

    fn said(&self) -> String {
        let read = |stack: &Stack| std::fs::read_to_string(stack.site.file("stderr")).unwrap_or_default();
        format!("here: {}\nthere: {}", read(&self.here), read(&self.there))
    }

    fn locks(&self) -> String {
        let name = format!("name=^/{}-dpl-lock$", self.here.project);
        self.here.docker(&["ps", "-aq", "--filter", &name])
    }
}

/// How many calls have to be taken away for all of one to come before all of the other.
fn late_calls(changes: &[Change]) -> usize {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|change| change.at);
    let others = |by: &str, before: &[Change]| before.iter().filter(|change| change.by != by).count();
    // Wherever the second one may have begun: what the first did after that, and the second before.
    let split = |first: &str, at: usize| {
        others(first, &changes[..at]) + changes[at..].iter().filter(|change| change.by == first).count()
    };
    let places = 0..=changes.len();
    places.flat_map(|at| [split("here", at), split("there", at)]).min().unwrap_or_default()
}

fn told(changes: &[Change], begun: Instant) -> String {
    let line = |change: &Change| format!("\n{:>9.3?} {:6} {}", change.at - begun, change.by, change.what);
    changes.iter().map(line).collect()
}

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).output();
}

fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

#[test]
fn two_operators_of_whom_one_is_frozen_never_write_at_once() {
    const AT_ONCE: usize = 3;
    let all = if takes_all() { 200 } else { 9 };
    let lanes: Vec<usize> = (0..AT_ONCE).map(|lane| (all + AT_ONCE - 1 - lane) / AT_ONCE).collect();
    assert_eq!(lanes.iter().sum::<usize>(), all);
    std::thread::scope(|scope| {
        for (lane, schedules) in lanes.into_iter().enumerate() {
            scope.spawn(move || {
                let mut tally = Tally::of("two-operators");
                let mut chance = Chance::of(&format!("two operators {lane}"));
                let operators = Operators::new();
                let (mut late, mut lost) = (0, 0);
                if lane == 0 {
                    operators.takes_over();
                    eventually("the lock is given back", || operators.locks().is_empty());
                }
                for schedule in 0..schedules {
                    tally.case();
                    let context = format!("schedule {schedule} of lane {lane}");
                    let (late_now, has_lost) = operators.meet(&mut chance, &context);
                    late += late_now;
                    lost += usize::from(has_lost);
                    eventually(&format!("{context}: the lock is given back"), || operators.locks().is_empty());
                }
                println!("lane {lane}: {schedules} schedules, {lost} lost the lock, {late} calls were under way then");
                // Whatever happened, the next one finds everything as it should be.
                operators.here.run(&["start"]).success();
                let running = operators.here.run(&["status", "--json"]).success().json();
                let all_run =
                    running["services"].as_array().unwrap().iter().all(|service| service["state"] == "running");
                assert!(all_run, "{running}");
            });
        }
    });
}

#[test]
fn calls_out_of_their_order_are_counted() {
    let begun = Instant::now();
    let change = |at: u64, by| Change { at: begun + Duration::from_millis(at), by, what: String::new() };
    let count = |order: &str| {
        let changes = order.chars().enumerate();
        let by = |letter| if letter == 'h' { "here" } else { "there" };
        late_calls(&changes.map(|(at, letter)| change(at as u64, by(letter))).collect::<Vec<_>>())
    };
    assert_eq!(["", "hh", "hhtt", "tthh"].map(count), [0; 4]);
    assert_eq!(["hthtt", "hhtth", "hththt"].map(count), [1, 1, 2]);
}
