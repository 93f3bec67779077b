//! What becomes of hostile archives and layouts on the other roads: taken in by an import, looked at by a verify, written
//! out by an export, and as the folder that a save goes to. Each is refused by name, or right.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dpl::engine::{Address, Engine};
use dpl::fs::Digest;
use dpl::images::{
    Compression, CompressionOptions, ExportOptions, ExportTarget, ImagesError, ImportOptions, Platform, SaveOptions,
    SpaceCheck, StoreFormat, Thoroughness, export, import, plan_import, save, verify,
};
use dpl::manifest::Reference;
use dpl::report::Reporter;
use serde_json::{Value, json};

use super::build::{Image, LAYER_TYPE, Store, hex};
use super::{Case, Expected, MANIFEST, PEAK_LIMIT_KIB, Place, TIME_LIMIT, cases, files_of};
use crate::harness::{error_text, run, takes_all};
use crate::tally::Tally;

fn a_1() -> [Reference; 1] {
    ["a:1".parse().unwrap()]
}

fn import_options() -> ImportOptions {
    let platform = Platform::host();
    ImportOptions {
        compression: CompressionOptions { threads: Some(1), ..Compression::Zstd.into() },
        // What a hostile document says of sizes is not for the disk to judge.
        space: SpaceCheck::Ignore,
        platform,
        is_platform_asked: false,
        name: None,
        project: None,
    }
}

/// What an import reads: the archive, else the layout's folder.
fn source(folder: &Path) -> PathBuf {
    let archive = folder.join("a_1.tar");
    if archive.exists() { archive } else { folder.to_owned() }
}

/// What a store has as `a:1`, as an archive of which every digest has been compared.
async fn exported(store: &Path) -> Result<BTreeMap<String, Vec<u8>>, ImagesError> {
    let path = store.parent().unwrap().join("exported.tar");
    let options = ExportOptions { compression: Compression::None.into(), space: SpaceCheck::Ignore };
    let ended = export(store, &a_1(), ExportTarget::Path(path.clone()), options, &Reporter::default()).await;
    match ended {
        Ok(_) => {
            let files = files_of(&fs::read(&path).unwrap());
            fs::remove_file(path).unwrap();
            Ok(files)
        }
        Err(error) => {
            assert!(!path.exists(), "an export that failed left a file");
            Err(error)
        }
    }
}

/// Whether it is one image under the name `a:1`, whose configuration and layers are what they are called.
fn is_named_image(files: &BTreeMap<String, Vec<u8>>) -> bool {
    let items: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let [item] = items.as_array().unwrap().as_slice() else { return false };
    let hex = |path: &str| path.strip_prefix("blobs/sha256/").unwrap().to_owned();
    let digest_of = |path: &str| Digest::of(&files[path]).hex().to_owned();
    let config_path = item["Config"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&files[config_path]).unwrap();
    let layers: Vec<&str> = item["Layers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter().filter_map(Value::as_str);
    item["RepoTags"] == json!(["a:1"])
        && layers.iter().chain([&config_path]).all(|path| digest_of(path) == hex(path))
        && diff_ids.eq(layers.iter().map(|path| format!("sha256:{}", hex(path))).collect::<Vec<_>>().iter())
}

/// What becomes of an import where that is not what becomes of a load of `a:1`.
fn of_import(case: &Case) -> Expected {
    match case.name {
        // It takes whatever names there are.
        "another image's name" | "our name on an image that is called otherwise" => Expected::Loads,
        // What a layer unpacks to is measured and written down again.
        "a layer that unpacks to more than it says"
        | "a layer that unpacks to less than it says"
        | "a layer that says it unpacks to 32 TiB" => Expected::Loads,
        "a manifest.json of nothing"
        | "no name"
        | "a name that only looks like ours"
        | "a name with a path"
        | "a name in capitals" => Expected::Refused(&["none of its images has a name"]),
        // The other entry that has it is read as well.
        "the name for two images" => Expected::Refused(&["image manifest"]),
        "a gzip'd layer that breaks off"
        | "a gzip'd layer with something behind it"
        | "a zstd layer that breaks off" => Expected::Refused(&["the layer", "can't be used"]),
        _ => case.expected,
    }
}

#[track_caller]
fn has_words(name: &str, said: &str, words: &[&str]) {
    assert!(words.iter().all(|word| said.contains(word)), "{name}: not {words:?}: {said}");
    assert!(!said.contains("secret words") && !said.contains('\u{1b}'), "{name}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_and_layouts_are_refused_or_imported_as_what_they_are() {
    let mut tally = Tally::of("hostile");
    let mut place = Place::new();
    let (reporter, options) = (Reporter::default(), import_options());
    let before = place.outside();
    let into = place.site.file("into");
    for case in cases(place.site.path().to_str().unwrap()).iter().filter(|case| !case.is_large) {
        tally.case();
        let name = case.name;
        println!("{name}");
        place.put(case);
        let _ = std::fs::remove_dir_all(&into);
        let files = [source(&place.store())];
        let begun = Instant::now();
        let planned = plan_import(&into, &files, &options).await;
        assert!(!into.exists(), "{name}: a plan wrote something");
        let ended = import(&into, &files, &options, &reporter).await;
        assert!(begun.elapsed() < TIME_LIMIT, "{name} took {:?}", begun.elapsed());
        assert_eq!(place.outside(), before, "{name}: something was written outside");
        match (&ended, of_import(case)) {
            (Ok(report), Expected::Loads) => {
                let planned: Vec<_> = planned.unwrap().images.iter().map(|image| image.reference.clone()).collect();
                assert_eq!(
                    report.images.iter().map(|image| &image.reference).collect::<Vec<_>>(),
                    planned.iter().collect::<Vec<_>>(),
                    "{name}"
                );
            }
            (Err(error), Expected::Refused(words)) => has_words(name, &error_text(error), words),
            (ended, _) => panic!("{name}: {ended:?}"),
        }
        if into.exists() {
            let verified = verify(&into, None, Thoroughness::Full, &reporter).await.unwrap();
            assert!(verified.ok && (verified.images > 0) == ended.is_ok(), "{name}: {verified:?}");
        }
        if matches!(case.expected, Expected::Loads) {
            assert!(is_named_image(&exported(&into).await.unwrap()), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_layouts_are_verified_and_exported_as_what_they_are() {
    let mut tally = Tally::of("hostile");
    let mut place = Place::new();
    let before = place.outside();
    for case in cases(place.site.path().to_str().unwrap()).iter().filter(|case| !case.is_large) {
        let name = case.name;
        place.put(case);
        if source(&place.store()) != place.store() {
            continue;
        }
        tally.case();
        println!("{name}");
        let begun = Instant::now();
        let verified = verify(&place.store(), None, Thoroughness::Full, &Reporter::default()).await;
        let ended = exported(&place.store()).await;
        match (&ended, case.expected) {
            (Ok(files), Expected::Loads) => assert!(is_named_image(files), "{name}"),
            (Err(error), Expected::Refused(words)) => {
                has_words(name, &error_text(error), words);
                // Nothing is wrong with an image that is called otherwise.
                let is_called_otherwise = *words == ["a:1"];
                let is_whole = verified.as_ref().is_ok_and(|report| report.ok);
                // Nor with what is not an image for this machine.
                let is_other_kind = matches!(error, ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. });
                let is_left_out = *words == *super::layouts::LEFT_OUT;
                assert_eq!(is_whole, is_called_otherwise || is_other_kind || is_left_out, "{name}: {verified:?}");
            }
            (ended, _) => panic!("{name}: {ended:?}"),
        }
        assert!(begun.elapsed() < TIME_LIMIT, "{name} took {:?}", begun.elapsed());
        assert_eq!(place.outside(), before, "{name}: something was written outside");
    }
}

/// What lies where a save of `image` is going to write.
fn in_the_way(outside: &str, image: &Image) -> Vec<Case> {
    let link = |name: &'static str, path: String, to: String| {
        Case::layout(name, Store::new("good").named(), Expected::Loads).then(move |folder| {
            let path = folder.join(&path);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(&to, path).unwrap();
        })
    };
    let put = |name: &'static str, path: String, how: fn(&Path)| {
        Case::layout(name, Store::new("good").named(), Expected::Loads).then(move |folder| {
            let path = folder.join(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            how(&path);
        })
    };
    let pipe = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let huge = |path: &Path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    let (outside, secret) = (outside.to_owned(), format!("{outside}/secret"));
    let record = format!(".dpl-store/layers/{}", hex(&image.layers[0]));
    let config = format!("blobs/sha256/{}", hex(&image.config));
    let lying = {
        let (good, lower) = (Image::new("good"), image.layers[0].clone());
        let record = record.clone();
        Case::layout("a record that lies", Store::new("good").named(), Expected::Loads).then(move |folder| {
            let blob = &good.layers[0];
            let text = json!({"diff_id": Digest::of(&lower).to_string(), "blob": Digest::of(blob).to_string(),
                "size_bytes": blob.len(), "media_type": LAYER_TYPE, "uncompressed_bytes": lower.len()});
            fs::create_dir_all(folder.join(".dpl-store/layers")).unwrap();
            fs::write(folder.join(&record), text.to_string()).unwrap();
        })
    };
    vec![
        link("the store's own folder elsewhere", ".dpl-store".into(), outside.clone()),
        link("the folder of records elsewhere", ".dpl-store/layers".into(), outside.clone()),
        link("the folder of blobs elsewhere", "blobs/sha256".into(), outside.clone()),
        link("the folder above blobs elsewhere", "blobs".into(), outside.clone()),
        link("a lock that is a link to a file", ".dpl-store/lock".into(), secret.clone()),
        link("a lock that is a link to nothing", ".dpl-store/lock".into(), format!("{outside}/escaped")),
        link("an index that is a link", "index.json".into(), secret.clone()),
        link("a layout file that is a link to nothing", "oci-layout".into(), format!("{outside}/escaped")),
        link("a leftover that is a link", ".dpl-tmp-x".into(), secret.clone()),
        link("a leftover blob that is a link", "blobs/sha256/.dpl-tmp-x".into(), outside.clone()),
        link("a record that is a link", record.clone(), secret.clone()),
        link("a configuration that is a link", config.clone(), secret.clone()),
        link("a configuration that is a link to nothing", config.clone(), format!("{outside}/escaped")),
        link("what is known of archives is a link", ".dpl-store/archives.json".into(), secret),
        put("a lock that is a pipe", ".dpl-store/lock".into(), pipe),
        put("a lock that is a folder", ".dpl-store/lock".into(), folder),
        put("a record that is a pipe", record.clone(), pipe),
        put("a record that is a folder", record.clone(), folder),
        put("a record of a GiB", record, huge),
        put("a configuration that is a folder", config.clone(), folder),
        put("a configuration that is a pipe", config, pipe),
        put("a leftover that is a folder", ".dpl-tmp-x".into(), folder),
        lying,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_into_a_hostile_store_is_refused_or_right_and_leaves_nothing_outside() {
    let mut tally = Tally::of("hostile");
    // One image of which the hostile store has parts, and one that it knows nothing of.
    for image in [Image::new("good"), Image::new("new")] {
        let mut place = Place::with_image(&image);
        let engine = Engine::connect(Address::resolve(Some(&place.engine.address)).unwrap()).await.unwrap();
        let before = place.outside();
        let outside = place.site.path().to_str().unwrap();
        let cases = [cases(outside), in_the_way(outside, &image)].concat();
        for case in cases.iter().filter(|case| !case.is_large) {
            tally.case();
            place.put(case);
            let is_archive = source(&place.store()) != place.store();
            // A layout is nothing to a save of archives.
            let format = if is_archive { StoreFormat::DockerArchive } else { StoreFormat::Layout };
            let name = format!("{}, {format:?}", case.name);
            println!("{name}");
            let index = fs::read_link(place.store().join("index.json")).ok();
            let begun = Instant::now();
            let options = SaveOptions { format, compression: Compression::Gzip.into(), ..SaveOptions::default() };
            let ended = save(&engine, &place.store(), &a_1(), &options, &Reporter::default()).await;
            assert!(begun.elapsed() < TIME_LIMIT, "{name} took {:?}", begun.elapsed());
            assert_eq!(place.outside(), before, "{name}: something was written outside");
            match ended {
                Err(error) => {
                    println!("  {}", error_text(&error));
                    has_words(&name, &error_text(&error), &["store"]);
                    assert_eq!(fs::read_link(place.store().join("index.json")).ok(), index, "{name}");
                }
                Ok(report) => {
                    assert_eq!(report.images[0].image_id, image.config_digest().to_string(), "{name}");
                    let archive = place.store().join("a_1.tar.gz");
                    assert_eq!(archive.exists(), format == StoreFormat::DockerArchive, "{name}");
                    let config = format!("blobs/sha256/{}", hex(&image.config));
                    if format == StoreFormat::DockerArchive {
                        let into = place.site.file("into");
                        let _ = fs::remove_dir_all(&into);
                        import(&into, &[archive], &import_options(), &Reporter::default()).await.unwrap();
                        assert!(exported(&into).await.unwrap().contains_key(&config), "{name}");
                        continue;
                    }
                    // What the store has is not read again: a layer that was there and is not what it is called shows when
                    // it is looked at.
                    match exported(&place.store()).await {
                        Ok(files) => assert!(is_named_image(&files) && files.contains_key(&config), "{name}"),
                        Err(error) => {
                            println!("  saved, but {}", error_text(&error));
                            let verified = verify(&place.store(), None, Thoroughness::Full, &Reporter::default()).await;
                            assert!(!verified.unwrap().ok, "{name}: {error:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The program itself, for what is to fill its memory; for all cases with `DPL_FAULTS_ALL`.
#[test]
fn hostile_archives_and_layouts_fill_no_memory_on_other_roads() {
    let mut tally = Tally::of("hostile");
    let mut place = Place::with_image(&Image::new("new"));
    let before = place.outside();
    for case in cases(place.site.path().to_str().unwrap()).iter().filter(|case| case.is_large || takes_all()) {
        tally.case();
        let is_layout = {
            place.put(case);
            source(&place.store()) == place.store()
        };
        let from = if is_layout { "store" } else { "store/a_1.tar" };
        // Into a store of its own, beside the one that it comes from.
        let others: &[&[&str]] = if is_layout {
            &[
                &["images", "verify"],
                &["images", "export", "--output", "exported.tar"],
                &["images", "list"],
                &["images", "prune"],
                &["save"],
            ]
        } else {
            &[]
        };
        for command in [&[&["images", "import", from][..]], others].concat() {
            let imports = command.contains(&"import");
            place.site.write(
                "stack.json",
                &if imports { MANIFEST.replace("\"store\"", "\"into\"") } else { MANIFEST.to_owned() },
            );
            let _ = fs::remove_dir_all(place.site.file("into"));
            place.put(case);
            let ended = run(&place.site, command);
            let name = format!("{}, {command:?}", case.name);
            println!("{name}: {}, {:?}, {} KiB", ended.status, ended.took, ended.peak_kib);
            assert!(ended.status.code().is_some_and(|code| code < 2), "{name}: {}", ended.stderr);
            assert!(!ended.stderr.contains("panicked"), "{name}: {}", ended.stderr);
            assert!(ended.peak_kib < PEAK_LIMIT_KIB, "{name}: {} KiB", ended.peak_kib);
            assert!(ended.took < TIME_LIMIT, "{name}: {:?}", ended.took);
            if imports && let Expected::Refused(words) = of_import(case) {
                has_words(&name, &ended.stderr.split_whitespace().collect::<Vec<_>>().join(" "), words);
                assert_eq!(ended.status.code(), Some(1), "{name}");
            }
            let _ = fs::remove_file(place.site.file("exported.tar"));
        }
        place.site.write("stack.json", MANIFEST);
        assert_eq!(place.outside(), before, "{}: something was written outside", case.name);
    }
}
