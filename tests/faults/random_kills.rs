//! The program is killed from outside at moments that chance chooses, then does its work after all.

use std::time::Duration;

use crate::harness::{Chance, run, run_until, takes_all};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::images::{Load, Save, Size};
use crate::subjects::services::{self, Services};
use crate::support::in_lanes;
use crate::tally::Tally;

/// Kills the command `times` over, as many side by side as there are lanes. Each lane runs it once in peace before, to know how
/// long it takes: one lane does for few moments of what takes long to make.
#[track_caller]
fn kill_at_random<S: Subject>(name: &str, times: usize, lanes: usize, make: impl Fn() -> S + Sync) {
    let mut chance = Chance::of(name);
    // 50 of all together in an ordinary run, 1,000 in a whole row.
    let times = times * if takes_all() { 20 } else { 1 };
    // Of the time that it takes in peace.
    let moments: Vec<(usize, f64)> =
        (0..times).map(|time| (time, chance.moment(Duration::from_secs(1)).as_secs_f64())).collect();
    let make = || {
        let mut subject = make();
        let command = subject.command();
        subject.prepare();
        let whole = run(subject.site(), &command).success(name).took;
        (Tally::of("random-kills"), subject, command, whole)
    };
    in_lanes(lanes, &moments, make, |(tally, subject, command, whole), (time, part)| {
        tally.case();
        let moment = whole.mul_f64(*part);
        let context = format!("{name} {time}, killed {moment:?} into {whole:?}");
        subject.prepare();
        let ended = run_until(subject.site(), command, moment);
        assert!(ended.was_killed() || ended.status.success(), "{context}: {ended:?}");
        subject.holds(&context);
        run(subject.site(), command).success(&context);
        subject.is_done(&context);
    });
}

#[test]
fn a_save_killed_at_any_moment() {
    kill_at_random("save", 16, 2, || Save::to_layout(Size::Large));
}

#[test]
fn a_load_killed_at_any_moment() {
    kill_at_random("load", 16, 2, || Load::new(Size::Large));
}

#[test]
fn a_replacement_killed_at_any_moment() {
    kill_at_random("restart", 10, 2, || Services::new(services::Deed::Replace));
}

#[test]
fn a_backup_killed_at_any_moment() {
    kill_at_random("backup", 5, 1, || Databases::new(databases::Deed::Backup));
}

#[test]
fn a_rebuild_killed_at_any_moment() {
    kill_at_random("rebuild", 3, 1, || Databases::new(databases::Deed::Rebuild));
}
