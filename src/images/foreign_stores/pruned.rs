//! What a prune takes, and what it leaves.

use super::*;
use crate::images::store::prune::ArchiveState;

#[tokio::test]
async fn a_prune_leaves_what_other_programs_named_by_a_tag_alone() {
    let folder = tempfile::tempdir().unwrap();
    regctl(folder.path());
    let before = readable(folder.path());
    let needed = NeededImages::these("p", &["team/docker:1"]);
    let plan = plan_prune(folder.path(), &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
    prune(folder.path(), &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    assert_eq!(readable(folder.path()), before);
}

#[tokio::test]
async fn an_archive_with_images_for_other_platforms_is_not_replaced_by_the_one_that_was_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (from, store) = (folder.path().join("from"), folder.path().join("store"));
    skopeo_all(&from);
    fs::create_dir(&store).unwrap();
    let archive = store.join("delivery.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    for blob in blobs(&from) {
        tar.append_path_with_name(&blob, Path::new("blobs/sha256").join(blob.file_name().unwrap())).unwrap();
    }
    for file in [INDEX_FILE, LAYOUT_FILE] {
        tar.append_path_with_name(from.join(file), file).unwrap();
    }
    tar.finish().unwrap();
    import(&store, std::slice::from_ref(&archive), &options(), &Reporter::default()).await.unwrap();
    let needed = NeededImages::these("p", &["team/app:1"]);
    // Read, and remembered.
    for _ in 0..2 {
        let plan = plan_prune(&store, &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
        assert_eq!(plan.report.archives[0].state, ArchiveState::Needed);
        prune(&store, &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
        assert!(archive.exists());
    }
    let nobody = NeededImages::these("p", &[]);
    let plan = plan_prune(&store, &nobody, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!(plan.report.archives[0].state, ArchiveState::Unneeded);
}

#[tokio::test]
async fn a_prune_leaves_a_layer_that_another_program_may_be_writing_for_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    regctl(folder.path());
    let coming = folder.path().join("blobs/sha256").join(Digest::of(b"coming").hex());
    fs::write(&coming, b"coming").unwrap();
    let needed = NeededImages::these("p", &["team/docker:1"]);
    let counts = |plan: &PrunePlan| (plan.report.young, plan.report.blobs.len());
    // A copy that keeps times, one from a clock that is ahead, and one as it comes: each came just now.
    for (hours, sign) in [(9, -1), (9, 1), (0, 1)] {
        let file = fs::File::options().write(true).open(&coming).unwrap();
        let (now, distance) = (SystemTime::now(), Duration::from_secs(hours * 3600));
        file.set_modified(if sign < 0 { now - distance } else { now + distance }).unwrap();
        let plan = plan_prune(folder.path(), &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
        assert_eq!(counts(&plan), (1, 0), "{hours} {sign}");
    }
    assert_eq!(counts(&later(folder.path(), &needed).await), (0, 1));
}

#[tokio::test]
async fn a_prune_leaves_the_documents_and_the_records_of_a_copy_that_is_still_coming() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, prod) = (folder.path().join("dev"), folder.path().join("prod"));
    ours(&dev, &["team/coming:1"]).await;
    ours(&prod, &["team/one:1"]).await;
    // As rsync brings it: the store's own folder, the blobs, and at last the index, which is not there yet.
    for part in [".dpl-store", "blobs"] {
        copy_over(&dev.join(part), &prod.join(part));
    }
    let (before, needed) = (blobs(&prod), NeededImages::these("p", &["team/one:1"]));
    let plan = plan_prune(&prod, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.young, plan.report.blobs.len()), (3, 0), "manifest, configuration, layer");
    prune(&prod, &needed, ArchivePruning::Keep, &plan, &Reporter::default()).await.unwrap();
    assert_eq!(blobs(&prod), before);
    assert_eq!(fs::read_dir(prod.join(".dpl-store/names")).unwrap().count(), 2);
}

#[tokio::test]
async fn what_dpl_took_out_of_the_index_itself_goes_at_once_and_in_a_copy_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1"]).await;
    let first = blobs(&store);
    let mut other = Foreign::new(&folder.path().join("other"));
    let image = other.image(OCI_MANIFEST, "other", &here());
    other.name(image, &[(REF_NAME, "team/one:1")]);
    other.write();
    import(&store, &[folder.path().join("other")], &options(), &Reporter::default()).await.unwrap();
    let needed = NeededImages::these("p", &["team/one:1"]);
    let plan = plan_prune(&store, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.young, plan.report.blobs.len()), (0, first.len()));
    // The same in a copy, where nobody knows how the blobs came.
    let copy = folder.path().join("copy");
    copy_over(&store, &copy);
    let plan = plan_prune(&copy, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.young as usize, plan.report.blobs.len()), (first.len(), 0));
}

#[tokio::test]
async fn a_store_that_earlier_versions_wrote_keeps_what_nothing_names_while_a_manifest_misses_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, prod) = (folder.path().join("dev"), folder.path().join("prod"));
    ours(&prod, &["team/one:1", "team/two:1"]).await;
    ours(&dev, &["team/two:1"]).await;
    for store in [&dev, &prod] {
        fs::remove_dir_all(store.join(".dpl-store/names")).unwrap();
    }
    copy_over(&dev, &prod);
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1"]);
    for damaged in [None, Some("no record"), Some("")] {
        // An empty folder of records, and records that can't be read, say nothing.
        match damaged {
            None => {}
            Some("") => fs::remove_file(prod.join(".dpl-store/names/x")).unwrap(),
            Some(text) => {
                fs::create_dir_all(prod.join(".dpl-store/names")).unwrap();
                fs::write(prod.join(".dpl-store/names/x"), text).unwrap();
            }
        }
        let plan = later(&prod, &needed).await;
        assert_eq!((plan.report.missing.as_slice(), plan.report.freed_bytes), (&["team/one:1".to_owned()][..], 0));
        assert_eq!(plan.report.unsure.len(), usize::from(damaged == Some("no record")));
        assert_eq!(verified(&prod, None).await.ok, damaged != Some("no record"));
    }
    let plan = later(&prod, &NeededImages::these("p", &["team/two:1"])).await;
    assert!(plan.report.freed_bytes > 0, "no name is missed, so that what nothing names goes");
}

#[tokio::test]
async fn an_image_that_lost_its_name_is_pruned_and_can_be_removed_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let mut index = index_of(&store);
    let mut moved = index["manifests"][1].clone();
    moved["annotations"] = json!({REF_NAME: "team/one:1"});
    index["manifests"][0]["annotations"].as_object_mut().unwrap().remove(REF_NAME);
    let lost: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    index["manifests"].as_array_mut().unwrap().push(moved);
    fs::write(store.join(INDEX_FILE), index.to_string()).unwrap();
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1"]);
    let plan = plan_prune(&store, &needed, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
    assert_eq!((plan.report.images.len(), plan.report.kept.len()), (1, 0), "{:?}", plan.report);
    let id = open(&store).read_image(&open(&store).index.manifests[0]).unwrap().config_digest;
    for hex in [lost.short(), &id.hex()[..12], id.hex()] {
        let targets = RemoveTargets { references: Vec::new(), ids: vec![hex.to_owned()] };
        let plan = plan_remove(&store, &targets, &needed, StillNeeded::Refused).await.unwrap();
        assert_eq!(plan.images.len(), 1, "{hex}");
    }
    let other = RemoveTargets { references: Vec::new(), ids: vec!["0".repeat(12)] };
    assert!(plan_remove(&store, &other, &needed, StillNeeded::Refused).await.is_err());
}

#[tokio::test]
async fn a_name_that_moves_leaves_the_signature_of_the_image_that_had_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, from) = (folder.path().join("store"), folder.path().join("from"));
    signed(&store);
    let index: Value = serde_json::from_slice(&fs::read(store.join(INDEX_FILE)).unwrap()).unwrap();
    let signature = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let blobs = readable(&store)[&("team/app:1".to_owned(), signature.clone())].clone();
    let mut other = Foreign::new(&from);
    let image = other.image(OCI_MANIFEST, "other", &here());
    other.name(image, &[(REF_NAME, "team/app:1")]);
    other.write();
    import(&store, &[from], &options(), &Reporter::default()).await.unwrap();
    let needed = NeededImages::these("p", &["team/app:1"]);
    let plan = plan_prune(&store, &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
    prune(&store, &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    let left = readable(&store);
    assert_eq!(left.get(&("team/app:1".to_owned(), signature)), Some(&blobs), "{left:?}");
    assert!(verified(&store, Some(&needed)).await.ok);
}
