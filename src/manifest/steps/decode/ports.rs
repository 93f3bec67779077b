//! Published ports.

use super::scalars::Scalar;
use super::service::{check_address, is_zero};
use super::{Context, Decode, Fields};
use crate::manifest::model::{HostPort, Port};
use crate::manifest::text::node::Node;
use crate::report::Told as _;

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
            context.problems.error(target.span, message!("decode-port"));
        }
        if let Some(address) = node.get("host_ip") {
            check_address(address, context);
        }
        Some(port)
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
            context.problems.error(node.span, error.message());
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
        context.problems.error_with_help(node.span, message!("decode-port-mode", mode = mode), message!("help-host"));
    }
}
