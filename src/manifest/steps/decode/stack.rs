//! The manifest itself, and what it has beside services.

use std::net::IpAddr;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::scalars::Scalar;
use super::service::texts;
use super::{Context, Decode, Fields};
use crate::manifest::model::{
    AddressPool, Data, Database, EnvValue, Ipam, Keep, Manifest, Network, Numbered, Paths, Preserve, Repository,
    Retention, Volume,
};
use crate::manifest::text::node::{Node, Value};

const RELEASES_KEPT: u32 = 3;

/// The whole manifest, merged and in its long form. What is wrong is reported; the result counts only when nothing was.
pub(in crate::manifest) fn decode_manifest(root: &Node, context: &mut Context<'_>) -> Option<Manifest> {
    let mut fields = Fields::open(root, context)?;
    // Read before: they say how the file is read, not what the stack is.
    for key in ["$schema", "extends", "env_file", "defaults"] {
        fields.node(key);
    }
    let manifest = Manifest {
        // The reader knows it.
        folder: Default::default(),
        project: fields.required("project", context),
        paths: fields.field("paths", context),
        keep_releases: fields.field_or("keep_releases", RELEASES_KEPT, context),
        networks: fields.field("networks", context),
        volumes: fields.field("volumes", context),
        databases: fields.field("databases", context),
        files: fields.field("files", context),
        repository: fields.optional("repository", context),
        data: fields.field("data", context),
        services: fields.required("services", context),
    };
    fields.finish(context);
    if let Some(project) = root.get("project")
        && project.as_text().is_some()
        && !is_project_name(&manifest.project)
    {
        let message = message!("decode-project", name = manifest.project);
        let help = message!("help-project");
        context.problems.error_with_help(project.span, message, help);
    }
    Some(manifest)
}

fn is_project_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
        && name.len() <= 63
}

impl<T: Decode> Decode for Numbered<T> {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Value::Object(entries) = &node.value else {
            context.expected(node, message!("kind-object"));
            return None;
        };
        let mut numbered = Self::default();
        let key = context.key;
        for entry in entries {
            context.key = key;
            let value = match entry.value.value {
                Value::Null => None,
                _ => T::decode(&entry.value, context),
            };
            numbered.push(entry.key.clone(), value);
        }
        Some(numbered)
    }
}

impl Decode for Paths {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let paths = Self {
            images: fields.optional("images", context),
            data: fields.optional("data", context),
            backups: fields.optional("backups", context),
        };
        fields.finish(context);
        Some(paths)
    }
}

impl Decode for Network {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let f = &mut fields;
        let options: IndexMap<String, Scalar> = f.field("driver_opts", context);
        let labels: IndexMap<String, Scalar> = f.field("labels", context);
        let network = Self {
            name: f.optional("name", context),
            driver: f.optional("driver", context),
            driver_opts: texts(options),
            external: f.field("external", context),
            labels: texts(labels),
            ipam: f.field("ipam", context),
            internal: f.field("internal", context),
            attachable: f.field("attachable", context),
            enable_ipv6: f.field("enable_ipv6", context),
        };
        fields.finish(context);
        external_says_nothing_else(node, network.external, context);
        Some(network)
    }
}

impl Decode for Volume {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options: IndexMap<String, Scalar> = fields.field("driver_opts", context);
        let labels: IndexMap<String, Scalar> = fields.field("labels", context);
        let volume = Self {
            name: fields.optional("name", context),
            driver: fields.optional("driver", context),
            driver_opts: texts(options),
            external: fields.field("external", context),
            labels: texts(labels),
        };
        fields.finish(context);
        external_says_nothing_else(node, volume.external, context);
        Some(volume)
    }
}

/// What exists already is taken as it is: a driver or an option beside `external` would be ignored.
fn external_says_nothing_else(node: &Node, external: bool, context: &mut Context<'_>) {
    if !external {
        return;
    }
    for entry in node.entries() {
        if !["external", "name"].contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
            let message = message!("decode-external", key = entry.key);
            context.problems.error(entry.key_span, message);
        }
    }
}

impl Decode for Ipam {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let ipam = Self { driver: fields.optional("driver", context), config: fields.field("config", context) };
        fields.finish(context);
        Some(ipam)
    }
}

impl Decode for AddressPool {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let pool = Self {
            subnet: fields.optional("subnet", context),
            ip_range: fields.optional("ip_range", context),
            gateway: fields.optional("gateway", context),
        };
        fields.finish(context);
        check_pool(node, &pool, context);
        Some(pool)
    }
}

/// Addresses that the engine would refuse.
fn check_pool(node: &Node, pool: &AddressPool, context: &mut Context<'_>) {
    let mut network = |key: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let network = text.parse::<IpNet>();
        if network.is_err() {
            let message = message!("decode-not-valid-key", text = text, key = key);
            context.problems.error_with_help(node.place(&[key]), message, message!("help-subnet"));
        }
        network.ok()
    };
    let (subnet, range) = (network("subnet", &pool.subnet), network("ip_range", &pool.ip_range));
    if let (Some(subnet), Some(range)) = (subnet, range)
        && !subnet.contains(&range)
    {
        context.problems.error(node.place(&["ip_range"]), message!("decode-ip-range", range = range, subnet = subnet));
    }
    let Some(gateway) = &pool.gateway else {
        return;
    };
    match gateway.parse::<IpAddr>() {
        Err(_) => context.problems.error(node.place(&["gateway"]), message!("decode-gateway", gateway = gateway)),
        Ok(address) => {
            if let Some(subnet) = subnet.filter(|subnet| !subnet.contains(&address)) {
                context.problems.error(
                    node.place(&["gateway"]),
                    message!("decode-gateway-outside", gateway = gateway, subnet = subnet),
                );
            }
        }
    }
}

impl Decode for Database {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let f = &mut fields;
        let database = Self {
            service: f.optional("service", context),
            host: f.optional("host", context),
            port: f.optional("port", context),
            tools_image: f.optional("tools_image", context),
            user: f.optional("user", context),
            password: f.optional("password", context),
            owner: f.optional("owner", context),
            encoding: f.optional("encoding", context),
            locale: f.optional("locale", context),
            seed: f.optional("seed", context),
            patches: f.field("patches", context),
            variables: variables(f, context),
            preserve: f.field("preserve", context),
            used_by: f.optional("used_by", context),
            retention: f.field("retention", context),
        };
        fields.finish(context);
        one_server(node, &database, context);
        Some(database)
    }
}

/// Names that psql takes (`valid_variable_name`).
fn variables(fields: &mut Fields<'_>, context: &mut Context<'_>) -> IndexMap<String, EnvValue> {
    if let Some(node) = fields.entries.iter().find(|entry| entry.key == "variables") {
        for entry in node.value.entries() {
            let fine = |letter: char| letter == '_' || letter.is_ascii_alphanumeric() || !letter.is_ascii();
            if entry.key.is_empty() || !entry.key.chars().all(fine) {
                let message = message!("decode-psql-variable", name = entry.key.escape_debug());
                context.problems.error_with_help(entry.key_span, message, message!("help-psql-variable"));
            }
        }
    }
    fields.field("variables", context)
}

/// A service or a host, and beside it nothing that would be ignored.
fn one_server(node: &Node, database: &Database, context: &mut Context<'_>) {
    let has = |key: &str| node.get(key).is_some_and(|node| !matches!(node.value, Value::Null));
    match (has("service"), has("host")) {
        (true, true) => {
            let message = message!("decode-host-and-service");
            context.problems.error(node.place(&["host"]), message);
        }
        (false, false) => {
            let help = message!("help-outside-server");
            context.problems.error_with_help(node.span, message!("decode-service-missing"), help);
        }
        (true, false) => {
            for key in ["port", "tools_image"].into_iter().filter(|key| has(key)) {
                let message = message!("decode-outside-only", key = key);
                context.problems.error(node.place(&[key]), message);
            }
        }
        (false, true) if database.tools_image.is_none() && !has("tools_image") => {
            let message = message!("decode-tools-image");
            context.problems.error(node.place(&["host"]), message);
        }
        (false, true) => {}
    }
}

impl Decode for Retention {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let default = Self::default();
        let retention = Self {
            keep_last: fields.field_or("keep_last", default.keep_last, context),
            daily: fields.field_or("daily", default.daily, context),
            weekly: fields.field_or("weekly", default.weekly, context),
            monthly: fields.field_or("monthly", default.monthly, context),
        };
        fields.finish(context);
        Some(retention)
    }
}

impl Decode for Repository {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let password = fields.optional("password", context);
        fields.finish(context);
        if node.get("password").is_none() {
            context.problems.error(node.span, message!("decode-missing", key = "password"));
        }
        Some(Self { password: password? })
    }
}

impl Decode for Data {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let f = &mut fields;
        let data = Self {
            path: f.required("path", context),
            exclude: f.field("exclude", context),
            used_by: f.field("used_by", context),
            keep: f.field("keep", context),
            one_file_system: f.field("one_file_system", context),
        };
        fields.finish(context);
        Some(data)
    }
}

impl Decode for Keep {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let default = Self::default();
        let keep = Self {
            last: fields.field_or("last", default.last, context),
            daily: fields.field_or("daily", default.daily, context),
            weekly: fields.field_or("weekly", default.weekly, context),
            monthly: fields.field_or("monthly", default.monthly, context),
        };
        fields.finish(context);
        Some(keep)
    }
}

impl Decode for Preserve {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let preserve = Self {
            table: fields.required("table", context),
            key: fields.required("key", context),
            columns: fields.field("columns", context),
            r#where: fields.optional("where", context),
        };
        fields.finish(context);
        if preserve.key.is_empty() {
            context.problems.error(node.place(&["key"]), message!("decode-preserve-key"));
        }
        Some(preserve)
    }
}
