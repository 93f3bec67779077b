//! `sites`: the project's other machines, and with `--check` whether each can be used.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use futures::stream;
use schemars::JsonSchema;
use serde::Serialize;

use super::{SitesFile, read, remote, select, table_of_sites};
use crate::catalogue::Catalogue;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::manifest::Site;
use crate::sites::{Facts, facts, shown_message};

#[derive(Debug, Args)]
pub struct SitesArguments {
    /// Connect to each, and show whether it can be used; exit code 1 when one can't
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub file: SitesFile,
    /// Sites: names, globs, @groups
    #[arg(value_name = "SITE")]
    pub targets: Vec<String>,
}

/// What `sites --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SitesReport {
    pub sites: Vec<SiteReport>,
}

/// A site.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SiteReport {
    pub name: String,
    /// Its ssh address; none for a site without a connection.
    pub ssh: Option<String>,
    /// The project's folder there.
    pub folder: Option<String>,
    pub groups: Vec<String>,
    /// Whether it can be used; only with `--check`.
    pub ok: Option<bool>,
    /// Why it can't be used.
    pub problem: Option<String>,
    /// What is worth knowing before work is done there.
    pub warnings: Vec<String>,
    /// The user's number there.
    pub user: Option<String>,
    /// The machine's architecture.
    pub architecture: Option<String>,
    /// Where this program lies there.
    pub program: Option<String>,
    /// The engine's version.
    pub engine: Option<String>,
    /// The engine's kind of store.
    pub store: Option<String>,
    /// Free bytes in the project's folder.
    pub folder_free: Option<u64>,
    /// Free bytes where the engine keeps its data.
    pub engine_free: Option<u64>,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
}

/// So long one site may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// At so many at once.
const AT_ONCE: usize = 16;
/// Clocks that are further apart make the order of backups and actions hard to tell.
const CLOCKS_APART_MS: i64 = 60_000;

/// `dpl sites`.
pub fn run(arguments: &SitesArguments, session: &mut Session) -> Result<u8, Failure> {
    let list = read(&arguments.file, session)?;
    let everything = ["all".to_owned()];
    let selectors = if arguments.targets.is_empty() { &everything[..] } else { &arguments.targets };
    let sites = select(&list, selectors)?;
    let (runtime, catalogue) = (session.runtime()?, session.output.catalogue);
    let reports: Vec<SiteReport> = match arguments.check {
        false => sites.iter().map(|(name, site)| listed(name, site, catalogue)).collect(),
        true => runtime.block_on(async {
            let checks = sites.iter().map(|(name, site)| async move {
                let mut report = listed(name, site, catalogue);
                if report.problem.is_none() && site.ssh.is_some() {
                    check(&mut report, name, site, catalogue).await;
                }
                report.ok = report.ssh.is_some().then_some(report.problem.is_none());
                report
            });
            stream::iter(checks).buffered(AT_ONCE).collect().await
        }),
    };
    let all_well = reports.iter().all(|report| report.ok != Some(false) && report.problem.is_none());
    let report = SitesReport { sites: reports };
    match session.output.json {
        true => session.output.document(&report)?,
        false => session.output.data(&table_of_sites::draw(&report, arguments.check, &session.output))?,
    }
    Ok(u8::from(arguments.check && !all_well))
}

fn listed(name: &str, site: &Site, catalogue: &Catalogue) -> SiteReport {
    SiteReport {
        name: name.to_owned(),
        ssh: site.ssh.clone(),
        folder: site.folder.clone(),
        groups: site.groups.clone(),
        ok: None,
        problem: site.problem.as_ref().map(|problem| catalogue.text(problem)),
        warnings: Vec::new(),
        user: None,
        architecture: None,
        program: None,
        engine: None,
        store: None,
        folder_free: None,
        engine_free: None,
        clock_ahead_ms: None,
    }
}

async fn check(report: &mut SiteReport, name: &str, site: &Site, catalogue: &'static Catalogue) {
    let looked = async {
        let remote = remote(name, site)?;
        Ok::<_, Failure>(facts(&remote, site.folder.clone().map(PathBuf::from)).await?)
    };
    let (facts, ahead) = match tokio::time::timeout(ANSWER, looked).await {
        Ok(Ok(found)) => found,
        Ok(Err(failure)) => {
            report.problem = Some(failure.in_words(catalogue));
            return;
        }
        Err(_) => {
            report.problem = Some(catalogue.text(&message!("site-silent", seconds = ANSWER.as_secs())));
            return;
        }
    };
    let Facts { user, architecture, program, engine, engine_problem, folder_free, engine_free, folder_problem, .. } =
        facts;
    report.problem = engine_problem
        .map(|why| catalogue.text(&message!("site-engine-problem", why = shown_message(&why.message()))))
        .or(folder_problem
            .map(|why| catalogue.text(&message!("site-folder-problem", why = shown_message(&why.message())))));
    if facts.kills_user_processes {
        report.warnings.push(catalogue.text(&message!("site-kills-processes")));
    }
    if facts.forced_command {
        report.warnings.push(catalogue.text(&message!("site-forced-command")));
    }
    if ahead.abs() > CLOCKS_APART_MS {
        let seconds = ahead.abs() / 1000;
        report.warnings.push(match ahead > 0 {
            true => catalogue.text(&message!("site-clock-ahead", seconds = seconds)),
            false => catalogue.text(&message!("site-clock-behind", seconds = seconds)),
        });
    }
    report.user = Some(user);
    report.architecture = Some(architecture);
    report.program = Some(program).filter(|path| !path.is_empty());
    (report.engine, report.store) = match engine {
        Some(engine) => (Some(engine.version), Some(engine.store)),
        None => (None, None),
    };
    (report.folder_free, report.engine_free) = (folder_free, engine_free);
    report.clock_ahead_ms = Some(ahead);
}
