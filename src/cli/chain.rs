//! Chains in deploy.py's own notation: `7 - [2, 3] - 4 - [17,18,19]`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::arguments::{ChainArguments, names_manifest};
use super::failure::Failure;
use super::operations;
use super::session::Session;
use crate::manifest::narrow;
use crate::report::Message;

/// One link of a chain: an action's number, and what it applies to as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub action: u32,
    pub targets: String,
}

/// `dpl do`: every link of the chain, in order; what fails ends it.
pub fn run(arguments: &ChainArguments, session: &mut Session) -> Result<u8, Failure> {
    let words: Vec<String> = arguments.chain.clone();
    let (manifests, words): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| names_manifest(word));
    let project = session.project(manifests.first().map(std::path::Path::new))?;
    let text = words.join(" ");
    let links = parse(&text)?;
    // Everything is understood before anything is done.
    let operations = links
        .iter()
        .map(|link| operations::of_menu(link.action, std::slice::from_ref(&link.targets), &project))
        .collect::<Result<Vec<_>, _>>()?;
    for operation in &operations {
        session.output.say(&operation.announcement());
    }
    if session.global.dry_run {
        let documents: Vec<Value> = operations
            .iter()
            .map(|operation| operations::perform(operation.as_ref(), &project, session))
            .collect::<Result<_, _>>()?;
        return print(&links, documents, session);
    }
    for operation in &operations {
        operation.confirm(&project, session)?;
    }
    session.is_in_chain = true;
    let documents = session.change(&project, &format!("dpl do {}", quoted(&written(&links))), |session, _| {
        let mut documents = Vec::new();
        for (place, operation) in operations.iter().enumerate() {
            match operations::perform(operation.as_ref(), &project, session) {
                Ok(document) => documents.push(document),
                Err(failure) => {
                    let remaining = written(&links[place..]);
                    session.output.say(&Message::new("chain-remains").with("chain", quoted(&remaining)));
                    return Err(failure);
                }
            }
        }
        Ok(documents)
    })?;
    print(&links, documents, session)
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

fn quoted(chain: &str) -> String {
    format!("\"{chain}\"")
}

/// The chain as it could be typed again.
fn written(links: &[Link]) -> String {
    links.iter().map(|link| format!("{} - {}", link.action, link.targets)).collect::<Vec<_>>().join(" - ")
}

/// Reads a chain: action, dash, targets, and so on; spaces or not, Chinese commas and brackets too.
pub fn parse(text: &str) -> Result<Vec<Link>, Failure> {
    let narrowed: String =
        text.chars().map(|character| if "—－–".contains(character) { '-' } else { narrow(character) }).collect();
    let mut rest = narrowed.trim();
    let mut links = Vec::new();
    if rest.is_empty() {
        return Err(wrong(text, "it is empty"));
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let action: u32 = rest[..digits]
            .parse()
            .map_err(|_| wrong(text, &format!("`{}` is no number of an action", first_word(rest))))?;
        rest = rest[digits..].trim_start();
        rest = rest
            .strip_prefix('-')
            .ok_or_else(|| wrong(text, &format!("behind action {action} a `-` and its targets are missing")))?;
        rest = rest.trim_start();
        let end = targets_end(rest);
        let targets = rest[..end].trim();
        if targets.is_empty() {
            return Err(wrong(text, &format!("the targets of action {action} are missing")));
        }
        links.push(Link { action, targets: targets.to_owned() });
        rest = rest[end..].trim_start();
        if let Some(next) = rest.strip_prefix('-') {
            rest = next.trim_start();
            if rest.is_empty() {
                return Err(wrong(text, "it ends with a `-`"));
            }
        } else if !rest.is_empty() {
            return Err(wrong(text, &format!("before `{}` a `-` is missing", first_word(rest))));
        }
    }
    Ok(links)
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

fn wrong(text: &str, why: &str) -> Failure {
    Failure::usage_with_hint(format!("`{text}` is no chain: {why}"), Message::new("hint-chain"))
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
    }

    #[test]
    fn what_is_no_chain_says_where() {
        for text in ["", "2", "2 -", "- 25", "2 25", "x - 25", "2 - 25 -", "2 - [17] 3 - 25"] {
            assert!(matches!(parse(text), Err(Failure::Usage { .. })), "{text}");
        }
    }
}
