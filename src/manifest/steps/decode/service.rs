//! Services.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::closed_words::{capabilities, cpuset, security_options, sysctls, ulimits};
use super::devices::cgroup_rules;
use super::scalars::Scalar;
use super::{Context, Decode, Fields};
use crate::manifest::model::{
    ByteSize, Command, Dependency, EnvFile, EnvValue, Logging, NamespaceMode, NetworkJoin, SecretSource, Service,
};
use crate::manifest::text::node::{Node, Text, Value};
use crate::report::Listed;

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
            variables: Arc::default(),
            past_env: None,
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
            ulimits: ulimits(f, c),
            mem_limit: memory(f, "mem_limit", c),
            mem_reservation: memory(f, "mem_reservation", c),
            memswap_limit: f.optional("memswap_limit", c),
            oom_score_adj: within(f, "oom_score_adj", -1000..=1000, c),
            cpus: f.optional("cpus", c),
            cpuset: cpuset(f, c),
            cpu_shares: within(f, "cpu_shares", 0..=262_144, c),
            cgroup_parent: f.optional("cgroup_parent", c),
            pids_limit: f.optional("pids_limit", c),
            cap_add: capabilities(f, "cap_add", c),
            cap_drop: capabilities(f, "cap_drop", c),
            privileged: f.field("privileged", c),
            security_opt: security_options(f, c),
            user: f.optional::<Scalar>("user", c).map(|text| text.0),
            group_add: group_add.into_iter().map(|group| group.0).collect(),
            working_dir: f.optional("working_dir", c),
            read_only: f.field("read_only", c),
            init: f.optional("init", c),
            stdin_open: f.field("stdin_open", c),
            tty: f.field("tty", c),
            stop_signal: f.optional("stop_signal", c),
            stop_grace_period: f.optional("stop_grace_period", c),
            sysctls: sysctls(f, c),
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
            let message = message!("decode-empty-command");
            context.problems.error_with_help(node.place(&["command"]), message, message!("help-entrypoint"));
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
                    .error(entry.key_span, message!("decode-variable-name", name = entry.key.escape_debug()));
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
    let mode = context.within(key, |context| NamespaceMode::decode(node, context))?;
    let shared = matches!(mode, NamespaceMode::Service(_) | NamespaceMode::Container(_));
    if shared || words.contains(&mode.to_string().as_str()) {
        return Some(mode);
    }
    let help = message!("help-modes", words = Listed::of(words));
    context.problems.error_with_help(node.span, message!("decode-cant-be", key = key, value = mode), help);
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
    let message = message!("decode-range", key = key, first = range.start(), last = range.end());
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
    context.problems.error_with_help(
        node.span,
        message!("decode-cant-be", key = key, value = word),
        message!("help-write-host"),
    );
    None
}

fn mac_address(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node("mac_address")?;
    let text = String::decode(node, context)?;
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs: Vec<&str> = text.split([':', '-']).collect();
    if pairs.len() == 6 && pairs.iter().all(|pair| is_pair(pair)) {
        return Some(text);
    }
    let message = message!("decode-mac", text = text);
    context.problems.error_with_help(node.span, message, message!("help-mac"));
    None
}

/// The engine refuses limits below 6 MiB.
fn memory(fields: &mut Fields<'_>, key: &'static str, context: &mut Context<'_>) -> Option<ByteSize> {
    let node = fields.node(key)?;
    let size = ByteSize::decode(node, context)?;
    if size.0 < 6 << 20 {
        context.problems.error(node.span, message!("decode-memory-minimum", key = key));
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
pub(super) fn check_address(node: &Node, context: &mut Context<'_>) {
    if let Some(text) = node.as_text()
        && text.parse::<IpAddr>().is_err()
    {
        context.problems.error(node.span, message!("decode-ip", text = text));
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
            let help = message!("help-secret");
            context.problems.error_with_help(node.span, message!("decode-secret"), help);
            return None;
        }
        let mut fields = Fields::open(node, context)?;
        let file: Option<PathBuf> = fields.optional("file", context);
        let env: Option<String> = fields.optional("env", context);
        let (has_file, has_env) = (node.get("file").is_some(), node.get("env").is_some());
        fields.finish(context);
        if has_file == has_env {
            let message = message!("decode-secret-source");
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

/// Whether a number, or what a variable made of one, is 0: anything else that is not a number is reported elsewhere.
pub(super) fn is_zero(node: &Node) -> bool {
    match &node.value {
        Value::Number(text) | Value::String(Text { text, .. }) => text.trim().parse() == Ok(0u16),
        _ => false,
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
                context.problems.error(node.place(&[key]), message!("decode-not-valid", text = text, key = key));
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

impl Decode for Logging {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options: IndexMap<String, Scalar> = fields.field("options", context);
        let logging = Self { driver: fields.optional("driver", context), options: texts(options) };
        fields.finish(context);
        Some(logging)
    }
}
