//! What changed from one release to another: images, layers, files, fields of manifests, seeds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Release;
use crate::fs::Digest;
use crate::images::OutgoingImage;
use crate::manifest::FileUse;

/// What changed from one release to another; what is the same in both is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReleaseDiff {
    pub from: String,
    pub to: String,
    pub images: Vec<ImageChange>,
    pub files: Vec<FileChange>,
    /// Fields of manifest files that both have.
    pub fields: Vec<FieldChange>,
    pub seeds: Vec<SeedChange>,
    /// Distinct layers that only the newer one has.
    pub new_layers: u64,
    /// Their bytes in the store.
    pub new_bytes: u64,
}

/// In what way something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

/// An image that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageChange {
    pub reference: String,
    pub change: Change,
    pub layers_total: u64,
    /// Layers that the older release does not have; what several images have counts for the first of them.
    pub new_layers: u64,
    pub new_bytes: u64,
}

/// A file that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileChange {
    pub path: String,
    pub change: Change,
    pub bytes: u64,
}

/// A field of a manifest that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldChange {
    pub file: String,
    /// For example `services.web.image`.
    pub field: String,
    /// As JSON; null where it was not there, `***` for what may be secret.
    pub from: Option<String>,
    pub to: Option<String>,
}

/// A seed that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SeedChange {
    pub database: String,
    pub change: Change,
    pub bytes: u64,
}

/// Compares two releases; `content` gives what is kept of a file of one of them.
pub fn diff(older: &Release, newer: &Release, content: impl Fn(&Release, &Digest) -> Option<Vec<u8>>) -> ReleaseDiff {
    let mut diff = ReleaseDiff { from: older.name.clone(), to: newer.name.clone(), ..ReleaseDiff::default() };
    images(older, newer, &mut diff);
    let file = |release: &Release| -> BTreeMap<String, (Digest, u64)> {
        release.files.iter().map(|file| (file.path.clone(), (file.digest.clone(), file.bytes))).collect()
    };
    let changes = changed(&file(older), &file(newer)).into_iter();
    diff.files = changes.map(|(path, change, bytes)| FileChange { path, change, bytes }).collect();
    let seed = |release: &Release| -> BTreeMap<String, (Digest, u64)> {
        release.seeds.iter().map(|seed| (seed.database.clone(), (seed.digest.clone(), seed.bytes))).collect()
    };
    let changes = changed(&seed(older), &seed(newer)).into_iter();
    diff.seeds = changes.map(|(database, change, bytes)| SeedChange { database, change, bytes }).collect();
    for file in newer.files.iter().filter(|file| file.purpose == FileUse::Manifest) {
        let before = older.files.iter().find(|before| before.path == file.path && before.digest != file.digest);
        if let Some(before) = before
            && let (Some(from), Some(to)) = (content(older, &before.digest), content(newer, &file.digest))
        {
            diff.fields.extend(manifests(&file.path, &from, &to));
        }
    }
    diff
}

/// The fields of a manifest's file that are not the same in both of its texts; nothing where one can't be read.
pub fn manifests(file: &str, from: &[u8], to: &[u8]) -> Vec<FieldChange> {
    let parsed = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let mut found = Vec::new();
    if let (Some(from), Some(to)) = (parsed(from), parsed(to)) {
        fields(&Field { file, path: String::new(), is_secret: false }, Some(&from), Some(&to), &mut found);
    }
    found
}

fn images(older: &Release, newer: &Release, diff: &mut ReleaseDiff) {
    let mut known: HashSet<&Digest> =
        older.images.iter().flat_map(|image| image.layers.iter().map(|layer| &layer.diff_id)).collect();
    let find = |release: &'_ Release, image: &OutgoingImage| -> Option<Digest> {
        let found = release.images.iter().find(|other| other.reference == image.reference);
        found.map(|image| image.config.digest.clone())
    };
    for image in &newer.images {
        let new: Vec<_> = image.layers.iter().filter(|layer| known.insert(&layer.diff_id)).collect();
        let (new_layers, new_bytes) = (new.len() as u64, new.iter().map(|layer| layer.bytes).sum::<u64>());
        diff.new_layers += new_layers;
        diff.new_bytes += new_bytes;
        let change = match find(older, image) {
            None => Change::Added,
            Some(before) if before != image.config.digest => Change::Changed,
            Some(_) => continue,
        };
        let (reference, layers_total) = (image.reference.clone(), image.layers.len() as u64);
        diff.images.push(ImageChange { reference, change, layers_total, new_layers, new_bytes });
    }
    for image in older.images.iter().filter(|image| find(newer, image).is_none()) {
        let (reference, layers_total) = (image.reference.clone(), image.layers.len() as u64);
        let change = Change::Removed;
        diff.images.push(ImageChange { reference, change, layers_total, new_layers: 0, new_bytes: 0 });
    }
}

/// What is not the same in both, by name.
fn changed(
    older: &BTreeMap<String, (Digest, u64)>,
    newer: &BTreeMap<String, (Digest, u64)>,
) -> Vec<(String, Change, u64)> {
    let names: BTreeSet<&String> = older.keys().chain(newer.keys()).collect();
    let change = |name: &String| match (older.get(name), newer.get(name)) {
        (None, Some((_, bytes))) => Some((name.clone(), Change::Added, *bytes)),
        (Some((_, bytes)), None) => Some((name.clone(), Change::Removed, *bytes)),
        (Some((before, _)), Some((digest, bytes))) if before != digest => Some((name.clone(), Change::Changed, *bytes)),
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

/// Where in a manifest.
struct Field<'a> {
    file: &'a str,
    path: String,
    /// Whether what is below may be secret.
    is_secret: bool,
}

impl<'a> Field<'a> {
    fn below(&self, key: &str) -> Field<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let is_secret = self.is_secret || matches!(key, "environment" | "variables" | "password" | "secrets");
        Field { file: self.file, path, is_secret }
    }

    fn shown(&self, value: &Value) -> String {
        if self.is_secret { "***".to_owned() } else { value.to_string() }
    }
}

fn fields(at: &Field<'_>, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (from, to) {
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
            for key in keys {
                fields(&at.below(key), from.get(key), to.get(key), found);
            }
        }
        (from, to) if from == to => {}
        (from, to) => found.push(FieldChange {
            file: at.file.to_owned(),
            field: at.path.clone(),
            from: from.map(|value| at.shown(value)),
            to: to.map(|value| at.shown(value)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::images::{OutgoingBlob, OutgoingLayer};
    use crate::packages::contents::ContentFile;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn image(reference: &str, layers: &[&str]) -> OutgoingImage {
        let blob = |kind: &str| OutgoingBlob {
            digest: digest(&format!("{kind} {reference} {layers:?}")),
            bytes: 10,
            media_type: String::new(),
        };
        let layer = |name: &&str| OutgoingLayer {
            diff_id: digest(name),
            blob: digest(&format!("blob {name}")),
            bytes: 1000,
            media_type: String::new(),
            uncompressed_bytes: None,
        };
        OutgoingImage {
            reference: reference.to_owned(),
            manifest: blob("manifest"),
            config: blob("config"),
            layers: layers.iter().map(layer).collect(),
            engine_ids: Vec::new(),
        }
    }

    fn release(name: &str, images: Vec<OutgoingImage>, manifest: &Value) -> Release {
        let text = manifest.to_string();
        Release {
            format: 1,
            name: name.to_owned(),
            project: "p".to_owned(),
            created: String::new(),
            by: String::new(),
            dpl: String::new(),
            architecture: "amd64".to_owned(),
            manifest: "stack.json".to_owned(),
            images,
            files: vec![ContentFile {
                path: "stack.json".to_owned(),
                digest: digest(&text),
                bytes: text.len() as u64,
                purpose: FileUse::Manifest,
                private: false,
                executable: false,
            }],
            seeds: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn what_changed_is_told_once_and_secrets_are_not() {
        let stack = |tag: &str, key: &str| json!({"services": {"a": {"image": tag, "environment": {"KEY": key}, "command": ["x"]}}});
        let (before, after) = (stack("a:1", "one"), stack("a:2", "two"));
        let older = release("v1", vec![image("a:1", &["base", "a"]), image("b:1", &["base"])], &before);
        let newer = release("v2", vec![image("a:1", &["base", "a2"]), image("c:1", &["base", "a2", "c"])], &after);
        let diff = diff(&older, &newer, |release, _| {
            Some(if release.name == "v1" { &before } else { &after }.to_string().into_bytes())
        });
        let images: Vec<_> =
            diff.images.iter().map(|image| (image.reference.as_str(), image.change, image.new_layers)).collect();
        assert_eq!(images, [("a:1", Change::Changed, 1), ("c:1", Change::Added, 1), ("b:1", Change::Removed, 0)]);
        assert_eq!((diff.new_layers, diff.new_bytes), (2, 2000));
        assert_eq!(diff.files.len(), 1);
        let fields: Vec<_> = diff
            .fields
            .iter()
            .map(|field| (field.field.as_str(), field.from.as_deref(), field.to.as_deref()))
            .collect();
        let secret = ("services.a.environment.KEY", Some("***"), Some("***"));
        assert_eq!(fields, [secret, ("services.a.image", Some("\"a:1\""), Some("\"a:2\""))]);
    }
}
