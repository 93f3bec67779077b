//! `files list` and `files status`.

use super::page;
use super::targets::{FilesTargets, jobs};
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::files::{
    DeliveredFolderDocument, Digests, FilesDocument, FilesStatusDocument, FolderStatus, Job, LocalEditDocument,
};
use crate::report::Reporter;

/// `dpl files list`.
pub fn list(targets: &FilesTargets, session: &mut Session) -> Result<u8, Failure> {
    let (project, names) = targets.chosen(session)?;
    let state = project.state();
    let folder = |job: Job<'_>| Ok::<_, Failure>(DeliveredFolderDocument::of(&job, &job.record()?));
    let files = jobs(&project, &state, &names).into_iter().map(folder).collect::<Result<Vec<_>, _>>()?;
    let listed = FilesDocument { files };
    match session.output.json {
        true => session.output.document(&listed)?,
        false => session.output.data(&page::list(&listed, session.output.catalogue, session.output.width()))?,
    }
    Ok(0)
}

/// `dpl files status`.
pub fn status(targets: &FilesTargets, session: &mut Session) -> Result<u8, Failure> {
    let (project, names) = targets.chosen(session)?;
    let state = project.state();
    let mut digests = Digests::default();
    let mut status = FilesStatusDocument::default();
    for job in jobs(&project, &state, &names) {
        let edits = job.local_edits(&mut digests, &Reporter::default())?;
        let local = edits.map(|edits| edits.iter().map(LocalEditDocument::of).collect());
        let folder = DeliveredFolderDocument::of(&job, &job.record()?);
        status.files.push(FolderStatus { folder, local });
    }
    match session.output.json {
        true => session.output.document(&status)?,
        false => session.output.data(&page::status(&status, session.output.catalogue))?,
    }
    Ok(0)
}
