//! The image store's housekeeping, by commands on a real engine: prune, remove, and what loads leave in the engine.

use std::path::{Path, PathBuf};

use dpl::fs::Digest;
use serde_json::{Value, json};

use crate::images::bench::{layer, tar_of};
use crate::support_engine::{Stack, eventually, is_whole};

const TWO: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "keep_releases": 2, "services": {
    "a": {"image": "PROJECT/a:1"}, "b": {"image": "PROJECT/b:1"}}}"#;
const ONE: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "keep_releases": 2, "services": {
    "a": {"image": "PROJECT/a:1"}}}"#;

/// Makes an image on the stack's engine; gives the digest of its configuration.
pub fn make(stack: &Stack, name: &str, layers: &[Vec<u8>]) -> String {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/base"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids.iter().map(Digest::to_string).collect::<Vec<_>>()},
    })
    .to_string();
    let config_digest = Digest::of(config.as_bytes());
    let mut files: Vec<(String, Vec<u8>)> =
        diff_ids.iter().zip(layers).map(|(id, layer)| (format!("{}.tar", id.hex()), layer.clone())).collect();
    let paths: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
    let reference = format!("{}/{name}", stack.project);
    let manifest = json!([{
        "Config": format!("{}.json", config_digest.hex()), "RepoTags": [reference], "Layers": paths
    }]);
    files.push((format!("{}.json", config_digest.hex()), config.into_bytes()));
    files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    let archive = stack.site.file("made.tar");
    std::fs::write(&archive, tar_of(&files)).unwrap();
    stack.docker(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
    std::fs::remove_file(archive).unwrap();
    config_digest.to_string()
}

/// What the stack's engine calls an image: the digest of its configuration or of its manifest.
pub fn engine_id(stack: &Stack, name: &str) -> String {
    stack.docker(&["image", "inspect", "--format", "{{.Id}}", name])
}

/// Takes images from the stack's engine, those of an earlier test's failure included.
pub fn wipe(stack: &Stack, images: &[&str]) {
    for image in images {
        let _ = std::process::Command::new("docker")
            .args(["image", "rm", "--force", image])
            .env("DOCKER_HOST", &stack.engine)
            .output();
    }
}

fn blobs(stack: &Stack) -> Vec<PathBuf> {
    files(&stack.site.file("store/blobs/sha256"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn references(document: &Value) -> Vec<&str> {
    let images = document["images"].as_array().unwrap().iter();
    images.map(|image| image["reference"].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_prune_takes_what_no_manifest_names_and_nothing_else() {
    let stack = Stack::new(TWO);
    let (project, base) = (stack.project.clone(), layer(200_000));
    make(&stack, "a:1", &[base.clone(), layer(1000)]);
    make(&stack, "b:1", &[base, layer(50_000)]);
    stack.run(&["save"]).success();
    let all = blobs(&stack);
    assert_eq!(stack.run(&["images", "prune", "--json"]).success().json()["images"], json!([]));

    stack.rewrite(ONE);
    stack.site.write("store/blobs/sha256/.dpl-tmp-x", "half");
    let plan = stack.run(&["images", "prune", "--dry-run", "--json"]).success().json();
    assert_eq!(references(&plan), [format!("{project}/b:1")]);
    assert_eq!((plan["done"].as_bool(), plan["images"][0]["layers_kept"].as_u64()), (Some(false), Some(1)));
    assert_eq!(plan["leftovers"].as_array().unwrap().len(), 1);
    assert_eq!(blobs(&stack).len(), all.len() + 1, "a plan changes nothing");
    let asked = stack.run(&["images", "prune"]).failure(2);
    assert!(asked.stderr.contains("--yes") && asked.stdout.contains("1 of 2 layers are kept"), "{asked:?}");

    let done = stack.run(&["images", "prune", "--yes", "--json"]).success().json();
    assert_eq!((done["done"].as_bool(), &done["freed_bytes"]), (Some(true), &plan["freed_bytes"]));
    // Layer, configuration and manifest of the image that went.
    assert_eq!(blobs(&stack).len(), all.len() - 3);
    stack.run(&["images", "verify"]).success();
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/b:1")]);
    stack.run(&["load"]).success();
    stack.docker(&["image", "inspect", &format!("{project}/a:1")]);
    wipe(&stack, &[&format!("{project}/a:1")]);
}

#[test]
fn a_manifest_beside_keeps_its_images_and_a_broken_one_stops_the_prune() {
    let stack = Stack::new(TWO);
    let project = stack.project.clone();
    make(&stack, "a:1", &[layer(1000)]);
    make(&stack, "b:1", &[layer(1000)]);
    stack.run(&["save"]).success();
    stack.site.write("prod.json", &TWO.replace("PROJECT", &project));
    stack.rewrite(ONE);
    let plan = stack.run(&["images", "prune", "--dry-run", "--json"]).success().json();
    assert_eq!(plan["images"], json!([]));

    stack.site.write("prod.json", &TWO.replace("PROJECT", &project).replace("\"b\":", "\"b\""));
    let refused = stack.run(&["images", "prune", "--yes"]).failure(1);
    assert!(refused.stderr.contains("prod.json") && refused.stderr.contains("line 2"), "{}", refused.stderr);
    // What only reads goes on without it, and says so.
    let verified = stack.run(&["images", "verify"]).success();
    assert!(verified.stderr.contains("prod.json"), "{}", verified.stderr);
    assert_eq!(references(&stack.run(&["images", "list", "--json"]).success().json()).len(), 2);
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/b:1")]);
}

#[test]
fn two_projects_share_a_store_and_prune_their_own() {
    let stack = Stack::new(ONE);
    let project = stack.project.clone();
    let image = make(&stack, "a:1", &[layer(1000)]);
    stack.run(&["save"]).success();
    // Another folder's project uses the same image under its own name, and the same one under the same name.
    let other = format!("{project}-other");
    let text = format!(
        r#"{{"project": "{other}", "paths": {{"images": "../store"}},
            "services": {{"x": {{"image": "{project}/a:1"}}, "y": {{"image": "{project}/y:1"}}}}}}"#
    );
    stack.site.write("elsewhere/other.json", &text);
    stack.docker(&["tag", &format!("{project}/a:1"), &format!("{project}/y:1")]);
    let saved = stack.site.run(&["save", "--json", "elsewhere/other.json"]).success().json();
    let results: Vec<_> = saved["images"].as_array().unwrap().iter().map(|image| &image["result"]).collect();
    assert_eq!(results, ["unchanged", "saved"]);
    assert_eq!(saved["images"][1]["image_id"], image.as_str());
    assert_eq!(saved["exported_bytes"], 0, "the image is there already");

    stack.rewrite(&ONE.replace("a:1", "gone:1"));
    let kept = stack.run(&["images", "prune", "--yes", "--json"]).success();
    assert_eq!(kept.json()["images"], json!([]), "both are the other project's");
    assert!(kept.stderr.contains(&other), "{}", kept.stderr);
    stack.site.write("elsewhere/other.json", &text.replace(&format!("{project}/a:1"), &format!("{project}/y:1")));
    let pruned = stack.site.run(&["images", "prune", "--yes", "--json", "elsewhere/other.json"]).success();
    assert_eq!(pruned.json()["images"], json!([]), "it was saved for the first project too");
    stack.run(&["images", "verify"]).success();
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/y:1")]);
}

#[test]
fn a_store_that_somebody_writes_to_is_said_to_be_busy() {
    let stack = Stack::new(TWO);
    make(&stack, "a:1", &[layer(1000)]);
    make(&stack, "b:1", &[layer(1000)]);
    stack.run(&["save"]).success();
    stack.rewrite(ONE);
    let lock = std::fs::File::options().write(true).open(stack.site.file("store/.dpl-store/lock")).unwrap();
    lock.lock().unwrap();
    let holder = json!({"user": "li", "host": "site", "pid": 7, "since": "2026-01-01T00:00:00Z"});
    std::fs::write(stack.site.file("store/.dpl-store/lock"), holder.to_string()).unwrap();
    for command in [vec!["images", "prune", "--yes"], vec!["images", "remove", "--force", "--yes", "a"]] {
        let busy = stack.run(&command).failure(5);
        assert!(busy.stderr.contains("li on site, process 7"), "{}", busy.stderr);
    }
    drop(lock);
    stack.run(&["images", "prune", "--yes"]).success();
    let project = stack.project.clone();
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/b:1")]);
}

/// A command that is held at a failpoint until it is let go on.
struct Held(std::process::Child);

impl Held {
    #[track_caller]
    fn at(stack: &Stack, arguments: &[&str], point: &str) -> Self {
        let said = std::fs::File::create(stack.site.file("said")).unwrap();
        let mut command = stack.site.command(&[arguments, &["-f", "stack.json"]].concat());
        command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
        let child = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        eventually(point, || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        Self(child)
    }

    fn goes_on(&mut self) -> i32 {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_prune_beside_a_running_save_takes_nothing_of_it_and_a_save_waits_for_no_prune() {
    let stack = Stack::new(TWO);
    let project = stack.project.clone();
    let names = [format!("{project}/a:1"), format!("{project}/b:1")];
    let base = layer(300_000);
    let prune = ["images", "prune", "--yes"];
    for point in ["images.save.before-blob", "images.save.after-blob:2", "images.save.before-index"] {
        let ids = [make(&stack, "a:1", &[base.clone(), layer(3000)]), make(&stack, "b:1", &[layer(6000), layer(1000)])];
        let mut save = Held::at(&stack, &["save"], point);
        // So that there is something to prune each time.
        stack.site.write("store/blobs/sha256/.dpl-tmp-x", "half");
        assert!(stack.run(&prune).failure(5).stderr.contains("process"), "{point}");
        let said = || std::fs::read_to_string(stack.site.file("said")).unwrap();
        assert_eq!(save.goes_on(), 0, "{point}: {}", said());
        stack.run(&["images", "verify"]).success();
        wipe(&stack, &[&names[0], &names[1]]);
        let loaded = stack.run(&["load", "--json"]).success().json();
        let images = loaded["images"].as_array().unwrap().iter();
        let loaded: Vec<_> = images.map(|image| image["image_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(loaded, ids, "{point}");
    }
    make(&stack, "a:1", &[base, layer(2000)]);
    let mut pruning = Held::at(&stack, &prune, "images.removal.before-blob");
    stack.run(&["save"]).failure(5);
    assert_eq!(pruning.goes_on(), 0);
    stack.run(&["save"]).success();
    stack.run(&["images", "verify"]).success();
    stack.run(&prune).success();
    // Two images: four layers, two configurations, two manifests.
    assert_eq!(blobs(&stack).len(), 8);
    wipe(&stack, &[&names[0], &names[1]]);
}

#[test]
fn references_are_removed_one_by_one_and_needed_ones_only_by_force() {
    let stack = Stack::new(TWO);
    let (project, base) = (stack.project.clone(), layer(100_000));
    make(&stack, "a:1", &[base.clone(), layer(1000)]);
    make(&stack, "b:1", &[base, layer(1000)]);
    stack.docker(&["tag", &format!("{project}/b:1"), &format!("{project}/b:2")]);
    stack.run(&["save"]).success();
    stack.rewrite(&TWO.replace("b:1", "b:2"));
    stack.run(&["save", "b"]).success();

    let needed = stack.run(&["images", "remove", "--yes", "a"]).failure(1);
    assert!(needed.stderr.contains(&format!("{project}/a:1 is needed by a")), "{}", needed.stderr);
    let missing = stack.run(&["images", "remove", "--yes", "nil:1", "nil:2", &format!("{project}/b:1")]).failure(1);
    assert!(missing.stderr.contains("nil:1, nil:2") && !missing.stderr.contains("b:1"), "{}", missing.stderr);

    let all = blobs(&stack).len();
    let removed = stack.run(&["images", "remove", "--yes", "--json", &format!("{project}/b:1")]).success().json();
    assert_eq!(references(&removed), [format!("{project}/b:1")]);
    assert_eq!((removed["freed_bytes"].as_u64(), blobs(&stack).len()), (Some(0), all), "it has another name");
    let removed = stack.run(&["images", "remove", "--force", "--yes", "--json", "b"]).success().json();
    assert_eq!(references(&removed), [format!("{project}/b:2")]);
    assert_eq!(blobs(&stack).len(), all - 3, "the base stays");
    stack.run(&["images", "verify"]).success();
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/b:1"), &format!("{project}/b:2")]);
}

#[test]
fn old_archives_go_only_when_asked_and_only_when_they_are_not_needed() {
    let stack = Stack::new(TWO);
    let project = stack.project.clone();
    make(&stack, "a:1", &[layer(1000)]);
    make(&stack, "b:1", &[layer(1000)]);
    stack.run(&["save", "--format", "docker-archive"]).success();
    stack.run(&["save", "a"]).success();
    stack.site.write("store/backup.tar.gz", "no archive of images");
    let states = |run: &Value| -> Vec<(String, String)> {
        let archives = run["archives"].as_array().unwrap().iter();
        let mut states: Vec<_> = archives
            .map(|archive| {
                let file = archive["file"].as_str().unwrap().replace(&project, "p");
                (file, archive["state"].as_str().unwrap().to_owned())
            })
            .collect();
        states.sort();
        states
    };
    let pair = |file: &str, state: &str| (file.to_owned(), state.to_owned());
    let listed = stack.run(&["images", "prune", "--yes", "--json"]).success();
    assert!(listed.stderr.contains("--archives"), "{}", listed.stderr);
    let wanted = [pair("backup.tar.gz", "unknown"), pair("p-a_1.tar.gz", "in-store"), pair("p-b_1.tar.gz", "needed")];
    assert_eq!(states(&listed.json()), wanted);
    assert_eq!(files(&stack.site.file("store")).iter().filter(|path| path.extension().is_some()).count(), 4);

    stack.rewrite(&TWO.replace("b:1", "c:1"));
    stack.run(&["images", "prune", "--archives", "--yes"]).success();
    let left: Vec<_> =
        files(&stack.site.file("store")).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    let archives: Vec<_> = left.iter().filter(|name| name.to_string_lossy().contains(".tar")).collect();
    assert_eq!(archives, ["backup.tar.gz"]);
    wipe(&stack, &[&format!("{project}/a:1"), &format!("{project}/b:1")]);
}

#[test]
fn images_are_kept_in_the_engine_for_the_last_releases_and_no_longer() {
    let stack = Stack::new(ONE);
    let name = format!("{}/a:1", stack.project);
    let mut releases = Vec::new();
    for at in 1..=4 {
        make(&stack, "a:1", &[layer(1000)]);
        stack.run(&["save"]).success();
        std::fs::rename(stack.site.file("store"), stack.site.file(&format!("store-{at}"))).unwrap();
        wipe(&stack, &[&name]);
    }
    for at in 1..=4 {
        let manifest = ONE.replace("\"store\"", &format!("\"store-{at}\""));
        stack.rewrite(&manifest);
        stack.run(&["load"]).success();
        releases.push(engine_id(&stack, &name));
    }
    let kept = |at: usize| format!("dpl-kept:{}", &releases[at]["sha256:".len()..][..32]);
    // A container of nobody's keeps the first one.
    stack.docker(&["create", "--name", &format!("{}-user", stack.project), &kept(0), "/x"]);
    let plan = stack.run(&["images", "prune", "--engine", "--dry-run", "--json"]).success().json();
    let names = |list: &str| -> Vec<String> {
        let ours = plan[list].as_array().unwrap().iter().filter(|image| image["why"] != "unknown");
        ours.map(|image| image["name"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(names("images"), [kept(1)]);
    let mut stays = names("kept");
    // Containers of other tests on this engine keep images of theirs.
    stays.retain(|name| (0..4).any(|at| *name == kept(at)));
    stays.sort();
    let mut wanted = vec![kept(0), kept(2)];
    wanted.sort();
    assert_eq!(stays, wanted);

    stack.run(&["images", "prune", "--engine"]).failure(2);
    stack.run(&["images", "prune", "--engine", "--yes"]).success();
    let listed = stack.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!listed.contains(&kept(1)) && listed.contains(&kept(0)) && listed.contains(&kept(2)), "{listed}");
    stack.docker(&["rm", &format!("{}-user", stack.project)]);
    stack.run(&["images", "prune", "--engine", "--yes"]).success();
    assert!(!stack.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).contains(&kept(0)));
    wipe(&stack, &[&name, &kept(2)]);
}

#[test]
fn images_without_a_name_go_when_a_load_left_them_or_all_are_meant() {
    let stack = Stack::new(ONE);
    let name = format!("{}/a:1", stack.project);
    let made = || {
        make(&stack, "a:1", &[layer(1000)]);
        engine_id(&stack, &name)
    };
    let ours = made();
    stack.run(&["save"]).success();
    // Both lose their names to a third one, which nobody but docker did.
    let foreign = made();
    made();
    let untagged = stack.docker(&["images", "--no-trunc", "--quiet", "--filter", "dangling=true"]);
    if !untagged.contains(&foreign) {
        // The containerd store lets an image go with its name: there is nothing to tidy up.
        assert!(stack.docker(&["info", "--format", "{{.DriverStatus}}"]).contains("containerd"), "{untagged}");
        wipe(&stack, &[&name]);
        return;
    }
    let ids = |run: Value, list: &str| -> Vec<String> {
        let images = run[list].as_array().unwrap().clone();
        images
            .iter()
            .filter(|image| image["name"].is_null())
            .map(|image| image["id"].as_str().unwrap().into())
            .collect()
    };
    let plan = |flags: &[&str]| {
        stack.run(&[&["images", "prune", "--engine", "--dry-run", "--json"], flags].concat()).success().json()
    };
    assert!(ids(plan(&[]), "images").contains(&ours));
    assert!(!ids(plan(&[]), "images").contains(&foreign));
    assert!(ids(plan(&[]), "kept").contains(&foreign));
    assert!(ids(plan(&["--dangling"]), "images").contains(&foreign));
    stack.run(&["images", "prune", "--engine", "--yes"]).success();
    // Not by a list of all: an engine with the containerd store fails it while another test's images go.
    assert!(!is_whole(&stack.engine, &ours) && is_whole(&stack.engine, &foreign));
    wipe(&stack, &[&name, &foreign]);
}
