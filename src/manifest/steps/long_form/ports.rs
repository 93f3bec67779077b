//! `[[ip:]host:]container[/protocol]`, with ranges.

use super::Expansion;
use crate::manifest::text::node::{Node, Value};
use crate::report::Message;

/// Brings every published port to its long form; a range becomes one port each.
pub(super) fn published(node: &mut Node, expansion: &mut Expansion<'_>) {
    expand_items(node, expansion, |item, text, expansion| {
        let span = item.span;
        let (host_ip, published, target, protocol) = split(text)?;
        let targets = range(target)?;
        let published = published.map(range).transpose()?;
        // A range of the host's ports for one of the container's: the engine takes the first that is free.
        let is_choice = targets.len() == 1 && published.as_ref().is_some_and(|published| published.len() > 1);
        if !is_choice && published.as_ref().is_some_and(|published| published.len() != targets.len()) {
            return Err(message!("long-port-ranges", text = text));
        }
        take_from_budget(targets.len(), expansion)?;
        let ports = targets.enumerate().map(|(offset, target)| {
            let mut fields = vec![("target", Node::number(span, target))];
            if let Some(published) = &published {
                let first = published.start as usize + offset;
                let value = match is_choice {
                    true => Node::text(span, format!("{first}-{}", published.end - 1)),
                    false => Node::number(span, first),
                };
                fields.push(("published", value));
            }
            if let Some(host_ip) = host_ip {
                fields.push(("host_ip", Node::text(span, host_ip)));
            }
            fields.push(("protocol", Node::text(span, protocol.as_str())));
            Node::object(span, fields)
        });
        Ok(ports.collect())
    });
}

/// Brings ranges of exposed ports to single ones.
pub(super) fn exposed(node: &mut Node, expansion: &mut Expansion<'_>) {
    expand_items(node, expansion, |item, text, expansion| {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let ports = range(ports)?;
        take_from_budget(ports.len(), expansion)?;
        Ok(ports.map(|port| Node::text(item.span, format!("{port}/{protocol}"))).collect())
    });
}

type Expand = fn(&Node, &str, &mut Expansion<'_>) -> Result<Vec<Node>, Message>;

/// Replaces every number and string of a list by what `expand` makes of it.
fn expand_items(node: &mut Node, expansion: &mut Expansion<'_>, expand: Expand) {
    let Value::Array(items) = &mut node.value else {
        return;
    };
    let mut expanded = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let text = match &item.value {
            Value::Number(number) => number.clone(),
            Value::String(text) => text.text.clone(),
            _ => {
                expanded.push(item);
                continue;
            }
        };
        match expand(&item, &text, expansion) {
            Ok(nodes) => expanded.extend(nodes),
            Err(message) => {
                let help = message!("help-ports");
                expansion.problems.error_with_help(item.span, message, help);
            }
        }
    }
    *items = expanded;
}

fn take_from_budget(ports: usize, expansion: &mut Expansion<'_>) -> Result<(), Message> {
    match expansion.ports_left.checked_sub(ports) {
        Some(left) => {
            expansion.ports_left = left;
            Ok(())
        }
        None => Err(message!("long-too-many-ports", most = super::MOST_PORTS)),
    }
}

/// Host address, host port or range, container port or range, protocol.
type Parts<'t> = (Option<&'t str>, Option<&'t str>, &'t str, String);

fn split(text: &str) -> Result<Parts<'_>, Message> {
    let wrong = || message!("long-port", text = text);
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(message!("long-protocol", protocol = protocol));
    }
    let (host_ip, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, rest) = bracketed.split_once(']').ok_or_else(wrong)?;
            (Some(ip), rest.strip_prefix(':').ok_or_else(wrong)?)
        }
        None if rest.matches(':').count() > 1 => {
            let (ip, rest) = rest.split_once(':').ok_or_else(wrong)?;
            // `${BIND:-}:443:443` without a value: all addresses.
            (Some(ip).filter(|ip| !ip.is_empty()), rest)
        }
        None => (None, rest),
    };
    let (published, target) = match rest.split_once(':') {
        Some((published, target)) => (Some(published).filter(|port| !port.is_empty()), target),
        None => (None, rest),
    };
    // An address without a colon for the host's port, `127.0.0.1:80`, would read as a port named 127.0.0.1.
    if target.contains(':') || host_ip.is_some_and(str::is_empty) {
        return Err(wrong());
    }
    Ok((host_ip, published, target, protocol))
}

/// A port, or a range with both ends, as a half-open range.
fn range(text: &str) -> Result<std::ops::Range<u32>, Message> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+')).map(u32::from);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..last + 1),
        _ => Err(message!("long-port", text = text)),
    }
}
