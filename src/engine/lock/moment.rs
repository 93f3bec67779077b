//! Moments by a clock that goes on while the machine sleeps.
//!
//! A laptop that was closed for five minutes must not trust what it knew before: others have taken its lock over. std's
//! `Instant` is CLOCK_MONOTONIC, which stands still meanwhile; this is CLOCK_BOOTTIME (clock_gettime(2)).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment since this machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let since_start = Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0));
        Self(since_start + slept_in_a_test())
    }

    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// No test can put a machine to sleep: one that plays it writes the seconds into this file.
#[cfg(feature = "failpoints")]
fn slept_in_a_test() -> Duration {
    let file = std::env::var_os("DPL_FAILPOINT_SLEPT");
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    Duration::from_secs(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

#[cfg(not(feature = "failpoints"))]
fn slept_in_a_test() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// In a namespace whose CLOCK_BOOTTIME alone is ahead (time_namespaces(7)), only a reader of that clock sees it.
    #[test]
    fn moments_go_on_while_the_machine_sleeps() {
        const AHEAD: &str = "DPL_TEST_AHEAD";
        if std::env::var_os(AHEAD).is_some() {
            println!("at {}", Moment::now().0.as_secs());
            return;
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", "1000000", "--fork"]).arg(std::env::current_exe().unwrap());
        let output = command.args(["--exact", &name, "--nocapture"]).env(AHEAD, "1").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() && said.is_empty() {
            // Time namespaces need root and a kernel of 5.6: then only the clock's name in the code is left.
            return;
        }
        let at: u64 = said.split("at ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert!(at >= 1_000_000, "{said}");
    }
}
