//! Files of `NAME=value` lines, read as Compose reads them (compose-go, `dotenv`), but for two things: a variable
//! without a value is an error, never an empty string; and so is text behind a closing quote, which Compose drops.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::variables::{Dialect, Template};
use crate::catalogue::io_error;
use crate::fs::open_regular;
use crate::report::{Message, Told};

/// An `env_file` that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    Read { path: PathBuf, source: std::io::Error },
    Line { path: PathBuf, line: usize, why: Message },
    TooLarge { path: PathBuf },
}

impl Told for EnvFileError {
    fn message(&self) -> Message {
        match self {
            Self::Read { path, .. } => message!("error-env-file-read", path = path.display()),
            Self::Line { path, line, why } => {
                message!("error-env-file-line", path = path.display(), line = line, why = why)
            }
            Self::TooLarge { path } => message!("error-env-file-large", path = path.display()),
        }
    }
}

const LARGEST_FILE: u64 = 1 << 20;

/// What the variables of one file may come to: the kernel takes 2 MiB for all arguments and the environment together.
const LARGEST_VALUES: usize = 4 << 20;

/// What one entry of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvEntry {
    pub name: String,
    /// Absent for a name alone, which takes the value that the caller has for it.
    pub value: Option<String>,
}

/// An entry that can't be used: its line, from 1, and why. Never its value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvProblem {
    pub line: usize,
    pub why: Message,
}

/// The pairs of a file, in order; `lookup` has the values that win over the file's own in `${NAME}`.
pub fn read_env_file(
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, EnvFileError> {
    read_env_text(path, open_regular(path).map(|file| Box::new(file) as Box<dyn Read>), lookup)
}

/// As [`read_env_file`], of what was opened for the file.
pub(in crate::manifest) fn read_env_text(
    path: &Path,
    opened: io::Result<Box<dyn Read>>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, EnvFileError> {
    let read = |source| EnvFileError::Read { path: path.to_owned(), source };
    let text = opened.and_then(|file| read_to_limit(file, LARGEST_FILE)).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => EnvFileError::TooLarge { path: path.to_owned() },
        _ => read(source),
    })?;
    let wrong = |EnvProblem { line, why }| EnvFileError::Line { path: path.to_owned(), line, why };
    let mut pairs = Vec::new();
    for (line, entry) in env_entries(&text, lookup) {
        let entry = entry.map_err(wrong)?;
        let value = entry.value.ok_or_else(|| wrong(EnvProblem { line, why: NO_PAIR }))?;
        pairs.push((entry.name, value));
    }
    Ok(pairs)
}

/// The text of a regular file of at most so many bytes. A pipe or a device is an error, never waited for.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] for one that has more.
pub fn read_capped(path: &Path, largest: u64) -> io::Result<String> {
    read_to_limit(open_regular(path)?, largest)
}

/// Whether the file of a secret holds nothing, or only the newline at its end that does not count.
pub fn is_empty_secret(path: &Path) -> bool {
    let may_be = path.metadata().is_ok_and(|file| file.is_file() && file.len() <= 2);
    may_be && read_capped(path, 2).is_ok_and(|text| matches!(text.as_str(), "" | "\n" | "\r\n"))
}

fn read_to_limit(file: impl Read, largest: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = file.take(largest + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io_error(io::ErrorKind::InvalidData, message!("error-input-not-utf8")),
        _ => error,
    })?;
    if read as u64 > largest {
        return Err(io_error(io::ErrorKind::FileTooLarge, message!("error-input-too-large")));
    }
    Ok(text)
}

const NO_PAIR: Message = message!("env-no-pair");

/// The entries of a file and the lines that they begin on, from 1.
///
/// `NAME=value` or `NAME: value`, with or without `export`; blank lines and those that begin with `#` say nothing. An unquoted value ends
/// before ` #`. A quoted one may go over several lines; `\'` and `\"` stand for the quote. Double quotes know the escapes of C, and
/// `\$`. `${NAME}` is filled in except within single quotes, from `lookup`, then from the entries above; `$$` is a dollar.
pub fn env_entries(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<(usize, Result<EnvEntry, EnvProblem>)> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, left: LARGEST_VALUES };
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut entries = Vec::new();
    while reader.skip_to_entry() {
        let line = reader.line;
        let entry = reader.entry(&|name| lookup(name).or_else(|| known.get(name).cloned()));
        if entry.is_err() {
            // What follows a quote without an end can't be told from what is in it.
            reader.skip_line();
        }
        if let Ok(EnvEntry { name, value: Some(value) }) = &entry {
            known.insert(name.clone(), value.clone());
        }
        entries.push((line, entry.map_err(|why| EnvProblem { line, why })));
    }
    entries
}

/// The entries of a file whose values are taken as they are (`format: raw`): no quotes, no variables, no comments behind.
pub fn raw_entries(text: &str) -> Vec<(usize, Result<EnvEntry, EnvProblem>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_start()));
    let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(line, text)| {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        let is_right = is_name(name) && value.as_ref().is_none_or(|value| !value.contains('\0'));
        let entry = EnvEntry { name: name.to_owned(), value };
        (line, if is_right { Ok(entry) } else { Err(EnvProblem { line, why: NO_PAIR }) })
    });
    entries.collect()
}

/// Letters and digits of any script, and `_ . - [ ]`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.-[]".contains(c))
}

/// Blanks but line breaks.
fn is_blank(character: char) -> bool {
    character != '\n' && character.is_whitespace()
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    /// How many bytes values may still come to.
    left: usize,
}

impl<'t> Reader<'t> {
    /// Passes over blank lines and comments; whether anything follows.
    fn skip_to_entry(&mut self) -> bool {
        loop {
            let trimmed = self.rest.trim_start();
            self.line += self.rest[..self.rest.len() - trimmed.len()].matches('\n').count();
            self.rest = trimmed;
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.skip_line();
        }
    }

    /// To the beginning of the next line.
    fn skip_line(&mut self) -> &'t str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line
    }

    fn entry(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<EnvEntry, Message> {
        if let Some(rest) = self.rest.strip_prefix("export").filter(|rest| rest.starts_with(is_blank)) {
            self.rest = rest.trim_start_matches(is_blank);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim_end();
        if !is_name(name) {
            return Err(NO_PAIR);
        }
        let name = name.to_owned();
        if !self.rest[end..].starts_with(['=', ':']) {
            self.rest = &self.rest[end..];
            return Ok(EnvEntry { name, value: None });
        }
        self.rest = self.rest[end + 1..].trim_start_matches(is_blank);
        let value = match self.rest.chars().next() {
            Some('\'') => self.quoted('\'')?,
            Some('"') => {
                let text = self.quoted('"')?;
                self.fill(&unescape(&text), lookup)?
            }
            _ => {
                let line = self.skip_line();
                let end = line.find(" #").unwrap_or(line.len());
                self.fill(line[..end].trim_end(), lookup)?
            }
        };
        if value.contains('\0') {
            return Err(message!("env-nul"));
        }
        Ok(EnvEntry { name, value: Some(value) })
    }

    /// A quoted value, which the quote begins: as it is, but for its escaped quotes.
    fn quoted(&mut self, quote: char) -> Result<String, Message> {
        let mut value = String::new();
        let mut is_escaped = false;
        for (index, character) in self.rest.char_indices().skip(1) {
            if character == quote && !is_escaped {
                let (inside, behind) = (&self.rest[..index], &self.rest[index + 1..]);
                let remark = behind.split('\n').next().unwrap_or_default().trim_start();
                if !remark.is_empty() && !remark.starts_with('#') {
                    return Err(message!("env-after-quote"));
                }
                self.line += inside.matches('\n').count();
                self.rest = behind.trim_start_matches(is_blank);
                return Ok(value);
            }
            if character == '\\' && !is_escaped {
                is_escaped = true;
                continue;
            }
            if is_escaped && character != quote {
                value.push('\\');
            }
            is_escaped = false;
            value.push(character);
        }
        Err(message!("env-open-quote"))
    }

    fn fill(&mut self, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Message> {
        let mut template = Template { lookup, dialect: Dialect::EnvFile, left: self.left };
        let filled = template.fill(text).map_err(|failure| match failure.help {
            Some(help) => message!("env-with-help", message = failure.message, help = help),
            None => failure.message,
        })?;
        self.left = self.left.saturating_sub(filled.len());
        Ok(filled)
    }
}

/// The escapes of C, and `\$` as the `$$` that stands for a dollar; all else stays as it is.
fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        unescaped.push_str(&rest[..place]);
        let escape = &rest[place + 1..];
        let mut characters = escape.chars();
        let known = match characters.next() {
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some('"') => Some('"'),
            Some('\\') => Some('\\'),
            _ => None,
        };
        let octal = escape.strip_prefix('0').and_then(|digits| digits.get(..3));
        let octal = octal.filter(|digits| digits.bytes().all(|digit| (b'0'..b'8').contains(&digit)));
        rest = characters.as_str();
        match (known, octal.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (Some(character), _) => unescaped.push(character),
            (None, Some(byte)) => {
                unescaped.push(char::from(byte));
                rest = &rest[3..];
            }
            (None, None) if escape.starts_with('$') => unescaped.push_str("$$"),
            (None, None) => {
                unescaped.push('\\');
                rest = escape;
            }
        }
    }
    unescaped.push_str(rest);
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Docker Compose 2.40 makes of the same lines (`docker compose config`).
    const AS_COMPOSE: &[(&str, &str, &str)] = &[
        ("A=1", "A", "1"),
        ("D=$ABOVE", "D", "above"),
        ("E=${ABOVE}z", "E", "abovez"),
        ("F='$ABOVE ${ABOVE}'", "F", "$ABOVE ${ABOVE}"),
        ("G=\"q $ABOVE\"", "G", "q above"),
        (r"K='adsf#\'#sdf'", "K", "adsf#'#sdf"),
        (r#"L="x\ty\"z\\w\$ABOVE""#, "L", "x\ty\"z\\w$ABOVE"),
        ("M=\"line1\nline2 $ABOVE\"", "M", "line1\nline2 above"),
        ("KEY='-----BEGIN\nabc\n-----END'", "KEY", "-----BEGIN\nabc\n-----END"),
        ("N: yaml", "N", "yaml"),
        ("export\tP=tabbed", "P", "tabbed"),
        ("export B = two words # note", "B", "two words"),
        ("Q=a#b", "Q", "a#b"),
        ("R=a #b", "R", "a"),
        ("S=pa$$word", "S", "pa$word"),
        ("T=5$ and $1", "T", "5$ and $1"),
        (r#"U="\0123 \q \a""#, "U", "S \\q \u{7}"),
        (r"V='\\'", "V", r"\\"),
        ("W= # comment", "W", "# comment"),
        ("X=${UNSET:-default}", "X", "default"),
        ("Y=${OUTSIDE}", "Y", "outside"),
        ("AA.b-c=ok", "AA.b-c", "ok"),
        ("BB=\"a\" # trailing", "BB", "a"),
        ("CC=trail  \r", "CC", "trail"),
        ("DD=", "DD", ""),
        ("EE=${EMPTY}", "EE", ""),
    ];

    fn outside(name: &str) -> Option<String> {
        [("OUTSIDE", "outside"), ("EMPTY", "")]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    }

    #[test]
    fn values_are_what_compose_makes_of_the_same_lines() {
        for (line, name, value) in AS_COMPOSE {
            let text = format!("\u{feff}# site\nABOVE=above\nOUTSIDE=below\n\n{line}\nLAST=1\n");
            let entries = env_entries(&text, &outside);
            let pairs: Vec<_> = entries.into_iter().map(|(_, entry)| entry.unwrap()).collect();
            let wanted = EnvEntry { name: (*name).to_owned(), value: Some((*value).to_owned()) };
            assert_eq!((pairs.len(), &pairs[2]), (4, &wanted), "{line}");
        }
    }

    #[test]
    fn what_can_t_be_used_is_named_by_its_line_and_never_by_its_value() {
        for (line, why) in [
            ("two secret words", "a line is NAME=value"),
            ("=secret", "a line is NAME=value"),
            ("A!=secret", "a line is NAME=value"),
            ("A='secret", "a quote has no end"),
            ("A=\"secret\" y", "something follows the closing quote"),
            ("A=$UNSET", "the variable UNSET has no value"),
            ("A=${UNSET:?ask}", "the variable UNSET has no value: ask"),
            ("A=${", "a `${` has no closing brace"),
            ("A=${1}", "`${1}` names no variable"),
        ] {
            let entries = env_entries(&format!("OK=\"1\n2\"\n\n{line}\n"), &outside);
            let (_, problem) = entries.into_iter().find(|(_, entry)| entry.is_err()).unwrap();
            let EnvProblem { line: number, why: said } = problem.unwrap_err();
            let said = crate::catalogue::Catalogue::english().text(&said);
            assert_eq!(number, 4, "{line}");
            assert!(said.starts_with(why) && !said.contains("secret"), "{line}: {said}");
        }
    }

    #[test]
    fn a_name_alone_takes_the_callers_value_and_is_no_value_for_a_manifest() {
        let alone = |text| env_entries(text, &outside).remove(0).1.unwrap();
        assert_eq!(alone("A"), EnvEntry { name: "A".to_owned(), value: None });
        assert_eq!(alone("export A\nB=1"), EnvEntry { name: "A".to_owned(), value: None });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.env");
        std::fs::write(&path, "A=1\nB\n").unwrap();
        assert!(matches!(read_env_file(&path, &outside), Err(EnvFileError::Line { line: 2, .. })));
    }

    #[test]
    fn raw_values_are_taken_as_they_are() {
        let entries = raw_entries("# x\n A='q' # $B\r\nC\nD=\n");
        let pairs: Vec<_> = entries.into_iter().map(|(_, entry)| entry.unwrap()).map(|e| (e.name, e.value)).collect();
        let wanted = [("A", Some("'q' # $B")), ("C", None), ("D", Some(""))];
        assert_eq!(pairs, wanted.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    }

    #[test]
    fn values_that_double_again_and_again_end() {
        let mut text = "A0=xxxxxxxxxxxxxxxx\n".to_owned();
        for number in 1..40 {
            text.push_str(&format!("A{number}=$A{}$A{}\n", number - 1, number - 1));
        }
        assert!(env_entries(&text, &outside).iter().any(|(_, entry)| entry.is_err()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_at_all_makes_it_panic(text in "([A-C =:'\"\\\\$\\{\\}#\n]|export |é|\\PC)*") {
            let _ = env_entries(&text, &outside);
            let _ = raw_entries(&text);
        }
    }
}
