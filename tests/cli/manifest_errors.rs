//! Every error of a manifest, as `dpl check` shows it: to the letter, with its place and what was meant.
//!
//! The pages are in `snapshots/`; `INSTA_UPDATE=always` writes them again, and every change of them is read.

use crate::support::Site;

/// What `check` says of a manifest whose one service has these fields beside its image.
fn service(fields: &str) -> String {
    stack(&format!(r#""web": {{ "image": "web:1", {fields} }}"#))
}

/// What `check` says of a manifest with these services.
fn stack(services: &str) -> String {
    whole(&format!("{{\n  \"project\": \"shop\",\n  \"services\": {{\n    {services}\n  }}\n}}\n"))
}

fn whole(text: &str) -> String {
    let run = Site::with_manifest(text).run(&["check", "stack.json"]);
    format!("exit {}\n{}", run.code, run.stderr)
}

macro_rules! pages {
    ($($name:ident: $page:expr;)*) => {$(
        #[test]
        fn $name() {
            let page = $page;
            assert!(page.starts_with("exit 3\n"), "{page}");
            insta::assert_snapshot!(page);
        }
    )*};
}

pages! {
    // Text
    text_empty: whole("");
    text_no_json: whole("{ \"project\": shop }");
    text_trailing_comma: whole("{\n  \"project\": \"shop\",\n}\n");
    text_comment: whole("{ // note\n}");
    text_list_instead_of_object: whole("[]");
    text_key_twice: whole("{\n  \"project\": \"shop\",\n  \"project\": \"store\",\n  \"services\": {}\n}");
    text_wide_characters_before_the_error: whole("{ \"project\": \"shop\", \"x-备注\": \"数据库\", \"sevices\": {} }");
    // Keys and types
    all_errors_at_once: whole(
        "{\n  \"project\": \"Shop!\",\n  \"servics\": {},\n  \"services\": {\n    \"web\": {\n      \"imagee\": \"web:1\",\n      \"tty\": \"yes\",\n      \"mem_limit\": \"lots\",\n      \"restart\": \"sometimes\"\n    }\n  }\n}"
    );
    project_missing: whole("{ \"services\": {} }");
    services_missing: whole("{ \"project\": \"shop\" }");
    image_missing: stack(r#""web": {}"#);
    image_malformed: stack(r#""web": { "image": "Web:1" }"#);
    key_unknown_with_a_near_one: service(r#""enviroment": {}"#);
    key_unknown_with_none_near: service(r#""colour": "red""#);
    keys_of_compose: whole(
        r#"{ "version": "3.8", "name": "shop", "include": ["x"], "project": "shop", "services": { "web": { "image": "web:1",
          "build": ".", "pull_policy": "always", "volumes_from": ["db"], "extends": { "service": "db" } } } }"#
    );
    type_wrong: service(r#""ports": "80:80""#);
    truth_as_string: service(r#""privileged": "true""#);
    nul_character: service(r#""hostname": "a\u0000b""#);
    seed_of_another_database: whole(
        r#"{ "project": "shop", "services": { "db": { "image": "postgres:15" } }, "databases": {
          "one": { "service": "db", "seed": "seeds/one" }, "two": { "service": "db", "seed": "seeds/one" },
          "three": { "service": "db", "seed": "seeds/one/three" } } }"#
    );
    // Values
    size_malformed: service(r#""shm_size": "64 megs""#);
    size_below_the_engines_minimum: service(r#""mem_limit": "1m""#);
    duration_malformed: service(r#""stop_grace_period": "10""#);
    cpus_malformed: service(r#""cpus": "half""#);
    restart_unknown: service(r#""restart": "on-failure:x""#);
    command_with_an_open_quote: service(r#""command": "sh -c 'echo""#);
    environment_without_a_value: service(r#""environment": ["DEBUG"]"#);
    environment_twice: service(r#""environment": ["A=1", "A=2"]"#);
    environment_name_with_equals: service(r#""environment": { "A=B": "1" }"#);
    secret_with_two_sources: service(r#""environment": { "A": { "file": "a", "env": "A" } }"#);
    port_malformed: service(r#""ports": ["80:http"]"#);
    port_zero: service(r#""ports": [0]"#);
    port_too_large: service(r#""ports": ["70000:80"]"#);
    port_ranges_of_different_lengths: service(r#""ports": ["8000-8002:80-81"]"#);
    port_protocol_unknown: service(r#""ports": ["53:53/dns"]"#);
    port_host_ip_malformed: service(r#""ports": ["300.0.0.1:80:80"]"#);
    ports_too_many: service(r#""ports": ["10000-20000:10000-20000"]"#);
    mount_malformed: service(r#""volumes": ["a:b:c:d"]"#);
    mount_option_unknown: service(r#""volumes": ["./a:/a:rx"]"#);
    mount_target_relative: service(r#""volumes": ["./a:a"]"#);
    mount_type_unknown: service(r#""volumes": [{ "type": "bnd", "source": "/a", "target": "/a" }]"#);
    mount_option_of_another_type: service(r#""volumes": [{ "type": "tmpfs", "target": "/a", "bind": {} }]"#);
    tmpfs_relative: service(r#""tmpfs": "run""#);
    condition_unknown: stack(
        r#""db": { "image": "db:1" }, "web": { "image": "web:1", "depends_on": { "db": { "condition": "service_helthy" } } }"#
    );
    healthcheck_without_command: service(r#""healthcheck": { "test": ["CMD"] }"#);
    ready_with_two_probes: service(r#""ready": { "tcp": 80, "log": "up" }"#);
    ready_that_is_not_completed: service(r#""ready": { "completed": false }"#);
    ready_with_a_line_that_nobody_keeps: service(r#""ready": { "log": "up" }, "logging": { "driver": "none" }"#);
    job_that_is_started_again: stack(
        r#""web": { "image": "i:1", "depends_on": { "job": { "condition": "service_completed_successfully" } } },
    "job": { "image": "i:1", "restart": "always" }"#
    );
    ulimit_without_a_hard_one: service(r#""ulimits": { "nofile": { "soft": 9 } }"#);
    ready_with_a_wrong_regex: service(r#""ready": { "log": "up(" }"#);
    ulimit_soft_above_hard: service(r#""ulimits": { "nofile": { "soft": 9, "hard": 5 } }"#);
    device_malformed: service(r#""devices": ["/dev/a:/dev/b:x"]"#);
    dns_no_address: service(r#""dns": ["server"]"#);
    pid_mode_unknown: service(r#""pid": "private""#);
    gpu_neither_count_nor_ids: service(r#""gpus": [{ "driver": "nvidia" }]"#);
    gpu_both_count_and_ids: service(r#""gpus": [{ "count": 1, "device_ids": ["0"] }]"#);
    gpu_count_zero: service(r#""gpus": 0"#);
    gpu_capabilities_empty: service(r#""gpus": [{ "count": "all", "capabilities": [] }]"#);
    network_external_with_a_driver: whole(
        r#"{ "project": "shop", "networks": { "lan": { "external": true, "driver": "bridge" } }, "services": {} }"#
    );
    password_written_out: whole(
        r#"{ "project": "shop", "databases": { "d": { "service": "db", "password": "x" } }, "services": { "db": { "image": "db:1" } } }"#
    );
    // Variables and files
    variable_without_a_value: stack(r#""web": { "image": "web:${TAG}" }"#);
    variable_with_a_reason: stack(r#""web": { "image": "web:${TAG:?ask the release notes}" }"#);
    variable_malformed: stack(r#""web": { "image": "web:${TAG" }"#);
    dollar_alone: stack(r#""web": { "image": "web:1", "command": ["sh", "-c", "echo $?"] }"#);
    env_file_missing: whole(r#"{ "project": "shop", "env_file": "site.env", "services": {} }"#);
    extends_missing: whole(r#"{ "extends": "base.json" }"#);
    extends_itself: whole(r#"{ "extends": "./stack.json" }"#);
    // Across fields
    dependency_unknown: service(r#""depends_on": ["wbe"]"#);
    dependency_on_itself: service(r#""depends_on": ["web"]"#);
    dependency_ring: stack(
        r#""a": { "image": "i:1", "depends_on": ["b"] },
    "b": { "image": "i:1", "depends_on": ["c"] },
    "c": { "image": "i:1", "depends_on": ["a"] }"#
    );
    network_unknown: service(r#""networks": ["lan"]"#);
    volume_unknown: service(r#""volumes": ["data:/data"]"#);
    namespace_of_an_unknown_service: service(r#""network_mode": "service:vpn""#);
    network_mode_beside_networks_and_ports: service(r#""network_mode": "host", "networks": ["default"], "ports": ["80:80"]"#);
    database_of_an_unknown_service: whole(
        r#"{ "project": "shop", "databases": { "d": { "service": "postgres" } }, "services": { "postgre": { "image": "db:1" } } }"#
    );
    data_folders_wrong: whole(
        r#"{
  "project": "shop",
  "paths": { "backups": "/srv/data/backups" },
  "repository": { "pasword": { "file": "x" } },
  "data": {
    "up loads": { "path": "/srv/data" },
    "models": { "exclude": ["[z-a]"], "used_by": ["wbe"], "keep": { "last": -1 }, "one_file_system": "no" },
    "7": { "path": "/" },
    "wheels": { "path": "/srv/wheels", "exclud": [] },
    "again": { "path": "/srv/wheels" }
  },
  "services": { "web": { "image": "web:1" } }
}
"#
    );
    repository_password_written_out: whole(
        r#"{ "project": "shop", "repository": { "password": "secret" }, "services": { "web": { "image": "web:1" } } }"#
    );
    same_port_of_the_host_twice: stack(
        r#""a": { "image": "i:1", "ports": ["127.0.0.1:80:80"] },
    "b": { "image": "i:1", "ports": ["80:8080"] }"#
    );
    same_container_name_twice: stack(
        r#""a": { "image": "i:1", "container_name": "shop-b-1" },
    "b": { "image": "i:1" }"#
    );
    scale_with_a_fixed_name_and_port: service(r#""scale": 2, "container_name": "web", "ports": ["80:80"]"#);
    group_with_the_name_of_a_service: service(r#""groups": ["web"]"#);
    service_with_the_name_of_a_selector: stack(r#""17-25": { "image": "i:1" }, "all": { "image": "i:1" }"#);
    service_name_malformed: stack(r#""we b": { "image": "i:1" }"#);
}

#[test]
fn a_value_of_another_kind_is_told_with_an_example_that_the_reader_takes() {
    for (key, wrong) in [
        ("ready", "\"1s\""),
        ("healthcheck", "[\"CMD\", \"true\"]"),
        ("environment", "5"),
        ("depends_on", "\"db\""),
        ("networks", "\"front\""),
        ("volumes", "{ \"./d\": \"/d\" }"),
        ("cap_add", "\"NET_ADMIN\""),
        ("ulimits", "1024"),
        ("sysctls", "\"x\""),
        ("network_mode", "true"),
        ("restart", "true"),
        ("logging", "\"json-file\""),
        ("labels", "\"a=b\""),
        ("gpus", "true"),
    ] {
        let page = service(&format!("\"{key}\": {wrong}"));
        let (_, rest) = page.split_once("write it in this form: `").unwrap_or_else(|| panic!("{page}"));
        let (example, _) = rest.split_once('`').unwrap();
        assert!(example.starts_with(&format!("\"{key}\": ")), "{page}");
        let taken = service(example);
        assert!(!taken.contains("expected "), "{key}: {taken}");
    }
    let page =
        whole(r#"{ "project": "shop", "defaults": { "ready": "1s" }, "services": { "web": { "image": "web:1" } } }"#);
    assert!(page.contains(r#"`"ready": {"running_for": "10s"}`"#), "{page}");
    let page = stack(r#""a": { "image": "a:1", "cap_add": "NET_ADMIN", "tty": "yes" }, "b": "b:1""#);
    assert!(page.contains(r#"`"cap_add": ["NET_ADMIN"]`"#), "{page}");
    assert!(page.contains(r#"`"services": {"web": {"image": "web:1"}}`"#), "the second one, too: {page}");
    assert_eq!(page.matches("in this form").count(), 2, "true or false needs none: {page}");
}

#[test]
fn a_range_has_a_port_for_each_container() {
    let page = service(r#""scale": 3, "ports": ["8800-8801:80"]"#);
    assert!(page.starts_with("exit 3\nerror: the range has 2 ports of the host, too few for 3 containers"), "{page}");
    let page = service(r#""scale": 3, "ports": ["8800-8802:80"]"#);
    assert!(page.starts_with("exit 0\n"), "{page}");
}

#[test]
fn an_extra_host_has_addresses() {
    let page = service(r#""extra_hosts": ["a:zz"]"#);
    assert!(page.starts_with("exit 3\nerror: `zz` is not an IP address, nor `host-gateway`"), "{page}");
    let page = service(r#""extra_hosts": ["a:10.0.0.1", "b=::1", "c:host-gateway"]"#);
    assert!(page.starts_with("exit 0\n"), "{page}");
}

#[test]
fn a_stop_signal_is_one_that_engines_know() {
    let page = service(r#""stop_signal": "SIGFOO""#);
    assert!(page.starts_with("exit 3\nerror: `SIGFOO` is not a signal"), "{page}");
    for signal in ["SIGTERM", "quit", "37", "SIGRTMIN+3"] {
        let page = service(&format!(r#""stop_signal": "{signal}""#));
        assert!(page.starts_with("exit 0\n"), "{page}");
    }
}

#[test]
fn words_that_the_kernel_or_the_engine_does_not_know_are_told_with_their_place() {
    for (fields, said) in [
        (r#""cap_add": ["CHOWN", "CAP_NET_ADMIM"]"#, "`CAP_NET_ADMIM` is not a kernel capability"),
        (r#""cap_drop": ["everything"]"#, "`everything` is not a kernel capability"),
        (r#""ulimits": { "nofiles": 1024 }"#, "`nofiles` is not a limit of a process"),
        (r#""security_opt": ["systempaths=unconfined"]"#, "`systempaths=unconfined` is not a security option"),
        (
            r#""security_opt": ["seccomp:./profile.json"]"#,
            "`seccomp:./profile.json`: the engine takes a profile's JSON",
        ),
        (r#""cpuset": "3-0""#, "`3-0` is not a list of CPUs"),
    ] {
        let page = service(fields);
        assert!(page.starts_with(&format!("exit 3\nerror: {said}")), "{page}");
        assert!(page.contains("stack.json:4:"), "{page}");
    }
    assert!(service(r#""cap_add": ["cap_net_admim"]"#).contains("did you mean `NET_ADMIN`?"));
    assert!(service(r#""cap_add": ["CAP_ALL"]"#).contains("did you mean `ALL`?"));
    assert!(service(r#""ulimits": { "nofiles": 1024 }"#).contains("did you mean `nofile`?"));
}

#[test]
fn a_kernel_parameter_of_the_whole_host_is_a_warning() {
    let page = service(r#""sysctls": { "vm.max_map_count": 262144 }"#);
    assert!(page.starts_with("exit 0\nwarning: a container can't set `vm.max_map_count`"), "{page}");
    let page = service(r#""sysctls": ["net.core.somaxconn=1024", "kernel.shmmax=1"]"#);
    assert!(page.starts_with("exit 0\n") && !page.contains("warning: "), "{page}");
}

#[test]
fn a_ulimit_is_a_number_or_none() {
    let page = service(r#""ulimits": { "nofile": -5 }"#);
    assert!(page.starts_with("exit 3\nerror: a limit is a number from 0, or -1 for none"), "{page}");
    let page = service(r#""ulimits": { "nofile": -1 }"#);
    assert!(page.starts_with("exit 0\n"), "{page}");
}

#[test]
fn a_path_is_mounted_once() {
    for mounts in [
        r#""volumes": ["./a:/data", "./b:/data/"]"#,
        r#""volumes": ["./a:/data", { "type": "tmpfs", "target": "/data" }]"#,
        r#""volumes": ["./a:/data"], "tmpfs": "/data:size=1m""#,
    ] {
        let page = service(mounts);
        assert!(page.contains("error: something else is mounted at `/data"), "{page}");
    }
    let page = service(r#""volumes": ["./a:/data", "./b:/data/b"], "tmpfs": ["/tmp", "/run"]"#);
    assert!(page.starts_with("exit 0"), "{page}");
}

#[test]
fn a_working_folder_is_an_absolute_path() {
    assert!(service(r#""working_dir": "src""#).contains("error: `src` is not an absolute path in the container"));
    assert!(service(r#""working_dir": "/src""#).starts_with("exit 0"));
}

#[test]
fn nothing_is_mounted_over_the_root_folder() {
    for target in ["/", "//", "/."] {
        let page = service(&format!(r#""volumes": [{{ "type": "tmpfs", "target": "{target}" }}]"#));
        assert!(page.contains("error: nothing can be mounted in the place of a container's root folder"), "{page}");
    }
}

#[test]
fn a_port_of_different_addresses_is_no_clash() {
    let page = stack(
        r#""a": { "image": "i:1", "ports": ["127.0.0.1:80:80", "127.0.0.1:80:80/udp"] },
    "b": { "image": "i:1", "ports": ["127.0.0.2:80:80"] }"#,
    );
    assert!(page.starts_with("exit 0\n"), "{page}");
}

#[test]
fn warnings_leave_the_manifest_usable() {
    let page = service(r#""volumes": [{ "type": "bind", "source": "./gone", "target": "/a" }], "labels": null"#);
    assert!(page.starts_with("exit 0\n"), "{page}");
    insta::assert_snapshot!(page);
}

/// Below a folder that may not be looked into (a link that leads to itself stands for one here) nobody knows.
#[test]
fn what_can_not_be_looked_at_is_not_called_missing() {
    let site = Site::with_manifest(
        r#"{ "project": "shop", "services": { "web": { "image": "web:1",
            "volumes": [{ "type": "bind", "source": "./loop/a", "target": "/a" },
                        { "type": "bind", "source": "./stack.json/b", "target": "/b" },
                        { "type": "bind", "source": "./gone", "target": "/c" }] } } }"#,
    );
    std::os::unix::fs::symlink("loop", site.file("loop")).unwrap();
    let run = site.run(&["check", "stack.json"]).success();
    assert!(run.stderr.contains("stack.json/b"), "{}", run.stderr);
    assert!(run.stderr.contains("gone") && !run.stderr.contains("loop"), "{}", run.stderr);
}

#[test]
fn a_probe_that_nobody_uses_is_said() {
    let site = Site::with_manifest(
        r#"{ "project": "shop", "services": {
            "job": { "image": "web:1", "ready": { "tcp": 1 } },
            "web": { "image": "web:1", "depends_on": { "job": { "condition": "service_completed_successfully" } } } } }"#,
    );
    let run = site.run(&["check", "stack.json"]).success();
    assert!(run.stderr.contains("`ready` is not used"), "{}", run.stderr);
}

#[test]
fn errors_are_a_document_with_places_on_request() {
    let site = Site::with_manifest("{\n  \"project\": \"shop\",\n  \"sevices\": {}\n}\n");
    let run = site.run(&["check", "--json", "stack.json"]).failure(3);
    assert_eq!(run.stderr, "");
    let problems = &run.json()["problems"];
    assert_eq!(problems[0]["message"], "`services` is missing");
    assert_eq!(problems[1]["message"], "unknown key `sevices`");
    assert_eq!(problems[1]["help"], "did you mean `services`?");
    assert_eq!((&problems[1]["line"], &problems[1]["column"]), (&3.into(), &3.into()));
}

#[test]
fn a_file_that_is_no_text_or_no_file_says_so() {
    let site = Site::new();
    std::fs::write(site.file("stack.json"), b"{\xff\xfe}").unwrap();
    std::fs::write(site.file("large.json"), vec![b' '; 600 * 1024]).unwrap();
    std::fs::create_dir(site.file("folder.json")).unwrap();
    for (name, line) in [
        ("stack.json", "can't read stack.json: it is not UTF-8 text, from byte 1 on"),
        ("large.json", "can't read large.json: the file has more than the 512 KiB that it may have"),
        ("folder.json", "can't read folder.json: it is a folder"),
        ("none.json", "can't read none.json: the file does not exist"),
    ] {
        let run = site.run(&["check", name]).failure(3);
        assert_eq!(run.stderr, format!("error: {line}\n"));
    }
}

#[test]
fn a_line_of_an_env_file_that_can_not_be_read_is_told_before_it_is_used() {
    let site = Site::with_manifest(
        r#"{ "project": "shop", "services": { "web": { "image": "web:1", "env_file": "web.env" } } }"#,
    );
    site.write("web.env", "A=${OTHER}\nB=\"x\" y\n");
    let run = site.run(&["check", "stack.json"]).success();
    assert!(run.stderr.contains("web.env, line 2: ") && !run.stderr.contains("line 1"), "{}", run.stderr);
}

#[test]
fn an_env_file_that_is_no_text_or_no_file_is_told_before_it_is_used() {
    let site = Site::with_manifest(
        r#"{ "project": "shop", "services": { "web": { "image": "web:1", "env_file": ["folder", "gbk.env", "gone.env"] } } }"#,
    );
    std::fs::create_dir(site.file("folder")).unwrap();
    std::fs::write(site.file("gbk.env"), b"NAME=\xb7\xfe").unwrap();
    let run = site.run(&["check", "stack.json"]).success();
    for told in ["folder: it is not a regular file", "gbk.env: it is not UTF-8 text", "gone.env does not exist"] {
        assert_eq!(run.stderr.matches(told).count(), 1, "{told}: {}", run.stderr);
    }
    let run = site.run(&["check", "--lang", "zh", "stack.json"]).success();
    assert!(run.stderr.contains("它不是 UTF-8 文本"), "{}", run.stderr);
}

#[test]
fn a_probe_takes_the_place_of_the_one_in_defaults() {
    let site = Site::with_manifest(
        r#"{ "project": "shop", "defaults": { "ready": { "running_for": "30s", "timeout": "1m" } },
             "services": { "web": { "image": "web:1", "ready": { "tcp": 80 } }, "db": { "image": "db:1" } } }"#,
    );
    let config = site.run(&["config", "stack.json"]).success().json();
    let ready = |name: &str| config["services"][name]["ready"].clone();
    assert_eq!(ready("web"), serde_json::json!({ "tcp": 80, "timeout": "1m" }));
    assert_eq!(ready("db"), serde_json::json!({ "running_for": "30s", "timeout": "1m" }));
}
