//! Image references.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, text_value};
use crate::fs::Digest;
use crate::report::{Message, Told as _};

/// An image reference in its familiar form: `expert/expert_ui:latest`, `postgres@sha256:…` (the grammar of
/// distribution's reference package). Without a tag or a digest it means `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What stands in while errors are collected; a manifest with errors never leaves its reader.
impl Default for Reference {
    fn default() -> Self {
        Self { name: "none".to_owned(), tag: Some("latest".to_owned()), digest: None }
    }
}

const LONGEST_NAME: usize = 255;

impl Reference {
    /// The familiar name without tag or digest: `expert/expert_ui`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `None` only for a reference by digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The form with registry and library that containerd keeps: `docker.io/library/redis:7`.
    pub fn normalised(&self) -> String {
        let (first, rest) = self.name.split_once('/').unwrap_or(("", &self.name));
        match (is_registry(first), first, rest) {
            (true, ..) => self.to_string(),
            (false, "", _) => format!("docker.io/library/{self}"),
            (false, ..) => format!("docker.io/{self}"),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: Message| InvalidValue(message!("invalid-reference", text = text, why = why));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|error| wrong(error.message()))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before the last slash belongs to a registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            let mut bytes = tag.bytes();
            let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !first || tag.len() > 128 || !bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
                return Err(wrong(message!("reference-tag")));
            }
        }
        let is_id = |hex: &str| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        // The engine takes 64 hexadecimal digits alone for one as well.
        let is_bare_id = tag.is_none() && digest.is_none() && is_id(name);
        if is_bare_id || (name == "sha256" && tag.is_some_and(is_id)) {
            return Err(wrong(message!("reference-id")));
        }
        // The two names of Docker Hub mean the same.
        let hub = name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/"));
        let name = hub.unwrap_or(name);
        let name = name.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(name);
        check_name(name).map_err(wrong)?;
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { name: name.to_owned(), tag, digest })
    }
}

fn check_name(name: &str) -> Result<(), Message> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(message!("reference-length"));
    }
    let parts: Vec<&str> = name.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        if index == 0 && parts.len() > 1 && is_registry(part) {
            if !is_host_and_port(part) {
                return Err(message!("reference-registry"));
            }
        } else if !is_path_component(part) {
            return Err(message!("reference-parts"));
        }
    }
    Ok(())
}

/// Whether the part before the first slash names a registry (distribution, `splitDockerDomain`): a name of Docker Hub's has
/// neither dots nor colons nor capitals.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(|sign: char| matches!(sign, '.' | ':') || sign.is_ascii_uppercase())
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn is_host_and_port(part: &str) -> bool {
    let (is_host, port) = match part.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => {
            let is_address =
                address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') && address.contains(':');
            (is_address, port)
        }
        Some(None) => return false,
        None => {
            let at = part.find(':').unwrap_or(part.len());
            (part[..at].split('.').all(is_host_label), &part[at..])
        }
    };
    let is_port = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_host_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    part.split(|character: char| alphanumeric(character as u32 as u8) && character.is_ascii())
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

text_value!(Reference, "Reference", { "type": "string", "minLength": 1 });

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        assert_eq!(reference("redis").to_string(), "redis:latest");
        assert_eq!(reference("docker.io/library/redis:7").to_string(), "redis:7");
        assert_eq!(reference("index.docker.io/library/redis:7").to_string(), "redis:7");
        assert_eq!(reference("127.0.0.1:5000/a/b").to_string(), "127.0.0.1:5000/a/b:latest");
    }

    #[test]
    fn the_normalised_form_names_registry_and_library() {
        assert_eq!(reference("redis:7").normalised(), "docker.io/library/redis:7");
        assert_eq!(reference("expert/expert_ui").normalised(), "docker.io/expert/expert_ui:latest");
        assert_eq!(reference("localhost/x:1").normalised(), "localhost/x:1");
    }

    #[test]
    fn registries_have_addresses_of_ipv6_and_names_with_capitals() {
        for (text, normalised) in [
            ("[::1]:5000/v6:1", "[::1]:5000/v6:1"),
            ("[2001:DB8::1]/team/app:1", "[2001:DB8::1]/team/app:1"),
            ("MyHost/app:1", "MyHost/app:1"),
            ("Registry.Example.com:5000/team/app:1", "Registry.Example.com:5000/team/app:1"),
        ] {
            assert_eq!(reference(text).to_string(), text);
            assert_eq!(reference(text).normalised(), normalised);
        }
        assert_eq!(reference("[::1]:5000/v6").to_string(), "[::1]:5000/v6:latest");
        for text in
            ["[::1]:5000", "[::1/v6:1", "[]/v6:1", "[::1]x/v6:1", "[::1]:/v6:1", "[::g]/v6:1", "MyHost:1", "team/App:1"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_fields_references_parse_as_they_are() {
        for text in ["metis/metis_worker_gpu:v1.5_no_subtask", "a/b__c:x", "a---b:1", "expert/metis_ui:v2.2.0"] {
            assert_eq!(reference(text).to_string(), text);
        }
    }

    #[test]
    fn malformed_references_say_so() {
        for text in [
            "",
            ":x",
            &format!("sha256:{}", "ab".repeat(32)),
            &"ab".repeat(32),
            "expert/UI",
            "a//b",
            "a:",
            "a:b c",
            "../x",
            "a@sha256:12",
            "-a",
            "a_-b",
            "a:-x",
            "é",
            "a/é",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
