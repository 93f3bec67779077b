//! Golden plans: a small stack, what runs of it, a request, and the plan as text.

mod changes;
mod cut_off;
mod data_owners;
mod generated;
mod networks;
mod problems;
mod proof;
mod simulated;
mod start;
mod stop_and_remove;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indexmap::IndexMap;

use std::time::Duration;

use super::*;
use crate::catalogue::Catalogue;
use crate::engine::{
    ContainerState, ContainerView, HealthState, HealthTimes, LimitsView, MountView, NetworkView, VolumeView,
};
use crate::manifest::model::{Condition, Dependency, Healthcheck, Network, RestartPolicy, Service, Volume};
use crate::services::container::environment::Inputs;
use crate::services::container::fingerprint::{Fingerprint, fields};
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::request::{FailedContainers, Options, Wait};
use crate::services::snapshot::observed::{
    EngineTraits, ForeignContainer, Observed, ObservedContainer, ObservedImage, Role,
};

/// A stack in the making: first the services, then what runs of them, then what changes.
#[derive(Default)]
struct Stack {
    services: IndexMap<String, Service>,
    networks: IndexMap<String, Network>,
    volumes: IndexMap<String, Volume>,
    snapshot: Observed,
}

impl Stack {
    /// A stack with its network, on an engine of API 1.41 on this machine.
    fn new() -> Self {
        let mut stack = Self::default();
        stack.snapshot.engine = EngineTraits { api: (1, 41), is_local: true, ..EngineTraits::default() };
        stack.network("p_default");
        stack
    }

    /// A service of image `<name>:1`, which the engine has.
    fn service(mut self, name: &str, change: impl FnOnce(&mut Service)) -> Self {
        let mut service = Service {
            image: format!("{name}:1").parse().unwrap(),
            restart: RestartPolicy::UnlessStopped,
            ..Service::default()
        };
        change(&mut service);
        let image = ObservedImage { id: format!("{name}@1"), ..ObservedImage::default() };
        self.snapshot.images.insert(service.image.to_string(), image);
        self.services.insert(name.to_owned(), service);
        self
    }

    /// `ui → api → db`: each needs the next one to be started; `db` has a health check.
    fn three() -> Self {
        Self::new()
            .service("db", |service| service.healthcheck = Some(check()))
            .service("api", |service| needs(service, "db", Condition::ServiceHealthy))
            .service("ui", |service| needs(service, "api", Condition::ServiceStarted))
    }

    fn network(&mut self, name: &str) {
        let view = NetworkView {
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            labels: [(labels::PROJECT.to_owned(), "p".to_owned())].into(),
            ..NetworkView::default()
        };
        self.snapshot.networks.push(view);
    }

    fn volume(&mut self, name: &str) {
        let view = VolumeView {
            name: name.to_owned(),
            driver: "local".to_owned(),
            labels: [(labels::PROJECT.to_owned(), "p".to_owned())].into(),
            ..VolumeView::default()
        };
        self.snapshot.volumes.push(view);
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = Manifest {
            project: "p".to_owned(),
            networks: self.networks.clone(),
            volumes: self.volumes.clone(),
            ..Manifest::default()
        };
        for (name, service) in &self.services {
            manifest.services.push(name.clone(), Some(service.clone()));
        }
        manifest
    }

    /// A container of the service as the manifest has it now, running, and healthy where it has a check.
    fn runs(self, name: &str) -> Self {
        self.has(name, 1, Role::Main, |_| {})
    }

    fn all_run(mut self) -> Self {
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self = self.runs(&name);
        }
        self
    }

    fn has(mut self, name: &str, number: u32, role: Role, change: impl FnOnce(&mut ContainerView)) -> Self {
        let manifest = self.manifest();
        let service = &self.services[name];
        let fingerprint = Fingerprint::keyed(
            "key".to_owned(),
            &fields(&manifest, service),
            service.environment.keys().cloned().collect(),
        );
        let mut view = ContainerView {
            id: format!("{name}-{number}-{}", self.snapshot.containers.len()),
            name: format!("{}{}", manifest.container_name(name, number), role.suffix()),
            image_id: self.snapshot.images[&service.image.to_string()].id.clone(),
            labels: labels::ContainerLabels {
                project: "p",
                service: name,
                number,
                fingerprint: fingerprint.label(),
                restart: service.restart,
                old_restart: None,
                gpus_dropped: false,
                folder: None,
            }
            .over(Default::default()),
            state: ContainerState::Running,
            health: match service.healthcheck {
                Some(_) => HealthState::Healthy,
                None => HealthState::None,
            },
            restart: spec::restart(service.restart),
            networks: service
                .network_keys()
                .into_iter()
                .map(|key| (manifest.network_name(key), "172.18.0.2".to_owned()))
                .collect(),
            limits: LimitsView { memory_bytes: service.mem_limit.map_or(0, |size| size.0), ..LimitsView::default() },
            ..ContainerView::default()
        };
        view.environment.0 = Inputs::read(service).environment().unwrap().clone();
        change(&mut view);
        self.snapshot.containers.push(ObservedContainer { service: name.to_owned(), number, role, view });
        self
    }

    /// Changes the containers of a service.
    fn seen(mut self, name: &str, change: impl Fn(&mut ContainerView)) -> Self {
        for seen in self.snapshot.containers.iter_mut().filter(|seen| seen.service == name) {
            change(&mut seen.view);
        }
        self
    }

    fn stopped(self, name: &str) -> Self {
        self.seen(name, |view| {
            view.state = ContainerState::Exited;
            view.health = HealthState::None;
        })
    }

    /// Changes the manifest after the containers were made.
    fn change(mut self, name: &str, change: impl FnOnce(&mut Service)) -> Self {
        change(&mut self.services[name]);
        self
    }

    /// A new image lies under the service's tag.
    fn new_image(mut self, name: &str) -> Self {
        let reference = self.services[name].image.to_string();
        self.snapshot.images.get_mut(&reference).unwrap().id = format!("{name}@2");
        self
    }

    fn gpus(self, name: &str, gpus: crate::services::snapshot::observed::Gpus) -> Self {
        self.with(|stack| {
            stack.snapshot.gpus.insert(name.to_owned(), gpus);
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn plan(
        &self,
        action: Action,
        selection: &[&str],
        change: impl FnOnce(&mut Options),
    ) -> Result<Plan, ServicesError> {
        let mut options = Options::default();
        change(&mut options);
        let selection = selection.iter().map(|name| (*name).to_owned()).collect();
        let manifest = self.manifest();
        let mut snapshot = self.snapshot.clone();
        snapshot.inputs =
            manifest.services.iter().map(|(_, name, service)| (name.to_owned(), Inputs::read(service))).collect();
        plan(&Request { action, selection, options }, &manifest, &Snapshot::from(snapshot))
    }

    fn start(&self, selection: &[&str]) -> String {
        text(self.plan(Action::Start, selection, |_| {}))
    }

    fn restart(&self, selection: &[&str]) -> String {
        text(self.plan(Action::Restart, selection, |_| {}))
    }

    fn stop(&self, selection: &[&str]) -> String {
        text(self.plan(Action::Stop, selection, |_| {}))
    }
}

fn check() -> Healthcheck {
    Healthcheck { test: vec!["CMD".to_owned(), "true".to_owned()], ..Healthcheck::default() }
}

fn needs(service: &mut Service, other: &str, condition: Condition) {
    service.depends_on.insert(other.to_owned(), Dependency { condition, restart: false, required: true });
}

/// A plan as text: a line a step, what takes it back beneath it, warnings last; or what stands in its way.
fn text(plan: Result<Plan, ServicesError>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            let particulars = error.particulars();
            let particulars = particulars.iter().map(|(_, line)| Catalogue::english().text(line));
            return std::iter::once(error.to_string()).chain(particulars).collect::<Vec<_>>().join("\n");
        }
    };
    if plan.is_empty() && plan.warnings.is_empty() {
        return "nothing to do".to_owned();
    }
    let mut text = String::new();
    for step in &plan.steps {
        let after: Vec<String> = step
            .after
            .iter()
            .map(|after| format!("{}{}", after.step, if after.whatever_comes_of_it { "?" } else { "" }))
            .collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(", ")) };
        writeln!(text, "{}{after}: {} ({})", step.id, line(&step.operation), step.cause).unwrap();
        for operation in &step.undo {
            writeln!(text, "    back: {}", line(operation)).unwrap();
        }
        if step.commits {
            writeln!(text, "    committed").unwrap();
        }
    }
    for warning in &plan.warnings {
        writeln!(text, "warning: {warning}").unwrap();
    }
    text
}

fn line(operation: &Operation) -> String {
    let name = operation.target().map(|target| target.container.clone()).unwrap_or_default();
    match operation {
        Operation::CreateNetwork { name, .. } => format!("create network {name}"),
        Operation::CreateVolume { name, .. } => format!("create volume {name}"),
        Operation::RemoveNetwork { name } => format!("remove network {name}"),
        Operation::RemoveVolume { name } => format!("remove volume {name}"),
        Operation::CreateContainer { name, image_id, volumes, without_gpus, .. } => {
            let gpus = if *without_gpus { " without GPUs" } else { "" };
            let volumes: String =
                volumes.iter().map(|(path, volume)| format!(" with {path} = {}", &volume[..6])).collect();
            format!("create {name} of {image_id}{gpus}{volumes}")
        }
        Operation::StartContainer { .. } => format!("start {name}"),
        Operation::RestartContainer { .. } => format!("restart {name}"),
        Operation::UnpauseContainer { .. } => format!("unpause {name}"),
        Operation::StopContainer { .. } => format!("stop {name}"),
        Operation::RenameContainer { to, .. } => format!("rename {name} to {to}"),
        Operation::SetRestartPolicy { policy, .. } => format!("set policy of {name} to {policy}"),
        Operation::RemoveContainer { volumes: AnonymousVolumes::Keep, .. } => format!("remove {name}"),
        Operation::RemoveContainer { volumes: AnonymousVolumes::Remove, .. } => {
            format!("remove {name} with its volumes")
        }
        Operation::RejoinNetworks { networks, .. } => {
            let networks: Vec<&str> = networks.iter().map(|network| network.spec.name.as_str()).collect();
            format!("join {name} to {}", networks.join(", "))
        }
        Operation::WaitReady { until, timeout, .. } => {
            let until = match until {
                Until::Running(period) => format!("running for {period}"),
                Until::Healthy => "healthy".to_owned(),
                Until::Tcp(port) => format!("tcp {port}"),
                Until::Http(probe) => format!("http {}{}", probe.port, probe.path),
                Until::Log(pattern) => format!("log {pattern}"),
                Until::Completed => "completed".to_owned(),
            };
            format!("wait {timeout} for {name}: {until}")
        }
    }
}

/// Compares a plan with its golden text, which lies beside this file.
macro_rules! golden {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($text)
        })
    };
}
use golden;
