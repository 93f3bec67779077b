use super::*;
use crate::engine::ImageStore;
use crate::images::store::sample_layers::add_layer;
use crate::images::transfer::{blob_file, outgoing_images};

/// A store with an image of these layers.
fn store_with(reference: &str, layers: &[&str]) -> (tempfile::TempDir, OutgoingImage) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let layers: Vec<StoredLayer> = layers.iter().map(|layer| add_layer(folder.path(), layer.as_bytes())).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let config =
        serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let added = writer.add_image(&serde_json::to_vec(&config).unwrap(), &layers).unwrap();
    let name = NewName { reference: reference.parse().unwrap(), manifest: added.manifest, engine_ids: Vec::new() };
    writer.name_images(&[name]).unwrap();
    drop(writer);
    let found = outgoing_images(Some(folder.path()), "amd64", &[reference.parse().unwrap()]).unwrap();
    (folder, found.images.into_iter().next().unwrap())
}

/// Lets blobs of one store arrive in another one.
fn arrive(from: &Path, to: &Path, digests: &[Digest]) {
    let incoming = open_incoming(to).unwrap();
    for digest in digests {
        fs::copy(blob_file(from, digest), incoming.join(digest.hex())).unwrap();
    }
}

fn all_of(image: &OutgoingImage) -> Vec<Digest> {
    let layers = image.layers.iter().map(|layer| layer.blob.clone());
    layers.chain([image.config.digest.clone(), image.manifest.digest.clone()]).collect()
}

fn adoption(store: &Path, images: &[&OutgoingImage], engine: Option<EngineLayers>) -> Adoption {
    Adoption {
        store: store.to_owned(),
        architecture: "amd64".to_owned(),
        project: Some("p".to_owned()),
        images: images.iter().map(|image| (*image).clone()).collect(),
        engine,
    }
}

fn names(store: &Path) -> Vec<String> {
    crate::images::stored_names(store)
}

#[test]
fn an_image_gets_its_name_once_all_of_it_is_there() {
    let (from, image) = store_with("team/app:1", &["base", "app"]);
    let to = tempfile::tempdir().unwrap();
    let all = all_of(&image);
    let adopted = adopt(&adoption(to.path(), &[&image], None)).unwrap();
    assert_eq!((adopted.named.len(), adopted.lacking.len()), (0, 4));
    arrive(from.path(), to.path(), &all[..3]);
    assert_eq!(adopt(&adoption(to.path(), &[&image], None)).unwrap().lacking, all[3..]);
    assert!(names(to.path()).is_empty());
    arrive(from.path(), to.path(), &all[3..]);
    assert_eq!(adopt(&adoption(to.path(), &[&image], None)).unwrap().named, ["team/app:1"]);
    assert_eq!(names(to.path()), ["team/app:1"]);
    let again = adopt(&adoption(to.path(), &[&image], None)).unwrap();
    assert_eq!((again.named.len(), again.unchanged), (0, vec!["team/app:1".to_owned()]));
    let layout = Layout::open(to.path()).unwrap().unwrap();
    let read = layout.image(&"team/app:1".parse().unwrap()).unwrap().unwrap();
    assert!(layout.missing_blob(&read).is_none() && read.manifest.digest == image.manifest.digest);
    assert_eq!(fs::read_dir(incoming_folder(to.path())).unwrap().count(), 0);
}

#[test]
fn what_blobs_hold_is_noted_before_they_have_their_places_and_says_nothing_until_then() {
    let (from, image) = store_with("team/app:1", &["base", "app", "more"]);
    let to = tempfile::tempdir().unwrap();
    let diff_ids = |of: &crate::images::store::writer::KnownLayers| {
        let mut known: Vec<Digest> = of.keys().cloned().collect();
        known.sort();
        known
    };
    // Its manifest is missing: the layers are noted, and stay where they arrived.
    arrive(from.path(), to.path(), &all_of(&image)[..4]);
    assert_eq!(
        adopt(&adoption(to.path(), &[&image], None)).unwrap().lacking,
        std::slice::from_ref(&image.manifest.digest)
    );
    let records = to.path().join(crate::images::store::layout::OWN_FOLDER).join("layers");
    assert_eq!(fs::read_dir(&records).unwrap().count(), 3);
    let layout = Layout::open(to.path()).unwrap().unwrap();
    assert!(known_layers(&layout).is_empty());
    arrive(from.path(), to.path(), &all_of(&image)[4..]);
    adopt(&adoption(to.path(), &[&image], None)).unwrap();
    let mut expected = image.diff_ids();
    expected.sort();
    assert_eq!(diff_ids(&known_layers(&layout)), expected);
}

#[test]
fn of_two_blobs_of_one_layer_the_one_that_gets_its_place_first_is_noted() {
    let (from, image) = store_with("team/app:1", &["base"]);
    let to = tempfile::tempdir().unwrap();
    let mut other = image.clone();
    other.reference = "team/other:1".to_owned();
    other.layers[0].blob = Digest::of(b"in another compression");
    let incoming = open_incoming(to.path()).unwrap();
    fs::write(incoming.join(other.layers[0].blob.hex()), "x".repeat(other.layers[0].bytes as usize)).unwrap();
    arrive(from.path(), to.path(), &all_of(&image));
    // The manifest of the other one is missing, so that its blob gets no place.
    other.manifest.digest = Digest::of(b"missing");
    assert_eq!(adopt(&adoption(to.path(), &[&image, &other], None)).unwrap().named, ["team/app:1"]);
    let records = to.path().join(crate::images::store::layout::OWN_FOLDER).join("layers");
    let records = crate::images::store::writer::known_records(&records).unwrap();
    let noted: Vec<Digest> = records.into_iter().filter_map(|(_, layer)| Some(layer?.blob)).collect();
    assert_eq!(noted, [image.layers[0].blob.clone()]);
}

#[test]
fn a_name_that_comes_takes_none_of_the_others_away() {
    let (one, first) = store_with("team/app:1", &["base", "app"]);
    let (other, second) = store_with("team/other:1", &["base", "other"]);
    let to = tempfile::tempdir().unwrap();
    arrive(one.path(), to.path(), &all_of(&first));
    adopt(&adoption(to.path(), &[&first], None)).unwrap();
    arrive(other.path(), to.path(), &all_of(&second)[1..]);
    adopt(&adoption(to.path(), &[&second], None)).unwrap();
    assert_eq!(names(to.path()), ["team/app:1", "team/other:1"]);
}

#[test]
fn layers_that_the_engine_has_need_not_be_in_the_store() {
    let (from, image) = store_with("team/app:1", &["base", "app"]);
    let to = tempfile::tempdir().unwrap();
    arrive(from.path(), to.path(), &all_of(&image)[1..]);
    let base = image.layers[0].blob.clone();
    assert_eq!(adopt(&adoption(to.path(), &[&image], None)).unwrap().lacking, [base]);
    let mut engine = EngineLayers::none(ImageStore::Classic);
    engine.add(&image.diff_ids()[..1]);
    assert_eq!(adopt(&adoption(to.path(), &[&image], Some(engine))).unwrap().named, ["team/app:1"]);
}

#[test]
fn a_layer_that_the_store_has_in_another_compression_is_the_same_layer() {
    let (from, image) = store_with("team/app:1", &["base", "app"]);
    let to = tempfile::tempdir().unwrap();
    drop(StoreWriter::open(to.path()).unwrap());
    let compressed = b"the base, compressed".to_vec();
    let mut known = add_layer(to.path(), &compressed);
    known.diff_id = image.layers[0].diff_id.clone();
    StoreWriter::record_layer(to.path(), &known).unwrap();
    arrive(from.path(), to.path(), &all_of(&image)[1..]);
    assert_eq!(adopt(&adoption(to.path(), &[&image], None)).unwrap().named, ["team/app:1"]);
    let layout = Layout::open(to.path()).unwrap().unwrap();
    let read = layout.image(&"team/app:1".parse().unwrap()).unwrap().unwrap();
    assert_eq!((&read.config_digest, &read.layers[0].blob), (&image.config.digest, &known.blob));
}

#[test]
fn what_arrived_must_be_what_was_announced() {
    let (from, image) = store_with("team/app:1", &["base", "app"]);
    let to = tempfile::tempdir().unwrap();
    arrive(from.path(), to.path(), &all_of(&image));
    let mut lie = image.clone();
    lie.layers[1].diff_id = Digest::of(b"something else");
    assert!(matches!(adopt(&adoption(to.path(), &[&lie], None)), Err(ImagesError::ArrivedDiffers { .. })));
    assert!(names(to.path()).is_empty());
}

#[test]
fn a_manifest_that_names_other_blobs_than_those_that_arrived_makes_no_image() {
    let (from, image) = store_with("team/app:1", &["base", "app"]);
    let to = tempfile::tempdir().unwrap();
    arrive(
        from.path(),
        to.path(),
        &[image.layers[0].blob.clone(), image.config.digest.clone(), image.manifest.digest.clone()],
    );
    // Another blob is said to hold the second layer, and arrives in its place; the image's manifest names the one of before.
    let (other, another) = store_with("team/other:1", &["base", "other"]);
    arrive(other.path(), to.path(), &[another.layers[1].blob.clone()]);
    let mut lie = image.clone();
    lie.layers[1] = OutgoingLayer { diff_id: image.layers[1].diff_id.clone(), ..another.layers[1].clone() };
    assert!(matches!(adopt(&adoption(to.path(), &[&lie], None)), Err(ImagesError::ArrivedDiffers { .. })));
    assert!(names(to.path()).is_empty());
}
