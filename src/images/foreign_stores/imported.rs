//! What an import takes over.

use super::*;

#[tokio::test]
async fn an_import_removes_no_layer_of_another_platform_that_the_store_had_already() {
    let folder = tempfile::tempdir().unwrap();
    let (from, store) = (folder.path().join("from"), folder.path().join("store"));
    skopeo_all(&from);
    skopeo_all(&store);
    let before = readable(&store);
    // The archive of the same: every layer comes along in it, those of the other platform too.
    let archive = folder.path().join("all.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all("blobs", from.join("blobs")).unwrap();
    for file in [LAYOUT_FILE, INDEX_FILE] {
        tar.append_path_with_name(from.join(file), file).unwrap();
    }
    tar.finish().unwrap();
    let report = import(&store, &[archive], &options(), &Reporter::default()).await.unwrap();
    assert_eq!(report.images.len(), 1);
    let all: HashSet<String> = before.into_values().flatten().collect();
    for digest in all {
        assert!(store.join("blobs/sha256").join(&digest["sha256:".len()..]).exists(), "{digest} is gone");
    }
}

#[tokio::test]
async fn a_layout_whose_only_image_has_no_name_comes_in_under_the_one_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("from"), folder.path().join("into"));
    let mut store = Foreign::new(&from);
    let image = store.image(OCI_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "v0.3")]);
    store.write();
    let files = [from];
    assert!(import(&into, &files, &options(), &Reporter::default()).await.is_err());
    let named = ImportOptions { name: Some("team/app:1".parse().unwrap()), ..options() };
    assert_eq!(plan_import(&into, &files, &named).await.unwrap().images[0].reference, "team/app:1");
    assert_eq!(import(&into, &files, &named, &Reporter::default()).await.unwrap().images.len(), 1);
    assert!(verified(&into, None).await.ok);
}

#[tokio::test]
async fn an_image_under_many_names_is_read_once_and_too_many_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("from"), folder.path().join("into"));
    let mut store = Foreign::new(&from);
    let image = store.image(OCI_MANIFEST, "one", &here());
    for number in 0..3 {
        store.name(image.clone(), &[(REF_NAME, &format!("team/app:{number}"))]);
    }
    store.write();
    let files = [from.clone()];
    let done = import(&into, &files, &options(), &Reporter::default()).await.unwrap();
    let imported: Vec<(&str, u64)> =
        done.images.iter().map(|image| (image.reference.as_str(), image.layers_new)).collect();
    assert_eq!(imported, [("team/app:0", 1), ("team/app:1", 0), ("team/app:2", 0)]);
    // Five configurations of nearly 4 MiB each.
    let mut store = Foreign::new(&from);
    for number in 0..5 {
        let config = json!({"os": "linux", "architecture": here(), "author": number.to_string().repeat(4_000_000),
            "rootfs": {"diff_ids": []}});
        let config = store.document("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []});
        let manifest = store.document(OCI_MANIFEST, &manifest);
        store.name(manifest, &[(REF_NAME, &format!("team/large:{number}"))]);
    }
    store.write();
    let refused = import(&into, &files, &options(), &Reporter::default()).await.unwrap_err();
    assert!(crate::report::in_one_line(&refused).contains("more documents"), "{refused}");
}

#[tokio::test]
async fn names_that_are_not_valid_and_images_without_a_name_are_left_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (into, file) = (folder.path().join("into"), folder.path().join("x.tar"));
    let names = ["team/app:1", "[::1]:5000/v6:1", "MyHost/app:1", "team/UPPER:1"];
    fs::write(&file, crate::images::store::sample_archives::archive_for(&here(), &names, "one")).unwrap();
    let done = import(&into, &[file], &options(), &Reporter::default()).await.unwrap();
    let imported: Vec<&str> = done.images.iter().map(|image| image.reference.as_str()).collect();
    assert_eq!(imported, names[..3]);
    assert_eq!(done.left_out.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["team/UPPER:1"]);
}

/// Keeps the keys of what is warned of.
#[derive(Default)]
struct Warnings(std::sync::Mutex<Vec<&'static str>>);

impl crate::report::Listener for Warnings {
    fn hear(&self, event: &crate::report::Event) {
        if let crate::report::Event::Warning(message) = event {
            self.0.lock().unwrap().push(message.key);
        }
    }
}

#[tokio::test]
async fn an_export_of_one_platform_of_several_says_so() {
    use crate::images::exchange::export::{ExportOptions, ExportTarget, export};

    let folder = tempfile::tempdir().unwrap();
    let (foreign, own) = (folder.path().join("foreign"), folder.path().join("own"));
    skopeo_all(&foreign);
    ours(&own, &["team/app:1"]).await;
    for (store, expected) in [(&foreign, &["images-export-one-platform"][..]), (&own, &[])] {
        let warnings = std::sync::Arc::new(Warnings::default());
        let reporter = Reporter::new(vec![warnings.clone()], tokio_util::sync::CancellationToken::new());
        let target = ExportTarget::Path(folder.path().join("x.tar"));
        let wanted = ["team/app:1".parse().unwrap()];
        export(store, &wanted, target, ExportOptions::default(), &reporter).await.unwrap();
        assert_eq!(*warnings.0.lock().unwrap(), expected);
    }
}
