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
            .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        let ssh_client = variable("SSH_CLIENT").and_then(|text| text.split_whitespace().next().map(str::to_owned));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { user, host, ssh_client }
    }
}
