//! Files of `NAME=value` lines, as Compose's `env_file` has them.

use std::path::{Path, PathBuf};

/// An `env_file` that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    #[error("can't read the env_file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {why}")]
    Line { path: PathBuf, line: usize, why: &'static str },
    #[error("the env_file {path} is larger than 1 MiB")]
    TooLarge { path: PathBuf },
}

const LARGEST_FILE: u64 = 1 << 20;

/// The pairs of a file, in order.
///
/// Blank lines and lines that begin with `#` say nothing; `export ` before a name is passed over. A value in single
/// quotes is taken as it is; one in double quotes knows `\n`, `\t`, `\"`, `\\` and `\$`; an unquoted one ends before ` #`.
pub fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let read = |source| EnvFileError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > LARGEST_FILE {
        return Err(EnvFileError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let pairs = env_lines(&text).map(|(line, pair)| match pair {
        Ok((name, Some(value))) => Ok((name, value)),
        Ok((_, None)) => Err((line, NO_PAIR)),
        Err(why) => Err((line, why)),
    });
    let pairs: Result<Vec<_>, (usize, &'static str)> = pairs.collect();
    pairs.map_err(|(line, why)| EnvFileError::Line { path: path.to_owned(), line, why })
}

const NO_PAIR: &str = "a line is NAME=value, with a name without spaces";

/// The number of each line that says something, from 1, and what it says: a name and its value, a name alone, or why it is
/// neither. Never the value of a line that is wrong: it may be a secret.
pub fn env_lines(text: &str) -> impl Iterator<Item = (usize, Result<(String, Option<String>), &'static str>)> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let says_something = !line.is_empty() && !line.starts_with('#');
        says_something.then(|| (index + 1, read_line(line.strip_prefix("export ").unwrap_or(line))))
    })
}

fn read_line(line: &str) -> Result<(String, Option<String>), &'static str> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (line.trim(), None),
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '\0');
    if !is_name(name) || value.is_some_and(|value| value.contains('\0')) {
        return Err(NO_PAIR);
    }
    Ok((name.to_owned(), value.map(unquote).transpose()?))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let unclosed = "a quote has no end on its line";
    if let Some(rest) = value.strip_prefix('\'') {
        let end = rest.find('\'').ok_or(unclosed)?;
        return only_comment(&rest[end + 1..]).map(|()| rest[..end].to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Ok(value[..end].trim_end().to_owned());
    };
    let mut unquoted = String::new();
    let mut characters = rest.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return only_comment(&rest[index + 1..]).map(|()| unquoted),
            '\\' => match characters.next().map(|(_, escaped)| escaped).ok_or(unclosed)? {
                'n' => unquoted.push('\n'),
                't' => unquoted.push('\t'),
                'r' => unquoted.push('\r'),
                escaped @ ('"' | '\\' | '$') => unquoted.push(escaped),
                other => unquoted.extend(['\\', other]),
            },
            other => unquoted.push(other),
        }
    }
    Err(unclosed)
}

fn only_comment(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err("something follows the closing quote") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_and_comments_end_them() {
        let text = "# site\nA=1\nexport B = two words # note\nC='$x # y'\nD=\"a\\n\\\"b\\\"\"\n\nE=\nF=a#b\n";
        let pairs: Vec<_> = env_lines(text).map(|(_, pair)| pair.unwrap()).collect();
        let expected = [("A", "1"), ("B", "two words"), ("C", "$x # y"), ("D", "a\n\"b\""), ("E", ""), ("F", "a#b")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        let wrong = |text: &str| env_lines(text).find(|(_, pair)| pair.is_err()).map(|(line, _)| line);
        assert_eq!(wrong("A=1\ntwo words\n"), Some(2));
        assert_eq!(wrong("A='x\n"), Some(1));
        assert_eq!(wrong("A=\"x\" y"), Some(1));
        assert_eq!(wrong("=x"), Some(1));
        assert_eq!(env_lines("A").next(), Some((1, Ok(("A".to_owned(), None)))));
    }

    #[test]
    fn a_name_alone_is_no_value_for_a_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.env");
        std::fs::write(&path, "A=1\nB\n").unwrap();
        assert!(matches!(read_env_file(&path), Err(EnvFileError::Line { line: 2, .. })));
    }
}
