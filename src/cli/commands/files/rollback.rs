//! `files rollback`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::plan::restarts;
use super::restarts::restart;
use super::targets::{FilesTargets, jobs};
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::files::{AppliedFolder, DeliveredFolderDocument, FilesAppliedDocument, FilesDocument};
use crate::manifest::services_named;
use crate::report::{Listed, Message, Reporter};

/// `dpl files rollback`.
pub fn run(targets: &FilesTargets, session: &mut Session) -> Result<u8, Failure> {
    let (project, names) = targets.chosen(session)?;
    let restart = restarts(project.manifest(), &names);
    operations::act(&Rollback { names, restart }, &project, session)
}

/// Brings back what the last apply replaced.
#[derive(Debug)]
pub struct Rollback {
    names: Vec<String>,
    /// Services that are restarted afterwards.
    restart: Vec<String>,
}

impl Rollback {
    /// What each would go back to. All of them can, or none does.
    fn planned(&self, project: &Project) -> Result<FilesDocument, Failure> {
        let state = project.state();
        let mut planned = FilesDocument::default();
        for job in jobs(project, &state, &self.names) {
            let (record, _) = job.way_back()?;
            // The target that was delivered to: the manifest may name another one by now.
            let to = record.target.clone();
            planned.files.push(DeliveredFolderDocument { to, ..DeliveredFolderDocument::of(&job, &record) });
        }
        Ok(planned)
    }
}

impl Operation for Rollback {
    fn announcement(&self) -> Message {
        message!("will-roll-files-back", targets = Listed::of(&self.names))
    }

    fn command(&self) -> String {
        format!("dpl files rollback {}", typed(&self.names))
    }

    fn place(&self) -> WorkPlace {
        if self.restart.is_empty() { WorkPlace::Here } else { WorkPlace::Engine }
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        self.planned(project)?;
        session.confirm(&message!("confirm-files-rollback", names = Listed::of(&self.names)))
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let planned = self.planned(project)?;
        for folder in &planned.files {
            let since = folder.kept_since.as_deref().unwrap_or_default();
            session.output.say(&message!("would-roll-files-back", name = &folder.name, since = since));
        }
        Shown::of(&planned)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let state = project.state();
        let jobs = jobs(project, &state, &self.names);
        for job in &jobs {
            job.recover(reporter)?;
        }
        settle(&self.planned(project)?, reporter)?;
        let mut done = FilesAppliedDocument::default();
        for job in &jobs {
            let mut due = services_named(project.manifest(), &job.folder.restart);
            let record = job.record()?;
            let earlier = record.restart_due;
            due.extend(earlier.into_iter().filter(|name| !due.contains(name)).collect::<Vec<_>>());
            let kept = job.rollback(&due, &jiff::Timestamp::now().to_string(), reporter)?;
            if let Some(path) = job.written_to_kept()? {
                session.output.warn(&message!("files-left-behind", name = job.name, path = path.display()));
            }
            done.files.push(AppliedFolder {
                name: job.name.to_owned(),
                to: record.target,
                swapped: true,
                kept: kept.map(|kept| kept.display().to_string()),
                ..AppliedFolder::default()
            });
        }
        done.restarted = restart(&jobs, &self.restart, project, session, reporter)?;
        let (count, time) = (done.files.len(), begun.elapsed().as_secs_f64());
        session.output.say(&message!("files-rollback-done", count = count, time = time));
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
    fn the_journal_has_a_rollback_with_all_its_flags() {
        assert_typed_again(&["dpl files rollback modules conf"], &[], |command| match command {
            Command::Files(FilesCommand::Rollback(targets)) => {
                Rollback { names: targets.targets, restart: Vec::new() }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
