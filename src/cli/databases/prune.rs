//! `db prune`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::{backups_folder, database};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, document};
use crate::cli::prompt;
use crate::cli::session::{Project, Session};
use crate::cli::table;
use crate::databases::{PruneDocument, PrunePlan, Retention, plan_prune};
use crate::report::{Message, Reporter};

/// Removes old backups.
#[derive(Debug)]
pub struct Prune {
    pub databases: Vec<String>,
}

impl Prune {
    fn plans(&self, project: &Project) -> Result<Vec<PrunePlan>, Failure> {
        let folder = backups_folder(project)?;
        let plan = |name: &String| {
            let rules = database(project, name)?.retention;
            let (keep_last, daily, weekly, monthly) = (rules.keep_last, rules.daily, rules.weekly, rules.monthly);
            Ok(plan_prune(folder, name, &Retention { keep_last, daily, weekly, monthly })?)
        };
        self.databases.iter().map(plan).collect()
    }

    fn tell(&self, plans: &[PrunePlan], session: &Session) {
        for plan in plans {
            let plan = plan.document();
            for kept in &plan.kept {
                let rules: Vec<&str> = kept.kept_by.iter().map(|rule| rule_word(rule, session)).collect();
                let message = Message::new("would-keep-backup").with("id", &kept.backup.id);
                session.output.say(&message.with("rules", rules.join(", ")));
            }
            for removed in &plan.removed {
                let size = table::size(removed.bytes);
                session.output.say(&Message::new("would-remove-backup").with("id", &removed.id).with("size", size));
            }
            for path in &plan.leftovers {
                session.output.say(&Message::new("would-remove-leftover").with("path", path));
            }
            for path in &plan.unreadable {
                session.output.warn(&Message::new("unreadable-backup-stays").with("path", path));
            }
        }
    }
}

/// The word for a rule that keeps a backup.
fn rule_word<'r>(rule: &'r str, session: &Session) -> &'r str {
    let key = match rule {
        "newest" => "word-newest",
        "last verified" => "word-last-verified",
        "last" => "word-last",
        "daily" => "word-daily",
        "weekly" => "word-weekly",
        "monthly" => "word-monthly",
        _ => return rule,
    };
    session.output.catalogue.word(key)
}

/// How many backups and leftovers go, and how many bytes.
fn sums(plans: &[PrunePlan]) -> (usize, u64) {
    let documents = plans.iter().map(PrunePlan::document);
    documents.fold((0, 0), |(count, bytes), plan| {
        (count + plan.removed.len() + plan.leftovers.len(), bytes + plan.freed_bytes)
    })
}

fn report(plans: &[PrunePlan], done: bool) -> Result<Value, Failure> {
    document(&PruneDocument { done, databases: plans.iter().map(PrunePlan::document).collect() })
}

impl Operation for Prune {
    fn announcement(&self) -> Message {
        Message::new("will-prune").with("targets", self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db prune {}", self.databases.join(" "))
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        let plans = self.plans(project)?;
        if plans.iter().all(PrunePlan::is_empty) {
            return Ok(());
        }
        self.tell(&plans, session);
        let (count, bytes) = sums(&plans);
        let question = Message::new("confirm-prune-backups").with("count", count).with("size", table::size(bytes));
        prompt::confirm(session, &question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let plans = self.plans(project)?;
        self.tell(&plans, session);
        report(&plans, false)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        // Made anew under the lock: another operator may have made or verified a backup since the question.
        let begun = Instant::now();
        let plans = self.plans(project)?;
        for plan in &plans {
            plan.run(reporter)?;
        }
        let (count, bytes) = sums(&plans);
        let message = match count {
            0 => Message::new("prune-nothing"),
            _ => Message::new("prune-done")
                .with("count", count)
                .with("size", table::size(bytes))
                .with("time", begun.elapsed().as_secs_f64()),
        };
        session.output.say(&message);
        report(&plans, true)
    }
}
