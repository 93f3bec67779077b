//! Who runs dpl, and where.

use serde::{Deserialize, Serialize};

/// The person and machine behind an action, as far as the system tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The login name; with sudo, the one who called it.
    pub user: String,
    pub host: String,
    /// The address that the ssh session comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_client: Option<String>,
}

impl Operator {
    /// The one who runs this process.
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = variable("SUDO_USER")
            .or_else(|| variable("USER"))
            .or_else(|| variable("LOGNAME"))
            .unwrap_or_else(login_name);
        let ssh_client = variable("SSH_CLIENT").and_then(|text| text.split_whitespace().next().map(str::to_owned));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { user, host, ssh_client }
    }
}

/// The name of the user who runs this process where no variable has it, as under cron and in many containers.
fn login_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read("/etc/passwd").unwrap_or_default();
    name_in(&String::from_utf8_lossy(&users), uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user ID in lines of `/etc/passwd` (passwd(5)). Users of a directory service are not there.
fn name_in(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse::<u32>() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_variables_has_the_name_of_the_users_file() {
        let users = "root:x:0:0:root:/root:/bin/bash\n:x:7::::\nbroken\nli:x:1000:1000::/home/li:/bin/sh\n";
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 1000).as_deref(), Some("li"));
        assert_eq!(name_in(users, 7), None);
        assert_eq!(name_in("", 0), None);
    }
}
