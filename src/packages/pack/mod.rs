//! Making a package: what the machines that it is for lack, as one file.
//!
//! `goals` are the machines, as far as they are known; the plan is that of a transfer, for each of them. A package carries what any
//! of them lacks: layers as deltas where `candidates` finds something to make them of, and `deltas` made small ones.

mod candidates;
mod deltas;
mod goals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::PackagesError;
use super::contents::{ContentFile, ContentSeed};
use super::format::{Entry, EntrySource, Namespace, Needs, PackageIndex, PackageWriter, seal_of};
use crate::failpoint;
use crate::fs::Digest;
use crate::images::archive::{BLOCK_BYTES, END_MARK, padding};
use crate::images::{OutgoingImage, OutgoingLayer, blob_file, docker_manifest, layout_documents};
use crate::report::{Activity, Reporter};
use crate::sites::{MOST_AT_ONCE, Offer, OfferedFile, OfferedSeed, PlanOptions, Sources, plan_transfer};

pub use candidates::{DeltaCandidate, delta_candidates};
pub use deltas::{DeltaOptions, DeltaUse, MadeDelta, make_deltas, spool_bytes};
pub use goals::PackGoal;

/// What goes into a package, and where it lies on this machine.
#[derive(Debug, Clone, Default)]
pub struct PackInput {
    pub project: String,
    pub release: Option<String>,
    /// RFC 3339, UTC.
    pub created: String,
    pub by: String,
    pub architecture: String,
    pub manifest: String,
    /// The public key that signs it.
    pub key: Option<String>,
    /// Public keys that it revokes.
    pub revokes: Vec<String>,
    /// Whether `docker load` is to read it.
    pub docker_manifest: bool,
    pub images: Vec<OutgoingImage>,
    pub files: Vec<ContentFile>,
    pub seeds: Vec<ContentSeed>,
    /// The image store.
    pub store: Option<PathBuf>,
    /// By the paths of files there.
    pub file_sources: BTreeMap<String, PathBuf>,
    /// By database and path in the seed.
    pub seed_sources: BTreeMap<(String, String), PathBuf>,
    /// Layers that go as deltas.
    pub deltas: Vec<MadeDelta>,
}

/// What a package is going to be.
#[derive(Debug, Clone)]
pub struct PackPlan {
    pub index: PackageIndex,
    pub goals: Vec<GoalNeeds>,
    sources: BTreeMap<String, EntrySource>,
}

/// What one of the machines makes a package carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GoalNeeds {
    pub name: String,
    /// Bytes that it lacks.
    pub bytes: u64,
    /// Those of them that no other one lacks.
    pub alone_bytes: u64,
}

impl PackInput {
    /// What lies on this machine, as an offer has it.
    pub fn with_offer(mut self, offer: &Offer, sources: &Sources) -> Self {
        self.images.clone_from(&offer.images);
        self.files = offer.files.iter().map(ContentFile::from).collect();
        self.seeds = super::contents::seeds_of(offer, sources);
        self.file_sources.clone_from(&sources.files);
        for seed in &offer.seeds {
            for (file, path) in sources.seed_files(&seed.database) {
                self.seed_sources.insert((seed.database.clone(), file.path.clone()), path);
            }
        }
        self
    }

    fn offer(&self) -> Offer {
        Offer {
            images: self.images.clone(),
            deltas: Vec::new(),
            files: self.files.iter().map(OfferedFile::from).collect(),
            seeds: self.seeds.iter().map(OfferedSeed::from).collect(),
            left_out: Vec::new(),
        }
    }
}

/// What a machine lacks: blobs, and databases whose seeds it lacks.
struct Lacking {
    blobs: BTreeSet<Digest>,
    seeds: BTreeSet<String>,
}

impl Lacking {
    fn of(goal: &PackGoal, offer: &Offer, whole: bool) -> Self {
        let inventory = goal.inventory(offer);
        // What was changed there is the machine's own business, once the package is there.
        let plan = plan_transfer(&inventory, offer, PlanOptions { overwrite: true, whole });
        let seeds = plan.seeds.iter().filter(|seed| seed.result.is_sent()).map(|seed| seed.database.clone());
        Self { blobs: plan.blobs.into_iter().map(|blob| blob.digest).collect(), seeds: seeds.collect() }
    }
}

/// Says what a package for these machines carries; `whole`: layers too that only their engines have.
///
/// # Errors
/// Something that no package can carry.
pub fn plan_pack(input: &PackInput, goals: &[PackGoal], whole: bool) -> Result<PackPlan, PackagesError> {
    let offer = input.offer();
    let lacking: Vec<Lacking> = goals.iter().map(|goal| Lacking::of(goal, &offer, whole)).collect();
    let blobs: BTreeSet<&Digest> = lacking.iter().flat_map(|lacking| &lacking.blobs).collect();
    let seeds: BTreeSet<&String> = lacking.iter().flat_map(|lacking| &lacking.seeds).collect();
    let mut entries = Entries::default();
    for (name, bytes) in
        [super::format::LAYOUT_NAME, super::format::LAYOUT_INDEX_NAME].into_iter().zip(layout_documents(&input.images))
    {
        entries.add_named(name, bytes);
    }
    if input.docker_manifest {
        entries.add_named(super::format::DOCKER_MANIFEST_NAME, docker_manifest(&input.images));
    }
    for file in &input.files {
        let source = input.file_sources.get(&file.path).cloned().unwrap_or_default();
        entries.add(Namespace::File, (&file.digest, file.bytes), source);
    }
    let mut needed = Vec::new();
    let is_lacking = |delta: &&MadeDelta| {
        let of_layer = |layer: &OutgoingLayer| layer.diff_id == delta.delta.layer && blobs.contains(&layer.blob);
        input.images.iter().flat_map(|image| &image.layers).any(of_layer)
    };
    let deltas: Vec<&MadeDelta> = input.deltas.iter().filter(is_lacking).collect();
    for MadeDelta { delta, source } in &deltas {
        entries.push(Entry::of(Namespace::Delta, &delta.delta, delta.delta_bytes), source.clone());
        needed.extend(delta.bases.iter().map(|base| base.layer.clone()));
    }
    let as_delta: HashSet<&Digest> = deltas.iter().map(|made| &made.delta.layer).collect();
    if let Some(store) = &input.store {
        for image in &input.images {
            for layer in image.layers.iter().filter(|layer| !as_delta.contains(&layer.diff_id)) {
                match blobs.contains(&layer.blob) {
                    true => entries.add(Namespace::Blob, (&layer.blob, layer.bytes), blob_file(store, &layer.blob)),
                    false => needed.push(layer.diff_id.clone()),
                }
            }
            // Some kilobytes, always: a name may lead elsewhere by the time the package is there.
            for document in [&image.config, &image.manifest] {
                let source = blob_file(store, &document.digest);
                entries.add(Namespace::Blob, (&document.digest, document.bytes), source);
            }
        }
    }
    let mut seen = HashSet::new();
    needed.retain(|diff_id| seen.insert(diff_id.clone()));
    let mut needed_seeds = Vec::new();
    for seed in &input.seeds {
        if !seeds.contains(&seed.database) {
            needed_seeds.push(seed.database.clone());
            continue;
        }
        let mut copies: BTreeMap<&Digest, usize> = BTreeMap::new();
        for file in &seed.files {
            let count = copies.entry(&file.digest).or_default();
            *count += 1;
            // As many files can be under way at once where it arrives; small ones come one after the other.
            if *count > MOST_AT_ONCE / 2 && file.bytes > super::unpack::SMALL_BYTES {
                return Err(PackagesError::TooManyCopies { path: format!("{}/{}", seed.database, file.path) });
            }
            let place = (seed.database.clone(), file.path.clone());
            let Some(source) = input.seed_sources.get(&place).cloned() else {
                let release = input.release.clone().unwrap_or_default();
                return Err(PackagesError::SeedChanged { database: seed.database.clone(), release });
            };
            entries.add(Namespace::Seed, (&file.digest, file.bytes), source);
        }
    }
    let index = PackageIndex {
        format: PackageIndex::FORMAT,
        project: input.project.clone(),
        release: input.release.clone(),
        created: input.created.clone(),
        by: input.by.clone(),
        architecture: input.architecture.clone(),
        manifest: input.manifest.clone(),
        key: input.key.clone(),
        revokes: input.revokes.clone(),
        needs: Needs { layers: needed, seeds: needed_seeds },
        images: input.images.clone(),
        deltas: deltas.iter().map(|made| made.delta.clone()).collect(),
        files: input.files.clone(),
        seeds: input.seeds.clone(),
        entries: entries.entries,
    };
    // What could not be read again is not written.
    PackageIndex::parse(&index.to_bytes())?;
    let goals = goal_needs(goals, &lacking, &index);
    Ok(PackPlan { index, goals, sources: entries.sources })
}

/// The entries as they are put together, each once.
#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    sources: BTreeMap<String, EntrySource>,
}

impl Entries {
    fn add(&mut self, namespace: Namespace, (digest, bytes): (&Digest, u64), source: PathBuf) {
        self.push(Entry::of(namespace, digest, bytes), EntrySource::File(source));
    }

    fn add_named(&mut self, name: &str, content: Vec<u8>) {
        let entry = Entry { name: name.to_owned(), digest: Digest::of(&content), bytes: content.len() as u64 };
        self.push(entry, EntrySource::Bytes(content));
    }

    fn push(&mut self, entry: Entry, source: EntrySource) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.sources.entry(entry.name.clone()) {
            place.insert(source);
            self.entries.push(entry);
        }
    }
}

fn goal_needs(goals: &[PackGoal], lacking: &[Lacking], index: &PackageIndex) -> Vec<GoalNeeds> {
    let mut sizes: HashMap<&Digest, u64> = HashMap::new();
    for entry in index.entries.iter().filter(|entry| entry.namespace() == Some(Namespace::Blob)) {
        sizes.insert(&entry.digest, entry.bytes);
    }
    // What is lacking is known by its blob, whether it comes as that or as a delta.
    for layer in index.images.iter().flat_map(|image| &image.layers) {
        if let Some(delta) = index.deltas.iter().find(|delta| delta.layer == layer.diff_id) {
            sizes.insert(&layer.blob, delta.delta_bytes);
        }
    }
    let size = |digest: &Digest| sizes.get(digest).copied().unwrap_or_default();
    let seed_size =
        |database: &String| index.seeds.iter().find(|seed| seed.database == *database).map_or(0, |seed| seed.bytes);
    let of_goal = |(place, goal): (usize, &PackGoal)| {
        let own = &lacking[place];
        let others =
            || lacking.iter().enumerate().filter(move |(other, _)| *other != place).map(|(_, lacking)| lacking);
        let is_shared_blob = |digest: &Digest| others().any(|other| other.blobs.contains(digest));
        let is_shared_seed = |database: &String| others().any(|other| other.seeds.contains(database));
        let (mut bytes, mut alone_bytes) = (0, 0);
        for digest in &own.blobs {
            bytes += size(digest);
            alone_bytes += if is_shared_blob(digest) { 0 } else { size(digest) };
        }
        for database in &own.seeds {
            bytes += seed_size(database);
            alone_bytes += if is_shared_seed(database) { 0 } else { seed_size(database) };
        }
        GoalNeeds { name: goal.name.clone(), bytes, alone_bytes }
    };
    goals.iter().enumerate().map(of_goal).collect()
}

impl PackPlan {
    /// Bytes of what the package carries.
    pub fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// The bytes of the package's file.
    pub fn file_bytes(&self, signature: Option<&[u8]>) -> u64 {
        let entry = |bytes: u64| BLOCK_BYTES as u64 + bytes + padding(bytes);
        let index = self.index.to_bytes();
        let own = [Some(index.len()), Some(seal_of(&index).len()), signature.map(<[u8]>::len)];
        let own: u64 = own.into_iter().flatten().map(|bytes| entry(bytes as u64)).sum();
        let entries: u64 = self.index.entries.iter().map(|each| entry(each.bytes)).sum();
        own + entries + END_MARK.len() as u64
    }

    /// Writes the package; gives what it was written to, and how many bytes it has. Blocking.
    ///
    /// # Errors
    /// Something can't be read or written, or was changed meanwhile.
    pub fn write<W: Write>(
        &self,
        out: W,
        signature: Option<&[u8]>,
        (reporter, subject): (&Reporter, &str),
    ) -> Result<(W, u64), PackagesError> {
        let mut meter = reporter.meter(Activity::WritePackage, subject, Some(self.bytes()));
        let mut writer = PackageWriter::begin(out, &self.index.to_bytes(), signature)?;
        for entry in &self.index.entries {
            failpoint!("packages.pack.before-entry");
            let source = self.sources.get(&entry.name).expect("each entry was added with its source");
            writer.entry(entry, source, &mut |bytes| {
                meter.add(bytes);
                !reporter.asked_to_stop()
            })?;
        }
        failpoint!("packages.pack.before-end");
        writer.finish()
    }
}
