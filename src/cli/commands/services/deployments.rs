//! Writing down what the services are after an action, so that `dpl rollback` can lead back to it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::engine::Engine;
use crate::manifest::{Manifest, to_json};
use crate::report::{Message, Reporter};
use crate::services::{Action, Observed, OutageWait, Recreate, Request, ServiceOutcome, ServicesError, ServicesReport};
use crate::state::{
    DeployedService, Deployment, Deployments, Operator, StateError, history, in_one_line, read_journal,
    was_broken_off_since,
};

/// The record of an engine's deployments, read before anything changes: one that can't be understood stops the work, but not
/// where the services only go down. That one stays as it is, and nothing is added to it.
pub struct Record {
    deployments: Deployments,
    is_readable: bool,
}

impl Record {
    pub fn open(project: &Project, action: Action, warn: impl Fn(&Message)) -> Result<Self, Failure> {
        match Deployments::read(&project.state()) {
            Ok(deployments) => Ok(Self { deployments, is_readable: true }),
            Err(error @ StateError::Read { .. }) if matches!(action, Action::Stop | Action::Remove) => {
                warn(&message!("deployments-unreadable", why = in_one_line(&error)));
                Ok(Self { deployments: Deployments::default(), is_readable: false })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn deployments(&self) -> &Deployments {
        &self.deployments
    }

    /// Writes down what the services are now, after an action that ended so.
    pub fn add(
        mut self,
        (request, ended): (&Request, &Result<ServicesReport, ServicesError>),
        project: &Project,
        (engine, reporter): (&Engine, &Reporter),
        session: &mut Session,
    ) -> Result<(), Failure> {
        if !self.is_readable {
            return Ok(());
        }
        let report = match ended {
            Ok(report) => report,
            Err(ServicesError::Failed { report, .. } | ServicesError::Interrupted { report }) => report,
            Err(_) => return Ok(()),
        };
        let manifest = project.manifest();
        let engine_id = session.engine_id(engine)?;
        let last = self.deployments.of(&engine_id).last();
        let changes = |outcome| !matches!(outcome, ServiceOutcome::Waited | ServiceOutcome::Skipped);
        let is_unchanged = !report.services.iter().any(|service| changes(service.result));
        if let Some(last) = last.filter(|_| is_unchanged)
            // What runs may be of an action that could not write it down.
            && !was_broken_off_since(&history(&read_journal(&project.state())?, true), last.action)
        {
            return Ok(());
        }
        let snapshot = session.runtime()?.block_on(patiently(engine, manifest, reporter))?;
        let document = carried_out(manifest, report, (is_unchanged, request), last);
        let deployment = Deployment {
            action: session.action_number(),
            at: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default(),
            operator: Operator::of_process(),
            services: deployed(&document, &snapshot, report, last),
            manifest: document,
        };
        Ok(self.deployments.add(&project.state(), &engine_id, deployment, manifest.keep_releases)?)
    }
}

/// What is there now. An engine that went away just when the work was done is waited for: what was done would not be noted.
async fn patiently(engine: &Engine, manifest: &Manifest, reporter: &Reporter) -> Result<Observed, ServicesError> {
    let wait = OutageWait::new(engine, reporter);
    loop {
        match Observed::look_at_serving(engine, manifest).await {
            Err(ServicesError::Observe { source, .. }) if wait.outlasts(&source).await => {}
            result => return result,
        }
    }
}

/// The manifest with each service as it was carried out last. Where nothing was to be changed, the chosen services are as it
/// says now.
fn carried_out(
    manifest: &Manifest,
    report: &ServicesReport,
    (is_unchanged, request): (bool, &Request),
    last: Option<&Deployment>,
) -> Value {
    let mut document = to_json(manifest);
    let (Some(services), Some(last)) = (document["services"].as_object_mut(), last) else {
        return document;
    };
    let starts = matches!(report.action, Action::Start | Action::Restart);
    let is_as_before =
        |outcome| matches!(outcome, ServiceOutcome::Failed | ServiceOutcome::Skipped | ServiceOutcome::Partly);
    let is_as_wanted = |name: &str| {
        let is_compared = is_unchanged && request.options.recreate != Recreate::Never;
        is_compared && request.selection.iter().any(|chosen| chosen == name)
    };
    let is_new = |name: &str| match report.services.iter().find(|service| service.name == name) {
        Some(service) => starts && !is_as_before(service.result),
        None => starts && is_as_wanted(name),
    };
    for (name, definition) in services {
        if let Some(earlier) = last.manifest["services"].get(name.as_str()).filter(|_| !is_new(name)) {
            *definition = earlier.clone();
        }
    }
    document
}

/// `document`: the manifest as it was carried out.
fn deployed(
    document: &Value,
    snapshot: &Observed,
    report: &ServicesReport,
    last: Option<&Deployment>,
) -> BTreeMap<String, DeployedService> {
    let services = document["services"].as_object().into_iter().flatten().filter(|(_, service)| service.is_object());
    let seen = services.filter_map(|(name, service)| Some((name, service, snapshot.main(name, 1)?)));
    seen.map(|(name, service, seen)| {
        let earlier = last.and_then(|last| last.services.get(name)?.completed.as_ref()) == Some(&seen.view.id);
        let is_done = seen.is_done_job() && (earlier || was_started(report, name));
        let mut env = seen.given_environment();
        // What the manifest says itself is in it already, and secrets are in no record.
        env.retain(|name, _| service["environment"].get(name.as_str()).is_none());
        let service = DeployedService {
            image_id: seen.view.image_id.clone(),
            is_up: seen.is_up(),
            env: Some(env),
            completed: is_done.then(|| seen.view.id.clone()),
        };
        (name.clone(), service)
    })
    .collect()
}

/// Whether the action that has just ended started the service: then nobody has stopped it since.
fn was_started(report: &ServicesReport, name: &str) -> bool {
    use ServiceOutcome::{Created, Recreated, Restarted, Started};
    let is_it = |outcome| matches!(outcome, Created | Recreated | Restarted | Started);
    report.services.iter().any(|service| service.name == name && is_it(service.result))
}
