//! Small files that unpack to large ones, and documents that grow in memory: the program says so, within bounds of time
//! and memory, and no image comes of them.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{run, takes_all};
use crate::hostile::build::{Image, LAYER_TYPE, Store, Tar, config_of, diff_ids, gzip};
use crate::support::Site;
use crate::support_fake_engine::{Answer, Body, FakeEngine};
use crate::tally::Tally;

const MANIFEST: &str = r#"{"project": "bombs", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;
const PEAK_LIMIT_KIB: u64 = 128 << 10;
/// A zstd window of 128 MiB is the largest that is granted, and is all that may come on top.
const PEAK_LIMIT_WITH_WINDOW_KIB: u64 = (128 + 56) << 10;
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Of bombs of gigabytes.
const LARGE_TIME_LIMIT: Duration = Duration::from_secs(240);

struct Bomb {
    name: &'static str,
    /// A file of the store's folder, or none for a layout.
    archive: Option<(&'static str, Vec<u8>)>,
    layout: Option<Store>,
    words: &'static [&'static str],
    peak_limit_kib: u64,
}

fn archive(name: &'static str, file: &'static str, bytes: Vec<u8>, words: &'static [&'static str]) -> Bomb {
    Bomb { name, archive: Some((file, bytes)), layout: None, words, peak_limit_kib: PEAK_LIMIT_KIB }
}

fn layout(name: &'static str, store: Store, words: &'static [&'static str]) -> Bomb {
    Bomb { name, archive: None, layout: Some(store), words, peak_limit_kib: PEAK_LIMIT_KIB }
}

/// What a compressor makes of so many zeros between two texts.
fn packed(compress: impl FnOnce(&mut dyn Read) -> Vec<u8>, before: &[u8], zeros: u64, after: &[u8]) -> Vec<u8> {
    compress(&mut before.chain(std::io::repeat(0).take(zeros)).chain(after))
}

fn as_gzip(content: &mut dyn Read) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::copy(content, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn as_zstd(content: &mut dyn Read) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

/// With a window of 128 MiB, which a reader has to keep.
fn as_long_zstd(content: &mut dyn Read) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    std::io::copy(content, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// A frame that asks for a window of 2 GiB, and would hold one byte (RFC 8878, "Frame Header").
fn zstd_with_a_window_of_2_gib() -> Vec<u8> {
    let (magic, no_size, window_log_31) = ([0x28, 0xb5, 0x2f, 0xfd], 0, (31 - 10) << 3);
    let last_raw_block_of_one = [1 | 1 << 3, 0, 0];
    [&magic[..], &[no_size, window_log_31], &last_raw_block_of_one, b"x"].concat()
}

/// An archive whose second layer is so many zeros, of which the configuration knows nothing.
fn with_zeros(compress: fn(&mut dyn Read) -> Vec<u8>, zeros: u64) -> Vec<u8> {
    let image = Image::new("bomb");
    let size = format!("{zeros:011o}\0");
    let item = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["0", "1"]}]).to_string();
    let before = Tar::default().file("0", &image.layers[0]).file("c", &image.config);
    let before = before.file("manifest.json", item.as_bytes()).sized(size.as_bytes(), "1", b"");
    packed(compress, &before.0, zeros, &[0; 1024])
}

/// An archive whose second layer is this file.
fn with_layer(layer: &[u8]) -> Vec<u8> {
    let image = Image::new("bomb");
    let item = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["0", "1"]}]).to_string();
    let tar = Tar::default().file("0", &image.layers[0]).file("1", layer).file("c", &image.config);
    tar.file("manifest.json", item.as_bytes()).end()
}

fn with_config(config: &Value) -> Vec<u8> {
    let image = Image { config: config.to_string().into_bytes(), ..Image::new("bomb") };
    image.archive_with(|tar| tar)
}

fn bombs() -> Vec<Bomb> {
    let large: u64 = if takes_all() { 8 << 30 } else { 256 << 20 };
    let zstd_of_zeros = packed(as_zstd, b"", large, b"");
    // Read twice by its own kind: a frame of 128 MiB, a hundred thousand times over, 12 TiB in all.
    let frame = packed(as_zstd, b"", 128 << 20, b"");
    let many_frames = |count: usize| {
        let size = frame.len() * count;
        let image = Image::new("bomb");
        let item = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["0", "1"]}]).to_string();
        let before = Tar::default().file("0", &image.layers[0]).file("c", &image.config);
        let before = before.file("manifest.json", item.as_bytes()).sized(format!("{size:011o}\0").as_bytes(), "1", b"");
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&before.0).unwrap();
        (0..count).for_each(|_| encoder.write_all(&frame).unwrap());
        encoder.write_all(&vec![0; (512 - size % 512) % 512 + 1024]).unwrap();
        encoder.finish().unwrap()
    };
    let image = Image::new("bomb");
    let whole = image.archive_with(|tar| tar);
    let in_store = |blob: &[u8], says: Option<&str>| {
        let store = Store::new("bomb").with_layer(blob, LAYER_TYPE, b"something else");
        let store = store.manifest(|manifest| {
            if let Some(says) = says {
                manifest["layers"][0]["annotations"] = json!({"dpl.uncompressed-size": "2048"});
                manifest["layers"][1]["annotations"] = json!({"dpl.uncompressed-size": says});
            }
        });
        store.named()
    };
    let mut deep = config_of(&diff_ids(&image.layers));
    deep["config"] = (0..100).fold(json!(0), |inside, _| json!([inside]));
    let deep = deep.to_string().replace("[[0]]", &format!("{}{}", "[".repeat(2_000_000), "]".repeat(2_000_000)));
    let deep = Image { config: deep.into_bytes(), ..image.clone() }.archive_with(|tar| tar);
    let mut wide = config_of(&diff_ids(&image.layers));
    wide["config"] = Value::Array(vec![json!({}); 1_300_000]);
    let huge_document = |path: &str| {
        let size = format!("{:011o}\0", 1_u64 << 30);
        let before = Tar::default().sized(size.as_bytes(), path, b"");
        let mut spaces = std::io::repeat(b' ').take((1 << 30) - 1);
        let packed = as_zstd(&mut before.0.as_slice().chain(&b"["[..]).chain(&mut spaces).chain(&[0; 1024][..]));
        if takes_all() || path == "manifest.json" { packed } else { packed[..packed.len() / 4].to_vec() }
    };
    let long = with_zeros(as_long_zstd, 300 << 20);
    vec![
        archive(
            "gzip, a thousand to one",
            "a_1.tar.gz",
            with_zeros(as_gzip, large),
            &["a_1.tar.gz", "does not unpack to"],
        ),
        archive(
            "zstd, thirty thousand to one",
            "a_1.tar.zst",
            with_zeros(as_zstd, large),
            &["a_1.tar.zst", "does not unpack to"],
        ),
        archive("a layer that is a bomb", "a_1.tar", with_layer(&zstd_of_zeros), &["`1`", "does not unpack to"]),
        archive(
            "a bomb in a bomb",
            "a_1.tar.zst",
            many_frames(if takes_all() { 100_000 } else { 2_000 }),
            &["far more data"],
        ),
        archive(
            "zeros behind the end",
            "a_1.tar.zst",
            packed(as_zstd, &whole, large.min(1 << 30), b""),
            &["follow its end mark"],
        ),
        archive(
            "a manifest.json of 1 GiB",
            "a_1.tar.zst",
            huge_document("manifest.json"),
            &["manifest.json", "too large"],
        ),
        archive("a document of 1 GiB", "a_1.tar.zst", huge_document("c.json"), &["a_1.tar.zst"]),
        archive("a deep configuration", "a_1.tar", deep, &["configuration"]),
        archive("a wide configuration", "a_1.tar", with_config(&wide), &["too many values"]),
        archive("an archive that asks for 2 GiB", "a_1.tar.zst", zstd_with_a_window_of_2_gib(), &["memory"]),
        Bomb {
            peak_limit_kib: PEAK_LIMIT_WITH_WINDOW_KIB,
            ..archive("an archive that asks for 128 MiB", "a_1.tar.zst", long, &["does not unpack to"])
        },
        layout("a layer that asks for 2 GiB", in_store(&zstd_with_a_window_of_2_gib(), None), &["memory"]),
        layout("a blob that is a bomb", in_store(&zstd_of_zeros, None), &["does not unpack to"]),
        layout("a blob that says it is none", in_store(&zstd_of_zeros, Some("2048")), &["does not unpack to"]),
        layout(
            "a gzip'd blob that says it is none",
            in_store(&gzip(&vec![0; 64 << 20]), Some("2048")),
            &["does not unpack to"],
        ),
    ]
}

#[test]
fn bombs_end_within_bounds_of_memory_and_time() {
    let mut site = Site::with_manifest(MANIFEST);
    let rules = vec![
        ("GET", "/images/json", Answer::Json(200, "[]")),
        ("POST", "/images/load", Answer::Json(200, r#"{"stream":"Loaded image: a:1\n"}"#)),
    ];
    let engine = FakeEngine::start(&site.file("docker.sock"), rules);
    site.set("DOCKER_HOST", &engine.address);
    let bombs = bombs();
    assert!(bombs.len() >= 12);
    let mut tally = Tally::of("bombs");
    for bomb in bombs {
        tally.case();
        let store = site.file("store");
        let _ = std::fs::remove_dir_all(&store);
        std::fs::create_dir(&store).unwrap();
        let mut commands: Vec<Vec<String>> = vec![vec!["load".to_owned()]];
        let mut road = |words: &[&str]| commands.push(words.iter().map(|word| (*word).to_owned()).collect());
        if let Some((file, bytes)) = &bomb.archive {
            std::fs::write(store.join(file), bytes).unwrap();
            road(&["images", "import", &format!("store/{file}")]);
        }
        if let Some(layout) = &bomb.layout {
            layout.write(&store);
            road(&["images", "import", "store"]);
            road(&["images", "export", "--output", "exported.tar"]);
            road(&["images", "verify"]);
        }
        for command in commands {
            let is_import = command.contains(&"import".to_owned());
            let into = if is_import { "into" } else { "store" };
            site.write("stack.json", &MANIFEST.replace("\"store\"", &format!("{into:?}")));
            let ended = run(&site, &command.iter().map(String::as_str).collect::<Vec<_>>());
            let name = format!("{}, {}", bomb.name, command.join(" "));
            println!("{name}: {:?}, {} KiB", ended.took, ended.peak_kib);
            let said = format!("{}{}", ended.stdout, ended.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(ended.status.code(), Some(1), "{name}: {said}");
            assert!(bomb.words.iter().all(|word| said.contains(word)), "{name}: {said}");
            assert!(!said.contains("panicked"), "{name}: {said}");
            assert!(!engine.take_bodies().iter().any(Body::makes_an_image), "{name}: an image came of it");
            assert!(!site.file("exported.tar").exists(), "{name}: an archive came of it");
            assert!(ended.peak_kib < bomb.peak_limit_kib, "{name}: {} KiB", ended.peak_kib);
            let limit = if takes_all() { LARGE_TIME_LIMIT } else { TIME_LIMIT };
            assert!(ended.took < limit, "{name}: {:?}", ended.took);
        }
        if let Ok(index) = std::fs::read(site.file("into/index.json")) {
            let index: Value = serde_json::from_slice(&index).unwrap();
            assert_eq!(index["manifests"], json!([]), "{}: an image came of it", bomb.name);
        }
        let _ = std::fs::remove_dir_all(site.file("into"));
    }
}
