//! A plan as its reader sees it: steps with their causes, and what it warns of.

use crate::catalogue::Catalogue;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::report::Message;
use crate::services::{Action, Plan, Warning};

/// The plan as lines: what, on what, why.
pub fn print(plan: &Plan, session: &Session) -> Result<(), Failure> {
    print_or(plan, &nothing(plan), session)
}

/// What is said of a plan without steps.
fn nothing(plan: &Plan) -> Message {
    let is_unsure = |warning: &Warning| {
        matches!(
            warning,
            Warning::EnvironmentUnreadable { .. } | Warning::Incomparable { .. } | Warning::FileReplaced { .. }
        )
    };
    match plan.action {
        Action::Remove => message!("remove-nothing"),
        Action::Stop => message!("stop-nothing"),
        Action::Start | Action::Restart if plan.warnings.iter().any(is_unsure) => message!("plan-nothing-known"),
        Action::Start | Action::Restart => message!("plan-nothing"),
    }
}

/// The same, with what is said where nothing is to be done.
pub fn print_or(plan: &Plan, nothing: &Message, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    warn(plan, session, |message| session.output.warn(message));
    if !plan.changes_anything() {
        session.output.say(nothing);
        return Ok(());
    }
    Ok(session.output.data(&steps(plan, session.output.catalogue, session.output.width()))?)
}

fn steps(plan: &Plan, catalogue: &Catalogue, width: Option<usize>) -> String {
    let steps = plan.steps.iter().filter(|step| step.operation.changes());
    let rows = steps.map(|step| vec![catalogue.text(&step.operation.message()), catalogue.text(&step.cause.message())]);
    table::whole(&catalogue.words([message!("column-step"), message!("column-cause")]), rows.collect(), width)
}

/// Says what the plan warns of; folders that will be made are counted, since a first start makes many.
pub fn warn(plan: &Plan, session: &Session, say: impl Fn(&Message)) {
    let is_folder = |warning: &&Warning| matches!(warning, Warning::SourceIsMade { .. });
    let (folders, others): (Vec<&Warning>, Vec<&Warning>) = plan.warnings.iter().partition(is_folder);
    let one_by_one = session.output.verbose || folders.len() < 3;
    for warning in others.into_iter().chain(folders.iter().copied().filter(|_| one_by_one)) {
        say(&warning.message());
    }
    if !one_by_one {
        say(&message!("services-folders-made", count = folders.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;
    use crate::manifest::model::RestartPolicy;
    use crate::services::{AnonymousVolumes, Cause, Operation, Step, Target, Until};

    fn plan() -> Plan {
        let target = || Target { container: "danganju-档案接口-1".to_owned(), id: None, made_by: None };
        let image_id = "sha256:0123456789abcdef0123456789abcdef".to_owned();
        let steps = [
            (
                Operation::CreateNetwork { key: "default".to_owned(), name: "danganju_default".to_owned() },
                Cause::Missing,
            ),
            (
                Operation::CreateContainer {
                    name: "danganju-档案接口-1".to_owned(),
                    image_id,
                    volumes: Default::default(),
                    without_gpus: false,
                    old_restart: None,
                },
                Cause::Forced,
            ),
            (Operation::StartContainer { target: target() }, Cause::NeededBy("metis-api".to_owned())),
            (
                Operation::WaitReady { target: target(), until: Until::Healthy, timeout: "1m".parse().unwrap() },
                Cause::NotReady,
            ),
            (
                Operation::SetRestartPolicy { target: target(), policy: RestartPolicy::UnlessStopped },
                Cause::RestartPolicy,
            ),
            (Operation::RemoveContainer { target: target(), volumes: AnonymousVolumes::Keep }, Cause::Orphan),
        ];
        let step = |(id, (operation, cause))| Step {
            id,
            service: None,
            number: None,
            operation,
            cause,
            after: vec![],
            undo: vec![],
            commits: false,
        };
        let steps = steps.into_iter().enumerate().map(step).collect();
        Plan { project: "danganju".to_owned(), action: Action::Start, steps, warnings: vec![], expected: vec![] }
    }

    #[test]
    fn steps_and_causes_stand_in_columns_in_both_languages() {
        let pages =
            [Language::English, Language::Chinese].map(|language| steps(&plan(), Catalogue::of(language), None));
        insta::assert_snapshot!(pages.join("\n"));
    }

    #[test]
    fn nothing_to_do_is_said_as_the_action_means_it_and_not_where_something_is_unknown() {
        let said = |action, warnings| {
            let plan = Plan { action, steps: vec![], warnings, ..plan() };
            crate::catalogue::english(&nothing(&plan))
        };
        assert!(said(Action::Start, vec![]).contains("everything matches the manifest"));
        let unknown = || Warning::EnvironmentUnreadable { service: "a".to_owned(), why: message!("plan-nothing") };
        assert!(!said(Action::Start, vec![unknown()]).contains("everything matches"));
        let text = || "a".to_owned();
        let replaced = Warning::FileReplaced { service: text(), path: text(), container: text() };
        assert!(!said(Action::Start, vec![replaced]).contains("everything matches"));
        assert!(said(Action::Remove, vec![]).contains("nothing to remove"));
        assert!(said(Action::Stop, vec![]).contains("none of these services runs"));
    }

    #[test]
    fn the_plan_fits_40_60_80_and_120_columns_in_both_languages() {
        for (language, width) in table::every_width() {
            table::assert_fits(&steps(&plan(), Catalogue::of(language), Some(width)), width);
        }
    }
}
