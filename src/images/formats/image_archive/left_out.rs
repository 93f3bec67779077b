//! What is left out of an archive or a layout, so that the rest of it can be taken.

use std::collections::{HashMap, HashSet};

use super::{ArchiveError, ArchivedImage, shown};
use crate::fs::Digest;
use crate::images::formats::in_one_line;
use crate::images::formats::platform::Platform;
use crate::images::names::engine_name;
use crate::report::Message;

/// Something in an archive or a layout that is not taken: what is not an image for the platform that is meant (a chart, a
/// signature, an image for others only), and an image that is not whole. The rest is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    pub why: Message,
    /// Whether it is an image that is not whole, or whose name another one has too: somebody may miss it.
    pub is_damaged: bool,
}

impl LeftOut {
    /// What nothing is wrong with.
    pub fn other(name: String, why: Message) -> Self {
        Self { name, why, is_damaged: false }
    }

    pub fn damaged(name: String, why: Message) -> Self {
        Self { name, why, is_damaged: true }
    }
}

/// What reading an archive puts aside.
#[derive(Default)]
pub(super) struct Aside {
    /// What is not an image for the platform that is meant; nothing is wrong with it.
    pub others: Vec<LeftOut>,
    /// Images that are not whole, by name, and why.
    pub damaged: Vec<(String, ArchiveError)>,
    /// All names of those that are not whole.
    pub names_of_damaged: Vec<String>,
}

impl Aside {
    pub fn all(self) -> Vec<LeftOut> {
        let damaged = damaged_left_out(&self.damaged);
        self.others.into_iter().chain(damaged).collect()
    }
}

pub(super) fn damaged_left_out(damaged: &[(String, ArchiveError)]) -> Vec<LeftOut> {
    damaged.iter().map(|(name, error)| LeftOut::damaged(name.clone(), in_one_line(error))).collect()
}

/// No two images may have one name, however it is spelled: engines take the last of them, others the first.
pub(super) fn check_names<L>(images: &[ArchivedImage<L>]) -> Result<(), ArchiveError> {
    match doubled_names(images).first() {
        Some(name) => Err(ArchiveError::NameTwice { reference: shown(name) }),
        None => Ok(()),
    }
}

/// As [`check_names`], where the other names are of use: takes such a name from each image that has it, and images that had
/// no other. An image that is not whole counts by its names. Gives each of the names, and why.
pub fn take_doubled_names<L>(
    images: &mut Vec<ArchivedImage<L>>,
    names_of_damaged: &[String],
) -> Vec<(String, ArchiveError)> {
    let mut doubled = doubled_names(images);
    let mut single: HashSet<String> =
        images.iter().flat_map(|image| &image.references).map(|text| name_of(text)).collect();
    for name in &doubled {
        single.remove(name);
    }
    doubled.extend(names_of_damaged.iter().map(|text| name_of(text)).filter(|name| single.remove(name)));
    if doubled.is_empty() {
        return Vec::new();
    }
    let all: HashSet<&String> = doubled.iter().collect();
    images.retain_mut(|image| {
        let had_none = image.references.is_empty();
        image.references.retain(|text| !all.contains(&name_of(text)));
        had_none || !image.references.is_empty()
    });
    let why = |name: &String| (shown(name), ArchiveError::NameTwice { reference: shown(name) });
    doubled.iter().map(why).collect()
}

/// Names that several images have, each once.
fn doubled_names<L>(images: &[ArchivedImage<L>]) -> Vec<String> {
    let mut owners: HashMap<String, &Digest> = HashMap::new();
    let (mut doubled, mut seen) = (Vec::new(), HashSet::new());
    for image in images {
        for text in &image.references {
            let name = name_of(text);
            let is_of_another = owners.get(&name).is_some_and(|owner| **owner != image.config_digest);
            if is_of_another && seen.insert(name.clone()) {
                doubled.push(name);
            } else if !is_of_another {
                owners.insert(name, &image.config_digest);
            }
        }
    }
    doubled
}

fn name_of(text: &str) -> String {
    text.parse().ok().as_ref().and_then(engine_name).unwrap_or_else(|| text.to_owned())
}

/// The images of those that are for a platform; the others are put aside.
///
/// # Errors
/// All of them are for others.
pub(super) fn only_those_for<L>(
    platform: &Platform,
    images: Vec<ArchivedImage<L>>,
    aside: &mut Aside,
) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
    let (asked, others): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| platform.runs(&image.config));
    let name_of = |image: &ArchivedImage<L>| match image.references.first() {
        Some(name) => name.clone(),
        None => image.config_digest.to_string(),
    };
    let error = |image: &ArchivedImage<L>| ArchiveError::OtherPlatform {
        image: name_of(image),
        found: image.config.architecture.clone(),
        wanted: platform.to_string(),
    };
    if asked.is_empty()
        && let Some(first) = others.first()
    {
        return Err(error(first));
    }
    aside.others.extend(others.iter().map(|image| LeftOut::other(name_of(image), in_one_line(&error(image)))));
    Ok(asked)
}
