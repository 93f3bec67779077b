//! Commands that write to the image store, without an engine.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::Site;

const MANIFEST: &str = r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

/// `x.tar` with the image `a:1`, of no layer or of one with this content.
fn write_archive(site: &Site, layer: Option<&[u8]>) {
    let mut tar = tar::Builder::new(std::fs::File::create(site.file("x.tar")).unwrap());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    };
    let diff_ids: Vec<String> = layer.iter().map(|layer| dpl::fs::Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
    let layers: Vec<&str> = layer.iter().map(|_| "l/layer.tar").collect();
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": layers}]);
    if let Some(layer) = layer {
        add("l/layer.tar", layer);
    }
    add("c.json", config.to_string().as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    tar.finish().unwrap();
}

#[test]
fn an_export_is_compressed_as_its_name_says_unless_something_else_is_said() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, None);
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    let export = |more: &[&str]| {
        site.run(&[&["images", "export", "a", "-f", "stack.json", "--yes"], more].concat()).success();
        std::fs::read(site.file(more[1])).unwrap()
    };
    for name in ["out.tar.gz", "out.tgz"] {
        assert!(export(&["--output", name]).starts_with(&[0x1f, 0x8b]), "{name}");
        assert!(export(&["--output", name, "--compression", "none"]).ends_with(&[0; 512]), "{name}");
    }
    assert!(export(&["--output", "out.tar"]).ends_with(&[0; 512]));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_sudden_end() {
    let site = Site::with_manifest(MANIFEST);
    let mut random = vec![0; 100_000];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    write_archive(&site, Some(&random));
    let program = site.command(&["images", "import", "x.tar", "-f", "stack.json"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    limited.current_dir(site.path()).env_clear();
    limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = limited.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
    // Without the limit it goes on.
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
}

#[test]
fn the_first_json_argument_of_an_import_is_the_manifest() {
    let site = Site::with_manifest(MANIFEST);
    site.write("other.json", &MANIFEST.replace("store", "elsewhere"));
    write_archive(&site, None);
    site.run(&["images", "import", "x.tar", "other.json"]).success();
    assert!(site.file("elsewhere/index.json").exists() && !site.file("store").exists());
    let said = site.run(&["images", "import", "other.json"]).failure(2).stderr;
    assert!(said.contains("name the archive to import"), "{said}");
    let digest = "0".repeat(64);
    let said = site.run(&["images", "import", "x.tar", "-f", "stack.json", "--name", &format!("a@sha256:{digest}")]);
    assert!(said.failure(2).stderr.contains("has no tag: write name:tag"));
}

#[test]
fn an_import_of_what_the_store_has_says_unchanged() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, None);
    let import = ["images", "import", "x.tar", "-f", "stack.json"];
    assert!(site.run(&import).success().stderr.contains("1 image imported"));
    let said = site.run(&import).success().stderr;
    assert!(said.contains("unchanged") && !said.contains("1 image imported"), "{said}");
}

#[test]
fn an_export_in_parts_says_how_many_there_are_and_one_into_no_folder_names_only_what_was_asked_for() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(&vec![7_u8; 5 << 19]));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    let export = |more: &[&str]| site.run(&[&["images", "export", "a", "-f", "stack.json", "--yes"], more].concat());
    let said = export(&["--output", "y.tar", "--split", "1m"]).success().stderr;
    assert!(said.contains("3 parts, y.tar.001 to y.tar.003"), "{said}");
    let said = export(&["--output", "gone/y.tar"]).failure(1).stderr;
    assert!(said.contains("gone/y.tar") && !said.contains(".dpl-export-"), "{said}");
}

#[test]
fn an_archive_comes_in_through_a_pipe_and_in_parts_as_it_was_exported() {
    let site = Site::with_manifest(MANIFEST);
    for store in ["piped", "parts"] {
        site.write(&format!("{store}.json"), &MANIFEST.replace("store", store));
    }
    write_archive(&site, Some(&vec![7_u8; 5 << 19]));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    for compression in ["none", "gzip", "zstd"] {
        let export = ["images", "export", "a", "--compression", compression, "--yes", "-f", "stack.json"];
        let exported = site.command(&[&export[..], &["--output", "-"]].concat()).output().unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        std::fs::write(site.file("exported"), &exported.stdout).unwrap();
        let _ = std::fs::remove_dir_all(site.file("piped"));
        let mut import = site.command(&["images", "import", "-", "-f", "piped.json"]);
        let input = std::fs::File::open(site.file("exported")).unwrap();
        let imported = import.stdin(input).output().unwrap();
        assert!(imported.status.success(), "{compression}: {}", String::from_utf8_lossy(&imported.stderr));
        site.run(&["images", "verify", "-f", "piped.json"]).success();
        let listed = site.run(&["images", "list", "--json", "-f", "piped.json"]).success().json();
        assert_eq!(listed["images"][0]["reference"], "a:1", "{compression}: {listed}");
    }
    site.run(&["images", "export", "a", "--split", "1m", "--output", "p.tar", "-f", "stack.json"]).success();
    site.run(&["images", "import", "p.tar.001", "-f", "parts.json"]).success();
    site.run(&["images", "verify", "-f", "parts.json"]).success();
}

#[test]
fn an_interrupt_ends_an_import_whose_standard_input_is_silent() {
    let site = Site::with_manifest(MANIFEST);
    let mut import = site.command(&["images", "import", "-", "-f", "stack.json", "--progress", "json"]);
    let mut child = import.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let silent = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    // Its first line says that it has begun.
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{line}{rest}");
    assert!(!rest.contains("not a usable archive"), "{rest}");
    drop(silent);
}

#[test]
fn a_store_that_is_not_there_is_said_to_be_missing() {
    let site = Site::with_manifest(MANIFEST);
    let verified = site.run(&["images", "verify", "-f", "stack.json"]).failure(1);
    assert!(verified.stderr.contains("does not exist"), "{}", verified.stderr);
    let removed = site.run(&["images", "remove", "c10ff1b5a95f", "--yes", "-f", "stack.json"]).failure(1);
    assert!(removed.stderr.contains("image c10ff1b5a95f is not in the store"), "{}", removed.stderr);
}

#[test]
fn a_repair_of_a_missing_index_claims_no_damaged_one() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, None);
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    std::fs::remove_file(site.file("store/index.json")).unwrap();
    let repaired = site.run(&["images", "repair", "-f", "stack.json", "--yes"]).success();
    assert!(repaired.stderr.contains("was missing"), "{}", repaired.stderr);
    assert!(!repaired.stderr.contains("index.json.damaged"), "{}", repaired.stderr);
    // What it leaves is told, and goes with a prune.
    assert!(repaired.stderr.contains("`dpl images prune` removes it"), "{}", repaired.stderr);
    assert!(site.file("store/.dpl-store/index.json.missing").exists());
    let pruned = site.run(&["images", "prune", "-f", "stack.json", "--dry-run"]).success();
    assert!(pruned.stdout.contains("old index"), "{}", pruned.stdout);
    site.run(&["images", "prune", "-f", "stack.json", "--yes"]).success();
    assert!(!site.file("store/.dpl-store/index.json.missing").exists());
    site.run(&["images", "verify", "-f", "stack.json"]).success();
}

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
    write_archive(&site, None);
    let import = ["images", "import", "x.tar", "-f", "stack.json"];
    assert!(!site.run(&import).success().stderr.contains("import, read"));
    site.set("DPL_LOG", "debug");
    let said = site.run(&import).success().stderr;
    assert!(said.contains("import, read ended after") && said.contains("import, name ended after"), "{said}");
}

/// The blob of the only layer of a store: the one that is no document.
fn layer_blob(site: &Site) -> std::path::PathBuf {
    let blobs = std::fs::read_dir(site.file("store/blobs/sha256")).unwrap().map(|blob| blob.unwrap().path());
    let mut layers = blobs.filter(|path| !std::fs::read(path).unwrap().starts_with(b"{"));
    layers.next().expect("the layer's blob")
}

#[test]
fn a_repair_that_leaves_an_image_incomplete_says_which_and_why_and_ends_with_1() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    let import = ["images", "import", "x.tar", "-f", "stack.json"];
    let repair = ["images", "repair", "-f", "stack.json", "--yes"];
    site.run(&import).success();
    site.run(&repair).success();
    site.run(&["images", "repair", "-f", "stack.json", "--dry-run"]).success();
    std::fs::remove_file(layer_blob(&site)).unwrap();
    let dry = site.run(&["images", "repair", "-f", "stack.json", "--dry-run", "--json"]).failure(1);
    assert_eq!((&dry.json()["incomplete"][0]["reference"], &dry.json()["done"]), (&"a:1".into(), &false.into()));
    let said = site.run(&repair).failure(1).stderr;
    assert!(said.contains("a:1 stays incomplete: ") && said.contains("a blob is missing"), "{said}");
    assert!(said.contains("still can't be loaded: a:1") && said.contains("dpl images import FILE"), "{said}");
    let document = site.run(&[&repair[..], &["--json"]].concat()).failure(1).json();
    assert_eq!(document["incomplete"][0]["reference"], "a:1", "{document}");
    // What it advises helps.
    site.run(&import).success();
    site.run(&repair).success();
}

#[test]
fn a_repair_says_of_a_damaged_layer_what_it_will_do_and_then_what_it_did() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    let blob = layer_blob(&site);
    let mut content = std::fs::read(&blob).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, content).unwrap();
    let repair = |how: &str| site.run(&["images", "repair", "-f", "stack.json", how]);
    // What it would leave incomplete is its exit code, too.
    let shown = repair("--dry-run").failure(1).stderr;
    assert!(shown.contains("repair will remove it") && shown.contains("still can't be loaded: a:1"), "{shown}");
    let said = repair("--yes").failure(1).stderr;
    assert!(said.contains(" was removed: save or import") && !said.contains("will remove"), "{said}");
}

#[test]
fn a_store_of_a_newer_layout_is_not_sent_from_one_repair_to_the_next() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, None);
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    site.write("store/oci-layout", r#"{"imageLayoutVersion": "9.0"}"#);
    for command in ["verify", "repair"] {
        let said = site.run(&["images", command, "-f", "stack.json"]).failure(1).stderr;
        assert!(said.contains("version 9.0, which is not known") && said.contains("use a newer dpl"), "{said}");
        assert!(!said.contains("dpl images repair"), "{said}");
    }
}

#[test]
fn a_damaged_archive_is_to_be_brought_again_by_its_name_and_a_quick_look_claims_no_contents() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    let verify = ["images", "verify", "-f", "stack.json"];
    let said = site.run(&verify).success().stderr;
    assert!(said.contains("a:1: whole") && said.contains("no problems found"), "{said}");
    let mut damaged = std::fs::read(site.file("x.tar")).unwrap();
    let at = damaged.windows(7).position(|window| window == b"a layer").unwrap();
    damaged[at] ^= 1;
    std::fs::write(site.file("store/y.tar"), damaged).unwrap();
    let quick = site.run(&[&verify[..], &["--quick"]].concat()).success().stderr;
    assert!(!quick.contains("whole") && quick.contains("contents were not read"), "{quick}");
    let said = site.run(&verify).failure(1).stderr;
    assert!(said.contains("y.tar can't be repaired: copy this archive again"), "{said}");
    assert!(!said.contains("dpl images repair"), "{said}");
}

#[test]
fn an_import_of_a_part_names_the_first_one_whether_it_is_there_or_not() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    let whole = std::fs::read(site.file("x.tar")).unwrap();
    std::fs::remove_file(site.file("x.tar")).unwrap();
    let (first, second) = whole.split_at(700);
    std::fs::write(site.file("x.tar.001"), first).unwrap();
    std::fs::write(site.file("x.tar.002"), second).unwrap();
    let import = |file: &str| site.run(&["images", "import", file, "-f", "stack.json"]);
    for file in ["x.tar.002", "x.tar"] {
        let said = import(file).failure(1).stderr;
        assert!(said.contains("`dpl images import x.tar.001`"), "{said}");
    }
    import("x.tar.001").success();
    std::fs::remove_file(site.file("x.tar.001")).unwrap();
    let said = import("x.tar.002").failure(1).stderr;
    assert!(said.contains("hint:") && said.contains("`dpl images import x.tar.001`"), "{said}");
}

#[test]
fn a_layout_file_that_is_empty_or_damaged_is_written_again_by_a_repair_and_a_newer_one_is_left_alone() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    let command = |words: &[&str]| site.run(&[words, &["-f", "stack.json"]].concat());
    command(&["images", "import", "x.tar"]).success();
    let written = std::fs::read(site.file("store/oci-layout")).unwrap();
    for damaged in ["", "{}", "\0\0"] {
        site.write("store/oci-layout", damaged);
        for words in [&["images", "verify"][..], &["images", "import", "x.tar"]] {
            let said = command(words).failure(1).stderr;
            assert!(said.contains("`dpl images repair` writes oci-layout again"), "{damaged:?}: {said}");
        }
        command(&["images", "repair", "--yes"]).success();
        assert_eq!(std::fs::read(site.file("store/oci-layout")).unwrap(), written, "{damaged:?}");
        command(&["images", "verify"]).success();
    }
    site.write("store/oci-layout", r#"{"imageLayoutVersion": "1.1.0"}"#);
    for words in [&["images", "verify"][..], &["images", "repair", "--yes"]] {
        let said = command(words).failure(1).stderr;
        assert!(said.contains("version 1.1.0") && said.contains("use a newer dpl"), "{words:?}: {said}");
        assert!(!said.contains("images repair`"), "it would not help: {said}");
    }
    assert!(std::fs::read_to_string(site.file("store/oci-layout")).unwrap().contains("1.1.0"));
}

#[test]
fn a_repair_writes_nothing_into_a_store_of_another_layout_version_whatever_else_is_wrong_with_it() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    let command = |words: &[&str]| site.run(&[words, &["-f", "stack.json"]].concat());
    command(&["images", "import", "x.tar"]).success();
    let index = std::fs::read_to_string(site.file("store/index.json")).unwrap();
    let files = |site: &Site| {
        let mut files: Vec<_> = ["store", "store/.dpl-store"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(site.file(folder)).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    for version in [r#""1.1.0""#, r#""2.0.0""#, "2"] {
        site.write("store/oci-layout", &format!(r#"{{"imageLayoutVersion": {version}}}"#));
        for index in [Some(index.as_str()), Some("{damaged"), Some(""), None] {
            match index {
                Some(index) => site.write("store/index.json", index),
                None => std::fs::remove_file(site.file("store/index.json")).unwrap(),
            }
            let before = files(&site);
            for more in ["--dry-run", "--yes"] {
                let said = command(&["images", "repair", more]).failure(1).stderr;
                let version = version.trim_matches('"');
                assert!(said.contains(&format!("version {version}, which is not known")), "{said}");
            }
            assert_eq!(files(&site), before, "{version}, {index:?}");
        }
    }
}

#[test]
fn a_repair_names_the_whole_older_image_behind_an_index_that_came_without_its_blobs() {
    let site = Site::with_manifest(MANIFEST);
    site.write("other.json", &MANIFEST.replace("store", "elsewhere"));
    write_archive(&site, Some(b"older"));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    write_archive(&site, Some(b"newer"));
    site.run(&["images", "import", "x.tar", "-f", "other.json"]).success();
    // As another program wrote it, and later than the store's own record.
    let came = std::fs::read(site.file("elsewhere/index.json")).unwrap();
    let mut came: serde_json::Value = serde_json::from_slice(&came).unwrap();
    came["manifests"][0]["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "a:1"});
    site.write("store/index.json", &came.to_string());
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let index = std::fs::File::options().write(true).open(site.file("store/index.json")).unwrap();
    index.set_modified(later).unwrap();
    let repair = ["images", "repair", "-f", "stack.json", "--yes"];
    let said = site.run(&repair).failure(1).stderr;
    assert!(said.contains("a:1 stays incomplete") && said.contains("an older image of this name"), "{said}");
    // What it advises helps.
    came["manifests"] = serde_json::json!([]);
    site.write("store/index.json", &came.to_string());
    site.run(&repair).success();
    site.run(&["images", "verify", "-f", "stack.json"]).success();
    assert!(std::fs::read_to_string(site.file("store/index.json")).unwrap().contains("a:1"));
}

#[test]
fn an_export_takes_the_place_of_no_file_of_the_store() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    let index = std::fs::read(site.file("store/index.json")).unwrap();
    let blob = layer_blob(&site);
    std::os::unix::fs::symlink("store/index.json", site.file("link.tar")).unwrap();
    let own = ["store/index.json", "./store/oci-layout", "store/.dpl-store/lock", blob.to_str().unwrap(), "link.tar"];
    for output in own {
        for more in ["--yes", "--dry-run"] {
            let said = site.run(&["images", "export", "a", "-f", "stack.json", "--output", output, more]).failure(1);
            assert!(said.stderr.contains("is a file of the image store"), "{output}: {}", said.stderr);
        }
    }
    assert_eq!(std::fs::read(site.file("store/index.json")).unwrap(), index);
    // Archives may lie beside it.
    site.run(&["images", "export", "a", "-f", "stack.json", "--output", "store/a_1.tar", "--yes"]).success();
    site.run(&["images", "verify", "-f", "stack.json"]).success();
}

#[test]
fn an_import_that_leaves_out_a_damaged_image_names_it_and_ends_with_1() {
    let site = Site::with_manifest(MANIFEST);
    let mut tar = tar::Builder::new(std::fs::File::create(site.file("x.tar")).unwrap());
    let config = r#"{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}"#;
    let manifest = r#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": []},
        {"Config": "gone.json", "RepoTags": ["b:1"], "Layers": []}]"#;
    for (name, content) in [("c.json", config), ("manifest.json", manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
    for more in ["--dry-run", "--yes"] {
        let run = site.run(&["images", "import", "x.tar", "-f", "stack.json", "--json", more]).failure(1);
        assert!(run.stderr.contains("b:1 is left out"), "{}", run.stderr);
        // A dry run has imported none of the others.
        assert!(run.stderr.contains("1 image can't be imported: b:1"), "{}", run.stderr);
        let report = run.json();
        assert_eq!(
            (&report["images"][0]["reference"], &report["left_out"][0]["damaged"]),
            (&"a:1".into(), &true.into())
        );
    }
    site.run(&["images", "verify", "-f", "stack.json"]).success();
}

#[test]
fn an_archive_with_a_damaged_layer_is_to_be_brought_again() {
    let site = Site::with_manifest(MANIFEST);
    write_archive(&site, Some(b"a layer"));
    let mut damaged = std::fs::read(site.file("x.tar")).unwrap();
    let at = damaged.windows(7).position(|window| window == b"a layer").unwrap();
    damaged[at] ^= 1;
    std::fs::write(site.file("x.tar"), damaged).unwrap();
    let said = site.run(&["images", "import", "x.tar", "-f", "stack.json"]).failure(1).stderr;
    assert!(said.contains("hint: copy it again, or use another archive of the image"), "{said}");
}
