//! Chains in deploy.py's own notation: `7 - [2, 3] - 4 - [17,18,19]`. `links` reads them; `parts` runs what is done at sites.

mod links;
mod parts;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::system_words;
use crate::cli::ask::prompt::{Unanswered, must_be_able_to_ask};
use crate::cli::commands::menu::entries;
use crate::cli::commands::sites::SitesFile;
use crate::cli::grammar::arguments::names_manifest;
use crate::cli::session::operations::{self, Operation, Shown, Weight};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::report::Told as _;
use links::{Link, parse, quoted, steps, written};

#[derive(Debug, Args)]
pub struct ChainArguments {
    /// Action - targets - action - targets, and a manifest (.json)
    #[arg(required_unless_present = "file", value_name = "CHAIN")]
    pub chain: Vec<String>,
    /// A file with the chain: one or more steps a line, `#` begins a comment [default: none]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub sites: SitesFile,
    #[command(flatten)]
    pub part: PartArguments,
}

/// What the desk says to a site that does its part of a chain: what remains is a command of the desk's.
#[derive(Debug, Clone, Default, Args)]
pub struct PartArguments {
    /// The site's name at the desk [default: none]
    #[arg(long, hide = true, value_name = "SITE")]
    pub part_at: Option<String>,
    /// The links behind this part
    #[arg(long, hide = true, default_value = "", allow_hyphen_values = true, value_name = "CHAIN")]
    pub part_rest: String,
    /// The flags of the desk's command
    #[arg(long, hide = true, default_value = "", allow_hyphen_values = true, value_name = "FLAGS")]
    pub part_flags: String,
}

/// `dpl do`: the plan of every link, one question, and then every link in order; what fails ends it.
pub fn run(arguments: &ChainArguments, session: &mut Session) -> Result<u8, Failure> {
    let (manifests, words): (Vec<&str>, Vec<&str>) =
        arguments.chain.iter().map(String::as_str).partition(|word| names_manifest(word));
    let text = match &arguments.file {
        Some(_) if !words.is_empty() => {
            return Err(Failure::usage(message!("usage-chain-twice")));
        }
        Some(path) => steps(&read_steps(path)?)?,
        None => words.join(" "),
    };
    let links = parse(&text)?;
    if let Some(named) = manifests.first() {
        session.global.manifest = Some(PathBuf::from(named));
    }
    if links.iter().any(|link| link.site.is_some()) {
        return parts::run(arguments, links, session);
    }
    let chain = Chain::understand(links, Remains::of(arguments, session), session)?;
    let documents = chain.run(session)?;
    print(&chain.links, documents, session)
}

impl Link {
    /// What it does.
    fn operation(&self, project: &Project) -> Result<Box<dyn Operation>, Failure> {
        let entry = entries::changing(self.action)?;
        entries::change(entry.kind, std::slice::from_ref(&self.targets), None, project)
    }
}

/// What is to be typed for the rest of a chain.
#[derive(Debug, Clone, Default)]
struct Remains {
    /// The place of this part, for a part of a chain of another machine.
    before: String,
    /// The links behind this part.
    behind: String,
    flags: String,
}

impl Remains {
    fn of(arguments: &ChainArguments, session: &Session) -> Self {
        let part = &arguments.part;
        match &part.part_at {
            Some(site) => {
                Self { before: format!("on {site}: "), behind: part.part_rest.clone(), flags: part.part_flags.clone() }
            }
            None => Self { flags: flags(arguments, session), ..Self::default() },
        }
    }

    /// The links from one on, as they are typed behind `dpl do`.
    fn command(&self, links: &[Link]) -> String {
        format!("{}{}", quoted(&format!("{}{}{}", self.before, written(links), self.behind)), self.flags)
    }
}

/// The flags of this command that its rest needs too.
fn flags(arguments: &ChainArguments, session: &Session) -> String {
    let named = [("-f", &session.global.manifest), ("--sites", &arguments.sites.sites)];
    let flag = |(flag, path): (&str, &Option<PathBuf>)| {
        path.as_ref().map(|path| format!(" {flag} {}", shell_words::quote(&path.to_string_lossy())))
    };
    named.into_iter().filter_map(flag).collect()
}

/// Links that were understood.
struct Chain {
    links: Vec<Link>,
    operations: Vec<Box<dyn Operation>>,
    project: Arc<Project>,
    remains: Remains,
    /// The link that is being done, once they are.
    at: Cell<Option<usize>>,
}

impl Chain {
    /// Everything is understood before anything is done.
    fn understand(links: Vec<Link>, remains: Remains, session: &mut Session) -> Result<Self, Failure> {
        let project = session.project(None)?;
        let operations = links.iter().map(|link| link.operation(&project)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { links, operations, project, remains, at: Cell::new(None) })
    }

    /// Shows it, asks, and does it; only shows it in a dry run. Gives the documents of its links.
    fn run(&self, session: &mut Session) -> Result<Vec<Value>, Failure> {
        if session.global.dry_run {
            return session.look(|session| self.show(session));
        }
        self.agree(session)?;
        let done = self.carry_out(session);
        if let (Err(_), Some(place)) = (&done, self.at.get()) {
            session.output.say(&message!("chain-remains", chain = self.remains.command(&self.links[place..])));
        }
        done
    }

    /// Shows the plan of each link, as its own dry run does: from what is there now, and the images that the links
    /// before it bring.
    fn show(&self, session: &mut Session) -> Result<Vec<Value>, Failure> {
        let mut documents = Vec::new();
        for (link, operation) in self.links.iter().zip(&self.operations) {
            let written = written(std::slice::from_ref(link));
            let what = session.output.catalogue.text(&operation.announcement());
            session.output.say(&message!("chain-link", link = &written, what = what));
            match operation.show(&self.project, session).and_then(Shown::or_failures) {
                Ok(shown) => {
                    session.supposed_images.extend(shown.brings);
                    documents.push(shown.document);
                }
                // What stands in its way now, a link before it may clear away.
                Err(failure) if !documents.is_empty() && failure.is_about_the_present_state() => {
                    let why = failure.message();
                    session.output.warn(&message!("chain-link-unclear", link = &written, why = why));
                    documents.push(Value::Null);
                }
                Err(failure) => {
                    session.supposed_images.clear();
                    return Err(failure);
                }
            }
        }
        session.supposed_images.clear();
        Ok(documents)
    }

    /// Shows everything, and asks once; names where databases are replaced.
    fn agree(&self, session: &mut Session) -> Result<(), Failure> {
        let question = message!("agree");
        if !session.global.yes {
            must_be_able_to_ask(&question)?;
        }
        // Who wants neither questions nor words gets neither.
        if !(session.global.yes && session.output.quiet) {
            match session.look(|session| self.show(session)) {
                // Agreed to beforehand: nobody has to see it.
                Err(Failure::Output(_)) if session.global.yes => {}
                shown => drop(shown?),
            }
        }
        match self.weight() {
            Weight::Light => session.agree(&question, Unanswered::Yes),
            Weight::Heavy => session.agree(&question, Unanswered::No),
            Weight::Named => {
                let named = self.operations.iter().filter(|operation| operation.weight(&self.project) == Weight::Named);
                named.into_iter().try_for_each(|operation| operation.confirm(&self.project, session))
            }
        }
    }

    fn weight(&self) -> Weight {
        let weights = self.operations.iter().map(|operation| operation.weight(&self.project));
        weights.max().unwrap_or(Weight::Light)
    }

    fn carry_out(&self, session: &mut Session) -> Result<Vec<Value>, Failure> {
        let command = format!("dpl do {}", quoted(&written(&self.links)));
        session.is_in_chain = true;
        session.change(&self.project, &command, |session, reporter| {
            let mut documents = Vec::new();
            for (place, operation) in self.operations.iter().enumerate() {
                self.at.set(Some(place));
                let done = match reporter.asked_to_stop() {
                    true => Err(Failure::Interrupted),
                    false => operations::perform(operation.as_ref(), &self.project, session),
                };
                documents.push(done?);
            }
            Ok(documents)
        })
    }
}

fn read_steps(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    // Editors of Windows begin a file with a byte order mark.
    text.map(|text| text.trim_start_matches('\u{feff}').to_owned()).map_err(|error| {
        Failure::usage(message!("usage-steps-unreadable", path = path.display(), why = system_words(&error)))
    })
}

/// What `do --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChainReport {
    pub links: Vec<LinkReport>,
}

/// One link of the chain and what its command would have printed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LinkReport {
    /// The site at which it was done; absent for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The action's number in the menu.
    pub action: u32,
    /// The targets as they were written.
    pub targets: String,
    /// The document of the action's own command.
    pub result: Value,
}

fn print(links: &[Link], documents: Vec<Value>, session: &Session) -> Result<u8, Failure> {
    if session.output.json {
        session.output.document(&ChainReport { links: reports(links, documents) })?;
    }
    Ok(0)
}

fn reports(links: &[Link], documents: Vec<Value>) -> Vec<LinkReport> {
    let report = |(link, result): (&Link, Value)| LinkReport {
        site: link.site.clone(),
        action: link.action,
        targets: link.targets.clone(),
        result,
    };
    links.iter().zip(documents).map(report).collect()
}
