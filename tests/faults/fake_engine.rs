//! Engines that answer as none should: each command ends within bounds, with the right exit code and a message that
//! helps, and never says that it did what it did not.

use dpl::engine::{Address, Engine};

use crate::harness::{Ended, error_text, run};
use crate::subjects::images::write_image;
use crate::support::Site;
use crate::support_fake_engine::{Answer, FakeEngine, Rule};
use crate::tally::Tally;

const MANIFEST: &str = r#"{"project": "fake", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

/// A fake engine and a site that uses it, with an archive of its image in the store.
struct Fake {
    site: Site,
    engine: FakeEngine,
    _tally: Tally,
}

impl Fake {
    fn with(rules: Vec<Rule>) -> Self {
        let mut site = Site::with_manifest(MANIFEST);
        let engine = FakeEngine::start(&site.file("docker.sock"), rules);
        site.set("DOCKER_HOST", &engine.address);
        std::fs::create_dir(site.file("store")).unwrap();
        Self { site, engine, _tally: Tally::of_one("fake-engine") }
    }

    /// An archive in the store, whose layer is a tar of nothing; gives the image's ID.
    fn store_image(&self) -> String {
        write_image(&self.site.file("store/a_1.tar"), "a:1", &[vec![0; 1024]])
    }

    /// Runs a command that must end with this code, and name what is wrong in these words.
    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, words: &[&str]) -> Ended {
        let ended = run(&self.site, arguments);
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        for word in words {
            assert!(ended.stderr.contains(word), "no `{word}` in: {said}");
        }
        ended
    }

    fn asked_for(&self, request: &str) -> bool {
        self.engine.requests().iter().any(|heard| heard.contains(request))
    }
}

fn raw(text: &str) -> Answer {
    Answer::Raw(text.as_bytes().to_vec())
}

/// A head that promises more than the body has.
fn half(body: &str) -> Answer {
    let length = body.len() * 2;
    raw(&format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// What is wrong with an answer, as each call may meet it.
fn broken_answers() -> Vec<(&'static str, Answer)> {
    vec![
        ("closed", Answer::Close),
        ("500", Answer::Json(500, r#"{"message":"the disk is on fire"}"#)),
        ("500 without JSON", raw("HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\n<p>")),
        ("half a head", raw("HTTP/1.1 200 OK\r\nContent-Ty")),
        ("half a body", half(r#"{"Version":"20.10.24","#)),
        ("half a JSON", Answer::Json(200, r#"{"Version":"20.10"#)),
        ("no JSON", Answer::Json(200, "<html>a proxy's page</html>")),
        ("another JSON", Answer::Json(200, r#""a word""#)),
        ("nothing", Answer::Json(200, "")),
        ("garbage", raw("\0\u{1}\u{2} SSH-2.0-OpenSSH_9.2\r\n")),
        ("a broken chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")),
    ]
}

#[test]
fn an_engine_that_does_not_introduce_itself_can_not_be_reached() {
    // A status of an engine of this machine does not ask what that is.
    for (call, first) in [("/version", "status"), ("/info", "plan")] {
        for (what, answer) in broken_answers() {
            println!("{call}: {what}");
            // It is asked what it is while it lists.
            let fake = Fake::with(vec![
                ("GET", call, answer),
                ("GET", "/containers/json", Answer::Json(200, "[]")),
                ("GET", "/images/json", Answer::Json(200, "[]")),
                ("GET", "/networks", Answer::Json(200, "[]")),
                ("GET", "/volumes", Answer::Json(200, r#"{"Volumes":[]}"#)),
            ]);
            fake.store_image();
            for command in [&[first][..], &["load"], &["start"]] {
                let ended = fake.ends(command, 4, &["can't reach the Docker engine at", "because:", "hint:"]);
                assert!(what != "500" || ended.stderr.contains("the disk is on fire"), "{}", ended.stderr);
            }
            assert!(!fake.asked_for("POST"), "nothing was changed");
        }
    }
}

#[tokio::test]
async fn a_name_that_an_engine_cannot_have_names_nothing_in_it() {
    const WORDS: &str = r#"{"message":"invalid reference format: repository name must be lowercase"}"#;
    let fake = Fake::with(vec![("GET", "/images/Team", Answer::Json(400, WORDS))]);
    let engine = Engine::connect(Address::resolve(Some(&fake.engine.address)).unwrap()).await.unwrap();
    assert!(engine.inspect_image("Team/Foo:1").await.unwrap().is_none());
    assert!(fake.asked_for("/images/Team"));
}

#[test]
fn a_full_disk_of_the_engine_is_said_with_what_to_do_and_nothing_is_sent_again() {
    const WORDS: &str = r#"{"errorDetail":{"message":"write /layer: no space left on device"},"error":"write /layer: no space left on device"}"#;
    let fake = Fake::with(vec![
        ("GET", "/images/json", Answer::Json(200, "[]")),
        ("POST", "/images/load", Answer::Json(200, WORDS)),
    ]);
    fake.store_image();
    let ended = fake.ends(&["load", "--no-space-check"], 1, &["no space left on device", "docker system df"]);
    // There was no image of that name before.
    assert!(!ended.stderr.contains("still there"), "{}", ended.stderr);
    let sent = fake.engine.requests().iter().filter(|heard| heard.contains("/images/load")).count();
    assert_eq!(sent, 1, "{}", ended.stderr);
}

#[test]
fn a_list_that_does_not_come_ends_the_command_before_it_changes_anything() {
    for (what, answer) in broken_answers() {
        println!("{what}");
        let fake = Fake::with(vec![
            ("GET", "/containers/json", answer),
            ("GET", "/images/json", Answer::Json(200, "[]")),
            ("GET", "/networks", Answer::Json(200, "[]")),
            ("GET", "/volumes", Answer::Json(200, r#"{"Volumes":[]}"#)),
        ]);
        let is_connection = ["closed", "half a head", "half a body", "garbage", "a broken chunk"].contains(&what);
        for command in [&["status"][..], &["start"], &["stop", "all"], &["remove", "all"]] {
            let ended = run(&fake.site, command);
            let code = ended.status.code().unwrap();
            assert!(code == 1 || code == 4 && is_connection, "{what}, {command:?}: {code}: {}", ended.stderr);
            let says = ended.stderr.contains("can't list containers") && ended.stderr.contains("because:");
            assert!(says && !ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
            assert!(code != 4 || ended.stderr.contains("hint:"), "{what}: {}", ended.stderr);
        }
        assert!(!fake.asked_for("POST") && !fake.asked_for("DELETE"), "nothing was changed");
    }
}

#[test]
fn an_image_that_the_engine_does_not_know_is_named() {
    let fake = Fake::with(vec![]);
    fake.ends(&["save"], 1, &["error:", "a:1"]);
    fake.ends(&["load"], 1, &["error:", "a:1"]);
    assert!(!fake.asked_for("POST"));
}

#[test]
fn a_load_counts_only_when_the_engine_has_the_image_afterwards() {
    let progress = r#"{"stream":"Loaded image: a:1\n"}"#;
    let full = r#"{"errorDetail":{"message":"no space left on device"},"error":"no space left on device"}"#;
    let cases: Vec<(&str, Answer, i32, &[&str])> = vec![
        ("success is claimed", Answer::Json(200, progress), 1, &["a:1"]),
        ("an error inside a 200", Answer::Json(200, full), 1, &["a:1", "no space left on device"]),
        ("500", Answer::Json(500, r#"{"message":"the disk is on fire"}"#), 1, &["a:1", "the disk is on fire"]),
        ("404", Answer::Json(404, r#"{"message":"page not found"}"#), 1, &["a:1", "page not found"]),
        ("nothing", Answer::Json(200, ""), 1, &["a:1"]),
        ("half a line", Answer::Json(200, r#"{"stream":"Loa"#), 1, &["a:1", "broke off"]),
    ];
    for (what, answer, code, words) in cases {
        println!("{what}");
        let fake = Fake::with(vec![("GET", "/images/json", Answer::Json(200, "[]")), ("POST", "/images/load", answer)]);
        fake.store_image();
        fake.ends(&["load"], code, &[words, &["error:"]].concat());
        assert!(!fake.asked_for("/tag"), "no name was moved");
    }
    let broken = [("closed", Answer::Close), ("half a body", half(progress)), ("garbage", raw("\0\0\r\n"))];
    for (what, answer) in broken {
        println!("{what}");
        let fake = Fake::with(vec![("GET", "/images/json", Answer::Json(200, "[]")), ("POST", "/images/load", answer)]);
        fake.store_image();
        let ended = run(&fake.site, &["load"]);
        assert!([Some(1), Some(4)].contains(&ended.status.code()), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains("error:") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert!(!fake.asked_for("/tag"), "no name was moved");
    }
}

#[test]
fn an_export_that_breaks_off_never_becomes_an_image_of_the_store() {
    const ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let view: &'static str = Box::leak(
        format!(
            r#"{{"Id":"{ID}","RepoTags":["a:1"],"Size":1024,"RootFS":{{"Type":"layers","Layers":["{ID}"]}},"Config":{{}}}}"#
        )
        .into_boxed_str(),
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("closed", Answer::Close),
        ("500", Answer::Json(500, r#"{"message":"the disk is on fire"}"#)),
        ("nothing", Answer::Json(200, "")),
        ("no archive", Answer::Json(200, "this is no archive, however long it may be")),
        ("breaks off", raw(&format!("{head}5\r\nhello\r\n"))),
        ("an empty archive", raw(&format!("{head}400\r\n{}\r\n0\r\n\r\n", "\0".repeat(1024)))),
    ];
    for (what, answer) in cases {
        println!("{what}");
        for format in ["layout", "docker-archive"] {
            let rules = vec![("GET", "/images/a:1/json", Answer::Json(200, view)), ("GET", "/images/", answer.clone())];
            let fake = Fake::with(rules);
            let ended = run(&fake.site, &["save", "--format", format]);
            assert!([Some(1), Some(4)].contains(&ended.status.code()), "{what}: {}", ended.stderr);
            assert!(ended.stderr.contains("error:") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
            assert!(fake.asked_for("/get"), "{what}: {:?}", fake.engine.requests());
            let index = std::fs::read_to_string(fake.site.file("store/index.json")).unwrap_or_default();
            assert!(!index.contains("a:1"), "{what}: {index}");
            let names = std::fs::read_dir(fake.site.file("store")).unwrap();
            let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            assert!(!names.iter().any(|name| name.to_string_lossy().contains(".tar")), "{what}: {names:?}");
        }
    }
}

#[test]
fn a_container_that_can_not_be_made_or_started_is_no_success() {
    const VIEW: &str = r#"{"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","RepoTags":["a:1"],"Config":{}}"#;
    const IMAGES: &str = r#"[{"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","ParentId":"","RepoTags":["a:1"],
        "RepoDigests":[],"Created":1,"Size":1,"SharedSize":-1,"Labels":{},"Containers":-1}]"#;
    let made = || ("POST", "/containers/create", Answer::Json(201, r#"{"Id":"c1","Warnings":[]}"#));
    let cases: Vec<(&str, Vec<Rule>)> = vec![
        ("not made", vec![("POST", "/containers/create", Answer::Json(500, r#"{"message":"the disk is on fire"}"#))]),
        ("made by half", vec![("POST", "/containers/create", half(r#"{"Id":"c1","#))]),
        ("another answer", vec![("POST", "/containers/create", Answer::Json(201, "[]"))]),
        ("not started", vec![made(), ("POST", "/containers/c1/start", Answer::Json(500, r#"{"message":"no"}"#))]),
        ("closed at the start", vec![made(), ("POST", "/containers/c1/start", Answer::Close)]),
        ("gone after the start", vec![made(), ("POST", "/containers/c1/start", raw("HTTP/1.1 204 X\r\n\r\n"))]),
    ];
    for (what, rules) in cases {
        println!("{what}");
        let network = r#"{"Id":"n1","Warning":""}"#;
        let mut all: Vec<Rule> = vec![
            ("GET", "/containers/json", Answer::Json(200, "[]")),
            ("GET", "/images/json", Answer::Json(200, IMAGES)),
            ("GET", "/images/", Answer::Json(200, VIEW)),
            ("GET", "/networks", Answer::Json(200, "[]")),
            ("GET", "/volumes", Answer::Json(200, r#"{"Volumes":[]}"#)),
            ("POST", "/networks/create", Answer::Json(201, network)),
            // The lock is made as containers are.
            ("POST", "/containers/create?name=fake-dpl-lock", Answer::Json(201, r#"{"Id":"the-lock","Warnings":[]}"#)),
        ];
        all.extend(rules);
        let fake = Fake::with(all);
        let ended = run(&fake.site, &["start"]);
        assert!([Some(1), Some(4)].contains(&ended.status.code()), "{what}: {}", ended.stderr);
        assert!(fake.asked_for("/containers/create?name=fake-a-1"), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains("error:") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn an_engine_that_is_slow_but_alive_is_waited_for() {
    let version = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;
    let info = r#"{"ID":"fake","Driver":"overlay2","DriverStatus":[],"DockerRootDir":"/nonexistent"}"#;
    let slowly = |body: &str| Answer::Slowly(whole(body));
    let fake = Fake::with(vec![
        ("GET", "/version", slowly(version)),
        ("GET", "/info", slowly(info)),
        ("GET", "/containers/json", slowly("[]")),
        ("GET", "/images/json", slowly("[]")),
        ("GET", "/networks", slowly("[]")),
        ("GET", "/volumes", slowly(r#"{"Volumes":[],"Warnings":null}"#)),
    ]);
    let ended = fake.ends(&["status"], 0, &[]);
    assert!(ended.stdout.contains('a'), "{}", ended.stdout);
}

/// Engines that were killed are known to keep endpoints of containers that they have no more, for ever; a real one can't be
/// brought to that at will.
#[tokio::test]
async fn a_network_is_taken_from_containers_that_are_gone_and_from_no_others() {
    const HELD: &str = r#"{"message":"error while removing network: network n has active endpoints"}"#;
    const HERE: &str = r#"{"Id":"c2","Name":"/is-c2","State":{"Running":true}}"#;
    const ENDPOINTS: [(&str, &str, bool); 4] = [
        ("gone", r#"{"Id":"n","Name":"n","Containers":{"c1":{"Name":"was-c1"}}}"#, true),
        ("without a container", r#"{"Id":"n","Name":"n","Containers":{"ep-1":{"Name":"was-c1"}}}"#, true),
        ("here", r#"{"Id":"n","Name":"n","Containers":{"c2":{"Name":"is-c2"}}}"#, false),
        ("just joining", r#"{"Id":"n","Name":"n","Containers":{"ep-2":{"Name":"is-c2"}}}"#, false),
    ];
    // Each waits for some seconds, whether the engine lets go after all.
    let checks = ENDPOINTS.map(|(what, network, lets_go)| async move {
        let fake = Fake::with(vec![
            ("DELETE", "/networks/n", Answer::Json(403, HELD)),
            ("GET", "/networks/n", Answer::Json(200, network)),
            ("POST", "/networks/n/disconnect", Answer::Json(200, "")),
            ("GET", "/containers/c1/json", Answer::Json(404, r#"{"message":"No such container: c1"}"#)),
            ("GET", "/containers/was-c1/json", Answer::Json(404, r#"{"message":"No such container: was-c1"}"#)),
            ("GET", "/containers/c2/json", Answer::Json(200, HERE)),
            ("GET", "/containers/is-c2/json", Answer::Json(200, HERE)),
        ]);
        let address = Address::resolve(Some(&fake.engine.address)).unwrap();
        let error = Engine::connect(address).await.unwrap().remove_network("n").await.unwrap_err();
        assert!(error_text(&error).contains("active endpoints"), "{what}: {error}");
        assert_eq!(fake.asked_for("/networks/n/disconnect"), lets_go, "{what}");
        let requests = fake.engine.requests();
        let mut asked = requests.iter().filter(|request| request.contains("/disconnect"));
        assert!(asked.all(|request| request.contains(r#""was-c1""#)), "{what}: {requests:?}");
    });
    futures::future::join_all(checks).await;
}
