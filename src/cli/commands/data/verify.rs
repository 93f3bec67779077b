//! `data verify`.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::place::{DataTargets, folders, open};
use crate::cli::grammar::typed::typed;
use crate::cli::grammar::values::number;
use crate::cli::session::operations::{self, Operation, Shown, document};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::folders::{self, Access, DataVerifyDocument, FoldersError, ReadData, Snapshot, Store};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct VerifySnapshotsArguments {
    #[command(flatten)]
    pub targets: DataTargets,
    /// Read the data too: all of it, or so many percent that chance chooses [default: the structure alone]
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "100", require_equals = true)]
    #[arg(value_parser = number(1..=100_u8))]
    pub read_data: Option<u8>,
}

/// Verifies snapshots.
#[derive(Debug)]
struct VerifySnapshots {
    names: Vec<String>,
    read_data: Option<u8>,
}

/// `dpl data verify`.
pub fn run(arguments: &VerifySnapshotsArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let names = select::data(project.manifest(), &selectors, Unselected::All)?;
    operations::act(&VerifySnapshots { names, read_data: arguments.read_data }, &project, session)
}

impl VerifySnapshots {
    fn depth(&self) -> ReadData {
        match self.read_data {
            None => ReadData::Nothing,
            Some(100) => ReadData::All,
            Some(percent) => ReadData::Percent(f64::from(percent)),
        }
    }

    fn snapshots(&self, project: &Project, store: &Store) -> Result<Vec<Snapshot>, Failure> {
        let mut all = Vec::new();
        for folder in folders(project, &self.names)? {
            all.extend(folders::snapshots_of(store, &folder)?);
        }
        Ok(all)
    }
}

impl Operation for VerifySnapshots {
    fn announcement(&self) -> Message {
        message!("will-verify-snapshots", targets = Listed::of(&self.names))
    }

    fn command(&self) -> String {
        let read = match self.read_data {
            None => String::new(),
            Some(100) => " --read-data".to_owned(),
            Some(percent) => format!(" --read-data={percent}"),
        };
        format!("dpl data verify {}{read}", typed(&self.names))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let snapshots = self.snapshots(project, &open(project, Access::Look)?)?;
        session.output.say(&message!("would-verify-snapshots", count = snapshots.len()));
        let snapshots = snapshots.into_iter().map(|snapshot| snapshot.id).collect();
        let read_percent = f64::from(self.read_data.unwrap_or_default());
        Shown::of(&DataVerifyDocument { snapshots, read_percent, damage: Vec::new() })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = open(project, Access::Shared)?;
        let snapshots = self.snapshots(project, &store)?;
        let verified = folders::verify(&store, &snapshots, self.depth(), reporter)?;
        for damage in &verified.damage {
            session.output.warn(&message!("words", text = damage));
        }
        match verified.damage.len() {
            0 => {
                session.output.say(&message!("data-verified", count = verified.snapshots.len()));
                document(&verified)
            }
            count => {
                let error = FoldersError::Damaged { path: store.folder().to_owned(), count };
                Err(Failure::Some { document: document(&verified)?, failures: vec![error.into()] })
            }
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
    fn the_journal_has_a_verification_with_all_its_flags() {
        let lines = ["dpl data verify expert --read-data", "dpl data verify expert wheels --read-data=20"];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Data(DataCommand::Verify(VerifySnapshotsArguments { targets, read_data })) => {
                VerifySnapshots { names: targets.targets, read_data }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
