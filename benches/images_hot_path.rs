//! Where the processor time of save and load goes, without an engine and without a disk: archive → store, by the code with
//! which `save` reads an engine's export, and store → archive, by the code with which `load` sends layers.
//!
//! Beside each is what no program can do without, for the same bytes: digests and compression, or decompression and digests.
//! docs/benchmarks.md says how to read it.

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dpl::fs::Digest;
use dpl::images::{
    Compression, CompressionOptions, ExportOptions, ExportTarget, ImportOptions, Platform, SpaceCheck, export, import,
};
use dpl::manifest::model::Reference;
use dpl::report::Reporter;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LAYERS: usize = 4;
const LAYER_BYTES: usize = 8 << 20;
/// The level of dpl's own layers.
const LEVEL: i32 = 2;

/// Text as programs and their data are: it compresses to about a third.
fn content(layer: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(layer as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<String> = (0..4096).map(|_| format!("{:x} ", next() >> (16 + next() % 32))).collect();
    let mut bytes = Vec::with_capacity(LAYER_BYTES + 16);
    while bytes.len() < LAYER_BYTES {
        bytes.extend_from_slice(words[(next() % 4096) as usize].as_bytes());
    }
    bytes.truncate(LAYER_BYTES);
    bytes
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_slice()).expect("a path that fits a header");
    }
    builder.into_inner().expect("nothing fails in memory")
}

/// An image as `docker save` writes it, in memory.
struct Sample {
    folder: TempDir,
    layers: Vec<Vec<u8>>,
    reference: Reference,
}

impl Sample {
    fn new() -> Self {
        let layers: Vec<Vec<u8>> =
            (0..LAYERS).map(|number| tar_of(&[(format!("file-{number}"), content(number))])).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let platform = Platform::host();
        let config = json!({"architecture": platform.architecture(), "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes();
        let config_path = format!("{}.json", Digest::of(&config).hex());
        let paths: Vec<String> = (0..LAYERS).map(|number| format!("layer-{number}/layer.tar")).collect();
        let manifest = json!([{"Config": config_path, "RepoTags": ["bench/app:1"], "Layers": paths}]);
        let mut files: Vec<(String, Vec<u8>)> = paths.into_iter().zip(layers.clone()).collect();
        files.push((config_path, config));
        files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
        let folder = in_memory();
        std::fs::write(folder.path().join("app.tar"), tar_of(&files)).expect("/dev/shm has room");
        Self { folder, layers, reference: "bench/app:1".parse().expect("a reference") }
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("app.tar")
    }

    fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.len() as u64).sum()
    }

    fn import_into(&self, runtime: &Runtime, store: &Path) {
        let options = ImportOptions {
            compression: CompressionOptions::default(),
            platform: Platform::host(),
            is_platform_asked: false,
            name: None,
            project: None,
            space: SpaceCheck::Ignore,
        };
        let report = runtime.block_on(import(store, &[self.archive()], &options, &Reporter::default()));
        assert_eq!(report.expect("the archive is whole").images.len(), 1);
    }

    fn export_from(&self, runtime: &Runtime, store: &Path) {
        let target = ExportTarget::Stream(Box::new(std::io::sink()));
        // As a load sends layers: not compressed.
        let options = ExportOptions { compression: Compression::None.into(), space: SpaceCheck::Ignore };
        let references = std::slice::from_ref(&self.reference);
        let report = runtime.block_on(export(store, references, target, options, &Reporter::default()));
        assert!(report.expect("the store is whole").written_bytes > self.bytes());
    }
}

fn in_memory() -> TempDir {
    tempfile::Builder::new().prefix("dpl-bench-").tempdir_in("/dev/shm").expect("/dev/shm can be written")
}

fn hot_path(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let sample = Sample::new();
    let mut group = criterion.benchmark_group("images");
    group.throughput(Throughput::Bytes(sample.bytes())).sample_size(10).measurement_time(Duration::from_secs(4));
    group.bench_function("archive to store", |bencher| {
        bencher.iter_batched_ref(
            in_memory,
            |folder| sample.import_into(&runtime, &folder.path().join("store")),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("archive to store: two digests and zstd alone", |bencher| {
        bencher.iter(|| {
            for layer in &sample.layers {
                let blob = zstd::bulk::compress(layer, LEVEL).expect("there is memory");
                black_box((Digest::of(layer), Digest::of(&blob)));
            }
        });
    });
    let folder = in_memory();
    let store = folder.path().join("store");
    sample.import_into(&runtime, &store);
    group.bench_function("store to archive", |bencher| bencher.iter(|| sample.export_from(&runtime, &store)));
    let blobs: Vec<Vec<u8>> =
        sample.layers.iter().map(|layer| zstd::bulk::compress(layer, LEVEL).expect("there is memory")).collect();
    group.bench_function("store to archive: zstd and two digests alone", |bencher| {
        bencher.iter(|| {
            for blob in &blobs {
                let layer = zstd::bulk::decompress(blob, LAYER_BYTES * 2).expect("what was compressed");
                black_box((Digest::of(&layer), Digest::of(blob)));
                std::io::sink().write_all(&layer).expect("a sink takes all");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
