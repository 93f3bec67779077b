//! Compose's keys on a real engine: what the manifest says is what the container has, and is no drift afterwards. And two
//! projects whose manifests lie in one folder.

use serde_json::{Value, json};

use crate::support_engine::{Stack, unique};

/// The container of a service, as the engine shows it.
fn inspect(stack: &Stack, service: &str) -> Value {
    serde_json::from_str(&stack.inspect(service, "{{json .}}")).unwrap()
}

#[test]
fn every_key_that_is_taken_reaches_the_engine_and_is_no_drift() {
    let stack = Stack::new(
        r#"{ "project": "PROJECT",
          "defaults": { "stop_grace_period": "1s" },
          "secrets": { "pg": { "file": "pg.txt" } }, "configs": { "site": { "file": "site.conf" } },
          "volumes": { "data": {} },
          "services": {
            "db": { "image": "redis:7.0" },
            "web": { "image": "redis:7.0", "links": ["db:database"], "env_file": "web.env",
              "dns_search": "lan", "dns_opt": ["ndots:2"], "memswap_limit": "256m", "oom_score_adj": 200, "cpu_shares": 512,
              "userns_mode": "host", "uts": "host", "device_cgroup_rules": ["c 42:* rwm"],
              "deploy": { "resources": { "limits": { "memory": "128M", "cpus": "0.5", "pids": 90 }, "reservations": { "memory": "32M" } } },
              "secrets": ["pg"], "configs": [{ "source": "site", "target": "/etc/site.conf" }],
              "volumes": ["./bound:/bound:ro,z", "data:/kept:Z"],
              "ports": ["0.0.0.0:30100-30119:6379"] } } }"#,
    );
    stack.site.write("pg.txt", "s3cret\n");
    stack.site.write("site.conf", "listen 80;\n");
    stack.site.write("web.env", "HOST=db\nURL=redis://${HOST}:6379\nPASSWORD='it\\'s'\nKEY=\"a\nb\"\nCOST=5$$\n");
    let run = stack.run(&["start"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let web = inspect(&stack, "web");
    let host = &web["HostConfig"];
    assert_eq!((&host["DnsSearch"], &host["DnsOptions"]), (&json!(["lan"]), &json!(["ndots:2"])));
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(128 << 20), &json!(256 << 20)));
    assert_eq!((&host["MemoryReservation"], &host["PidsLimit"]), (&json!(32 << 20), &json!(90)));
    assert_eq!((&host["NanoCpus"], &host["CpuShares"]), (&json!(500_000_000), &json!(512)));
    assert_eq!((&host["OomScoreAdj"], &host["UTSMode"]), (&json!(200), &json!("host")));
    assert_eq!((&host["UsernsMode"], &host["DeviceCgroupRules"]), (&json!("host"), &json!(["c 42:* rwm"])));
    let environment: Vec<&str> = web["Config"]["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for pair in ["URL=redis://db:6379", "PASSWORD=it's", "KEY=a\nb", "COST=5$"] {
        assert!(environment.contains(&pair), "{pair}: {environment:?}");
    }
    let port = web["NetworkSettings"]["Ports"]["6379/tcp"][0]["HostPort"].as_str().unwrap().parse::<u16>().unwrap();
    assert!((30100..=30119).contains(&port), "{port}");
    let binds: Vec<&str> = host["Binds"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(binds.iter().any(|bind| bind.ends_with("/bound:/bound:ro,z")), "{binds:?}");
    assert!(binds.iter().any(|bind| bind.ends_with("_data:/kept:rw,Z")), "{binds:?}");
    let network = format!("{}_default", stack.project);
    let link = format!("{}:database", stack.container("db"));
    assert_eq!(web["NetworkSettings"]["Networks"][&network]["Links"], json!([link]));
    let inside = |command: &[&str]| stack.docker(&[&["exec", &stack.container("web")], command].concat());
    assert_eq!(inside(&["cat", "/run/secrets/pg", "/etc/site.conf"]), "s3cret\nlisten 80;");
    assert_eq!(inside(&["redis-cli", "-h", "database", "ping"]), "PONG");
    let plan = stack.run(&["plan", "--exit-code"]);
    assert_eq!(plan.code, 0, "{}{}", plan.stdout, plan.stderr);
}

/// The engine's API version.
fn api(stack: &Stack) -> (u32, u32) {
    let version = stack.docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    let (major, minor) = version.split_once('.').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn the_cgroup_of_a_container_lies_in_the_one_that_is_named() {
    let stack = Stack::new(r#"{ "project": "PROJECT", "services": {} }"#);
    // systemd has slices, and the kernel's own folders any name.
    let parent = match stack.docker(&["info", "--format", "{{.CgroupDriver}}"]).as_str() {
        "systemd" => "dpltests.slice",
        _ => "/dpl-tests",
    };
    let manifest = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
      "services": { "web": { "image": "redis:7.0", "ready": { "tcp": 6379 }, "cgroup_parent": "PARENT" } } }"#;
    stack.rewrite(&manifest.replace("PARENT", parent));
    stack.run(&["start"]).success();
    assert_eq!(stack.inspect("web", "{{.HostConfig.CgroupParent}}"), parent);
    let process = stack.inspect("web", "{{.State.Pid}}");
    let cgroups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let id = stack.inspect("web", "{{.Id}}");
    assert!(cgroups.lines().any(|line| line.contains(parent) && line.contains(&id)), "{cgroups}");
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn keys_of_newer_engines_reach_those_and_are_told_before_anything_starts_on_older_ones() {
    for (key, value, since, said, template, seen) in [
        (
            "mac_address",
            json!("02:42:ac:11:77:02"),
            (1, 44),
            "web: mac_address needs an engine with API 1.44 or later",
            "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}",
            "02:42:ac:11:77:02",
        ),
        (
            "annotations",
            json!({ "org.example.tier": "front" }),
            (1, 43),
            "web: annotations needs an engine with API 1.43 or later",
            "{{json .HostConfig.Annotations}}",
            r#"{"org.example.tier":"front"}"#,
        ),
    ] {
        let manifest = json!({ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
            "services": { "web": { "image": "redis:7.0", "ready": { "tcp": 6379 }, key: value } } });
        let stack = Stack::new(&manifest.to_string());
        if api(&stack) < since {
            let run = stack.run(&["start"]).failure(1);
            assert!(run.stderr.contains(said), "{}", run.stderr);
            assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]), "");
            continue;
        }
        stack.run(&["start"]).success();
        assert_eq!(stack.inspect("web", template), seen);
        stack.run(&["plan", "--exit-code"]).success();
    }
}

#[test]
fn a_cdi_device_that_the_engine_can_not_give_is_told_plainly_and_takes_nothing_away() {
    let manifest = |devices: &str| {
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
             "services": { "web": { "image": "redis:7.0", "ready": { "tcp": 6379 } DEVICES } } }"#
            .replace("DEVICES", devices)
    };
    let stack = Stack::new(&manifest(""));
    stack.run(&["start"]).success();
    let old = stack.inspect("web", "{{.Id}}");
    stack.rewrite(&manifest(r#", "devices": ["example.org/test=none-such"]"#));
    let run = stack.run(&["start"]).failure(1);
    match api(&stack) < (1, 44) {
        true => assert!(run.stderr.contains("web: a CDI device needs an engine with API 1.44"), "{}", run.stderr),
        // In the engine's own words, which differ from version to version.
        false => assert!(run.stderr.to_lowercase().contains("cdi"), "{}", run.stderr),
    }
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.Running}}"), format!("{old} true"));
}

#[test]
fn fewer_containers_of_a_service_are_told_at_the_end_of_a_start() {
    let scaled = |scale: u32| {
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
             "services": { "cache": { "image": "redis:7.0", "ready": { "tcp": 6379 }, "scale": SCALE } } }"#
            .replace("SCALE", &scale.to_string())
    };
    let stack = Stack::new(&scaled(3));
    stack.run(&["start"]).success();
    stack.rewrite(&scaled(1));
    let run = stack.run(&["start"]).success();
    assert!(run.stderr.contains("1 service has fewer containers now"), "{}", run.stderr);
    let left =
        stack.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("name={}-cache", stack.project)]);
    assert_eq!(left, stack.container("cache"));
    let run = stack.run(&["start"]).success();
    assert!(!run.stderr.contains("fewer containers"), "{}", run.stderr);
}

#[test]
fn two_projects_in_one_folder_have_their_own_history_and_their_own_way_back() {
    let manifest = |value: &str| {
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
             "services": { "db": { "image": "redis:7.0", "environment": { "OF": "VALUE" } } } }"#
            .replace("VALUE", value)
    };
    let stack = Stack::new(&manifest("one"));
    let other = unique("t");
    let second = |value: &str| stack.site.write("b.json", &manifest(value).replace("PROJECT", &other));
    let run = |file: &str, arguments: &[&str]| stack.site.run(&[arguments, &["-f", file]].concat());
    second("b-one");
    run("stack.json", &["start"]).success();
    run("b.json", &["start"]).success();
    stack.rewrite(&manifest("two"));
    run("stack.json", &["start"]).success();
    second("b-two");
    run("b.json", &["start"]).success();
    // The last action in the folder was the other project's.
    let back = run("stack.json", &["rollback", "--yes"]).success();
    let of = |container: &str| {
        stack.docker(&["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container])
    };
    assert!(of(&stack.container("db")).contains("OF=one"), "{}", back.stderr);
    let theirs = format!("{other}-db-1");
    assert!(of(&theirs).contains("OF=b-two"));
    let history = run("b.json", &["history", "--json"]).success().json();
    assert_eq!(history["actions"].as_array().unwrap().len(), 2, "{history}");
    // Another clone of the same project has other records, and says whose the containers are.
    let clone = |arguments: &[&str]| stack.site.run(&[arguments, &["-f", "clone/stack.json"]].concat());
    stack.site.write("clone/stack.json", &manifest("one").replace("PROJECT", &stack.project));
    for command in [&["status"][..], &["history"]] {
        let said = clone(command).success().stderr;
        assert!(said.contains("containers of this project were created from ") && said.contains(":SITE"), "{said}");
        assert!(said.contains(", the last one at 20"), "{said}");
        assert!(!run("stack.json", command).success().stderr.contains("were created from"));
    }
    assert!(clone(&["rollback", "--yes"]).failure(2).stderr.contains("were created from"));
    // While one is at work, the other is not kept out.
    let lock = std::fs::OpenOptions::new().write(true).open(stack.site.file(&format!(".dpl/{}/lock", stack.project)));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    run("stack.json", &["stop", "db"]).failure(5);
    run("b.json", &["remove", "db", "--networks", "--yes"]).success();
}
