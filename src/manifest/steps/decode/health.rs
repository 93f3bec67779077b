//! Health checks, and how a service proves that it is up.

use super::service::is_zero;
use super::{Context, Decode, Fields};
use crate::manifest::model::{Healthcheck, HttpProbe, Ready, ReadyProbe};
use crate::manifest::steps::merge::PROBES;
use crate::manifest::text::node::Node;

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
                let message = message!("decode-test");
                context.problems.error(node.place(&["test"]), message);
            }
        }
        Some(check)
    }
}

impl Decode for Ready {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let asked = PROBES.iter().filter(|key| node.get(key).is_some()).count();
        let tcp = fields.optional("tcp", context).map(ReadyProbe::Tcp);
        let http = fields.optional("http", context).map(ReadyProbe::Http);
        let log: Option<String> = fields.optional("log", context);
        let running_for = fields.optional("running_for", context).map(ReadyProbe::RunningFor);
        let completed = fields.optional("completed", context).map(ReadyProbe::Completed);
        let timeout = fields.optional("timeout", context);
        fields.finish(context);
        if asked != 1 {
            context.problems.error(node.span, message!("decode-ready"));
            return None;
        }
        if let Some(pattern) = &log
            && let Err(error) = regex::Regex::new(pattern)
        {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            context.problems.error(node.place(&["log"]), message!("decode-log", why = why));
            return None;
        }
        let probe = tcp.or(http).or(log.map(ReadyProbe::Log)).or(running_for).or(completed)?;
        if probe == ReadyProbe::Tcp(0) {
            context.problems.error(node.place(&["tcp"]), message!("decode-port"));
        }
        if probe == ReadyProbe::Completed(false) {
            context.problems.error(node.place(&["completed"]), message!("decode-completed"));
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
            context.problems.error(node.place(&["port"]), message!("decode-port"));
        }
        if !probe.path.starts_with('/') || probe.path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            context.problems.error(node.place(&["path"]), message!("decode-http-path"));
        }
        Some(probe)
    }
}
