//! Folders that a delivery brings, and where they belong.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

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
    /// What is not delivered and stays as it is in the target, by patterns as a `.gitignore` in that folder has them: `cache/`,
    /// `*.pyc`, `/conf/local.yaml`.
    #[serde(skip_serializing_if = "is_default")]
    pub exclude: Vec<String>,
    /// Services that are restarted afterwards, where they run: names and globs.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: Vec<String>,
    /// Names that the target had before, in the same folder: one that is still there becomes the target.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(inner(regex(pattern = r"^[^/]+$|\$")))]
    pub was: Vec<String>,
    /// How much of the target `mirror` removes without the count being typed, in percent of its files; 20 where absent.
    #[schemars(range(max = 100))]
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

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
