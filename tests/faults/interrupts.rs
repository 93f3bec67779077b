//! Ctrl-C in the middle of a transfer: it ends there, nothing is half, and the same command does it all.

use std::sync::atomic::Ordering;

use crate::harness::{begin, end, run, said_so_far};
use crate::proxy::Proxy;
use crate::subjects::Subject;
use crate::subjects::images::{Load, Save, Size};
use crate::support_engine::{eventually, shared_engine};

/// The transfer is held when so many bytes went to the engine or came from it, and goes on when the program has said that
/// it stops.
#[track_caller]
fn interrupted(mut subject: impl Subject, up_bytes: u64, down_bytes: u64) {
    subject.prepare();
    let proxy = Proxy::start(&subject.site().file("proxy.sock"), &shared_engine());
    proxy.up_left.store(up_bytes, Ordering::SeqCst);
    proxy.down_left.store(down_bytes, Ordering::SeqCst);
    proxy.freezes.store(true, Ordering::SeqCst);
    let command = subject.command();
    let context = format!("{command:?}, interrupted");
    let child = begin(subject.site(), &[command.as_slice(), &["--host", &proxy.address]].concat());
    eventually("the transfer is held", || proxy.is_frozen.load(Ordering::SeqCst));
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    eventually("it says that it stops", || said_so_far(subject.site()).contains("stopping"));
    proxy.is_frozen.store(false, Ordering::SeqCst);
    let ended = end(subject.site(), child);
    assert_eq!(ended.status.code(), Some(130), "{context}: {ended:?}");
    subject.holds(&context);
    run(subject.site(), &command).success(&context);
    subject.is_done(&context);
}

#[test]
fn a_save_that_is_interrupted_in_the_middle_of_an_export_is_done_by_the_next() {
    interrupted(Save::to_layout(Size::Large), u64::MAX, 1_500_000);
    interrupted(Save::to_archives(Size::Large), u64::MAX, 1_500_000);
}

#[test]
fn a_load_that_is_interrupted_in_the_middle_of_a_layer_is_done_by_the_next() {
    // Far before its end: a load whose last byte is on its way is finished.
    interrupted(Load::new(Size::Huge), 1_000_000, u64::MAX);
}
