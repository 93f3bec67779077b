//! Networks that are recreated, and the way back when that fails, on a real engine.

use crate::support_engine::Stack;

/// `web` uses `db` by an alias; `db` has a fixed address in the network, too. Tests share an engine, which gives a subnet once.
fn manifest(subnet: u8, network: &str, web: &str) -> String {
    r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s", "ready": { "tcp": 6379 } },
         "networks": { "back": {}, "front": {
           "labels": { "tier": "1" }, "ipam": { "config": [{ "subnet": "10.213.SUBNET.0/24" }] } NETWORK } },
         "services": {
           "db": { "image": "redis:7.0",
             "networks": { "back": {}, "front": { "aliases": ["store"], "ipv4_address": "10.213.SUBNET.9" } } },
           "web": { "image": "redis:7.0", "networks": ["front"], "depends_on": ["db"] WEB } } }"#
        .replace("SUBNET", &subnet.to_string())
        .replace("NETWORK", network)
        .replace("WEB", web)
}

/// The IDs of both, which run under their own names and find each other.
fn serving(stack: &Stack, subnet: u8) -> [String; 2] {
    let ids = ["db", "web"].map(|service| {
        assert_eq!(stack.inspect(service, "{{.State.Running}}"), "true", "{service}");
        stack.inspect(service, "{{.Id}}")
    });
    let network = format!("{}_front", stack.project);
    let address = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    assert_eq!(stack.inspect("db", &address), format!("10.213.{subnet}.9"));
    let answer = stack.docker(&["exec", &stack.container("web"), "redis-cli", "-h", "store", "ping"]);
    assert_eq!(answer, "PONG");
    ids
}

fn network(stack: &Stack, template: &str) -> String {
    stack.docker(&["network", "inspect", "--format", template, &format!("{}_front", stack.project)])
}

#[test]
fn a_network_that_can_not_be_created_as_the_manifest_says_is_back_as_it_was_with_its_containers() {
    let stack = Stack::new(&manifest(77, "", ""));
    stack.run(&["start"]).success();
    let (before, id) = (serving(&stack, 77), network(&stack, "{{.Id}}"));
    let shape = "{{.Driver}} {{.Internal}} {{json .Labels}} {{json .IPAM.Config}} {{json .Options}}";
    let looked = network(&stack, shape);
    // The engine refuses it when the old network is gone.
    stack.rewrite(&manifest(77, r#", "driver_opts": { "com.docker.network.driver.mtu": "many" }"#, ""));
    let run = stack.run(&["start", "--recreate-networks"]).failure(1);
    assert!(run.stderr.contains(&format!("network {}_front is back as it was", stack.project)), "{}", run.stderr);
    assert_ne!(network(&stack, "{{.Id}}"), id, "it was removed, or this test shows nothing");
    assert_eq!(network(&stack, shape), looked);
    assert_eq!(serving(&stack, 77), before);
    // As if nothing had been tried.
    stack.rewrite(&manifest(77, "", ""));
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn a_service_whose_new_container_fails_serves_by_its_old_one_in_the_recreated_network() {
    let stack = Stack::new(&manifest(78, "", ""));
    stack.run(&["start"]).success();
    let [db, web] = serving(&stack, 78);
    let internal = r#", "internal": true"#;
    stack.rewrite(&manifest(78, internal, r#", "command": ["sh", "-c", "exit 3"]"#));
    let run = stack.run(&["start", "--recreate-networks"]).failure(1);
    assert!(run.stderr.contains("the old container is back"), "{}", run.stderr);
    assert_eq!(network(&stack, "{{.Internal}}"), "true");
    let [new_db, old_web] = serving(&stack, 78);
    assert_ne!(new_db, db);
    assert_eq!(old_web, web);
    // The way back is in the journal, in its order.
    let past = stack.run(&["history", "show", "2", "--json"]).success().json();
    let steps = past["actions"][0]["steps"].as_array().unwrap();
    let of_web = steps.iter().filter(|step| step["subject"] == "web");
    let of_web: Vec<&str> = of_web.map(|step| step["activity"].as_str().unwrap()).collect();
    let failed = of_web.iter().rposition(|activity| *activity == "wait-ready").unwrap();
    let back = ["stop-container", "remove-container", "rename-container", "update-container", "start-container"];
    assert_eq!(of_web[failed + 1..], back, "{past}");
    stack.rewrite(&manifest(78, internal, ""));
    stack.run(&["plan", "--exit-code"]).success();
}
