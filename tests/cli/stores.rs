//! Commands that write to the image store, without an engine.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::Site;

const MANIFEST: &str = r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

#[test]
fn lock_wait_waits_for_the_stores_lock_too() {
    let site = Site::with_manifest(MANIFEST);
    std::fs::create_dir_all(site.file("store/.dpl-store")).unwrap();
    site.write("store/oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#);
    site.write("store/index.json", r#"{"schemaVersion": 2, "manifests": []}"#);
    let lock = std::fs::File::create(site.file("store/.dpl-store/lock")).unwrap();
    lock.lock().unwrap();
    let repair = ["images", "repair", "-f", "stack.json", "--yes"];
    let refused = site.run(&repair).failure(5);
    assert!(refused.stderr.contains("--lock-wait"), "{}", refused.stderr);
    let mut command = site.command(&[&repair[..], &["--lock-wait", "5m"]].concat());
    let mut waiting = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    // It says that it waits before it does.
    while !line.contains("wait") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended: {:?}", waiting.wait());
    }
    assert!(waiting.try_wait().unwrap().is_none());
    lock.unlock().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(waiting.wait().unwrap().success(), "{rest}");
}

#[test]
fn the_stages_of_an_import_are_in_the_log_when_it_is_asked_for() {
    let mut site = Site::with_manifest(MANIFEST);
    let file = site.file("x.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&file).unwrap());
    let config = r#"{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}"#;
    let manifest = r#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": []}]"#;
    for (name, text) in [("c.json", config), ("manifest.json", manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
    let import = ["images", "import", "x.tar", "-f", "stack.json"];
    assert!(!site.run(&import).success().stderr.contains("import, read"));
    site.set("DPL_LOG", "debug");
    let said = site.run(&import).success().stderr;
    assert!(said.contains("import, read ended after") && said.contains("import, name ended after"), "{said}");
}
