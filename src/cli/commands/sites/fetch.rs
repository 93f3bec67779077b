//! `fetch`: database backups and the journal of sites, brought here; with `--support` what a support case needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{SitesFile, read, remote, select, support};
use crate::cli::commands::databases::operator;
use crate::cli::session::operations::{self, Operation, Shown, document, path, settle};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column, size};
use crate::databases::BackupDocument;
use crate::manifest::{Rate, Site};
use crate::report::{Listed, Message, Reporter, Told as _};
use crate::sites::{
    BackupOffer, BackupsRequest, Fetched, Fetching, ProjectPlace, Remote, SitesError, offered_backups, shown,
    shown_message,
};

#[derive(Debug, Args)]
pub struct FetchArguments {
    #[command(flatten)]
    pub file: SitesFile,
    /// The site, or several: a name, a glob, @GROUP
    #[arg(value_name = "SITE")]
    pub site: String,
    /// A manifest (.json), and databases of the site or IDs of backups there [default: all databases]
    #[arg(value_name = "DATABASE")]
    pub names: Vec<String>,
    /// All backups of each database, not the newest alone
    #[arg(long)]
    pub all: bool,
    /// The journal alone
    #[arg(long, conflicts_with_all = ["all", "names"])]
    pub journal: bool,
    /// The most that it takes of the line, for example 20MB/s [default: `limit` of the site]
    #[arg(long, value_name = "RATE")]
    pub limit: Option<String>,
    /// What a support case needs, in one tar with secrets masked: doctor, status, history, configuration, the last logs
    #[arg(long, requires = "output", conflicts_with_all = ["all", "journal", "names"])]
    pub support: bool,
    /// The tar to write with --support; `-` is standard output [default: none]
    #[arg(short, long, value_name = "FILE", requires = "support")]
    pub output: Option<PathBuf>,
}

/// What `fetch --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct FetchReport {
    pub sites: Vec<SiteFetchReport>,
}

/// What was fetched from a site.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct SiteFetchReport {
    pub site: String,
    /// The folder here that all of it lies in.
    pub folder: String,
    pub backups: Vec<FetchedBackup>,
    /// The site's journal here; none in a dry run, and where there is none.
    pub journal: Option<FetchedJournalReport>,
    /// Why not all of it could be fetched.
    pub problem: Option<Message>,
}

/// A backup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FetchedBackup {
    pub id: String,
    pub database: String,
    /// RFC 3339, UTC, by the site's clock.
    pub created_at: String,
    pub bytes: u64,
    pub state: FetchState,
    /// Why it could not be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Message>,
    /// The backup here, once it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupDocument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FetchState {
    /// It was brought here, and its digests are right.
    Fetched,
    /// It was here already.
    Present,
    /// A dry run: it would be fetched.
    Missing,
    Failed,
}

/// The journal of a site here.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FetchedJournalReport {
    pub path: String,
    pub bytes: u64,
    /// How many of them are new.
    pub new_bytes: u64,
}

/// `dpl fetch`.
pub fn run(arguments: &FetchArguments, session: &mut Session) -> Result<u8, Failure> {
    let limit = arguments.limit.as_deref().map(rate).transpose()?;
    let (project, names) = match arguments.support {
        true => (None, Vec::new()),
        false => {
            let (project, names) = session.targets(&arguments.names)?;
            (Some(project), names)
        }
    };
    let list = read(&arguments.file, session)?;
    let sites = select(&list, std::slice::from_ref(&arguments.site))?;
    let (Some(project), None) = (project, &arguments.output) else {
        let [(name, site)] = sites.as_slice() else {
            return Err(Failure::usage(message!("usage-one-site", selector = &arguments.site)));
        };
        return support::run(name, site, arguments.output.as_deref().unwrap_or("-".as_ref()), session);
    };
    // What can't be used at all is told before anything is fetched.
    for (name, site) in &sites {
        remote(name, site)?;
    }
    operations::act(&Fetch { sites, names, all: arguments.all, journal: arguments.journal, limit }, &project, session)
}

fn rate(text: &str) -> Result<Rate, Failure> {
    text.parse::<Rate>()
        .map_err(|error| Failure::usage(message!("usage-flag-value", flag = "--limit", why = error.message())))
}

/// Brings backups and journals here.
#[derive(Debug)]
struct Fetch {
    sites: Vec<(String, Site)>,
    names: Vec<String>,
    all: bool,
    /// The journal alone.
    journal: bool,
    limit: Option<Rate>,
}

/// What is at a site, and how it is fetched.
struct Plan {
    site: String,
    folder: PathBuf,
    remote: Remote,
    place: ProjectPlace,
    offers: Vec<(BackupOffer, bool)>,
    limit: Option<u64>,
}

impl Plan {
    fn fetching(&self) -> Fetching<'_> {
        Fetching {
            remote: &self.remote,
            project: self.place.clone(),
            folder: self.folder.clone(),
            limit: self.limit,
            operator: operator(),
        }
    }
}

impl Fetch {
    fn plan(&self, name: &str, site: &Site, project: &Project, session: &mut Session) -> Result<Plan, Failure> {
        let backups = path(project.manifest().paths.backups.as_deref(), "backups")?;
        let place = ProjectPlace {
            folder: site.folder.clone().unwrap_or_default().into(),
            manifest: site.manifest.clone(),
            variables: site.variables.clone(),
        };
        let mut plan = Plan {
            site: name.to_owned(),
            folder: backups.join("sites").join(name),
            remote: remote(name, site)?,
            place,
            offers: Vec::new(),
            limit: self.limit.or(site.limit).map(|Rate(bytes)| bytes),
        };
        let request = BackupsRequest { project: plan.place.clone(), names: self.names.clone(), all: self.all };
        let remote = &plan.remote;
        let offers = session.wait_for(async {
            remote.connect_first().await?;
            match self.journal {
                true => Ok(Vec::new()),
                false => Ok(offered_backups(remote, request).await?),
            }
        })?;
        let fetching = plan.fetching();
        let offers = offers.into_iter().map(|offer| {
            let is_here = fetching.has(&offer);
            (offer, is_here)
        });
        plan.offers = offers.collect();
        Ok(plan)
    }

    fn fetch(&self, plan: &Plan, session: &mut Session, reporter: &Reporter) -> Result<FetchedSite, Failure> {
        let runtime = session.runtime()?;
        let fetching = plan.fetching();
        let mut report = blank(plan);
        let mut failures = Vec::new();
        for (offer, _) in &plan.offers {
            if reporter.asked_to_stop() {
                return Err(Failure::Interrupted);
            }
            let mut line = FetchedBackup {
                id: offer.id.clone(),
                database: offer.database.clone(),
                created_at: offer.created_at.clone(),
                bytes: offer.bytes,
                state: FetchState::Failed,
                problem: None,
                backup: None,
            };
            if let Some(problem) = &offer.problem {
                let refused = SitesError::Refused { site: plan.site.clone(), why: problem.message() };
                let failure = Failure::from(refused);
                line.problem = Some(failure.message());
                failures.push(failure);
                report.backups.push(line);
                continue;
            }
            match runtime.block_on(fetching.backup(offer, reporter)) {
                Ok(Fetched::Now(backup)) => (line.state, line.backup) = (FetchState::Fetched, Some(backup)),
                Ok(Fetched::Before(backup)) => (line.state, line.backup) = (FetchState::Present, Some(backup)),
                Err(error) => {
                    let failure = Failure::from(error);
                    if failure.is_stop() {
                        return Err(failure);
                    }
                    line.problem = Some(failure.message());
                    let is_over = failure.exit_code() == 4;
                    failures.push(failure);
                    report.backups.push(line);
                    match is_over {
                        true => return Ok(FetchedSite { report, failures }),
                        false => continue,
                    }
                }
            }
            report.backups.push(line);
        }
        match runtime.block_on(fetching.journal(reporter)) {
            Ok(journal) => {
                report.journal = journal.map(|journal| FetchedJournalReport {
                    path: journal.path.display().to_string(),
                    bytes: journal.bytes,
                    new_bytes: journal.new_bytes,
                });
            }
            Err(error) => failures.push(error.into()),
        }
        Ok(FetchedSite { report, failures })
    }

    fn tell(&self, plans: &[Plan], session: &Session) -> Result<(), Failure> {
        let catalogue = session.output.catalogue;
        let title = |key| Column::new(catalogue.word(key));
        let columns = [
            title(message!("column-site")),
            title(message!("column-backup")).at_least(12),
            title(message!("column-size")).right(),
            title(message!("column-state")),
        ];
        let of_plan = |plan: &Plan| -> Vec<Vec<String>> {
            let row = |(offer, is_here): &(BackupOffer, bool)| {
                let state = match (&offer.problem, is_here) {
                    (Some(_), _) => catalogue.word(message!("fetch-unreadable")),
                    (None, true) => catalogue.word(message!("fetch-here")),
                    (None, false) => catalogue.word(message!("fetch-missing")),
                };
                vec![plan.site.clone(), shown(&offer.id), size(offer.bytes), state.to_owned()]
            };
            plan.offers.iter().map(row).collect()
        };
        let rows: Vec<_> = plans.iter().flat_map(of_plan).collect();
        let offers = || plans.iter().flat_map(|plan| &plan.offers);
        let missing = || offers().filter(|(offer, is_here)| !is_here && offer.problem.is_none());
        let bytes: u64 = missing().map(|(offer, _)| offer.bytes).sum();
        if !rows.is_empty() {
            session.output.data(&table::fitted(&columns, &rows, session.output.width()))?;
        }
        session.output.say(&message!("would-fetch", count = missing().count(), bytes = bytes));
        Ok(())
    }
}

/// What came of one site.
struct FetchedSite {
    report: SiteFetchReport,
    failures: Vec<Failure>,
}

fn blank(plan: &Plan) -> SiteFetchReport {
    SiteFetchReport { site: plan.site.clone(), folder: plan.folder.display().to_string(), ..SiteFetchReport::default() }
}

fn planned(plans: &[Plan]) -> FetchReport {
    let of_plan = |plan: &Plan| {
        let line = |(offer, is_here): &(BackupOffer, bool)| FetchedBackup {
            id: offer.id.clone(),
            database: offer.database.clone(),
            created_at: offer.created_at.clone(),
            bytes: offer.bytes,
            state: match (&offer.problem, is_here) {
                (Some(_), _) => FetchState::Failed,
                (None, true) => FetchState::Present,
                (None, false) => FetchState::Missing,
            },
            problem: offer.problem.as_ref().map(|problem| shown_message(&problem.message())),
            backup: None,
        };
        SiteFetchReport { backups: plan.offers.iter().map(line).collect(), ..blank(plan) }
    };
    FetchReport { sites: plans.iter().map(of_plan).collect() }
}

impl Operation for Fetch {
    fn announcement(&self) -> Message {
        message!("will-fetch", sites = Listed::of(self.site_names()))
    }

    fn command(&self) -> String {
        let flags = match (self.all, self.journal) {
            (true, _) => vec!["--all"],
            (_, true) => vec!["--journal"],
            _ => Vec::new(),
        };
        let words = ["dpl", "fetch"].into_iter().map(str::to_owned);
        let names = std::iter::once(self.site_names().join(",")).chain(self.names.iter().cloned());
        shell_words::join(words.chain(names).chain(flags.into_iter().map(str::to_owned)))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let plans = self.sites.iter().map(|(name, site)| self.plan(name, site, project, session));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        if !session.output.json {
            self.tell(&plans, session)?;
        }
        Shown::of(&planned(&plans))
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let mut all = FetchReport::default();
        let mut failures = Vec::new();
        for (name, site) in &self.sites {
            let plan = match self.plan(name, site, project, session) {
                Ok(plan) => plan,
                Err(failure) if self.sites.len() == 1 || failure.is_stop() => return Err(failure),
                Err(failure) => {
                    let problem = Some(failure.message());
                    all.sites.push(SiteFetchReport { site: name.clone(), problem, ..SiteFetchReport::default() });
                    failures.push(failure);
                    continue;
                }
            };
            settle(&planned(std::slice::from_ref(&plan)), reporter)?;
            let mut done = self.fetch(&plan, session, reporter)?;
            done.report.problem = done.failures.first().map(|failure| failure.message());
            all.sites.push(done.report);
            failures.append(&mut done.failures);
        }
        let backups = || all.sites.iter().flat_map(|site| &site.backups);
        let of = |state: FetchState| backups().filter(move |backup| backup.state == state);
        session.output.say(&message!(
            "fetch-done",
            fetched = of(FetchState::Fetched).count(),
            bytes = of(FetchState::Fetched).map(|backup| backup.bytes).sum::<u64>(),
            present = of(FetchState::Present).count(),
            time = begun.elapsed().as_secs_f64()
        ));
        let document = document(&all)?;
        match failures.is_empty() {
            true => Ok(document),
            false => Err(Failure::Some { document, failures }),
        }
    }
}

impl Fetch {
    fn site_names(&self) -> Vec<String> {
        self.sites.iter().map(|(name, _)| name.clone()).collect()
    }
}
