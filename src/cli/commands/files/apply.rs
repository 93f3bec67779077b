//! `files apply`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::page::Paths;
use super::plan::{Planned, restarts};
use super::restarts::restart;
use super::targets::{FilesTargets, LocalArguments, jobs};
use crate::cli::commands::databases::operator;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::files::{AppliedFolder, Digests, FilesAppliedDocument, FilesError, FilesPlanDocument, LocalChoice};
use crate::manifest::services_named;
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct FilesApplyArguments {
    #[command(flatten)]
    pub targets: FilesTargets,
    #[command(flatten)]
    pub local: LocalArguments,
}

/// `dpl files apply`.
pub fn run(arguments: &FilesApplyArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, names) = arguments.targets.chosen(session)?;
    let restart = restarts(project.manifest(), &names);
    operations::act(&Apply::new(names, arguments.local.choice(), restart), &project, session)
}

/// Puts delivered folders in place.
#[derive(Debug)]
pub struct Apply {
    names: Vec<String>,
    choice: LocalChoice,
    /// Services that are restarted afterwards.
    restart: Vec<String>,
    /// What was read for the question is not read again for the work.
    digests: Mutex<Digests>,
    /// What was shown before the question.
    agreed: Mutex<Option<FilesPlanDocument>>,
}

impl Apply {
    fn new(names: Vec<String>, choice: LocalChoice, restart: Vec<String>) -> Self {
        Self { names, choice, restart, digests: Mutex::default(), agreed: Mutex::default() }
    }

    fn planned(&self, project: &Project, reporter: &Reporter) -> Result<Planned, Failure> {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        Planned::new(project, &self.names, self.choice, &mut digests, reporter)
    }

    fn ensure_decided(&self, planned: &Planned) -> Result<(), Failure> {
        match planned.undecided(&self.names, self.choice).into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

impl Operation for Apply {
    fn announcement(&self) -> Message {
        message!("will-apply-files", targets = Listed::of(&self.names))
    }

    fn command(&self) -> String {
        let local = match self.choice {
            LocalChoice::Undecided => "",
            LocalChoice::Keep => " --keep-local",
            LocalChoice::Overwrite => " --overwrite",
        };
        format!("dpl files apply {}{local}", typed(&self.names))
    }

    fn place(&self) -> WorkPlace {
        if self.restart.is_empty() { WorkPlace::Here } else { WorkPlace::Engine }
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if session.global.yes {
            return Ok(());
        }
        let planned = self.planned(project, &Reporter::default())?;
        planned.show(Paths::Counted, session)?;
        self.ensure_decided(&planned)?;
        let works = planned.document.files.iter().zip(&planned.looks).filter(|(_, look)| look.has_work());
        let (large, small): (Vec<_>, Vec<_>) =
            works.map(|(folder, _)| folder).partition(|folder| folder.asks_for_count);
        for folder in &large {
            let question = message!(
                "confirm-files-mirror",
                removed = folder.removed,
                present = folder.present,
                target = &folder.to
            );
            session.confirm_by_name(&question, &folder.removed.to_string())?;
        }
        if !small.is_empty() {
            let names: Vec<&str> = small.iter().map(|folder| folder.name.as_str()).collect();
            session.confirm(&message!("confirm-files-apply", names = Listed::of(&names)))?;
        }
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned.document);
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let planned = self.planned(project, &Reporter::default())?;
        planned.show(Paths::Counted, session)?;
        let failures = planned.undecided(&self.names, self.choice);
        Ok(Shown { has_work: planned.has_work(), failures, ..Shown::of(&planned.document)? })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let state = project.state();
        let jobs = jobs(project, &state, &self.names);
        for job in &jobs {
            job.recover(reporter)?;
        }
        let planned = self.planned(project, reporter)?;
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if agreed.is_some_and(|agreed| agreed != planned.document) {
            return Err(FilesError::PlanChanged.into());
        }
        self.ensure_decided(&planned)?;
        for (job, look) in jobs.iter().zip(&planned.looks).filter(|(_, look)| look.has_work()) {
            job.ensure_kept_may_go(look)?;
        }
        settle(&planned.document, reporter)?;
        let mut done = FilesAppliedDocument::default();
        for ((job, look), folder) in jobs.iter().zip(&planned.looks).zip(&planned.document.files) {
            let (at, by) = (jiff::Timestamp::now().to_string(), operator());
            let mut applied = AppliedFolder { name: folder.name.clone(), to: folder.to.clone(), ..Default::default() };
            if look.has_work() {
                let mut due = services_named(project.manifest(), &job.folder.restart);
                due.extend(
                    look.record.restart_due.iter().filter(|name| !due.contains(name)).cloned().collect::<Vec<_>>(),
                );
                let kept = job.apply(look, &due, (at.as_str(), by.as_str()), reporter)?;
                applied = AppliedFolder {
                    swapped: true,
                    added: folder.added,
                    changed: folder.changed,
                    removed: folder.removed,
                    copied_bytes: folder.copied_bytes,
                    kept: kept.map(|kept| kept.display().to_string()),
                    ..applied
                };
                let message = message!(
                    "files-applied",
                    name = job.name,
                    added = folder.added,
                    changed = folder.changed,
                    removed = folder.removed
                );
                session.output.say(&message);
            } else {
                job.note_unchanged(look, (at.as_str(), by.as_str()))?;
            }
            done.files.push(applied);
        }
        done.restarted = restart(&jobs, &self.restart, project, session, reporter)?;
        let time = begun.elapsed().as_secs_f64();
        session.output.say(&match done.files.iter().filter(|folder| folder.swapped).count() {
            0 => message!("files-apply-nothing"),
            count => message!("files-apply-done", count = count, time = time),
        });
        document(&done)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FilesCommand;
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_an_apply_with_all_its_flags() {
        let lines =
            ["dpl files apply modules conf", "dpl files apply conf --keep-local", "dpl files apply conf --overwrite"];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Files(FilesCommand::Apply(arguments)) => {
                Apply::new(arguments.targets.targets, arguments.local.choice(), Vec::new()).command()
            }
            other => panic!("{other:?}"),
        });
    }
}
