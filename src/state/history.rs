//! What was done here, made from the journal: one record for each action, with its steps.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::journal::{Action, ActionEnd, Entry};

/// An action of the past, or the one that runs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastAction {
    /// Its number in the journal, from 1.
    pub number: u64,
    /// When it began; RFC 3339, UTC, by the clock of this host.
    pub began_at: String,
    /// When it ended; absent for one that was cut off or still runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How long it took; absent where it has no end, or the clock was set back meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The login name; with sudo, the one who called it.
    pub user: String,
    pub host: String,
    /// The address that the ssh session came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_client: Option<String>,
    /// The version of dpl.
    pub version: String,
    pub manifest: String,
    pub manifest_digest: String,
    /// The digests of the plans that it carried out: of the steps (of services) or the images (of a save or a load) that
    /// `--dry-run --json` prints, as compact JSON. Empty where the command itself says all that is done.
    pub plan_digests: Vec<String>,
    /// The engine's address.
    pub engine: String,
    /// The command as it could be typed.
    pub command: String,
    pub result: ActionResult,
    /// The exit code; absent for one without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In the order in which they began.
    pub steps: Vec<PastStep>,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionResult {
    Done,
    Failed,
    /// The operator stopped it; it ended at a safe point.
    Interrupted,
    /// It has no end in the journal: the process was killed, or the machine went down.
    CutOff,
    /// It is at work now.
    Running,
}

/// A step of an action.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastStep {
    /// What was done: `load-image`, `start-container`, …
    pub activity: String,
    /// On what: an image's reference, a container, a database.
    pub subject: String,
    pub began_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    pub result: StepResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    Done,
    Failed,
    /// It has no end in the journal: the action was in it when it was cut off, or is in it now.
    Open,
}

impl PastAction {
    /// The steps that it was in when it was cut off.
    pub fn open_steps(&self) -> impl Iterator<Item = &PastStep> {
        self.steps.iter().filter(|step| step.result == StepResult::Open)
    }
}

/// The actions of a journal, oldest first. `at_work`: somebody holds the project's lock, so that the last action, if
/// it has no end, is running and was not cut off.
pub fn history(entries: &[Entry], at_work: bool) -> Vec<PastAction> {
    let mut told: Vec<(PastAction, Timestamp, Vec<Timestamp>)> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Begin(action) => told.push((begun(action), action.at, Vec::new())),
            Entry::Plan { action, digest, .. } => {
                let Some((past, _, _)) = of(&mut told, *action) else { continue };
                past.plan_digests.push(digest.clone());
            }
            Entry::Step { action, at, activity, subject } => {
                let Some((past, _, began)) = of(&mut told, *action) else { continue };
                began.push(*at);
                past.steps.push(PastStep {
                    activity: activity.clone(),
                    subject: subject.clone(),
                    began_at: at.to_string(),
                    seconds: None,
                    result: StepResult::Open,
                    error: None,
                });
            }
            Entry::StepEnd(end) => {
                let Some((past, _, began)) = of(&mut told, end.action) else { continue };
                // The same thing may be done twice in one action; steps of one thing never overlap.
                let open = past.steps.iter().rposition(|step| {
                    step.result == StepResult::Open && step.activity == end.activity && step.subject == end.subject
                });
                let Some(place) = open else { continue };
                let step = &mut past.steps[place];
                step.seconds = seconds(began[place], end.at);
                step.result = if end.error.is_some() { StepResult::Failed } else { StepResult::Done };
                step.error = end.error.clone();
            }
            Entry::End(end) => {
                let Some((past, began, _)) = of(&mut told, end.action) else { continue };
                ended(past, *began, end);
            }
        }
    }
    let mut actions: Vec<PastAction> = told.into_iter().map(|(action, _, _)| action).collect();
    if let Some(last) = actions.last_mut().filter(|last| at_work && last.result == ActionResult::CutOff) {
        last.result = ActionResult::Running;
    }
    actions
}

/// Whether an action after this one began to change containers and did not end well: what runs may be of its making.
pub fn was_broken_off_since(actions: &[PastAction], action: u64) -> bool {
    let is_open = |past: &PastAction| !matches!(past.result, ActionResult::Done | ActionResult::Running);
    let changes = |past: &PastAction| past.steps.iter().any(|step| step.activity.ends_with("-container"));
    actions.iter().any(|past| past.number > action && is_open(past) && changes(past))
}

/// The action of that number that began last: a journal that was put together from two may have two.
fn of(
    told: &mut [(PastAction, Timestamp, Vec<Timestamp>)],
    number: u64,
) -> Option<&mut (PastAction, Timestamp, Vec<Timestamp>)> {
    told.iter_mut().rev().find(|(action, _, _)| action.number == number)
}

fn begun(action: &Action) -> PastAction {
    PastAction {
        number: action.number,
        began_at: action.at.to_string(),
        ended_at: None,
        seconds: None,
        user: action.operator.user.clone(),
        host: action.operator.host.clone(),
        ssh_client: action.operator.ssh_client.clone(),
        version: action.version.clone(),
        manifest: action.manifest.display().to_string(),
        manifest_digest: action.manifest_digest.to_string(),
        plan_digests: Vec::new(),
        engine: action.engine.clone(),
        command: action.command.clone(),
        result: ActionResult::CutOff,
        exit_code: None,
        error: None,
        steps: Vec::new(),
    }
}

fn ended(past: &mut PastAction, began: Timestamp, end: &ActionEnd) {
    past.ended_at = Some(end.at.to_string());
    past.seconds = seconds(began, end.at);
    past.exit_code = Some(end.exit_code);
    past.error = end.error.clone();
    past.result = match end.exit_code {
        0 => ActionResult::Done,
        130 => ActionResult::Interrupted,
        _ => ActionResult::Failed,
    };
}

fn seconds(began: Timestamp, ended: Timestamp) -> Option<f64> {
    let seconds = (ended - began).total(jiff::Unit::Second).ok()?;
    (seconds >= 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::super::journal::StepEnd;
    use super::*;
    use crate::fs::Digest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn begin(number: u64) -> Entry {
        Entry::Begin(Action {
            number,
            format: 1,
            at: at(0),
            operator: Default::default(),
            version: "0.1.0".into(),
            manifest: "m.json".into(),
            manifest_digest: Digest::of(b""),
            engine: "unix:///x".into(),
            command: "dpl load all".into(),
        })
    }

    fn step(action: u64, subject: &str) -> Entry {
        Entry::Step { action, at: at(1), activity: "load-image".into(), subject: subject.into() }
    }

    fn step_end(action: u64, subject: &str, error: Option<&str>) -> Entry {
        let (activity, subject) = ("load-image".to_owned(), subject.to_owned());
        Entry::StepEnd(StepEnd { action, at: at(3), activity, subject, error: error.map(str::to_owned) })
    }

    fn end(action: u64, exit_code: u8) -> Entry {
        Entry::End(ActionEnd { action, at: at(5), exit_code, error: None })
    }

    #[test]
    fn an_action_has_its_steps_their_times_and_its_end() {
        let told = history(&[begin(1), step(1, "a"), step_end(1, "a", None), end(1, 0)], false);
        assert_eq!((told[0].result, told[0].seconds), (ActionResult::Done, Some(5.0)));
        assert_eq!((told[0].steps[0].result, told[0].steps[0].seconds), (StepResult::Done, Some(2.0)));
    }

    #[test]
    fn an_action_without_an_end_was_cut_off_in_the_steps_that_have_none() {
        let entries = [begin(1), step(1, "a"), step(1, "b"), step_end(1, "a", Some("no space")), begin(2), end(2, 130)];
        let told = history(&entries, false);
        assert_eq!((told[0].result, told[1].result), (ActionResult::CutOff, ActionResult::Interrupted));
        assert_eq!(told[0].open_steps().map(|step| step.subject.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(told[0].steps[0].error.as_deref(), Some("no space"));
    }

    #[test]
    fn an_action_that_changed_containers_and_did_not_end_well_may_have_made_what_runs() {
        let touched =
            |action| Entry::Step { action, at: at(1), activity: "create-container".into(), subject: "web".into() };
        let broken_off = |entries: &[Entry]| was_broken_off_since(&history(entries, false), 1);
        assert!(broken_off(&[begin(1), end(1, 0), begin(2), touched(2)]), "killed");
        assert!(broken_off(&[begin(1), end(1, 0), begin(2), touched(2), end(2, 1)]), "failed");
        assert!(!broken_off(&[begin(1), end(1, 0), begin(2), touched(2), end(2, 0)]), "it went well");
        assert!(!broken_off(&[begin(1), end(1, 0), begin(2), step(2, "image")]), "no container was touched");
        assert!(!broken_off(&[begin(1), touched(1)]), "that is the one asked about");
    }

    #[test]
    fn the_last_action_without_an_end_runs_while_somebody_is_at_work() {
        let told = history(&[begin(1), begin(2), step(2, "a")], true);
        assert_eq!((told[0].result, told[1].result), (ActionResult::CutOff, ActionResult::Running));
    }

    #[test]
    fn entries_whose_begin_is_lost_are_passed_over() {
        assert!(history(&[step(7, "a"), step_end(7, "a", None), end(7, 0)], false).is_empty());
    }
}
