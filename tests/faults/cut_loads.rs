//! Loads and saves that are cut off from outside: the connection drops, or the engine itself is killed and started again.
//! Then the same command again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::{Chance, run, takes_all};
use crate::proxy::Proxy;
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::images::{Load, Save, Size};
use crate::subjects::services::{self, Services};
use crate::support_engine::{PrivateEngine, shared_engine};
use crate::tally::Tally;

/// Cuts the connection `times` over, each time after another count of bytes, and tries again without.
fn cut(name: &str, times: usize, mut subject: impl Subject, up_bytes: u64, down_bytes: u64) {
    let mut chance = Chance::of(name);
    let proxy = Proxy::start(&subject.site().file("proxy.sock"), &shared_engine());
    let command = subject.command();
    let with_host: Vec<&str> = [command.as_slice(), &["--host", &proxy.address]].concat();
    let mut failed = 0;
    let mut tally = Tally::of("cut-transfers");
    for time in 0..times {
        tally.case();
        subject.prepare();
        let (up, down) = (chance.up_to(up_bytes), chance.up_to(down_bytes));
        proxy.up_left.store(up, Ordering::SeqCst);
        proxy.down_left.store(down, Ordering::SeqCst);
        let context = format!("{name} {time}, cut after {up} bytes up or {down} down");
        let ended = run(subject.site(), &with_host);
        proxy.up_left.store(u64::MAX, Ordering::SeqCst);
        proxy.down_left.store(u64::MAX, Ordering::SeqCst);
        if !ended.status.success() {
            assert!([Some(1), Some(4)].contains(&ended.status.code()), "{context}: {ended:?}");
            assert!(
                ended.stderr.contains("error:") && !ended.stderr.contains("panicked"),
                "{context}: {}",
                ended.stderr
            );
            failed += 1;
        }
        subject.holds(&context);
        run(subject.site(), &command).success(&context);
        subject.is_done(&context);
    }
    println!("{name}: {failed} of {times} were cut off");
    assert!(failed * 2 >= times, "{failed} of {times}");
}

fn count(all: usize, few: usize) -> usize {
    if takes_all() { all } else { few }
}

#[test]
fn a_load_that_is_cut_off_is_done_by_the_next() {
    cut("cut load", count(30, 4), Load::new(Size::Large), 1_300_000, u64::MAX / 2);
}

#[test]
fn a_save_that_is_cut_off_is_done_by_the_next() {
    cut("cut save", count(30, 3), Save::to_layout(Size::Large), u64::MAX / 2, 3_000_000);
    cut("cut save of archives", count(30, 2), Save::to_archives(Size::Large), u64::MAX / 2, 5_000_000);
}

/// Kills the engine `times` over in the middle of the command, starts it again, and repeats the command.
fn engine_killed(name: &str, times: usize, engine: &PrivateEngine, mut subject: impl Subject + Sync) {
    let mut chance = Chance::of(name);
    let command = subject.command();
    subject.prepare();
    let whole = run(subject.site(), &command).success(name).took;
    let mut tally = Tally::of("engine-killed");
    for time in 0..times {
        tally.case();
        subject.prepare();
        let moment = chance.moment(whole);
        let context = format!("{name} {time}, the engine killed {moment:?} into {whole:?}");
        let ended = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(subject.site(), &command));
            std::thread::park_timeout(Duration::from_millis(1).max(moment));
            engine.kill();
            running.join().unwrap()
        });
        if !ended.status.success() {
            assert!([Some(1), Some(4)].contains(&ended.status.code()), "{context}: {ended:?}");
            assert!(
                ended.stderr.contains("error:") && !ended.stderr.contains("panicked"),
                "{context}: {}",
                ended.stderr
            );
        }
        engine.start_again();
        subject.holds(&context);
        run(subject.site(), &command).success(&context);
        subject.is_done(&context);
    }
}

/// As [`engine_killed`], for work that waits for its engine: it is back before the command gives up.
fn engine_restarted(name: &str, times: usize, engine: &PrivateEngine, mut subject: impl Subject + Sync) {
    let mut chance = Chance::of(name);
    subject.prepare();
    let command = subject.command();
    let whole = run(subject.site(), &command).success(name).took;
    let mut tally = Tally::of("engine-killed");
    for time in 0..times {
        tally.case();
        subject.prepare();
        let command = subject.command();
        let moment = chance.moment(whole);
        let context = format!("{name} {time}, the engine killed {moment:?} into {whole:?} and started again");
        let ended = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(subject.site(), &command));
            std::thread::park_timeout(Duration::from_millis(1).max(moment));
            engine.kill();
            engine.start_again();
            running.join().unwrap()
        });
        if !ended.status.success() {
            assert!([Some(1), Some(4)].contains(&ended.status.code()), "{context}: {ended:?}");
            let said = &ended.stderr;
            assert!(said.contains("error:") && !said.contains("panicked"), "{context}: {said}");
        }
        // What has no restart policy went with the engine, whatever the command was about.
        run(subject.site(), &["start"]).success(&context);
        subject.holds(&context);
        run(subject.site(), &command).success(&context);
        subject.is_done(&context);
    }
}

/// Two of them go through the middle of their work with a killed engine in tests/engine/restarts.rs as well, in each run.
#[test]
fn work_whose_engine_is_killed_and_comes_back_is_done_by_it_or_by_the_next() {
    if !takes_all() {
        return;
    }
    let engine = PrivateEngine::start(&[]);
    ["redis:7.0", "postgres:15"].iter().for_each(|image| engine.take_image(image));
    let on = &engine.address;
    for deed in [services::Deed::FirstStart, services::Deed::Restart, services::Deed::Replace, services::Deed::Stop] {
        engine_restarted(&format!("{deed:?}, engine killed"), 5, &engine, Services::on(on, deed));
    }
    for deed in [databases::Deed::Backup, databases::Deed::Dump, databases::Deed::Rebuild, databases::Deed::Restore] {
        engine_restarted(&format!("{deed:?}, engine killed"), 5, &engine, Databases::on(on, deed));
    }
}

#[test]
fn a_load_whose_engine_is_killed_is_done_by_the_next() {
    let engine = PrivateEngine::start(&[]);
    engine_killed("load, engine killed", count(5, 1), &engine, Load::on(&engine.address, Size::Large));
    engine_killed("save, engine killed", count(5, 1), &engine, Save::to_layout_on(&engine.address, Size::Large));
}
