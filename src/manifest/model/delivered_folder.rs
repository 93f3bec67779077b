//! Folders that a delivery brings, and where they belong.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use super::glob::glob_matches;
use super::{InvalidValue, is_default, text_value};

/// How much of a target a mirror removes without the count being typed, in percent, where the manifest does not say.
pub(in crate::manifest) const MOST_REMOVED: u32 = 20;

/// A folder that a delivery brings: `dpl files` puts it in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeliveredFolder {
    /// The folder as it was delivered.
    pub from: PathBuf,
    /// The folder that it becomes, below `paths.data` or the manifest's folder.
    pub to: PathBuf,
    /// What becomes of what lies there already; `merge` where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: DeliveryMode,
    /// The owner of all that is delivered, as numbers: `USER:GROUP`; where absent, that of what is replaced, and of the target for
    /// what is new.
    #[serde(skip_serializing_if = "is_default")]
    pub owner: Option<Owner>,
    /// The permissions of all that is delivered; where absent, those of the files as they were delivered.
    #[serde(skip_serializing_if = "is_default")]
    pub permissions: Permissions,
    /// What is not delivered and stays as it is in the target: `cache/`, `*.pyc`, `conf/local.yaml`, `logs/**`.
    #[serde(skip_serializing_if = "is_default")]
    pub exclude: Vec<ExcludePattern>,
    /// Services that are restarted afterwards, where they run: names and globs.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: Vec<String>,
    /// Names that the target had before, in the same folder: one that is still there becomes the target.
    #[serde(skip_serializing_if = "is_default")]
    pub was: Vec<String>,
    /// How much of the target `mirror` removes without the count being typed, in percent of its files; 20 where absent.
    pub most_removed: u32,
    /// The target may lie outside `paths.data` and the manifest's folder.
    #[serde(skip_serializing_if = "is_default")]
    pub outside: bool,
}

/// What becomes of what lies in the target already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMode {
    /// The target becomes exactly what was delivered.
    Mirror,
    /// Files are added and replaced.
    #[default]
    Merge,
    /// Files are added; none is replaced.
    Add,
}

impl DeliveryMode {
    /// The word that the manifest has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::Merge => "merge",
            Self::Add => "add",
        }
    }
}

/// Permissions of what is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Permissions {
    /// Of files.
    #[serde(skip_serializing_if = "is_default")]
    pub files: Option<FileMode>,
    /// Of folders.
    #[serde(skip_serializing_if = "is_default")]
    pub folders: Option<FileMode>,
}

/// An owner and a group, by number: names differ between the host and containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.user, self.group)
    }
}

impl FromStr for Owner {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The last number means "leave it as it is" to chown(2).
            true => text.parse::<u32>().ok().filter(|number| *number != u32::MAX),
            false => None,
        };
        let parts = text.split_once(':').and_then(|(user, group)| Some((number(user)?, number(group)?)));
        let (user, group) = parts.ok_or_else(|| InvalidValue(message!("value-owner", text = text)))?;
        Ok(Self { user, group })
    }
}

text_value!(Owner, "Owner", { "type": "string", "pattern": "^[0-9]+:[0-9]+$|\\$" });

/// Permissions as chmod takes them: `0644`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl fmt::Display for FileMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = match text.len() {
            4 => text.strip_prefix('0').unwrap_or_default(),
            _ => text,
        };
        let is_octal = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = is_octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        bits.map(Self).ok_or_else(|| InvalidValue(message!("value-file-mode", text = text)))
    }
}

text_value!(FileMode, "FileMode", { "type": "string", "pattern": "^0?[0-7]{3}$|\\$" });

/// A pattern of paths as a line of a `.gitignore` has them, without `!`, brackets and backslashes: one without a slash inside
/// means a name at any depth, one with a slash a path from the top; a slash at its end means folders alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcludePattern {
    text: String,
}

impl fmt::Display for ExcludePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for ExcludePattern {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inside = text.strip_prefix('/').unwrap_or(text);
        let inside = inside.strip_suffix('/').unwrap_or(inside);
        let is_fine = !inside.is_empty()
            && !text.starts_with(['!', '#'])
            && !text.contains(['[', ']', '\\', '\n'])
            && text.trim() == text
            && inside.split('/').all(|part| !["", ".", ".."].contains(&part));
        match is_fine {
            true => Ok(Self { text: text.to_owned() }),
            false => Err(InvalidValue(message!("value-exclude", text = text))),
        }
    }
}

text_value!(ExcludePattern, "ExcludePattern", { "type": "string", "pattern": "^[^!#\\[\\]\\\\][^\\[\\]\\\\]*$|\\$" });

impl ExcludePattern {
    /// Whether it means what lies at `path`, counted from the top of the folder. What lies below a folder that it means is not
    /// asked for.
    pub fn matches(&self, path: &Path, is_folder: bool) -> bool {
        let (pattern, only_folders) = match self.text.strip_suffix('/') {
            Some(pattern) => (pattern, true),
            None => (self.text.as_str(), false),
        };
        if only_folders && !is_folder {
            return false;
        }
        let names: Vec<String> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        match pattern.contains('/') {
            true => {
                let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
                parts_match(&parts, &names)
            }
            false => names.last().is_some_and(|name| glob_matches(pattern, name)),
        }
    }
}

/// `**` stands for any folders, also for none; at the end for anything inside.
fn parts_match(parts: &[&str], names: &[String]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), rest) => rest.is_some(),
        (Some((&"**", more)), Some((_, below))) => parts_match(more, names) || parts_match(parts, below),
        (Some((part, more)), Some((name, below))) => glob_matches(part, name) && parts_match(more, below),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let (path, is_folder) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        pattern.parse::<ExcludePattern>().unwrap().matches(Path::new(path), is_folder)
    }

    #[test]
    fn a_pattern_means_what_it_means_in_a_gitignore() {
        for (pattern, path) in [
            ("*.pyc", "a.pyc"),
            ("*.pyc", "a/b/c.pyc"),
            ("cache/", "cache/"),
            ("cache/", "a/cache/"),
            ("conf/local.yaml", "conf/local.yaml"),
            ("/top", "top"),
            ("logs/**", "logs/a/b"),
            ("**/tmp", "tmp"),
            ("**/tmp", "a/b/tmp"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z"),
            ("模块?", "x/模块二"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.pyc", "a.py"),
            ("cache/", "cache"),
            ("conf/local.yaml", "a/conf/local.yaml"),
            ("/top", "a/top"),
            ("logs/**", "logs/"),
            ("a/*/z", "a/b/c/z"),
            ("a/*", "a/b/c"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn values_print_as_they_are_read_and_others_are_refused() {
        for text in ["0:0", "1000:33"] {
            assert_eq!(text.parse::<Owner>().unwrap().to_string(), text);
        }
        for text in ["", "1000", "root:root", "1:", "-1:0", "4294967295:0", "+1:1"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
        assert_eq!("644".parse::<FileMode>().unwrap(), FileMode(0o644));
        assert_eq!("0750".parse::<FileMode>().unwrap().to_string(), "0750");
        for text in ["", "64", "0888", "4755", "06444", "u=rw"] {
            assert!(text.parse::<FileMode>().is_err(), "{text}");
        }
        for text in ["", "/", "!keep", "#x", "a[bc]", "a\\b", "../x", "a//b", " a", "./a"] {
            assert!(text.parse::<ExcludePattern>().is_err(), "{text}");
        }
    }
}
