//! The program kills itself at the named points of its commands, then does its work after all.

use std::process::Stdio;

use crate::harness::{Chance, run, run_to_point, takes_all};
use crate::points::{SAMPLE, Scene};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::housekeeping::{self, EngineLeftovers, Exchange, Housekeeping, Way};
use crate::subjects::images::{Load, Save, Size};
use crate::subjects::services::{self, Services};
use crate::support::in_lanes;
use crate::support_engine::eventually;
use crate::tally::Tally;

/// Kills the command at `count` points of the scene that chance chooses, or at all with `DPL_FAULTS_ALL`, each in a
/// pass that chance chooses too, and runs it again. Many are done two at a time, each lane on a subject of its own.
#[track_caller]
fn kill_at_points<S: Subject>(scene: Scene, count: usize, make: impl Fn() -> S + Sync) {
    let mut chance = Chance::of(&format!("{scene:?}"));
    let mut points: Vec<_> = SAMPLE.iter().filter(|point| point.scene == scene).collect();
    assert!(points.len() >= count, "{scene:?} has {} points", points.len());
    while points.len() > count && !takes_all() {
        points.remove(chance.up_to(points.len() as u64) as usize - 1);
    }
    // Each of them more than once, in other passes, where all are taken.
    let rounds =
        std::env::var("DPL_FAULTS_ROUNDS").map_or(if takes_all() { 3 } else { 1 }, |rounds| rounds.parse().unwrap());
    let points = std::iter::repeat_n(points, rounds).flatten();
    let failpoints: Vec<String> =
        points.map(|point| format!("{}:{}", point.name, chance.up_to(point.passes))).collect();
    let lanes = match scene {
        // Looks at all that lies on the engine.
        Scene::PruneEngine | Scene::RebuildOutside => 1,
        // Another lane has a server of its own, and to make that and its seed is as much work as one of the few points.
        Scene::Backup | Scene::Dump | Scene::Verify | Scene::PruneBackups | Scene::Rebuild | Scene::Rollback
            if !takes_all() =>
        {
            1
        }
        _ => 2,
    };
    let make = || (Tally::of("points"), make());
    in_lanes(lanes, &failpoints, make, |(tally, subject), failpoint| {
        tally.case();
        subject.prepare();
        let command = subject.command();
        run_to_point(subject.site(), &command, failpoint).killed(failpoint);
        subject.holds(failpoint);
        subject.before_again();
        run(subject.site(), &command).success(failpoint);
        subject.is_done(failpoint);
    });
}

#[test]
fn a_killed_save_leaves_a_store_of_whole_images() {
    kill_at_points(Scene::Save, 4, || Save::to_layout(Size::Small));
}

#[test]
fn a_killed_save_of_archives_leaves_whole_archives() {
    kill_at_points(Scene::SaveArchives, 1, || Save::to_archives(Size::Small));
}

#[test]
fn a_killed_load_leaves_every_name_at_a_whole_image() {
    kill_at_points(Scene::Load, 3, || Load::new(Size::Small));
}

#[test]
fn a_killed_prune_leaves_a_store_of_whole_images_and_is_finished_by_the_next() {
    kill_at_points(Scene::PruneImages, 3, || Housekeeping::new(housekeeping::Deed::Prune));
}

#[test]
fn a_killed_removal_of_images_leaves_those_that_stay_whole() {
    kill_at_points(Scene::RemoveImages, 1, || Housekeeping::new(housekeeping::Deed::Remove));
}

#[test]
fn a_killed_prune_of_the_engine_takes_nothing_that_a_name_leads_to() {
    kill_at_points(Scene::PruneEngine, 1, EngineLeftovers::new);
}

#[test]
fn a_killed_import_leaves_every_name_at_a_whole_image() {
    kill_at_points(Scene::Import, 2, || Exchange::new(Way::Import));
}

#[test]
fn a_killed_export_leaves_the_old_archive_or_the_new_one() {
    kill_at_points(Scene::Export, 1, || Exchange::new(Way::Export));
}

#[test]
fn a_killed_first_start_is_finished_by_the_next() {
    kill_at_points(Scene::FirstStart, 3, || Services::new(services::Deed::FirstStart));
    kill_at_points(Scene::Unpause, 1, || Services::new(services::Deed::Unpause));
    kill_at_points(Scene::WithGpu, 1, || Services::new(services::Deed::WithGpu));
}

#[test]
fn a_killed_restart_loses_no_container() {
    kill_at_points(Scene::Restart, 1, || Services::new(services::Deed::Restart));
}

#[test]
fn a_killed_replacement_leaves_the_old_container_or_a_proven_new_one() {
    kill_at_points(Scene::Replace, 5, || Services::new(services::Deed::Replace));
}

#[test]
fn a_way_back_that_is_killed_still_leads_back() {
    kill_at_points(Scene::ReplaceInVain, 1, || Services::new(services::Deed::ReplaceInVain));
}

#[test]
fn a_killed_stop_or_remove_is_finished_by_the_next() {
    kill_at_points(Scene::Stop, 1, || Services::new(services::Deed::Stop));
    kill_at_points(Scene::Remove, 1, || Services::new(services::Deed::Remove));
}

#[test]
fn remove_with_volumes_and_networks_is_taken_up_again() {
    kill_at_points(Scene::RemoveAll, 1, || Services::new(services::Deed::RemoveAll));
}

#[test]
fn a_killed_backup_leaves_the_backups_that_there_were() {
    kill_at_points(Scene::Backup, 2, || Databases::new(databases::Deed::Backup));
}

#[test]
fn a_killed_dump_leaves_the_old_seed_or_the_new_one() {
    kill_at_points(Scene::Dump, 2, || Databases::new(databases::Deed::Dump));
}

#[test]
fn a_killed_verification_leaves_the_backup_and_no_server() {
    kill_at_points(Scene::Verify, 2, || Databases::new(databases::Deed::Verify));
}

#[test]
fn a_killed_prune_leaves_whole_backups() {
    kill_at_points(Scene::PruneBackups, 2, || Databases::new(databases::Deed::Prune));
}

#[test]
fn a_killed_rebuild_leaves_all_old_rows_or_all_new_ones() {
    kill_at_points(Scene::Rebuild, 3, || Databases::new(databases::Deed::Rebuild));
}

#[test]
fn what_a_killed_rebuild_had_replaced_is_backed_up_before_it_goes_whatever_the_next_command_says() {
    let mut subject = Databases::new(databases::Deed::Rebuild);
    let swapped = |subject: &mut Databases| {
        subject.prepare();
        run_to_point(subject.site(), &subject.command(), "databases.rebuild.after-renames").killed("swapped");
    };
    swapped(&mut subject);
    let beside = ["db", "restore", "shop", "--file", "seed-as-made", "--as", "copy"];
    run(subject.site(), &beside).success("beside");
    assert!(!subject.replaced_is_safe("beside"), "it replaces nothing, and leaves that to a rebuild");
    swapped(&mut subject);
    run(subject.site(), &["db", "rebuild", "shop", "--no-backup"]).success("without a backup");
    assert!(subject.replaced_is_safe("without a backup"));
    swapped(&mut subject);
    subject.truncate_the_seed();
    run(subject.site(), &["db", "rebuild", "shop", "--no-backup", "--again"]).refused("a bad seed");
    assert!(subject.replaced_is_safe("a bad seed"));
}

#[test]
fn what_opens_a_database_again_is_left_alone_by_the_next_action_on_the_engine() {
    let mut subject = Databases::new(databases::Deed::RebuildOutside);
    subject.prepare();
    let command = [&subject.command()[..], &["--yes", "-f", "stack.json"]].concat();
    let mut command = subject.site().command(&command);
    command.env("DPL_FAILPOINT", "databases.rebuild.after-close").env("DPL_FAILPOINT_FREEZES", "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    eventually("it has come to the point", || state().contains(") T "));
    // The server does not answer, so that the database stays closed for a while.
    subject.pause(true);
    child.kill().unwrap();
    child.wait().unwrap();
    let verify = ["db", "verify", "seed-as-made", "--quick", "--image", "postgres:15"];
    run(subject.site(), &verify).success("somebody else's run");
    subject.pause(false);
    subject.opens("after somebody else's run");
}

#[test]
fn a_killed_rebuild_on_a_server_outside_leaves_all_old_rows_or_all_new_ones() {
    kill_at_points(Scene::RebuildOutside, 3, || Databases::new(databases::Deed::RebuildOutside));
}

#[test]
fn a_killed_rebuild_of_a_new_database_leaves_none_or_a_complete_one() {
    kill_at_points(Scene::RebuildNew, 1, || Databases::new(databases::Deed::RebuildNew));
}

#[test]
fn a_killed_restore_leaves_all_old_rows_or_all_new_ones() {
    kill_at_points(Scene::Restore, 1, || Databases::new(databases::Deed::Restore));
}

#[test]
fn a_killed_rollback_leaves_both_databases_and_is_done_by_the_next() {
    kill_at_points(Scene::Rollback, 2, || Databases::new(databases::Deed::Rollback));
    kill_at_points(Scene::RollbackDropped, 1, || Databases::new(databases::Deed::RollbackDropped));
}

#[test]
fn a_killed_conversion_leaves_nothing_or_a_whole_archive() {
    kill_at_points(Scene::Convert, 1, || Databases::new(databases::Deed::Convert));
}

#[test]
fn a_killed_rollback_of_services_is_finished_by_the_next_start_or_rollback() {
    kill_at_points(Scene::RollbackServices, 2, || Services::new(services::Deed::Rollback));
}
