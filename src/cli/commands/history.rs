//! `history`: what was done on this project, by whom, and how it ended.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::grammar::values::number_from;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column};
use crate::report::Told as _;
use crate::state::{ActionResult, JOURNAL, PastAction, StepResult, at_work, damaged_lines, history, read_journal};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArguments {
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Only the last N actions [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = number_from(0_usize))]
    pub last: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Show one action with all its steps
    Show {
        /// The number of the action
        #[arg(value_parser = number_from(1_u64))]
        number: u64,
        /// The manifest [default: the one remembered]
        #[arg(id = "file", value_name = "MANIFEST")]
        manifest: Option<PathBuf>,
    },
}

/// What `history --json` prints, and, with one action and its steps, `history show --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistoryReport {
    /// Oldest first.
    pub actions: Vec<PastAction>,
}

/// `dpl history` and `dpl history show N`.
pub fn run(arguments: &HistoryArguments, session: &mut Session) -> Result<u8, Failure> {
    let (named, shown) = match &arguments.command {
        Some(HistoryCommand::Show { number, manifest }) => (manifest, Some(*number)),
        None => (&arguments.manifest, None),
    };
    let project = session.project(named.as_deref()).map_err(|failure| match number_for_manifest(arguments) {
        Some(number) => Failure::usage_with_hint(failure.message(), message!("hint-history-show", number = number)),
        None => failure,
    })?;
    let state = project.state();
    let entries = read_journal(&state)?;
    let damaged = damaged_lines(&state)?;
    if damaged > 0 {
        let path = state.path().join(JOURNAL);
        session.output.warn(&message!("history-damaged", count = damaged, path = path.display()));
    }
    let mut actions = history(&entries, at_work(&state)?.is_some());
    if let Some(number) = shown {
        let last = actions.last().map(|action| action.number);
        actions.retain(|action| action.number == number);
        if actions.is_empty() {
            let hint = match last {
                None => message!("hint-nothing-done"),
                Some(last) => message!("hint-last-action", last = last),
            };
            return Err(Failure::usage_with_hint(message!("usage-no-action-in-journal", number = number), hint));
        }
    } else {
        let passed = actions.len().saturating_sub(arguments.last.unwrap_or(usize::MAX));
        actions.drain(..passed);
    }
    if session.output.json {
        session.output.document(&HistoryReport { actions })?;
        return Ok(0);
    }
    // Only a look at an engine of this machine: a history is read where the engine can't be reached, too.
    if let Ok(engine) = session.local_engine() {
        // Neither may an engine that fails keep anybody from reading it.
        let _ = session.say_other_folders(&project, &engine);
    }
    match shown {
        Some(_) => actions.iter().try_for_each(|action| show(action, &session.output))?,
        // What the damaged lines said was done.
        None if actions.is_empty() && damaged > 0 => {}
        None if actions.is_empty() => session.output.say(&message!("history-empty")),
        None => session.output.data(&overview(&actions, &session.output))?,
    }
    Ok(0)
}

/// A number where the manifest stands, of an action that is to be shown.
fn number_for_manifest(arguments: &HistoryArguments) -> Option<u64> {
    let named = arguments.manifest.as_deref().filter(|named| !named.exists())?;
    named.to_str()?.parse().ok()
}

fn overview(actions: &[PastAction], output: &Output) -> String {
    let rows = actions.iter().map(|action| {
        vec![
            format!("{:>2}", action.number),
            table::time(&action.began_at),
            took(action.seconds, output),
            format!("{}@{}", action.user, action.host),
            word(action.result, output),
            match output.width() {
                Some(_) => table::shortened(&action.command, 60),
                // In a pipe nothing is cut.
                None => action.command.clone(),
            },
        ]
    });
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-number")),
        title(message!("column-began")).leaves(2),
        title(message!("column-took")).leaves(3),
        title(message!("column-who")).at_least(8).leaves(1),
        title(message!("column-result")),
        title(message!("column-command")).at_least(12),
    ];
    table::within(&columns, rows.collect(), output.width())
}

/// One action as lines: who, what, where, then each step.
fn show(action: &PastAction, output: &Output) -> Result<(), Failure> {
    let who = match &action.ssh_client {
        Some(client) => {
            let message = message!("fact-who-from", user = &action.user, host = &action.host, client = client);
            output.catalogue.text(&message)
        }
        None => format!("{}@{}", action.user, action.host),
    };
    let fact = |key| output.catalogue.word(key).to_owned();
    let mut facts = vec![
        vec![fact(message!("fact-action")), action.number.to_string()],
        vec![fact(message!("fact-command")), action.command.clone()],
        vec![fact(message!("fact-result")), word(action.result, output)],
        vec![fact(message!("fact-who")), who],
        vec![fact(message!("fact-began")), table::time(&action.began_at)],
        vec![fact(message!("fact-took")), took(action.seconds, output)],
        vec![fact(message!("fact-engine")), action.engine.clone()],
        vec![
            fact(message!("fact-manifest")),
            format!("{} ({})", action.manifest, table::shortened(&action.manifest_digest, 20)),
        ],
        vec!["dpl".to_owned(), action.version.clone()],
    ];
    facts.extend(action.plan_digests.iter().map(|plan| vec![fact(message!("fact-plan")), table::shortened(plan, 20)]));
    if let Some(error) = &action.error {
        facts.push(vec![fact(message!("fact-error")), error.clone()]);
    }
    // The first row stands where a table has its header.
    let first = facts.remove(0);
    let header: Vec<&str> = first.iter().map(String::as_str).collect();
    output.data(&table::columns(&header, facts))?;
    if action.steps.is_empty() {
        return Ok(());
    }
    let rows = action.steps.iter().map(|step| {
        let result = match step.result {
            StepResult::Done => output.paint_word(Tone::Good, message!("word-done")),
            StepResult::Failed => output.paint_word(Tone::Bad, message!("word-failed")),
            StepResult::Open if action.result == ActionResult::Running => {
                output.paint_word(Tone::Attention, message!("word-at-it"))
            }
            StepResult::Open => output.paint_word(Tone::Bad, message!("word-cut-off")),
        };
        vec![
            activity(&step.activity, output),
            step.subject.clone(),
            result,
            took(step.seconds, output),
            step.error.clone().unwrap_or_default(),
        ]
    });
    let header = [
        message!("column-step"),
        message!("column-on"),
        message!("column-result"),
        message!("column-took"),
        message!("column-error"),
    ];
    Ok(output.data(&format!("\n{}", table::whole(&output.catalogue.words(header), rows.collect(), output.width())))?)
}

fn took(seconds: Option<f64>, output: &Output) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| output.catalogue.seconds(seconds))
}

fn word(result: ActionResult, output: &Output) -> String {
    match result {
        ActionResult::Done => output.paint_word(Tone::Good, message!("word-done")),
        ActionResult::Failed => output.paint_word(Tone::Bad, message!("word-failed")),
        ActionResult::Interrupted => output.paint_word(Tone::Attention, message!("word-interrupted")),
        ActionResult::CutOff => output.paint_word(Tone::Bad, message!("word-cut-off")),
        ActionResult::Running => output.paint_word(Tone::Attention, message!("word-running")),
    }
}

/// A step's word in the journal as the reader's language has it. A later dpl may have written one that is not known here.
fn activity(word: &str, output: &Output) -> String {
    let message = match word {
        "save-image" => message!("activity-save-image"),
        "load-image" => message!("activity-load-image"),
        "verify-image" => message!("activity-verify-image"),
        "import-image" => message!("activity-import-image"),
        "read-archive" => message!("activity-read-archive"),
        "export-image" => message!("activity-export-image"),
        "prune-images" => message!("activity-prune-images"),
        "remove-image" => message!("activity-remove-image"),
        "name-image" => message!("activity-name-image"),
        "create-network" => message!("activity-create-network"),
        "remove-network" => message!("activity-remove-network"),
        "create-volume" => message!("activity-create-volume"),
        "remove-volume" => message!("activity-remove-volume"),
        "create-container" => message!("activity-create-container"),
        "start-container" => message!("activity-start-container"),
        "restart-container" => message!("activity-restart-container"),
        "wait-ready" => message!("activity-wait-ready"),
        "stop-container" => message!("activity-stop-container"),
        "rename-container" => message!("activity-rename-container"),
        "update-container" => message!("activity-update-container"),
        "remove-container" => message!("activity-remove-container"),
        "dump-database" => message!("activity-dump-database"),
        "verify-dump" => message!("activity-verify-dump"),
        "create-database" => message!("activity-create-database"),
        "restore-database" => message!("activity-restore-database"),
        "patch-database" => message!("activity-patch-database"),
        "convert-dump" => message!("activity-convert-dump"),
        "swap-database" => message!("activity-swap-database"),
        "drop-database" => message!("activity-drop-database"),
        "remove-backup" => message!("activity-remove-backup"),
        "place-file" => message!("activity-place-file"),
        "create-release" => message!("activity-create-release"),
        "remove-release" => message!("activity-remove-release"),
        "write-package" => message!("activity-write-package"),
        "read-package" => message!("activity-read-package"),
        "make-delta" => message!("activity-make-delta"),
        "rebuild-layer" => message!("activity-rebuild-layer"),
        "stage-files" => message!("activity-stage-files"),
        "swap-files" => message!("activity-swap-files"),
        word => return word.to_owned(),
    };
    output.catalogue.word(message).to_owned()
}
