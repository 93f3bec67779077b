use std::path::Path;

use super::*;
use crate::images::formats::documents::REF_NAME;
use crate::images::store::layout::blob_path;
use crate::images::store::sample_layers::add_layer;
use crate::images::store::writer::{NewName, StoreWriter};

/// A store with an image of two layers for each name; the lower one is common to all.
fn store(folder: &Path, names: &[&str]) -> Layout {
    let mut writer = StoreWriter::open(folder).unwrap();
    let add_layer = |text: &str| add_layer(folder, text.repeat(100).as_bytes());
    let base = add_layer("base");
    for name in names {
        let layers = [base.clone(), add_layer(name)];
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = serde_json::json!({"rootfs": {"diff_ids": diff_ids}});
        let added = writer.add_image(&serde_json::to_vec(&config).unwrap(), &layers).unwrap();
        let name = NewName { reference: name.parse().unwrap(), manifest: added.manifest, engine_ids: Vec::new() };
        writer.name_images(&[name]).unwrap();
    }
    drop(writer);
    open(folder)
}

fn open(folder: &Path) -> Layout {
    Layout::open(folder).unwrap().unwrap()
}

fn named(name: &str) -> impl Fn(&Descriptor, Option<&str>) -> bool {
    move |_, other| other == Some(name)
}

/// Puts an index of the store's images in their place, under one name.
fn nest(folder: &Path, layout: &Layout) {
    let nested = layout.index.to_bytes();
    let digest = Digest::of(&nested);
    fs::write(blob_path(folder, &digest), &nested).unwrap();
    let mut index = layout.index.clone();
    let kind = "application/vnd.oci.image.index.v1+json";
    index.manifests = vec![Descriptor::new(kind, digest, nested.len() as u64).with(REF_NAME, "all:1")];
    fs::write(folder.join(INDEX_FILE), index.to_bytes()).unwrap();
}

#[test]
fn what_two_images_share_stays_with_the_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let layout = store(folder.path(), &["a:1", "b:1"]);
    let removal = Removal::plan(&layout, &[], named("b:1")).unwrap();
    assert_eq!((removal.blobs.len(), removal.images[0].layers_kept), (3, 1));
    assert_eq!(removal.images[0].freed_bytes, removal.blobs.values().sum::<u64>());
    assert!(unnamed_blobs(&layout, &[], &removal).unwrap().is_empty(), "what goes is named until it goes");
    let lock = StoreLock::take(folder.path()).unwrap();
    removal.carry_out(&lock, &layout, &Reporter::default()).unwrap();
    let left = open(folder.path());
    assert_eq!(left.index.manifests.len(), 1);
    assert!(left.missing_blob(&left.read_image(&left.index.manifests[0]).unwrap()).is_none());
    let both = Removal::plan(&left, &[], |_, _| true).unwrap();
    assert_eq!(both.blobs.len(), 4);
}

#[test]
fn an_index_of_platforms_keeps_all_that_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let layout = store(folder.path(), &["a:1", "b:1"]);
    nest(folder.path(), &layout);
    let layout = open(folder.path());
    let nothing = Removal::plan(&layout, &[], |_, _| false).unwrap();
    assert!(unnamed_blobs(&layout, &[], &nothing).unwrap().is_empty());
    let all = Removal::plan(&layout, &[], named("all:1")).unwrap();
    assert_eq!(all.blobs.len(), 3 + 2 + 2 + 1, "layers, configurations, manifests, the index");
}

#[test]
fn nothing_goes_while_nobody_knows_what_a_damaged_image_needs() {
    let folder = tempfile::tempdir().unwrap();
    let layout = store(folder.path(), &["a:1", "b:1"]);
    let path = layout.blob_path(&layout.index.manifests[0].digest);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, vec![b'x'; whole.len()]).unwrap();
    let error = Removal::plan(&layout, &[], named("b:1")).unwrap_err();
    assert!(matches!(error, ImagesError::UnreadableImage { ref reference, .. } if reference == "a:1"), "{error}");
    // The damaged one itself can go.
    let removal = Removal::plan(&layout, &[], named("a:1")).unwrap();
    assert_eq!((removal.images[0].image_id.as_ref(), removal.blobs.len()), (None, 1));
    assert_eq!(unnamed_blobs(&layout, &[], &removal).unwrap().len(), 2, "its layer and its configuration");
}
