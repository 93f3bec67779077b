//! A chain that goes to sites: each part is done where it says, by one command there. A part that fails ends the chain.
//!
//! Where nothing in it replaces data, all plans are shown first and one question is asked; else each part asks at its turn, when
//! its plan says what is replaced then.

use std::io;

use serde_json::Value;

use super::{Chain, ChainArguments, ChainReport, Link, LinkReport, Remains, flags, reports, written};
use crate::cli::ask::prompt::Unanswered;
use crate::cli::ask::remote as terminal;
use crate::cli::commands::menu::entries::{self, MenuKind};
use crate::cli::commands::sites::{self, SiteCommand, captured};
use crate::cli::session::Session;
use crate::cli::session::operations::Weight;
use crate::cli::text::failure::Failure;
use crate::manifest::Site;
use crate::sites::{Remote, shown};

/// Links that are done one after the other at one place.
enum Part {
    Here(Chain),
    At { name: String, site: Site, links: Vec<Link>, remains: Remains },
}

/// What came of a part.
enum Done {
    Links(Vec<LinkReport>),
    /// The site's dpl has said why.
    Failed(u8),
}

/// Exit codes of what can be known before anything is done: usage, manifest, no connection.
const KNOWN_BEFORE: std::ops::RangeInclusive<u8> = 2..=4;

/// Runs all parts in order.
pub(super) fn run(arguments: &ChainArguments, links: Vec<Link>, session: &mut Session) -> Result<u8, Failure> {
    let parts = understand(arguments, links, session)?;
    if parts.len() > 1 && !session.global.dry_run {
        let together = Together::of(&parts, session)?;
        if let Some(code) = try_out(&parts, together.is_some(), session)? {
            return Ok(code);
        }
        if let Some(Together(unanswered)) = together {
            session.agree(&message!("agree"), unanswered)?;
            session.global.yes = true;
        }
    }
    let mut done = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        match part.run(session) {
            Ok(Done::Links(links)) => done.extend(links),
            Ok(Done::Failed(code)) => return Ok(code),
            Err(failure) => {
                if let Some(rest) = part.rest_after(&failure, place > 0) {
                    session.output.say(&message!("chain-remains", chain = rest));
                }
                return Err(failure);
            }
        }
    }
    // One part alone has printed its own.
    if session.output.json && parts.len() > 1 {
        session.output.document(&ChainReport { links: done })?;
    }
    Ok(0)
}

/// The parts of a chain. All is understood that can be without a connection.
fn understand(arguments: &ChainArguments, links: Vec<Link>, session: &mut Session) -> Result<Vec<Part>, Failure> {
    let list = sites::read(&arguments.sites, session)?;
    let flags = flags(arguments, session);
    let mut parts = Vec::new();
    let mut from = 0;
    for together in links.chunk_by(|one, other| one.site == other.site) {
        from += together.len();
        let behind = match written_behind(&links, from) {
            rest if rest.is_empty() => rest,
            rest => format!(" - {rest}"),
        };
        let Some(site) = &together[0].site else {
            let remains = Remains { before: String::new(), behind, flags: flags.clone() };
            parts.push(Part::Here(Chain::understand(together.to_vec(), remains, session)?));
            continue;
        };
        together.iter().try_for_each(|link| entries::changing(link.action).map(drop))?;
        let chosen = sites::select(&list, std::slice::from_ref(site))?;
        let [(name, found)] = chosen.as_slice() else {
            return Err(Failure::usage(message!("usage-one-site", selector = site)));
        };
        // Whether it can be used at all.
        sites::remote(name, found)?;
        let links = together.iter().map(|link| Link { site: None, ..link.clone() }).collect();
        let remains = Remains { before: format!("on {name}: "), behind, flags: flags.clone() };
        parts.push(Part::At { name: name.clone(), site: found.clone(), links, remains });
    }
    Ok(parts)
}

/// The links from a place on; where the first is done here, this has to be said.
fn written_behind(links: &[Link], from: usize) -> String {
    let rest = &links[from..];
    let is_here = rest.first().is_some_and(|link| link.site.is_none());
    format!("{}{}", if is_here { "here: " } else { "" }, written(rest))
}

/// All parts are agreed to with one question; what Enter means then.
struct Together(Unanswered);

impl Together {
    /// `None` where each part asks: nobody is at a terminal, or something in it replaces data.
    fn of(parts: &[Part], session: &Session) -> Result<Option<Self>, Failure> {
        if session.global.yes || session.output.json || !terminal::has_terminal() {
            return Ok(None);
        }
        let mut heaviest = Weight::Light;
        for part in parts {
            let weight = match part {
                Part::Here(chain) => chain.weight(),
                // What is heavy there, the site's manifest says.
                Part::At { links, .. } => {
                    let kinds = links.iter().map(|link| entries::changing(link.action).map(|entry| entry.kind));
                    let is_light = kinds.collect::<Result<Vec<_>, _>>()?.into_iter().all(MenuKind::replaces_no_data);
                    if is_light { Weight::Light } else { Weight::Named }
                }
            };
            heaviest = heaviest.max(weight);
        }
        Ok(match heaviest {
            Weight::Light => Some(Self(Unanswered::Yes)),
            Weight::Heavy => Some(Self(Unanswered::No)),
            Weight::Named => None,
        })
    }
}

/// Looks at every site for what would end its part before it begins: nothing is done then. Gives the exit code of one that fails.
fn try_out(parts: &[Part], shows: bool, session: &mut Session) -> Result<Option<u8>, Failure> {
    for part in parts {
        let (name, site, links) = match part {
            Part::At { name, site, links, .. } => (name, site, links),
            Part::Here(chain) if shows => {
                session.look(|session| chain.show(session))?;
                continue;
            }
            Part::Here(_) => continue,
        };
        let mut words = vec!["do".to_owned(), written(links), "--dry-run".to_owned()];
        let remote = sites::remote(name, site)?;
        if shows {
            session.output.say(&message!("chain-part", site = name, chain = written(links)));
            let what = SiteCommand::parse(&words)?.at(site, session, terminal::terminal());
            let what = crate::sites::RunAtSite { outlives_connection: false, ..what };
            let code = session.runtime()?.block_on(terminal::interact(&remote, &what, &session.output))?;
            if code != 0 {
                return Ok(Some(code));
            }
            continue;
        }
        words.push("--quiet".to_owned());
        let command = SiteCommand::parse(&words)?;
        let what = crate::sites::RunAtSite { outlives_connection: false, ..command.at(site, session, None) };
        let runtime = session.runtime()?;
        let (code, _, said) = runtime.block_on(async {
            remote.connect_first().await?;
            captured(&remote, &what).await
        })?;
        if KNOWN_BEFORE.contains(&code) {
            for line in String::from_utf8_lossy(&said).lines() {
                session.output.line(&format!("{name}: {}", shown(line)));
            }
            return Ok(Some(code));
        }
    }
    Ok(None)
}

impl Part {
    fn run(&self, session: &mut Session) -> Result<Done, Failure> {
        match self {
            Self::Here(chain) => {
                let documents = chain.run(session)?;
                Ok(Done::Links(reports(&chain.links, documents)))
            }
            Self::At { name, site, links, remains } => {
                let remote = sites::remote(name, site)?;
                session.output.say(&message!("chain-part", site = name, chain = written(links)));
                run_at(&remote, site, links, remains, session)
            }
        }
    }

    /// What is to be typed after a failure that has not said it; nothing where nothing was done at all.
    fn rest_after(&self, failure: &Failure, has_begun: bool) -> Option<String> {
        match self {
            Self::Here(chain) if chain.at.get().is_none() && has_begun => Some(chain.remains.command(&chain.links)),
            // It goes on there: what remains is what comes after it.
            Self::At { remains, .. } if failure.left_it_running() => {
                let rest = remains.behind.strip_prefix(" - ")?;
                Some(format!("{}{}", super::quoted(rest), remains.flags))
            }
            Self::At { links, remains, .. } if has_begun => Some(remains.command(links)),
            _ => None,
        }
    }
}

/// A part at a site: one command there.
fn run_at(
    remote: &Remote,
    site: &Site,
    links: &[Link],
    remains: &Remains,
    session: &mut Session,
) -> Result<Done, Failure> {
    let mut words = vec!["do".to_owned(), written(links)];
    words.push(format!("--part-at={}", remote.name()));
    words.push(format!("--part-rest={}", remains.behind));
    words.push(format!("--part-flags={}", remains.flags));
    let command = SiteCommand::parse(&words)?;
    let is_json = session.output.json;
    let terminal_there = terminal::terminal().filter(|_| !is_json);
    let what = command.at(site, session, terminal_there);
    let runtime = session.runtime()?;
    let mut printed = Vec::new();
    let code = runtime.block_on(async {
        match is_json {
            true => terminal::interact_into(remote, &what, &session.output, &mut printed).await,
            false => terminal::interact_into(remote, &what, &session.output, &mut io::stdout()).await,
        }
    })?;
    if code != 0 {
        return Ok(Done::Failed(code));
    }
    let document: Value = serde_json::from_slice(&printed).unwrap_or_default();
    let results = document["links"].as_array().into_iter().flatten().map(|link| link["result"].clone());
    let placed: Vec<Link> =
        links.iter().map(|link| Link { site: Some(remote.name().to_owned()), ..link.clone() }).collect();
    Ok(Done::Links(reports(&placed, results.collect())))
}
