//! The sentences that a person works with, one folder for each language.
//!
//! A line is `key = sentence`. `{name}` is replaced by a value, `{name:size}` by that many bytes as people say it;
//! `{name|one|many}` is `one` where the value is 1, else `many`.

use std::collections::HashMap;

use super::table;
use crate::report::Message;

/// One text for each room, so that neither grows beyond what one reads at once.
const ENGLISH: &[&str] = &[
    include_str!("messages/en/general.txt"),
    include_str!("messages/en/images.txt"),
    include_str!("messages/en/services.txt"),
    include_str!("messages/en/databases.txt"),
    include_str!("messages/en/looking.txt"),
    include_str!("messages/en/menu.txt"),
];

/// The sentences of one language.
#[derive(Debug)]
pub struct Catalogue {
    sentences: HashMap<&'static str, &'static str>,
}

impl Catalogue {
    pub fn english() -> Self {
        Self { sentences: lines(ENGLISH).collect() }
    }

    /// The sentence for a message. A key that is not there, which a test rules out, shows itself.
    pub fn text(&self, message: &Message) -> String {
        let Some(sentence) = self.sentences.get(message.key) else {
            return format!("{} {:?}", message.key, message.values);
        };
        fill(sentence, &message.values)
    }
}

fn lines(texts: &'static [&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, sentence)| (key.trim(), sentence.trim()))
}

fn fill(sentence: &str, values: &[(&'static str, String)]) -> String {
    let mut filled = String::with_capacity(sentence.len() + 32);
    let mut rest = sentence;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            break;
        };
        let mut parts = rest[open + 1..open + close].split('|');
        let name = parts.next().unwrap_or_default();
        let (name, is_size) = name.strip_suffix(":size").map_or((name, false), |name| (name, true));
        let value = values.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        match (parts.next(), parts.next()) {
            (Some(one), Some(many)) => filled.push_str(if value == "1" { one } else { many }),
            _ if is_size => filled.push_str(&table::size(value.parse().unwrap_or_default())),
            _ => filled.push_str(value),
        }
        rest = &rest[open + close + 1..];
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn values_and_plurals_are_filled_in() {
        let values = [("count", "1".to_owned()), ("what", "redis".to_owned())];
        assert_eq!(fill("{count} {count|image|images}: {what}", &values), "1 image: redis");
        assert_eq!(fill("{count|image|images}", &[("count", "2".to_owned())]), "images");
    }

    #[test]
    fn every_key_is_there_once() {
        let keys: Vec<&str> = lines(ENGLISH).map(|(key, _)| key).collect();
        let distinct: BTreeSet<&str> = keys.iter().copied().collect();
        assert_eq!(keys.len(), distinct.len());
    }

    /// Every `Message::new("key")` of the source with the placeholders that are given behind it.
    fn used() -> Vec<(String, BTreeSet<String>)> {
        fn walk(folder: &Path, texts: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, texts);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    texts.push(std::fs::read_to_string(path).unwrap());
                }
            }
        }
        let mut texts = Vec::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
        let call = regex::Regex::new(r#"Message::new\(\s*"([a-z0-9-]+)",?\s*\)"#).unwrap();
        let chosen = regex::Regex::new(r#"(?:=> |\{\s*)"([a-z]+-[a-z0-9]+-[a-z0-9-]+)"\s*[,}]"#).unwrap();
        let with = regex::Regex::new(r#"\.with\(\s*"([a-z_]+)""#).unwrap();
        let mut used = Vec::new();
        for text in &texts {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for found in call.captures_iter(code) {
                // Values follow within a few lines, sometimes after the end of a match over several keys.
                let behind = &code[found.get(0).unwrap().end()..];
                let end = behind.char_indices().nth(900).map_or(behind.len(), |(end, _)| end);
                let names = with.captures_iter(&behind[..end]).map(|name| name[1].to_owned()).collect();
                used.push((found[1].to_owned(), names));
            }
            // A key that is chosen before its message is made.
            for found in chosen.captures_iter(code) {
                used.push((found[1].to_owned(), BTreeSet::new()));
            }
        }
        used
    }

    #[test]
    fn every_key_that_the_program_uses_has_a_sentence_and_every_sentence_is_used() {
        let known: BTreeSet<String> = lines(ENGLISH).map(|(key, _)| key.to_owned()).collect();
        let used: BTreeSet<String> = used().into_iter().map(|(key, _)| key).collect();
        let missing: Vec<&String> = used.difference(&known).collect();
        let unused: Vec<&String> = known.difference(&used).collect();
        assert!(missing.is_empty() && unused.is_empty(), "missing: {missing:?}\nunused: {unused:?}");
    }

    #[test]
    fn every_placeholder_of_a_sentence_gets_a_value() {
        let sentences: HashMap<&str, &str> = lines(ENGLISH).collect();
        let placeholder = regex::Regex::new(r"\{([a-z_]+)[:|}]").unwrap();
        for (key, given) in used() {
            let Some(sentence) = sentences.get(key.as_str()) else { continue };
            let wanted: BTreeSet<String> = placeholder.captures_iter(sentence).map(|name| name[1].to_owned()).collect();
            assert!(wanted.is_subset(&given), "{key}: wants {wanted:?}, gets {given:?}");
        }
    }
}
