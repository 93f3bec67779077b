//! `source:target[:options]` and `host:container[:permissions]`.

use super::Expansion;
use crate::manifest::model::is_cdi_name;
use crate::manifest::text::node::{Node, Value};
use crate::report::Message;

const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Brings every mount of a list to its long form.
pub(super) fn volumes(node: &mut Node, expansion: &mut Expansion<'_>) {
    each_text(node, expansion, |item, text| {
        let span = item.span;
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => return Err(message!("long-mount", text = text)),
        };
        if source.is_some_and(str::is_empty) || target.is_empty() {
            return Err(message!("long-mount", text = text));
        }
        // A name of a volume has no slash, and a path of the host has one or begins with a dot or a tilde.
        let is_bind = source.is_some_and(|source| source.contains('/') || source.starts_with(['.', '~']));
        let mut fields = vec![
            ("type", Node::text(span, if is_bind { "bind" } else { "volume" })),
            ("target", Node::text(span, target)),
        ];
        if let Some(source) = source {
            fields.push(("source", Node::text(span, source)));
        }
        let yes = || Node::new(span, Value::Bool(true));
        let mut bind = vec![("create_host_path", yes())];
        let mut volume = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => fields.push(("read_only", yes())),
                "rw" => {}
                "nocopy" if !is_bind => volume.push(("nocopy", yes())),
                "z" | "Z" if is_bind => bind.push(("selinux", Node::text(span, option))),
                "z" | "Z" => volume.push(("selinux", Node::text(span, option))),
                propagation if is_bind && PROPAGATIONS.contains(&propagation) => {
                    bind.push(("propagation", Node::text(span, propagation)));
                }
                other => return Err(message!("long-mount-option", other = other)),
            }
        }
        if is_bind {
            fields.push(("bind", Node::object(span, bind)));
        } else if !volume.is_empty() {
            fields.push(("volume", Node::object(span, volume)));
        }
        Ok(Node::object(span, fields))
    });
}

/// Brings every device of a list to its long form.
pub(super) fn devices(node: &mut Node, expansion: &mut Expansion<'_>) {
    each_text(node, expansion, |item, text| {
        let span = item.span;
        let parts: Vec<&str> = if is_cdi_name(text) { vec![text] } else { text.split(':').collect() };
        if parts.is_empty() || parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            return Err(message!("long-device", text = text));
        }
        let names = ["source", "target", "permissions"];
        Ok(Node::object(
            span,
            names.into_iter().zip(parts).map(|(name, part)| (name, Node::text(span, part))).collect(),
        ))
    });
}

fn each_text(node: &mut Node, expansion: &mut Expansion<'_>, expand: fn(&Node, &str) -> Result<Node, Message>) {
    let Value::Array(items) = &mut node.value else {
        return;
    };
    for item in items {
        let Some(text) = item.as_text() else {
            continue;
        };
        match expand(item, text) {
            Ok(node) => *item = node,
            Err(message) => {
                expansion.problems.error(item.span, message);
                item.value = Value::Invalid;
            }
        }
    }
}
