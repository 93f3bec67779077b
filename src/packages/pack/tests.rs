#[path = "../../../tests/support/library.rs"]
mod library;

use serde_json::json;

use self::library::library;
use super::candidates::candidates;
use super::*;
use crate::images::{ImagesError, LayerIntake, store_layers};
use crate::manifest::FileUse;
use crate::packages::Release;
use crate::packages::contents::SeedPart;
use crate::packages::delta::CreateOptions;
use crate::sites::{Inventory, LayerInventory};

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn image(reference: &str, layers: &[&str]) -> OutgoingImage {
    let document =
        |kind: &str| json!({"digest": digest(&format!("{kind} {reference}")), "bytes": 10, "media_type": ""});
    let layer = |name: &&str| {
        json!({"diff_id": digest(name), "blob": digest(&format!("blob {name}")), "bytes": 1000, "media_type": "",
               "uncompressed_bytes": null})
    };
    let value = json!({"reference": reference, "manifest": document("manifest"), "config": document("config"),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(), "engine_ids": []});
    serde_json::from_value(value).unwrap()
}

fn input() -> PackInput {
    let file = ContentFile {
        path: "stack.json".to_owned(),
        digest: digest("{}"),
        bytes: 2,
        purpose: FileUse::Manifest,
        private: false,
        executable: false,
    };
    let seed = ContentSeed {
        database: "d".to_owned(),
        digest: digest("seed"),
        bytes: 4,
        files: vec![SeedPart { path: String::new(), digest: digest("dump"), bytes: 4 }],
    };
    PackInput {
        project: "p".to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        manifest: "stack.json".to_owned(),
        images: vec![image("a:1", &["base", "a"]), image("b:1", &["base", "b"])],
        files: vec![file],
        seeds: vec![seed],
        seed_sources: [(("d".to_owned(), String::new()), "/seed".into())].into(),
        store: Some("/store".into()),
        ..PackInput::default()
    }
}

/// A machine whose store has these layers.
fn machine(name: &str, layers: &[&str]) -> PackGoal {
    let layer = |name: &&str| LayerInventory {
        diff_id: digest(name),
        blob: Some(digest(&format!("blob {name}"))),
        bytes: Some(1000),
    };
    let layers = layers.iter().map(layer).collect();
    PackGoal::of_inventory(name, Inventory { layers, ..Inventory::default() })
}

fn carries(plan: &PackPlan, layer: &str) -> bool {
    plan.index.carries(Namespace::Blob, &digest(&format!("blob {layer}")))
}

#[test]
fn a_package_for_several_carries_what_any_of_them_lacks_and_says_who_causes_it() {
    let goals = [machine("one", &["base", "a"]), machine("two", &["base", "b"])];
    let plan = plan_pack(&input(), &goals, false).unwrap();
    assert!(!carries(&plan, "base") && carries(&plan, "a") && carries(&plan, "b"));
    assert_eq!(plan.index.needs.layers, [digest("base")]);
    let needs: Vec<_> = plan.goals.iter().map(|goal| (goal.name.as_str(), goal.bytes, goal.alone_bytes)).collect();
    // Four documents and the seed are lacking at both.
    assert_eq!(needs, [("one", 1044, 1000), ("two", 1044, 1000)]);
    let all = plan_pack(&input(), &[PackGoal::nothing("none")], false).unwrap();
    assert!(["base", "a", "b"].iter().all(|layer| carries(&all, layer)) && all.index.needs.layers.is_empty());
}

/// What is packed, as a release.
fn release(input: &PackInput) -> Release {
    Release {
        format: 1,
        name: "v1".to_owned(),
        project: "p".to_owned(),
        created: input.created.clone(),
        by: String::new(),
        dpl: String::new(),
        architecture: "amd64".to_owned(),
        manifest: input.manifest.clone(),
        images: input.images.clone(),
        files: input.files.clone(),
        seeds: input.seeds.clone(),
        left_out: Vec::new(),
    }
}

#[test]
fn a_machine_that_has_the_release_needs_files_and_documents_alone() {
    let input = input();
    let release = release(&input);
    let plan = plan_pack(&input, &[PackGoal::of_release("v1", &release)], false).unwrap();
    assert_eq!((plan.goals[0].bytes, plan.index.needs.seeds.len()), (0, 1));
    let names: Vec<&str> = plan.index.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names[..2], ["oci-layout", "index.json"]);
    assert_eq!(names[2], Namespace::File.name(&digest("{}")));
    // And the documents of the two images, which are small.
    assert_eq!(names.len(), 3 + 4);
    assert!(names[3..].iter().all(|name| name.starts_with("blobs/")));
}

#[test]
fn a_short_inventory_counts_what_the_store_has() {
    let short = json!({"format": 1, "made_at": "", "dpl": "", "host": "", "architecture": "amd64", "project": "p",
        "folder_free": null, "engine": null, "both": [digest("base").short()], "store": [],
        "only_engine": [digest("a").short()], "seeds": {"d": digest("seed").short()}});
    let goal = PackGoal::of_short("phone", serde_json::from_value(short).unwrap());
    let plan = plan_pack(&input(), &[goal], false).unwrap();
    assert!(!carries(&plan, "base") && carries(&plan, "a") && carries(&plan, "b"));
    assert_eq!(plan.index.needs.seeds, ["d"]);
}

#[test]
fn the_same_package_is_the_same_index() {
    let goals = [machine("one", &["base"])];
    let indexes = [0; 2].map(|_| plan_pack(&input(), &goals, false).unwrap().index.to_bytes());
    assert_eq!(indexes[0], indexes[1]);
}

/// The layers of a store, by their names.
fn here(names: &[&str]) -> HashMap<Digest, OutgoingLayer> {
    let layers = names.iter().flat_map(|name| image("x", &[name]).layers);
    layers.map(|layer| (layer.diff_id.clone(), layer)).collect()
}

/// Each layer that may be a delta, and of what.
fn found(input: &PackInput, goals: &[PackGoal], here: &HashMap<Digest, OutgoingLayer>) -> Vec<(Digest, Vec<Digest>)> {
    let candidates = candidates(input, goals, false, here);
    let bases = |candidate: &DeltaCandidate| candidate.bases.iter().map(|base| base.diff_id.clone()).collect();
    candidates.iter().map(|candidate| (candidate.layer.diff_id.clone(), bases(candidate))).collect()
}

#[test]
fn a_layer_is_made_of_what_its_image_had_before_and_the_new_images_have_not() {
    let old = PackInput { images: vec![image("a:1", &["base", "a1", "a2"]), image("b:1", &["base", "b1"])], ..input() };
    let goal = PackGoal::of_release("v1", &release(&old));
    let new = PackInput { images: vec![image("a:2", &["base", "a3"]), image("c:1", &["base", "c"])], ..input() };
    let all = here(&["base", "a1", "a2", "b1"]);
    let a3 = (digest("a3"), vec![digest("a1"), digest("a2")]);
    let c = (digest("c"), vec![digest("a1"), digest("a2"), digest("b1")]);
    assert_eq!(found(&new, std::slice::from_ref(&goal), &all), [a3.clone(), c], "of an unknown image: of all");
    // What this machine has not, or one of the machines, is nothing that a delta can be made of.
    let some = here(&["base", "a2"]);
    assert_eq!(found(&new, std::slice::from_ref(&goal), &some)[0], (digest("a3"), vec![digest("a2")]));
    let both = [goal.clone(), machine("two", &["base", "a1"])];
    assert_eq!(found(&new, &both, &all)[0], (digest("a3"), vec![digest("a1")]));
    // One that has the layer does not ask for it.
    let both = [goal, machine("two", &["base", "a3", "c"])];
    assert_eq!(found(&new, &both, &all)[0], a3);
    assert_eq!(found(&new, &[PackGoal::nothing("none")], &all), []);
}

#[test]
fn the_layers_of_a_short_inventory_are_found_by_their_first_digits() {
    let short = json!({"format": 1, "made_at": "", "dpl": "", "host": "", "architecture": "amd64", "project": "p",
        "folder_free": null, "engine": null, "both": [digest("base").short()], "store": [digest("old").short()],
        "only_engine": [], "seeds": {}});
    let goal = PackGoal::of_short("phone", serde_json::from_value(short).unwrap());
    let new = PackInput { images: vec![image("a:1", &["base", "new"])], ..input() };
    assert_eq!(found(&new, &[goal], &here(&["base", "old", "older"])), [(digest("new"), vec![digest("old")])]);
}

#[test]
fn deltas_are_the_same_at_any_number_of_threads_and_a_package_has_them_for_machines_that_lack_the_layer() {
    let store = tempfile::tempdir().unwrap();
    let (old, new) = (library(""), library("something new"));
    let intake = LayerIntake::open(store.path(), "amd64").unwrap();
    for layer in [&old, &new] {
        let written = intake.take(&Digest::of(layer), layer.len() as u64, |out| {
            out.write_all(layer).unwrap();
            Ok::<_, ImagesError>(())
        });
        written.unwrap();
    }
    let layers = store_layers(store.path(), "amd64").unwrap();
    let (old_layer, new_layer) = (&layers[&Digest::of(&old)], &layers[&Digest::of(&new)]);
    let candidate =
        DeltaCandidate { layer: new_layer.clone(), reference: "a:1".to_owned(), bases: vec![old_layer.clone()] };
    let made = [1, 2, 3].map(|threads| {
        let create = CreateOptions { threads, ..CreateOptions::default() };
        let options = DeltaOptions { when: DeltaUse::Auto, create };
        let made = make_deltas(store.path(), std::slice::from_ref(&candidate), &options, &Reporter::default());
        made.unwrap()
    });
    assert!(made.iter().all(|deltas| deltas.len() == 1 && deltas[0].delta == made[0][0].delta));
    let delta = &made[0][0].delta;
    assert!(delta.delta_bytes < 10_000 && delta.bytes == new.len() as u64, "{delta:?}");
    assert_eq!(delta.bases[0].layer, Digest::of(&old));

    let image = OutgoingImage { layers: vec![new_layer.clone()], ..image("a:1", &[]) };
    let input = PackInput {
        images: vec![image],
        store: Some(store.path().to_owned()),
        deltas: made[0].clone(),
        files: Vec::new(),
        seeds: Vec::new(),
        ..input()
    };
    let has = |layers: &[&OutgoingLayer]| {
        let layer = |layer: &&OutgoingLayer| LayerInventory {
            diff_id: layer.diff_id.clone(),
            blob: Some(layer.blob.clone()),
            bytes: Some(layer.bytes),
        };
        let layers = layers.iter().map(layer).collect();
        PackGoal::of_inventory("one", Inventory { layers, ..Inventory::default() })
    };
    let plan = plan_pack(&input, &[has(&[old_layer])], false).unwrap();
    assert!(
        plan.index.carries(Namespace::Delta, &delta.delta) && !plan.index.carries(Namespace::Blob, &new_layer.blob)
    );
    assert_eq!(plan.index.needs.layers, [Digest::of(&old)]);
    // And the two documents of the image.
    assert_eq!(plan.goals[0].bytes, delta.delta_bytes + 20);
    let plan = plan_pack(&input, &[has(&[old_layer, new_layer])], false).unwrap();
    assert!(plan.index.deltas.is_empty() && !plan.index.carries(Namespace::Delta, &delta.delta));
}
