//! What was found of the manifest's stack on its engine.

use super::report::{DoctorCheck, Say, Verdict};
use crate::report::{Listed, Message, Told as _};
use crate::services::{Examination, Gpus, Holder, PortHolder, Problem};

pub(super) fn checks(found: &Examination, say: Say) -> Vec<DoctorCheck> {
    let mut checks = Vec::new();
    checks.extend(found.gpus.map(|gpus| gpu(gpus, found.gpu_is_required, say)));
    for (service, port, holder) in &found.ports {
        let message = match holder {
            PortHolder::Container(name) => {
                message!("doctor-port-container", service = service, port = port, holder = name)
            }
            PortHolder::Other(Holder::Process(Some(process))) => {
                message!("doctor-port-process", service = service, port = port, holder = process)
            }
            PortHolder::Other(Holder::Process(None)) => message!("doctor-port-taken", service = service, port = port),
            PortHolder::Other(Holder::NoSuchAddress) => message!("doctor-port-nowhere", service = service, port = port),
        };
        // No running container has the port: an engine that was killed has forgotten that it gave it away.
        let advice = match holder {
            PortHolder::Other(Holder::Process(Some(process))) if process.starts_with("docker-proxy ") => {
                message!("doctor-free-forgotten-port")
            }
            _ => message!("doctor-free-port"),
        };
        checks.push(DoctorCheck::ok("ports", say(message)).but(Verdict::Problem, say(advice)));
    }
    for (service, source, is_made) in &found.missing_sources {
        let message = message!("doctor-no-source", service = service, path = source);
        let check = DoctorCheck::ok("folders", say(message));
        checks.push(match is_made {
            true => check.but(Verdict::Warning, say(message!("doctor-source-will-be-made"))),
            false => check.but(Verdict::Problem, say(message!("doctor-make-source"))),
        });
    }
    for problem in &found.shared_data {
        let advice = say(message!("doctor-one-owner"));
        checks.push(DoctorCheck::ok("folders", say(problem.message())).but(Verdict::Problem, advice));
    }
    for problem in &found.resources {
        let check = match problem {
            Problem::VolumeMissing { .. } | Problem::VolumeDiffers { .. } => "volumes",
            _ => "networks",
        };
        let advice = say(message!("doctor-stops-a-start"));
        checks.push(DoctorCheck::ok(check, say(problem.message())).but(Verdict::Problem, advice));
    }
    checks.extend(lists(found).into_iter().filter(|list| !list.names.is_empty()).map(|list| {
        let found = say((list.found)(shown(list.names)));
        DoctorCheck::ok(list.check, found).but(Verdict::Warning, say(list.advice))
    }));
    if !found.double_networks.is_empty() {
        let message = message!("doctor-double-networks", networks = Listed::of(&found.double_networks));
        let advice = say(message!("doctor-remove-double-network"));
        checks.push(DoctorCheck::ok("networks", say(message)).but(Verdict::Problem, advice));
    }
    if found.publishes_ports == Some(false) {
        let advice = say(message!("doctor-restart-engine"));
        checks.push(DoctorCheck::ok("ports", say(message!("doctor-publishes-no-port"))).but(Verdict::Problem, advice));
    }
    for (runtime, services) in &found.missing_runtimes {
        let services: Vec<String> = services.iter().cloned().collect();
        let known = Listed::of(&found.runtimes);
        let message = message!("doctor-no-runtime", services = shown(&services), runtime = runtime, known = known);
        let advice = say(message!("doctor-add-runtime"));
        checks.push(DoctorCheck::ok("runtime", say(message)).but(Verdict::Problem, advice));
    }
    if !found.unheld_limits.is_empty() {
        let fields: Vec<&str> = found.unheld_limits.iter().copied().collect();
        let message = message!("doctor-unheld-limits", fields = Listed::of(fields));
        let advice = say(message!("doctor-enable-limits"));
        checks.push(DoctorCheck::ok("limits", say(message)).but(Verdict::Warning, advice));
    }
    for (architecture, references) in &found.other_architectures {
        let references: Vec<String> = references.iter().cloned().collect();
        let message = message!(
            "doctor-other-architecture",
            image = architecture,
            machine = &found.machine,
            references = shown(&references)
        );
        let advice = say(message!("doctor-own-architecture", machine = &found.machine));
        checks.push(DoctorCheck::ok("images", say(message)).but(Verdict::Warning, advice));
    }
    // What is well deserves a line as well: it was looked at.
    for name in ["ports", "folders", "logs", "orphans"] {
        if !checks.iter().any(|check| check.name == name) {
            checks.push(DoctorCheck::ok(name, say(message!("doctor-nothing-wrong"))));
        }
    }
    checks
}

/// Containers or volumes of which the same is to be said.
struct List<'a> {
    check: &'static str,
    names: &'a [String],
    found: fn(Listed) -> Message,
    advice: Message,
}

fn lists(found: &Examination) -> [List<'_>; 6] {
    let list = |check, names, found, advice| List { check, names, found, advice };
    [
        list(
            "logs",
            &found.endless_logs,
            |all| message!("doctor-endless-logs", containers = all),
            message!("doctor-limit-logs"),
        ),
        list(
            "namesakes",
            &found.namesakes,
            |all| message!("doctor-namesakes", containers = all),
            message!("doctor-adopt-namesakes"),
        ),
        list(
            "orphans",
            &found.orphans,
            |all| message!("doctor-orphans", containers = all),
            message!("doctor-remove-orphans"),
        ),
        list(
            "volumes",
            &found.dangling_volumes,
            |all| message!("doctor-volumes", containers = all),
            message!("doctor-remove-volumes"),
        ),
        list(
            "volumes",
            &found.left_volumes,
            |all| message!("doctor-left-volumes", containers = all),
            message!("doctor-name-volumes"),
        ),
        list(
            "leftovers",
            &found.leftovers,
            |all| message!("doctor-leftovers", containers = all),
            message!("doctor-tidy-leftovers"),
        ),
    ]
}

fn gpu(gpus: Gpus, is_required: bool, say: Say) -> DoctorCheck {
    match gpus {
        Gpus::Present => DoctorCheck::ok("gpu", say(message!("doctor-gpu"))),
        Gpus::Unknown => DoctorCheck::ok("gpu", say(message!("doctor-gpu-unknown")))
            .but(Verdict::Warning, say(message!("doctor-load-gpu-image"))),
        Gpus::RequiredOnly | Gpus::Absent => {
            let is_required = is_required && gpus == Gpus::Absent;
            let verdict = if is_required { Verdict::Problem } else { Verdict::Warning };
            DoctorCheck::ok("gpu", say(message!("doctor-no-gpu"))).but(verdict, say(message!("doctor-add-gpu")))
        }
    }
}

/// The first few: a stack can have twenty-five of them.
fn shown(names: &[String]) -> Listed {
    const FIRST: usize = 5;
    let rest = names.len().saturating_sub(FIRST);
    let more = (rest > 0).then(|| format!("+{rest}"));
    Listed::of(names.iter().take(FIRST).cloned().chain(more))
}
