//! Disks that are torn off while a package is written to them or read from them: nothing has its name that is not whole, and the same
//! command does the rest when they are back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{Desk, images, layer, machine, names, unpack};
use crate::support::{PATIENCE, Site};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Ext4,
    ExFat,
}

/// A file that is a disk: a loop device with a file system, which is in the folder `usb` of a site.
struct UsbDisk {
    kind: FileSystem,
    device: String,
    folder: PathBuf,
    /// What serves the file system where the kernel has none of its kind.
    daemon: Option<Child>,
}

impl UsbDisk {
    fn new(kind: FileSystem, site: &Site) -> Self {
        let (image, folder) = (site.file("usb.img"), site.file("usb"));
        fs::create_dir(&folder).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let device = done("losetup", &["--find", "--show", &image.display().to_string()]);
        let mut disk = Self { kind, device, folder, daemon: None };
        match kind {
            FileSystem::Ext4 => done("mkfs.ext4", &["-q", "-F", &disk.device]),
            FileSystem::ExFat => done("mkfs.exfat", &[disk.device.as_str()]),
        };
        disk.plug_in();
        disk
    }

    fn plug_in(&mut self) {
        let folder = self.folder.display().to_string();
        match self.kind {
            FileSystem::Ext4 => drop(done("mount", &["-t", "ext4", &self.device, &folder])),
            FileSystem::ExFat if kernel_knows("exfat") => drop(done("mount", &["-t", "exfat", &self.device, &folder])),
            FileSystem::ExFat => {
                // With `-d` it stays a child, which can be killed.
                let mut daemon = Command::new("mount.exfat-fuse");
                daemon.args(["-d", &self.device, &folder]).stdin(Stdio::null());
                self.daemon = Some(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
                let is_mounted = || Command::new("mountpoint").args(["-q", &folder]).status().unwrap().success();
                wait_until("the disk is mounted", is_mounted);
            }
        }
    }

    /// From here on all that is asked of it fails, as when it is pulled out.
    fn tear_off(&mut self) {
        match &mut self.daemon {
            Some(daemon) => {
                daemon.kill().unwrap();
                daemon.wait().unwrap();
            }
            None => {
                // EXT4_IOC_SHUTDOWN (fs/ext4/ext4.h), which exFAT has as well, without the journal: what is not on the disk by now never is.
                let shut_down = "import fcntl, os, struct, sys\n\
                                 fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
                done("python3", &["-c", shut_down, &self.folder.display().to_string()]);
            }
        }
    }

    /// Back again, with what is on it.
    fn plug_in_again(&mut self) {
        self.unmount();
        self.plug_in();
    }

    fn unmount(&mut self) {
        done("umount", &[&self.folder.display().to_string()]);
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait().unwrap();
        }
    }

    /// What lies on it.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "lost+found").collect();
        names.sort();
        names
    }

    /// Durably: a disk that is torn off later must not bring back what was on it before.
    fn wipe(&self) {
        self.names().iter().for_each(|name| fs::remove_file(self.folder.join(name)).unwrap());
        fs::File::open(&self.folder).unwrap().sync_all().unwrap();
    }
}

impl Drop for UsbDisk {
    fn drop(&mut self) {
        let quiet = |program: &str, arguments: &[&str]| drop(Command::new(program).args(arguments).output());
        quiet("umount", &["--lazy", &self.folder.display().to_string()]);
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        quiet("losetup", &["--detach", &self.device]);
    }
}

fn kernel_knows(file_system: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    known.lines().any(|line| line.split_whitespace().next_back() == Some(file_system))
}

/// The standard output of a program that must do its work.
#[track_caller]
fn done(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program).args(arguments).output().unwrap();
    assert!(run.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).trim_end().to_owned()
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Runs `dpl` up to a point, lets something happen there, and lets it go on.
#[track_caller]
fn at_point(site: &Site, point: &str, arguments: &[&str], happens: impl FnOnce()) -> (Option<i32>, String) {
    let mut command = site.command(arguments);
    command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    wait_until(point, || {
        assert_eq!(child.try_wait().unwrap(), None, "{point} was not passed");
        let stat = fs::read_to_string(&stat).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    });
    happens();
    done("kill", &["-CONT", &child.id().to_string()]);
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3_000_000), &layer(2, 3_000_000)]), ("worker", &[&layer(3, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    desk
}

const PACK: [&str; 8] = ["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "--unsigned"];

/// A pack that loses its disk at a point, and the same pack when the disk is back.
#[track_caller]
fn loses_the_disk(desk: &Desk, disk: &mut UsbDisk, point: &str, more: &[&str]) -> String {
    let pack = [&PACK[..], &["--yes", "-o", "usb/x.tar"], more].concat();
    let (code, said) = at_point(&desk.site, point, &pack, || disk.tear_off());
    assert_eq!(code, Some(1), "{point}: {said}");
    assert!(said.contains("usb/x.tar") && !said.contains("panicked"), "{point}: {said}");
    disk.plug_in_again();
    let left = disk.names();
    assert!(!left.contains(&"x.tar".to_owned()) && !left.contains(&"x.tar.parts.json".to_owned()), "{point}: {left:?}");
    desk.site.run(&pack).success();
    let names = disk.names();
    assert!(!names.iter().any(|name| name.starts_with('.')), "{point}: nothing unfinished is left: {names:?}");
    arrives(desk, &disk.folder.join(names.first().unwrap()), point);
    disk.wipe();
    said
}

#[track_caller]
fn arrives(desk: &Desk, package: &Path, context: &str) {
    let vault = machine();
    unpack(&vault, package, &[]).success();
    assert_eq!(images(&vault), images(&desk.site), "{context}");
}

#[test]
fn a_disk_that_is_torn_off_while_a_package_is_written_gets_it_by_the_same_command() {
    let desk = desk();
    let mut disk = UsbDisk::new(FileSystem::Ext4, &desk.site);
    for (point, more) in [
        ("packages.pack.before-entry:3", &[][..]),
        ("packages.pack.before-rename:1", &[][..]),
        ("packages.parts.before-name:2", &["--split", "2000000"][..]),
    ] {
        let said = loses_the_disk(&desk, &mut disk, point, more);
        assert!(said.contains("Input/output error"), "{point}: {said}");
    }
}

#[test]
fn a_disk_that_is_torn_off_while_a_package_is_read_leaves_what_has_come_and_nothing_with_a_name() {
    let desk = desk();
    let mut disk = UsbDisk::new(FileSystem::Ext4, &desk.site);
    desk.site.run(&[&PACK[..], &["-o", "usb/x.tar"]].concat()).success();
    let package = disk.folder.join("x.tar");
    let path = package.display().to_string();
    for (point, has_come) in [("packages.unpack.before-entry:1", 0), ("sites.receive.after-piece:10", 500_000)] {
        let vault = machine();
        let (code, said) = at_point(&vault, point, &["unpack", &path, "--yes"], || disk.tear_off());
        assert_eq!(code, Some(1), "{point}: {said}");
        assert!(said.contains("Input/output error") && !said.contains("panicked"), "{point}: {said}");
        assert!(names(&vault).is_empty() && !vault.file("stack.json").exists(), "{point}");
        assert!(!vault.file("seeds/d").exists(), "{point}");
        disk.plug_in_again();
        let all = fs::metadata(&package).unwrap().len();
        let said = unpack(&vault, &package, &["--json"]).success().json();
        assert!(said["receipt"]["bytes"].as_u64().unwrap() + has_come < all, "{point}: {said}");
        assert_eq!(images(&vault), images(&desk.site), "{point}");
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
    }
}

#[test]
fn an_exfat_disk_takes_packages_and_parts_and_is_torn_off_like_any_other() {
    let desk = desk();
    let mut disk = UsbDisk::new(FileSystem::ExFat, &desk.site);
    for more in [&[][..], &["--split", "2000000"]] {
        desk.site.run(&[&PACK[..], &["-o", "usb/x.tar"], more].concat()).success();
        let names = disk.names();
        assert!(!names.iter().any(|name| name.starts_with('.')), "{more:?}: {names:?}");
        arrives(&desk, &disk.folder.join(&names[0]), &format!("{more:?}"));
        disk.wipe();
    }
    // Whatever says no to it, the kernel or a program: it is the name.
    let refused = desk.site.run(&[&PACK[..], &["-o", "usb/v1 12:30.tar"]].concat()).failure(1);
    assert!(refused.stderr.contains("another name"), "{}", refused.stderr);
    assert_eq!(disk.names(), [""; 0], "nothing unfinished is left");
    for point in ["packages.pack.before-entry:3", "packages.pack.before-rename:1"] {
        loses_the_disk(&desk, &mut disk, point, &[]);
    }
}
