//! What logind does to those who log out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where its files are; an earlier folder counts before a later one (logind.conf(5)).
const FOLDERS: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// Whether logind ends what this process has started once the connection is over, a session of its own or not: all that is in the
/// scope of a login, unless it is root's.
pub(super) fn ends_what_outlives_its_login() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // With sudo it is somebody else's login all the same.
    let user = user_of_login(&groups).unwrap_or_else(|| rustix::process::getuid().as_raw());
    user != 0 && is_asked_to(&texts().join("\n"))
}

/// Whose login the control groups of a process name, as `/user.slice/user-1000.slice/session-3.scope`.
fn user_of_login(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let (_, login) = line.split_once("/user-")?;
        let (user, scope) = login.split_once(".slice/")?;
        scope.starts_with("session-").then(|| user.parse().ok())?
    })
}

/// What its files say, in the order in which they count.
fn texts() -> Vec<String> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let main = FOLDERS.iter().find_map(|folder| read(Path::new(folder).join("logind.conf")));
    // By their names, whatever their folders; one hides those of its name in later folders.
    let mut more = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        for entry in fs::read_dir(Path::new(folder).join("logind.conf.d")).into_iter().flatten().flatten() {
            more.insert(entry.file_name(), entry.path());
        }
    }
    more.retain(|name, _| name.as_encoded_bytes().ends_with(b".conf"));
    main.into_iter().chain(more.into_values().filter_map(read)).collect()
}

/// The last line that says it counts; without one it does not.
fn is_asked_to(text: &str) -> bool {
    let mut said = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "KillUserProcesses").then(|| value.trim().to_ascii_lowercase())
    });
    // As systemd reads truth.
    said.next_back().is_some_and(|value| matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_it_counts() {
        for (text, is_asked) in [
            ("", false),
            ("[Login]\n#KillUserProcesses=yes\n", false),
            ("[Login]\nKillUserProcesses=yes\n", true),
            ("[Login]\n KillUserProcesses = True\n", true),
            ("KillUserProcesses=yes\nKillUserProcesses=no\n", false),
            ("KillUserProcesses=yes\nKillUserProcesses=\n", false),
            ("KillUserProcessesNever=yes\n", false),
        ] {
            assert_eq!(is_asked_to(text), is_asked, "{text}");
        }
    }

    #[test]
    fn whose_login_it_is_say_the_control_groups() {
        for (groups, user) in [
            ("0::/user.slice/user-1000.slice/session-3.scope\n", Some(1000)),
            ("0::/user.slice/user-0.slice/session-c1.scope\n", Some(0)),
            ("12:pids:/\n1:name=systemd:/user.slice/user-7.slice/session-3.scope\n", Some(7)),
            // What the user's own manager runs stays as long as that does.
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n", None),
            ("0::/system.slice/ssh.service\n", None),
            ("", None),
        ] {
            assert_eq!(user_of_login(groups), user, "{groups}");
        }
    }
}
