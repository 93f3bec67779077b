//! Named points at which the fault tests kill the process.
//!
//! `failpoint!("images.save.before-index")` costs nothing in a normal build. In a build with the feature
//! `failpoints` the process sends itself SIGKILL when `DPL_FAILPOINT` names the point; `NAME:3` means the third
//! time that it is passed. SIGKILL, not a panic: no destructor runs, as when the plug is pulled. With
//! `DPL_FAILPOINT_FREEZES` it stops itself (SIGSTOP) instead, until somebody lets it go on.

/// Marks a point at which the process may be killed by a fault test.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::pass($name);
    };
}

/// Kills or freezes this process if `DPL_FAILPOINT` asks for it at `name`.
#[cfg(feature = "failpoints")]
pub fn pass(name: &'static str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("DPL_FAILPOINT") else {
        return;
    };
    let (point, nth) = match wanted.rsplit_once(':') {
        Some((point, count)) => (point, count.parse().unwrap_or(1)),
        None => (wanted.as_str(), 1),
    };
    if point == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == nth {
        let freezes = std::env::var_os("DPL_FAILPOINT_FREEZES").is_some();
        let signal = if freezes { rustix::process::Signal::STOP } else { rustix::process::Signal::KILL };
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

/// Whether `DPL_PRETENDS` names this: a file system or a machine that can do less than the one of the tests.
#[cfg(feature = "failpoints")]
pub fn pretends(what: &str) -> bool {
    std::env::var("DPL_PRETENDS").is_ok_and(|named| named.split(',').any(|name| name == what))
}

#[cfg(not(feature = "failpoints"))]
pub const fn pretends(_what: &str) -> bool {
    false
}
