use serde_json::json;

use super::*;
use crate::manifest::FileUse;
use crate::packages::Release;
use crate::packages::contents::SeedPart;
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

#[test]
fn a_machine_that_has_the_release_needs_files_and_documents_alone() {
    let input = input();
    let release = Release {
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
    };
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
