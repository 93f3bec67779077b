//! Loads and saves that are cut off from outside: the connection drops, or the engine itself is killed and started again.
//! Then the same command again.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Chance, run, takes_all};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::images::{Load, Save};
use crate::subjects::services::{self, Services};
use crate::support_engine::{PrivateEngine, shared_engine};
use crate::tally::Tally;

/// Stands between the program and an engine, and drops every connection once so many bytes went one way.
pub struct Proxy {
    pub address: String,
    up_left: Arc<AtomicU64>,
    down_left: Arc<AtomicU64>,
}

impl Proxy {
    pub fn start(socket: &Path, engine: &str) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (up_left, down_left) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(u64::MAX)));
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let (up, down) = (up_left.clone(), down_left.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&engine).unwrap();
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (up.clone(), down.clone());
                std::thread::spawn(move || pass_on(client, server, &up));
                std::thread::spawn(move || pass_on(server_too, client_too, &down));
            }
        });
        Self { address: format!("unix://{}", socket.display()), up_left, down_left }
    }
}

/// Copies until an end, which is passed on, or until no byte is left; then both ends are closed.
fn pass_on(mut from: UnixStream, mut to: UnixStream, left: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let before =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(read as u64)));
        let allowed = before.unwrap().min(read as u64) as usize;
        if to.write_all(&buffer[..allowed]).is_err() || allowed < read {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    // The other way stays open: a command in a container goes on when its input has ended.
    let _ = to.shutdown(Shutdown::Write);
}

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
    cut("cut load", count(30, 4), Load::new(), 1_300_000, u64::MAX / 2);
}

#[test]
fn a_save_that_is_cut_off_is_done_by_the_next() {
    cut("cut save", count(30, 3), Save::to_layout(), u64::MAX / 2, 3_000_000);
    cut("cut save of archives", count(30, 2), Save::to_archives(), u64::MAX / 2, 5_000_000);
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
    engine_killed("load, engine killed", count(5, 1), &engine, Load::on(&engine.address));
    engine_killed("save, engine killed", count(5, 1), &engine, Save::to_layout_on(&engine.address));
}
