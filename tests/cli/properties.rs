//! Any bytes at all as a manifest: an error or a manifest, never a panic; and what is printed reads back the same.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dpl::manifest::{Loaded, ManifestErrors, Variables, manifest_schema, read_manifest, to_json};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{Site, repository};

fn read(text: &[u8]) -> Result<Loaded, ManifestErrors> {
    let site = Site::new();
    let path = site.file("stack.json");
    std::fs::write(&path, text).unwrap();
    let variables = BTreeMap::from([("HOME".to_owned(), "/root".to_owned()), ("V".to_owned(), "8".to_owned())]);
    read_manifest(&path, Variables::new(variables))
}

fn own_manifest() -> Vec<u8> {
    std::fs::read(repository().join("manifests/local-docker.json")).unwrap()
}

/// One change to the bytes of a manifest.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    Insert(usize, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop::sample::select(vec![
        "null", "[]", "{}", "\"", ",", "${", "${V}", "$$", "-1", "1e99", "\"all\"", "\u{0}", "数", "[[[[", ":", "65536",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        (any::<usize>(), 1..200usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (any::<usize>(), 1..200usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (any::<usize>(), piece).prop_map(|(at, piece)| Mutation::Insert(at, piece.to_owned())),
    ]
}

fn mutate(mut text: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let length = text.len().max(1);
        match mutation {
            Mutation::Flip(at, byte) => {
                if let Some(place) = text.get_mut(at % length) {
                    *place = *byte;
                }
            }
            Mutation::Cut(at, count) => {
                let start = at % length;
                let end = (start + count).min(text.len());
                text.drain(start.min(end)..end);
            }
            Mutation::Repeat(at, count) => {
                let start = (at % length).min(text.len());
                let piece = text[start..(start + count).min(text.len())].to_vec();
                text.splice(start..start, piece);
            }
            Mutation::Insert(at, piece) => {
                let start = (at % length).min(text.len());
                text.splice(start..start, piece.bytes());
            }
        }
    }
    text
}

/// Checks what holds for every text: an error has its place inside the text, a manifest prints and reads back.
fn holds(text: &[u8]) {
    match read(text) {
        Ok(loaded) => {
            let printed = to_json(&loaded.manifest);
            let again = read(printed.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{:?}", errors.problems));
            assert_eq!(again.manifest, loaded.manifest);
        }
        Err(errors) => {
            assert!(errors.count() > 0);
            for span in errors.problems.iter().filter_map(|problem| problem.span) {
                let text = &errors.sources.file(span.file).text;
                assert!(span.start <= span.end && span.end <= text.len());
                assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
            }
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_.-]{0,8}x"
}

/// A service out of fields that mean something, in short forms and long ones.
fn service() -> impl Strategy<Value = Value> {
    let field = |key: &'static str, values: Vec<Value>| {
        prop::option::of(prop::sample::select(values)).prop_map(move |value| (key, value))
    };
    let fields = vec![
        field("command", vec![json!("sh -c 'echo $$HOME'"), json!(["a", "b c", 3])]).boxed(),
        field("environment", vec![json!(["A=1", "B="]), json!({ "A": true, "S": { "env": "X" }, "D": "a$$b" })])
            .boxed(),
        field("env_file", vec![json!("a.env"), json!(["a.env", { "path": "b.env", "required": false }])]).boxed(),
        field(
            "ports",
            vec![
                json!([80, "81", "127.0.0.1::82", "[::1]:83:83/udp", "9000-9002:90-92"]),
                json!([{ "target": 1, "published": "8", "protocol": "UDP" }]),
            ],
        )
        .boxed(),
        field(
            "volumes",
            vec![
                json!(["./a:/a:ro", "/anonymous", "~/x:/x:rslave"]),
                json!([{ "type": "tmpfs", "target": "/t", "tmpfs": { "size": "64m" } }]),
            ],
        )
        .boxed(),
        field("healthcheck", vec![json!({ "test": "true", "interval": "1m30s" }), json!({ "disable": true })]).boxed(),
        field(
            "ready",
            vec![
                json!({ "tcp": 80 }),
                json!({ "http": { "port": 80 }, "timeout": "5s" }),
                json!({ "log": "up$$" }),
                json!({ "running_for": "1.5s" }),
            ],
        )
        .boxed(),
        field("gpus", vec![json!("all"), json!(2), json!({ "device_ids": ["0"], "required": false })]).boxed(),
        field("mem_limit", vec![json!("64m"), json!(67_108_865), json!("1.5g")]).boxed(),
        field("cpus", vec![json!(0.5), json!("1.25"), json!(2)]).boxed(),
        field("ulimits", vec![json!({ "nofile": 1024, "nproc": { "soft": -1, "hard": -1 } })]).boxed(),
        field("extra_hosts", vec![json!(["a=127.0.0.1", "a:127.0.0.2"]), json!({ "b": "host-gateway" })]).boxed(),
        field("restart", vec![json!("always"), json!("on-failure:3")]).boxed(),
        field("labels", vec![json!(["a=b", "c=d=e"]), json!({ "n": 1 })]).boxed(),
        field("stop_grace_period", vec![json!("1m"), json!("0s")]).boxed(),
        field("scale", vec![json!(1)]).boxed(),
        field("expose", vec![json!([80, "81-83/UDP"])]).boxed(),
        field("devices", vec![json!(["/dev/null", "/dev/zero:/dev/z:r"])]).boxed(),
        field("tmpfs", vec![json!("/run:size=1m"), json!(["/b", "/c"])]).boxed(),
    ];
    fields.prop_map(|fields| {
        let mut service = Map::from_iter([("image".to_owned(), json!("web:${V}"))]);
        service.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(service)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_manifest_is_an_error_or_a_manifest(mutations in prop::collection::vec(mutation(), 1..6)) {
        holds(&mutate(own_manifest(), &mutations));
    }

    #[test]
    fn any_bytes_are_an_error_or_a_manifest(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(&bytes);
    }

    #[test]
    fn a_generated_manifest_reads_back_as_the_same(
        services in prop::collection::btree_map(name(), prop::option::weighted(0.9, service()), 1..6),
    ) {
        // Only one of them may publish the ports of the host that the generator knows.
        let mut seen = false;
        let services: Map<String, Value> = services
            .into_iter()
            .map(|(name, service)| {
                let mut service = service.unwrap_or(Value::Null);
                if let Some(fields) = service.as_object_mut()
                    && std::mem::replace(&mut seen, true) {
                        fields.remove("ports");
                    }
                (name, service)
            })
            .collect();
        let text = json!({ "project": "p", "services": services }).to_string();
        let loaded = read(text.as_bytes()).unwrap_or_else(|errors| panic!("{:?}\n{text}", errors.problems));
        // An editor that checks by the schema complains of nothing that is read.
        static SCHEMA: LazyLock<Validator> = LazyLock::new(|| jsonschema::validator_for(&manifest_schema()).unwrap());
        let document = serde_json::from_str(&text).unwrap();
        let refused: Vec<String> = SCHEMA.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        prop_assert!(refused.is_empty(), "{refused:?}\n{text}");
        let mut again = read(to_json(&loaded.manifest).to_string().as_bytes()).unwrap();
        // Each is read from a folder of its own.
        again.manifest.folder.clone_from(&loaded.manifest.folder);
        prop_assert_eq!(again.manifest, loaded.manifest);
    }
}

/// What an editor says by the schema is what `check` says.
#[test]
fn the_schema_and_the_reader_know_the_same_words() {
    let schema = jsonschema::validator_for(&manifest_schema()).unwrap();
    for (key, value, is_known) in [
        ("cap_add", json!(["NET_ADMIN", "cap_sys_ptrace", "all", "${W:-CHOWN}"]), true),
        ("cap_add", json!(["NETADMIN"]), false),
        ("cap_drop", json!(["CAP_ALL"]), false),
        ("ulimits", json!({ "NOFILE": 1024, "nproc": { "soft": 1, "hard": 2 } }), true),
        ("ulimits", json!({ "files": 1024 }), false),
        ("security_opt", json!(["no-new-privileges", "no-new-privileges:true", "label:type:svirt", "disable"]), true),
        ("security_opt", json!(["seccomp=unconfined", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]), true),
        ("security_opt", json!(["no-new-privileges=maybe"]), false),
        ("security_opt", json!(["seccomp=./profile.json"]), false),
        ("security_opt", json!(["label"]), false),
        ("cpuset", json!("0-3,7"), true),
        ("cpuset", json!(2), true),
        ("cpuset", json!("0..3"), false),
        ("network_mode", json!("bridge"), true),
        ("network_mode", json!("shareable"), false),
        ("pid", json!("container:other"), true),
        ("pid", json!("bridge"), false),
        ("ipc", json!("shareable"), true),
        ("ipc", json!("bridge"), false),
        ("uts", json!("host"), true),
        ("uts", json!("private"), false),
        ("userns_mode", json!("host"), true),
        ("userns_mode", json!("auto"), false),
        ("mac_address", json!("02:42:AC-11-00-02"), true),
        ("mac_address", json!("02:42:ac:11:00"), false),
        ("stop_signal", json!("sigterm"), true),
        ("stop_signal", json!("RTMIN+3"), true),
        ("stop_signal", json!("37"), true),
        ("stop_signal", json!("SIGFOO"), false),
        ("stop_signal", json!("0"), false),
        ("restart", json!("on-failure:3"), true),
        ("restart", json!("sometimes"), false),
        ("oom_score_adj", json!(-1000), true),
        ("oom_score_adj", json!(1001), false),
        ("cpu_shares", json!(-1), false),
    ] {
        let document = json!({ "project": "p", "services": { "a": { "image": "a:1", key: value } } });
        assert_eq!(read(document.to_string().as_bytes()).is_ok(), is_known, "the reader: {document}");
        assert_eq!(schema.is_valid(&document), is_known, "the schema: {document}");
    }
    let document = json!({ "project": "${W:-p}", "services": { "a": { "image": "a:1" } } });
    assert!(read(document.to_string().as_bytes()).is_ok() && schema.is_valid(&document), "a project by a variable");
}

/// The same of folders that a delivery brings.
#[test]
fn the_schema_and_the_reader_know_the_same_deliveries() {
    let schema = jsonschema::validator_for(&manifest_schema()).unwrap();
    for (key, value, is_known) in [
        ("mode", json!("mirror"), true),
        ("mode", json!("sync"), false),
        ("owner", json!("1000:33"), true),
        ("owner", json!("root"), false),
        ("owner", json!(1000), false),
        ("permissions", json!({ "files": "0644", "folders": "750" }), true),
        ("permissions", json!({ "files": 644 }), false),
        ("permissions", json!({ "others": "0644" }), false),
        ("exclude", json!(["*.pyc", "!keep.pyc"]), true),
        ("exclude", json!("*.pyc"), false),
        ("restart", json!(["a", "*"]), true),
        ("was", json!(["b-v1"]), true),
        ("was", json!(["../b"]), false),
        ("most_removed", json!(100), true),
        ("most_removed", json!(101), false),
        ("outside", json!(true), true),
        ("outside", json!("true"), false),
        ("keep", json!(1), false),
    ] {
        let folder = json!({ "from": "delivery", "to": "b", key: value });
        let document = json!({ "project": "p", "services": { "a": { "image": "a:1" } }, "files": { "x": folder } });
        assert_eq!(read(document.to_string().as_bytes()).is_ok(), is_known, "the reader: {document}");
        assert_eq!(schema.is_valid(&document), is_known, "the schema: {document}");
    }
}

#[test]
fn hostile_manifests_stay_small_and_quick() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let mut wide =
        format!("{{\"project\":\"p\",\"services\":{{\"a\":{{\"image\":\"i\",\"ports\":[{}", "0,".repeat(200_000));
    wide.push_str("0]}}}");
    let nested = format!("{{\"project\":\"{}{}\"}}", "${A:-".repeat(50_000), "}".repeat(50_000));
    let services: Vec<String> = (0..20_000).map(|number| format!("\"s{number}\":{{}}")).collect();
    let labels: Vec<String> = (0..5_000).map(|number| format!("\"l{number}\":\"\"")).collect();
    let defaults = format!(
        "{{\"project\":\"p\",\"defaults\":{{\"labels\":{{{}}}}},\"services\":{{{}}}}}",
        labels.join(","),
        services.join(",")
    );
    let unknown: Vec<String> = (0..40_000).map(|number| format!("\"k{number}\":0")).collect();
    let unknown = format!("{{{}}}", unknown.join(","));
    for text in [deep, wide, nested, defaults, unknown] {
        let before = worked_nanoseconds();
        assert!(read(text.as_bytes()).is_err());
        assert!(worked_nanoseconds() - before < 20_000_000_000, "{}", &text[..40]);
    }
}

/// How long this thread has worked: on a busy machine a clock on the wall says nothing (proc(5), `schedstat`).
fn worked_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
