//! Which delivered folders are meant.

use std::sync::Arc;

use clap::Args;

use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::files::{Job, LocalChoice};
use crate::state::StateDir;

#[derive(Debug, Args)]
pub struct FilesTargets {
    /// A manifest (.json), and delivered folders in it, by name; all where none is named
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LocalArguments {
    /// Keep what somebody changed in the targets since they were delivered; without it, such changes are an error
    #[arg(long, conflicts_with = "overwrite")]
    pub keep_local: bool,
    /// Overwrite what somebody changed in the targets since they were delivered; without it, such changes are an error
    #[arg(long)]
    pub overwrite: bool,
}

impl LocalArguments {
    pub fn choice(self) -> LocalChoice {
        match (self.keep_local, self.overwrite) {
            (true, _) => LocalChoice::Keep,
            (_, true) => LocalChoice::Overwrite,
            _ => LocalChoice::Undecided,
        }
    }
}

impl FilesTargets {
    /// The project, and the folders that are meant: all where none is named.
    pub fn chosen(&self, session: &mut Session) -> Result<(Arc<Project>, Vec<String>), Failure> {
        let (project, selectors) = session.targets(&self.targets)?;
        let names = select::files(project.manifest(), &selectors, Unselected::All)?;
        match names.is_empty() {
            false => Ok((project, names)),
            true => Err(Failure::usage_with_hint(message!("usage-no-files"), message!("hint-add-files"))),
        }
    }
}

/// The folders of these names, to be worked on.
pub fn jobs<'p>(project: &'p Project, state: &'p StateDir, names: &'p [String]) -> Vec<Job<'p>> {
    let manifest = project.manifest();
    let known = names.iter().filter_map(|name| manifest.files.get_key_value(name));
    known.map(|(name, folder)| Job { name: name.as_str(), folder, manifest, state }).collect()
}
