//! The text of a chain, and its links. Pure.

use crate::cli::text::failure::Failure;
use crate::manifest::narrow;
use crate::report::Message;

/// One link of a chain: an action's number, and what it applies to as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The site at which it is done; here where absent.
    pub site: Option<String>,
    pub action: u32,
    pub targets: String,
}

/// Steps in a file as one chain: a line goes on with the next one, `#` begins a remark. A line that begins with its place has
/// nothing of the next one: what follows it says where, too. A place alone on its line is that of all lines behind it.
pub(super) fn steps(text: &str) -> Result<String, Failure> {
    let mut chain = String::new();
    // The place of the last line that had one before its steps.
    let mut place_of_line: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let line = normal(line);
        let remark = line.char_indices().find(|(place, character)| {
            *character == '#' && line[..*place].chars().next_back().is_none_or(char::is_whitespace)
        });
        let line = line[..remark.map_or(line.len(), |(place, _)| place)].trim();
        if line.is_empty() {
            continue;
        }
        let is_open = chain.matches('[').count() > chain.matches(']').count();
        let continues = is_open || chain.ends_with('-') || line.starts_with('-');
        match place_before(line) {
            Some((_, "")) => place_of_line = None,
            Some(_) => place_of_line = Some(line[..=line.find(':').unwrap_or_default()].to_owned()),
            None if continues => {}
            None => {
                if let Some(place) = &place_of_line {
                    let message = message!("usage-chain-where", line = number + 1, place = place);
                    return Err(Failure::usage_with_hint(message, message!("hint-chain-where", place = place)));
                }
            }
        }
        if !(chain.is_empty() || continues || chain.ends_with(':')) {
            chain.push_str(" -");
        }
        chain.push(' ');
        chain.push_str(line);
    }
    Ok(chain.trim().to_owned())
}

/// The place that a text begins with, and what follows it: `on prod:` or `here:`. The name is empty for the latter.
fn place_before(text: &str) -> Option<(&str, &str)> {
    let (place, rest) = text.split_once(':')?;
    let mut words = place.split_whitespace();
    match (words.next()?, words.next(), words.next()) {
        ("on", Some(site), None) => Some((site, rest.trim_start())),
        ("here", None, None) => Some(("", rest.trim_start())),
        _ => None,
    }
}

/// As a shell takes it for one word; in the notes' own quotes where these do.
pub(super) fn quoted(chain: &str) -> String {
    match chain.contains(['!', '$', '`', '"', '\\']) {
        true => shell_words::quote(chain).into_owned(),
        false => format!("\"{chain}\""),
    }
}

/// The chain as it could be typed again.
pub(super) fn written(links: &[Link]) -> String {
    let mut text = String::new();
    let mut place: Option<&str> = None;
    for link in links {
        if !text.is_empty() {
            text.push_str(" - ");
        }
        if link.site.as_deref() != place {
            place = link.site.as_deref();
            text.push_str(&place.map_or_else(|| "here: ".to_owned(), |site| format!("on {site}: ")));
        }
        text.push_str(&format!("{} - {}", link.action, link.targets));
    }
    text
}

/// Reads a chain: action, dash, targets, and so on; spaces or not, Chinese commas and brackets too. `on SITE:` before an action
/// is the place of it and of those behind it, `here:` is this machine again.
pub fn parse(text: &str) -> Result<Vec<Link>, Failure> {
    let narrowed = normal(text);
    let mut rest = narrowed.trim();
    let mut links = Vec::new();
    let mut site: Option<String> = None;
    if rest.is_empty() {
        return Err(wrong(text, &message!("chain-empty")));
    }
    while !rest.is_empty() {
        if let Some((place, behind)) = place_before(rest) {
            if behind.is_empty() {
                return Err(wrong(text, &message!("chain-no-steps", place = rest.trim())));
            }
            site = Some(place.to_owned()).filter(|place| !place.is_empty());
            rest = behind;
        }
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
        links.push(Link { site: site.clone(), action, targets: targets.to_owned() });
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
    fn what_remains_of_a_chain_is_one_word_for_a_shell_whatever_is_in_it() {
        for chain in ["3 - 25", "5 - 档 案", "5 - it's", "5 - \"x\" `y` $z \\ !1"] {
            assert_eq!(shell_words::split(&quoted(chain)).unwrap(), [chain]);
        }
    }

    #[test]
    fn steps_of_a_file_are_one_chain_without_its_remarks() {
        let text = "# back up, then stop\n7 - [2, 3]\n\n4 - [17,18,   # the pages\n     19]\r\n  - 2 - 25 -\n3 - 25  ＃ done\n";
        assert_eq!(steps(text).unwrap(), "7 - [2, 3] - 4 - [17,18, 19] - 2 - 25 - 3 - 25");
        assert_eq!(links(&steps(text).unwrap()).len(), 4);
        assert_eq!(steps("# nothing\n").unwrap(), "");
    }

    #[test]
    fn what_is_no_chain_says_where() {
        for text in [
            "",
            "2",
            "2 -",
            "- 25",
            "2 25",
            "x - 25",
            "2 - 25 -",
            "2 - [17] 3 - 25",
            "on prod:",
            "on: 2 - 25",
            "on a b: 2 - 25",
        ] {
            assert!(matches!(parse(text), Err(Failure::Usage { .. })), "{text}");
        }
    }

    fn placed(text: &str) -> Vec<(Option<String>, u32)> {
        parse(text).unwrap().into_iter().map(|link| (link.site, link.action)).collect()
    }

    #[test]
    fn a_place_is_that_of_the_actions_behind_it() {
        let prod = || Some("prod".to_owned());
        assert_eq!(placed("on prod: 2 - 25 - 3 - 25"), [(prod(), 2), (prod(), 3)]);
        assert_eq!(placed("1 - 25 - on prod: 2 - 25 - here: 7 - [2,3]"), [(None, 1), (prod(), 2), (None, 7)]);
        assert_eq!(placed("on prod ： 2-25"), [(prod(), 2)]);
        for text in ["on prod: 2 - 25 - 3 - 25", "1 - 25 - on prod: 2 - 25 - here: 7 - [2,3] - on lab: 3 - 25"] {
            assert_eq!(written(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn a_line_of_a_file_with_a_place_leaves_no_doubt_about_the_next_one() {
        let of = |text: &str| steps(text).map(|chain| placed(&chain));
        let prod = || Some("prod".to_owned());
        assert_eq!(
            of("on prod:\n 7 - [2]\n 4 - 25 # all\nhere: 1 - 25\n").unwrap(),
            [(prod(), 7), (prod(), 4), (None, 1)]
        );
        assert_eq!(of("1 - 25\non prod: 2 - [25,\n 24] -\n 3 - 25\n").unwrap(), [(None, 1), (prod(), 2), (prod(), 3)]);
        assert!(matches!(of("on prod: 7 - [2]\n4 - 25\n"), Err(Failure::Usage { .. })));
    }
}
