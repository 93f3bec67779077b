//! The program is killed from outside at moments that chance chooses, then does its work after all.

use crate::harness::{Chance, run, run_until, takes_all};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::images::{Load, Save, Size};
use crate::subjects::services::{self, Services};
use crate::tally::Tally;

/// Runs the command once in peace, to know how long it takes, then kills it `times` over.
#[track_caller]
fn kill_at_random(name: &str, times: usize, mut subject: impl Subject) {
    let mut chance = Chance::of(name);
    let mut tally = Tally::of("random-kills");
    let command = subject.command();
    subject.prepare();
    let whole = run(subject.site(), &command).success(name).took;
    // 50 of all together in an ordinary run, 1,000 in a whole row.
    for time in 0..times * if takes_all() { 20 } else { 1 } {
        tally.case();
        let moment = chance.moment(whole);
        let context = format!("{name} {time}, killed {moment:?} into {whole:?}");
        subject.prepare();
        let ended = run_until(subject.site(), &command, moment);
        assert!(ended.was_killed() || ended.status.success(), "{context}: {ended:?}");
        subject.holds(&context);
        run(subject.site(), &command).success(&context);
        subject.is_done(&context);
    }
}

#[test]
fn a_save_killed_at_any_moment() {
    kill_at_random("save", 16, Save::to_layout(Size::Large));
}

#[test]
fn a_load_killed_at_any_moment() {
    kill_at_random("load", 16, Load::new(Size::Large));
}

#[test]
fn a_replacement_killed_at_any_moment() {
    kill_at_random("restart", 10, Services::new(services::Deed::Replace));
}

#[test]
fn a_backup_killed_at_any_moment() {
    kill_at_random("backup", 5, Databases::new(databases::Deed::Backup));
}

#[test]
fn a_rebuild_killed_at_any_moment() {
    kill_at_random("rebuild", 3, Databases::new(databases::Deed::Rebuild));
}
