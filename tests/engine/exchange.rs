//! Archives in and out of the store, on a real engine: `images import`, `images export`, and what `docker` and skopeo
//! make of them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::housekeeping::{engine_id, make, wipe};
use crate::images::bench::layer;
use crate::support_engine::{Stack, is_whole};

const TWO: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "a": {"image": "PROJECT/a:1"}, "b": {"image": "PROJECT/b:v1_x"}}}"#;

pub struct Pair {
    pub stack: Stack,
    pub a: String,
    pub b: String,
    pub ids: [String; 2],
}

/// Two images that share their base, on the engine.
pub fn pair() -> Pair {
    let stack = Stack::new(TWO);
    // Several members in what is gzip'd on several threads.
    let base = layer(1_200_000);
    let ids = [make(&stack, "a:1", &[base.clone(), layer(1000)]), make(&stack, "b:v1_x", &[base, layer(2000)])];
    let (a, b) = (format!("{}/a:1", stack.project), format!("{}/b:v1_x", stack.project));
    Pair { stack, a, b, ids }
}

impl Pair {
    pub fn wipe(&self) {
        wipe(&self.stack, &[&self.a, &self.b]);
    }

    /// The store's images load, and are those that they were.
    #[track_caller]
    fn comes_back(&self) {
        self.wipe();
        self.stack.run(&["images", "verify"]).success();
        let loaded = self.stack.run(&["load", "--json"]).success().json();
        let ids: Vec<&str> =
            loaded["images"].as_array().unwrap().iter().map(|i| i["image_id"].as_str().unwrap()).collect();
        assert_eq!(ids, self.ids);
        for name in [&self.a, &self.b] {
            assert!(is_whole(&self.stack.engine, name), "{name}");
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn results(document: &Value) -> Vec<(&str, &str, u64)> {
    let images = document["images"].as_array().unwrap().iter();
    let row = |image| -> (&str, &str, u64) {
        let image: &Value = image;
        let layers = image["layers_new"].as_u64().unwrap();
        (image["reference"].as_str().unwrap(), image["result"].as_str().unwrap(), layers)
    };
    images.map(row).collect()
}

/// The same in the order of names, and how many layers are new in all: engines save images in an order of their own, and
/// what images share counts for the first.
fn in_order(document: &Value) -> (Vec<(&str, &str)>, u64) {
    let rows = results(document);
    let mut names: Vec<(&str, &str)> = rows.iter().map(|(name, result, _)| (*name, *result)).collect();
    names.sort_unstable();
    (names, rows.iter().map(|(_, _, layers)| layers).sum())
}

/// Whether a gzip'd file goes on after its first member.
fn has_several_members(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let mut first = flate2::bufread::GzDecoder::new(bytes.as_slice());
    std::io::copy(&mut first, &mut std::io::sink()).unwrap();
    !first.into_inner().is_empty()
}

pub fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().expect("skopeo is installed: scripts/test.sh does it");
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn archives_of_every_compression_come_into_the_store_with_all_their_names() {
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    let raw = site.file("all.tar");
    stack.docker(&["save", "--output", raw.to_str().unwrap(), &pair.a, &pair.b]);
    // gzip of several members, as parallel compressors write it.
    let mut members = fs::File::create(site.file("all.tar.gz")).unwrap();
    for piece in fs::read(&raw).unwrap().chunks(100_000) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(piece).unwrap();
        members.write_all(&encoder.finish().unwrap()).unwrap();
    }
    fs::write(site.file("all.tar.zst"), zstd::encode_all(fs::File::open(&raw).unwrap(), 3).unwrap()).unwrap();

    for file in ["all.tar", "all.tar.gz", "all.tar.zst"] {
        let _ = fs::remove_dir_all(site.file("store"));
        let plan = stack.run(&["images", "import", "--dry-run", "--json", file]).success().json();
        assert!(!site.file("store").exists(), "a plan writes nothing");
        let wanted = |result| vec![(pair.a.as_str(), result), (pair.b.as_str(), result)];
        assert_eq!(in_order(&plan), (wanted("imported"), 3), "{file}");
        let done = stack.run(&["images", "import", "--json", file]).success().json();
        assert_eq!(in_order(&done), (wanted("imported"), 3), "{file}");
        let again = stack.run(&["images", "import", "--json", file]).success().json();
        assert_eq!(in_order(&again), (wanted("unchanged"), 0));
        assert_eq!(again["new_bytes"], 0, "{file}");
    }
    pair.comes_back();
    // The store serves the engine that it was never saved from.
    assert_eq!(stack.run(&["save", "--json"]).success().json()["exported_bytes"], 0);
}

#[test]
fn an_import_that_takes_a_name_from_another_image_says_so() {
    let pair = pair();
    let stack = &pair.stack;
    stack.run(&["save"]).success();
    let newer = make(stack, "a:1", &[layer(500)]);
    stack.docker(&["save", "--output", stack.site.file("newer.tar").to_str().unwrap(), &pair.a]);
    let done = stack.run(&["images", "import", "--json", "newer.tar"]).success();
    assert!(done.stderr.contains("named another image before"), "{}", done.stderr);
    let image = done.json()["images"][0].clone();
    assert_eq!((&image["image_id"], &image["replaced"]), (&json!(newer), &json!(pair.ids[0])));
    assert_eq!(stack.run(&["images", "list", "--json"]).success().json()["images"].as_array().unwrap().len(), 2);
}

#[test]
fn an_image_without_a_name_and_a_damaged_archive_are_refused() {
    let pair = pair();
    let stack = &pair.stack;
    let archive = stack.site.file("x.tar");
    stack.docker(&["save", "--output", archive.to_str().unwrap(), &engine_id(stack, &pair.a)]);
    let refused = stack.run(&["images", "import", "x.tar"]).failure(1);
    assert!(refused.stderr.contains("has a name"), "{}", refused.stderr);
    stack.docker(&["save", "--output", archive.to_str().unwrap(), &pair.a]);
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let refused = stack.run(&["images", "import", "x.tar"]).failure(1);
    assert!(refused.stderr.contains("x.tar"), "{}", refused.stderr);
    fs::write(&archive, &bytes[..middle]).unwrap();
    stack.run(&["images", "import", "x.tar"]).failure(1);
    let listed = stack.run(&["images", "list", "--json"]).success().json();
    assert_eq!(listed["images"], json!([]));
    stack.run(&["images", "import", "nowhere.tar"]).failure(1);
}

#[test]
fn an_export_is_one_archive_that_docker_and_skopeo_read_with_all_names() {
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    stack.docker(&["tag", &pair.a, &format!("{}/a:second", stack.project)]);
    let second = format!("{}/a:second", stack.project);
    stack.rewrite(&TWO.replace("\"services\": {", "\"services\": {\"c\": {\"image\": \"PROJECT/a:second\"},"));
    stack.run(&["save"]).success();

    for (compression, file) in [("none", "out.tar"), ("gzip", "out.tar.gz")] {
        pair.wipe();
        wipe(stack, &[&second]);
        let arguments = ["images", "export", "--json", "--compression", compression, "--output", file];
        let plan = stack.run(&[&arguments[..], &["--dry-run"]].concat()).success().json();
        assert!(!site.file(file).exists());
        let done = stack.run(&arguments).success().json();
        assert_eq!((&done["images"], &done["layers"]), (&plan["images"], &json!(3)), "layers are there once");
        assert!(compression == "none" || has_several_members(&site.file(file)));
        let loaded = stack.docker(&["load", "--input", site.file(file).to_str().unwrap()]);
        for (name, id) in [(&pair.a, &pair.ids[0]), (&pair.b, &pair.ids[1]), (&second, &pair.ids[0])] {
            assert!(loaded.contains(name.as_str()), "{loaded}");
            let view = stack.run(&["images", "list", "--json"]).success().json();
            let listed =
                view["images"].as_array().unwrap().iter().find(|image| image["reference"] == name.as_str()).unwrap();
            assert_eq!((&listed["image_id"], &listed["in_engine"]), (&json!(id), &json!(true)), "{file}");
        }
    }
    for (name, id) in [(&pair.b, &pair.ids[1]), (&second, &pair.ids[0])] {
        for place in [
            format!("docker-archive:{}:{name}", site.file("out.tar").display()),
            format!("oci-archive:{}:{name}", site.file("out.tar").display()),
            format!("oci:{}:{name}", site.file("store").display()),
        ] {
            let config = skopeo(&["inspect", "--raw", "--config", &place]);
            assert_eq!(&dpl::fs::Digest::of(config.as_bytes()).to_string(), id, "{place}");
        }
    }
    skopeo_copies_the_store(&pair);
    // It comes back, into another store.
    fs::rename(site.file("store"), site.file("old-store")).unwrap();
    stack.run(&["images", "import", "out.tar.gz"]).success();
    pair.comes_back_with(&[(&second, &pair.ids[0])]);
}

/// Image by image into a layout whose blobs are the store's own, and into archives that `docker load` takes: skopeo makes
/// those of gzip'd layers, and says of zstd that Docker's manifests know no such layers.
fn skopeo_copies_the_store(pair: &Pair) {
    let (stack, site) = (&pair.stack, &pair.stack.site);
    let store = |name: &str| format!("oci:{}:{name}", site.file("store").display());
    for name in [&pair.a, &pair.b] {
        let inspected: Value = serde_json::from_str(&skopeo(&["inspect", &store(name)])).unwrap();
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2, "{inspected}");
        let copied = format!("oci:{}:{name}", site.file("copied").display());
        skopeo(&["copy", "--quiet", "--preserve-digests", &store(name), &copied]);
    }
    let blobs = |folder: &str| -> Vec<_> {
        let files = fs::read_dir(site.file(folder).join("blobs/sha256")).unwrap();
        files.map(|file| file.unwrap().file_name()).collect()
    };
    let (copied, own) = (blobs("copied"), blobs("store"));
    // Three layers, two configurations, two manifests.
    assert!(copied.len() == 7 && copied.iter().all(|blob| own.contains(blob)), "{copied:?}");

    fs::rename(site.file("store"), site.file("zstd-store")).unwrap();
    stack.run(&["save", "--compression", "gzip"]).success();
    pair.wipe();
    for (name, id) in [(&pair.a, &pair.ids[0]), (&pair.b, &pair.ids[1])] {
        let archive = site.file("copied.tar");
        skopeo(&["copy", "--quiet", &store(name), &format!("docker-archive:{}:{name}", archive.display())]);
        stack.docker(&["load", "--input", archive.to_str().unwrap()]);
        fs::remove_file(archive).unwrap();
        let listed = stack.run(&["images", "list", "--json"]).success().json();
        let mut images = listed["images"].as_array().unwrap().iter();
        let image = images.find(|image| image["reference"] == name.as_str()).unwrap();
        assert_eq!((&image["image_id"], &image["in_engine"]), (&json!(id), &json!(true)));
    }
    fs::remove_dir_all(site.file("store")).unwrap();
    fs::rename(site.file("zstd-store"), site.file("store")).unwrap();
}

impl Pair {
    /// As `comes_back`, with further names and the images that they lead to.
    #[track_caller]
    fn comes_back_with(&self, more: &[(&str, &str)]) {
        self.wipe();
        more.iter().for_each(|(name, _)| wipe(&self.stack, &[name]));
        let loaded = self.stack.run(&["load", "--json"]).success().json();
        let images = loaded["images"].as_array().unwrap().iter();
        let mut named: Vec<_> =
            images.map(|i| (i["reference"].as_str().unwrap(), i["image_id"].as_str().unwrap())).collect();
        named.sort_unstable();
        let mut wanted = [&[(&*self.a, &*self.ids[0]), (&*self.b, &*self.ids[1])][..], more].concat();
        wanted.sort_unstable();
        assert_eq!(named, wanted);
        for (name, _) in wanted {
            assert!(is_whole(&self.stack.engine, name), "{name}");
        }
        more.iter().for_each(|(name, _)| wipe(&self.stack, &[name]));
    }
}

#[test]
fn an_export_overwrites_only_when_told_to_and_can_be_piped() {
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    stack.run(&["save"]).success();
    site.write("out.tar", "mine");
    site.write(".dpl-export-left", "what a killed export left");
    let asked = stack.run(&["images", "export", "a", "--output", "out.tar"]).failure(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(fs::read(site.file("out.tar")).unwrap(), b"mine");
    stack.run(&["images", "export", "a", "--output", "out.tar", "--yes"]).success();
    assert!(!site.file(".dpl-export-left").exists());
    let piped = site.command(&["images", "export", "a", "-o", "-", "-f", "stack.json"]).output().unwrap();
    assert!(piped.status.success());
    assert_eq!(piped.stdout, fs::read(site.file("out.tar")).unwrap(), "the same store gives the same bytes");

    let missing = stack.run(&["images", "export", "nil:1", &pair.a, "--output", "x.tar"]).failure(1);
    assert!(missing.stderr.contains("nil:1") && !site.file("x.tar").exists(), "{}", missing.stderr);
    let blobs = site.file("store/blobs/sha256");
    let largest = fs::read_dir(&blobs).unwrap().map(|file| file.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let damaged = stack.run(&["images", "export", "a", "--output", "x.tar"]).failure(1);
    assert!(damaged.stderr.contains(largest.file_name().unwrap().to_str().unwrap()), "{}", damaged.stderr);
    assert!(!site.file("x.tar").exists());
}

#[test]
fn layouts_of_other_programs_come_in_and_an_index_of_platforms_means_this_one() {
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    stack.run(&["save"]).success();
    stack.run(&["images", "export", "--output", "out.tar"]).success();
    fs::rename(site.file("store"), site.file("old-store")).unwrap();
    let (folder, archive) = (site.file("theirs"), site.file("theirs.tar"));
    for name in [&pair.a, &pair.b] {
        let from = format!("docker-archive:{}:{name}", site.file("out.tar").display());
        skopeo(&["copy", "--quiet", &from, &format!("oci:{}:{name}", folder.display())]);
    }
    skopeo(&[
        "copy",
        "--quiet",
        &format!("oci:{}:{}", folder.display(), pair.b),
        &format!("oci-archive:{}:{}", archive.display(), pair.b),
    ]);
    let done = stack.run(&["images", "import", "--json", "theirs.tar", "theirs"]).success().json();
    let names: Vec<_> =
        results(&done).into_iter().map(|(name, result, layers)| (name.to_owned(), result.to_owned(), layers)).collect();
    let row = |name: &str, result: &str, layers| (name.to_owned(), result.to_owned(), layers);
    assert_eq!(names, [row(&pair.b, "imported", 2), row(&pair.a, "imported", 1), row(&pair.b, "unchanged", 0)]);
    pair.comes_back();

    // An index of two platforms over the two images, as multi-platform builds make them.
    let mut index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut entries = index["manifests"].as_array().unwrap().clone();
    let blob =
        |digest: &Value| folder.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"));
    let put = |document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = dpl::fs::Digest::of(&bytes);
        fs::write(folder.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        (json!(digest.to_string()), json!(bytes.len()))
    };
    // The second image is for another architecture, as its own configuration says.
    let read = |digest: &Value| serde_json::from_slice::<Value>(&fs::read(blob(digest)).unwrap()).unwrap();
    let mut manifest = read(&entries[1]["digest"]);
    let mut configuration = read(&manifest["config"]["digest"]);
    configuration["architecture"] = "s390x".into();
    (manifest["config"]["digest"], manifest["config"]["size"]) = put(&configuration);
    let other_id = manifest["config"]["digest"].as_str().unwrap().to_owned();
    (entries[1]["digest"], entries[1]["size"]) = put(&manifest);
    for (entry, architecture) in entries.iter_mut().zip([host_architecture(), "s390x"]) {
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry.as_object_mut().unwrap().remove("annotations");
    }
    let nested =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries});
    let bytes = nested.to_string();
    let digest = dpl::fs::Digest::of(bytes.as_bytes());
    fs::write(folder.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    index["manifests"] = json!([{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.to_string(), "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "multi:1"}
    }]);
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    let chosen = |flags: &[&str]| {
        let run = stack.run(&[&["images", "import", "--json", "theirs"], flags].concat()).success();
        run.json()["images"][0]["image_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(chosen(&[]), pair.ids[0]);
    assert_eq!(chosen(&["--platform", "linux/s390x"]), other_id);
    let refused = stack.run(&["images", "import", "theirs", "--platform", "linux/riscv64"]).failure(1);
    assert!(refused.stderr.contains("linux/s390x") && refused.stderr.contains("linux/riscv64"), "{}", refused.stderr);
    stack.run(&["images", "verify"]).success();
}

fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// What an archive of this image is called.
fn file_name(name: &str) -> String {
    name.replace('/', "-").replace(':', "_")
}

#[test]
fn archives_of_a_save_are_loaded_by_docker_under_their_names() {
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    let disk = tempfile::tempdir_in("/dev/shm").unwrap();
    for (compression, suffix) in [("gzip", ".tar.gz"), ("none", ".tar")] {
        // One of the archives lies on another disk.
        let (link, target) = (site.file(&format!("store/{}{suffix}", file_name(&pair.a))), disk.path().join(suffix));
        fs::create_dir_all(site.file("store")).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        stack.run(&["save", "--format", "docker-archive", "--compression", compression]).success();
        assert!(link.is_symlink() && target.is_file());
        pair.wipe();
        for (name, id) in [(&pair.a, &pair.ids[0]), (&pair.b, &pair.ids[1])] {
            let file = format!("store/{}{suffix}", file_name(name));
            assert!(suffix == ".tar" || has_several_members(&site.file(&file)));
            let loaded = stack.docker(&["load", "--input", site.file(&file).to_str().unwrap()]);
            assert!(loaded.contains(name.as_str()), "{loaded}");
            if stack.docker(&["info", "--format", "{{.DriverStatus}}"]).contains("containerd") {
                continue;
            }
            assert_eq!(&stack.docker(&["image", "inspect", "--format", "{{.Id}}", name]), id);
        }
    }
}

#[test]
fn an_export_follows_links_and_writes_into_pipes_and_devices_without_replacing_them() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    stack.run(&["save"]).success();
    stack.run(&["images", "export", "-o", "plain.tar"]).success();
    let archive = fs::read(site.file("plain.tar")).unwrap();
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(site.file("out")).unwrap();
    fs::write(other.path().join("old"), "old").unwrap();
    for name in ["old", "not-yet"] {
        symlink(other.path().join(name), site.file("out").join(name)).unwrap();
    }
    let out = |name: &str| site.file("out").join(name);
    let path = |name: &str| out(name).to_str().unwrap().to_owned();
    let make = |arguments: &[&str]| assert!(Command::new("mknod").args(arguments).status().unwrap().success());
    make(&[&path("null"), "c", "1", "3"]);
    make(&[&path("pipe"), "p"]);
    // Anybody's pipe under a name that unfinished exports have.
    make(&[&path(".dpl-export-x"), "p"]);
    let read = std::thread::spawn({
        let pipe = out("pipe");
        move || fs::read(pipe).unwrap()
    });
    for name in ["old", "not-yet", "null", "pipe"] {
        stack.run(&["images", "export", "-o", &format!("out/{name}"), "--yes"]).success();
    }
    assert!(read.join().unwrap() == archive);
    for name in ["old", "not-yet"] {
        assert!(fs::read(other.path().join(name)).unwrap() == archive, "{name}");
        assert!(fs::symlink_metadata(out(name)).unwrap().is_symlink(), "{name}");
    }
    let kind = |name: &str| fs::symlink_metadata(out(name)).unwrap().file_type();
    assert!(kind("null").is_char_device() && kind("pipe").is_fifo() && kind(".dpl-export-x").is_fifo());
    assert_eq!(fs::read_dir(site.file("out")).unwrap().count(), 5, "nothing else is left");

    // Nothing is asked where nothing is replaced.
    stack.run(&["images", "export", "-o", "out/null"]).success();
    stack.run(&["images", "export", "-o", "out/old"]).failure(2);
    stack.run(&["images", "export", "-o", "out"]).failure(1);

    // A folder that may be written to and not listed.
    fs::create_dir(site.file("drop")).unwrap();
    fs::set_permissions(site.file("drop"), fs::Permissions::from_mode(0o300)).unwrap();
    let export = site.command(&["-f", "stack.json", "images", "export", "-o", "drop/box.tar"]);
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set", "-dac_override,-dac_read_search"]).arg(export.get_program());
    without.args(export.get_args()).current_dir(site.path()).env_clear();
    without.envs(export.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = without.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(fs::read(site.file("drop/box.tar")).unwrap() == archive);

    // The name says how it is compressed.
    stack.run(&["images", "export", "-o", "packed.tar.gz"]).success();
    assert_eq!(fs::read(site.file("packed.tar.gz")).unwrap()[..2], [0x1f, 0x8b]);
}
