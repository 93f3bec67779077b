//! What was found of the manifest's stack on its engine.

use super::{DoctorCheck, Say, Verdict};
use crate::report::Message;
use crate::services::{Examination, Gpus, Holder, PortHolder};

pub(super) fn checks(found: &Examination, say: Say) -> Vec<DoctorCheck> {
    let mut checks = Vec::new();
    checks.extend(found.gpus.map(|gpus| gpu(gpus, found.gpu_is_required, say)));
    for (service, port, holder) in &found.ports {
        let message = match holder {
            PortHolder::Container(name) => Message::new("doctor-port-container").with("holder", name),
            PortHolder::Other(Holder::Process(Some(process))) => {
                Message::new("doctor-port-process").with("holder", process)
            }
            PortHolder::Other(Holder::Process(None)) => Message::new("doctor-port-taken"),
            PortHolder::Other(Holder::NoSuchAddress) => Message::new("doctor-port-nowhere"),
        };
        let message = message.with("service", service).with("port", port);
        // No running container has the port: an engine that was killed has forgotten that it gave it away.
        let advice = match holder {
            PortHolder::Other(Holder::Process(Some(process))) if process.starts_with("docker-proxy ") => {
                Message::new("doctor-free-forgotten-port")
            }
            _ => Message::new("doctor-free-port"),
        };
        checks.push(DoctorCheck::ok("ports", say(message)).but(Verdict::Problem, say(advice)));
    }
    for (service, source, is_made) in &found.missing_sources {
        let message = Message::new("doctor-no-source").with("service", service).with("path", source);
        let check = DoctorCheck::ok("folders", say(message));
        checks.push(match is_made {
            true => check.but(Verdict::Warning, say(Message::new("doctor-source-will-be-made"))),
            false => check.but(Verdict::Problem, say(Message::new("doctor-make-source"))),
        });
    }
    let lists = [
        ("logs", &found.endless_logs, Message::new("doctor-endless-logs"), Message::new("doctor-limit-logs")),
        ("namesakes", &found.namesakes, Message::new("doctor-namesakes"), Message::new("doctor-adopt-namesakes")),
        ("orphans", &found.orphans, Message::new("doctor-orphans"), Message::new("doctor-remove-orphans")),
        ("leftovers", &found.leftovers, Message::new("doctor-leftovers"), Message::new("doctor-tidy-leftovers")),
    ];
    for (name, containers, message, advice) in lists {
        if !containers.is_empty() {
            let message = message.with("containers", shown(containers));
            checks.push(DoctorCheck::ok(name, say(message)).but(Verdict::Warning, say(advice)));
        }
    }
    if !found.double_networks.is_empty() {
        let message = Message::new("doctor-double-networks").with("networks", found.double_networks.join(", "));
        let advice = say(Message::new("doctor-remove-double-network"));
        checks.push(DoctorCheck::ok("networks", say(message)).but(Verdict::Problem, advice));
    }
    if found.publishes_ports == Some(false) {
        let advice = say(Message::new("doctor-restart-engine"));
        checks.push(
            DoctorCheck::ok("ports", say(Message::new("doctor-publishes-no-port"))).but(Verdict::Problem, advice),
        );
    }
    if !found.unheld_limits.is_empty() {
        let fields: Vec<&str> = found.unheld_limits.iter().copied().collect();
        let message = Message::new("doctor-unheld-limits").with("fields", fields.join(", "));
        let advice = say(Message::new("doctor-enable-limits"));
        checks.push(DoctorCheck::ok("limits", say(message)).but(Verdict::Warning, advice));
    }
    // What is well deserves a line as well: it was looked at.
    for name in ["ports", "folders", "logs", "orphans"] {
        if !checks.iter().any(|check| check.name == name) {
            checks.push(DoctorCheck::ok(name, say(Message::new("doctor-nothing-wrong"))));
        }
    }
    checks
}

fn gpu(gpus: Gpus, is_required: bool, say: Say) -> DoctorCheck {
    match gpus {
        Gpus::Present => DoctorCheck::ok("gpu", say(Message::new("doctor-gpu"))),
        Gpus::Unknown => DoctorCheck::ok("gpu", say(Message::new("doctor-gpu-unknown")))
            .but(Verdict::Warning, say(Message::new("doctor-load-gpu-image"))),
        Gpus::RequiredOnly | Gpus::Absent => {
            let is_required = is_required && gpus == Gpus::Absent;
            let verdict = if is_required { Verdict::Problem } else { Verdict::Warning };
            DoctorCheck::ok("gpu", say(Message::new("doctor-no-gpu"))).but(verdict, say(Message::new("doctor-add-gpu")))
        }
    }
}

/// The first few: a stack can have twenty-five of them.
fn shown(containers: &[String]) -> String {
    const FIRST: usize = 5;
    let rest = containers.len().saturating_sub(FIRST);
    let first = containers[..containers.len() - rest].join(", ");
    if rest == 0 { first } else { format!("{first}, +{rest}") }
}
