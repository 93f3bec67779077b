//! The machines that a package is for, as far as this one knows them.

use std::collections::{HashMap, HashSet};

use crate::fs::Digest;
use crate::images::OutgoingImage;
use crate::packages::Release;
use crate::sites::{
    FileInventory, Inventory, LayerInventory, Offer, Presence, SeedInventory, ShortInventory, StoreImage,
    StoreInventory,
};

/// A machine, or several in the same state.
#[derive(Debug, Clone)]
pub struct PackGoal {
    pub name: String,
    known: Known,
}

/// The layers that a machine has.
pub(super) enum Held {
    Known(HashSet<Digest>),
    /// The first digits of their diff IDs.
    Short(HashSet<String>),
}

impl Held {
    pub fn has(&self, diff_id: &Digest) -> bool {
        match self {
            Self::Known(diff_ids) => diff_ids.contains(diff_id),
            Self::Short(digits) => digits.contains(diff_id.short()),
        }
    }
}

#[derive(Debug, Clone)]
enum Known {
    Inventory(Box<Inventory>),
    Short(Box<ShortInventory>),
}

impl PackGoal {
    /// One of which nothing is known: it lacks all.
    pub fn nothing(name: &str) -> Self {
        Self::of_inventory(name, Inventory::default())
    }

    pub fn of_inventory(name: &str, inventory: Inventory) -> Self {
        Self { name: name.to_owned(), known: Known::Inventory(Box::new(inventory)) }
    }

    /// One whose inventory a phone has read. Its engine's layers are known by their digests alone, not by what they lie on, and so
    /// not counted on.
    pub fn of_short(name: &str, short: ShortInventory) -> Self {
        Self { name: name.to_owned(), known: Known::Short(Box::new(short)) }
    }

    /// One that has a release, and has it whole.
    pub fn of_release(name: &str, release: &Release) -> Self {
        let mut inventory = Inventory {
            format: Inventory::FORMAT,
            architecture: release.architecture.clone(),
            project: Some(release.project.clone()),
            ..Inventory::default()
        };
        let mut places: HashMap<&Digest, u32> = HashMap::new();
        let mut store = StoreInventory::default();
        for image in &release.images {
            let mut layers = Vec::new();
            for layer in &image.layers {
                let place = *places.entry(&layer.blob).or_insert_with(|| {
                    inventory.layers.push(stored(&layer.diff_id, &layer.blob, layer.bytes));
                    (inventory.layers.len() - 1) as u32
                });
                layers.push(place);
            }
            store.images.push(stored_image(image, layers));
        }
        inventory.store = Presence::Present(store);
        inventory.files = release
            .files
            .iter()
            .map(|file| FileInventory {
                path: file.path.clone(),
                digest: Some(file.digest.clone()),
                bytes: file.bytes,
                received: Some(file.digest.clone()),
            })
            .collect();
        inventory.seeds = release
            .seeds
            .iter()
            .map(|seed| SeedInventory {
                database: seed.database.clone(),
                digest: Some(seed.digest.clone()),
                bytes: seed.bytes,
                received: Some(seed.digest.clone()),
                on: None,
            })
            .collect();
        Self::of_inventory(name, inventory)
    }

    /// The architecture of its images, where that is known.
    pub fn architecture(&self) -> Option<&str> {
        let name = match &self.known {
            Known::Inventory(inventory) => {
                let engine = inventory.engine.present().map(|engine| engine.architecture.as_str());
                engine.filter(|name| !name.is_empty()).unwrap_or(&inventory.architecture)
            }
            Known::Short(short) => &short.architecture,
        };
        Some(name).filter(|name| !name.is_empty())
    }

    /// The project that is there, where that is known.
    pub fn project(&self) -> Option<&str> {
        match &self.known {
            Known::Inventory(inventory) => inventory.project.as_deref(),
            Known::Short(short) => short.project.as_deref(),
        }
    }

    /// Its layers, in its store or in its engine.
    pub(super) fn layers(&self) -> Held {
        match &self.known {
            Known::Inventory(inventory) => {
                let stored = inventory.layers.iter().filter(|layer| layer.blob.is_some());
                let of_engine = inventory.engine.present().into_iter().flat_map(|engine| &engine.images);
                let of_engine = of_engine.flat_map(|image| &image.layers).filter_map(|place| inventory.layer(*place));
                Held::Known(stored.chain(of_engine).map(|layer| layer.diff_id.clone()).collect())
            }
            Known::Short(short) => {
                let all = [&short.both, &short.store, &short.only_engine].into_iter().flatten();
                Held::Short(all.cloned().collect())
            }
        }
    }

    /// Its images, as far as they are known: what they are called, and the diff IDs of their layers, lowest first.
    pub(super) fn images(&self) -> Vec<(&str, Vec<Digest>)> {
        let Known::Inventory(inventory) = &self.known else { return Vec::new() };
        let stored = inventory.store.present().into_iter().flat_map(|store| &store.images);
        let stored = stored.map(|image| (image.reference.as_str(), &image.layers));
        let of_engine = inventory.engine.present().into_iter().flat_map(|engine| &engine.images);
        let of_engine = of_engine
            .flat_map(|image| image.references.iter().map(move |reference| (reference.as_str(), &image.layers)));
        let known = stored.chain(of_engine);
        known.filter_map(|(reference, layers)| Some((reference, inventory.diff_ids(layers)?))).collect()
    }

    /// What it has of what is offered.
    pub(super) fn inventory(&self, offer: &Offer) -> Inventory {
        let short = match &self.known {
            Known::Inventory(inventory) => return (**inventory).clone(),
            Known::Short(short) => short,
        };
        let is_there = |digest: &Digest| {
            let known = |list: &Vec<String>| list.iter().any(|there| there == digest.short());
            known(&short.both) || known(&short.store)
        };
        let layers = offer.images.iter().flat_map(|image| &image.layers).filter(|layer| is_there(&layer.diff_id));
        let seeds = offer
            .seeds
            .iter()
            .filter(|seed| short.seeds.get(&seed.database).is_some_and(|there| there == seed.digest.short()));
        Inventory {
            format: Inventory::FORMAT,
            layers: layers.map(|layer| stored(&layer.diff_id, &layer.blob, layer.bytes)).collect(),
            seeds: seeds
                .map(|seed| SeedInventory {
                    database: seed.database.clone(),
                    digest: Some(seed.digest.clone()),
                    bytes: seed.bytes,
                    received: None,
                    on: None,
                })
                .collect(),
            ..Inventory::default()
        }
    }
}

fn stored(diff_id: &Digest, blob: &Digest, bytes: u64) -> LayerInventory {
    LayerInventory { diff_id: diff_id.clone(), blob: Some(blob.clone()), bytes: Some(bytes) }
}

fn stored_image(image: &OutgoingImage, layers: Vec<u32>) -> StoreImage {
    StoreImage {
        reference: image.reference.clone(),
        image_id: image.config.digest.clone(),
        manifest: image.manifest.digest.clone(),
        layers,
    }
}
