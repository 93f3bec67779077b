//! Fields of a service whose words the kernel or the engine knows: told here, with their place, and not when the container is
//! created or started.

use indexmap::IndexMap;

use super::scalars::Scalar;
use super::service::texts;
use super::{Context, Decode, Fields};
use crate::manifest::model::Ulimit;
use crate::manifest::model::kernel_words::{CAPABILITIES, LIMITS, is_capability, is_limit, is_of_a_container};
use crate::manifest::text::node::{Node, Value};
use crate::manifest::text::problem::{Severity, nearest};
use crate::report::Listed;

/// The texts of a list, each looked at where it is written.
fn each(
    fields: &mut Fields<'_>,
    key: &'static str,
    look: fn(&Node, &str, &mut Context<'_>),
    context: &mut Context<'_>,
) -> Vec<String> {
    let Some(node) = fields.node(key) else {
        return Vec::new();
    };
    if let Value::Array(items) = &node.value {
        for item in items {
            if let Some(text) = item.as_text() {
                look(item, text, context);
            }
        }
    }
    context.within(key, |context| Vec::decode(node, context)).unwrap_or_default()
}

pub(super) fn capabilities(fields: &mut Fields<'_>, key: &'static str, context: &mut Context<'_>) -> Vec<String> {
    each(fields, key, capability, context)
}

fn capability(node: &Node, text: &str, context: &mut Context<'_>) {
    if is_capability(text) {
        return;
    }
    let name = text.to_ascii_uppercase();
    let help = match nearest(name.strip_prefix("CAP_").unwrap_or(&name), CAPABILITIES) {
        Some(meant) => message!("help-meant", meant = meant),
        None => message!("help-capability"),
    };
    context.problems.error_with_help(node.span, message!("decode-capability", text = text), help);
}

pub(super) fn ulimits(fields: &mut Fields<'_>, context: &mut Context<'_>) -> IndexMap<String, Ulimit> {
    let Some(node) = fields.node("ulimits") else {
        return IndexMap::new();
    };
    for entry in node.entries().iter().filter(|entry| !is_limit(&entry.key)) {
        let help = match nearest(&entry.key, LIMITS) {
            Some(meant) => message!("help-meant", meant = meant),
            None => message!("help-one-of", words = Listed::of(LIMITS)),
        };
        let message = message!("decode-ulimit-name", name = entry.key);
        context.problems.error_with_help(entry.key_span, message, help);
    }
    context.within("ulimits", |context| IndexMap::decode(node, context)).unwrap_or_default()
}

/// One that no container can have for itself is a warning: another runtime than runc may take it.
pub(super) fn sysctls(fields: &mut Fields<'_>, context: &mut Context<'_>) -> IndexMap<String, String> {
    let Some(node) = fields.node("sysctls") else {
        return IndexMap::new();
    };
    for entry in node.entries().iter().filter(|entry| !is_of_a_container(&entry.key)) {
        let message = message!("decode-sysctl-of-host", name = entry.key);
        context.problems.add(Severity::Warning, Some(entry.key_span), message, Some(message!("help-sysctl")));
    }
    let map: Option<IndexMap<String, Scalar>> = context.within("sysctls", |context| IndexMap::decode(node, context));
    texts(map.unwrap_or_default())
}

pub(super) fn security_options(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Vec<String> {
    each(fields, "security_opt", security_option, context)
}

/// As the engine reads it (moby, `parseSecurityOpt`): a word, or `KEY=VALUE`, or `KEY:VALUE` where there is no `=`.
fn security_option(node: &Node, text: &str, context: &mut Context<'_>) {
    let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    let is_truth = |value: &str| ["true", "t", "1", "false", "f", "0"].contains(&value.to_ascii_lowercase().as_str());
    let is_known = match (key, value) {
        ("no-new-privileges" | "writable-cgroups", value) => value.is_none_or(is_truth),
        ("disable", None) | ("label" | "apparmor", Some(_)) => true,
        ("seccomp", Some(profile)) => {
            if !is_seccomp(profile) {
                let message = message!("decode-seccomp", text = text);
                context.problems.error_with_help(node.span, message, message!("help-seccomp"));
            }
            true
        }
        _ => false,
    };
    if !is_known {
        let message = message!("decode-security-option", text = text);
        context.problems.error_with_help(node.span, message, message!("help-security-option"));
    }
}

/// The engine takes a profile's text; reading a file is the Docker CLI's.
fn is_seccomp(profile: &str) -> bool {
    ["unconfined", "builtin"].contains(&profile) || profile.trim_start().starts_with('{')
}

/// CPUs as the kernel lists them.
pub(super) fn cpuset(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node("cpuset")?;
    let Scalar(text) = Scalar::decode(node, context)?;
    if is_cpu_list(&text) {
        return Some(text);
    }
    let message = message!("decode-cpuset", text = text);
    context.problems.error_with_help(node.span, message, message!("help-cpuset"));
    None
}

fn is_cpu_list(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.is_empty()
        || text.split(',').all(|part| match part.split_once('-') {
            Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
            None => number(part).is_some(),
        })
}
