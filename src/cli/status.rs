//! `status`: what runs, and how well.

use super::arguments::TargetArguments;
use super::failure::Failure;
use super::output::{Output, Tone};
use super::select::{self, Unselected};
use super::session::Session;
use super::table;
use crate::report::Message;
use crate::services::{ServiceStatus, status};

/// `dpl status`.
pub fn run(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let selection = select::services(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let report = session.runtime()?.block_on(status(&engine, project.manifest(), &selection))?;
    if session.output.json {
        session.output.document(&report)?;
        return Ok(0);
    }
    let output = &session.output;
    let rows = report.services.iter().map(|service| row(service, output)).collect();
    output.data(&table::columns(&["NO", "SERVICE", "IMAGE", "STATE", "HEALTH", "PORTS", "DRIFT"], rows))?;
    for orphan in &report.orphans {
        output.warn(&Message::new("status-orphan").with("container", &orphan.name));
    }
    Ok(0)
}

fn row(service: &ServiceStatus, output: &Output) -> Vec<String> {
    let tone = match (service.state.as_str(), service.health.as_str()) {
        (_, "unhealthy") | ("restarting" | "dead", _) => Tone::Bad,
        ("running", "starting") | ("partial" | "paused", _) => Tone::Attention,
        ("running", _) => Tone::Good,
        _ => Tone::Quiet,
    };
    let image_id = service.containers.first().map(|container| container.image_id.as_str()).unwrap_or_default();
    let short = image_id.trim_start_matches("sha256:").get(..12).unwrap_or_default();
    let ports: Vec<&str> =
        service.containers.iter().flat_map(|container| &container.ports).map(String::as_str).collect();
    vec![
        format!("{:>2}", service.index),
        service.name.clone(),
        format!("{} {}", table::shortened(&service.image, 40), output.paint(Tone::Quiet, short)),
        output.paint(tone, &service.state),
        if service.health == "none" { String::new() } else { output.paint(tone, &service.health) },
        table::shortened(&ports.join(" "), 40),
        if service.drift.is_empty() {
            String::new()
        } else {
            output.paint(Tone::Attention, &table::shortened(&service.drift.join(","), 30))
        },
    ]
}
