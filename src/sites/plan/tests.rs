use std::collections::HashSet;

use super::*;
use crate::images::{OutgoingBlob, OutgoingImage, OutgoingLayer};
use crate::manifest::FileUse;
use crate::sites::inventory::{
    EngineImage, EngineInventory, FileInventory, ImageStoreKind, LayerInventory, PartInventory, Presence, StoreImage,
    StoreInventory,
};

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn image(reference: &str, layers: &str) -> OutgoingImage {
    let document = |kind: &str| OutgoingBlob {
        digest: digest(&format!("{kind} of {reference}")),
        bytes: 10,
        media_type: kind.to_owned(),
    };
    let layer = |name: &str| OutgoingLayer {
        diff_id: digest(name),
        blob: digest(&format!("blob of {name}")),
        bytes: 1000,
        media_type: String::new(),
        uncompressed_bytes: Some(2000),
    };
    OutgoingImage {
        reference: reference.to_owned(),
        manifest: document("manifest"),
        config: document("config"),
        layers: layers.split_whitespace().map(layer).collect(),
        engine_ids: Vec::new(),
    }
}

/// A machine whose store has these layers, and whose engine has images of these.
fn machine(stored: &str, engine: &[&str]) -> Inventory {
    let mut layers: Vec<LayerInventory> = stored
        .split_whitespace()
        .map(|name| LayerInventory {
            diff_id: digest(name),
            blob: Some(digest(&format!("blob of {name}"))),
            bytes: Some(1000),
        })
        .collect();
    let mut images = Vec::new();
    for (number, names) in engine.iter().enumerate() {
        let mut places = Vec::new();
        for name in names.split_whitespace() {
            let known = layers.iter().position(|layer| layer.diff_id == digest(name));
            places.push(known.unwrap_or_else(|| {
                layers.push(LayerInventory { diff_id: digest(name), blob: None, bytes: None });
                layers.len() - 1
            }) as u32);
        }
        images.push(EngineImage { id: number.to_string(), references: Vec::new(), layers: places });
    }
    Inventory {
        format: 1,
        folder: "/srv".to_owned(),
        folder_free: Some(1 << 40),
        layers,
        engine: Presence::Present(EngineInventory {
            version: String::new(),
            store: ImageStoreKind::Classic,
            driver: String::new(),
            architecture: "amd64".to_owned(),
            free: None,
            images,
        }),
        store: Presence::Present(StoreInventory { folder: "/srv/store".to_owned(), ..StoreInventory::default() }),
        ..Inventory::default()
    }
}

fn blobs(plan: &TransferPlan) -> Vec<Digest> {
    let documents: HashSet<Digest> = ["a", "b"]
        .iter()
        .flat_map(|image| ["config", "manifest"].map(|kind| digest(&format!("{kind} of {image}"))))
        .collect();
    plan.blobs.iter().map(|blob| blob.digest.clone()).filter(|digest| !documents.contains(digest)).collect()
}

fn blobs_of(names: &str) -> Vec<Digest> {
    names.split_whitespace().map(|name| digest(&format!("blob of {name}"))).collect()
}

fn planned(inventory: &Inventory, images: &[OutgoingImage], whole: bool) -> TransferPlan {
    let offer = Offer { images: images.to_vec(), ..Offer::default() };
    plan(inventory, &offer, PlanOptions { overwrite: false, whole })
}

#[test]
fn only_what_neither_store_nor_engine_has_goes_along() {
    let there = machine("base", &["base lib other"]);
    let images = [image("a", "base lib new"), image("b", "base lib new two")];
    let plan_ = planned(&there, &images, false);
    assert_eq!(blobs(&plan_), blobs_of("new two"), "what both lack goes once");
    assert_eq!(plan_.bytes, 2000 + 4 * 10);
    assert_eq!((plan_.images[0].layers_to_send, plan_.images[0].layers_in_engine), (1, 1));
    assert_eq!(blobs(&planned(&there, &images, true)), blobs_of("lib new two"), "the store is to have all");
}

#[test]
fn a_layer_of_the_engine_on_another_base_is_another_file_system() {
    let there = machine("", &["other lib"]);
    assert_eq!(blobs(&planned(&there, &[image("a", "base lib")], false)), blobs_of("base lib"));
}

#[test]
fn the_layers_of_an_engine_of_the_containerd_store_are_not_relied_on() {
    let mut there = machine("", &["base"]);
    there.engine.present_mut().unwrap().store = ImageStoreKind::Containerd;
    assert_eq!(blobs(&planned(&there, &[image("a", "base")], false)), blobs_of("base"));
}

#[test]
fn an_image_that_is_there_is_not_sent_and_one_of_another_content_is() {
    let mut there = machine("base new", &[]);
    let known = image("a", "base new");
    let stored = StoreImage {
        reference: "a".to_owned(),
        image_id: known.config.digest.clone(),
        manifest: known.manifest.digest.clone(),
        layers: vec![0, 1],
    };
    there.store.present_mut().unwrap().images.push(stored);
    let plan_ = planned(&there, std::slice::from_ref(&known), false);
    assert!(plan_.is_nothing() && plan_.blobs.is_empty() && plan_.bytes == 0, "{plan_:?}");
    // Its name is there, and one of its blobs is gone.
    there.layers[1].blob = None;
    assert_eq!(blobs(&planned(&there, &[known], false)), blobs_of("new"));
    there.store.present_mut().unwrap().images[0].image_id = digest("another");
    assert!(!planned(&there, &[image("a", "base")], false).is_nothing());
}

#[test]
fn what_has_arrived_in_part_is_not_counted_again() {
    let mut there = machine("", &[]);
    let part = PartInventory { digest: digest("blob of big"), bytes: 600 };
    there.store.present_mut().unwrap().incoming.push(part);
    let plan_ = planned(&there, &[image("a", "big")], false);
    assert_eq!((plan_.blobs[0].arrived, plan_.bytes), (600, 400 + 20));
    assert_eq!(plan_.space.iter().map(|need| need.needed).sum::<u64>(), 420);
}

#[test]
fn a_file_that_was_changed_there_stays_unless_it_is_to_be_overwritten() {
    let file = |path: &str, present: Option<&str>, received: Option<&str>| FileInventory {
        path: path.to_owned(),
        digest: present.map(digest),
        bytes: 1,
        received: received.map(digest),
    };
    let mut there = machine("", &[]);
    there.files = vec![
        file("same", Some("new"), None),
        file("ours", Some("old"), Some("old")),
        file("theirs", Some("edited"), Some("old")),
        file("unknown", Some("other"), None),
        file("gone", None, Some("old")),
    ];
    let offered = ["same", "ours", "theirs", "unknown", "gone", "fresh"].map(|path| OfferedFile {
        path: path.to_owned(),
        digest: digest("new"),
        bytes: 1,
        purpose: FileUse::Config,
        private: false,
        executable: false,
    });
    let offer = Offer { files: offered.to_vec(), ..Offer::default() };
    let results = |overwrite| {
        let plan_ = plan(&there, &offer, PlanOptions { overwrite, whole: false });
        plan_.files.iter().map(|file| file.result).collect::<Vec<_>>()
    };
    use FileResult::{Kept, New, Replaced, Unchanged};
    assert_eq!(results(false), [Unchanged, Replaced, Kept, Kept, New, New]);
    assert_eq!(results(true), [Unchanged, Replaced, Replaced, Replaced, New, New]);
}

#[test]
fn an_inventory_that_names_layers_which_it_does_not_have_is_no_panic() {
    let mut there = machine("", &["base"]);
    there.engine.present_mut().unwrap().images[0].layers = vec![7, u32::MAX];
    assert_eq!(blobs(&planned(&there, &[image("a", "base")], false)), blobs_of("base"));
}

/// `layer` as a delta of 100 bytes from others, whose tars have 5000 bytes each.
fn delta(layer: &str, bases: &str) -> LayerDelta {
    let base = |name: &str| DeltaBase { layer: digest(name), bytes: 5000 };
    LayerDelta {
        layer: digest(layer),
        bytes: 6000,
        delta: digest(&format!("delta of {layer}")),
        delta_bytes: 100,
        bases: bases.split_whitespace().map(base).collect(),
    }
}

fn planned_with(inventory: &Inventory, images: &[OutgoingImage], deltas: &[LayerDelta]) -> TransferPlan {
    let offer = Offer { images: images.to_vec(), deltas: deltas.to_vec(), ..Offer::default() };
    plan(inventory, &offer, PlanOptions::default())
}

#[test]
fn a_layer_comes_as_a_delta_where_all_that_it_is_rebuilt_from_is_there() {
    let images = [image("a", "base new"), image("b", "base new two")];
    let deltas = [delta("new", "old older"), delta("two", "old")];
    let there = machine("base old older", &[]);
    let plan_ = planned_with(&there, &images, &deltas);
    assert!(blobs(&plan_).is_empty());
    let layers: Vec<_> = plan_.deltas.iter().map(|delta| (delta.layer.clone(), delta.whole_bytes)).collect();
    assert_eq!(layers, [(digest("new"), 1000), (digest("two"), 1000)], "what both lack comes once");
    assert_eq!((plan_.bytes, plan_.images[0].bytes, plan_.images[1].layers_to_send), (2 * 100 + 4 * 10, 120, 1));
    // The deltas, the layers, and what one of them is rebuilt from.
    assert_eq!(plan_.space[0].needed, plan_.bytes + 2 * 1000 + 2 * 5000);

    let lacks_one = planned_with(&machine("base old", &[]), &images, &deltas);
    assert_eq!((blobs(&lacks_one), lacks_one.deltas.len()), (blobs_of("new"), 1));
    let has_it = planned_with(&machine("base old older new", &[]), &images, &deltas);
    assert_eq!((has_it.deltas.len(), has_it.deltas[0].layer.clone()), (1, digest("two")));
}

#[test]
fn a_base_that_only_the_engine_has_is_exported_of_one_of_its_images() {
    let mut there = machine("base old", &["base older", "base old older"]);
    there.engine.present_mut().unwrap().images[0].references = vec!["a:1".to_owned()];
    for kind in [ImageStoreKind::Classic, ImageStoreKind::Containerd] {
        there.engine.present_mut().unwrap().store = kind;
        let plan_ = planned_with(&there, &[image("a", "base new")], &[delta("new", "old older")]);
        let bases: Vec<_> = plan_.deltas[0].bases.iter().map(|base| base.engine_image.as_deref()).collect();
        assert_eq!(bases, [None, Some("a:1")]);
        // What comes out of the engine, and one of its layers that is looked at and is another one.
        assert_eq!(plan_.space[0].needed, plan_.bytes + 1000 + 5000 + 2 * 5000);
    }
}

#[test]
fn what_has_arrived_of_a_delta_is_not_counted_again() {
    let mut there = machine("base old", &[]);
    let part = PartInventory { digest: digest("delta of new"), bytes: 60 };
    there.store.present_mut().unwrap().incoming.push(part);
    let plan_ = planned_with(&there, &[image("a", "base new")], &[delta("new", "old")]);
    assert_eq!((plan_.deltas[0].arrived, plan_.bytes), (60, 40 + 20));
}
