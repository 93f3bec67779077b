//! What a repair brings back.

use super::*;
use crate::catalogue::english;
use crate::images::store::repair::{RepairReport, plan_repair};

#[tokio::test]
async fn a_store_that_is_copied_over_another_one_loses_no_image_and_its_names_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, prod) = (folder.path().join("dev"), folder.path().join("prod"));
    ours(&prod, &["team/one:1", "team/two:1"]).await;
    ours(&dev, &["team/two:1"]).await;
    copy_over(&dev, &prod);
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1", "team/never:1"]);
    let report = verified(&prod, Some(&needed)).await;
    assert_eq!((report.ok, report.problems.len()), (false, 1), "{report:?}");
    assert_eq!(
        (report.problems[0].reference.as_str(), &report.missing[..]),
        ("team/one:1", &["team/never:1".to_owned()][..])
    );
    let plan = plan_prune(&prod, &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.lost.as_slice(), plan.report.freed_bytes), (&["team/one:1".to_owned()][..], 0));
    prune(&prod, &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    let repaired = repair(&prod, &Reporter::default()).await.unwrap();
    assert_eq!((repaired.names.len(), repaired.names[0].reference.as_str()), (1, "team/one:1"));
    let report = verified(&prod, Some(&needed)).await;
    assert!(report.ok && report.images == 2, "{report:?}");
}

#[tokio::test]
async fn names_that_were_removed_do_not_come_back_and_a_lost_index_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let nobody = NeededImages::these("p", &[]);
    let two: Reference = "team/two:1".parse().unwrap();
    let two = RemoveTargets::from(vec![two]);
    let shown = plan_remove(&store, &two, &nobody, StillNeeded::Removed).await.unwrap();
    remove(&store, &two, &nobody, StillNeeded::Removed, &shown, &Reporter::default()).await.unwrap();
    assert!(repair(&store, &Reporter::default()).await.unwrap().names.is_empty());
    for damage in [None, Some("")] {
        match damage {
            None => fs::remove_file(store.join(INDEX_FILE)).unwrap(),
            Some(text) => fs::write(store.join(INDEX_FILE), text).unwrap(),
        }
        let repaired = repair(&store, &Reporter::default()).await.unwrap();
        assert_eq!((repaired.index_replaced, repaired.names.len()), (true, 1), "{damage:?}");
        assert!(verified(&store, None).await.ok);
    }
}

#[tokio::test]
async fn a_copy_that_broke_off_before_its_index_is_noticed_when_the_names_are_equal() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1"]).await;
    let old = index_of(&store);
    // What is saved later, under the same name.
    let mut entry: crate::images::formats::documents::Descriptor =
        serde_json::from_value(old["manifests"][0].clone()).unwrap();
    let other = Foreign::new(&store);
    let image = other.image(OCI_MANIFEST, "newer", &here());
    entry.digest = image["digest"].as_str().unwrap().parse().unwrap();
    entry.size = image["size"].as_u64().unwrap();
    let newer = entry.with("dpl.saved-at", "2999-01-01T00:00:00Z").sealed();
    fs::write(store.join(INDEX_FILE), json!({"schemaVersion": 2, "manifests": [newer]}).to_string()).unwrap();
    drop(StoreWriter::open(&store).unwrap());
    fs::write(store.join(INDEX_FILE), old.to_string()).unwrap();

    let needed = NeededImages::these("p", &["team/one:1"]);
    let report = verified(&store, Some(&needed)).await;
    assert_eq!((report.ok, report.problems.len()), (false, 1), "{report:?}");
    let wanted = ["team/one:1".parse().unwrap()];
    let find = || find_sources(&store, &Platform::host(), &wanted, ArchiveCache::ReadOnly, &Reporter::default());
    assert_eq!(find().unwrap().notices.len(), 1);
    let plan = later(&store, &needed).await;
    assert_eq!((plan.report.newer.len(), plan.report.freed_bytes), (1, 0));
    // A writer leaves the record alone, and a repair follows it.
    drop(StoreWriter::open(&store).unwrap());
    assert_eq!(repair(&store, &Reporter::default()).await.unwrap().names.len(), 1);
    assert_eq!(index_of(&store)["manifests"][0]["digest"], image["digest"]);
    assert!(verified(&store, Some(&needed)).await.ok && find().unwrap().notices.is_empty());
}

#[tokio::test]
async fn an_entry_that_was_changed_gives_way_to_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let whole = index_of(&store);
    let changes: [fn(&mut Value); 4] = [
        |index| index["manifests"][0]["annotations"]["note"] = json!("mine"),
        |index| index["manifests"][0]["size"] = json!(1),
        |index| index["manifests"][0]["annotations"][REF_NAME] = json!("team/onf:1"),
        |index| {
            let mut twice = index["manifests"][1].clone();
            twice["annotations"] = json!({REF_NAME: "team/one:1"});
            index["manifests"].as_array_mut().unwrap().push(twice);
        },
    ];
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1"]);
    for (at, change) in changes.into_iter().enumerate() {
        let mut index = whole.clone();
        change(&mut index);
        fs::write(store.join(INDEX_FILE), index.to_string()).unwrap();
        assert!(!verified(&store, Some(&needed)).await.ok, "{at}: the control");
        // A writer must not write the change down.
        drop(StoreWriter::open(&store).unwrap());
        let repaired = repair(&store, &Reporter::default()).await.unwrap();
        assert_eq!((repaired.names.len(), repaired.not_restored.len()), (1, 0), "{at}: {repaired:?}");
        let report = verified(&store, Some(&needed)).await;
        assert!(report.ok, "{at}: {report:?}");
    }
}

#[tokio::test]
async fn what_can_be_read_out_of_a_damaged_index_stays_and_so_does_what_it_may_have_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    one_tag(&store);
    let mut other = Foreign::new(&store);
    let image = other.image(OCI_MANIFEST, "other", &here());
    let first = index_of(&store)["manifests"][0].clone();
    other.name(image, &[(REF_NAME, "team/other:1")]);
    let second = other.entries[0].clone();
    let text = json!({"schemaVersion": 2, "manifests": [first, second]}).to_string();
    // The end is gone, and with it the second entry.
    fs::write(store.join(INDEX_FILE), &text[..text.len() - 30]).unwrap();
    let before = blobs(&store);
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert!(repaired.index_replaced && repaired.index_kept);
    assert_eq!(index_of(&store)["manifests"].as_array().unwrap().len(), 1);
    let plan = later(&store, &NeededImages::these("p", &[])).await;
    assert!(plan.report.unsure[0].ends_with("index.json.damaged"), "{:?}", plan.report);
    assert!(plan.report.blobs.is_empty(), "{:?}", plan.report.blobs);
    assert_eq!(blobs(&store), before);
    fs::remove_file(store.join(INDEX_FILE)).unwrap();
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert!(repaired.index_replaced && !repaired.index_kept, "there was nothing to keep");
}

#[tokio::test]
async fn a_layer_that_was_damaged_is_removed_by_a_repair_and_comes_again_with_an_import() {
    let folder = tempfile::tempdir().unwrap();
    let (store, from) = (folder.path().join("store"), folder.path().join("from"));
    one_tag(&from);
    let into = |store: PathBuf| {
        let from = from.clone();
        async move { import(&store, &[from], &options(), &Reporter::default()).await.unwrap() }
    };
    into(store.clone()).await;
    let layer = open(&store).images().next().unwrap().layers[0].clone();
    let path = open(&store).blob_path(&layer.blob);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(!verified(&store, None).await.ok);
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert_eq!(repaired.damaged_layers, [layer.blob.to_string()]);
    assert!(into(store.clone()).await.new_bytes > 0);
    assert!(verified(&store, None).await.ok);
    assert!(repair(&store, &Reporter::default()).await.unwrap().damaged_layers.is_empty());
}

#[tokio::test]
async fn a_damaged_layer_of_an_image_for_another_platform_is_found_by_a_repair_as_by_a_verify() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    skopeo_all(&store);
    let layer = "other".repeat(1000);
    let path = open(&store).blob_path(&Digest::of(layer.as_bytes()));
    fs::write(&path, layer.replacen('o', "0", 1)).unwrap();
    assert_eq!(verified(&store, None).await.problems.len(), 1, "the control");
    for _ in 0..2 {
        // Removed the first time, missing the second time: no repair says that all is well.
        let repaired = repair(&store, &Reporter::default()).await.unwrap();
        assert_eq!(repaired.unusable(), ["team/app:1"], "{repaired:?}");
        assert!(!path.exists());
    }
    fs::write(&path, layer).unwrap();
    assert!(repair(&store, &Reporter::default()).await.unwrap().unusable().is_empty());
    assert!(verified(&store, None).await.ok);
}

#[tokio::test]
async fn what_stays_incomplete_after_a_repair_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let one: Reference = "team/one:1".parse().unwrap();
    let layer = open(&store).image(&one).unwrap().unwrap().layers[0].clone();
    let path = open(&store).blob_path(&layer.blob);
    let whole = fs::read(&path).unwrap();
    assert!(repair(&store, &Reporter::default()).await.unwrap().unusable().is_empty(), "the control");
    let said = |report: &RepairReport| -> Vec<String> {
        report.incomplete.iter().map(|one| format!("{}: {}", one.reference, english(&one.problem))).collect()
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (content, why) in [(None, "a blob is missing"), (Some(flipped), "does not match its digest")] {
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        let planned = plan_repair(&store).await.unwrap();
        let repaired = repair(&store, &Reporter::default()).await.unwrap();
        assert_eq!(said(&planned), said(&repaired));
        assert_eq!((repaired.names.len(), repaired.unusable()), (0, vec!["team/one:1".to_owned()]), "{repaired:?}");
        let said = said(&repaired);
        assert!(said[0].starts_with("team/one:1: ") && said[0].ends_with(why), "{said:?}");
        assert!(said[0].contains(layer.blob.hex()), "{said:?}");
    }
    // Without its index too, and of the name that is not restored.
    fs::remove_file(store.join(INDEX_FILE)).unwrap();
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert_eq!((repaired.names.len(), &repaired.not_whole[..]), (1, &["team/one:1".to_owned()][..]));
    assert_eq!(repaired.unusable(), ["team/one:1"]);
    fs::write(&path, whole).unwrap();
    assert!(repair(&store, &Reporter::default()).await.unwrap().unusable().is_empty());
    assert!(verified(&store, None).await.ok);
}

#[tokio::test]
async fn an_index_that_was_replaced_goes_with_a_prune_once_no_manifest_is_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1"]);
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let whole = blobs(&store);
    let kept = ["index.json.damaged", "index.json.damaged.2", "index.json.missing"];
    let kept = kept.map(|name| store.join(".dpl-store").join(name));
    for content in [Some("{1"), Some("{2"), None] {
        match content {
            Some(content) => fs::write(store.join(INDEX_FILE), content).unwrap(),
            None => fs::remove_file(store.join(INDEX_FILE)).unwrap(),
        }
        assert_eq!(repair(&store, &Reporter::default()).await.unwrap().names.len(), 2);
    }
    assert_eq!([&kept[0], &kept[1]].map(|path| fs::read_to_string(path).unwrap()), ["{1", "{2"], "nothing is lost");
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert_eq!(repaired.set_aside, kept.clone().map(|path| path.display().to_string()));
    // They stay while a name is missed, and while something has none, young or old.
    let missed = NeededImages::these("p", &["team/one:1", "team/never:1"]);
    assert!(later(&store, &missed).await.report.set_aside.is_empty());
    Foreign::new(&store).image(OCI_MANIFEST, "nameless", &here());
    let young = plan_prune(&store, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert!(young.report.young > 0 && young.report.set_aside.is_empty(), "{:?}", young.report);
    let old = later(&store, &needed).await;
    assert_eq!((old.report.unsure.len(), old.report.set_aside.len()), (3, 0), "{:?}", old.report);
    for nameless in blobs(&store).difference(&whole) {
        fs::remove_file(nameless).unwrap();
    }
    let plan = plan_prune(&store, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.set_aside.len(), plan.is_empty()), (3, false), "{:?}", plan.report);
    prune(&store, &needed, ArchivePruning::Keep, &plan, &Reporter::default()).await.unwrap();
    assert!(kept.iter().all(|path| !path.exists()));
    let repaired = repair(&store, &Reporter::default()).await.unwrap();
    assert!(repaired.set_aside.is_empty() && repaired.unusable().is_empty(), "{repaired:?}");
    assert!(verified(&store, Some(&needed)).await.ok);
}
