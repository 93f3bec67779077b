//! Saving and loading images, against a real engine of its own.
//!
//! DPL_TEST_ENGINE names it (`unix://…`): a private one, whose images may come and go. Each test makes images of its
//! own out of random layers, so that they don't share any and can run beside each other.

#[path = "images_bench.rs"]
pub mod bench;

use std::collections::HashMap;
use std::fs;

use bench::{Bench, Recipe, layer, text_of};
use dpl::engine::ImageStore;
use dpl::images::{
    Compression, CompressionOptions, ImagesError, LoadResult, PlannedLoadResult, PlannedSaveResult, SaveOptions,
    SaveResult, StoreFormat,
};

#[tokio::test(flavor = "multi_thread")]
async fn images_come_back_after_the_engine_lost_them() {
    let bench = Bench::new("comeback").await;
    let base = layer(3_000_000);
    let one = bench.make("one:1", &Recipe::of([base.clone(), layer(200_000)])).await;
    let two = bench.make("two:v1_x", &Recipe::of([base, layer(50_000), layer(10)])).await;

    let saved = bench.save(&["one:1", "two:v1_x"]).await.unwrap();
    assert_eq!(saved.images[0].image_id, one.config_digest);
    assert!(saved.images.iter().all(|image| image.result == SaveResult::Saved));
    assert!(saved.images[1].new_bytes < 200_000, "the base counts once: {saved:?}");
    assert!(saved.images[1].total_bytes > 1_000_000);

    bench.wipe(&["one:1", "two:v1_x"]).await;
    let loaded = bench.load(&["one:1", "two:v1_x"]).await.unwrap();
    assert_eq!((loaded.images[0].layers_total, loaded.images[0].layers_sent), (2, 2));
    assert_eq!((loaded.images[1].layers_total, loaded.images[1].layers_sent), (3, 2));
    for (name, made) in [("one:1", &one), ("two:v1_x", &two)] {
        bench.assert_is(name, made).await;
    }
    assert_eq!(loaded.images[1].image_id, two.config_digest);
    assert!(loaded.bytes_sent > 3_200_000 && loaded.bytes_sent < 3_400_000, "{loaded:?}");

    let again = bench.load(&["two:v1_x", "one:1", "two:v1_x"]).await.unwrap();
    assert_eq!(again.images.len(), 2);
    assert!(again.images.iter().all(|image| image.result == LoadResult::Present && image.bytes_sent == 0));
    assert_eq!(again.images[0].reference, bench.name("two:v1_x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_save_exports_nothing() {
    let bench = Bench::new("second").await;
    bench.make("one:1", &Recipe::of([layer(100_000)])).await;
    bench.save(&["one:1"]).await.unwrap();
    let before = bench.store_files();
    let again = bench.save(&["one:1"]).await.unwrap();
    assert_eq!((again.images[0].result, again.exported_bytes, again.new_bytes), (SaveResult::Unchanged, 0, 0));
    assert_eq!(bench.store_files(), before);
    assert_eq!(bench.heard("images-unchanged"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tags_of_one_image_are_one_image() {
    let bench = Bench::new("tags").await;
    let made = bench.make("one:1", &Recipe::of([layer(100_000)])).await;
    bench.tag("one:1", "other/name:2").await;
    let saved = bench.save(&["one:1", "other/name:2"]).await.unwrap();
    assert_eq!(saved.images[0].image_id, saved.images[1].image_id);
    bench.tag("one:1", "third:3").await;
    let retagged = bench.save(&["third:3"]).await.unwrap();
    assert_eq!((retagged.images[0].result, retagged.exported_bytes), (SaveResult::Saved, 0));

    bench.wipe(&["one:1", "other/name:2", "third:3"]).await;
    let loaded = bench.load(&["other/name:2", "third:3", "one:1"]).await.unwrap();
    let sent: Vec<u64> = loaded.images.iter().map(|image| image.layers_sent).collect();
    assert_eq!(sent, [1, 0, 0]);
    bench.assert_is("third:3", &made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moved_means_its_new_image_and_one_that_vanished_what_it_meant() {
    let bench = Bench::new("moved").await;
    let old = bench.make("app:1", &Recipe::of([layer(50_000)])).await;
    bench.tag("app:1", "app:old").await;
    bench.make("gone:1", &Recipe::of([layer(50_000)])).await;
    bench.save(&["app:1", "gone:1"]).await.unwrap();
    bench.remove(&bench.name("gone:1")).await;
    let new = bench.make("app:1", &Recipe::of([layer(50_000)])).await;

    // The whole save is refused, and the store means what it meant.
    let error = bench.save(&["app:1", "gone:1"]).await.unwrap_err();
    assert!(text_of(&error).contains(&bench.name("gone:1")), "{}", text_of(&error));
    let ids = |list: &dpl::images::ImageList| -> HashMap<String, String> {
        let pair = |image: &dpl::images::ListedImage| (image.reference.clone(), image.image_id.clone().unwrap());
        list.images.iter().map(pair).collect()
    };
    let listed =
        dpl::images::list_images(None, &bench.store, &HashMap::new(), &dpl::report::Reporter::default()).await.unwrap();
    assert_eq!(ids(&listed)[&bench.name("app:1")], old.config_digest);

    let saved = bench.save(&["app:1", "app:old"]).await.unwrap();
    assert_eq!(saved.images[0].image_id, new.config_digest);
    assert_eq!((&saved.images[1].image_id, saved.images[1].new_bytes), (&old.config_digest, 0));
    let listed = ids(&dpl::images::list_images(None, &bench.store, &HashMap::new(), &dpl::report::Reporter::default())
        .await
        .unwrap());
    assert_eq!((listed.len(), &listed[&bench.name("app:1")]), (3, &new.config_digest));
    bench.wipe(&["app:1", "app:old"]).await;
    bench.load(&["gone:1", "app:old", "app:1"]).await.unwrap();
    bench.assert_is("app:old", &old).await;
    bench.assert_is("app:1", &new).await;
    assert!(bench.view("gone:1").await.is_some());
    bench.wipe(&["app:1", "app:old", "gone:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_engine_lacks_is_sent() {
    let bench = Bench::new("thin").await;
    let base = [layer(2_000_000), layer(300_000)];
    let new = bench.make("app:1", &Recipe::of(base.iter().cloned().chain([layer(1000)]))).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    let old = bench.make("app:1", &Recipe::of(base.iter().cloned().chain([layer(999)]))).await;

    let loaded = bench.load(&["app:1"]).await.unwrap();
    assert_eq!((loaded.images[0].layers_total, loaded.images[0].layers_sent), (3, 1));
    assert!(loaded.bytes_sent < 20_000, "{loaded:?}");
    bench.assert_is("app:1", &new).await;
    let kept = loaded.images[0].kept_as.clone().unwrap();
    assert!(kept.starts_with("dpl-kept:") && kept.len() == "dpl-kept:".len() + 32);
    bench.assert_named(&kept, &old).await;
    assert_eq!(bench.heard("images-kept-under"), 1);
    assert!(bench.can_be_exported("app:1", &new).await, "the image is whole in the engine");
    bench.remove(&kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thin_load_that_falls_short_is_sent_in_full() {
    let bench = Bench::new("short").await;
    let base = layer(500_000);
    let made = bench.make("app:1", &Recipe::of([base.clone(), layer(1000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    // The containerd store keeps this base compressed, as it came, and can't be seen to.
    bench.make("base:1", &Recipe::of([base]).compressed()).await;

    let loaded = bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &made).await;
    assert!(bench.can_be_exported("app:1", &made).await, "the image is whole in the engine");
    let falls_short = bench.engine.facts().await.unwrap().image_store == ImageStore::Containerd;
    assert_eq!(bench.heard("images-load-full"), usize::from(falls_short));
    assert_eq!(loaded.images[0].layers_sent, if falls_short { 2 } else { 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_the_run_does_and_changes_nothing() {
    let bench = Bench::new("plan").await;
    let base = layer(300_000);
    bench.make("one:1", &Recipe::of([base.clone(), layer(1000)])).await;
    bench.make("two:1", &Recipe::of([base.clone(), layer(2000)])).await;
    bench.tag("one:1", "three:1").await;
    let names = ["two:1", "one:1", "three:1"];

    let plan = bench.plan_save(&names).await.unwrap();
    let planned: Vec<u64> = plan.images.iter().map(|image| image.layers_to_send).collect();
    assert_eq!(planned, [2, 1, 0]);
    assert!(!bench.store.exists());
    bench.save(&names).await.unwrap();
    let files = bench.store_files();
    let plan = bench.plan_save(&names).await.unwrap();
    assert!(plan.images.iter().all(|image| image.result == PlannedSaveResult::Unchanged), "{plan:?}");

    assert!(bench.plan_load(&names).await.unwrap().images.iter().all(|i| i.result == PlannedLoadResult::Present));
    bench.wipe(&names).await;
    bench.make("base:1", &Recipe::of([base])).await;
    let plan = bench.plan_load(&names).await.unwrap();
    assert_eq!(plan.images[0].reference, bench.name("two:1"));
    assert_eq!(bench.store_files(), files);
    assert!(bench.view("one:1").await.is_none());
    let loaded = bench.load(&names).await.unwrap();
    for (planned, loaded) in plan.images.iter().zip(&loaded.images) {
        assert_eq!((&planned.reference, planned.result), (&loaded.reference, PlannedLoadResult::WouldLoad));
        assert_eq!((planned.layers_to_send, &planned.image_id), (loaded.layers_sent, &loaded.image_id));
        assert!(planned.bytes_to_send.unwrap() <= loaded.bytes_sent);
    }

    let error = bench.plan_save(&["nil:1", "one:1", "nil:2"]).await.unwrap_err();
    let text = text_of(&error);
    assert!(text.contains("nil:1") && text.contains("nil:2"), "{text}");
    let text = text_of(&bench.plan_load(&["nil:1", "one:1", "nil:2"]).await.unwrap_err());
    assert!(text.contains("nil:1") && text.contains("nil:2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_before_anything_is_done() {
    let bench = Bench::new("missing").await;
    bench.make("one:1", &Recipe::of([layer(100)])).await;
    let error = bench.save(&["nil:1", "one:1", "nil:2"]).await.unwrap_err();
    let text = text_of(&error);
    assert!(text.contains("nil:1") && text.contains("nil:2") && !text.contains("one:1"), "{text}");
    assert!(!bench.store.exists());

    bench.save(&["one:1"]).await.unwrap();
    bench.wipe(&["one:1"]).await;
    let error = bench.load(&["one:1", "nil:1", "nil:2"]).await.unwrap_err();
    let text = text_of(&error);
    assert!(text.contains("nil:1") && text.contains("nil:2") && !text.contains("one:1,"), "{text}");
    assert!(bench.view("one:1").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_never_becomes_an_image() {
    let bench = Bench::new("damaged").await;
    let new = bench.make("app:1", &Recipe::of([layer(400_000), layer(300_000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    let old = bench.make("app:1", &Recipe::of([layer(100)])).await;

    let blob = bench.largest_blob();
    let whole = fs::read(&blob).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    fs::write(&blob, &flipped).unwrap();
    let error = bench.load(&["app:1"]).await.unwrap_err();
    assert!(matches!(error, ImagesError::DamagedBlob { .. }), "{error:?}");
    assert!(text_of(&error).contains(blob.file_name().unwrap().to_str().unwrap()));
    bench.assert_is("app:1", &old).await;
    assert!(bench.engine.inspect_image(&new.config_digest).await.unwrap().is_none());

    fs::write(&blob, &whole[..whole.len() - 1]).unwrap();
    let error = bench.load(&["app:1"]).await.unwrap_err();
    assert!(text_of(&error).contains("bytes instead of"), "{}", text_of(&error));

    fs::write(&blob, &whole).unwrap();
    let loaded = bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &new).await;
    bench.remove(loaded.images[0].kept_as.as_ref().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_mended_by_the_next_save() {
    let bench = Bench::new("mend").await;
    let made = bench.make("app:1", &Recipe::of([layer(400_000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    fs::remove_file(bench.largest_blob()).unwrap();
    let again = bench.save(&["app:1"]).await.unwrap();
    assert_eq!(again.images[0].result, SaveResult::Saved);
    bench.wipe(&["app:1"]).await;
    bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_archives_load_thin_whatever_they_are_compressed_with() {
    for (suffix, compression) in
        [("tar", Compression::None), ("tar.gz", Compression::Gzip), ("tar.zst", Compression::Zstd)]
    {
        let bench = Bench::new("old").await;
        let base = layer(600_000);
        let made = bench.make("app_x:v1_a", &Recipe::of([base.clone(), layer(2000)])).await;
        let (compression, format) = (compression.into(), StoreFormat::DockerArchive);
        let options = SaveOptions { compression, format, ..SaveOptions::default() };
        let saved = bench.save_with(&["app_x:v1_a"], &options).await.unwrap();
        assert_eq!(saved.images[0].result, SaveResult::Saved);
        let name = bench.name("app_x:v1_a").replace('/', "-").replace(':', "_");
        assert!(bench.store.join(format!("{name}.{suffix}")).is_file(), "{:?}", bench.store_files());
        let again = bench.save_with(&["app_x:v1_a"], &options).await.unwrap();
        assert_eq!((again.images[0].result, again.exported_bytes), (SaveResult::Unchanged, 0));

        bench.wipe(&["app_x:v1_a"]).await;
        bench.make("base:1", &Recipe::of([base])).await;
        // Another name, and nothing remembered: it is found by what is inside.
        fs::rename(bench.store.join(format!("{name}.{suffix}")), bench.store.join(format!("x.{suffix}"))).unwrap();
        fs::remove_dir_all(bench.store.join(".dpl-store")).unwrap();
        let loaded = bench.load(&["app_x:v1_a"]).await.unwrap();
        bench.assert_is("app_x:v1_a", &made).await;
        assert!(bench.can_be_exported("app_x:v1_a", &made).await);
        assert_eq!(loaded.images[0].layers_sent, 1, "{suffix}");
        let again = bench.load(&["app_x:v1_a"]).await.unwrap();
        assert_eq!(again.images[0].result, LoadResult::Present);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_archive_of_several_images_loads_in_one_go() {
    let bench = Bench::new("several").await;
    let base = layer(100_000);
    let one = bench.make("one:1", &Recipe::of([base.clone(), layer(2000)])).await;
    let two = bench.make("two:1", &Recipe::of([base.clone(), layer(3000), base])).await;
    fs::create_dir_all(&bench.store).unwrap();
    bench.export_gzip_members(&["one:1", "two:1"], &bench.store.join("all.tar.gz")).await;
    bench.wipe(&["one:1", "two:1"]).await;
    let loaded = bench.load(&["two:1", "one:1"]).await.unwrap();
    bench.assert_is("one:1", &one).await;
    bench.assert_is("two:1", &two).await;
    let sent: Vec<u64> = loaded.images.iter().map(|image| image.layers_sent).collect();
    assert_eq!(sent, [2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_are_damaged_change_nothing() {
    let bench = Bench::new("badold").await;
    bench.make("app:1", &Recipe::of([layer(300_000)])).await;
    let options = SaveOptions {
        compression: Compression::None.into(),
        format: StoreFormat::DockerArchive,
        ..SaveOptions::default()
    };
    bench.save_with(&["app:1"], &options).await.unwrap();
    let path = bench.archives().remove(0);
    let whole = fs::read(&path).unwrap();
    bench.wipe(&["app:1"]).await;
    let old = bench.make("app:1", &Recipe::of([layer(10)])).await;

    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    for bytes in [&whole[..whole.len() - 1024], &whole[..middle], &flipped[..], b"no archive"] {
        fs::write(&path, bytes).unwrap();
        let error = bench.load(&["app:1"]).await.unwrap_err();
        assert!(text_of(&error).contains(path.to_str().unwrap()), "{}", text_of(&error));
        bench.assert_is("app:1", &old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_loads_again() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bench = Bench::new("pack").await;
        let made = bench.make("app:1", &Recipe::of([layer(5_000_000), layer(0)])).await;
        let compression = CompressionOptions { compression, level: Some(1), threads: Some(2) };
        let options = SaveOptions { compression, ..SaveOptions::default() };
        bench.save_with(&["app:1"], &options).await.unwrap();
        bench.wipe(&["app:1"]).await;
        bench.load(&["app:1"]).await.unwrap();
        bench.assert_is("app:1", &made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_a_save_names_nothing_and_a_load_loads_nothing() {
    let bench = Bench::new("stop").await;
    bench.make("app:1", &Recipe::of([layer(300_000)])).await;
    let stopped = bench.stopped();
    let error = bench.save_as(&["app:1"], &SaveOptions::default(), &stopped).await.unwrap_err();
    assert!(matches!(error, ImagesError::Interrupted { done: 0, all: 1 }), "{error:?}");
    let nothing_to_load =
        |error: ImagesError| matches!(error, ImagesError::NotInStore { .. } | ImagesError::NotAStore { .. });
    assert!(bench.load(&["app:1"]).await.is_err_and(nothing_to_load));
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    let error = bench.load_as(&["app:1"], &stopped).await.unwrap_err();
    assert!(matches!(error, ImagesError::Interrupted { .. }), "{error:?}");
    assert!(bench.view("app:1").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_tells_what_the_engine_has() {
    let bench = Bench::new("list").await;
    bench.make("one:1", &Recipe::of([layer(1000)])).await;
    bench.make("two:1", &Recipe::of([layer(2000)])).await;
    bench.save(&["one:1", "two:1"]).await.unwrap();
    bench.wipe(&["one:1", "two:1"]).await;
    bench.make("two:1", &Recipe::of([layer(3000)])).await;
    bench.load(&["one:1"]).await.unwrap();
    let listed =
        dpl::images::list_images(Some(&bench.engine), &bench.store, &HashMap::new(), &dpl::report::Reporter::default())
            .await
            .unwrap();
    let found: Vec<_> = listed.images.iter().map(|image| (image.reference.clone(), image.in_engine)).collect();
    assert_eq!(found, [(bench.name("one:1"), Some(true)), (bench.name("two:1"), Some(false))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_do_not_meet_in_one_store() {
    let bench = Bench::new("lock").await;
    bench.make("app:1", &Recipe::of([layer(100)])).await;
    bench.save(&["app:1"]).await.unwrap();
    let lock = fs::File::open(bench.store.join(".dpl-store/lock")).unwrap();
    lock.lock().unwrap();
    let error = bench.save(&["app:1"]).await.unwrap_err();
    assert!(matches!(error, ImagesError::StoreBusy { .. }), "{error:?}");
    // Reading does not need the lock.
    assert_eq!(bench.load(&["app:1"]).await.unwrap().images[0].result, LoadResult::Present);
}
