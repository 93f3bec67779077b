//! Loads and saves on an engine that others work with too: images that were built, pulled, pruned or half-loaded there.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dpl::engine::ImageStore;
use dpl::fs::Digest;
use dpl::images::LoadResult;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::images::bench::{Bench, Made, Recipe, gzip, layer, tar_of};
use crate::support::Site;
use crate::support_engine::eventually;

/// The docker command on the engine of these tests; whether it did it, and what it said.
fn docker(arguments: &[&str]) -> (bool, String) {
    let engine = std::env::var("DPL_TEST_ENGINE").unwrap();
    let output =
        Command::new("docker").args(arguments).env("DOCKER_HOST", engine).env("DOCKER_BUILDKIT", "0").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[track_caller]
fn docker_does(arguments: &[&str]) {
    let (done, said) = docker(arguments);
    assert!(done, "docker {arguments:?}: {said}");
}

/// How often a load had to be repeated with all layers: where an engine keeps layers otherwise than can be seen.
async fn falls_short_on(bench: &Bench, store: ImageStore) -> usize {
    usize::from(bench.engine.facts().await.unwrap().image_store == store)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_built_there_comes_back_as_it_was() {
    let bench = Bench::new("built").await;
    bench.make("base:1", &Recipe::of([layer(300_000)])).await;
    let context = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM {}\nCOPY file /file\nENV BUILT=yes\nCMD [\"/file\"]\n", bench.name("base:1"));
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    fs::write(context.path().join("file"), bench.name("content")).unwrap();
    docker_does(&["build", "--quiet", "--tag", &bench.name("app:1"), context.path().to_str().unwrap()]);
    let built = bench.view("app:1").await.unwrap();
    let saved = bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;

    let loaded = bench.load(&["app:1"]).await.unwrap();
    let back = bench.view("app:1").await.unwrap();
    assert_eq!((&back.diff_ids, &back.config, &back.created), (&built.diff_ids, &built.config, &built.created));
    let made = Made { config_digest: saved.images[0].image_id.clone(), config: Value::Null, diff_ids: built.diff_ids };
    assert!(bench.can_be_exported("app:1", &made).await);
    assert!(loaded.images[0].layers_sent <= 2, "{loaded:?}");
    assert_eq!(bench.load(&["app:1"]).await.unwrap().images[0].result, LoadResult::Present);
    assert_eq!(bench.save(&["app:1"]).await.unwrap().exported_bytes, 0, "it is known again");
    bench.wipe(&["app:1", "base:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_loads_onto_a_base_that_was_pulled_there() {
    let bench = Bench::new("pulled").await;
    let base = layer(400_000);
    let made = bench.make("app:1", &Recipe::of([base.clone(), layer(2000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;

    let registry = Registry::with_image(&base, &bench.engine.facts().await.unwrap().architecture);
    let pulled = format!("127.0.0.1:{}/base:1", registry.port);
    docker_does(&["pull", "--quiet", &pulled]);
    let loaded = bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &made).await;
    assert!(bench.can_be_exported("app:1", &made).await);
    let falls_short = falls_short_on(&bench, ImageStore::Containerd).await;
    assert_eq!((bench.heard("images-load-full"), loaded.images[0].layers_sent), (falls_short, 1 + falls_short as u64));

    // What was pulled is saved as it came, and comes back.
    docker_does(&["tag", &pulled, &bench.name("pulled:1")]);
    let before = bench.view("pulled:1").await.unwrap();
    let saved = bench.save(&["pulled:1"]).await.unwrap();
    docker_does(&["image", "rm", &pulled]);
    bench.wipe(&["pulled:1", "app:1"]).await;
    bench.load(&["pulled:1", "app:1"]).await.unwrap();
    let back = bench.view("pulled:1").await.unwrap();
    assert_eq!((&back.diff_ids, &back.config), (&before.diff_ids, &before.config));
    let pulled = Made { config_digest: saved.images[0].image_id.clone(), config: Value::Null, diff_ids: back.diff_ids };
    assert!(bench.can_be_exported("pulled:1", &pulled).await);
    bench.wipe(&["pulled:1", "app:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_loads_after_others_pruned_what_it_stood_on() {
    let bench = Bench::new("pruned").await;
    let base = layer(200_000);
    let (one, two) = (layer(1000), layer(2000));
    let made = bench.make("one:1", &Recipe::of([base.clone(), one])).await;
    bench.make("two:1", &Recipe::of([base, two])).await;
    bench.save(&["one:1", "two:1"]).await.unwrap();
    // It loses its name to another, as builds do, and someone tidies up.
    docker_does(&["tag", &bench.name("two:1"), &bench.name("one:1")]);
    let label = format!("label=for={}", bench.name("x").trim_end_matches("/x"));
    docker_does(&["image", "prune", "--force", "--filter", &label]);
    assert!(bench.engine.inspect_image(&made.config_digest).await.unwrap().is_none());

    let loaded = bench.load(&["one:1"]).await.unwrap();
    bench.assert_is("one:1", &made).await;
    assert!(bench.can_be_exported("one:1", &made).await);
    assert_eq!(loaded.images[0].layers_sent, 1 + bench.heard("images-load-full") as u64);
    // Then everything goes, and everything comes back.
    docker_does(&["image", "prune", "--all", "--force", "--filter", &label]);
    assert!(bench.view("one:1").await.is_none() && bench.view("two:1").await.is_none());
    bench.load(&["two:1", "one:1"]).await.unwrap();
    bench.assert_is("one:1", &made).await;
    assert!(bench.can_be_exported("one:1", &made).await);
    docker(&["image", "prune", "--all", "--force", "--filter", &label]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_loads_where_another_load_of_it_broke_off() {
    let bench = Bench::new("half").await;
    let made = bench.make("app:1", &Recipe::of([layer(300_000), layer(100_000)])).await;
    let mut archive = Vec::new();
    let mut export = std::pin::pin!(bench.engine.export_images(&[bench.name("app:1")]));
    while let Some(chunk) = export.next().await {
        archive.extend_from_slice(&chunk.unwrap());
    }
    bench.save(&["app:1"]).await.unwrap();
    for part in 1..8 {
        bench.wipe(&["app:1"]).await;
        let sent = bytes::Bytes::copy_from_slice(&archive[..archive.len() * part / 8]);
        let broken = futures::stream::iter([Ok(sent), Err(std::io::Error::other("the cable"))]);
        let mut lines = std::pin::pin!(bench.engine.load_images(broken));
        while lines.next().await.is_some() {}
        bench.load(&["app:1"]).await.unwrap();
        bench.assert_is("app:1", &made).await;
        assert!(bench.can_be_exported("app:1", &made).await, "after {part} of 8 parts");
    }
    bench.wipe(&["app:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_loads_where_its_name_leads_to_one_without_layers() {
    let bench = Bench::new("hollow").await;
    let made = bench.make("app:1", &Recipe::of([layer(50_000), layer(1000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    // The containerd store registers an archive's images whether their layers came along or not.
    docker_loads(&bench, hollow(&bench, &made).await).await;
    bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &made).await;
    assert!(bench.can_be_exported("app:1", &made).await);
    bench.wipe(&["app:1"]).await;
}

/// Between its load and its name, an image is one that `docker image prune` removes.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_pruned_before_it_has_its_name_is_sent_again() {
    let bench = Bench::new("race").await;
    let base = layer(200_000);
    let made = bench.make("app:1", &Recipe::of([base.clone(), layer(2000)])).await;
    bench.make("other:1", &Recipe::of([base])).await;
    bench.save(&["app:1", "other:1"]).await.unwrap();
    let manifest = json!({"project": "race", "paths": {"images": bench.store},
        "services": {"app": {"image": bench.name("app:1")}}});
    let mut site = Site::with_manifest(&manifest.to_string());
    site.set("DOCKER_HOST", std::env::var("DPL_TEST_ENGINE").unwrap());
    site.set("DPL_FAILPOINT", "images.load.before-tag").set("DPL_FAILPOINT_FREEZES", "1");
    let label = format!("label=for={}", bench.name("x").trim_end_matches("/x"));
    for what in ["it was sent", "it was there without a name"] {
        match what {
            "it was sent" => bench.wipe(&["app:1"]).await,
            _ => docker_does(&["tag", &bench.name("other:1"), &bench.name("app:1")]),
        }
        let mut command = site.command(&["load", "--yes", "-f", "stack.json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        eventually("the load is about to name it", || {
            std::fs::read_to_string(&stat).unwrap().rsplit_once(") ").unwrap().1.starts_with('T')
        });
        docker_does(&["image", "prune", "--force", "--filter", &label]);
        assert!(bench.engine.inspect_image(&made.config_digest).await.unwrap().is_none(), "{what}");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::CONT).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{what}: {said}");
        bench.assert_is("app:1", &made).await;
        assert!(bench.can_be_exported("app:1", &made).await, "{what}");
    }
    // With what was kept of the name's other image.
    docker_does(&["image", "prune", "--all", "--force", "--filter", &label]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_where_it_falls_short_is_done_by_the_next() {
    let bench = Bench::new("short").await;
    let base = layer(200_000);
    let made = bench.make("app:1", &Recipe::of([base.clone(), layer(2000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    bench.wipe(&["app:1"]).await;
    bench.make("base:1", &Recipe::of([base]).compressed()).await;
    let manifest = json!({"project": "short", "paths": {"images": bench.store},
        "services": {"app": {"image": bench.name("app:1")}}});
    let mut site = Site::with_manifest(&manifest.to_string());
    site.set("DOCKER_HOST", std::env::var("DPL_TEST_ENGINE").unwrap());
    site.set("DPL_FAILPOINT", "images.load.before-full");
    let ended = site.command(&["load", "--yes", "-f", "stack.json"]).output().unwrap();
    let falls_short = bench.engine.facts().await.unwrap().image_store == ImageStore::Containerd;
    assert_eq!(ended.status.signal(), falls_short.then_some(9), "{}", String::from_utf8_lossy(&ended.stderr));
    bench.load(&["app:1"]).await.unwrap();
    bench.assert_is("app:1", &made).await;
    assert!(bench.can_be_exported("app:1", &made).await);
    bench.wipe(&["app:1", "base:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_an_image_between_two_loads_is_seen_by_the_second() {
    let bench = Bench::new("between").await;
    let base = layer(200_000);
    let made = bench.make("app:1", &Recipe::of([base.clone(), layer(2000)])).await;
    bench.save(&["app:1"]).await.unwrap();
    let name = bench.name("app:1");
    let comes_back = async |what: &str| {
        let loaded = bench.load(&["app:1"]).await.unwrap();
        bench.assert_is("app:1", &made).await;
        assert!(bench.can_be_exported("app:1", &made).await, "{what}");
        assert_eq!(bench.load(&["app:1"]).await.unwrap().images[0].result, LoadResult::Present, "{what}");
        loaded.images.into_iter().next().unwrap()
    };
    assert_eq!(comes_back("nothing").await.result, LoadResult::Present);

    // Built again under its name, on top of it.
    let context = tempfile::tempdir().unwrap();
    fs::write(context.path().join("Dockerfile"), format!("FROM {name}\nCOPY file /file\n")).unwrap();
    fs::write(context.path().join("file"), bench.name("content")).unwrap();
    docker_does(&["build", "--quiet", "--tag", &name, context.path().to_str().unwrap()]);
    let built = bench.view("app:1").await.unwrap();
    let kept = comes_back("built").await.kept_as.expect("what was built is kept");
    assert_eq!(bench.engine.inspect_image(&kept).await.unwrap().unwrap().diff_ids, built.diff_ids);
    bench.remove(&kept).await;

    // Pulled again under its name: another image with the same base.
    let registry = Registry::with_image(&base, &bench.engine.facts().await.unwrap().architecture);
    let pulled = format!("127.0.0.1:{}/base:1", registry.port);
    docker_does(&["pull", "--quiet", &pulled]);
    docker_does(&["tag", &pulled, &name]);
    docker_does(&["image", "rm", &pulled]);
    let kept = comes_back("pulled").await.kept_as.expect("what was pulled is kept");
    bench.remove(&kept).await;

    // Taken away by a prune, while its base stays with another.
    bench.make("base:1", &Recipe::of([base])).await;
    docker_does(&["image", "rm", &name]);
    assert_eq!(comes_back("pruned").await.result, LoadResult::Loaded);
    bench.wipe(&["app:1", "base:1"]).await;

    // Half-loaded: its name leads to no layers.
    docker_loads(&bench, hollow(&bench, &made).await).await;
    comes_back("half-loaded").await;
    bench.wipe(&["app:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_overlap_on_one_engine_end_with_whole_images() {
    let bench = Bench::new("overlap").await;
    let (base, other_base) = (layer(1_500_000), layer(1_500_000));
    let mut made = Vec::new();
    let names = ["one:1", "two:1", "three:1", "four:1"];
    for (at, name) in names.iter().enumerate() {
        let base = if at < 2 { &base } else { &other_base };
        made.push(bench.make(name, &Recipe::of([base.clone(), layer(1000 * (at + 1))])).await);
    }
    bench.save(&names).await.unwrap();
    for round in 0..6 {
        bench.wipe(&names).await;
        // Two operators at once: images that share a base, an image that both load, and independent ones.
        let (first, second) =
            futures::join!(bench.load(&["one:1", "three:1", "four:1"]), bench.load(&["four:1", "two:1", "one:1"]));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.images.len(), second.images.len()), (3, 3));
        for (name, made) in names.iter().zip(&made) {
            bench.assert_is(name, made).await;
            assert!(bench.can_be_exported(name, made).await, "{name} in round {round}");
        }
        assert!(bench.load(&names).await.unwrap().images.iter().all(|image| image.result == LoadResult::Present));
    }
    bench.wipe(&names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_loaded_and_found_again() {
    let bench = Bench::new("none").await;
    let name = bench.name("none:1");
    // In an archive beside the store: old engines can't export such an image.
    let config = json!({"architecture": bench.engine.facts().await.unwrap().architecture, "os": "linux",
        "created": "2024-05-06T07:08:09Z", "config": {"Labels": {"for": name}}, "rootfs": {"type": "layers", "diff_ids": []}});
    let config = config.to_string().into_bytes();
    let file = format!("{}.json", Digest::of(&config).hex());
    let manifest = json!([{"Config": file, "RepoTags": [name], "Layers": null}]).to_string().into_bytes();
    fs::create_dir_all(&bench.store).unwrap();
    fs::write(bench.store.join("none.tar"), tar_of(&[(file, config), ("manifest.json".to_owned(), manifest)])).unwrap();
    assert_eq!(bench.load(&["none:1"]).await.unwrap().images[0].result, LoadResult::Loaded);
    assert_eq!(bench.load(&["none:1"]).await.unwrap().images[0].result, LoadResult::Present);
    assert!(bench.view("none:1").await.unwrap().diff_ids.is_empty());
    bench.wipe(&["none:1"]).await;
}

async fn docker_loads(bench: &Bench, archive: Vec<u8>) {
    let mut lines = std::pin::pin!(bench.engine.load_images(futures::stream::iter([Ok(archive.into())])));
    while lines.next().await.is_some() {}
}

/// An archive of the image under its name, without any of its layers.
async fn hollow(bench: &Bench, made: &Made) -> Vec<u8> {
    let config = json!({"architecture": bench.engine.facts().await.unwrap().architecture, "os": "linux", "config": made.config,
        "rootfs": {"type": "layers", "diff_ids": made.diff_ids}});
    let config = config.to_string().into_bytes();
    let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let layers: Vec<Value> = made
        .diff_ids
        .iter()
        .map(|id| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": id, "size": 2048}))
        .collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": format!("docker.io/{}", bench.name("app:1"))});
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    tar_of(&[
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        (blob(&config), config),
        (blob(&manifest), manifest),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ])
}

/// A registry with one image, as far as a pull asks (OCI distribution-spec, "Pull"); it ends with the test.
struct Registry {
    port: u16,
}

impl Registry {
    /// The image `base:1` with one layer, gzip'd as registries have them.
    fn with_image(layer: &[u8], architecture: &str) -> Self {
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/pulled"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer).to_string()]}});
        let (config, blob) = (config.to_string().into_bytes(), gzip(layer));
        let manifest_type = "application/vnd.docker.distribution.manifest.v2+json";
        let part = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type,
            "config": part("application/vnd.docker.container.image.v1+json", &config),
            "layers": [part("application/vnd.docker.image.rootfs.diff.tar.gzip", &blob)]});
        let manifest = manifest.to_string().into_bytes();
        let mut answers: HashMap<String, (&'static str, Vec<u8>)> = HashMap::new();
        for bytes in [config, blob] {
            answers.insert(format!("/v2/base/blobs/{}", Digest::of(&bytes)), ("application/octet-stream", bytes));
        }
        for name in ["1".to_owned(), Digest::of(&manifest).to_string()] {
            answers.insert(format!("/v2/base/manifests/{name}"), (manifest_type, manifest.clone()));
        }
        answers.insert("/v2/".to_owned(), ("application/json", b"{}".to_vec()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answers = answers.clone();
                std::thread::spawn(move || answer(stream, &answers));
            }
        });
        Self { port }
    }
}

/// Answers one request; a client that wants more connects again.
fn answer(mut stream: TcpStream, answers: &HashMap<String, (&'static str, Vec<u8>)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = Vec::new();
    if reader.read_until(b'\n', &mut request).unwrap_or(0) == 0 {
        return;
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap_or(0) > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, (media_type, body)) = match answers.get(path) {
        Some(found) => ("200 OK", found.clone()),
        None => ("404 Not Found", ("application/json", b"{}".to_vec())),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        Digest::of(&body)
    );
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}
