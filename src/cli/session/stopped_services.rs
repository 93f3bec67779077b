//! Services that an action stops for a moment, and that are to run again when it ends, even where it was interrupted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::DependentsError;
use crate::engine::Engine;
use crate::report::{Listed, Reporter, Told as _};
use crate::services::{
    self, Action, Dependencies, Depth, ExecuteOptions, Observed, Options, Recreate, Request, Snapshot, plan,
};
use crate::state::{StateError, in_one_line, note_stopped_services, stopped_services};

/// Starts or stops services as they are, without what they depend on.
pub async fn act(
    engine: &Engine,
    project: &Project,
    (action, services): (Action, Vec<String>),
    reporter: &Reporter,
) -> Result<(), DependentsError> {
    if services.is_empty() {
        return Ok(());
    }
    let manifest = project.manifest();
    let options = Options { dependencies: Dependencies::Leave, recreate: Recreate::Never, ..Options::default() };
    let request = Request { action, selection: services, options };
    let snapshot = Snapshot::take(engine, manifest, &request, Depth::WithHelpers).await?;
    let first = plan(&request, manifest, &snapshot)?;
    services::run(engine, manifest, &request, first, &ExecuteOptions::default(), reporter).await?;
    Ok(())
}

/// Starts services, and waits until they are ready.
pub async fn start_services(
    engine: &Engine,
    project: &Project,
    services: Vec<String>,
    reporter: &Reporter,
) -> Result<(), DependentsError> {
    act(engine, project, (Action::Start, services), reporter).await
}

/// Starts what an interrupted action had stopped for a moment and nobody has started since. What keeps it from that is a
/// warning: the action in hand is another one.
pub fn put_back(project: &Arc<Project>, session: &mut Session, reporter: &Reporter) {
    let state = project.state();
    let noted = match stopped_services(&state) {
        Ok(noted) if noted.is_empty() => return,
        Ok(noted) => noted,
        // The action in hand is another one, and may have been done well.
        Err(error) => {
            reporter.warn(message!("stopped-unread", why = in_one_line(&error)));
            return;
        }
    };
    let names = Listed::of(&noted);
    // A service that the manifest has no more can't be started from it.
    let known: Vec<String> = noted.into_iter().filter(|name| project.manifest().services.get(name).is_some()).collect();
    let started = (|| {
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        runtime.block_on(async {
            let snapshot = Observed::look(&engine, project.manifest()).await?;
            // An engine that came back may have brought them back; of several containers maybe not each.
            let down: Vec<&str> = known.iter().map(String::as_str).filter(|name| !snapshot.runs(name)).collect();
            if !down.is_empty() {
                reporter.warn(message!("stopped-put-back", services = Listed::of(&down)));
            }
            // What the operator asked to stop is the action in hand, not this.
            start_services(&engine, project, known, &reporter.undisturbed()).await.map_err(Failure::Work)
        })?;
        Ok::<_, Failure>(note_stopped_services(&state, &BTreeSet::new())?)
    })();
    if let Err(failure) = started {
        let message = message!("stopped-not-put-back", services = names, why = failure.message());
        reporter.warn(message);
    }
}

/// Services that the operator stops or removes are not to be put back.
pub fn forget_stopped(project: &Project, services: &[String]) -> Result<(), StateError> {
    let state = project.state();
    let mut noted = stopped_services(&state)?;
    let before = noted.len();
    noted.retain(|name| !services.contains(name));
    if noted.len() == before { Ok(()) } else { note_stopped_services(&state, &noted) }
}
