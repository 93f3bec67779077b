//! Words of the kernel and of the engine that some fields of a service take: closed sets, which the reader and the schema share.

/// Capabilities (`capabilities(7)`) without `CAP_`, and `ALL`, which engines take in their place. Case does not count (moby,
/// `caps.NormalizeLegacyCapabilities`).
pub const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Limits of a process (`setrlimit(2)`) without `RLIMIT_`; case does not count (moby, `WithRlimits`).
pub const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Signals that a container can be sent, by their names without `SIG` (moby, `signal.SignalMap` of Linux).
pub const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether the engine knows a capability: with `CAP_` or without, but `ALL` only alone.
pub fn is_capability(text: &str) -> bool {
    let name = text.to_ascii_uppercase();
    match name.strip_prefix("CAP_") {
        Some(name) => name != "ALL" && CAPABILITIES.contains(&name),
        None => CAPABILITIES.contains(&name.as_str()),
    }
}

pub fn is_limit(text: &str) -> bool {
    LIMITS.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether an engine knows a signal: a number, or a name, with `SIG` or without.
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return number != 0;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    SIGNALS.contains(&name) || name.starts_with("RTMIN+") || name.starts_with("RTMAX-")
}

/// A regular expression for one of these words in upper and lower case: JSON Schema has no flag for it.
pub fn in_any_case(words: &[&str]) -> String {
    let letter = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()),
        false => letter.to_string(),
    };
    let words: Vec<String> = words.iter().map(|word| word.chars().map(letter).collect()).collect();
    words.join("|")
}

/// Whether each container can have a value of its own for a kernel parameter: runc refuses the others (libcontainer, `sysctl` in
/// `configs/validate`).
pub fn is_of_a_container(parameter: &str) -> bool {
    const KERNEL: [&str; 9] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "domainname"];
    let name = parameter.replace('/', ".");
    name.starts_with("net.")
        || name.starts_with("fs.mqueue.")
        || name.strip_prefix("kernel.").is_some_and(|name| KERNEL.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_with_their_prefix_and_without_it_in_any_case() {
        for known in ["NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin", "net_admin", "ALL", "all"] {
            assert!(is_capability(known), "{known}");
        }
        for unknown in ["", "CAP_", "CAP_ALL", "NETADMIN", "NET-ADMIN", " NET_ADMIN"] {
            assert!(!is_capability(unknown), "{unknown}");
        }
    }

    #[test]
    fn only_parameters_with_a_namespace_are_a_containers_own() {
        for own in ["net.core.somaxconn", "net/ipv4/ip_forward", "fs.mqueue.msg_max", "kernel.shmmax", "kernel.sem"] {
            assert!(is_of_a_container(own), "{own}");
        }
        for of_the_host in ["vm.max_map_count", "kernel.pid_max", "fs.file-max", "kernel.hostname"] {
            assert!(!is_of_a_container(of_the_host), "{of_the_host}");
        }
    }
}
