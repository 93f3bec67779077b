//! `db prune`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::database;
use super::reach::{connect, kept_beside};
use super::settings::{backup_settings, backups_folder};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::typed;
use crate::cli::grammar::values::number;
use crate::cli::session::operations::{self, Operation, Shown, databases_of, document, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::databases::{self, BadBackups, PruneDocument, PrunePlan, Retention, plan_prune};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct PruneBackupsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Of the databases that rebuilds kept, keep the newest N; back up, verify and drop the others [default: all stay]
    #[arg(long, value_name = "N", value_parser = number(0..=100_u16))]
    pub keep_old: Option<u16>,
    /// Also remove backups that verification found damaged
    #[arg(long)]
    pub remove_bad: bool,
}

/// `dpl db prune`.
pub fn run(arguments: &PruneBackupsArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) = databases_of(&arguments.targets, session, Unselected::Refused { command: "db prune" })?;
    let bad = if arguments.remove_bad { BadBackups::Remove } else { BadBackups::Keep };
    operations::act(&Prune { databases, keep_old: arguments.keep_old, bad }, &project, session)
}

/// Removes old backups, and databases that were kept.
#[derive(Debug)]
pub struct Prune {
    pub databases: Vec<String>,
    /// How many of those that rebuilds kept stay; all where `None`.
    pub keep_old: Option<u16>,
    pub bad: BadBackups,
}

impl Prune {
    /// The kept databases that are too many.
    fn superfluous(&self, project: &Arc<Project>, session: &mut Session) -> Result<Vec<Superfluous>, Failure> {
        self.of_each(|name, count| {
            let mut kept = kept_beside(name, project, session)?;
            kept.truncate(kept.len().saturating_sub(count));
            Ok(kept)
        })
    }

    /// Drops them, each once a backup of it is proved.
    fn thin_out(
        &self,
        project: &Arc<Project>,
        session: &mut Session,
        reporter: &Reporter,
    ) -> Result<Vec<Superfluous>, Failure> {
        if self.keep_old.is_none() {
            return Ok(Vec::new());
        }
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let settings = backup_settings(project)?;
        self.of_each(|name, count| {
            let database = database(project, name)?;
            runtime.block_on(async {
                let server = connect(&engine, project.manifest(), database).await?;
                Ok(databases::thin_out_kept(&server, name, count, &settings, reporter).await?)
            })
        })
    }

    /// What `kept` gives for each database and the count of those that stay; nothing where all do.
    fn of_each(
        &self,
        mut kept: impl FnMut(&str, usize) -> Result<Vec<String>, Failure>,
    ) -> Result<Vec<Superfluous>, Failure> {
        let Some(count) = self.keep_old else { return Ok(Vec::new()) };
        let superfluous =
            |name: &String| Ok(Superfluous { database: name.clone(), kept: kept(name, usize::from(count))? });
        self.databases.iter().map(superfluous).collect()
    }

    fn plans(&self, project: &Project) -> Result<Vec<PrunePlan>, Failure> {
        let folder = backups_folder(project)?;
        let plan = |name: &String| {
            let rules = database(project, name)?.retention;
            let (keep_last, daily, weekly, monthly) = (rules.keep_last, rules.daily, rules.weekly, rules.monthly);
            Ok(plan_prune(&folder, name, &Retention { keep_last, daily, weekly, monthly }, self.bad)?)
        };
        self.databases.iter().map(plan).collect()
    }

    fn tell(&self, plans: &[PrunePlan], superfluous: &[Superfluous], session: &Session) {
        for Superfluous { database, kept } in superfluous {
            for name in kept {
                let message = message!("would-drop-kept", name = name, database = database);
                session.output.say(&message);
            }
        }
        for plan in plans {
            let plan = plan.document();
            for kept in &plan.kept {
                let rules: Vec<&str> = kept.kept_by.iter().map(|rule| rule_word(rule, session)).collect();
                let message = message!("would-keep-backup", id = &kept.backup.id, rules = Listed::of(&rules));
                session.output.say(&message);
            }
            for removed in &plan.removed {
                let size = table::size(removed.bytes);
                session.output.say(&message!("would-remove-backup", id = &removed.id, size = size));
            }
            for path in &plan.leftovers {
                session.output.say(&message!("would-remove-leftover", path = path));
            }
            for path in &plan.unreadable {
                session.output.warn(&message!("unreadable-backup-stays", path = path));
            }
        }
    }
}

/// The word for a rule that keeps a backup, or a snapshot of a folder.
pub(in crate::cli::commands) fn rule_word<'r>(rule: &'r str, session: &Session) -> &'r str {
    let key = match rule {
        "bad" => message!("word-kept-bad"),
        "from the future" => message!("word-from-the-future"),
        "newest" => message!("word-newest"),
        "last verified" => message!("word-last-verified"),
        "last" => message!("word-last"),
        "daily" => message!("word-daily"),
        "weekly" => message!("word-weekly"),
        "monthly" => message!("word-monthly"),
        _ => return rule,
    };
    session.output.catalogue.word(key)
}

/// What rebuilds kept of a database and is too much.
struct Superfluous {
    database: String,
    kept: Vec<String>,
}

fn dropped(superfluous: &[Superfluous]) -> usize {
    superfluous.iter().map(|superfluous| superfluous.kept.len()).sum()
}

/// How many backups and leftovers go, and how many bytes.
fn sums(plans: &[PrunePlan]) -> (usize, u64) {
    let documents = plans.iter().map(PrunePlan::document);
    documents.fold((0, 0), |(count, bytes), plan| {
        (count + plan.removed.len() + plan.leftovers.len(), bytes + plan.freed_bytes)
    })
}

fn report(plans: &[PrunePlan], superfluous: &[Superfluous], done: bool) -> Result<Value, Failure> {
    let mut databases: Vec<_> = plans.iter().map(PrunePlan::document).collect();
    for (database, superfluous) in databases.iter_mut().zip(superfluous) {
        database.dropped = superfluous.kept.clone();
    }
    document(&PruneDocument { done, databases })
}

impl Operation for Prune {
    fn announcement(&self) -> Message {
        message!("will-prune", targets = Listed::of(&self.databases))
    }

    fn command(&self) -> String {
        let keep_old = self.keep_old.map(|count| format!(" --keep-old {count}")).unwrap_or_default();
        let bad = if self.bad == BadBackups::Remove { " --remove-bad" } else { "" };
        format!("dpl db prune {}{keep_old}{bad}", typed(&self.databases))
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        let plans = self.plans(project)?;
        let superfluous = self.superfluous(project, session)?;
        let dropped = dropped(&superfluous);
        if plans.iter().all(PrunePlan::is_empty) && dropped == 0 {
            return Ok(());
        }
        self.tell(&plans, &superfluous, session);
        let (count, bytes) = sums(&plans);
        let question = match dropped {
            0 => message!("confirm-prune-backups", count = count, size = table::size(bytes)),
            _ => {
                message!("confirm-prune-backups-and-kept", dropped = dropped, count = count, size = table::size(bytes))
            }
        };
        session.confirm(&question)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let plans = self.plans(project)?;
        let superfluous = self.superfluous(project, session)?;
        self.tell(&plans, &superfluous, session);
        Shown::of(&report(&plans, &superfluous, false)?)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        // Made again under the lock: another operator may have made or verified a backup since the question. And before kept
        // databases are backed up, so that none of these backups takes a place from those that were there, or goes itself.
        let plans = self.plans(project)?;
        let superfluous = self.superfluous(project, session)?;
        settle(&report(&plans, &superfluous, false)?, reporter)?;
        let gone = self.thin_out(project, session, reporter)?;
        for plan in &plans {
            plan.run(reporter)?;
        }
        let dropped = dropped(&gone);
        if dropped > 0 {
            session.output.say(&message!("prune-kept-done", count = dropped));
        }
        let (count, bytes) = sums(&plans);
        let time = begun.elapsed().as_secs_f64();
        match count {
            0 if dropped > 0 => {}
            0 => session.output.say(&message!("prune-nothing")),
            _ => {
                let message = message!("prune-done", count = count, size = table::size(bytes), time = time);
                session.output.say(&message);
            }
        }
        report(&plans, &gone, true)
    }
}
