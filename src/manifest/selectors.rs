//! Choosing services and databases: numbers, ranges, lists, names, globs, groups, `all`, and `!` to leave out.
//!
//! One small language for the command line, the menu and written chains.

use std::collections::BTreeSet;

use super::model::Manifest;
use super::sites::SiteList;
use super::text::problem::nearest;
use crate::report::{Listed, Message, Told};

/// What can be chosen from: services or databases, numbered apart.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    noun: Noun,
    /// Number, name, groups.
    entries: Vec<Choice>,
    /// Numbers that are empty, and what was removed from them.
    removed: Vec<(usize, String)>,
    /// The first that there could be: data folders are numbered behind the databases.
    first_number: usize,
    last_number: usize,
}

/// What is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Noun {
    #[default]
    Service,
    Database,
    Data,
    Site,
}

impl Noun {
    fn one(self) -> Message {
        match self {
            Self::Service => message!("noun-service"),
            Self::Database => message!("noun-database"),
            Self::Data => message!("noun-data-folder"),
            Self::Site => message!("noun-site"),
        }
    }

    fn many(self) -> Message {
        match self {
            Self::Service => message!("noun-services"),
            Self::Database => message!("noun-databases"),
            Self::Data => message!("noun-data-folders"),
            Self::Site => message!("noun-sites"),
        }
    }

    /// The command that lists them.
    fn list(self) -> &'static str {
        match self {
            Self::Service => "dpl list",
            Self::Database => "dpl db list",
            Self::Data => "dpl data list",
            Self::Site => "dpl sites",
        }
    }
}

#[derive(Debug, Clone)]
struct Choice {
    number: usize,
    name: String,
    groups: Vec<String>,
}

/// A selector that means nothing, in one line that says what there is or was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SelectorError(Message);

impl SelectorError {
    /// What was typed is in it: line breaks and other control characters are shown, not done.
    fn new(mut message: Message) -> Self {
        let shown = |letter: char| match letter.is_control() {
            true => letter.escape_default().to_string(),
            false => letter.to_string(),
        };
        message.change_texts(&|text| text.chars().map(shown).collect());
        Self(message)
    }
}

impl Told for SelectorError {
    fn message(&self) -> Message {
        self.0.clone()
    }
}

/// What selectors chose: names by number, each once. Empty only by [`Selection::none`]: a selector that chooses nothing is an
/// error, and never means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    names: Vec<String>,
    /// Those that nothing but `all`, or `!x` alone, chose.
    only_by_all: BTreeSet<String>,
}

impl Selection {
    /// For a command that has something else to do.
    pub fn none() -> Self {
        Self::default()
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Whether nothing but `all` chose it, or that nothing but others was left out.
    pub fn is_only_by_all(&self, name: &str) -> bool {
        self.only_by_all.contains(name)
    }
}

/// One part of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    All,
    Numbers { first: usize, last: usize },
    Group(String),
    Glob(String),
    Name(String),
}

impl Choices {
    /// The services of a manifest, with their groups.
    pub fn services(manifest: &Manifest) -> Self {
        let services = &manifest.services;
        Self {
            noun: Noun::Service,
            entries: services
                .iter()
                .map(|(number, name, service)| Choice { number, name: name.to_owned(), groups: service.groups.clone() })
                .collect(),
            removed: (1..=services.last_number())
                .filter_map(|number| Some((number, services.removed_name(number)?.to_owned())))
                .collect(),
            first_number: 1,
            last_number: services.last_number(),
        }
    }

    /// The databases of a manifest.
    pub fn databases(manifest: &Manifest) -> Self {
        let databases = &manifest.databases;
        Self {
            noun: Noun::Database,
            entries: databases
                .iter()
                .map(|(number, name, _)| Choice { number, name: name.to_owned(), groups: Vec::new() })
                .collect(),
            removed: (1..=databases.last_number())
                .filter_map(|number| Some((number, databases.removed_name(number)?.to_owned())))
                .collect(),
            first_number: 1,
            last_number: databases.last_number(),
        }
    }

    /// The data folders of a manifest, numbered behind its databases.
    pub fn data(manifest: &Manifest) -> Self {
        let (data, before) = (&manifest.data, manifest.databases.last_number());
        let choice = |(number, name, _): (usize, &str, _)| Choice {
            number: before + number,
            name: name.to_owned(),
            groups: Vec::new(),
        };
        let removed = |number: usize| Some((before + number, data.removed_name(number)?.to_owned()));
        Self {
            noun: Noun::Data,
            entries: data.iter().map(choice).collect(),
            removed: (1..=data.last_number()).filter_map(removed).collect(),
            first_number: before + 1,
            last_number: if data.is_empty() { 0 } else { before + data.last_number() },
        }
    }

    /// The sites of a list, by name and group.
    pub fn sites(list: &SiteList) -> Self {
        let entries = list.sites.iter().enumerate().map(|(place, (name, site))| Choice {
            number: place + 1,
            name: name.clone(),
            groups: site.groups.clone(),
        });
        let (removed, last_number) = (Vec::new(), list.sites.len());
        Self { noun: Noun::Site, entries: entries.collect(), removed, first_number: 1, last_number }
    }

    /// What the choices are.
    pub fn noun(&self) -> Noun {
        self.noun
    }

    /// The names of all, by number.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// All, as the word `all` chooses them; none where the manifest has none.
    pub fn all(&self) -> Selection {
        let names = self.names();
        Selection { only_by_all: names.iter().cloned().collect(), names }
    }

    /// What the arguments choose, by number, each once. `!x` without anything that chooses leaves out of all.
    ///
    /// # Errors
    /// A part that is malformed or matches nothing, arguments that name nothing at all (`""`, `[]`, `,`), and a selection of
    /// which nothing is left.
    pub fn select<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Selection, SelectorError> {
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        let mut left_out: BTreeSet<usize> = BTreeSet::new();
        let mut is_all = false;
        let mut rest = String::new();
        for argument in arguments.iter().map(AsRef::as_ref) {
            // A name with a comma or a space in it (databases may have those) is chosen by the whole argument.
            match self.entries.iter().find(|entry| entry.name == argument) {
                Some(entry) => {
                    chosen.insert(entry.number);
                }
                None => {
                    rest.push(' ');
                    rest.push_str(argument);
                }
            }
        }
        for token in tokens(&rest)? {
            match token.strip_prefix('!') {
                Some("") => return Err(SelectorError::new(message!("selector-nothing-left-out"))),
                Some(token) => left_out.extend(self.matching(token, &parse(token)?)?),
                None => match parse(&token)? {
                    Term::All => is_all = true,
                    term => chosen.extend(self.matching(&token, &term)?),
                },
            }
        }
        if chosen.is_empty() && left_out.is_empty() && !is_all {
            return Err(SelectorError::new(message!("selector-none", nouns = self.noun.many(), text = rest.trim())));
        }
        is_all |= chosen.is_empty();
        let mut selection = Selection::default();
        for entry in self.entries.iter().filter(|entry| !left_out.contains(&entry.number)) {
            let is_named = chosen.contains(&entry.number);
            if is_named || is_all {
                selection.names.push(entry.name.clone());
            }
            if !is_named && is_all {
                selection.only_by_all.insert(entry.name.clone());
            }
        }
        if selection.names.is_empty() {
            return Err(SelectorError::new(match self.entries.is_empty() {
                true => message!("selector-manifest-has-none", nouns = self.noun.many()),
                false => message!("selector-nothing-left", noun = self.noun.one(), text = rest.trim()),
            }));
        }
        Ok(selection)
    }

    fn matching(&self, token: &str, term: &Term) -> Result<Vec<usize>, SelectorError> {
        // A number past the end is an error of its own, whatever else matches: it was written for a longer manifest.
        let is_past_the_end =
            matches!(term, Term::Numbers { first, last } if *first < self.first_number || *last > self.last_number);
        let found: Vec<usize> =
            self.entries.iter().filter(|entry| entry.matches(term)).map(|entry| entry.number).collect();
        if found.is_empty() || is_past_the_end { Err(self.nothing_matches(token, term)) } else { Ok(found) }
    }

    fn nothing_matches(&self, token: &str, term: &Term) -> SelectorError {
        let (noun, nouns) = (self.noun.one(), self.noun.many());
        let numbers = match self.last_number {
            0 => message!("selector-manifest-has-none", nouns = nouns),
            last if self.first_number > 1 => {
                message!("selector-numbers-from", first = self.first_number, last = last)
            }
            last => message!("selector-numbers", last = last),
        };
        SelectorError::new(match term {
            Term::All => message!("selector-manifest-has-none", nouns = nouns),
            Term::Numbers { first, last } if first == last => {
                match self.removed.iter().find(|(number, _)| number == first) {
                    Some((number, name)) => message!("selector-removed", number = number, name = name),
                    None => message!("selector-no-number", noun = noun, number = token, numbers = numbers),
                }
            }
            Term::Numbers { .. } => message!("selector-no-range", nouns = nouns, range = token, numbers = numbers),
            Term::Glob(glob) => message!("selector-no-glob", noun = noun, glob = glob),
            Term::Group(group) => {
                let groups: BTreeSet<&str> =
                    self.entries.iter().flat_map(|entry| entry.groups.iter().map(String::as_str)).collect();
                match nearest(group, groups.iter().copied()) {
                    Some(meant) => message!("selector-group-meant", group = group, meant = meant),
                    None if groups.is_empty() => message!("selector-no-groups", group = group, noun = noun),
                    None => {
                        let groups: Vec<String> = groups.iter().map(|group| format!("@{group}")).collect();
                        message!("selector-groups-are", group = group, groups = Listed::of(&groups))
                    }
                }
            }
            Term::Name(name) => match nearest(name, self.entries.iter().map(|entry| entry.name.as_str())) {
                Some(meant) => message!("selector-name-meant", noun = noun, name = name, meant = meant),
                None => message!("selector-no-name", noun = noun, name = name, list = self.noun.list()),
            },
        })
    }
}

impl Choice {
    fn matches(&self, term: &Term) -> bool {
        match term {
            Term::All => true,
            Term::Numbers { first, last } => (*first..=*last).contains(&self.number),
            Term::Group(group) => self.groups.contains(group),
            Term::Glob(glob) => {
                let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), self.name.chars().collect());
                glob_matches(&glob, &name)
            }
            Term::Name(name) => self.name == *name,
        }
    }
}

/// Whether a selector would read this name as a number, a range, `all`, a group or an exclusion.
pub(super) fn reads_as_selector(name: &str) -> bool {
    name.starts_with(['!', '@']) || !matches!(parse(name), Ok(Term::Name(_)) | Ok(Term::Glob(_)))
}

/// Cuts at commas and spaces, inside brackets and out; characters as a Chinese keyboard writes them count as theirs.
fn tokens(text: &str) -> Result<Vec<String>, SelectorError> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    let mut open = false;
    let unbalanced = || SelectorError::new(message!("selector-brackets", text = text.trim()));
    for character in text.chars().map(narrow) {
        match character {
            '[' if open || !token.trim_start_matches('!').is_empty() => return Err(unbalanced()),
            '[' if token == "!" => {
                return Err(SelectorError::new(message!("selector-not-one")));
            }
            '[' => open = true,
            ']' if !open => return Err(unbalanced()),
            ',' | ']' => {
                open &= character != ']';
                tokens.extend(Some(std::mem::take(&mut token)).filter(|token| !token.is_empty()));
            }
            blank if blank.is_whitespace() => {
                tokens.extend(Some(std::mem::take(&mut token)).filter(|token| !token.is_empty()));
            }
            other => token.push(other),
        }
    }
    if open {
        return Err(unbalanced());
    }
    tokens.extend(Some(token).filter(|token| !token.is_empty()));
    Ok(tokens)
}

/// Full-width forms and Chinese punctuation to their ASCII twins.
pub fn narrow(character: char) -> char {
    match character {
        '，' | '、' => ',',
        '【' | '［' => '[',
        '】' | '］' => ']',
        '　' => ' ',
        // The block of full-width forms lies 0xFEE0 above ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        other => other,
    }
}

/// What people write between the ends of a range; `～` has become `~` by then.
const DASHES: [char; 4] = ['-', '~', '–', '—'];

fn parse(token: &str) -> Result<Term, SelectorError> {
    if token == "all" {
        return Ok(Term::All);
    }
    if let Some(group) = token.strip_prefix('@') {
        return Ok(Term::Group(group.to_owned()));
    }
    if let Some(number) = number(token) {
        return Ok(Term::Numbers { first: number, last: number });
    }
    if let Some((first, last)) = token.split_once("..").or_else(|| token.split_once(DASHES)) {
        // A Chinese dash is two characters.
        let last = last.trim_start_matches('—');
        let is_range = |text: &str| text.is_empty() || number(text).is_some();
        if is_range(first) && is_range(last) {
            return match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Ok(Term::Numbers { first, last }),
                (Some(first), Some(last)) => {
                    Err(SelectorError::new(message!("selector-backwards", text = token, first = last, last = first)))
                }
                _ => Err(SelectorError::new(message!("selector-not-a-range", text = token))),
            };
        }
    }
    if token.contains(['*', '?']) { Ok(Term::Glob(token.to_owned())) } else { Ok(Term::Name(token.to_owned())) }
}

/// A number of any length: one too large for the machine is too large for every manifest as well.
fn number(text: &str) -> Option<usize> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().unwrap_or(usize::MAX))
}

/// `*` stands for any characters, `?` for one.
fn glob_matches(glob: &[char], name: &[char]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(character) if *character == '?' || *character == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests;
