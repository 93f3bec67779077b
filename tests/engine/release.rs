//! The file that `scripts/release.sh` builds, in a container that has nothing but it.

use std::fs;
use std::path::PathBuf;

use dpl::fs::Digest;
use serde_json::{Value, json};

use crate::support_engine::{Stack, docker_on};

/// An image of one layer as an archive that `docker load` takes; gives the image's ID on a classic engine.
fn write_image(archive: &std::path::Path, reference: &str) -> String {
    let layer = tar_of(&[("hello", b"hello".as_slice())]);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/hello"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] } })
    .to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest = json!([{ "Config": name, "RepoTags": [reference], "Layers": ["layer.tar"] }]).to_string();
    let parts =
        [("layer.tar", layer.as_slice()), (name.as_str(), config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    fs::write(archive, tar_of(&parts)).unwrap();
    Digest::of(config.as_bytes()).to_string()
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
#[ignore = "it is about the released file: scripts/release.sh builds that, and runs this"]
fn the_released_file_does_its_work_in_an_empty_container() {
    let released = PathBuf::from(std::env::var_os("DPL_RELEASE_FILE").expect("scripts/release.sh names it"));
    let stack = Stack::new(
        r#"{ "project": "PROJECT", "paths": { "images": "store" }, "services": { "a": { "image": "PROJECT/a:1" } } }"#,
    );
    let site = &stack.site;
    let (empty, image) = (format!("{}/empty:1", stack.project), format!("{}/a:1", stack.project));
    fs::write(site.file("empty.tar"), tar_of(&[("dpl", &fs::read(&released).unwrap())])).unwrap();
    stack.docker(&["import", site.file("empty.tar").to_str().unwrap(), &empty]);
    fs::create_dir(site.file("store")).unwrap();
    let id = write_image(&site.file("store").join(format!("{}-a_1.tar", stack.project)), &image);

    // No shell, no library, no /etc but what the engine itself puts into a container.
    let socket = stack.engine.strip_prefix("unix://").unwrap();
    let socket = format!("{socket}:/docker.sock");
    let place = format!("{}:/place", site.path().display());
    let in_container = |more: &[&str], command: &[&str]| {
        let start = ["run", "--rm", "-v", &socket, "-v", &place, "-w", "/place"];
        docker_on(&stack.engine, &[&start[..], more, &[empty.as_str(), "/dpl"], command].concat())
    };
    let with_socket = ["-e", "DOCKER_HOST=unix:///docker.sock"];
    assert_eq!(in_container(&[], &["--version"]), format!("dpl {}", env!("CARGO_PKG_VERSION")));
    let listed: Value = serde_json::from_str(&in_container(&[], &["list", "stack.json", "--json"])).unwrap();
    assert_eq!(listed["services"][0]["image"], json!(image));
    let load = || -> Value {
        serde_json::from_str(&in_container(&with_socket, &["load", "--json", "-f", "stack.json"])).unwrap()
    };
    assert_eq!(load()["images"][0]["result"], "loaded");
    assert_eq!(stack.docker(&["image", "inspect", "--format", "{{.Id}}", &image]), id);
    assert_eq!(load()["images"][0]["result"], "present");

    // An engine by its name, as a `tcp://` address has it: names are looked up without the C library's modules.
    let gate = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = gate.local_addr().unwrap().port();
    std::thread::spawn({
        let engine = stack.engine.clone();
        move || gate.incoming().map_while(Result::ok).for_each(|client| pass_on(client, &engine))
    });
    let named = format!("DOCKER_HOST=tcp://engine.example:{port}");
    let by_name = ["--network", "host", "--add-host", "engine.example:127.0.0.1", "-e", &named];
    let status: Value =
        serde_json::from_str(&in_container(&by_name, &["status", "--json", "-f", "stack.json"])).unwrap();
    assert_eq!(status["services"][0]["name"], "a");

    for image in [&empty, &image] {
        stack.docker(&["image", "rm", "--force", image]);
    }
}

/// One connection, both ways.
fn pass_on(client: std::net::TcpStream, engine: &str) {
    let engine = std::os::unix::net::UnixStream::connect(engine.strip_prefix("unix://").unwrap()).unwrap();
    let (mut from_client, mut to_client) = (client.try_clone().unwrap(), client);
    let (mut from_engine, mut to_engine) = (engine.try_clone().unwrap(), engine);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_engine);
        let _ = to_engine.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_engine, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
}
