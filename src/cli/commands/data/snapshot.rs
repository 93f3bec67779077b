//! `data snapshot`.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::place::{DataTargets, folders, open, password_source, repository_folder};
use super::users::{Meanwhile, halted_users, warn_of_users, while_halted};
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::folders::{self, Access, DataFolder, FoldersError, SnapshotDocument, SnapshotReport, SnapshotsDocument};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct SnapshotArguments {
    #[command(flatten)]
    pub targets: DataTargets,
    /// Stop the services of used_by that run, and start them again afterwards
    #[arg(long, conflicts_with = "pause")]
    pub stop: bool,
    /// Pause them instead: shorter, and what they have not written yet is missing
    #[arg(long)]
    pub pause: bool,
    /// Take a snapshot of a folder without files too where the one before has some
    #[arg(long)]
    pub allow_empty: bool,
}

/// Takes snapshots.
#[derive(Debug)]
struct TakeSnapshots {
    names: Vec<String>,
    meanwhile: Meanwhile,
    allow_empty: bool,
}

/// `dpl data snapshot`.
pub fn run(arguments: &SnapshotArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let names = select::data(project.manifest(), &selectors, Unselected::All)?;
    if names.is_empty() {
        return Err(Failure::usage_with_hint(message!("usage-no-data"), message!("hint-add-data")));
    }
    let meanwhile = Meanwhile::of(arguments.stop, arguments.pause);
    operations::act(&TakeSnapshots { names, meanwhile, allow_empty: arguments.allow_empty }, &project, session)
}

impl TakeSnapshots {
    fn plan(&self, project: &Project) -> Result<SnapshotsDocument, Failure> {
        repository_folder(project)?;
        password_source(project)?;
        let would = |folder: DataFolder| {
            let path = folder.path.display().to_string();
            let snapshot = SnapshotDocument { data: folder.name, path, ..SnapshotDocument::default() };
            SnapshotReport { snapshot, ..SnapshotReport::default() }
        };
        let snapshots = folders(project, &self.names)?.into_iter().map(would).collect();
        let stops = halted_users(project, &self.names, self.meanwhile);
        Ok(SnapshotsDocument { snapshots, stops })
    }

    fn take(&self, project: &Project, reporter: &Reporter) -> Result<SnapshotsDocument, Failure> {
        let store = open(project, Access::Shared)?;
        let mut taken = SnapshotsDocument::default();
        let chosen = folders(project, &self.names)?;
        if !self.allow_empty {
            // Before the first is taken: all or none.
            chosen.iter().try_for_each(|folder| folders::refuse_emptied(&store, folder))?;
        }
        for folder in chosen {
            taken.snapshots.push(folders::take_snapshot(&store, &folder, &[], reporter)?);
        }
        Ok(taken)
    }
}

/// An error for each folder of which files are missing.
pub fn losses<'r>(reports: impl Iterator<Item = (&'r str, &'r [folders::TroubleDocument])>) -> Vec<Failure> {
    let lost = reports.map(|(name, troubles)| (name, troubles.iter().filter(|trouble| trouble.is_loss).count()));
    let error = |(name, count): (&str, usize)| FoldersError::Incomplete { name: name.to_owned(), count };
    lost.filter(|(_, count)| *count > 0).map(|lost| error(lost).into()).collect()
}

impl Operation for TakeSnapshots {
    fn announcement(&self) -> Message {
        message!("will-snapshot", targets = Listed::of(&self.names))
    }

    fn command(&self) -> String {
        let allow_empty = if self.allow_empty { " --allow-empty" } else { "" };
        format!("dpl data snapshot {}{}{allow_empty}", typed(&self.names), self.meanwhile.flag())
    }

    fn place(&self) -> WorkPlace {
        if self.meanwhile == Meanwhile::Run { WorkPlace::Here } else { WorkPlace::Engine }
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let plan = self.plan(project)?;
        for report in &plan.snapshots {
            let SnapshotDocument { data, path, .. } = &report.snapshot;
            session.output.say(&message!("would-snapshot", name = data, path = path));
        }
        if !plan.stops.is_empty() {
            session.output.say(&message!("data-would-stop", services = Listed::of(&plan.stops)));
        }
        Shown::of(&plan)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let plan = self.plan(project)?;
        settle(&plan, reporter)?;
        let stops = plan.stops;
        let mut taken = match stops.is_empty() {
            true => {
                warn_of_users(project, &self.names, session)?;
                self.take(project, reporter)?
            }
            false => while_halted(project, (self.meanwhile, stops.clone()), session, reporter, |_| {
                self.take(project, reporter)
            })?,
        };
        taken.stops = stops;
        let reports = taken.snapshots.iter().map(|report| (report.snapshot.data.as_str(), &report.troubles[..]));
        let failures = losses(reports);
        match failures.is_empty() {
            true => document(&taken),
            false => Err(Failure::Some { document: document(&taken)?, failures }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DataCommand;
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_snapshot_with_all_its_flags() {
        assert_typed_again(
            &["dpl data snapshot expert wheels --stop", "dpl data snapshot expert --pause --allow-empty"],
            &[],
            |command| match command {
                Command::Data(DataCommand::Snapshot(SnapshotArguments { targets, stop, pause, allow_empty })) => {
                    let meanwhile = Meanwhile::of(stop, pause);
                    TakeSnapshots { names: targets.targets, meanwhile, allow_empty }.command()
                }
                other => panic!("{other:?}"),
            },
        );
    }
}
