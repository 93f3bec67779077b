//! Which image of an index of several platforms is meant.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::engine::{EngineFacts, image_architecture, runs_natively};
use crate::images::formats::documents::{Descriptor, ImageConfig};
use crate::report::{Listed, Message, Told};

/// What engines run, as images name it.
const LINUX: &str = "linux";

/// An operating system and an architecture, as images name them: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// An index has no image for the platform that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoPlatform {
    wanted: Platform,
    found: Vec<String>,
}

/// The text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidPlatform(String);

impl Told for NoPlatform {
    fn message(&self) -> Message {
        match self.found.is_empty() {
            true => message!("error-no-platform-named", wanted = self.wanted),
            false => message!("error-no-platform", found = Listed::of(&self.found), wanted = self.wanted),
        }
    }
}

impl Told for InvalidPlatform {
    fn message(&self) -> Message {
        message!("error-invalid-platform", text = self.0)
    }
}

impl Platform {
    /// This machine's, for commands that ask no engine.
    pub fn host() -> Self {
        Self::of_architecture(image_architecture(std::env::consts::ARCH))
    }

    /// The engine's, which may be on another machine.
    pub fn of_engine(facts: &EngineFacts) -> Self {
        if facts.architecture.is_empty() { Self::host() } else { Self::of_architecture(&facts.architecture) }
    }

    /// Linux on this architecture, as images name it (`amd64`).
    pub fn linux(architecture: &str) -> Self {
        Self::of_architecture(architecture)
    }

    fn of_architecture(architecture: &str) -> Self {
        Self { os: LINUX.to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image with this configuration is one for this platform; one that does not say so may be.
    pub fn runs(&self, config: &ImageConfig) -> bool {
        config.architecture.is_empty() || config.architecture == self.architecture
    }

    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    fn of(descriptor: &Descriptor) -> Option<Self> {
        let platform = descriptor.rest.get("platform")?;
        let field = |name: &str| platform.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { os: field("os")?, architecture: field("architecture")?, variant: field("variant") })
    }

    /// How well an image for `other` fits: the very one best, then one of a variant that this one can run (containerd,
    /// `platforms.Only`).
    fn fit(&self, other: &Self) -> Option<u32> {
        const EXACT: u32 = u32::MAX;
        const ANY_VARIANT: u32 = 1;
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        match (self.effective_variant(), other.effective_variant()) {
            (wanted, found) if wanted == found => Some(EXACT),
            (None, Some(_)) => Some(ANY_VARIANT),
            // A processor runs what was made for those before it.
            (Some(wanted), Some(found)) if self.architecture == "arm" => {
                let number = |variant: &str| variant.trim_start_matches('v').parse::<u32>().ok();
                let (wanted, found) = (number(wanted)?, number(found)?);
                (found <= wanted).then_some(found)
            }
            _ => None,
        }
    }

    /// Without what is meant anyway.
    fn effective_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            (_, variant) => variant,
        }
    }

    /// Whether it is what buildkit puts beside an image to say how that was made.
    pub(in crate::images) fn is_attestation(descriptor: &Descriptor) -> bool {
        descriptor.annotation("vnd.docker.reference.type").is_some()
            || Self::of(descriptor).is_some_and(|platform| platform.os == "unknown")
    }

    /// The image for this platform. An index with a single image has only that to offer, whatever it says.
    pub(in crate::images) fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a Descriptor, NoPlatform> {
        let images: Vec<&Descriptor> = manifests.iter().filter(|other| !Self::is_attestation(other)).collect();
        if let [only] = images.as_slice() {
            return Ok(only);
        }
        let mut best: Option<(u32, &Descriptor)> = None;
        for image in &images {
            let fit = Self::of(image).and_then(|platform| self.fit(&platform));
            // Of two that fit alike, the first.
            if let Some(fit) = fit.filter(|fit| best.is_none_or(|(known, _)| *fit > known)) {
                best = Some((fit, image));
            }
        }
        best.map(|(_, image)| image).ok_or_else(|| {
            let name = |descriptor: &&Descriptor| Self::of(descriptor).map(|platform| platform.to_string());
            NoPlatform { wanted: self.clone(), found: images.iter().filter_map(name).collect() }
        })
    }
}

/// What to say of an image that a Linux machine of `architecture` may not be able to run: binfmt may run what is for another
/// architecture all the same, and nothing what is for another system.
pub(in crate::images) fn other_architecture(name: &str, config: &ImageConfig, architecture: &str) -> Option<Message> {
    if !config.os.is_empty() && config.os != LINUX {
        return Some(message!("images-other-os", reference = name, os = config.os));
    }
    let image = config.architecture.as_str();
    if runs_natively(image, architecture) {
        return None;
    }
    let message = message!("images-other-architecture", reference = name, image = image, machine = architecture);
    Some(message)
}

/// Whether a notice is that of an image which the engine's machine may not be able to run.
pub fn is_for_another_machine(notice: &Message) -> bool {
    matches!(notice.key, "images-other-architecture" | "images-other-os")
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() <= 1 && parts.iter().all(is_word) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: variant.first().map(|variant| (*variant).to_owned()),
            }),
            _ => Err(InvalidPlatform(text.chars().take(60).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::report::Value;

    fn descriptor(platform: &str) -> Descriptor {
        let mut descriptor = Descriptor::new("x", Digest::of(platform.as_bytes()), 1);
        let parts: Vec<&str> = platform.split('/').collect();
        let mut value = serde_json::json!({"os": parts[0], "architecture": parts[1]});
        if let Some(variant) = parts.get(2) {
            value["variant"] = (*variant).into();
        }
        descriptor.rest.insert("platform".into(), value);
        descriptor
    }

    #[test]
    fn the_wanted_platform_is_chosen_and_no_other() {
        let all = ["linux/arm/v6", "linux/arm/v7", "linux/amd64", "unknown/unknown"].map(descriptor);
        let chosen = |wanted: &str| wanted.parse::<Platform>().unwrap().choose(&all).map(|found| found.digest.clone());
        assert_eq!(chosen("linux/amd64").unwrap(), all[2].digest);
        assert_eq!(chosen("linux/arm/v7").unwrap(), all[1].digest);
        assert_eq!(chosen("linux/arm").unwrap(), all[0].digest);
        let error = chosen("linux/s390x").unwrap_err().to_string();
        assert_eq!(error, "it has images for linux/arm/v6, linux/arm/v7, linux/amd64, and none for linux/s390x");
    }

    #[test]
    fn the_very_platform_goes_before_a_variant_of_it() {
        let chosen = |all: &[&str], wanted: &str| {
            let all: Vec<Descriptor> = all.iter().map(|platform| descriptor(platform)).collect();
            let chosen = wanted.parse::<Platform>().unwrap().choose(&all).ok().map(|found| found.digest.clone());
            chosen.and_then(|digest| all.iter().position(|one| one.digest == digest))
        };
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/amd64/v3", "linux/arm64"], "linux/amd64"), Some(0));
        assert_eq!(chosen(&["linux/amd64", "linux/arm64/v8"], "linux/arm64"), Some(1));
        assert_eq!(chosen(&["linux/amd64", "linux/arm64"], "linux/arm64/v8"), Some(1));
        assert_eq!(chosen(&["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v7"), Some(1));
        assert_eq!(chosen(&["linux/arm/v7", "linux/arm64"], "linux/arm/v6"), None);
    }

    #[test]
    fn an_image_that_the_machine_may_not_run_is_told() {
        let config = |architecture: &str| {
            let text = serde_json::json!({"architecture": architecture, "rootfs": {"diff_ids": []}}).to_string();
            ImageConfig::parse(text.as_bytes()).unwrap()
        };
        let told = other_architecture("team/app:1", &config("arm64"), "amd64").unwrap();
        assert_eq!(told.key, "images-other-architecture");
        assert!(
            told.values.contains(&("image", Value::Text("arm64".to_owned())))
                && told.values.contains(&("machine", Value::Text("amd64".to_owned())))
        );
        assert_eq!(other_architecture("team/app:1", &config("amd64"), "amd64"), None);
    }

    #[test]
    fn an_index_with_one_image_means_that() {
        let all = ["linux/riscv64", "unknown/unknown"].map(descriptor);
        assert_eq!(Platform::host().choose(&all).unwrap().digest, all[0].digest);
        for wrong in ["linux", "linux/", "a/b/c/d", "a b/c"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}
