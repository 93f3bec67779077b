//! What was meant where `save` and `load` were given an archive or an image: both take services.

use std::path::Path;
use std::sync::Arc;

use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::operations::services_of;
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::manifest::Reference;
use crate::report::{Message, Told as _};

/// How archives of images are called.
const ARCHIVE_ENDINGS: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".tar.bz2", ".oci"];

/// The services that a command names, and the project that they belong to.
pub fn services_to(
    command: &str,
    arguments: &TargetArguments,
    session: &mut Session,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    services_of(arguments, session, Unselected::All).map_err(|failure| match &failure {
        Failure::Selector(error) => match hint(command, arguments, session) {
            Some(hint) => Failure::usage_with_hint(message!("usage-text", text = error.message()), hint),
            None => failure,
        },
        _ => failure,
    })
}

fn hint(command: &str, arguments: &TargetArguments, session: &mut Session) -> Option<Message> {
    let (project, targets) = session.targets(&arguments.targets).ok()?;
    if let Some(file) = targets.iter().find(|target| is_archive(target)) {
        return Some(message!("hint-import-archive", command = command, file = file));
    }
    let reference = targets.iter().find(|target| target.contains([':', '/']))?.parse::<Reference>().ok()?;
    let users: Vec<&str> = project
        .manifest()
        .services
        .iter()
        .filter(|(_, _, service)| service.image == reference)
        .map(|(_, name, _)| name)
        .collect();
    Some(match users.is_empty() {
        true => message!("hint-services-not-images", command = command, image = reference),
        false => message!("hint-services-of-image", command = command, services = users.join(" ")),
    })
}

fn is_archive(target: &str) -> bool {
    ARCHIVE_ENDINGS.iter().any(|ending| target.ends_with(ending))
        || (target.contains('/') && Path::new(target).is_file())
}
