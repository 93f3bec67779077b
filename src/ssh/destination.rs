//! Where ssh connects to, as a person writes it.

/// A host, with what stands around it: `[USER@]HOST[:PORT]`. The host may be an alias of the user's ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub user: Option<String>,
    /// An IPv6 address stands without its brackets.
    pub host: String,
    pub port: Option<u16>,
}

impl Destination {
    /// `None` where it is not `[USER@]HOST[:PORT]`.
    pub fn of_authority(authority: &str) -> Option<Self> {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) = host_and_port(host)?;
        // A password in an address would be shown in lists of processes.
        let is_user = |user: &str| !user.is_empty() && !user.contains(':');
        if !user.is_none_or(is_user) || host.is_empty() {
            return None;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { user: user.map(str::to_owned), host, port })
    }

    /// As the ssh command takes it, which reads the host itself: an alias, `USER@HOST`, `ssh://USER@HOST:PORT`.
    pub fn as_typed(text: &str) -> Self {
        Self { user: None, host: text.to_owned(), port: None }
    }

    /// The last arguments of an ssh command.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.host.clone()]);
        arguments
    }

    /// Whether ssh would take a part of it for one of its options.
    pub fn begins_with_dash(&self) -> bool {
        let begins_with_dash = |part: &str| part.starts_with('-');
        begins_with_dash(&self.host) || self.user.as_deref().is_some_and(begins_with_dash)
    }
}

/// `HOST[:PORT]`, the host as it stands there: an IPv6 address has its brackets.
pub fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let behind_brackets = text.rfind(']').map_or(0, |place| place + 1);
    match text[behind_brackets..].find(':') {
        None if behind_brackets == text.len() || behind_brackets == 0 => Some((text, None)),
        None => None,
        Some(place) => {
            let (host, port) = (&text[..behind_brackets + place], &text[behind_brackets + place + 1..]);
            Some((host, Some(port.parse().ok()?)))
        }
    }
}
