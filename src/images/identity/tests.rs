use super::*;

fn config(text: &str) -> ImageConfig {
    ImageConfig::parse(text.as_bytes()).unwrap()
}

const LAYER: &str = "sha256:79645d952545840981a1d0dab267dbcd1a5e3c6138320726450b8d9cd5f18e19";

fn identity() -> Identity {
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2026-11-22T18:52:56.79943Z",
        "config":{{"Cmd":["/x"],"Env":["A=b"],"Hostname":"","Volumes":null}},"rootfs":{{"diff_ids":["{LAYER}"]}}}}"#
    );
    Identity {
        config_digest: Digest::of(text.as_bytes()),
        config: config(&text),
        engine_ids: vec![Digest::of(b"manifest").to_string()],
    }
}

fn view(id: &str) -> ImageView {
    ImageView {
        id: id.to_owned(),
        tags: Vec::new(),
        diff_ids: vec![LAYER.to_owned()],
        size_bytes: 1,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        created: "2026-11-22T18:52:56.799430Z".to_owned(),
        config: serde_json::json!({"Cmd": ["/x"], "Env": ["A=b"]}),
        volumes: Vec::new(),
        healthcheck: None,
    }
}

#[test]
fn on_the_classic_store_the_configs_digest_decides() {
    let identity = identity();
    assert!(identity.is(ImageStore::Classic, &view(&identity.config_digest.to_string())));
    assert!(!identity.is(ImageStore::Classic, &view(LAYER)));
}

#[test]
fn on_the_containerd_store_a_known_manifest_or_equal_content_decides() {
    let identity = identity();
    let mut known = view(&identity.engine_ids[0]);
    known.config = serde_json::Value::Null;
    assert!(identity.is(ImageStore::Containerd, &known));
    assert!(identity.is(ImageStore::Containerd, &view("sha256:other")));
}

#[test]
fn one_difference_makes_it_another_image() {
    let differences: [fn(&mut ImageView); 5] = [
        |view| view.diff_ids.clear(),
        |view| view.config["Cmd"] = serde_json::json!(["/y"]),
        |view| view.created = "2026-11-22T18:52:57Z".to_owned(),
        |view| view.architecture = "arm64".to_owned(),
        |view| view.diff_ids.push(LAYER.to_owned()),
    ];
    for change in differences {
        let mut other = view("sha256:other");
        change(&mut other);
        assert!(!identity().is(ImageStore::Containerd, &other), "{other:?}");
    }
    // A known ID whose layers the engine does not show is an image that it has not in full.
    let mut hollow = view(&identity().engine_ids[0]);
    hollow.diff_ids.clear();
    assert!(!identity().is(ImageStore::Containerd, &hollow));
}
