//! Files of a store that lost their end or one of their bits: found by name before an image can come of them.
//!
//! An engine that has nothing and takes everything stands for all others: what it got tells whether an image would have
//! come of a load. Where a damage changes nothing of what a load sends, byte for byte, there is nothing to be found; the
//! tests count these, since they may only be in places that nobody reads.

use std::fs;
use std::path::{Path, PathBuf};

use dpl::engine::{Address, Engine};
use dpl::fs::Digest;
use dpl::images::{Compression, CompressionOptions, LoadOptions, SaveOptions, Thoroughness, load, save, verify};
use dpl::report::Reporter;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Chance, error_text, takes_all};
use crate::hostile::build::{Image, Tar, config_of, diff_ids, gzip, zstd};
use crate::support_fake_engine::{Answer, FakeEngine};
use crate::tally::Tally;

/// A folder of images that can be loaded from, and what a load of it sends while nothing is damaged.
struct Ground {
    folder: TempDir,
    fake: FakeEngine,
    engine: Engine,
    whole: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// An error names the file or the image; nothing came to the engine that it could make an image of.
    Found {
        /// Whether the engine was not even called.
        before_the_load: bool,
    },
    /// The load sent what it sends of an undamaged store.
    Unchanged,
}

async fn connected(fake: &FakeEngine) -> Engine {
    Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap()
}

impl Ground {
    /// `fill` puts the image `a:1` into the store's folder.
    async fn new(fill: impl AsyncFnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        fill(&folder.path().join("store")).await;
        let rules = vec![
            ("GET", "/images/json", Answer::Json(200, "[]")),
            ("POST", "/images/load", Answer::Json(200, r#"{"stream":"Loaded image: a:1\n"}"#)),
        ];
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = connected(&fake).await;
        let mut ground = Self { folder, fake, engine, whole: Vec::new() };
        let (said, bodies) = ground.load().await;
        assert!(said.contains("was not loaded correctly") && bodies.len() == 1, "{said}");
        ground.whole = bodies.into_iter().next().unwrap();
        ground
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Loads, which always fails here: what it said, and the archives that would have become images.
    async fn load(&self) -> (String, Vec<Vec<u8>>) {
        let reference = ["a:1".parse().unwrap()];
        let ended = load(&self.engine, &self.store(), &reference, &LoadOptions::default(), &Reporter::default()).await;
        let bodies = self.fake.take_bodies().into_iter().filter(|body| body.makes_an_image());
        let mut bodies: Vec<Vec<u8>> = bodies.map(|body| body.bytes).collect();
        // One that the engine does not have afterwards may have been pruned meanwhile: it is sent once more, as it was.
        bodies.dedup();
        (error_text(&ended.unwrap_err()), bodies)
    }

    /// Puts other bytes into a file, looks at what a load makes of it, and puts it back.
    async fn with(&mut self, path: &Path, bytes: &[u8], context: &str) -> Verdict {
        self.fake.renew();
        self.engine = connected(&self.fake).await;
        let before = fs::read(path).unwrap();
        fs::write(path, bytes).unwrap();
        let reference = ["a:1".parse().unwrap()];
        let ended = load(&self.engine, &self.store(), &reference, &LoadOptions::default(), &Reporter::default()).await;
        let said = error_text(&ended.unwrap_err());
        let bodies = self.fake.take_bodies();
        fs::write(path, &before).unwrap();
        let made: Vec<_> = bodies.iter().filter(|body| body.makes_an_image()).collect();
        if made.is_empty() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name) || said.contains("a:1"), "{context}: {said}");
            return Verdict::Found { before_the_load: bodies.is_empty() };
        }
        assert!(made.iter().all(|body| body.bytes == self.whole), "{context}: another image was sent: {said}");
        Verdict::Unchanged
    }

    /// Whether `images verify` finds something wrong.
    async fn verify_finds(&self, path: &Path, bytes: &[u8]) -> bool {
        let before = fs::read(path).unwrap();
        fs::write(path, bytes).unwrap();
        let report = verify(&self.store(), None, Thoroughness::Full, &Reporter::default()).await;
        fs::write(path, before).unwrap();
        !report.is_ok_and(|report| report.ok)
    }

    /// The files of the store but for the lock, largest last.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.store()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("lock") {
                    files.push(path);
                }
            }
        }
        files.sort_by_key(|path| (fs::metadata(path).unwrap().len(), path.clone()));
        files
    }
}

/// An image with a small layer and one of about so many bytes, half of which compress well.
fn image(bytes: usize) -> Image {
    let mut content = Chance::of("damage").bytes(bytes / 2);
    content.resize(bytes, b'x');
    let layers = vec![Tar::default().file("small", b"x").end(), Tar::default().file("large", &content).end()];
    let config = config_of(&diff_ids(&layers)).to_string().into_bytes();
    Image { layers, config }
}

/// A store as `save` leaves it.
async fn saved(image: &Image, store: &Path, compression: Compression) {
    let view = json!({"Id": image.config_digest().to_string(), "RepoTags": ["a:1"], "Size": 1, "Os": "linux",
        "Architecture": "amd64", "Config": {"Cmd": ["/a"]},
        "RootFS": {"Type": "layers", "Layers": diff_ids(&image.layers)}});
    let export = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), image.archive_with(|tar| tar)].concat();
    let rules = vec![
        ("GET", "/images/a:1/json", Answer::Json(200, Box::leak(view.to_string().into_boxed_str()))),
        ("GET", "/images/get", Answer::Raw(export.clone())),
        ("GET", "/images/a:1/get", Answer::Raw(export)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
    let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
    let compression = CompressionOptions { threads: Some(1), ..compression.into() };
    let options = SaveOptions { compression, ..SaveOptions::default() };
    save(&engine, store, &["a:1".parse().unwrap()], &options, &Reporter::default()).await.unwrap();
}

const COMPRESSIONS: [Compression; 3] = [Compression::Zstd, Compression::Gzip, Compression::None];

/// An archive under the name that says how it is compressed.
fn archived(image: &Image, store: &Path, compression: Compression) {
    let bytes = image.archive_with(|tar| tar);
    let (name, bytes) = match compression {
        Compression::None => ("a_1.tar", bytes),
        Compression::Gzip => ("a_1.tar.gz", gzip(&bytes)),
        Compression::Zstd => ("a_1.tar.zst", zstd(&bytes)),
    };
    fs::write(store.join(name), bytes).unwrap();
}

fn flipped(bytes: &[u8], chance: &mut Chance) -> (usize, Vec<u8>) {
    let bit = chance.up_to(bytes.len() as u64 * 8) as usize - 1;
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    (bit, flipped)
}

/// How many of `all` an ordinary run takes.
fn sample(all: usize, share: usize) -> usize {
    if takes_all() { all } else { all / share }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_of_a_store_is_found_before_an_image_comes_of_it() {
    let mut tally = Tally::of("flipped-bits");
    let mut chance = Chance::of("flipped bits of a store");
    let (mut found, mut unchanged) = (0, Vec::new());
    for compression in COMPRESSIONS {
        let mut ground = Ground::new(async |store: &Path| saved(&image(6000), store, compression).await).await;
        let blobs = ground.store().join("blobs");
        for path in ground.files() {
            let bytes = fs::read(&path).unwrap();
            let name = path.strip_prefix(ground.store()).unwrap().display().to_string();
            let is_ours = name.starts_with(".dpl-store");
            let is_layer = path.starts_with(&blobs) && bytes[0] != b'{';
            for _ in 0..sample(if is_ours { 10 } else { 130 }, 6) {
                tally.case();
                let (bit, damaged) = flipped(&bytes, &mut chance);
                let context = format!("{compression:?}: bit {bit} of {name}");
                match ground.with(&path, &damaged, &context).await {
                    Verdict::Found { before_the_load } => {
                        assert!(before_the_load || is_layer, "{context}: found only while it was loaded");
                        found += 1;
                        assert!(is_ours || ground.verify_finds(&path, &damaged).await, "{context}: verify");
                    }
                    // What is known of layers is for the next save; the sidecar's own tests flip every bit of one.
                    Verdict::Unchanged if is_ours => {}
                    Verdict::Unchanged => unchanged.push(context),
                }
            }
        }
    }
    println!("{found} found, {} without consequence: {unchanged:?}", unchanged.len());
    // The key of the index's own type, which the specification lets others leave out.
    assert!(
        unchanged.len() * 100 <= found && unchanged.iter().all(|context| context.ends_with("index.json")),
        "{unchanged:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_of_an_archive_is_found_or_changes_nothing() {
    let mut tally = Tally::of("flipped-bits");
    let mut chance = Chance::of("flipped bits of archives");
    for compression in COMPRESSIONS {
        let mut ground = Ground::new(async |store: &Path| archived(&image(6000), store, compression)).await;
        let (mut found, mut unchanged) = (0, 0);
        for path in ground.files() {
            let bytes = fs::read(&path).unwrap();
            for _ in 0..sample(300, 6) {
                tally.case();
                let (bit, damaged) = flipped(&bytes, &mut chance);
                let context = format!("{compression:?}: bit {bit} of {}", path.display());
                match ground.with(&path, &damaged, &context).await {
                    Verdict::Found { .. } => found += 1,
                    Verdict::Unchanged => unchanged += 1,
                }
            }
        }
        println!("{compression:?}: {found} found, {unchanged} without consequence");
        assert!(found > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_the_end_of_a_file_is_known_before_the_engine_is_called() {
    let mut tally = Tally::of("truncated");
    for compression in COMPRESSIONS {
        let mut ground = Ground::new(async |store: &Path| saved(&image(6000), store, compression).await).await;
        for path in ground.files().into_iter().filter(|path| !path.to_string_lossy().contains(".dpl-store")) {
            let bytes = fs::read(&path).unwrap();
            let ends = (0..bytes.len()).step_by(512).chain([1, bytes.len() / 2, bytes.len() - 1]);
            for end in ends {
                tally.case();
                let context = format!("{compression:?}: {} cut at {end}", path.display());
                let verdict = ground.with(&path, &bytes[..end], &context).await;
                assert_eq!(verdict, Verdict::Found { before_the_load: true }, "{context}");
                assert!(ground.verify_finds(&path, &bytes[..end]).await, "{context}: verify");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_lost_its_end_is_known_before_the_engine_is_called() {
    let mut tally = Tally::of("truncated");
    for compression in COMPRESSIONS {
        let mut small = Ground::new(async |store: &Path| archived(&image(6000), store, compression)).await;
        let path = small.files().into_iter().find(|path| path.to_string_lossy().contains("a_1.tar")).unwrap();
        let bytes = fs::read(&path).unwrap();
        let step = if compression == Compression::None { 512 } else { 64 };
        let ends = (0..bytes.len()).step_by(step).chain([1, bytes.len() - 1]);
        tally.add(cut_at(&mut small, &path, ends, compression).await);
    }
    for compression in COMPRESSIONS {
        let mut large = Ground::new(async |store: &Path| archived(&image(1_500_000), store, compression)).await;
        let path = large.files().into_iter().find(|path| path.to_string_lossy().contains("a_1.tar")).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        let mut chance = Chance::of("places to cut");
        let ends = (0..sample(200, 20)).map(|_| chance.up_to(length - 1) as usize).collect::<Vec<_>>();
        tally.add(cut_at(&mut large, &path, ends, compression).await);
    }
}

/// Gives how many places there were.
async fn cut_at(
    ground: &mut Ground,
    path: &Path,
    ends: impl IntoIterator<Item = usize>,
    compression: Compression,
) -> usize {
    let bytes = fs::read(path).unwrap();
    let mut places = 0;
    for end in ends {
        places += 1;
        let context = format!("{compression:?}: cut at {end} of {}", bytes.len());
        let verdict = ground.with(path, &bytes[..end], &context).await;
        // The second of the two blocks that end an archive says nothing; many programs leave it out.
        let is_end_mark = compression == Compression::None && bytes.len() - end <= 512;
        assert!(is_end_mark || verdict == Verdict::Found { before_the_load: true }, "{context}: {verdict:?}");
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_what_is_known_of_layers_never_gets_into_another_image() {
    let mut tally = Tally::of("flipped-bits");
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::of("records");
    let image = image(6000);
    saved(&image, folder.path(), Compression::Zstd).await;
    let records: Vec<PathBuf> =
        fs::read_dir(folder.path().join(".dpl-store/layers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(records.len(), 2);
    for _ in 0..sample(40, 8) {
        tally.case();
        let path = &records[chance.up_to(2) as usize - 1];
        let (bit, damaged) = flipped(&fs::read(path).unwrap(), &mut chance);
        // As if the save had ended before the index named the image: the records are all that is known of its layers.
        fs::write(folder.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        fs::write(path, &damaged).unwrap();
        saved(&image, folder.path(), Compression::Zstd).await;
        let report = verify(folder.path(), None, Thoroughness::Full, &Reporter::default()).await.unwrap();
        assert!(report.ok && report.images == 1, "bit {bit}: {report:?}");
        let manifest = fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
        assert_eq!(manifest, 4, "two layers, a configuration and a manifest: nothing was written otherwise");
        assert!(Digest::of(&fs::read(path).unwrap()) != Digest::of(&damaged), "bit {bit}: the record was mended");
    }
}
