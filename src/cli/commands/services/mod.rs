//! `plan`, and `start`, `stop`, `restart` and `remove` as the operator sees them.

mod converge;
mod deployments;
mod plan_page;
mod profiles;
mod rollback;

use std::sync::Arc;

use clap::Args;

use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::lock::others_at_work;
use crate::cli::session::operations::{self, services_of};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::services::{Action, Extent, Request};
use converge::{ConvergeArguments, Would, options, would};
use plan_page::print;

pub use converge::{Converge, StartArguments};
pub use profiles::awake;
pub use rollback::{RollbackPlan, RollbackServicesArguments, run as roll_back};

#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub converge: ConvergeArguments,
    /// Exit with code 6 when there is something to do
    #[arg(long)]
    pub exit_code: bool,
}

impl PlanArguments {
    /// The plan as nothing but targets asks for it.
    pub fn of(targets: TargetArguments) -> Self {
        Self { targets, converge: ConvergeArguments::default(), exit_code: false }
    }
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Also remove their volumes with the data in them; volumes in use elsewhere stay
    #[arg(long)]
    pub volumes: bool,
    /// Also remove the project's networks that no container uses
    #[arg(long)]
    pub networks: bool,
    /// Also remove containers of services that the manifest no longer names; without targets only these
    #[arg(long)]
    pub orphans: bool,
}

/// `dpl plan`: what `start` would do.
pub fn show_plan(arguments: &PlanArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selection) = to_be_started(&arguments.targets, &arguments.converge, session, Unselected::All)?;
    let request = Request { action: Action::Start, selection, options: options(&arguments.converge) };
    // Before the look: what it begins with may have ended behind it.
    if let Some(holder) = others_at_work(&project, session)? {
        session.output.warn(&message!("look-at-work", holder = holder));
    }
    let Would { plan, failure } = would(&request, &project, session)?;
    print(&plan, session)?;
    if session.output.json {
        session.output.document(&plan)?;
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    Ok(if arguments.exit_code && plan.changes_anything() { CHANGES } else { 0 })
}

/// `plan --exit-code` found work (docs/command-line.md).
const CHANGES: u8 = 6;

/// `dpl start`.
pub fn start(arguments: &StartArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = to_be_started(&arguments.targets, &arguments.converge, session, Unselected::All)?;
    operations::act(&Converge::new(Action::Start, services).with(arguments)?, &project, session)
}

/// `dpl restart`.
pub fn restart(arguments: &StartArguments, session: &mut Session) -> Result<u8, Failure> {
    let unselected = Unselected::Refused { command: "restart" };
    let (project, services) = to_be_started(&arguments.targets, &arguments.converge, session, unselected)?;
    operations::act(&Converge::new(Action::Restart, services).with(arguments)?, &project, session)
}

/// `dpl stop`.
pub fn stop(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, services) = services_of(arguments, session, Unselected::Refused { command: "stop" })?;
    operations::act(&Converge::new(Action::Stop, services), &project, session)
}

/// `dpl remove`.
pub fn remove(arguments: &RemoveArguments, session: &mut Session) -> Result<u8, Failure> {
    // Orphans are chosen by their word alone.
    let unselected = if arguments.orphans { Unselected::Nothing } else { Unselected::Refused { command: "remove" } };
    let (project, services) = services_of(&arguments.targets, session, unselected)?;
    operations::act(&removal(arguments, services), &project, session)
}

fn removal(arguments: &RemoveArguments, services: Vec<String>) -> Converge {
    let mut converge = Converge::new(Action::Remove, services);
    let words = [
        (arguments.volumes, Extent::Volumes),
        (arguments.networks, Extent::Networks),
        (arguments.orphans, Extent::Orphans),
    ];
    converge.options.extent = words.into_iter().filter(|(is_said, _)| *is_said).map(|(_, extent)| extent).collect();
    converge
}

/// The services that are to run, and the project that they belong to.
fn to_be_started(
    targets: &TargetArguments,
    converge: &ConvergeArguments,
    session: &mut Session,
    unselected: Unselected,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    let (project, selectors) = session.targets(&targets.targets)?;
    let selection = select::service_selection(project.manifest(), &selectors, unselected)?;
    let services = profiles::awake(project.manifest(), selection, &converge.profile)?;
    Ok((project, services))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::typed_again::assert_typed_again;
    use crate::cli::session::operations::Operation as _;

    #[test]
    fn the_journal_has_an_action_on_services_with_all_its_flags() {
        let start = [
            "dpl start web db",
            "dpl start web --no-deps --force-recreate --recreate-networks --adopt --keep-failed --wait-timeout 7m \
             --parallel 3",
            "dpl start web --no-wait",
        ];
        // What a profile wakes is named.
        let left_out = ["profile"];
        let begun = |action, arguments: StartArguments| {
            Converge::new(action, arguments.targets.targets.clone()).with(&arguments).unwrap().command()
        };
        assert_typed_again(&start, &left_out, |command| match command {
            Command::Start(arguments) => begun(Action::Start, arguments),
            other => panic!("{other:?}"),
        });
        let restart = start.map(|line| line.replace("start", "restart"));
        assert_typed_again(&restart.each_ref().map(String::as_str), &left_out, |command| match command {
            Command::Restart(arguments) => begun(Action::Restart, arguments),
            other => panic!("{other:?}"),
        });
        let remove = ["dpl remove web db", "dpl remove --orphans", "dpl remove web --volumes --networks --orphans"];
        assert_typed_again(&remove, &[], |command| match command {
            Command::Remove(arguments) => removal(&arguments, arguments.targets.targets.clone()).command(),
            other => panic!("{other:?}"),
        });
    }
}
