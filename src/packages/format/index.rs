//! The index of a package: what is in it, in which order, and what the machine must have already. It comes from elsewhere: nothing of
//! it is used before [`PackageIndex::parse`] has found it sound.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plain_texts::PlainTexts;
use crate::fs::Digest;
use crate::images::{OutgoingImage, is_release_name};
use crate::manifest::Reference;
use crate::packages::PackagesError;
use crate::packages::contents::{ContentFile, ContentSeed};
use crate::report::Message;
use crate::sites::{LayerDelta, Offer, OfferedFile, OfferedSeed, is_own_folder};

/// The archive's first entry.
pub const INDEX_NAME: &str = "dpl-package.json";
/// The entry behind it: the SHA-256 of the index, as `sha256sum -c` takes it. It finds damage; who made it, only a signature says.
pub const SEAL_NAME: &str = "dpl-package.json.sha256";
/// The entry behind that, in a signed package.
pub const SIGNATURE_NAME: &str = "dpl-package.json.minisig";
pub const LAYOUT_NAME: &str = "oci-layout";
pub const LAYOUT_INDEX_NAME: &str = "index.json";
/// What `docker load` looks for, in packages that hold all layers.
pub const DOCKER_MANIFEST_NAME: &str = "manifest.json";

/// A larger index is refused: one of a thousand images has a few MB.
pub(super) const LARGEST_INDEX: u64 = 16 << 20;
/// No disk holds more; sums of sizes stay numbers.
const MOST_BYTES: u64 = 1 << 50;
const MOST_FILES: usize = 10_000;
const MOST_ENTRIES: usize = 200_000;
const MOST_IMAGES: usize = 10_000;
/// As many as any engine takes, and some.
const MOST_LAYERS: usize = 1000;
/// A delta's header names no more (docs/package-format.md, "Limits").
const MOST_BASES: usize = 8000;
const MOST_KEYS: usize = 100;
const LONGEST_TEXT: usize = 1024;

/// What a package is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageIndex {
    /// The format: 1.
    pub format: u32,
    pub project: String,
    /// The release that it brings; null for what lay on the desk.
    pub release: Option<String>,
    /// The release's time, or that of the package (RFC 3339, UTC).
    pub created: String,
    /// Who made the release, or the package.
    pub by: String,
    /// The architecture of the images.
    pub architecture: String,
    /// The manifest, relative to the project's folder.
    pub manifest: String,
    /// The public key that signs it, as `minisign -P` takes it; null for an unsigned one. It proves nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Public keys that are not to be trusted any more, if another trusted key signs this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revokes: Vec<String>,
    /// What the machine must have already.
    pub needs: Needs,
    pub images: Vec<OutgoingImage>,
    /// Layers of the images that are carried as deltas: their bases are among what is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<LayerDelta>,
    /// Files of the project, in the order in which they are put in place.
    pub files: Vec<ContentFile>,
    pub seeds: Vec<ContentSeed>,
    /// The entries of the archive behind this one and its signature, in their order.
    pub entries: Vec<Entry>,
}

/// What is not in a package, and belongs to what it brings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// The diff IDs of layers.
    #[schemars(with = "Vec<String>")]
    pub layers: Vec<Digest>,
    /// Databases whose seeds are as they were.
    pub seeds: Vec<String>,
}

/// Layers that are deltas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeltaTotals {
    pub layers: u64,
    pub bytes: u64,
    /// What the layers would have as a whole.
    pub whole_bytes: u64,
}

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
}

/// What an entry holds; its name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// A document of the OCI layout, for other programs.
    Layout,
    File,
    Delta,
    Blob,
    Seed,
}

impl Namespace {
    const fn folder(self) -> &'static str {
        match self {
            Self::Layout => "",
            Self::File => "files/sha256/",
            Self::Delta => "deltas/sha256/",
            Self::Blob => "blobs/sha256/",
            Self::Seed => "seeds/sha256/",
        }
    }

    /// The name of an entry with this content.
    pub fn name(self, digest: &Digest) -> String {
        format!("{}{}", self.folder(), digest.hex())
    }
}

impl Entry {
    pub fn of(namespace: Namespace, digest: &Digest, bytes: u64) -> Self {
        Self { name: namespace.name(digest), digest: digest.clone(), bytes }
    }

    /// What it holds; `None` for a name that no entry can have.
    pub fn namespace(&self) -> Option<Namespace> {
        if [LAYOUT_NAME, LAYOUT_INDEX_NAME, DOCKER_MANIFEST_NAME].contains(&self.name.as_str()) {
            return Some(Namespace::Layout);
        }
        let mut namespaces = [Namespace::File, Namespace::Delta, Namespace::Blob, Namespace::Seed].into_iter();
        namespaces.find(|namespace| namespace.name(&self.digest) == self.name)
    }
}

impl PackageIndex {
    pub const FORMAT: u32 = 1;

    /// Reads an index, whatever it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackagesError> {
        /// The one field that all formats have.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(PackagesError::Index)?;
        if format != Self::FORMAT {
            return Err(PackagesError::Format { format });
        }
        let index: Self = serde_json::from_slice(bytes).map_err(PackagesError::Index)?;
        if serde_json::from_slice::<PlainTexts>(bytes).is_err() {
            return Err(PackagesError::Damaged { why: message!("package-texts") });
        }
        index.check().map_err(|why| PackagesError::Damaged { why })?;
        Ok(index)
    }

    /// As it is written: equal indexes are equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("maps with string keys always serialise");
        bytes.push(b'\n');
        bytes
    }

    /// All that it offers to a machine, whether it carries it or takes it for granted.
    pub fn offer(&self) -> Offer {
        Offer {
            images: self.images.clone(),
            deltas: self.deltas.clone(),
            files: self.files.iter().map(OfferedFile::from).collect(),
            seeds: self.seeds.iter().map(OfferedSeed::from).collect(),
            left_out: Vec::new(),
        }
    }

    /// Whether it carries a content.
    pub fn carries(&self, namespace: Namespace, digest: &Digest) -> bool {
        let name = namespace.name(digest);
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// The layers that are carried as deltas.
    pub fn delta_totals(&self) -> DeltaTotals {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        let whole: HashMap<&Digest, u64> = layers.map(|layer| (&layer.diff_id, layer.bytes)).collect();
        let whole_bytes = self.deltas.iter().filter_map(|delta| whole.get(&delta.layer)).sum();
        let bytes = self.deltas.iter().map(|delta| delta.delta_bytes).sum();
        DeltaTotals { layers: self.deltas.len() as u64, bytes, whole_bytes }
    }

    /// The bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    fn check(&self) -> Result<(), Message> {
        let too_many = self.images.len() > MOST_IMAGES
            || self.files.len() > MOST_FILES
            || self.entries.len() > MOST_ENTRIES
            || self.deltas.len() > MOST_ENTRIES
            || self.deltas.iter().any(|delta| delta.bases.len() > MOST_BASES)
            || self.images.iter().any(|image| image.layers.len() > MOST_LAYERS)
            || self.seeds.iter().map(|seed| seed.files.len()).sum::<usize>() > MOST_ENTRIES;
        if too_many {
            return Err(message!("package-too-many"));
        }
        let texts = [&self.project, &self.created, &self.by, &self.architecture, &self.manifest];
        let keys = self.key.iter().chain(&self.revokes);
        let is_long = |text: &&String| text.len() > LONGEST_TEXT || text.chars().any(char::is_control);
        if self.revokes.len() > MOST_KEYS
            || texts.into_iter().chain(keys).any(|text| is_long(&text))
            || self.created.parse::<jiff::Timestamp>().is_err()
        {
            return Err(message!("package-texts"));
        }
        if self.release.as_deref().is_some_and(|name| !is_release_name(name)) {
            return Err(message!("package-texts"));
        }
        let seeds =
            self.seeds.iter().flat_map(|seed| &seed.files).map(|file| &file.path).filter(|path| !path.is_empty());
        let paths = self.files.iter().map(|file| &file.path).chain(seeds).chain([&self.manifest]);
        if let Some(path) = paths.into_iter().find(|path| !is_plain_path(path)) {
            return Err(message!("package-file", path = path.escape_debug()));
        }
        self.check_entries()?;
        self.check_contents()
    }

    fn check_entries(&self) -> Result<(), Message> {
        let (mut names, mut all) = (HashSet::new(), 0_u64);
        let mut last = Namespace::Layout;
        for entry in &self.entries {
            let shown = || entry.name.chars().take(120).collect::<String>().escape_debug().to_string();
            let namespace = entry.namespace().ok_or_else(|| message!("package-entry-name", name = shown()))?;
            // Files say where all else belongs: they come first.
            if !names.insert(&entry.name) || namespace < last {
                return Err(message!("package-entry-place", name = shown()));
            }
            last = namespace;
            all = all.saturating_add(entry.bytes);
            if all > MOST_BYTES {
                return Err(message!("package-bytes"));
            }
        }
        Ok(())
    }

    /// Whether entries and what they are for agree: one content has one size, all that is not carried is said, and nothing is
    /// carried for nobody.
    fn check_contents(&self) -> Result<(), Message> {
        let mut sizes: HashMap<String, u64> = HashMap::new();
        let mut expect =
            |namespace: Namespace, digest: &Digest, bytes: u64| match sizes.insert(namespace.name(digest), bytes) {
                Some(known) if known != bytes => Err(message!("package-two-sizes", digest = digest.short())),
                _ => Ok(()),
            };
        let carried: HashSet<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        let carries = |namespace: Namespace, digest: &Digest| carried.contains(namespace.name(digest).as_str());
        let mut paths = BTreeSet::new();
        for file in &self.files {
            expect(Namespace::File, &file.digest, file.bytes)?;
            let path = Path::new(&file.path);
            // The keys that a machine trusts, and its records, are not for a package to bring.
            if !carries(Namespace::File, &file.digest) || is_own_folder(path) || !paths.insert(path) {
                return Err(message!("package-file", path = file.path.escape_debug()));
            }
        }
        // In the order of paths, what is below one stands right behind it: a file is no folder of another one.
        if let Some((_, below)) = paths.iter().zip(paths.iter().skip(1)).find(|(above, below)| below.starts_with(above))
        {
            let below = below.to_string_lossy();
            return Err(message!("package-file", path = below.escape_debug()));
        }
        let needed: HashSet<&Digest> = self.needs.layers.iter().collect();
        let deltas = self.check_deltas(&needed)?;
        for delta in deltas.values() {
            expect(Namespace::Delta, &delta.delta, delta.delta_bytes)?;
            if !carries(Namespace::Delta, &delta.delta) {
                return Err(message!("package-delta", layer = delta.layer.short()));
            }
        }
        let mut references = BTreeSet::new();
        for image in &self.images {
            let reference = image.reference.escape_debug();
            if image.reference.parse::<Reference>().is_err() || !references.insert(&image.reference) {
                return Err(message!("package-image", reference = reference));
            }
            for document in [&image.config, &image.manifest] {
                expect(Namespace::Blob, &document.digest, document.bytes)?;
            }
            for layer in &image.layers {
                expect(Namespace::Blob, &layer.blob, layer.bytes)?;
                let is_delta = deltas.contains_key(&layer.diff_id);
                let is_blob = carries(Namespace::Blob, &layer.blob);
                // One that comes both ways would come in vain.
                if is_delta == is_blob && (is_delta || !needed.contains(&layer.diff_id)) {
                    return Err(message!("package-image", reference = reference));
                }
            }
        }
        let mut databases = BTreeSet::new();
        for seed in &self.seeds {
            let database = seed.database.escape_debug();
            for file in &seed.files {
                expect(Namespace::Seed, &file.digest, file.bytes)?;
            }
            let is_needed = self.needs.seeds.contains(&seed.database);
            let is_carried = seed.files.iter().all(|file| carries(Namespace::Seed, &file.digest));
            if !is_needed && !is_carried || !databases.insert(&seed.database) || seed.files.is_empty() {
                return Err(message!("package-seed", database = database));
            }
        }
        for entry in &self.entries {
            let is_layout = entry.namespace() == Some(Namespace::Layout);
            if !is_layout && sizes.get(&entry.name) != Some(&entry.bytes) {
                return Err(message!("package-entry-place", name = entry.name));
            }
        }
        Ok(())
    }
}

impl PackageIndex {
    /// The deltas by their layers: each is of a layer of the images, once, and all that it is rebuilt from is needed.
    fn check_deltas(&self, needed: &HashSet<&Digest>) -> Result<HashMap<&Digest, &LayerDelta>, Message> {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        let whole: HashMap<&Digest, u64> = layers.map(|layer| (&layer.diff_id, layer.bytes)).collect();
        let mut deltas = HashMap::new();
        for delta in &self.deltas {
            let bases = delta.bases.iter().map(|base| base.bytes);
            let all = bases.chain([delta.bytes]).fold(0, u64::saturating_add);
            let is_sound = whole.get(&delta.layer).is_some_and(|whole| *whole <= MOST_BYTES)
                && all <= MOST_BYTES
                && !needed.contains(&delta.layer)
                && delta.bases.iter().all(|base| needed.contains(&base.layer));
            if !is_sound || deltas.insert(&delta.layer, delta).is_some() {
                return Err(message!("package-delta", layer = delta.layer.short()));
            }
        }
        Ok(deltas)
    }
}

/// Whether a path can be one below a folder; where its links lead is looked at where it is used.
fn is_plain_path(path: &str) -> bool {
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    is_plain && !path.is_empty() && path.len() <= LONGEST_TEXT && !path.chars().any(char::is_control)
}

/// The content of the entry [`SEAL_NAME`].
pub fn seal_of(index: &[u8]) -> String {
    format!("{}  {INDEX_NAME}\n", Digest::of(index).hex())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::FileUse;
    use crate::packages::contents::SeedPart;
    use crate::sites::DeltaBase;

    pub fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// An index of one file, one image and one seed.
    pub fn sample() -> PackageIndex {
        let image = json!({
            "reference": "app:1",
            "manifest": {"digest": digest("manifest"), "bytes": 8, "media_type": "m"},
            "config": {"digest": digest("config"), "bytes": 6, "media_type": "c"},
            "layers": [
                {"diff_id": digest("base"), "blob": digest("base"), "bytes": 4, "media_type": "l",
                 "uncompressed_bytes": 4},
                {"diff_id": digest("layer"), "blob": digest("layer"), "bytes": 5, "media_type": "l",
                 "uncompressed_bytes": 5},
            ],
            "engine_ids": [],
        });
        let entry = |namespace, text: &str| Entry::of(namespace, &digest(text), text.len() as u64);
        PackageIndex {
            format: 1,
            project: "p".to_owned(),
            release: Some("v1".to_owned()),
            created: "2026-01-02T03:04:05Z".to_owned(),
            by: "me@desk".to_owned(),
            architecture: "amd64".to_owned(),
            manifest: "stack.json".to_owned(),
            key: None,
            revokes: Vec::new(),
            needs: Needs { layers: vec![digest("base")], seeds: Vec::new() },
            images: vec![serde_json::from_value(image).unwrap()],
            deltas: Vec::new(),
            files: vec![ContentFile {
                path: "stack.json".to_owned(),
                digest: digest("{}"),
                bytes: 2,
                purpose: FileUse::Manifest,
                private: false,
                executable: false,
            }],
            seeds: vec![ContentSeed {
                database: "d".to_owned(),
                digest: digest("seed"),
                bytes: 4,
                files: vec![SeedPart { path: String::new(), digest: digest("dump"), bytes: 4 }],
            }],
            entries: vec![
                entry(Namespace::File, "{}"),
                entry(Namespace::Blob, "layer"),
                entry(Namespace::Blob, "config"),
                entry(Namespace::Blob, "manifest"),
                entry(Namespace::Seed, "dump"),
            ],
        }
    }

    /// As [`sample`], with its layer as a delta.
    pub fn sample_with_delta() -> PackageIndex {
        let mut index = sample();
        index.deltas = vec![LayerDelta {
            layer: digest("layer"),
            bytes: 5,
            delta: digest("delta!"),
            delta_bytes: 6,
            bases: vec![DeltaBase { layer: digest("base"), bytes: 4 }],
        }];
        index.entries[1] = Entry::of(Namespace::Delta, &digest("delta!"), 6);
        index
    }

    fn changed_delta(change: impl Fn(&mut Value)) -> Result<PackageIndex, PackagesError> {
        let mut value = serde_json::to_value(sample_with_delta()).unwrap();
        change(&mut value);
        PackageIndex::parse(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn a_layer_may_be_a_delta_of_layers_that_are_needed() {
        assert_eq!(PackageIndex::parse(&sample_with_delta().to_bytes()).unwrap(), sample_with_delta());
        let totals = sample_with_delta().delta_totals();
        assert_eq!((totals.layers, totals.bytes, totals.whole_bytes), (1, 6, 5));
        type Change = fn(&mut Value);
        let changes: &[(&str, Change)] = &[
            ("a base that is not needed", |value| value["deltas"][0]["bases"][0]["layer"] = json!(digest("x"))),
            ("a layer of no image", |value| value["deltas"][0]["layer"] = json!(digest("x"))),
            ("a layer that is needed", |value| value["deltas"][0]["layer"] = json!(digest("base"))),
            ("an entry that is not there", |value| value["deltas"][0]["delta"] = json!(digest("x"))),
            ("another size than the entry's", |value| value["deltas"][0]["delta_bytes"] = json!(7)),
            ("a layer beyond all disks", |value| value["deltas"][0]["bytes"] = json!(u64::MAX)),
            ("bases beyond all disks", |value| value["deltas"][0]["bases"][0]["bytes"] = json!(u64::MAX)),
            ("a blob beyond all disks", |value| value["images"][0]["layers"][1]["bytes"] = json!(u64::MAX)),
            ("one field more", |value| value["deltas"][0]["more"] = json!(1)),
            ("an entry for nobody", |value| value["deltas"] = json!([])),
            ("the same delta twice", |value| {
                let delta = value["deltas"][0].clone();
                value["deltas"].as_array_mut().unwrap().push(delta);
            }),
            ("the layer as a whole, too", |value| {
                let entry = serde_json::to_value(Entry::of(Namespace::Blob, &digest("layer"), 5)).unwrap();
                value["entries"].as_array_mut().unwrap().insert(2, entry);
            }),
            ("a delta behind blobs", |value| value["entries"].as_array_mut().unwrap().swap(1, 2)),
        ];
        for (case, change) in changes {
            let result = changed_delta(change);
            assert!(
                matches!(result, Err(PackagesError::Damaged { .. } | PackagesError::Index(_))),
                "{case}: {result:?}"
            );
        }
    }

    fn changed(change: impl Fn(&mut Value)) -> Result<PackageIndex, PackagesError> {
        let mut value = serde_json::to_value(sample()).unwrap();
        change(&mut value);
        PackageIndex::parse(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        assert_eq!(PackageIndex::parse(&sample().to_bytes()).unwrap(), sample());
        assert_eq!(changed(|_| {}).unwrap(), sample());
    }

    #[test]
    fn an_index_that_contradicts_itself_is_refused() {
        let huge = |value: &mut Value| {
            for place in ["/entries/1/bytes", "/images/0/layers/1/bytes"] {
                *value.pointer_mut(place).unwrap() = json!(u64::MAX);
            }
        };
        assert!(matches!(changed(huge), Err(PackagesError::Damaged { .. })));
        let changes: &[(&str, Value)] = &[
            ("/format", json!(2)),
            ("/project", json!("a\u{1b}[2J")),
            ("/created", json!("yesterday")),
            ("/release", json!("../v1")),
            ("/manifest", json!("/etc/stack.json")),
            ("/manifest", json!("../stack.json")),
            ("/files/0/path", json!("/etc/cron.d/x")),
            ("/files/0/path", json!("a/../../x")),
            ("/files/0/path", json!(".dpl/trusted-keys.json")),
            ("/files/0/path", json!("manifests/.dpl/p/receipts.json")),
            ("/files/0/path", json!(".dpl-received/received.json")),
            ("/files/0/path", json!("store/.dpl-store/layers/x")),
            ("/seeds/0/files/0/path", json!("../x")),
            ("/entries/0/name", json!("../stack.json")),
            ("/entries/0/name", json!("/etc/passwd")),
            ("/entries/1/name", json!(format!("blobs/sha256/{}", digest("other").hex()))),
            ("/entries/1/bytes", json!(6)),
            ("/entries/1/digest", json!("sha256:../../x")),
            ("/images/0/layers/1/bytes", json!(4)),
            ("/images/0/reference", json!("a b")),
            ("/needs/layers", json!([])),
            ("/seeds/0/files", json!([])),
            ("/files/0/digest", json!(digest("other"))),
            ("/needs/unknown", json!(1)),
        ];
        for (place, to) in changes {
            let result = changed(|value| match value.pointer_mut(place) {
                Some(found) => *found = to.clone(),
                None => value["needs"]["unknown"] = to.clone(),
            });
            assert!(result.is_err(), "{place}: {to}");
        }
        let another_file = |path: &'static str| {
            move |value: &mut Value| {
                let mut file = value["files"][0].clone();
                file["path"] = json!(path);
                value["files"].as_array_mut().unwrap().push(file);
            }
        };
        assert!(changed(another_file("stack.json-x")).is_ok());
        for path in ["stack.json", "./stack.json", "stack.json/x", "stack.json/x/y"] {
            let result = changed(another_file(path));
            assert!(matches!(result, Err(PackagesError::Damaged { .. })), "{path}: {result:?}");
        }
        let twice = |value: &mut Value| {
            let entry = value["entries"][0].clone();
            value["entries"].as_array_mut().unwrap().insert(0, entry);
        };
        let behind = |value: &mut Value| value["entries"].as_array_mut().unwrap().reverse();
        let more = |value: &mut Value| {
            let entry = serde_json::to_value(Entry::of(Namespace::Seed, &digest("x"), 1)).unwrap();
            value["entries"].as_array_mut().unwrap().push(entry);
        };
        for result in [changed(twice), changed(behind), changed(more)] {
            assert!(matches!(result, Err(PackagesError::Damaged { .. })), "{result:?}");
        }
    }
}
