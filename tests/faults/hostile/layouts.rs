//! Layouts that were made to hurt, each with what must become of it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use dpl::fs::Digest;
use serde_json::{Value, json};

use super::build::{INDEX_TYPE, Image, LAYER_TYPE, Store, Tar, config_of, descriptor, diff_ids, gzip, hex, zstd};
use super::{Case, Expected};
use crate::harness::takes_all;

/// What is said where the only entry is left out: there is no image then.
pub const LEFT_OUT: &[&str] = &["image"];

fn refused(name: &'static str, store: Store, words: &'static [&'static str]) -> Case {
    Case::layout(name, store, Expected::Refused(words))
}

fn loads(name: &'static str, store: Store) -> Case {
    Case::layout(name, store, Expected::Loads)
}

pub fn all(outside: &str) -> Vec<Case> {
    [digests(), indexes(), types(), sizes(), files(outside), contents()].concat()
}

fn good() -> Store {
    Store::new("good")
}

fn digests() -> Vec<Case> {
    let entry = |digest: &str| good().index(|index| index["manifests"][0]["digest"] = json!(digest));
    let config = |digest: &str| good().manifest(|manifest| manifest["config"]["digest"] = json!(digest)).named();
    let layer = |digest: &str| good().manifest(|manifest| manifest["layers"][1]["digest"] = json!(digest)).named();
    let hex = "ab".repeat(32);
    let no_digest: &[&str] = &["not a digest"];
    vec![
        refused("a manifest whose digest leads out", entry("sha256:../../../../etc/passwd"), no_digest),
        refused("a manifest whose digest is short", entry("sha256:abcd"), no_digest),
        refused("a manifest whose digest is in capitals", entry(&format!("sha256:{}", hex.to_uppercase())), no_digest),
        // It is allowed, and nothing here can use it: it is left out.
        refused("a manifest of another kind of digest", entry(&format!("sha512:{hex}{hex}")), LEFT_OUT),
        refused("a manifest without a kind of digest", entry(&hex), no_digest),
        refused("a manifest whose digest ends in a line", entry(&format!("sha256:{hex}\n")), no_digest),
        refused("a manifest that is not there", entry(&format!("sha256:{hex}")), &["missing"]),
        refused("a configuration whose digest leads out", config("sha256:../../index.json"), no_digest),
        refused("a configuration that is not there", config(&format!("sha256:{hex}")), &["missing"]),
        refused("a layer whose digest leads out", layer("sha256:../../../../dev/zero"), no_digest),
        refused("a layer at the root", layer("/dev/zero"), no_digest),
        refused("a layer that is not there", layer(&format!("sha256:{hex}")), &["missing"]),
    ]
}

fn indexes() -> Vec<Case> {
    let other = Image::new("other");
    let raw = |bytes: Vec<u8>| Store { raw_index: Some(bytes), ..good().named() };
    let add = |change: &dyn Fn(&mut Value)| {
        let text = json!({"schemaVersion": 2, "config": {}, "layers": []}).to_string().into_bytes();
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &text);
        change(&mut entry);
        good().blob(|blobs| drop(blobs.insert(hex(&text), text.clone()))).index(move |index| {
            index["manifests"].as_array_mut().unwrap().insert(0, entry);
        })
    };
    let named = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        add(&move |entry| entry["annotations"] = json!({ name.clone(): value.clone() }))
    };
    let two_of_one_name = |key: &'static str, name: &'static str| {
        let other = Store::new("other").index(|index| index["manifests"][0]["annotations"] = json!({ key: name }));
        let blobs = other.blobs.clone();
        good().blob(move |all| all.extend(blobs)).index(move |index| {
            index["manifests"].as_array_mut().unwrap().push(other.index["manifests"][0].clone());
        })
    };
    const REF_NAME: &str = "org.opencontainers.image.ref.name";
    const CONTAINERD: &str = "io.containerd.image.name";
    let nested = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}).to_string().into_bytes();
    let nested_as = |media_type: &'static str| {
        let mut entry = descriptor(media_type, &nested);
        entry["annotations"] = json!({ REF_NAME: "a:1" });
        let nested = nested.clone();
        good()
            .blob(|blobs| drop(blobs.insert(hex(&nested), nested)))
            .index(move |index| index["manifests"] = json!([entry]))
    };
    let wide = format!(r#"{{"schemaVersion":2,"manifests":[],"x":[{}0]}}"#, "0,".repeat(2_000_000));
    let deep = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    vec![
        refused("an index that is no JSON", raw(b"{\"manifests".to_vec()), &["index.json", "damaged"]),
        refused("an empty index", raw(Vec::new()), &["index.json", "damaged"]),
        refused("an index that is a list", raw(b"[]".to_vec()), &["index.json", "damaged"]),
        refused(
            "an index of another version",
            good().index(|index| index["schemaVersion"] = json!(1)),
            &["version is 1"],
        ),
        refused(
            "an index without a version",
            good().index(|index| drop(index.as_object_mut().unwrap().remove("schemaVersion"))),
            &["schemaVersion"],
        ),
        refused("an index of 5 MiB", raw(vec![b' '; 5 << 20]), &["too large"]),
        refused("a deep index", raw(deep.into_bytes()), &["index.json"]).large(),
        refused("a wide index", raw(wide.into_bytes()), &["too many values"]).large(),
        refused(
            "an index that is a manifest too",
            good().index(|index| {
                index["config"] = json!({});
                index["layers"] = json!([]);
            }),
            &["as a manifest"],
        ),
        refused(
            "an index that says it is a manifest",
            good().index(|index| index["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json")),
            &["image index"],
        ),
        refused(
            "a manifest that is an index too",
            good().manifest(|manifest| manifest["manifests"] = json!([])).named(),
            &["as a manifest"],
        ),
        refused(
            "a manifest that says it is an index",
            good().manifest(|manifest| manifest["mediaType"] = json!(INDEX_TYPE)).named(),
            &["as a manifest"],
        ),
        refused("an index in the index", nested_as(INDEX_TYPE), &["a:1", "several platforms"]),
        refused(
            "a list of manifests in the index",
            nested_as("application/vnd.docker.distribution.manifest.list.v2+json"),
            &["a:1", "several platforms"],
        ),
        refused(
            "an index in the index that says it is a manifest",
            nested_as("application/vnd.oci.image.manifest.v1+json"),
            &["image manifest"],
        ),
        refused("the name for two images", named(REF_NAME, "a:1"), &["a:1", "two images"]),
        refused("the name for two images that are there", two_of_one_name(REF_NAME, "a:1"), &["a:1", "two images"]),
        refused(
            "the name for two images, spelled otherwise",
            two_of_one_name(CONTAINERD, "docker.io/library/a:1"),
            &["a:1", "two images"],
        ),
        refused("no name", good().index(|index| index["manifests"][0]["annotations"] = json!({})), &["a:1"]),
        refused(
            "another image's name",
            good().index(|index| index["manifests"][0]["annotations"][REF_NAME] = json!("b:1")),
            &["a:1"],
        ),
        refused(
            "our name on an image that is called otherwise",
            good().index(|index| index["manifests"][0]["annotations"][CONTAINERD] = json!("docker.io/library/b:1")),
            &["a:1"],
        ),
        refused(
            "an entry of ours that was changed",
            good().index(|index| index["manifests"][0]["annotations"]["dpl.saved-at"] = json!("2026-01-01T00:00:00Z")),
            &["changed after dpl wrote it"],
        ),
        refused(
            "an entry with a wrong seal",
            good().index(|index| index["manifests"][0]["annotations"]["dpl.seal"] = json!("00")),
            &["changed after dpl wrote it"],
        ),
        refused(
            "a key twice",
            Store {
                raw_index: Some(good().named().index.to_string().replacen('{', "{\"manifests\":[],", 1).into_bytes()),
                ..good().named()
            },
            &["duplicate"],
        ),
        loads("names with lines and escapes beside ours", named(REF_NAME, "b:1\n\u{1b}[2J")),
        loads("a name that is very long beside ours", named(REF_NAME, &"n".repeat(100_000))),
        loads("no annotations beside ours", add(&|entry| entry["annotations"] = Value::Null)),
        loads(
            "the image twice",
            good().index(|index| {
                let entry = index["manifests"][0].clone();
                index["manifests"].as_array_mut().unwrap().push(entry);
            }),
        ),
        loads("an image of several platforms beside ours", add(&|entry| entry["mediaType"] = json!(INDEX_TYPE))),
        loads("another image beside ours", add(&|entry| entry["digest"] = json!(other.config_digest().to_string()))),
    ]
}

fn types() -> Vec<Case> {
    let plain = Tar::default().file("in-a-layer", b"x").end();
    let entry = |media_type: &str| good().index(|index| index["manifests"][0]["mediaType"] = json!(media_type));
    let layer = |media_type: &str| good().with_layer(&plain, media_type, &plain).named();
    let foreign = good().manifest(|manifest| {
        manifest["layers"][1]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        manifest["layers"][1]["digest"] = json!(Digest::of(b"elsewhere").to_string());
        manifest["layers"][1]["urls"] = json!(["http://127.0.0.1:9/layer"]);
    });
    vec![
        refused("a manifest of another type", entry("text/plain"), &["text/plain", "image manifest"]),
        refused("a manifest of no type", entry(""), &["image manifest"]),
        loads("a manifest of another type than it says", entry("application/vnd.docker.distribution.manifest.v2+json")),
        refused(
            "a chart",
            good()
                .manifest(|manifest| {
                    manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")
                })
                .named(),
            &["helm", "image configuration"],
        ),
        refused(
            "an empty configuration",
            good()
                .manifest(|manifest| manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json"))
                .named(),
            &["image configuration"],
        ),
        refused("an encrypted layer", layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), &["encrypted"]),
        refused("a layer of another type", layer("text/html"), &["text/html", "layer of an image"]),
        refused("a foreign layer that is elsewhere", foreign.named(), &["missing"]),
        refused(
            "a manifest of another version",
            good().manifest(|manifest| manifest["schemaVersion"] = json!(1)).named(),
            &["version is 1"],
        ),
        refused(
            "a manifest without layers",
            good().manifest(|manifest| manifest["layers"] = Value::Null).named(),
            &["diff IDs"],
        ),
        loads("a foreign layer that is here", layer("application/vnd.oci.image.layer.nondistributable.v1.tar")),
        loads("a layer of Docker's type", layer("application/vnd.docker.image.rootfs.diff.tar.gzip")),
        loads("a gzip'd layer that says it is not", good().with_layer(&gzip(&plain), LAYER_TYPE, &plain).named()),
        loads(
            "a zstd layer",
            good().with_layer(&zstd(&plain), "application/vnd.oci.image.layer.v1.tar+zstd", &plain).named(),
        ),
        loads(
            "a zstd layer that says it is gzip",
            good().with_layer(&zstd(&plain), "application/vnd.oci.image.layer.v1.tar+gzip", &plain).named(),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let layer = |size: Value| good().manifest(|manifest| manifest["layers"][1]["size"] = size).named();
    let unpacked = |size: &str| {
        good()
            .manifest(|manifest| manifest["layers"][1]["annotations"] = json!({"dpl.uncompressed-size": size}))
            .named()
    };
    vec![
        refused("a layer that is a byte short", layer(json!(2047)), &["bytes instead of"]),
        refused("a layer of nothing", layer(json!(0)), &["bytes instead of"]),
        refused("a layer of 2^64 bytes", layer(json!(u64::MAX)), &["beyond"]),
        refused("a layer of 2^47 bytes", layer(json!(1_u64 << 47)), &["beyond"]),
        refused("a layer of less than nothing", layer(json!(-1)), &["invalid value"]),
        refused("a layer of half a byte", layer(json!(0.5)), &["invalid type"]),
        refused("a layer's size as text", layer(json!("2048")), &["invalid type"]),
        refused("a layer without a size", layer(Value::Null), &["invalid type"]),
        refused(
            "a manifest of another size",
            good().index(|index| index["manifests"][0]["size"] = json!(1)),
            &["bytes instead of 1"],
        ),
        refused(
            "a manifest of 5 MiB",
            good().index(|index| index["manifests"][0]["size"] = json!(5 << 20)),
            &["too large"],
        ),
        refused("a configuration of 5 MiB", good().with_config(vec![b' '; 5 << 20]).named(), &["too large"]),
        refused("a layer that unpacks to more than it says", unpacked("100"), &["does not unpack to"]),
        refused("a layer that unpacks to less than it says", unpacked("100000"), &["does not unpack to"]),
        refused("a layer that says it unpacks to 32 TiB", unpacked("35184372088832"), &["does not unpack to"]),
        loads("a layer that says it unpacks to 2^64 bytes", unpacked("18446744073709551615")),
        loads("a layer that unpacks to a word", unpacked("many")),
    ]
}

/// A reader that held the documents of all names would hold 160 MB, or 400 in whole rows: at least twice what may be taken. Each is
/// read again by all commands.
fn large_under_many_names() -> Store {
    let mut config = config_of(&diff_ids(&good().image.layers));
    config["author"] = json!("x".repeat(4_000_000));
    let names = if takes_all() { 100 } else { 40 };
    good().with_config(config.to_string().into_bytes()).index(|index| {
        let entries = index["manifests"].as_array_mut().unwrap();
        for number in 0..names {
            let mut entry = entries[0].clone();
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": format!("b:{number}")});
            entries.push(entry);
        }
    })
}

fn contents() -> Vec<Case> {
    let store = good();
    let (lower, upper) = (hex(&store.image.layers[0]), hex(&store.image.layers[1]));
    let with_ids = |ids: Vec<String>| good().with_config(config_of(&ids).to_string().into_bytes()).named();
    let ids = diff_ids(&store.image.layers);
    let mut swapped = ids.clone();
    swapped.reverse();
    let plain = Tar::default().file("in-a-layer", b"x").end();
    let gzipped = gzip(&plain);
    let flip = |name: String| good().blob(|blobs| blobs.get_mut(&name).unwrap()[600] ^= 1).named();
    let mut deep = config_of(&ids);
    deep["config"] = (0..200).fold(json!(0), |inside, _| json!([inside]));
    vec![
        refused("a lower layer with another content", flip(lower.clone()), &["digest"]),
        refused("an upper layer with another content", flip(upper.clone()), &["digest"]),
        refused(
            "a configuration with another content",
            good()
                .blob(|blobs| {
                    blobs.values_mut().for_each(|blob| {
                        if blob[0] == b'{' {
                            blob[2] ^= 1;
                        }
                    })
                })
                .named(),
            &["digest"],
        ),
        refused(
            "layers under each other's names",
            good()
                .blob(|blobs| {
                    let (one, two) = (blobs[&lower].clone(), blobs[&upper].clone());
                    blobs.insert(lower.clone(), two);
                    blobs.insert(upper.clone(), one);
                })
                .named(),
            &["digest"],
        ),
        refused("a diff ID too few", with_ids(ids[..1].to_vec()), &["2 and 1"]),
        refused("a diff ID too many", with_ids([ids.clone(), ids.clone()].concat()), &["2 and 4"]),
        refused("diff IDs in another order", with_ids(swapped), &["does not unpack to"]),
        refused(
            "a diff ID of another image",
            with_ids(vec![ids[0].clone(), Digest::of(b"x").to_string()]),
            &["does not unpack to"],
        ),
        refused("a deep configuration", good().with_config(deep.to_string().into_bytes()).named(), &["damaged"]),
        refused("a configuration that is no JSON", good().with_config(b"{".to_vec()).named(), &["damaged"]),
        refused(
            "a gzip'd layer that breaks off",
            good().with_layer(&gzipped[..60], LAYER_TYPE, &plain).named(),
            &["decompressed"],
        ),
        refused(
            "a gzip'd layer with something behind it",
            good().with_layer(&[gzipped.clone(), b"behind".to_vec()].concat(), LAYER_TYPE, &plain).named(),
            &["decompressed"],
        ),
        refused(
            "a zstd layer that breaks off",
            good().with_layer(&zstd(&plain)[..30], LAYER_TYPE, &plain).named(),
            &["decompressed"],
        ),
        refused(
            "a layout of another version",
            Store { version: br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec(), ..good().named() },
            &["version"],
        ),
        refused("a layout without a version", Store { version: b"{}".to_vec(), ..good().named() }, &["oci-layout"]),
        refused("a layout of garbage", Store { version: vec![0xff; 100], ..good().named() }, &["oci-layout"]),
        loads("a layout of another program", good().named()),
        loads("a large configuration under many names", large_under_many_names()).large(),
    ]
}

/// What lies in the folder in place of files.
fn files(outside: &str) -> Vec<Case> {
    let upper = format!("blobs/sha256/{}", hex(&good().image.layers[1]));
    let replaced = |name: &'static str, path: &str, how: fn(&Path, &Path), words: &'static [&'static str]| {
        let (path, outside) = (path.to_owned(), outside.to_owned());
        refused(name, good().named(), words).then(move |folder| {
            let path = folder.join(&path);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap()
            } else {
                let _ = fs::remove_file(&path);
            }
            how(&path, Path::new(&outside));
        })
    };
    let pipe = |path: &Path, _: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let folder = |path: &Path, _: &Path| fs::create_dir(path).unwrap();
    let nothing = |_: &Path, _: &Path| ();
    let secret = |path: &Path, outside: &Path| symlink(outside.join("secret"), path).unwrap();
    let circle = |path: &Path, _: &Path| symlink(path, path).unwrap();
    let zero = |path: &Path, _: &Path| symlink("/dev/zero", path).unwrap();
    let huge = |path: &Path, _: &Path| File::create(path).unwrap().set_len(1 << 30).unwrap();
    vec![
        replaced("an index of a GiB", "index.json", huge, &["too large"]).large(),
        replaced("a layout file of a GiB", "oci-layout", huge, &["too large"]).large(),
        replaced("a blob of a GiB", &upper, huge, &["bytes instead of"]).large(),
        replaced("a folder as index", "index.json", folder, &["index.json", "not a regular file"]),
        replaced("a pipe as index", "index.json", pipe, &["index.json", "not a regular file"]),
        replaced("a link to a secret as index", "index.json", secret, &["index.json", "damaged"]),
        replaced("a link to itself as index", "index.json", circle, &["index.json"]),
        replaced("a device as index", "index.json", zero, &["not a regular file"]),
        replaced("no index", "index.json", nothing, &["index.json is missing"]),
        replaced("no blobs", "blobs", nothing, &["missing"]),
        replaced("a file as folder of blobs", "blobs", |path, _| fs::write(path, "").unwrap(), &["blobs"]),
        replaced("a folder as blob", &upper, folder, &["not a regular file"]),
        replaced("a pipe as blob", &upper, pipe, &["not a regular file"]),
        replaced("a link to a secret as blob", &upper, secret, &["bytes instead of"]),
        replaced("a link to itself as blob", &upper, circle, &["blobs"]),
        replaced("a device as blob", &upper, zero, &["not a regular file"]),
        loads("what is known of archives is a pipe", good().named()).then(|folder| {
            fs::create_dir(folder.join(".dpl-store")).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let path = folder.join(".dpl-store/archives.json");
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        loads("what is known of archives fills memory", good().named()).large().then(|folder| {
            fs::create_dir(folder.join(".dpl-store")).unwrap();
            File::create(folder.join(".dpl-store/archives.json")).unwrap().set_len(1 << 30).unwrap();
        }),
    ]
}
