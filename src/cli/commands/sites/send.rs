//! `send`: brings a site what it lacks: images, the manifest and the files that it reads, seeds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::command::desk;
use super::contents::{ContentArguments, Offered};
use super::offered::{coming_texts, offer};
use super::{SitesFile, read, remote as connect, select, table_of_send};
use crate::cli::ask::prompt::Unanswered;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::progress::ProgressListener;
use crate::manifest::{Rate, Site};
use crate::report::{Listed, Reporter, Told as _};
use crate::sites::{
    InventoryRequest, Measured, PlanOptions, ProjectPlace, Remote, SendOrder, Sender, Sent, SitesError, TransferPlan,
    inventory_of, measure, plan_transfer, send as send_to,
};

#[derive(Debug, Args)]
pub struct SendArguments {
    #[command(flatten)]
    pub file: SitesFile,
    /// The site, or several: a name, a glob, @GROUP
    #[arg(value_name = "SITE")]
    pub site: String,
    #[command(flatten)]
    pub content: ContentArguments,
    /// Replace files and seeds that were changed at the site
    #[arg(long)]
    pub overwrite: bool,
    /// Also send layers to the site's store that only its engine has
    #[arg(long)]
    pub whole: bool,
    /// The most bytes a second, for example 20MB/s [default: the site's `limit`]
    #[arg(long, value_name = "RATE")]
    pub limit: Option<String>,
    /// Continue even if a disk there seems too small
    #[arg(long)]
    pub no_space_check: bool,
}

/// What `send --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SendReport {
    pub sites: Vec<SiteSent>,
}

/// A site, and what it got.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SiteSent {
    pub site: String,
    pub plan: TransferPlan,
    /// What the line gives, within the limit; null where it was not measured.
    pub bytes_per_second: Option<u64>,
    /// How long it should take.
    pub seconds_expected: Option<u64>,
    /// What was done; null for a plan alone.
    pub done: Option<SentReport>,
}

/// What was done at a site.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SentReport {
    /// Files that were put in place.
    pub placed: Vec<String>,
    /// Files that somebody changed there meanwhile, and that stay.
    pub kept: Vec<String>,
    /// Images that got their name.
    pub named: Vec<String>,
    /// Databases whose seeds were put in place.
    pub seeds: Vec<String>,
    /// Bytes of files that went over the line.
    pub bytes: u64,
    pub seconds: f64,
}

/// Less than that is sent sooner than the line is measured.
const WORTH_MEASURING: u64 = 4 << 20;

/// `dpl send`.
pub fn run(arguments: &SendArguments, session: &mut Session) -> Result<u8, Failure> {
    let limit = arguments
        .limit
        .as_deref()
        .map(str::parse::<Rate>)
        .transpose()
        .map_err(|error| Failure::usage(message!("usage-flag-value", flag = "--limit", why = error.message())))?;
    let (project, targets) = session.targets(&arguments.content.targets)?;
    let list = read(&arguments.file, session)?;
    let sites = select(&list, std::slice::from_ref(&arguments.site))?;
    let count = sites.len();
    let mut report = SendReport { sites: Vec::new() };
    let mut result = Ok(());
    for (number, (name, site)) in sites.iter().enumerate() {
        if count > 1 {
            session.output.say(&message!("site-next", site = name, number = number + 1, count = count));
        }
        let limit = limit.or(site.limit).map(|Rate(bytes)| bytes);
        let sending = Sending { arguments, targets: &targets, name, site, limit };
        match session.look(|session| sending.run(&project, session)) {
            Ok(sent) => report.sites.push(sent),
            Err(failure) => {
                let left: Vec<&str> = sites[number + 1..].iter().map(|(name, _)| name.as_str()).collect();
                if !left.is_empty() {
                    session.output.warn(&message!("sites-not-reached", sites = Listed::of(&left)));
                }
                result = Err(failure);
                break;
            }
        }
    }
    if session.output.json && (result.is_ok() || !report.sites.is_empty()) {
        session.output.document(&report)?;
    }
    result.map(|()| 0)
}

/// What is sent to one site.
pub(super) struct Sending<'a> {
    pub arguments: &'a SendArguments,
    pub targets: &'a [String],
    pub name: &'a str,
    pub site: &'a Site,
    limit: Option<u64>,
}

impl Sending<'_> {
    fn run(&self, project: &Arc<crate::cli::session::Project>, session: &mut Session) -> Result<SiteSent, Failure> {
        let remote = connect(self.name, self.site)?;
        let place = ProjectPlace {
            folder: PathBuf::from(self.site.folder.clone().unwrap_or_default()),
            manifest: self.site.manifest.clone().or_else(|| file_name(&project.path)),
            variables: self.site.variables.clone(),
        };
        let Offered { mut offer, sources, images } = offer(self, &place, project, session)?;
        let files = offer.files.iter().map(|file| file.path.clone()).collect();
        let request = InventoryRequest {
            project: place.clone(),
            files,
            seeds: !offer.seeds.is_empty(),
            coming: coming_texts(&offer, &sources),
            overwrite: self.arguments.overwrite,
            ..InventoryRequest::default()
        };
        let brings_manifest = !request.coming.is_empty();
        let inventory = session.wait_for(async { Ok(inventory_of(&remote, request).await?) })?;
        if let Some(why) = inventory.manifest_problem.as_ref().filter(|_| brings_manifest) {
            let error = SitesError::Refused { site: self.name.to_owned(), why: message!("words", text = why) };
            return Err(error.into());
        }
        if let Some(why) = &inventory.manifest_problem {
            session.output.warn(&message!("send-manifest-problem", site = self.name, why = crate::sites::shown(why)));
        }
        if let Some(why) = inventory.store.problem() {
            let error = SitesError::Refused { site: self.name.to_owned(), why: message!("words", text = why) };
            return Err(error.into());
        }
        let engine = inventory.engine.present().map(|engine| &engine.architecture).filter(|name| !name.is_empty());
        let architecture = engine.unwrap_or(&inventory.architecture);
        offer.images = images.find(architecture, project, session)?;
        let options = PlanOptions { overwrite: self.arguments.overwrite, whole: self.arguments.whole };
        let plan = plan_transfer(&inventory, &offer, options);
        let rate = match plan.bytes >= WORTH_MEASURING && (session.output.json || is_shown(&plan, session)) {
            true => session.wait_for(async { Ok(measure(&remote, self.limit).await?) })?,
            false => None,
        };
        let rate = rate.map(|Measured { bytes_per_second }| {
            self.limit.map_or(bytes_per_second, |limit| limit.min(bytes_per_second))
        });
        let expected = rate.map(|rate| plan.bytes.div_ceil(rate.max(1)));
        let sent = SiteSent {
            site: self.name.to_owned(),
            plan,
            bytes_per_second: rate,
            seconds_expected: expected,
            done: None,
        };
        self.show(&sent, session)?;
        if sent.plan.is_nothing() || session.global.dry_run {
            return Ok(sent);
        }
        self.check_space(&sent.plan)?;
        session.agree(&message!("send-question", site = self.name), Unanswered::Yes)?;
        let sender = Sender { project: place, desk: desk(), limit: self.limit };
        let order = SendOrder::of(&sent.plan, &offer, &sources, sender);
        let done = self.carry_out(&remote, &order, session)?;
        Ok(SiteSent { done: Some(done), ..sent })
    }

    fn show(&self, sent: &SiteSent, session: &mut Session) -> Result<(), Failure> {
        let output = &session.output;
        if !is_shown(&sent.plan, session) {
            return Ok(());
        }
        let text = table_of_send::draw(sent, output);
        match session.global.dry_run {
            true => output.data(&text)?,
            // Where something is done, standard output is for what came of it.
            false => text.lines().for_each(|line| output.line(line)),
        }
        Ok(())
    }

    fn check_space(&self, plan: &TransferPlan) -> Result<(), Failure> {
        if self.arguments.no_space_check {
            return Ok(());
        }
        match plan.space.iter().find(|need| need.is_short()) {
            None => Ok(()),
            Some(need) => Err(SitesError::NoSpace {
                site: self.name.to_owned(),
                folder: need.folder.clone(),
                needed: need.needed,
                free: need.free.unwrap_or_default(),
            }
            .into()),
        }
    }

    fn carry_out(&self, remote: &Remote, order: &SendOrder, session: &mut Session) -> Result<SentReport, Failure> {
        let begun = Instant::now();
        let reporter =
            Reporter::new(vec![Arc::new(ProgressListener::new(session.output.clone()))], CancellationToken::new());
        let Sent { placed, kept, named, seeds, bytes } =
            session.wait_for(async { Ok(send_to(remote, order, &reporter).await?) })?;
        for path in &kept {
            session.output.warn(&message!("send-changed-meanwhile", path = crate::sites::shown(path)));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let site = self.name;
        session.output.say(&message!("send-done", bytes = bytes, site = site, time = seconds));
        if !named.is_empty() {
            session.output.say(&message!("send-next", site = site));
        }
        Ok(SentReport { placed, kept, named, seeds, bytes, seconds })
    }
}

/// Whether people see the plan.
fn is_shown(plan: &TransferPlan, session: &Session) -> bool {
    let (global, output) = (&session.global, &session.output);
    let is_asked = !global.yes && !global.dry_run && !plan.is_nothing();
    is_asked || !(output.json || global.quiet)
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}
