//! Services that read what was delivered, restarted afterwards: those that run.

use crate::cli::session::stopped_services::act;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::files::Job;
use crate::report::{Listed, Reporter};
use crate::services::{Action, Observed};

/// Restarts those of `named` that a swap of these folders made due, and notes it. Services that do not run stay down: they read
/// the new files when they start.
pub fn restart(
    jobs: &[Job<'_>],
    named: &[String],
    project: &Project,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Vec<String>, Failure> {
    let mut due = Vec::new();
    for job in jobs {
        due.extend(job.record()?.restart_due);
    }
    let due: Vec<&String> = named.iter().filter(|name| due.contains(name)).collect();
    let mut restarted = Vec::new();
    if !due.is_empty() {
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        restarted = runtime.block_on(async {
            let observed = Observed::look(&engine, project.manifest()).await?;
            let running: Vec<String> = due.into_iter().filter(|name| observed.runs(name)).cloned().collect();
            act(&engine, project, (Action::Restart, running.clone()), reporter).await.map_err(Failure::Work)?;
            Ok::<_, Failure>(running)
        })?;
    }
    for job in jobs {
        job.note_restarted()?;
    }
    if !restarted.is_empty() {
        session.output.say(&message!("files-restarted", services = Listed::of(&restarted)));
    }
    Ok(restarted)
}
