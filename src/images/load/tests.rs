use std::fs;

use tokio_util::sync::CancellationToken;

use super::payload::{Origin, Payload, PayloadError, PayloadImage, UploadObserver};
use super::*;
use crate::images::engine_layers::EngineLayers;
use crate::images::error::BlobDamage;
use crate::images::formats::platform::Platform;
use crate::images::load::sources::find_sources;
use crate::images::pipes::TaskWriter;
use crate::images::store::layout::Layout;
use crate::images::store::sample_archives::archive_of;
use crate::images::store::sample_layers::add_layer;
use crate::images::store::writer::StoreWriter;
use crate::images::{Compression, CompressionOptions, ImportOptions, import};

struct Patient;

impl UploadObserver for Patient {
    fn sent(&mut self, _bytes: u64) {}

    fn go_on(&self) -> bool {
        true
    }

    fn may_close(&mut self) -> bool {
        true
    }
}

/// What is said of a store's only layer when it is sent after `change` changed its blob.
fn said_of(change: impl FnOnce(&mut Vec<u8>)) -> Option<BlobDamage> {
    let folder = tempfile::tempdir().unwrap();
    drop(StoreWriter::open(folder.path()).unwrap());
    let content = vec![7; 100_000];
    let layer = add_layer(folder.path(), &content);
    let layout = Layout::open(folder.path()).unwrap().unwrap();
    let mut blob = content;
    change(&mut blob);
    fs::write(layout.blob_path(&layer.blob), blob).unwrap();
    let image = PayloadImage {
        config_digest: Digest::of(b"{}"),
        config_bytes: b"{}".to_vec(),
        layers: vec![(layer.diff_id.clone(), layer.size_bytes)],
    };
    let send = vec![layer.diff_id.clone()];
    let origin = Origin::Store { layout: Box::new(layout), name: "team/app:1".to_owned(), layers: vec![layer] };
    let payload = Payload { store: ImageStore::Classic, images: vec![image], send, origin };
    let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
    let written = payload.write(TaskWriter::new(sender, CancellationToken::new()), &mut Patient);
    while receiver.try_recv().is_ok() {}
    match written {
        Ok(_) => None,
        Err(PayloadError::Images(ImagesError::DamagedBlob { why, .. })) => Some(why),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn of_a_damaged_blob_its_own_digest_is_said_first() {
    assert_eq!(said_of(|_| {}), None);
    // What an uncompressed layer unpacks to is then another layer as well, which says less.
    assert_eq!(said_of(|blob| blob[50_000] ^= 1), Some(BlobDamage::WrongDigest));
    assert!(matches!(said_of(|blob| blob.truncate(50_000)), Some(BlobDamage::WrongSize { .. })));
}

#[tokio::test]
async fn an_image_with_a_missing_blob_is_named_beside_those_that_can_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    let platform: Platform = "linux/amd64".parse().unwrap();
    let options = ImportOptions {
        compression: CompressionOptions { compression: Compression::Zstd, level: None, threads: Some(1) },
        space: Default::default(),
        platform: platform.clone(),
        is_platform_asked: false,
        name: None,
        project: None,
    };
    for (name, word) in [("team/a:1", "one"), ("team/b:1", "two")] {
        fs::write(&file, archive_of(name, word)).unwrap();
        import(&store, std::slice::from_ref(&file), &options, &Reporter::default()).await.unwrap();
    }
    let wanted: Vec<Reference> = ["team/a:1", "team/b:1"].map(|name| name.parse().unwrap()).into();
    let layout = Layout::open(&store).unwrap().unwrap();
    let image = layout.image(&wanted[0]).unwrap().unwrap();
    fs::remove_file(layout.blob_path(&image.layers[0].blob)).unwrap();
    let found = find_sources(&store, &platform, &wanted, ArchiveCache::ReadOnly, &Reporter::default()).unwrap();
    // What the image is stays known: an engine that has it needs no blob.
    assert!(found.damaged.is_empty());
    let sent = |batch: sources::Batch| sources::Batch {
        origin: batch.origin,
        images: batch.images.into_iter().map(|image| (image, plan::LoadStep::Send)).collect(),
    };
    let mut look = plan::LoadLook {
        batches: found.batches.into_iter().map(sent).collect(),
        layers: EngineLayers::none(ImageStore::Classic),
        named: Default::default(),
        failures: Vec::new(),
        notices: Vec::new(),
    };
    look.leave_out_incomplete();
    let error = plan::not_all_loaded(look.failures, wanted.len()).unwrap_err();
    assert!(matches!(&error, ImagesError::NotAllLoaded { failed, all: 2, .. } if failed == &["team/a:1"]), "{error:?}");
}

#[test]
fn an_image_with_more_layers_than_the_classic_store_takes_is_refused_before_anything_is_sent() {
    let check = |count: usize, store| {
        let diff_ids: Vec<Digest> = (0..count).map(|number| Digest::of(&number.to_be_bytes())).collect();
        let config = serde_json::to_vec(&serde_json::json!({"rootfs": {"diff_ids": diff_ids}})).unwrap();
        let digest = Digest::of(&config);
        let parsed = crate::images::formats::documents::ImageConfig::parse(&config).unwrap();
        let image = LoadImage {
            reference: "team/app:1".parse().unwrap(),
            name: "team/app:1".to_owned(),
            identity: crate::images::identity::Identity::of_config(&digest, &parsed),
            payload: PayloadImage { config_digest: digest, config_bytes: config, layers: Vec::new() },
        };
        plan::check_layers(&image, store).is_ok()
    };
    assert!(check(125, ImageStore::Classic) && !check(126, ImageStore::Classic));
    assert!(check(140, ImageStore::Containerd));
}

#[test]
fn a_store_that_is_not_there_is_said_and_not_that_images_are_missing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("not/mounted");
    let wanted = ["team/app:1".parse().unwrap()];
    let find = || find_sources(&store, &Platform::host(), &wanted, ArchiveCache::ReadOnly, &Reporter::default());
    let error = find().err().unwrap();
    let said = crate::catalogue::english(&crate::images::error::in_one_line(&error));
    assert!(said.ends_with("not/mounted is not a usable image store: it does not exist"), "{said}");
    assert_eq!(crate::report::Told::hint(&error).map(|hint| hint.key), Some("hint-store-absent"));
    fs::create_dir_all(&store).unwrap();
    assert!(matches!(find().err().unwrap(), ImagesError::NotInStore { .. }));
}
