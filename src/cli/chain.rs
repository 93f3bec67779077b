//! Chains in deploy.py's own notation: `7 - [2, 3] - 4 - [17,18,19]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::arguments::{ChainArguments, names_manifest};
use super::failure::Failure;
use super::operations::{self, Operation, Weight};
use super::prompt::{self, Unanswered};
use super::session::{Project, Session};
use crate::manifest::narrow;
use crate::report::Message;

/// One link of a chain: an action's number, and what it applies to as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub action: u32,
    pub targets: String,
}

/// `dpl do`: the plan of every link, one question, and then every link in order; what fails ends it.
pub fn run(arguments: &ChainArguments, session: &mut Session) -> Result<u8, Failure> {
    let (manifests, words): (Vec<&str>, Vec<&str>) =
        arguments.chain.iter().map(String::as_str).partition(|word| names_manifest(word));
    let text = match &arguments.file {
        Some(_) if !words.is_empty() => {
            return Err(Failure::usage(message!("usage-chain-twice")));
        }
        Some(path) => steps(&read_steps(path)?),
        None => words.join(" "),
    };
    let links = parse(&text)?;
    let named = manifests.first().map(Path::new);
    let manifest = named.map(Path::to_owned).or_else(|| session.global.manifest.clone());
    let project = session.project(named)?;
    // Everything is understood before anything is done.
    let operations = links.iter().map(|link| link.operation(&project)).collect::<Result<Vec<_>, _>>()?;
    let chain = Chain { links, operations, project, manifest };
    if session.global.dry_run {
        let documents = session.look(|session| chain.show(session))?;
        return print(&chain.links, documents, session);
    }
    chain.agree(session)?;
    let documents = chain.carry_out(session)?;
    print(&chain.links, documents, session)
}

impl Link {
    /// What it does.
    fn operation(&self, project: &Project) -> Result<Box<dyn Operation>, Failure> {
        let entry = operations::entry_of(self.action)?;
        if entry.kind.only_looks() {
            return Err(Failure::usage(message!("usage-action-looks", action = self.action)));
        }
        operations::change(entry.kind, std::slice::from_ref(&self.targets), None, project)
    }
}

/// Links that were understood.
struct Chain {
    links: Vec<Link>,
    operations: Vec<Box<dyn Operation>>,
    project: Arc<Project>,
    /// The manifest, where it was named.
    manifest: Option<PathBuf>,
}

impl Chain {
    /// Shows the plan of each link, as its own dry run does: from what is there now, and the images that the links
    /// before it bring.
    fn show(&self, session: &mut Session) -> Result<Vec<Value>, Failure> {
        let mut documents = Vec::new();
        for (link, operation) in self.links.iter().zip(&self.operations) {
            let written = written(std::slice::from_ref(link));
            let what = session.output.catalogue.text(&operation.announcement());
            session.output.say(&message!("chain-link", link = &written, what = what));
            match operation.show(&self.project, session) {
                Ok(document) => {
                    session.supposed_images.extend(operation.brings(&document));
                    documents.push(document);
                }
                // What stands in its way now, a link before it may clear away.
                Err(failure) if !documents.is_empty() && failure.is_about_the_present_state() => {
                    let why = failure.summary();
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
            prompt::must_be_able_to_ask(&question)?;
        }
        // Who wants neither questions nor words gets neither.
        if !(session.global.yes && session.output.quiet) {
            match session.look(|session| self.show(session)) {
                // Agreed to beforehand: nobody has to see it.
                Err(Failure::Output(_)) if session.global.yes => {}
                shown => drop(shown?),
            }
        }
        let weights = self.operations.iter().map(|operation| operation.weight(&self.project));
        match weights.max().unwrap_or(Weight::Light) {
            Weight::Light => prompt::agree(session, &question, Unanswered::Yes),
            Weight::Heavy => prompt::agree(session, &question, Unanswered::No),
            Weight::Named => {
                let named = self.operations.iter().filter(|operation| operation.weight(&self.project) == Weight::Named);
                named.into_iter().try_for_each(|operation| operation.confirm(&self.project, session))
            }
        }
    }

    fn carry_out(&self, session: &mut Session) -> Result<Vec<Value>, Failure> {
        let command = format!("dpl do {}", quoted(&written(&self.links)));
        session.is_in_chain = true;
        session.change(&self.project, &command, |session, reporter| {
            let mut documents = Vec::new();
            for (place, operation) in self.operations.iter().enumerate() {
                let done = match reporter.asked_to_stop() {
                    true => Err(Failure::Interrupted),
                    false => operations::perform(operation.as_ref(), &self.project, session),
                };
                match done {
                    Ok(document) => documents.push(document),
                    Err(failure) => {
                        session.output.say(&message!("chain-remains", chain = self.remaining(place)));
                        return Err(failure);
                    }
                }
            }
            Ok(documents)
        })
    }

    /// What is left from the link at `place` on, to be typed behind `dpl do`.
    fn remaining(&self, place: usize) -> String {
        let chain = quoted(&written(&self.links[place..]));
        match &self.manifest {
            Some(path) => format!("{chain} -f {}", shell_words::quote(&path.to_string_lossy())),
            None => chain,
        }
    }
}

fn read_steps(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(message!("usage-steps-unreadable", path = path.display(), why = error)))
}

/// Steps in a file as one chain: a line goes on with the next one, `#` begins a remark.
fn steps(text: &str) -> String {
    let mut chain = String::new();
    for line in text.lines() {
        let line = normal(line);
        let remark = line.char_indices().find(|(place, character)| {
            *character == '#' && line[..*place].chars().next_back().is_none_or(char::is_whitespace)
        });
        let line = line[..remark.map_or(line.len(), |(place, _)| place)].trim();
        if line.is_empty() {
            continue;
        }
        let is_open = chain.matches('[').count() > chain.matches(']').count();
        if !(chain.is_empty() || is_open || chain.ends_with('-') || line.starts_with('-')) {
            chain.push_str(" -");
        }
        chain.push(' ');
        chain.push_str(line);
    }
    chain.trim().to_owned()
}

/// What `do --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChainReport {
    pub links: Vec<LinkReport>,
}

/// One link of the chain and what its command would have printed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LinkReport {
    /// The action's number in the menu.
    pub action: u32,
    /// The targets as they were written.
    pub targets: String,
    /// The document of the action's own command.
    pub result: Value,
}

fn print(links: &[Link], documents: Vec<Value>, session: &Session) -> Result<u8, Failure> {
    if session.output.json {
        let links = links.iter().zip(documents).map(|(link, result)| LinkReport {
            action: link.action,
            targets: link.targets.clone(),
            result,
        });
        session.output.document(&ChainReport { links: links.collect() })?;
    }
    Ok(0)
}

/// As a shell takes it for one word; in the notes' own quotes where these do.
fn quoted(chain: &str) -> String {
    match chain.contains(['!', '$', '`', '"', '\\']) {
        true => shell_words::quote(chain).into_owned(),
        false => format!("\"{chain}\""),
    }
}

/// The chain as it could be typed again.
fn written(links: &[Link]) -> String {
    links.iter().map(|link| format!("{} - {}", link.action, link.targets)).collect::<Vec<_>>().join(" - ")
}

/// Reads a chain: action, dash, targets, and so on; spaces or not, Chinese commas and brackets too.
pub fn parse(text: &str) -> Result<Vec<Link>, Failure> {
    let narrowed = normal(text);
    let mut rest = narrowed.trim();
    let mut links = Vec::new();
    if rest.is_empty() {
        return Err(wrong(text, &message!("chain-empty")));
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let action: u32 =
            rest[..digits].parse().map_err(|_| wrong(text, &message!("chain-no-number", word = first_word(rest))))?;
        rest = rest[digits..].trim_start();
        rest = rest.strip_prefix('-').ok_or_else(|| wrong(text, &message!("chain-no-dash", action = action)))?;
        rest = rest.trim_start();
        let end = targets_end(rest);
        let targets = rest[..end].trim();
        if targets.is_empty() {
            return Err(wrong(text, &message!("chain-no-targets", action = action)));
        }
        links.push(Link { action, targets: targets.to_owned() });
        rest = rest[end..].trim_start();
        if let Some(next) = rest.strip_prefix('-') {
            rest = next.trim_start();
            if rest.is_empty() {
                return Err(wrong(text, &message!("chain-ends-with-dash")));
            }
        } else if !rest.is_empty() {
            return Err(wrong(text, &message!("chain-missing-dash", word = first_word(rest))));
        }
    }
    Ok(links)
}

/// The text with ASCII's twins of what a Chinese keyboard writes; its dash is often typed twice.
fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut was_wide = false;
    for character in text.chars() {
        let is_wide = "—－–―─".contains(character);
        if !(is_wide && was_wide) {
            normal.push(if is_wide { '-' } else { narrow(character) });
        }
        was_wide = is_wide;
    }
    normal
}

/// Where the targets at the beginning of `text` end: behind their bracket, or before the dash that separates. A dash
/// inside a name (`metis-api`) has no space at either side and no number alone before it.
fn targets_end(text: &str) -> usize {
    if text.starts_with('[') {
        return text.find(']').map_or(text.len(), |bracket| bracket + 1);
    }
    let bytes = text.as_bytes();
    for (place, _) in text.match_indices('-') {
        let blank = |byte: Option<&u8>| byte.is_none_or(|byte| byte.is_ascii_whitespace());
        let spaced = blank(bytes.get(place + 1)) || (place > 0 && blank(bytes.get(place - 1)));
        let number = text[..place].bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
        if spaced || number {
            return place;
        }
    }
    text.len()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or(text)
}

fn wrong(text: &str, why: &Message) -> Failure {
    let message = message!("usage-not-a-chain", text = text, why = why);
    Failure::usage_with_hint(message, message!("hint-chain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(text: &str) -> Vec<(u32, String)> {
        parse(text).unwrap().into_iter().map(|link| (link.action, link.targets)).collect()
    }

    #[test]
    fn the_notes_own_chains_are_read_as_they_are() {
        let all = "[17,18,19,20,21,22,23,24,25]";
        assert_eq!(links(&format!("5- [2, 3] - 1 - {all}")), [(5, "[2, 3]".into()), (1, all.into())]);
        assert_eq!(links(&format!("7 - [2, 3] - 4 - {all}")), [(7, "[2, 3]".into()), (4, all.into())]);
        assert_eq!(links("2 - 25 - 3 - 25"), [(2, "25".into()), (3, "25".into())]);
        assert_eq!(links("6 - [2,3]"), [(6, "[2,3]".into())]);
    }

    #[test]
    fn spaces_names_and_chinese_punctuation_make_no_difference() {
        assert_eq!(links("2-25-3-25"), [(2, "25".into()), (3, "25".into())]);
        assert_eq!(links("2 - metis-api - 3 - metis-api"), [(2, "metis-api".into()), (3, "metis-api".into())]);
        assert_eq!(links("２ － 【１７，１８】"), [(2, "[17,18]".into())]);
        assert_eq!(links("2 - 17..25 - 3 - @metis"), [(2, "17..25".into()), (3, "@metis".into())]);
        assert_eq!(links("2——25 — 3—［１７、１８］"), [(2, "25".into()), (3, "[17,18]".into())]);
    }

    #[test]
    fn steps_of_a_file_are_one_chain_without_its_remarks() {
        let text = "# back up, then stop\n7 - [2, 3]\n\n4 - [17,18,   # the pages\n     19]\r\n  - 2 - 25 -\n3 - 25  ＃ done\n";
        assert_eq!(steps(text), "7 - [2, 3] - 4 - [17,18, 19] - 2 - 25 - 3 - 25");
        assert_eq!(links(&steps(text)).len(), 4);
        assert_eq!(steps("# nothing\n"), "");
    }

    #[test]
    fn what_is_no_chain_says_where() {
        for text in ["", "2", "2 -", "- 25", "2 25", "x - 25", "2 - 25 -", "2 - [17] 3 - 25"] {
            assert!(matches!(parse(text), Err(Failure::Usage { .. })), "{text}");
        }
    }
}
