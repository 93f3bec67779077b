//! Saves of several images of which the engine can't give one: the others are saved all the same, and the one is named.

use std::fs;

use dpl::fs::Digest;
use serde_json::json;

use crate::harness::run;
use crate::subjects::images::write_image;
use crate::support::Site;
use crate::support_fake_engine::{Answer, FakeEngine, Rule};
use crate::tally::Tally;

const MANIFEST: &str = r#"{"project": "fake", "paths": {"images": "store"}, "services":
    {"a": {"image": "a:1"}, "b": {"image": "b:1"}, "c": {"image": "c:1"}}}"#;

/// An image that the engine describes, and what it exports of it alone.
struct Image {
    view: &'static str,
    export: Vec<u8>,
}

fn image(site: &Site, name: &str, layer: &[u8]) -> Image {
    let file = site.file("image.tar");
    let id = write_image(&file, name, &[layer.to_vec()]);
    let view = json!({"Id": id, "RepoTags": [name], "Size": layer.len(), "Config": {"Cmd": ["/base"]},
        "Architecture": "amd64", "Os": "linux", "RootFS": {"Type": "layers", "Layers": [Digest::of(layer).to_string()]}});
    Image { view: Box::leak(view.to_string().into_boxed_str()), export: fs::read(file).unwrap() }
}

/// A tar of one file, so that layers differ.
fn layer(word: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(word.len() as u64);
    tar.append_data(&mut header, "file", word.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// The files of archives in one, without those that `drop` says, and one `manifest.json` for all.
fn together(archives: &[&[u8]], drop: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut all = tar::Builder::new(Vec::new());
    let mut items = Vec::new();
    for archive in archives {
        for entry in tar::Archive::new(*archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            if path == "manifest.json" {
                items.extend(serde_json::from_slice::<Vec<serde_json::Value>>(&bytes).unwrap());
            } else if !drop(&path) {
                let mut header = entry.header().clone();
                all.append_data(&mut header, path, bytes.as_slice()).unwrap();
            }
        }
    }
    let items = serde_json::to_vec(&items).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(items.len() as u64);
    all.append_data(&mut header, "manifest.json", items.as_slice()).unwrap();
    all.into_inner().unwrap()
}

fn stream(body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n", body.len());
    Answer::Raw([head.as_bytes(), body].concat())
}

/// Three images, of which the engine gives what `export` makes of them when all are asked for.
fn saves_all_but_b(what: &str, export: impl Fn(&[Image; 3]) -> Answer, why: &[&str]) {
    let mut site = Site::with_manifest(MANIFEST);
    let images = ["a", "b", "c"].map(|name| image(&site, &format!("{name}:1"), &layer(name)));
    let [a, b, c] = &images;
    let refusal = Answer::Json(500, r#"{"message":"open /overlay2/l/GONE: no such file or directory"}"#);
    let rules: Vec<Rule> = vec![
        ("GET", "/images/a:1/json", Answer::Json(200, a.view)),
        ("GET", "/images/b:1/json", Answer::Json(200, b.view)),
        ("GET", "/images/c:1/json", Answer::Json(200, c.view)),
        ("GET", "/images/get?names=a%3A1&names=b%3A1&names=c%3A1", export(&images)),
        ("GET", "/images/get?names=a%3A1", stream(&a.export)),
        ("GET", "/images/get?names=b%3A1", refusal),
        ("GET", "/images/get?names=c%3A1", stream(&c.export)),
    ];
    let engine = FakeEngine::start(&site.file("docker.sock"), rules);
    site.set("DOCKER_HOST", &engine.address);
    let ended = run(&site, &["save"]);
    let said = &ended.stderr;
    assert_eq!(ended.status.code(), Some(1), "{what}: {said} {:?}", engine.requests());
    for word in ["1 of 3 images could not be saved: b:1"].iter().chain(why) {
        assert!(said.contains(word), "{what}: no `{word}` in {said}");
    }
    let listed = run(&site, &["images", "list", "--json"]).success("list");
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<&str> =
        listed["images"].as_array().unwrap().iter().map(|image| image["reference"].as_str().unwrap()).collect();
    assert_eq!(names, ["a:1", "c:1"], "{what}");
    run(&site, &["images", "verify"]).success("verify");
}

#[test]
fn one_image_that_the_engine_can_not_give_keeps_no_other_from_being_saved() {
    let _tally = Tally::of_one("broken-images");
    let all = |images: &[Image; 3]| images.each_ref().map(|image| image.export.clone());
    let refused = Answer::Json(500, r#"{"message":"open /overlay2/l/GONE: no such file or directory"}"#);
    saves_all_but_b("the engine refuses all", |_| refused.clone(), &["no such file or directory"]);
    let not_whole = ["the image b:1 is not complete in the engine", "hint:", "load, pull or build it again"];
    let gone = format!("{}.tar", Digest::of(&layer("b")).hex());
    let lacks = |images: &[Image; 3]| {
        let all = all(images);
        stream(&together(&all.each_ref().map(Vec::as_slice), |path| path == gone))
    };
    saves_all_but_b("a layer is missing in the export", lacks, &not_whole);
    // A bit of it is another one, and its digest tells.
    let differs = |images: &[Image; 3]| {
        let mut all = all(images);
        let at = all[1].windows(4).position(|window| window == b"file").unwrap();
        all[1][at] ^= 1;
        stream(&together(&all.each_ref().map(Vec::as_slice), |_| false))
    };
    saves_all_but_b("a layer of the export is damaged", differs, &not_whole);
}

#[test]
fn one_archive_that_can_not_be_written_keeps_no_other_from_being_saved() {
    let _tally = Tally::of_one("broken-images");
    let mut site = Site::with_manifest(MANIFEST);
    let images = ["a", "b", "c"].map(|name| image(&site, &format!("{name}:1"), &layer(name)));
    let [a, b, c] = &images;
    let refusal = Answer::Json(500, r#"{"message":"the disk is on fire"}"#);
    let engine = FakeEngine::start(
        &site.file("docker.sock"),
        vec![
            ("GET", "/images/a:1/json", Answer::Json(200, a.view)),
            ("GET", "/images/b:1/json", Answer::Json(200, b.view)),
            ("GET", "/images/c:1/json", Answer::Json(200, c.view)),
            ("GET", "/images/get?names=a%3A1", stream(&a.export)),
            ("GET", "/images/get?names=b%3A1", refusal),
            ("GET", "/images/get?names=c%3A1", stream(&c.export)),
        ],
    );
    site.set("DOCKER_HOST", &engine.address);
    let ended = run(&site, &["save", "--format", "docker-archive"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 of 3 images could not be saved: b:1"), "{}", ended.stderr);
    let has = |name: &str| site.file(&format!("store/{name}_1.tar.gz")).exists();
    assert_eq!(["a", "b", "c"].map(has), [true, false, true]);
}

/// An engine that exports this when it is asked for `a:1`.
fn exports(site: &mut Site, store: &str, view: &'static str, export: &[u8]) -> FakeEngine {
    let status = if store == "containerd" { r#"["driver-type","io.containerd.snapshotter.v1"]"# } else { "" };
    let info = format!(
        r#"{{"ID":"fake","Name":"fake","Driver":"overlay2","DriverStatus":[{status}],"DockerRootDir":"/nonexistent"}}"#
    );
    let rules: Vec<Rule> = vec![
        ("GET", "/info", Answer::Json(200, Box::leak(info.into_boxed_str()))),
        ("GET", "/images/a:1/json", Answer::Json(200, view)),
        ("GET", "/images/get", stream(export)),
    ];
    let engine = FakeEngine::start(&site.file("docker.sock"), rules);
    site.set("DOCKER_HOST", &engine.address);
    engine
}

const ONE: &str = r#"{"project": "fake", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

fn blobs(site: &Site) -> Vec<String> {
    let listed = fs::read_dir(site.file("store/blobs/sha256")).unwrap();
    listed.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_save_leaves_no_layer_that_no_image_of_it_needs() {
    let _tally = Tally::of_one("broken-images");
    let mut site = Site::with_manifest(ONE);
    let [a, other] = ["a:1", "other:1"].map(|name| image(&site, name, &layer(name)));
    // As an export with the layers of another platform, which its `manifest.json` does not name.
    let both = together(&[&a.export, &other.export], |_| false);
    let only_a: Vec<serde_json::Value> = serde_json::from_slice(&manifest_of(&a.export)).unwrap();
    let both = with_manifest(&both, &only_a);
    let _engine = exports(&mut site, "classic", a.view, &both);
    run(&site, &["save"]).success("save");
    // The layer, the configuration, the manifest.
    assert_eq!(blobs(&site).len(), 3, "{:?}", blobs(&site));
    assert_eq!(fs::read_dir(site.file("store/.dpl-store/layers")).unwrap().count(), 1);
    run(&site, &["images", "verify"]).success("verify");
}

fn manifest_of(archive: &[u8]) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut manifest = entries.find(|entry| entry.path().unwrap().ends_with("manifest.json")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut manifest, &mut bytes).unwrap();
    bytes
}

fn with_manifest(archive: &[u8], items: &[serde_json::Value]) -> Vec<u8> {
    let mut all = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut header = entry.header().clone();
        if path != "manifest.json" {
            all.append_data(&mut header, path, &mut entry).unwrap();
        }
    }
    let items = serde_json::to_vec(items).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(items.len() as u64);
    all.append_data(&mut header, "manifest.json", items.as_slice()).unwrap();
    all.into_inner().unwrap()
}

#[test]
fn an_engines_id_is_written_down_only_for_the_image_that_had_it() {
    let _tally = Tally::of_one("broken-images");
    let id = format!("sha256:{}", "d".repeat(64));
    // The tag moved between the look and the export, or it did not.
    for (exported, is_known) in [("old", true), ("new", false)] {
        let mut site = Site::with_manifest(ONE);
        let [old, new] = ["old", "new"].map(|word| image(&site, "a:1", &layer(word)));
        let mut view: serde_json::Value = serde_json::from_str(old.view).unwrap();
        view["Id"] = id.as_str().into();
        let view: &'static str = Box::leak(view.to_string().into_boxed_str());
        let export = if exported == "old" { &old.export } else { &new.export };
        let _engine = exports(&mut site, "containerd", view, export);
        run(&site, &["save"]).success(exported);
        let index = fs::read_to_string(site.file("store/index.json")).unwrap();
        assert_eq!(index.contains(&id), is_known, "{exported}: {index}");
    }
}
