//! Services.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::scalars::Scalar;
use super::{Context, Decode, Fields};
use crate::manifest::model::ByteSize;
use crate::manifest::model::{
    BindOptions, Command, Dependency, Device, EnvFile, EnvValue, Gpu, Healthcheck, HostPort, HttpProbe, Logging, Mount,
    MountKind, NamespaceMode, NetworkJoin, Port, Ready, ReadyProbe, SecretSource, Service, TmpfsOptions, Ulimit,
    VolumeOptions,
};
use crate::manifest::text::node::{Node, Text, Value};

/// A map of scalars as text.
pub(super) fn texts(map: IndexMap<String, Scalar>) -> IndexMap<String, String> {
    map.into_iter().map(|(key, value)| (key, value.0)).collect()
}

impl Decode for Service {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let f = &mut fields;
        let c = &mut *context;
        let group_add: Vec<Scalar> = f.field("group_add", c);
        let service = Self {
            image: f.required("image", c),
            container_name: f.optional("container_name", c),
            hostname: f.optional("hostname", c),
            groups: f.field("groups", c),
            profiles: f.field("profiles", c),
            command: f.optional("command", c),
            entrypoint: f.optional("entrypoint", c),
            environment: environment(f, c),
            env_file: f.field("env_file", c),
            ports: f.field("ports", c),
            expose: f.field("expose", c),
            volumes: f.field("volumes", c),
            tmpfs: f.field("tmpfs", c),
            networks: f.field("networks", c),
            network_mode: mode(f, "network_mode", &["host", "none", "bridge"], c),
            depends_on: f.field("depends_on", c),
            healthcheck: f.optional("healthcheck", c),
            ready: f.optional("ready", c),
            restart: f.field("restart", c),
            gpus: f.field("gpus", c),
            devices: f.field("devices", c),
            device_cgroup_rules: cgroup_rules(f, c),
            runtime: f.optional("runtime", c),
            shm_size: f.optional("shm_size", c),
            ulimits: f.field("ulimits", c),
            mem_limit: memory(f, "mem_limit", c),
            mem_reservation: memory(f, "mem_reservation", c),
            memswap_limit: f.optional("memswap_limit", c),
            oom_score_adj: within(f, "oom_score_adj", -1000..=1000, c),
            cpus: f.optional("cpus", c),
            cpuset: f.optional::<Scalar>("cpuset", c).map(|text| text.0),
            cpu_shares: within(f, "cpu_shares", 0..=262_144, c),
            cgroup_parent: f.optional("cgroup_parent", c),
            pids_limit: f.optional("pids_limit", c),
            cap_add: f.field("cap_add", c),
            cap_drop: f.field("cap_drop", c),
            privileged: f.field("privileged", c),
            security_opt: f.field("security_opt", c),
            user: f.optional::<Scalar>("user", c).map(|text| text.0),
            group_add: group_add.into_iter().map(|group| group.0).collect(),
            working_dir: f.optional("working_dir", c),
            read_only: f.field("read_only", c),
            init: f.optional("init", c),
            stdin_open: f.field("stdin_open", c),
            tty: f.field("tty", c),
            stop_signal: f.optional("stop_signal", c),
            stop_grace_period: f.optional("stop_grace_period", c),
            sysctls: texts(f.field("sysctls", c)),
            pid: mode(f, "pid", &["host"], c),
            ipc: mode(f, "ipc", &["host", "private", "shareable", "none"], c),
            userns_mode: host_word(f, "userns_mode", c),
            uts: host_word(f, "uts", c),
            extra_hosts: f.field("extra_hosts", c),
            dns: addresses(f, "dns", c),
            dns_search: f.field("dns_search", c),
            dns_opt: f.field("dns_opt", c),
            mac_address: mac_address(f, c),
            links: f.field("links", c),
            annotations: texts(f.field("annotations", c)),
            labels: texts(f.field("labels", c)),
            logging: f.optional("logging", c),
            platform: f.optional("platform", c),
            scale: f.optional("scale", c),
        };
        fields.finish(context);
        // The engine takes the image's command wherever it gets none (moby, `daemon/commit.go`, `merge`).
        let is_empty = |words: &Option<Command>| words.as_ref().is_some_and(|words| words.0.is_empty());
        if is_empty(&service.command) && service.entrypoint.as_ref().is_none_or(|words| words.0.is_empty()) {
            let message = "an empty `command` has no effect: the engine takes the image's own";
            context.problems.error_with_help(node.place(&["command"]), message, "give `entrypoint` the whole command");
        }
        Some(service)
    }
}

/// Environment names can't hold `=` or be empty: the engine would cut the value elsewhere.
fn environment(fields: &mut Fields<'_>, context: &mut Context<'_>) -> IndexMap<String, EnvValue> {
    if let Some(node) = fields.entries.iter().find(|entry| entry.key == "environment") {
        for entry in node.value.entries() {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                context
                    .problems
                    .error(entry.key_span, format!("`{}` is not a valid name of a variable", entry.key.escape_debug()));
            }
        }
    }
    fields.field("environment", context)
}

/// A namespace mode, of those that the field knows.
fn mode(
    fields: &mut Fields<'_>,
    key: &'static str,
    words: &[&str],
    context: &mut Context<'_>,
) -> Option<NamespaceMode> {
    let node = fields.node(key)?;
    let mode = NamespaceMode::decode(node, context)?;
    let shared = matches!(mode, NamespaceMode::Service(_) | NamespaceMode::Container(_));
    if shared || words.contains(&mode.to_string().as_str()) {
        return Some(mode);
    }
    let help = format!("one of: {}, service:NAME, container:NAME", words.join(", "));
    context.problems.error_with_help(node.span, format!("`{key}` can't be `{mode}`"), help);
    None
}

/// A number within a range.
fn within(
    fields: &mut Fields<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
    context: &mut Context<'_>,
) -> Option<i64> {
    let node = fields.node(key)?;
    let number = i64::decode(node, context)?;
    if range.contains(&number) {
        return Some(number);
    }
    let message = format!("`{key}` must be from {} to {}", range.start(), range.end());
    context.problems.error(node.span, message);
    None
}

/// A namespace that can only be the host's own.
fn host_word(fields: &mut Fields<'_>, key: &'static str, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node(key)?;
    let word = String::decode(node, context)?;
    if word == "host" {
        return Some(word);
    }
    context.problems.error_with_help(node.span, format!("`{key}` can't be `{word}`"), "write `host`, or leave it out");
    None
}

/// Rules as the kernel reads them: type, numbers, permissions (moby, `opts.ValidateDeviceCgroupRule`).
fn cgroup_rules(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Vec<String> {
    let Some(node) = fields.node("device_cgroup_rules") else {
        return Vec::new();
    };
    let rules: Vec<String> = Vec::decode(node, context).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let number = |text: &str| text == "*" || !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = rule.split(' ').collect();
        let is_right = matches!(parts.as_slice(), [kind, numbers, permissions]
            if ["a", "b", "c"].contains(kind)
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&permissions.len()) && permissions.chars().all(|letter| "rwm".contains(letter)));
        if !is_right {
            let message = format!("`{rule}` is not a valid rule of the device cgroup");
            context.problems.error_with_help(node.place(&[&index.to_string()]), message, "write it as `c 42:* rwm`");
        }
    }
    rules
}

fn mac_address(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node("mac_address")?;
    let text = String::decode(node, context)?;
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs: Vec<&str> = text.split([':', '-']).collect();
    if pairs.len() == 6 && pairs.iter().all(|pair| is_pair(pair)) {
        return Some(text);
    }
    let message = format!("`{text}` is not a valid MAC address");
    context.problems.error_with_help(node.span, message, "write it as `02:42:ac:11:00:02`");
    None
}

/// How SELinux labels a mount.
fn selinux(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node("selinux")?;
    let word = String::decode(node, context)?;
    if ["z", "Z"].contains(&word.as_str()) {
        return Some(word);
    }
    context.problems.error_with_help(node.span, format!("`selinux` can't be `{word}`"), "`z` or `Z`");
    None
}

/// The engine refuses limits below 6 MiB.
fn memory(fields: &mut Fields<'_>, key: &'static str, context: &mut Context<'_>) -> Option<ByteSize> {
    let node = fields.node(key)?;
    let size = ByteSize::decode(node, context)?;
    if size.0 < 6 << 20 {
        context.problems.error(node.span, format!("`{key}` must be at least 6m, the engine's own minimum"));
        return None;
    }
    Some(size)
}

fn addresses(fields: &mut Fields<'_>, key: &'static str, context: &mut Context<'_>) -> Vec<String> {
    let list: Vec<String> = fields.field(key, context);
    if let Some(node) = fields.entries.iter().find(|entry| entry.key == key)
        && let Value::Array(items) = &node.value.value
    {
        items.iter().for_each(|item| check_address(item, context));
    }
    list
}

/// Reports a string that is not an IP address.
fn check_address(node: &Node, context: &mut Context<'_>) {
    if let Some(text) = node.as_text()
        && text.parse::<IpAddr>().is_err()
    {
        context.problems.error(node.span, format!("`{text}` is not an IP address"));
    }
}

impl Decode for EnvValue {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Object(_) => SecretSource::decode(node, context).map(Self::Secret),
            _ => Scalar::decode(node, context).map(|text| Self::Plain(text.0)),
        }
    }
}

impl Decode for SecretSource {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.as_text().is_some() {
            let help = "write `{\"file\": \"secrets/NAME\"}` or `{\"env\": \"NAME\"}`";
            context.problems.error_with_help(node.span, "a secret is never written into a manifest", help);
            return None;
        }
        let mut fields = Fields::open(node, context)?;
        let file: Option<PathBuf> = fields.optional("file", context);
        let env: Option<String> = fields.optional("env", context);
        let (has_file, has_env) = (node.get("file").is_some(), node.get("env").is_some());
        fields.finish(context);
        if has_file == has_env {
            let message = "a secret is `{\"file\": …}` or `{\"env\": …}`, one of the two";
            context.problems.error(node.span, message);
            return None;
        }
        file.map(Self::File).or(env.map(Self::Env))
    }
}

impl Decode for EnvFile {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let file = Self {
            path: fields.required("path", context),
            required: fields.field_or("required", true, context),
            format: fields.field("format", context),
        };
        fields.finish(context);
        Some(file)
    }
}

impl Decode for Port {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let target = fields.required("target", context);
        let published = published(&mut fields, context);
        let port = Self {
            target,
            published: published.map(|ports| ports.first),
            published_until: published.filter(|ports| ports.single().is_none()).map(|ports| ports.last),
            host_ip: fields.optional("host_ip", context),
            protocol: fields.field("protocol", context),
        };
        publishing_mode(&mut fields, context);
        fields.finish(context);
        if let Some(target) = node.get("target").filter(|target| is_zero(target)) {
            context.problems.error(target.span, "a port is a whole number from 1 to 65535");
        }
        if let Some(address) = node.get("host_ip") {
            check_address(address, context);
        }
        Some(port)
    }
}

/// Whether a number, or what a variable made of one, is 0: anything else that is not a number is reported elsewhere.
fn is_zero(node: &Node) -> bool {
    match &node.value {
        Value::Number(text) | Value::String(Text { text, .. }) => text.trim().parse() == Ok(0u16),
        _ => false,
    }
}

/// Compose writes the host's port as a number or as a string; 0 and the empty string let the engine choose.
fn published(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<HostPort> {
    let node = fields.node("published")?;
    let text = Scalar::decode(node, context)?.0;
    if text.is_empty() || text == "0" {
        return None;
    }
    match text.parse() {
        Ok(ports) => Some(ports),
        Err(error) => {
            context.problems.error(node.span, error.to_string());
            None
        }
    }
}

/// `mode` of a port has a meaning in Swarm alone: elsewhere either value means that the host publishes it.
fn publishing_mode(fields: &mut Fields<'_>, context: &mut Context<'_>) {
    let Some(node) = fields.node("mode") else {
        return;
    };
    if let Some(mode) = String::decode(node, context)
        && !["host", "ingress"].contains(&mode.as_str())
    {
        context.problems.error_with_help(node.span, format!("`mode` can't be `{mode}`"), "`host`, or leave it out");
    }
}

impl Decode for Mount {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        // Without its type nothing of a mount can be judged.
        let kind = match node.get("type") {
            Some(kind) => MountKind::decode(kind, context)?,
            None => MountKind::default(),
        };
        let _: MountKind = fields.required("type", context);
        let source = match kind {
            MountKind::Bind => {
                let path: PathBuf = fields.required("source", context);
                Some(path.to_string_lossy().into_owned())
            }
            MountKind::Volume => fields.optional("source", context),
            MountKind::Tmpfs => None,
        };
        let mount = Self {
            kind,
            source,
            target: fields.required("target", context),
            read_only: fields.field("read_only", context),
            bind: option(&mut fields, "bind", kind == MountKind::Bind, context),
            volume: option(&mut fields, "volume", kind == MountKind::Volume, context),
            tmpfs: option(&mut fields, "tmpfs", kind == MountKind::Tmpfs, context),
        };
        fields.finish(context);
        if let Some(target) = node.get("target")
            && target.as_text().is_some_and(|text| !text.starts_with('/'))
        {
            context.problems.error(target.span, format!("`{}` is not an absolute path in the container", mount.target));
        }
        Some(mount)
    }
}

/// Options that belong to one kind of mount: for another kind the key is unknown.
fn option<T: Decode + Default>(
    fields: &mut Fields<'_>,
    key: &'static str,
    belongs: bool,
    context: &mut Context<'_>,
) -> T {
    if belongs { fields.field(key, context) } else { T::default() }
}

impl Decode for BindOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self {
            propagation: fields.optional("propagation", context),
            selinux: selinux(&mut fields, context),
            create_host_path: fields.field("create_host_path", context),
        };
        fields.finish(context);
        let known = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
        if let Some(propagation) = options.propagation.as_deref().filter(|word| !known.contains(word)) {
            let message = format!("`{propagation}` is not a valid propagation");
            context.problems.error_with_help(
                node.place(&["propagation"]),
                message,
                format!("one of: {}", known.join(", ")),
            );
        }
        Some(options)
    }
}

impl Decode for VolumeOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self {
            nocopy: fields.field("nocopy", context),
            selinux: selinux(&mut fields, context),
            subpath: fields.optional("subpath", context),
        };
        fields.finish(context);
        if options.selinux.is_some() && options.subpath.is_some() {
            context.problems.error(node.place(&["selinux"]), "the engine can't label a folder inside a volume");
        }
        Some(options)
    }
}

impl Decode for TmpfsOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self { size: fields.optional("size", context), mode: fields.optional("mode", context) };
        fields.finish(context);
        Some(options)
    }
}

impl Decode for NetworkJoin {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let join = Self {
            aliases: fields.field("aliases", context),
            ipv4_address: fields.optional("ipv4_address", context),
            ipv6_address: fields.optional("ipv6_address", context),
            mac_address: mac_address(&mut fields, context),
        };
        fields.finish(context);
        for (key, is_right) in
            [("ipv4_address", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ipv6_address", IpAddr::is_ipv6)]
        {
            let Some(text) = node.get(key).and_then(Node::as_text) else {
                continue;
            };
            if !text.parse::<IpAddr>().is_ok_and(|address| is_right(&address)) {
                context.problems.error(node.place(&[key]), format!("`{text}` is not a valid {key}"));
            }
        }
        Some(join)
    }
}

impl Decode for Dependency {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let dependency = Self {
            condition: fields.field("condition", context),
            restart: fields.field("restart", context),
            required: fields.field_or("required", true, context),
        };
        fields.finish(context);
        Some(dependency)
    }
}

impl Decode for Healthcheck {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let check = Self {
            test: fields.field("test", context),
            interval: fields.optional("interval", context),
            timeout: fields.optional("timeout", context),
            retries: fields.optional("retries", context),
            start_period: fields.optional("start_period", context),
            start_interval: fields.optional("start_interval", context),
            disable: fields.field("disable", context),
        };
        fields.finish(context);
        if let Some(first) = check.test.first() {
            let enough = if first == "NONE" { 1 } else { 2 };
            if !["NONE", "CMD", "CMD-SHELL"].contains(&first.as_str()) || check.test.len() < enough {
                let message = "`test` begins with \"CMD\", \"CMD-SHELL\" or \"NONE\", and the command follows";
                context.problems.error(node.place(&["test"]), message);
            }
        }
        Some(check)
    }
}

impl Decode for Ready {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let asked = ["tcp", "http", "log", "running_for"].iter().filter(|key| node.get(key).is_some()).count();
        let tcp = fields.optional("tcp", context).map(ReadyProbe::Tcp);
        let http = fields.optional("http", context).map(ReadyProbe::Http);
        let log: Option<String> = fields.optional("log", context);
        let running_for = fields.optional("running_for", context).map(ReadyProbe::RunningFor);
        let timeout = fields.optional("timeout", context);
        fields.finish(context);
        if asked != 1 {
            context.problems.error(node.span, "`ready` must be one of tcp, http, log and running_for");
            return None;
        }
        if let Some(pattern) = &log
            && let Err(error) = regex::Regex::new(pattern)
        {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            context.problems.error(node.place(&["log"]), format!("`log` is not a valid regular expression: {why}"));
            return None;
        }
        let probe = tcp.or(http).or(log.map(ReadyProbe::Log)).or(running_for)?;
        if probe == ReadyProbe::Tcp(0) {
            context.problems.error(node.place(&["tcp"]), "a port is a whole number from 1 to 65535");
        }
        Some(Self { probe, timeout })
    }
}

impl Decode for HttpProbe {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let probe = Self {
            port: fields.required("port", context),
            path: fields.field_or("path", "/".to_owned(), context),
            status: fields.optional("status", context),
        };
        fields.finish(context);
        if node.get("port").is_some_and(is_zero) {
            context.problems.error(node.place(&["port"]), "a port is a whole number from 1 to 65535");
        }
        if !probe.path.starts_with('/') || probe.path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            context.problems.error(node.place(&["path"]), "a path begins with `/` and has no spaces");
        }
        Some(probe)
    }
}

impl Decode for Gpu {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let default = Self::default();
        let ids: Vec<Scalar> = fields.field("device_ids", context);
        let options: IndexMap<String, Scalar> = fields.field("options", context);
        let gpu = Self {
            driver: fields.optional("driver", context),
            count: fields.optional("count", context),
            device_ids: ids.into_iter().map(|id| id.0).collect(),
            capabilities: fields.field_or("capabilities", default.capabilities, context),
            options: texts(options),
            required: fields.field_or("required", default.required, context),
        };
        fields.finish(context);
        if node.get("count").is_some() == node.get("device_ids").is_some() {
            let message = "a GPU request has either `count` or `device_ids`";
            context.problems.error_with_help(node.span, message, "write `\"count\": \"all\"` for all of them");
        } else if node.get("device_ids").is_some() && gpu.device_ids.is_empty() {
            context.problems.error(node.place(&["device_ids"]), "`device_ids` names no device");
        }
        if gpu.capabilities.is_empty() {
            context.problems.error(node.place(&["capabilities"]), "`capabilities` is empty; write [\"gpu\"]");
        }
        Some(gpu)
    }
}

impl Decode for Device {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let source: String = fields.required("source", context);
        let device = Self {
            target: fields.optional("target", context).unwrap_or_else(|| source.clone()),
            source,
            permissions: fields.field_or("permissions", "rwm".to_owned(), context),
        };
        fields.finish(context);
        let distinct: HashSet<char> = device.permissions.chars().collect();
        let known = device.permissions.chars().all(|permission| "rwm".contains(permission));
        if !known || distinct.is_empty() || distinct.len() != device.permissions.len() {
            context.problems.error(node.place(&["permissions"]), "`permissions` are some of the letters r, w and m");
        }
        Some(device)
    }
}

impl Decode for Ulimit {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let limit = Self { soft: fields.required("soft", context), hard: fields.required("hard", context) };
        fields.finish(context);
        if limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1) {
            context.problems.error(node.span, "the soft limit is above the hard one");
        }
        Some(limit)
    }
}

impl Decode for Logging {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options: IndexMap<String, Scalar> = fields.field("options", context);
        let logging = Self { driver: fields.optional("driver", context), options: texts(options) };
        fields.finish(context);
        Some(logging)
    }
}
