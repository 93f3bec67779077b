//! Archives and layouts that come from elsewhere and were made to hurt: each is refused by name before an image can come
//! of it, or loads as just the image that it should be; nothing is written outside of its folder.

mod archives;
pub mod build;
mod layouts;
mod other_roads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpl::engine::{Address, Engine};
use dpl::fs::Digest;
use dpl::images::{LoadOptions, load};
use dpl::report::Reporter;
use serde_json::Value;

use crate::harness::{error_text, run, takes_all};
use crate::support::Site;
use crate::support_fake_engine::{Answer, Body, FakeEngine, Rule};
use crate::tally::Tally;
use build::{Image, Store, image_rules};

/// What must become of a case.
#[derive(Clone, Copy)]
pub enum Expected {
    /// Nothing comes to the engine, and the error has these words.
    Refused(&'static [&'static str]),
    /// What the engine gets is one image, whole, and made of what is in it.
    Loads,
}

/// Puts a case's files into the folder of images.
type Put = Arc<dyn Fn(&Path)>;

#[derive(Clone)]
pub struct Case {
    name: &'static str,
    put: Put,
    expected: Expected,
    /// Whether it is about memory: then the program itself reads it, and what it takes is measured.
    is_large: bool,
}

impl Case {
    fn archive(name: &'static str, bytes: Vec<u8>, expected: Expected) -> Self {
        Self::new(name, expected, move |folder| std::fs::write(folder.join("a_1.tar"), &bytes).unwrap())
    }

    fn layout(name: &'static str, store: Store, expected: Expected) -> Self {
        Self::new(name, expected, move |folder| store.write(folder))
    }

    fn new(name: &'static str, expected: Expected, put: impl Fn(&Path) + 'static) -> Self {
        Self { name, put: Arc::new(put), expected, is_large: false }
    }

    fn large(self) -> Self {
        Self { is_large: true, ..self }
    }

    /// With something done to the folder afterwards.
    fn then(self, change: impl Fn(&Path) + 'static) -> Self {
        let put = self.put.clone();
        Self {
            put: Arc::new(move |folder| {
                put(folder);
                change(folder);
            }),
            ..self
        }
    }
}

const MANIFEST: &str = r#"{"project": "hostile", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;
/// Whatever it is given to read.
// The program's promise is 64 MiB; without optimisation it has 16 MiB more of its own file in memory than the release.
const PEAK_LIMIT_KIB: u64 = 80 << 10;
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A place with a secret beside the folder of images, and an engine that takes everything and has nothing.
struct Place {
    site: Site,
    engine: FakeEngine,
}

impl Place {
    fn new() -> Self {
        Self::with_rules(Vec::new())
    }

    fn with_rules(rules: Vec<Rule>) -> Self {
        let mut site = Site::in_memory(MANIFEST);
        let rules = [
            rules,
            vec![
                ("GET", "/images/json", Answer::Json(200, "[]")),
                ("POST", "/images/load", Answer::Json(200, r#"{"stream":"Loaded image: a:1\n"}"#)),
            ],
        ]
        .concat();
        let engine = FakeEngine::start(&site.file("docker.sock"), rules);
        site.set("DOCKER_HOST", &engine.address);
        site.write("secret", "the secret words");
        Self { site, engine }
    }

    fn store(&self) -> PathBuf {
        self.site.file("store")
    }

    /// With an image on the engine that can be saved.
    fn with_image(image: &Image) -> Self {
        Self::with_rules(image_rules(image))
    }

    /// Puts a case's files before an engine that has heard nothing of other cases.
    fn put(&mut self, case: &Case) {
        self.engine.renew();
        let _ = std::fs::remove_dir_all(self.store());
        std::fs::create_dir(self.store()).unwrap();
        (case.put)(&self.store());
    }

    /// Judges how a load ended: what it said, what the engine got, and what lies where.
    #[track_caller]
    fn judge(&self, case: &Case, said: &str, before: &BTreeMap<PathBuf, Digest>, took: Duration) {
        let name = case.name;
        let bodies = self.engine.take_bodies();
        match case.expected {
            Expected::Refused(words) => {
                for word in words {
                    assert!(said.contains(word), "{name}: no {word:?} in: {said}");
                }
                assert!(!bodies.iter().any(Body::makes_an_image), "{name}: the engine got an image: {said}");
            }
            Expected::Loads => {
                // The engine has nothing afterwards, as this one never has.
                assert!(said.contains("was not loaded correctly"), "{name}: {said}");
                assert!(!bodies.is_empty() && bodies.iter().all(is_one_image), "{name}: {said}");
            }
        }
        assert!(!said.contains("secret words") && !said.contains('\u{1b}'), "{name}: {said}");
        assert!(!self.engine.requests().iter().any(|request| request.contains("/tag")), "{name}: a name was moved");
        assert_eq!(self.outside(), *before, "{name}: something was written outside");
        assert!(took < TIME_LIMIT, "{name} took {took:?}");
    }

    /// All files but those of the images, of an import, of the run itself and of the program's memory.
    fn outside(&self) -> BTreeMap<PathBuf, Digest> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.site.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if ["store", "into", ".dpl", "stdout", "stderr"].contains(&name.as_str()) {
                    continue;
                } else if kind.is_dir() {
                    folders.push(path);
                } else {
                    let content = if kind.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
                    files.insert(path, Digest::of(&content));
                }
            }
        }
        files
    }
}

/// The files of a tar archive.
fn files_of(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        files.insert(path, content);
    }
    files
}

/// Whether it is one image whose configuration and layers are what they are called.
fn is_one_image(body: &Body) -> bool {
    let files = files_of(&body.bytes);
    let items: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let [item] = items.as_array().unwrap().as_slice() else { return false };
    let config_path = item["Config"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&files[config_path]).unwrap();
    let diff_ids: Vec<&str> =
        config["rootfs"]["diff_ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let layers = item["Layers"].as_array().unwrap().iter().filter_map(Value::as_str);
    let layers: Vec<String> = layers.map(|path| Digest::of(&files[path]).to_string()).collect();
    body.is_whole
        && item["RepoTags"].is_null()
        && layers == diff_ids
        && config_path == format!("{}.json", Digest::of(&files[config_path]).hex())
        && files.len() == diff_ids.len() + 2
}

/// All cases, some of which have to know a place outside of their folder.
fn cases(outside: &str) -> Vec<Case> {
    [archives::all(outside), archives::documents(), layouts::all(outside)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_and_layouts_are_refused_or_load_as_what_they_are() {
    let mut place = Place::new();
    let cases = cases(place.site.path().to_str().unwrap());
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let (options, reporter) = (LoadOptions::default(), Reporter::default());
    let reference = ["a:1".parse().unwrap()];
    let before = place.outside();
    let mut tally = Tally::of("hostile");
    for case in cases.iter().filter(|case| !case.is_large) {
        tally.case();
        println!("{}", case.name);
        place.put(case);
        let engine = Engine::connect(Address::resolve(Some(&place.engine.address)).unwrap()).await.unwrap();
        let begun = Instant::now();
        let ended = load(&engine, &place.store(), &reference, &options, &reporter).await;
        let said = error_text(&ended.expect_err(case.name));
        place.judge(case, &said, &before, begun.elapsed());
        // What the first look wrote down leads to the same end.
        let said_again = error_text(&load(&engine, &place.store(), &reference, &options, &reporter).await.unwrap_err());
        assert_eq!(said_again, said, "{}", case.name);
    }
}

/// The program itself, for what is to fill its memory; for all cases with `DPL_FAULTS_ALL`.
#[test]
fn hostile_archives_and_layouts_fill_no_memory() {
    let mut place = Place::new();
    let before = place.outside();
    let cases = cases(place.site.path().to_str().unwrap());
    let mut tally = Tally::of("hostile");
    for case in cases.iter().filter(|case| case.is_large || takes_all()) {
        tally.case();
        place.put(case);
        let ended = run(&place.site, &["load"]);
        println!("{}: {:?}, {} KiB", case.name, ended.took, ended.peak_kib);
        assert_eq!(ended.status.code(), Some(1), "{}: {}", case.name, ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}: {}", case.name, ended.stderr);
        assert!(ended.peak_kib < PEAK_LIMIT_KIB, "{}: {} KiB", case.name, ended.peak_kib);
        // The page breaks its lines.
        let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        place.judge(case, &said, &before, ended.took);
    }
}
