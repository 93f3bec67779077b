//! What the forms of a manifest come to (`dpl config`): Compose's meaning of each.

use serde_json::{Value, json};

use crate::support::Site;

/// The one service of a manifest with these fields beside its image, as dpl understands it.
fn service(fields: &Value) -> Value {
    let mut stack = json!({ "project": "p", "services": { "db": { "image": "db:1" }, "web": { "image": "web:1" } } });
    for (key, value) in fields.as_object().unwrap() {
        match key.as_str() {
            "secrets-declared" => stack["secrets"] = value.clone(),
            "configs-declared" => stack["configs"] = value.clone(),
            _ => stack["services"]["web"][key] = value.clone(),
        }
    }
    let site = Site::with_manifest(&stack.to_string());
    let run = site.run(&["config", "--show-values", "stack.json"]).success();
    let text = run.stdout.replace(&*site.path().to_string_lossy(), "SITE");
    serde_json::from_str::<Value>(&text).unwrap()["services"]["web"].take()
}

/// What `check` says of the same.
fn errors(fields: &Value) -> String {
    let mut stack = json!({ "project": "p", "services": { "db": { "image": "db:1" }, "web": { "image": "web:1" } } });
    for (key, value) in fields.as_object().unwrap() {
        stack["services"]["web"][key] = value.clone();
    }
    Site::with_manifest(&stack.to_string()).run(&["check", "stack.json"]).failure(3).stderr
}

#[test]
fn ports_in_every_form_of_compose() {
    let ports = |list: Value| service(&json!({ "ports": list }))["ports"].take();
    let port = |target: u16, published: Value| json!({ "target": target, "published": published, "protocol": "tcp" });
    assert_eq!(ports(json!([":443:443"])), json!([port(443, json!(443))]), "an address that is empty");
    assert_eq!(ports(json!(["${NONE:-}:443:443"])), json!([port(443, json!(443))]));
    assert_eq!(ports(json!(["8000-8010:80"])), json!([port(80, json!("8000-8010"))]));
    assert_eq!(ports(json!([{ "target": 80, "published": "8000-8010" }])), json!([port(80, json!("8000-8010"))]));
    assert_eq!(ports(json!([{ "target": 80, "published": "80", "mode": "host" }])), json!([port(80, json!(80))]));
    assert_eq!(ports(json!(["53:53/UDP"]))[0]["protocol"], "udp");
    let both = ports(json!(["0.0.0.0:80:80", "[::]:80:80", "127.0.0.1:81:80", "[::]:81:80"]));
    assert_eq!(both.as_array().unwrap().len(), 4, "the families are apart");
    for clash in [["0.0.0.0:80:80", "127.0.0.1:80:80"], ["80:80", "[::]:80:80"], ["[::1]:80:80", "[::1]:80:81"]] {
        assert!(errors(&json!({ "ports": clash })).contains("published twice"), "{clash:?}");
    }
    for wrong in ["8010-8000:80", "0:80", "80:80/TCPX", "8000-8001:80-82", "+80:80"] {
        assert!(errors(&json!({ "ports": [wrong] })).starts_with("error: "), "{wrong}");
    }
    assert!(errors(&json!({ "ports": [{ "target": "0" }] })).contains("expected a whole number"));
    assert!(errors(&json!({ "ready": { "http": { "port": 0 } } })).contains("a port is a whole number from 1"));
}

#[test]
fn list_forms_can_be_overridden_though_a_variable_in_them_is_not_set() {
    let site = Site::with_manifest(
        r#"{ "extends": "base.json", "services": { "web": {
            "environment": { "TOKEN": { "file": "token" } }, "extra_hosts": { "db": "10.0.0.9" }, "labels": { "owner": "us" } } } }"#,
    );
    site.write(
        "base.json",
        r#"{ "project": "p", "services": { "web": { "image": "web:1", "environment": ["TOKEN=${TOKEN}", "A=${A:-x=y}", "B=$$b"],
            "extra_hosts": ["db=${IP}", "v6:[::1]"], "labels": ["owner=${OWNER}", "traefik.enable"] } } }"#,
    );
    site.write("token", "s3cret");
    let config = site.run(&["config", "--show-values", "stack.json"]).success().json();
    let web = &config["services"]["web"];
    assert_eq!(web["environment"]["A"], "x=y");
    assert_eq!(web["environment"]["B"], "$$b");
    assert!(web["environment"]["TOKEN"]["file"].as_str().unwrap().ends_with("/token"));
    assert_eq!(web["extra_hosts"], json!({ "db": ["10.0.0.9"], "v6": ["::1"] }));
    assert_eq!(web["labels"], json!({ "owner": "us", "traefik.enable": "" }), "a label alone has an empty value");
    // What nothing overrides says what is missing, and not something else.
    for (fields, said) in [
        (json!({ "environment": ["TOKEN=${TOKEN}"] }), "the variable TOKEN has no value"),
        (json!({ "extra_hosts": ["db=${IP}"] }), "the variable IP has no value"),
        (json!({ "depends_on": ["${OTHER}"] }), "the variable OTHER has no value"),
        (json!({ "networks": ["${NET}"] }), "the variable NET has no value"),
        (json!({ "environment": ["${NAME}=1"] }), "the variable NAME has no value"),
        (json!({ "depends_on": [5] }), "expected a name, found a number"),
    ] {
        let said_of_it = errors(&fields);
        assert!(said_of_it.contains(said) && said_of_it.matches("error: ").count() == 1, "{fields}: {said_of_it}");
    }
}

#[test]
fn an_env_file_of_the_manifest_is_replaced_or_removed_by_what_extends_it() {
    let site = Site::with_manifest(r#"{ "extends": "base.json", "env_file": null, "services": {} }"#);
    let base = r#"{ "project": "p", "env_file": "nowhere.env", "services": { "web": { "image": "web:${TAG:-1}" } } }"#;
    site.write("base.json", base);
    site.run(&["check", "stack.json"]).success();
    site.write("stack.json", r#"{ "extends": "base.json", "env_file": "~/mine.env", "services": {} }"#);
    site.write("mine.env", "MAJOR=2\nTAG=${MAJOR}.1\n");
    let config = site.run(&["config", "stack.json"]).success().json();
    assert_eq!(config["services"]["web"]["image"], "web:2.1", "and `~/` is the home folder there too");
    site.write("mine.env", "MAJOR=2\nTAG=${MINOR}\n");
    let said = site.run(&["check", "stack.json"]).failure(3).stderr;
    assert!(said.contains("mine.env:2: the variable MINOR has no value"), "{said}");
}

#[test]
fn deploy_is_other_names_for_what_it_has_without_swarm() {
    let web = service(&json!({ "deploy": {
        "replicas": 2,
        "resources": {
            "limits": { "cpus": "0.50", "memory": "256M", "pids": 200 },
            "reservations": { "memory": "64M", "devices": [{ "driver": "nvidia", "capabilities": ["gpu"] }] }
        }
    } }));
    assert_eq!((&web["scale"], &web["cpus"]), (&json!(2), &json!("0.5")));
    assert_eq!((&web["mem_limit"], &web["mem_reservation"]), (&json!("256m"), &json!("64m")));
    assert_eq!(web["pids_limit"], 200);
    assert_eq!((&web["gpus"][0]["driver"], &web["gpus"][0]["count"]), (&json!("nvidia"), &json!("all")));
    let said = errors(&json!({ "deploy": { "update_config": { "parallelism": 2 }, "placement": {} } }));
    assert!(said.contains("`deploy.update_config` has no effect without Swarm"), "{said}");
    assert!(said.contains("`deploy.placement`"), "{said}");
    let said = errors(&json!({ "mem_limit": "1g", "deploy": { "resources": { "limits": { "memory": "2g" } } } }));
    assert!(said.contains("set here and as `mem_limit`"), "{said}");
}

#[test]
fn secrets_and_configs_are_files_that_are_mounted() {
    let web = service(&json!({
        "secrets-declared": { "pg": { "file": "./pg.txt" } },
        "configs-declared": { "site": { "file": "./site.conf" } },
        "secrets": ["pg", { "source": "pg", "target": "again" }],
        "configs": [{ "source": "site", "target": "/etc/site.conf" }, "site"],
        "volumes": ["./data:/data"]
    }));
    let mounts: Vec<(&str, &str, bool)> = web["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap();
            (text("source"), text("target"), mount["read_only"].as_bool().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        mounts,
        [
            ("SITE/data", "/data", false),
            ("SITE/pg.txt", "/run/secrets/pg", true),
            ("SITE/pg.txt", "/run/secrets/again", true),
            ("SITE/site.conf", "/etc/site.conf", true),
            ("SITE/site.conf", "/site", true),
        ]
    );
    assert!(errors(&json!({ "secrets": ["nobody"] })).contains("secret `nobody` is not defined"));
    let said = errors(&json!({ "secrets": [{ "source": "nobody", "mode": 256 }] }));
    assert!(said.contains("`mode` has no effect on a file"), "{said}");
    let site = Site::with_manifest(
        r#"{ "project": "p", "secrets": { "a": { "environment": "A" } }, "services": { "web": { "image": "web:1" } } }"#,
    );
    let said = site.run(&["check", "stack.json"]).failure(3).stderr;
    assert!(said.contains("`environment` of a secret is not supported"), "{said}");
}

#[test]
fn keys_of_compose_are_taken_and_their_values_checked() {
    let fields = json!({
        "dns_search": "lan", "dns_opt": ["ndots:2"], "mem_limit": "1g", "memswap_limit": -1, "oom_score_adj": -500,
        "cpu_shares": 512, "userns_mode": "host", "uts": "host", "cgroup_parent": "app.slice",
        "device_cgroup_rules": ["c 42:* rmw"], "mac_address": "02:42:ac:11:00:02", "annotations": ["a=b"],
        "links": ["db:database", "db"], "devices": ["nvidia.com/gpu=all", "/dev/null"],
        "volumes": ["./a:/a:ro,z", "/b:/b:Z"]
    });
    let web = service(&fields);
    assert_eq!((&web["dns_search"], &web["dns_opt"]), (&json!(["lan"]), &json!(["ndots:2"])));
    assert_eq!((&web["memswap_limit"], &web["oom_score_adj"]), (&json!("-1"), &json!(-500)));
    assert_eq!((&web["userns_mode"], &web["uts"]), (&json!("host"), &json!("host")));
    assert_eq!(web["links"], json!(["db:database", "db:db"]));
    assert_eq!(web["annotations"], json!({ "a": "b" }));
    assert_eq!(web["devices"][0]["source"], "nvidia.com/gpu=all");
    assert_eq!(web["volumes"][0]["bind"]["selinux"], "z");
    assert_eq!(web["volumes"][1]["bind"]["selinux"], "Z");
    for (fields, said) in [
        (json!({ "oom_score_adj": 1001 }), "must be from -1000 to 1000"),
        (json!({ "userns_mode": "private" }), "`userns_mode` can't be `private`"),
        (json!({ "device_cgroup_rules": ["x 1:1 r"] }), "not a valid rule of the device cgroup"),
        (json!({ "mac_address": "02:42" }), "not a valid MAC address"),
        (json!({ "links": ["nobody"] }), "service `nobody` is not defined"),
        (json!({ "links": ["a:b:c"] }), "not a valid link"),
        (json!({ "memswap_limit": "-2" }), "not a valid size"),
        (json!({ "command": [] }), "an empty `command` has no effect"),
        (json!({ "image": format!("team/app:1@sha256:{}", "ab".repeat(32)) }), "names an image by a registry's digest"),
        (json!({ "image": format!("team/app@sha256:{}", "ab".repeat(32)) }), "names an image by a registry's digest"),
        (json!({ "image": format!("sha256:{}", "ab".repeat(32)) }), "sha256:"),
        (json!({ "ulimits": { "nofile": { "soft": 1 } } }), "`hard` is missing"),
        (json!({ "ports": [{ "target": "${NOT_SET:-0}" }] }), "a port is a whole number from 1 to 65535"),
        (json!({ "ready": { "http": { "port": "${NOT_SET:-0}" } } }), "a port is a whole number from 1 to 65535"),
    ] {
        assert!(errors(&fields).contains(said), "{fields}: {}", errors(&fields));
    }
    let half = errors(&json!({ "ulimits": { "nofile": { "soft": 1 } } }));
    assert!(!half.contains("above the hard one"), "of a limit that is not there nothing else is said: {half}");
    assert_eq!(service(&json!({ "command": [], "entrypoint": ["/bin/x"] }))["command"], json!([]));
    assert_eq!(service(&json!({ "restart": "on-failure:0" }))["restart"], "on-failure");
    assert_eq!(service(&json!({ "stop_grace_period": 0 }))["stop_grace_period"], "0s");
}

#[test]
fn addresses_of_networks_are_checked() {
    for (pool, said) in [
        (r#"{ "subnet": "10.1.0.0/33" }"#, "`10.1.0.0/33` is not a valid `subnet`"),
        (
            r#"{ "subnet": "10.1.0.0/16", "ip_range": "10.2.0.0/24" }"#,
            "`ip_range` 10.2.0.0/24 is outside of 10.1.0.0/16",
        ),
        (r#"{ "subnet": "10.1.0.0/16", "gateway": "10.2.0.1" }"#, "`gateway` 10.2.0.1 is outside of 10.1.0.0/16"),
        (r#"{ "gateway": "10.2.0" }"#, "`10.2.0` is not an IP address"),
    ] {
        let text = format!(
            r#"{{ "project": "p", "networks": {{ "n": {{ "ipam": {{ "config": [{pool}] }} }} }}, "services": {{}} }}"#
        );
        let said_of_it = Site::with_manifest(&text).run(&["check", "stack.json"]).failure(3).stderr;
        assert!(said_of_it.contains(said), "{said_of_it}");
    }
}

#[test]
fn waiting_for_the_health_of_a_service_without_a_check_is_said() {
    let stack = |db: &str| {
        let text = format!(
            r#"{{ "project": "p", "services": {{ "db": {{ "image": "db:1" {db} }},
                "web": {{ "image": "web:1", "depends_on": {{ "db": {{ "condition": "service_healthy" }} }} }} }} }}"#
        );
        Site::with_manifest(&text).run(&["check", "stack.json"])
    };
    assert!(stack("").success().stderr.contains("warning: `db` has no `healthcheck` and no `ready` here"));
    for check in [r#", "ready": { "tcp": 5432 }"#, r#", "healthcheck": { "test": "true" }"#] {
        assert!(stack(check).success().stderr.contains("0 warnings"), "{check}");
    }
    let said = stack(r#", "healthcheck": { "disable": true }"#).failure(3).stderr;
    assert!(said.contains("`db` can't be healthy: its check is switched off"), "{said}");
}

#[test]
fn one_wrong_service_is_one_error_and_not_one_of_each_that_names_it() {
    let site = Site::with_manifest(
        r#"{ "project": "p", "services": { "a": 5, "b": { "image": "b:1", "depends_on": ["a"], "links": ["a"] } } }"#,
    );
    let said = site.run(&["check", "stack.json"]).failure(3).stderr;
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn a_container_of_this_manifest_is_named_as_its_service_for_a_namespace() {
    let site = Site::with_manifest(
        r#"{ "project": "p", "services": { "vpn": { "image": "vpn:1" }, "app": { "image": "app:1",
            "network_mode": "container:p-vpn-1", "pid": "container:named", "ipc": "container:outsider" },
            "other": { "image": "other:1", "container_name": "named" } } }"#,
    );
    let config = site.run(&["config", "stack.json"]).success().json();
    let app = &config["services"]["app"];
    assert_eq!((&app["network_mode"], &app["pid"]), (&json!("service:vpn"), &json!("service:other")));
    assert_eq!(app["ipc"], "container:outsider");
}
