//! Running the program until it ends, is killed by a failpoint, or is killed from outside; and chance with a seed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::Site;

/// No command of these tests takes nearly so long: one that does hangs.
const BOUND: Duration = Duration::from_secs(180);

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// The most memory that it held at once (`VmHWM`), as seen while it ran.
    pub peak_kib: u64,
}

impl Ended {
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// The run, which must have gone well.
    #[track_caller]
    pub fn success(self, context: &str) -> Self {
        assert!(self.status.success(), "{context}: {}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// The run, which must have refused to do anything.
    #[track_caller]
    pub fn refused(self, context: &str) -> Self {
        assert_eq!(self.status.code(), Some(1), "{context}: {}", self.stderr);
        self
    }

    /// The run, which a failpoint must have ended.
    #[track_caller]
    pub fn killed(self, context: &str) -> Self {
        assert!(self.was_killed(), "{context}: the point was not passed: {}\n{}", self.status, self.stderr);
        self
    }
}

/// A command as a subject gives it, on its manifest.
fn started(site: &Site, arguments: &[&str], failpoint: Option<&str>) -> Child {
    let folder = site.path();
    let file = |name: &str| std::fs::File::create(folder.join(name)).unwrap();
    let mut command = site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
    // Files, since a full pipe would hold the program where nobody asked for it.
    command.stdout(file("stdout")).stderr(file("stderr")).stdin(Stdio::null());
    if let Some(failpoint) = failpoint {
        command.env("DPL_FAILPOINT", failpoint);
    }
    command.spawn().unwrap()
}

/// Waits for the end; at `kill_at` it comes by SIGKILL.
#[track_caller]
fn awaited(site: &Site, mut child: Child, kill_at: Option<Duration>) -> Ended {
    let begun = Instant::now();
    let (mut is_killed, mut peak_kib) = (false, 0);
    let status = loop {
        peak_kib = peak_kib.max(peak_of(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if !is_killed && kill_at.is_some_and(|moment| begun.elapsed() >= moment) {
            child.kill().unwrap();
            is_killed = true;
        }
        if begun.elapsed() > BOUND {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still at work after {BOUND:?}:\n{}", said(site, "stderr"));
        }
        // A hundred looks a second show the peak of whatever fills a memory; more would take a part of a core from the program
        // in each lane. The moment of a kill is kept.
        let until_kill = kill_at.filter(|_| !is_killed).map(|moment| moment.saturating_sub(begun.elapsed()));
        std::thread::park_timeout(Duration::from_millis(10).min(until_kill.unwrap_or(Duration::MAX)));
    };
    Ended { status, stdout: said(site, "stdout"), stderr: said(site, "stderr"), took: begun.elapsed(), peak_kib }
}

/// 0 for a process that has ended, or that is still this one's copy.
fn peak_of(process: u32) -> u64 {
    let program = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    if program(&process.to_string()) == program("self") {
        return 0;
    }
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// Whether a run takes whole rows instead of samples.
pub fn takes_all() -> bool {
    std::env::var_os("DPL_FAULTS_ALL").is_some()
}

/// An error with its causes.
pub fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn said(site: &Site, stream: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(site.file(stream)).unwrap()).into_owned()
}

/// Runs any program as a site's command runs, within bounds.
#[track_caller]
pub fn run_command(site: &Site, mut command: Command) -> Ended {
    let file = |name: &str| std::fs::File::create(site.file(name)).unwrap();
    command.stdout(file("stdout")).stderr(file("stderr")).stdin(Stdio::null());
    awaited(site, command.spawn().unwrap(), None)
}

/// Begins a command, for what is done meanwhile; [`end`] waits for it.
pub fn begin(site: &Site, arguments: &[&str]) -> Child {
    started(site, arguments, None)
}

/// Waits within bounds for the end of what [`begin`] began.
#[track_caller]
pub fn end(site: &Site, child: Child) -> Ended {
    awaited(site, child, None)
}

/// What a command has said on standard error so far.
pub fn said_so_far(site: &Site) -> String {
    said(site, "stderr")
}

/// Runs a command to its end, within bounds.
#[track_caller]
pub fn run(site: &Site, arguments: &[&str]) -> Ended {
    awaited(site, started(site, arguments, None), None)
}

/// Runs a command that kills itself at a point: `NAME`, or `NAME:3` for its third pass.
#[track_caller]
pub fn run_to_point(site: &Site, arguments: &[&str], failpoint: &str) -> Ended {
    awaited(site, started(site, arguments, Some(failpoint)), None)
}

/// Runs a command and kills it after `moment`, unless it has ended by then.
#[track_caller]
pub fn run_until(site: &Site, arguments: &[&str], moment: Duration) -> Ended {
    awaited(site, started(site, arguments, None), Some(moment))
}

/// Numbers that look random and are the same in every run with one seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// By `DPL_FAULTS_SEED`, a number; `stream` tells the tests of one run apart.
    pub fn of(stream: &str) -> Self {
        let seed = std::env::var("DPL_FAULTS_SEED").ok().map_or(1, |seed| seed.parse().expect("the seed is a number"));
        println!("DPL_FAULTS_SEED={seed}");
        Self(stream.bytes().fold(seed, |state, byte| state.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 1 to `last`, both included.
    pub fn up_to(&mut self, last: u64) -> u64 {
        1 + self.next() % last
    }

    /// A moment before `end`.
    pub fn moment(&mut self, end: Duration) -> Duration {
        end.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }
}
