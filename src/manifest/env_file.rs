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
    parse(&text).map_err(|(line, why)| EnvFileError::Line { path: path.to_owned(), line, why })
}

fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |why| (index + 1, why);
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(fail("a line must be NAME=value"))?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') || value.contains('\0') {
            return Err(fail("a line must be NAME=value, with a name without spaces"));
        }
        pairs.push((name.to_owned(), unquote(value.trim()).map_err(fail)?));
    }
    Ok(pairs)
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
        let pairs = parse(text).unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "$x # y"), ("D", "a\n\"b\""), ("E", ""), ("F", "a#b")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        assert_eq!(parse("A=1\nnonsense\n").unwrap_err().0, 2);
        assert_eq!(parse("A='x\n").unwrap_err().0, 1);
        assert!(parse("A=\"x\" y").is_err());
    }
}
