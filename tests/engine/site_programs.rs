//! How dpl gets to a site and starts there: whatever the login is, and whatever the machine allows.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::at_sites::Sites;

/// Folders of the site as the command there sees them: its own `/var/lib` and `/var/tmp`, and a home that allows no programs.
pub fn in_a_world_of_its_own(folder: &Path, inside: &str) -> String {
    let at = folder.display();
    for name in ["lib", "tmp"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    format!(
        "ForceCommand unshare --mount --propagation private sh -c \"mount --bind {at}/lib /var/lib && mount --bind {at}/tmp \
         /var/tmp && {inside} exec sh -c \\\"\\$SSH_ORIGINAL_COMMAND\\\"\""
    )
}

#[test]
fn a_dpl_of_another_protocol_there_is_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let sites = Sites::new(&in_a_world_of_its_own(
        folder.path(),
        &format!("export XDG_CACHE_HOME={} &&", folder.path().display()),
    ));
    sites.run(&["on", "site", "list"]).success();
    let versions: Vec<_> =
        fs::read_dir(folder.path().join("dpl")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let there = versions[0].join("dpl");
    // An older one and a later one.
    for (protocol, version) in [(0, "0.0.1"), (9, "9.9.9")] {
        let hello = format!(r#"{{"protocol":{protocol},"version":"{version}","now":0}}"#);
        let script =
            format!("#!/bin/sh\nprintf '\\0dpl-serve\\0j\\{:03o}\\0\\0\\0%s' '{hello}'\ncat >/dev/null\n", hello.len());
        // The program may still run.
        fs::remove_file(&there).unwrap();
        fs::write(&there, script).unwrap();
        Command::new("chmod").arg("700").arg(&there).status().unwrap();
        for command in [&["on", "site", "list"][..], &["on", "site", "restart", "a"], &["inventory", "site"]] {
            let failed = sites.run(command).failure(1);
            assert!(failed.stderr.contains(version) && failed.stderr.contains("another protocol"), "{}", failed.stderr);
        }
    }
}

#[test]
fn login_shells_of_all_kinds_start_it() {
    for (what, more) in [
        ("fish", "ForceCommand /usr/bin/fish -c \"$SSH_ORIGINAL_COMMAND\""),
        ("csh", "ForceCommand tcsh -c \"$SSH_ORIGINAL_COMMAND\""),
        ("zsh", "ForceCommand /usr/bin/zsh -c \"$SSH_ORIGINAL_COMMAND\""),
        ("busybox", "ForceCommand busybox ash -c \"$SSH_ORIGINAL_COMMAND\""),
        ("a talking login script", "ForceCommand echo Welcome; echo to the site >&2; eval \"$SSH_ORIGINAL_COMMAND\""),
        ("one session a connection", "MaxSessions 1"),
    ] {
        println!("{what}");
        let sites = Sites::new(more);
        let listed = sites.run(&["on", "site", "list"]).success();
        assert!(listed.stdout.contains("slow") && !listed.stdout.contains("Welcome"), "{}", listed.stdout);
        let checked = sites.run(&["sites", "--check", "--json", "site"]).success().json()["sites"][0].clone();
        let is_told = checked["warnings"].to_string().contains("ForceCommand");
        assert_eq!(is_told, more.starts_with("ForceCommand"), "{checked}");
        assert!(checked["program"].as_str().is_some_and(|path| path.ends_with("/dpl")), "{checked}");
    }
    let sites = Sites::new("ForceCommand echo This account is not available.; exit 1");
    let failed = sites.run(&["on", "site", "list"]).failure(4);
    assert!(failed.stderr.contains("This account is not available"), "{}", failed.stderr);
}

#[test]
fn two_versions_of_the_program_stay_there() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = format!("export XDG_CACHE_HOME={} &&", folder.path().display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &cache));
    let versions = folder.path().join("dpl");
    for day in 1..=3 {
        let version = versions.join(format!("0.0.{day}-0123456789abcdef"));
        fs::create_dir_all(&version).unwrap();
        let dated = Command::new("touch").args(["-d", &format!("2026-01-0{day}")]).arg(&version).status().unwrap();
        assert!(dated.success());
    }
    sites.run(&["on", "site", "list"]).success();
    let left = fs::read_dir(&versions).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left.filter(|name| !name.starts_with("digest-")).collect();
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(left[0], "0.0.3-0123456789abcdef");
    assert!(versions.join(&left[1]).join("dpl").is_file(), "{left:?}");
}

#[test]
fn a_machine_of_another_architecture_needs_a_program_of_its_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let (bin, cache) = (folder.path().join("bin"), folder.path().join("cache"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("uname"), "#!/bin/sh\necho riscv64\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(bin.join("uname")).status().unwrap().success());
    let world = format!("export PATH={}:\\$PATH XDG_CACHE_HOME={} &&", bin.display(), cache.display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &world));
    let failed = sites.run(&["on", "site", "list"]).failure(1);
    assert!(
        failed.stderr.contains("has the architecture riscv64") && failed.stderr.contains("/dpl-riscv64"),
        "{}",
        failed.stderr
    );
    assert!(!cache.join("dpl").exists(), "nothing is brought that can't run there");
}

#[test]
fn a_home_that_allows_no_programs_is_passed_over() {
    let folder = tempfile::TempDir::new().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let mount = format!("mount -t tmpfs -o noexec tmpfs {0} && export XDG_CACHE_HOME={0} &&", home.display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &mount));
    assert!(sites.run(&["on", "site", "list"]).success().stdout.contains("slow"));
    assert!(fs::read_dir(folder.path().join("tmp/dpl-0")).unwrap().count() > 0);
}

#[test]
fn a_full_home_is_passed_over_and_results_are_kept_elsewhere_too() {
    let folder = tempfile::TempDir::new().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=64k tmpfs {0} && export XDG_CACHE_HOME={0} XDG_STATE_HOME={0}/x/y && touch {0}/x &&",
        home.display()
    );
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &mount));
    assert!(sites.run(&["on", "site", "list"]).success().stdout.contains("slow"));
    sites.run(&["on", "site", "start", "a"]).success();
    let kept = fs::read_dir(folder.path().join("tmp/dpl-0")).unwrap();
    let names: Vec<_> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.contains(&"runs".to_owned()) && names.len() == 2, "{names:?}");
}

/// A machine that has busybox and nothing else: no C library above all.
#[test]
fn a_program_that_does_not_start_there_is_told_with_the_way_out() {
    let root = tempfile::TempDir::new().unwrap();
    let at = root.path().display();
    let script = format!(
        "mkdir -p {at}/bin {at}/root {at}/var/tmp {at}/dev {at}/proc && cp \"$(command -v busybox)\" {at}/bin/busybox && \
         {at}/bin/busybox --install {at}/bin && cp -a /dev/null {at}/dev/"
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let sites = Sites::new(&format!(
        "ForceCommand exec chroot {at} /bin/busybox env -u XDG_CACHE_HOME HOME=/root PATH=/bin /bin/busybox sh -c \"$SSH_ORIGINAL_COMMAND\""
    ));
    let failed = sites.run(&["on", "site", "list"]).failure(1);
    assert!(
        failed.stderr.contains("does not run there") && failed.stderr.contains("static release"),
        "{}",
        failed.stderr
    );
    let left = Command::new("find").arg(root.path()).args(["-name", "dpl*", "-type", "f"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[test]
fn with_sudo_the_program_lies_in_a_folder_of_roots() {
    let folder = tempfile::TempDir::new().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(
        bin.join("sudo"),
        "#!/bin/sh\necho \"$1 $2\" >>SUDO.log\nshift 2\nexec \"$@\"\n"
            .replace("exec", "exec env -u SSH_CLIENT")
            .replace("SUDO", &folder.path().join("sudo").display().to_string()),
    )
    .unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("sudo")).status().unwrap();
    let path = format!("export PATH={}:\\$PATH &&", bin.display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &path));
    sites.write(r#", "sudo": true"#);
    assert!(sites.run(&["on", "site", "list"]).success().stdout.contains("slow"));
    assert!(fs::read_to_string(folder.path().join("sudo.log")).unwrap().starts_with("-n --"));
    assert_eq!(fs::read_dir(folder.path().join("lib/dpl/bin")).unwrap().count(), 1);
    // sudo drops the variables of ssh; the journal there says from where it was all the same.
    sites.stack.run(&["save", "a"]).success();
    sites.run(&["on", "site", "images", "repair"]).success();
    let history = sites.stack.run(&["history", "--json"]).success().json();
    assert!(history.to_string().contains("127.0.0.1"), "{history}");
    fs::write(bin.join("sudo"), "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n").unwrap();
    let failed = sites.run(&["on", "site", "list"]).failure(1);
    assert!(
        failed.stderr.contains("a password is required") && failed.stderr.contains("NOPASSWD"),
        "{}",
        failed.stderr
    );
}

#[test]
fn where_logind_ends_what_outlives_a_login_that_is_said_before_it_happens() {
    // A login of a user, as far as anybody there can see; the files are this machine's own user's.
    let login = |user: u32| {
        format!(
            "ForceCommand unshare --mount --cgroup --propagation private sh -c \"mount -t tmpfs tmpfs /usr/local/lib && \
             mkdir -p /usr/local/lib/systemd/logind.conf.d && \
             echo KillUserProcesses=yes >/usr/local/lib/systemd/logind.conf.d/50-test.conf && \
             exec unshare --user --map-user={user} --map-group={user} sh -c \\\"\\$SSH_ORIGINAL_COMMAND\\\"\""
        )
    };
    for (user, is_told) in [(1000, true), (0, false)] {
        let sites = Sites::new(&login(user));
        sites.stack.run(&["start", "a"]).success();
        let checked = sites.run(&["sites", "--check", "--json", "site"]).success().json()["sites"][0].clone();
        assert_eq!(checked["user"], user.to_string(), "{checked}");
        assert_eq!(checked["warnings"].to_string().contains("KillUserProcesses"), is_told, "{checked}");
        let table = sites.run(&["sites", "--check", "site"]).success().stdout;
        assert_eq!(table.contains("KillUserProcesses"), is_told, "{table}");
        let restarted = sites.run(&["on", "site", "restart", "a"]).success();
        assert_eq!(restarted.stderr.matches("KillUserProcesses").count(), usize::from(is_told), "{}", restarted.stderr);
        // What ends with its connection anyway need not be told.
        let listed = sites.run(&["on", "site", "list"]).success();
        assert!(!listed.stderr.contains("KillUserProcesses"), "{}", listed.stderr);
    }
}

#[test]
fn a_site_without_dpl_can_be_used_and_it_is_brought_there_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = format!("export XDG_CACHE_HOME={} &&", folder.path().display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &cache));
    let checked = sites.run(&["sites", "--check", "--json", "site"]).success().json()["sites"][0].clone();
    assert_eq!(checked["ok"], true, "{checked}");
    let program = checked["program"].as_str().unwrap().to_owned();
    let file = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&program).unwrap());
    let brought = file();
    sites.run(&["on", "site", "list"]).success();
    sites.run(&["inventory", "site"]).success();
    assert_eq!(file(), brought, "another file would have another number");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(Path::new(&program).parent().unwrap()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0, "its folder is the user's alone: {mode:o}");
}

#[test]
fn a_program_that_does_not_arrive_as_it_was_sent_is_not_run_and_leaves_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let (bin, cache) = (folder.path().join("bin"), folder.path().join("cache"));
    fs::create_dir(&bin).unwrap();
    // What takes it in there loses most of it.
    fs::write(bin.join("cat"), "#!/bin/sh\nexec head -c 100000\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(bin.join("cat")).status().unwrap().success());
    let world = format!("export PATH={}:\\$PATH XDG_CACHE_HOME={} &&", bin.display(), cache.display());
    let sites = Sites::new(&in_a_world_of_its_own(folder.path(), &world));
    let failed = sites.run(&["on", "site", "list"]).failure(1);
    assert!(failed.stderr.contains("did not arrive as it was sent"), "{}", failed.stderr);
    let left = Command::new("find").arg(folder.path()).args(["-name", "dpl*", "-type", "f"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}
