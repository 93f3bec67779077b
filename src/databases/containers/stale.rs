//! Helpers that a killed run left behind, and how they are told from those of a run that is at work.
//!
//! A running helper ends with the process that made it. One that was created and never started does not, nor one
//! whose engine was killed at the same moment: each carries the identity of its maker, and goes with the next run
//! once that is dead.

use std::fs;

use super::helper::HELPER_LABEL;
use crate::databases::error::DatabasesError;
use crate::databases::server::guard;
use crate::engine::{ContainerState, Engine, ExecSpec};

/// The value of [`HELPER_LABEL`] on this module's containers.
pub(in crate::databases) const MODULE: &str = "databases";

/// The label with the [`Maker`] of a helper.
pub(in crate::databases) const MAKER_LABEL: &str = "dpl.helper.maker";

/// A process, so exactly that another one with its number is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct Maker {
    /// Of the running kernel: numbers of processes mean nothing after a reboot, nor on another machine.
    boot: String,
    /// The namespace that the number is from.
    namespace: String,
    pid: u32,
    /// In clock ticks since boot (`/proc/PID/stat`, field 22).
    started: u64,
}

impl Maker {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
        Self {
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            namespace: namespace.unwrap_or_default(),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// As a label has it.
    pub fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.boot, self.namespace, self.pid, self.started)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (boot, namespace, pid, started) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        (parts.next().is_none() && !boot.is_empty()).then(|| Self {
            boot: boot.to_owned(),
            namespace: namespace.to_owned(),
            pid,
            started,
        })
    }

    /// Whether it is certain that the maker is dead, seen from `observer`. Of one on another machine nothing is known.
    fn is_dead(&self, observer: &Self, started: impl Fn(u32) -> Option<u64>) -> bool {
        self.boot == observer.boot
            && self.namespace == observer.namespace
            && started(self.pid).is_none_or(|now| now != self.started)
    }
}

/// When a process began; `None` when there is none of that number.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before stands in parentheses and may hold anything.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(19)?.parse().ok()
}

/// Removes what dead runs left on the engine.
pub(in crate::databases) async fn clear(engine: &Engine) -> Result<(), DatabasesError> {
    let this = Maker::this();
    for id in engine.list_containers(&[(HELPER_LABEL, MODULE)]).await? {
        let Some(view) = engine.inspect_container(&id).await? else { continue };
        let maker = view.labels.get(MAKER_LABEL).and_then(|text| Maker::read(text));
        let is_left = maker.is_some_and(|maker| maker.is_dead(&this, started));
        if is_left && !(view.state == ContainerState::Running && is_guarding(engine, &id).await) {
            engine.discard_container(&id).await?;
        }
    }
    Ok(())
}

/// Whether somebody in it is about to open a database that a dead run had closed; it ends by itself after that.
async fn is_guarding(engine: &Engine, container: &str) -> bool {
    let spec = ExecSpec { command: guard::IS_SET.map(str::to_owned).into(), ..Default::default() };
    engine.exec(container, &spec, b"").await.is_ok_and(|answer| answer.exit_code == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_reads_back_and_is_alive() {
        let this = Maker::this();
        assert_eq!(Maker::read(&this.text()), Some(this.clone()));
        assert!(!this.is_dead(&this, started));
    }

    #[test]
    fn another_process_with_the_number_of_a_dead_one_is_not_taken_for_it() {
        let this = Maker::this();
        let earlier = Maker { started: this.started.wrapping_sub(1), ..this.clone() };
        assert!(earlier.is_dead(&this, started));
        assert!(Maker { pid: 4_000_000_000, ..this.clone() }.is_dead(&this, |_| None));
    }

    #[test]
    fn of_another_machine_or_a_damaged_label_nothing_is_known() {
        let this = Maker::this();
        assert!(!Maker { boot: "elsewhere".to_owned(), ..this.clone() }.is_dead(&this, |_| None));
        for text in ["", "a/b/c/d", "/pid:[1]/1/1", "a/b/1/2/3"] {
            assert_eq!(Maker::read(text), None, "{text}");
        }
    }
}
