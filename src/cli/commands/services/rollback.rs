//! `dpl rollback`: the services back to the images and the configuration that they had before an action.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::converge::{Converge, carry_out, with_completed};
use super::plan_page::print_or;
use crate::cli::session::operations::{self, Operation, Shown};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{self, BackupDocument, BackupFolder};
use crate::images;
use crate::manifest::model::EnvValue;
use crate::manifest::{Manifest, Reference, Variables, read_resolved};
use crate::report::{Listed, Message, Reporter};
use crate::services::{Action, Depth, Observed, Plan, Problem, ServicesError, Snapshot, Warning, plan};
use crate::state::{Deployment, Deployments, history, read_journal, was_broken_off_since};

#[derive(Debug, Args)]
pub struct RollbackServicesArguments {
    /// The action to undo [default: the last one that changed services], and a manifest (.json)
    #[arg(value_name = "N", num_args = 0..=2)]
    pub action: Vec<String>,
}

/// What `dpl rollback --dry-run --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RollbackPlan {
    /// The services become what they were when this action had ended.
    pub after_action: u64,
    /// When that was; RFC 3339, UTC.
    pub at: String,
    /// Names of images that move back.
    pub images: Vec<MovedImage>,
    /// The last backup of each database that was made while they were so. Databases are not touched.
    pub backups: Vec<BackupDocument>,
    /// Services of today that were not there.
    pub new_services: Vec<String>,
    /// Services that were down then and run now: they are left as they are.
    pub started_since: Vec<String>,
    /// Services whose `env_file`s set what they set then, whatever they say today.
    pub past_env_files: Vec<String>,
    pub plan: Plan,
}

/// A name that leads to an earlier image again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MovedImage {
    pub reference: String,
    /// The engine's ID of the image that it names now; null where it names none.
    pub was: Option<String>,
    /// The engine's ID of the image that it named then.
    pub becomes: String,
    /// The services that use it.
    pub services: Vec<String>,
}

/// `dpl rollback [N]`.
pub fn run(arguments: &RollbackServicesArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, words) = session.targets(&arguments.action)?;
    let number = action_number(&words)?;
    let engine = session.engine()?;
    session.say_other_folders(&project, &engine)?;
    let all = Deployments::read(&project.state())?;
    let all = all.of(&session.engine_id(&engine)?);
    if let Some(last) = all.last().filter(|_| number.is_none()) {
        let done = history(&read_journal(&project.state())?, false);
        // An action that was cut off, or could not write down what it did, has no record: the way back from it is the last.
        if was_broken_off_since(&done, last.action) {
            let rollback = Rollback::to(last.clone(), (None, all), &project)?;
            if !rollback.is_what_runs(&project, session)? {
                return operations::act(&rollback, &project, session);
            }
        }
    }
    let deployment = chosen(all, number, &project)?;
    operations::act(&Rollback::to(deployment, (number, all), &project)?, &project, session)
}

fn action_number(words: &[String]) -> Result<Option<u64>, Failure> {
    match words {
        [] => Ok(None),
        [number] if number.parse::<u64>().is_ok() => Ok(number.parse().ok()),
        [wrong, ..] => Err(Failure::usage_with_hint(
            message!("usage-no-action-number", text = wrong),
            message!("hint-action-number"),
        )),
    }
}

/// The deployment before an action; without a number, before the last one that changed services.
fn chosen(all: &[Deployment], number: Option<u64>, project: &Project) -> Result<Deployment, Failure> {
    let Some(number) = number else {
        return all.iter().rev().nth(1).cloned().ok_or_else(|| {
            Failure::usage_with_hint(message!("usage-nothing-recorded"), message!("hint-recorded-when"))
        });
    };
    let last = operations_done(project)?;
    if number == 0 || number > last {
        let hint = match last {
            0 => message!("hint-nothing-done"),
            last => message!("hint-last-action", last = last),
        };
        return Err(Failure::usage_with_hint(message!("usage-no-action-in-journal", number = number), hint));
    }
    all.iter().rev().find(|one| one.action < number).cloned().ok_or_else(|| {
        let message = message!("usage-state-not-recorded", number = number);
        let hint = match all.first() {
            // With room for more records, none has been dropped.
            Some(first) if all.len() < project.manifest().keep_releases as usize => {
                message!("hint-first-record", action = first.action)
            }
            Some(first) => message!("hint-oldest-record", action = first.action),
            None => message!("hint-recorded-when"),
        };
        Failure::usage_with_hint(message, hint)
    })
}

fn operations_done(project: &Project) -> Result<u64, Failure> {
    let entries = read_journal(&project.state())?;
    Ok(crate::state::history(&entries, false).last().map_or(0, |action| action.number))
}

struct Rollback {
    number: Option<u64>,
    deployment: Deployment,
    /// `None` where it still lasts.
    lasted_until: Option<Timestamp>,
    /// The project as it was.
    past: Arc<Project>,
    /// Services with an `env_file` of which an older dpl did not record what it set.
    unrecorded_env: Vec<String>,
}

/// Lets the services' `env_file`s set what they set then. Gives the services of which that is not known.
fn take_past_env(manifest: &mut Manifest, deployment: &Deployment) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, service) in manifest.services.iter_mut().filter(|(_, service)| !service.env_file.is_empty()) {
        match deployment.services.get(name).map(|then| &then.env) {
            Some(Some(env)) => service.past_env = Some(Arc::new(env.clone())),
            Some(None) => unknown.push(name.to_owned()),
            None => {}
        }
    }
    unknown
}

impl Rollback {
    fn to(
        deployment: Deployment,
        (number, all): (Option<u64>, &[Deployment]),
        project: &Project,
    ) -> Result<Self, Failure> {
        // It lasted until the action that ended with the next one: what was backed up before that one's end belongs to it.
        let lasted_until = all.iter().find(|other| other.action > deployment.action).map(|next| next.at);
        let mut loaded = read_resolved(&deployment.manifest, &project.path, Variables::of_process())?;
        let unrecorded_env = take_past_env(&mut loaded.manifest, &deployment);
        let past = Arc::new(Project { path: project.path.clone(), loaded, state: project.state() });
        Ok(Self { number, deployment, lasted_until, past, unrecorded_env })
    }

    /// Whether the services are what they were then: nothing would be done, and nothing has come since.
    fn is_what_runs(&self, project: &Arc<Project>, session: &mut Session) -> Result<bool, Failure> {
        let plan = match self.planned(&self.converge(), Depth::ReadOnly, project, session) {
            Ok(plan) => plan,
            // What keeps from going back there is told when that is tried.
            Err(Failure::Work(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        if !plan.images.is_empty() || plan.plan.changes_anything() || !plan.started_since.is_empty() {
            return Ok(false);
        }
        let engine = session.engine()?;
        let manifest = project.manifest();
        let snapshot = session.runtime()?.block_on(Observed::look(&engine, manifest))?;
        Ok(!plan.new_services.iter().any(|name| snapshot.runs(name)))
    }

    fn converge(&self) -> Converge {
        let ran = self
            .past
            .manifest()
            .services
            .names()
            .filter(|name| self.deployment.services.get(*name).is_some_and(|service| service.is_up));
        Converge::new(Action::Start, ran.map(str::to_owned).collect())
    }

    /// Looks, and plans as if the names led to the earlier images again.
    fn planned(
        &self,
        converge: &Converge,
        how: Depth,
        project: &Project,
        session: &mut Session,
    ) -> Result<RollbackPlan, Failure> {
        let engine = session.engine()?;
        let manifest = self.past.manifest();
        let request = with_completed(&converge.request(), &Deployments::read(&project.state()).unwrap_or_default());
        let (images, started_since, plan) = session.runtime()?.block_on(async {
            let mut snapshot = Observed::look(&engine, manifest).await?;
            let was_down = |name: &&str| self.deployment.services.get(*name).is_some_and(|service| !service.is_up);
            let started: Vec<String> = manifest
                .services
                .names()
                .filter(was_down)
                .filter(|name| snapshot.runs(name))
                .map(str::to_owned)
                .collect();
            let moved = moved(&self.deployment, self.past.manifest(), &converge.services, &snapshot)?;
            let mut lost = Vec::new();
            for image in &moved {
                let name = (image.reference.as_str(), image.becomes.as_str());
                if !snapshot.suppose_image(&engine, manifest, name).await? {
                    lost.push(image.clone());
                }
            }
            if !lost.is_empty() {
                return Err(images_lost(&lost));
            }
            let snapshot = Snapshot::complete(snapshot, &engine, manifest, (&request, how)).await?;
            let mut planned = plan(&request, manifest, &snapshot)?;
            // That was said before it was looked for what there is to go back to.
            planned.warnings.retain(|warning| !matches!(warning, Warning::OtherFolder { .. }));
            Ok::<_, Failure>((moved, started, planned))
        })?;
        let then = &self.deployment.services;
        Ok(RollbackPlan {
            after_action: self.deployment.action,
            at: self.deployment.at.to_string(),
            images,
            backups: backups(self.lasted_until.unwrap_or_else(Timestamp::now), project)?,
            new_services: project
                .manifest()
                .services
                .names()
                .filter(|name| !then.contains_key(*name))
                .map(str::to_owned)
                .collect(),
            started_since,
            past_env_files: manifest
                .services
                .iter()
                .filter(|(_, name, service)| {
                    service.past_env.is_some() && request.selection.iter().any(|one| one == name)
                })
                .map(|(_, name, _)| name.to_owned())
                .collect(),
            plan,
        })
    }

    fn say(&self, plan: &RollbackPlan, session: &Session) -> Result<(), Failure> {
        if session.output.json {
            return Ok(());
        }
        let message = message!("rollback-to", action = plan.after_action, at = &plan.at);
        session.output.say(&message);
        for image in &plan.images {
            let message = match &image.was {
                Some(was) => message!(
                    "rollback-image",
                    reference = &image.reference,
                    was = short(was),
                    becomes = short(&image.becomes)
                ),
                None => {
                    message!("rollback-image-unnamed", reference = &image.reference, becomes = short(&image.becomes))
                }
            };
            session.output.say(&message);
        }
        let secrets = read_secrets(self.past.manifest(), &self.converge().services);
        print_or(&plan.plan, &nothing(&secrets), session)?;
        let say = |services: &[String], message: fn(Listed) -> Message| {
            if !services.is_empty() {
                session.output.say(&message(Listed::of(services)));
            }
        };
        say(&plan.new_services, |all| message!("rollback-new-services", targets = all));
        say(&plan.started_since, |all| message!("rollback-started-since", targets = all));
        say(&plan.past_env_files, |all| message!("rollback-past-env", targets = all));
        say(&self.unrecorded_env, |all| message!("rollback-env-unknown", targets = all));
        say(&secrets, |all| message!("rollback-secrets", targets = all));
        for backup in &plan.backups {
            let message = message!("rollback-backup", database = &backup.database, id = &backup.id);
            session.output.say(&message);
        }
        Ok(())
    }
}

impl Operation for Rollback {
    fn announcement(&self) -> Message {
        message!("will-roll-services-back", action = self.deployment.action)
    }

    fn command(&self) -> String {
        match self.number {
            Some(number) => format!("dpl rollback {number}"),
            None => "dpl rollback".to_owned(),
        }
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if session.global.yes {
            return Ok(());
        }
        let plan = self.planned(&self.converge(), Depth::ReadOnly, project, session)?;
        self.say(&plan, session)?;
        if plan.images.is_empty() && !plan.plan.changes_anything() {
            return Ok(());
        }
        let question = message!("confirm-roll-services-back", action = self.deployment.action);
        session.confirm(&question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let plan = self.planned(&self.converge(), Depth::ReadOnly, project, session)?;
        self.say(&plan, session)?;
        Shown::of(&plan)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let converge = self.converge();
        let engine = session.engine()?;
        // All that stands in the way is known before a name moves.
        let mut plan = self.planned(&converge, Depth::WithHelpers, project, session)?;
        // What it warns of is said when the steps are settled.
        plan.plan.warnings.clear();
        if session.global.yes {
            self.say(&plan, session)?;
        }
        let releases = project.load_log(&session.engine_id(&engine)?);
        let now = plan.images.iter().filter_map(|image| Some((image.reference.clone(), image.was.clone()?)));
        releases.before_load(&now.collect(), &[])?;
        session.runtime()?.block_on(async {
            for image in &plan.images {
                let reference: Reference = image.reference.parse().map_err(|error| Failure::Work(Box::new(error)))?;
                images::rename(&engine, &reference, &image.becomes, reporter).await?;
            }
            Ok::<_, Failure>(())
        })?;
        let then: BTreeMap<String, String> =
            plan.images.iter().map(|image| (image.reference.clone(), image.becomes.clone())).collect();
        releases.after_load(&then)?;
        carry_out(&converge, &self.past, session, reporter)
    }
}

/// The names that have to move for the services to have their earlier images.
fn moved(
    deployment: &Deployment,
    manifest: &Manifest,
    services: &[String],
    snapshot: &Observed,
) -> Result<Vec<MovedImage>, Failure> {
    let mut moved: Vec<MovedImage> = Vec::new();
    for name in services {
        let (Some(service), Some(then)) = (manifest.services.get(name), deployment.services.get(name)) else {
            continue;
        };
        let seen = snapshot.image(&service.image);
        let becomes = then.image_id.clone();
        let reference = service.image.to_string();
        match moved.iter_mut().find(|other| other.reference == reference) {
            Some(other) if other.becomes == becomes => other.services.push(name.clone()),
            Some(other) => {
                let other = &other.services[0];
                let message =
                    message!("usage-one-name-two-images", service = name, other = other, reference = reference);
                return Err(Failure::usage_with_hint(message, message!("hint-other-action")));
            }
            None => {
                let was = seen.map(|seen| seen.id.clone());
                moved.push(MovedImage { reference, was, becomes, services: vec![name.clone()] });
            }
        }
    }
    // Only now: a name that stays for one service must not move for another.
    moved.retain(|image| {
        let seen = snapshot.images.get(&image.reference);
        !seen.is_some_and(|seen| seen.id == image.becomes || seen.same_as.contains(&image.becomes))
    });
    Ok(moved)
}

fn images_lost(lost: &[MovedImage]) -> Failure {
    let problems = lost.iter().map(|image| Problem::PastImageGone {
        services: image.services.clone(),
        reference: image.reference.clone(),
        id: short(&image.becomes),
    });
    ServicesError::Problems(problems.collect()).into()
}

/// The last backup of each database that had been made at a time.
fn backups(at: Timestamp, project: &Project) -> Result<Vec<BackupDocument>, Failure> {
    let manifest = project.manifest();
    let Some(path) = &manifest.paths.backups else {
        return Ok(Vec::new());
    };
    let folder = BackupFolder { path: path.clone(), project: Some(manifest.project.clone()) };
    let mut found = Vec::new();
    for name in manifest.databases.names() {
        let mut made = databases::backups(&folder, name)?;
        made.retain(|backup| backup.created_at.parse::<Timestamp>().is_ok_and(|made| made <= at));
        found.extend(made.pop());
    }
    Ok(found)
}

/// The services that have secrets in their environment: what those were then is not known.
fn read_secrets(manifest: &Manifest, services: &[String]) -> Vec<String> {
    let is_secret = |value: &EnvValue| matches!(value, EnvValue::Secret(_));
    let reads =
        |name: &&String| manifest.services.get(name).is_some_and(|service| service.environment.values().any(is_secret));
    services.iter().filter(reads).cloned().collect()
}

/// What is said where nothing is to be done.
fn nothing(secrets: &[String]) -> Message {
    match secrets.is_empty() {
        true => message!("rollback-nothing"),
        false => message!("rollback-nothing-but-secrets"),
    }
}

/// The first hex digits of an ID, as engines show it.
fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;
    use crate::manifest::model::{SecretSource, Service};

    #[test]
    fn what_has_secrets_is_not_called_as_it_was_then() {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        for (name, value) in [
            ("web", EnvValue::Plain("one".to_owned())),
            ("db", EnvValue::Secret(SecretSource::File("/run/password".into()))),
            ("idle", EnvValue::Secret(SecretSource::File("/run/password".into()))),
        ] {
            let environment = [("VALUE".to_owned(), value)].into_iter().collect();
            manifest.services.push(name.to_owned(), Some(Service { environment, ..Service::default() }));
        }
        let of = |services: &[&str]| {
            let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
            read_secrets(&manifest, &services)
        };
        assert_eq!(of(&["web", "db"]), ["db"]);
        assert!(english(&nothing(&of(&["web", "db"]))).contains("apart from secrets, which are not recorded"));
        assert_eq!(english(&nothing(&of(&["web"]))), "nothing to do: every service that ran then is as it was then");
    }
}
