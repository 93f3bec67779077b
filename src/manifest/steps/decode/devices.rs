//! GPUs, devices and limits.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::scalars::Scalar;
use super::service::texts;
use super::{Context, Decode, Fields};
use crate::manifest::model::{Device, Gpu, Ulimit};
use crate::manifest::text::node::Node;

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
            let message = message!("decode-gpu");
            context.problems.error_with_help(node.span, message, message!("help-gpu-all"));
        } else if node.get("device_ids").is_some() && gpu.device_ids.is_empty() {
            context.problems.error(node.place(&["device_ids"]), message!("decode-device-ids"));
        }
        if gpu.capabilities.is_empty() {
            context.problems.error(node.place(&["capabilities"]), message!("decode-capabilities"));
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
            context.problems.error(node.place(&["permissions"]), message!("decode-permissions"));
        }
        Some(device)
    }
}

impl Decode for Ulimit {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let limit = Self { soft: fields.required("soft", context), hard: fields.required("hard", context) };
        fields.finish(context);
        let are_both_there = ["soft", "hard"].iter().all(|key| node.get(key).is_some());
        if limit.soft < -1 || limit.hard < -1 {
            context.problems.error(node.span, message!("decode-ulimit-negative"));
        } else if are_both_there && limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1) {
            context.problems.error(node.span, message!("decode-ulimit"));
        }
        Some(limit)
    }
}

/// Rules as the kernel reads them: type, numbers, permissions (moby, `opts.ValidateDeviceCgroupRule`).
pub(super) fn cgroup_rules(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Vec<String> {
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
            let message = message!("decode-cgroup-rule", rule = rule);
            context.problems.error_with_help(node.place(&[&index.to_string()]), message, message!("help-cgroup-rule"));
        }
    }
    rules
}
