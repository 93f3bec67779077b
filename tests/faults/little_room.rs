//! Each command that writes, on a disk that fills up under it, has no inode left, can't be written, or is somebody else's:
//! the error says so and where, what was there stays, and with room the same command comes to its end. (`save` has its own
//! tests in `disk_full`.)

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::disk_full::SmallDisk;
use crate::harness::{Ended, run, run_command, takes_all};
use crate::subjects::Subject;
use crate::subjects::databases::{self, Databases};
use crate::subjects::housekeeping::{Exchange, Way, copy};
use crate::subjects::services::{self, Services};
use crate::tally::Tally;

/// A command, and the folder of its site that it writes into.
struct Writer<S> {
    subject: S,
    folder: &'static str,
}

impl<S: Subject> Writer<S> {
    /// The old state, its folder on a disk of its own with all the room that it needs.
    fn on_own_disk(&mut self) -> SmallDisk {
        self.subject.prepare();
        let folder = self.subject.site().file(self.folder);
        let aside = self.subject.site().file("aside");
        let _ = fs::remove_dir_all(&aside);
        if folder.exists() {
            fs::rename(&folder, &aside).unwrap();
        }
        let disk = SmallDisk::over(&folder, "size=64m");
        if aside.exists() {
            copy(&aside, &folder);
        }
        disk
    }

    /// The disk goes; what it had stays in the folder, for the next one to be prepared from.
    fn put_back(&self, disk: SmallDisk) {
        let (folder, aside) = (self.subject.site().file(self.folder), self.subject.site().file("aside"));
        let _ = fs::remove_dir_all(&aside);
        copy(&folder, &aside);
        drop(disk);
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&aside, &folder).unwrap();
    }

    /// What the disk holds before the command and after it.
    fn measure(&mut self, name: &str) -> ((u64, u64), (u64, u64)) {
        let disk = self.on_own_disk();
        let folder = self.subject.site().file(self.folder);
        let before = used(&folder);
        run(self.subject.site(), &self.subject.command()).success(name);
        let after = used(&folder);
        self.put_back(disk);
        (before, after)
    }

    /// Runs the command with so little room, then with enough.
    fn with(&mut self, options: &str, enough: &str, context: &str) -> bool {
        let disk = self.on_own_disk();
        disk.becomes(options);
        let ended = run(self.subject.site(), &self.subject.command());
        let has_failed = !ended.status.success();
        if has_failed {
            says_why(&ended, &["space"], context);
        }
        disk.becomes(enough);
        self.subject.holds(context);
        self.subject.before_again();
        run(self.subject.site(), &self.subject.command()).success(context);
        self.subject.is_done(context);
        self.put_back(disk);
        has_failed
    }

    /// Takes `sizes` in a whole row, `few` in an ordinary run, spread over all that the command writes.
    fn fills_up(&mut self, name: &str, few: u64) {
        let mut tally = Tally::of("disk-full");
        let ((before_kib, before_inodes), (after_kib, after_inodes)) = self.measure(name);
        let (sizes, inodes) = if takes_all() { (20, 6) } else { (few, u64::from(few > 1)) };
        let mut failed = 0;
        for size in 0..sizes {
            tally.case();
            // From the first byte that is written to the last one.
            let kib = before_kib + after_kib.saturating_sub(before_kib).max(8) * (size * 2 + 1) / (sizes * 2);
            // To tmpfs a size of 0 is no limit at all.
            let kib = kib.max(4);
            failed += u64::from(self.with(&format!("size={kib}k"), "size=64m", &format!("{name} on {kib} KiB")));
        }
        for step in 0..inodes {
            tally.case();
            let count = before_inodes + (after_inodes.max(before_inodes + 1) - before_inodes) * step / inodes;
            failed += u64::from(self.with(
                &format!("nr_inodes={count}"),
                "nr_inodes=10000",
                &format!("{name} with {count} inodes"),
            ));
        }
        println!("{name}: {failed} of {} had no room", sizes + inodes);
        assert!(failed * 2 >= sizes + inodes, "{name}: only {failed} had no room");
    }

    /// A folder that can't be written at all.
    fn read_only(&mut self, name: &str) {
        let mut tally = Tally::of("disk-full");
        tally.case();
        let disk = self.on_own_disk();
        disk.becomes("ro");
        let ended = run(self.subject.site(), &self.subject.command());
        says_why(&ended, &["Read-only"], name);
        disk.becomes("rw");
        self.subject.holds(name);
        run(self.subject.site(), &self.subject.command()).success(name);
        self.subject.is_done(name);
        self.put_back(disk);
    }
}

/// KiB and inodes in use on the disk of a folder.
fn used(folder: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(folder).unwrap();
    ((stat.f_blocks - stat.f_bfree) * stat.f_frsize / 1024, stat.f_files - stat.f_ffree)
}

#[track_caller]
fn says_why(ended: &Ended, words: &[&str], context: &str) {
    let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(ended.status.code(), Some(1), "{context}: {said}");
    assert!(said.contains("error:") && !said.contains("panicked"), "{context}: {said}");
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{context}: no `{word}` in: {said}");
    }
}

#[test]
fn an_import_or_an_export_without_room_leaves_what_was_there_and_the_next_comes_to_its_end() {
    let mut import = Writer { subject: Exchange::new(Way::Import), folder: "store" };
    import.fills_up("images import", 2);
    import.read_only("images import");
    let mut export = Writer { subject: Exchange::new(Way::Export), folder: "out" };
    export.fills_up("images export", 1);
    export.read_only("images export");
}

#[test]
fn a_backup_or_a_dump_without_room_leaves_what_was_there_and_the_next_comes_to_its_end() {
    let mut backup = Writer { subject: Databases::new(databases::Deed::Backup), folder: "backups" };
    backup.fills_up("db backup", 1);
    backup.read_only("db backup");
    if takes_all() {
        Writer { subject: Databases::new(databases::Deed::Dump), folder: "seeds" }.fills_up("db dump", 1);
        Writer { subject: Databases::new(databases::Deed::Convert), folder: "out" }.fills_up("db convert", 1);
    }
}

#[test]
fn an_action_whose_journal_finds_no_room_changes_nothing() {
    let mut subject = Services::new(services::Deed::Stop);
    let mut tally = Tally::of("disk-full");
    for options in ["ro", "size=4k,nr_inodes=2"] {
        tally.case();
        subject.prepare();
        let state = subject.site().file(".dpl");
        let disk = SmallDisk::over(&state, options);
        let ended = run(subject.site(), &subject.command());
        says_why(&ended, &["where dpl keeps its state"], options);
        drop(disk);
        subject.is_untouched(options);
    }
    run(subject.site(), &subject.command()).success("with room");
    subject.is_done("with room");
}

/// The locks are there by then, the engine's too.
#[test]
fn an_action_whose_journal_can_not_be_begun_changes_nothing_and_leaves_no_lock() {
    let mut subject = Services::new(services::Deed::Stop);
    subject.prepare();
    let journal = subject.site().state("journal.jsonl");
    let aside = journal.with_extension("aside");
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let ended = run(subject.site(), &subject.command());
    says_why(&ended, &["can't read", "journal.jsonl"], "a folder in its place");
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    subject.is_untouched("a folder in its place");
    let program = subject.site().command(&["lock", "status", "-f", "stack.json"]);
    let status = run_command(subject.site(), program).success("who is at work");
    assert!(status.stderr.contains("nobody is working on"), "{}", status.stderr);
    run(subject.site(), &subject.command()).success("the next one");
    subject.is_done("the next one");
}

#[test]
fn another_users_folders_are_named_and_stay_as_they_are() {
    const NOBODY: u32 = 65_534;
    let mut subject = Databases::new(databases::Deed::Backup);
    subject.prepare();
    let site = subject.site();
    let proxy = crate::proxy::Proxy::start(&site.file("proxy.sock"), &crate::support_engine::shared_engine());
    fs::set_permissions(site.file("proxy.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = site.file("program");
    fs::copy(site.command(&[]).get_program(), &program).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).args(["--yes", "-f", "stack.json"]).current_dir(site.path()).env_clear();
        command.env("HOME", "/nonexistent").env("DOCKER_HOST", &proxy.address).uid(NOBODY).gid(NOBODY);
        run_command(site, command)
    };
    let mut tally = Tally::of("disk-full");
    // The state first: a command that can't write down what it does changes nothing.
    for command in [&["db", "backup"][..], &["db", "dump", "shop"], &["stop", "all"], &["restart", "all"]] {
        tally.case();
        says_why(&as_nobody(command), &["where dpl keeps its state", "Permission denied"], &format!("{command:?}"));
    }
    for command in [&["check"][..], &["status"], &["plan"]] {
        tally.case();
        as_nobody(command).success(&format!("{command:?} only looks"));
    }
    // Then the folder itself.
    let state = site.file(".dpl");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let owner = format!("{NOBODY}:{NOBODY}");
    assert!(Command::new("chown").args(["-R", &owner]).arg(&state).status().unwrap().success());
    for (command, folder) in [(&["db", "backup"][..], "backups"), (&["db", "dump", "shop"], "seeds")] {
        tally.case();
        says_why(&as_nobody(command), &[folder, "Permission denied"], &format!("{command:?}"));
    }
    subject.holds("afterwards");
}
