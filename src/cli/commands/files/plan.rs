//! `files plan`: what an apply would do, and why it would not.

use clap::Args;

use super::page::{self, Paths};
use super::targets::{FilesTargets, LocalArguments, jobs};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::files::{Digests, FilesPlanDocument, FolderPlanDocument, Job, LocalChoice, Look};
use crate::manifest::model::{DeliveredFolder, MountKind};
use crate::manifest::{Manifest, services_named};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct FilesPlanArguments {
    #[command(flatten)]
    pub targets: FilesTargets,
    #[command(flatten)]
    pub local: LocalArguments,
    /// Name every path, not the counts alone
    #[arg(long)]
    pub paths: bool,
}

/// `dpl files plan`.
pub fn run(arguments: &FilesPlanArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, names) = arguments.targets.chosen(session)?;
    let choice = arguments.local.choice();
    let planned = Planned::new(&project, &names, choice, &mut Digests::default(), &Reporter::default())?;
    let paths = if arguments.paths { Paths::All } else { Paths::Counted };
    planned.show(paths, session)?;
    if session.output.json {
        session.output.document(&planned.document)?;
    }
    Ok(0)
}

/// What would be done to each folder.
pub struct Planned {
    pub looks: Vec<Look>,
    pub document: FilesPlanDocument,
    /// What to say beside the counts.
    notices: Vec<Message>,
}

impl Planned {
    pub fn new(
        project: &Project,
        names: &[String],
        choice: LocalChoice,
        digests: &mut Digests,
        reporter: &Reporter,
    ) -> Result<Self, Failure> {
        let state = project.state();
        let (mut looks, mut notices) = (Vec::new(), Vec::new());
        let mut document = FilesPlanDocument { restart: restarts(project.manifest(), names), ..Default::default() };
        for job in jobs(project, &state, names) {
            let look = job.look(choice, digests, reporter)?;
            notices.extend(look.notices(job.name));
            if look.has_work() {
                notices.extend(stale_mounts(&job, project.manifest(), &document.restart));
            }
            document.files.push(FolderPlanDocument::of(&job, &look));
            looks.push(look);
        }
        Ok(Self { looks, document, notices })
    }

    pub fn has_work(&self) -> bool {
        self.looks.iter().any(Look::has_work)
    }

    /// The counts, and what else is to be known.
    pub fn show(&self, paths: Paths, session: &Session) -> Result<(), Failure> {
        if session.output.json {
            return Ok(());
        }
        session.output.data(&page::plan(&self.document, paths, &session.output))?;
        self.notices.iter().for_each(|notice| session.output.warn(notice));
        if self.has_work() && !self.document.restart.is_empty() {
            session.output.say(&message!("files-would-restart", services = Listed::of(&self.document.restart)));
        }
        Ok(())
    }

    /// That somebody changed what would be undone, and nobody decided about it.
    pub fn undecided(&self, names: &[String], choice: LocalChoice) -> Vec<Failure> {
        let each = names.iter().zip(&self.looks);
        each.filter_map(|(name, look)| look.ensure_decided(name, choice).err()).map(Failure::from).collect()
    }
}

/// The services that an apply of these folders restarts, by number.
pub fn restarts(manifest: &Manifest, names: &[String]) -> Vec<String> {
    let folders = names.iter().filter_map(|name| manifest.files.get(name));
    let patterns: Vec<String> = folders.flat_map(|folder| folder.restart.iter().cloned()).collect();
    services_named(manifest, &patterns)
}

/// A container keeps the folder that it was started with: one that mounts the target itself sees the new one when it is restarted.
fn stale_mounts(job: &Job<'_>, manifest: &Manifest, restarted: &[String]) -> Option<Message> {
    let DeliveredFolder { to, .. } = job.folder;
    let mounts = |name: &str| {
        let service = manifest.services.get(name);
        let mut volumes = service.into_iter().flat_map(|service| &service.volumes);
        volumes.any(|mount| {
            mount.kind == MountKind::Bind
                && mount.source.as_ref().is_some_and(|source| std::path::Path::new(source).starts_with(to))
        })
    };
    let stale: Vec<&str> =
        manifest.services.names().filter(|name| mounts(name) && !restarted.iter().any(|other| other == name)).collect();
    (!stale.is_empty()).then(|| message!("files-stale-mounts", services = Listed::of(&stale), name = job.name))
}
