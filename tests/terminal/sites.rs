//! The actions of the menu that go elsewhere: 13 sends to a site, 14 opens the menu there.

use std::fs;

use crate::screen::Terminal;
use crate::support::Site;
use crate::support_engine::{Stack, shared_engine};
use crate::support_ssh::Sshd;

const PROJECT: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "api": {"image": "expert/expert_api:latest", "stop_grace_period": "1s"},
    "cache": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;

/// An sshd of the machine with this folder.
fn at(there: &Site) -> Sshd {
    let (cache, folder) = (concat!(env!("CARGO_TARGET_TMPDIR"), "/site-cache"), there.path().display());
    let engine = shared_engine();
    Sshd::start(&format!("SetEnv DOCKER_HOST={engine} XDG_CACHE_HOME={cache} XDG_STATE_HOME={folder}/records"))
}

#[test]
fn a_delivery_is_sent_and_put_to_work_from_the_menu() {
    // Its containers are the site's; the desk has the same manifest in a folder of its own.
    let stack = Stack::new(PROJECT);
    let text = fs::read_to_string(stack.site.file("stack.json")).unwrap();
    let (there, mut desk) = (Site::new(), Site::with_manifest(&text));
    let folder = there.path().display();
    let sshd = at(&there);
    sshd.admit(&mut desk);
    desk.set("DOCKER_HOST", shared_engine());
    desk.set("XDG_RUNTIME_DIR", desk.path().display().to_string());
    let ssh = sshd.address();
    desk.write(
        "sites.json",
        &format!(
            r#"{{"sites": {{"prod": {{"ssh": "{ssh}", "folder": "{folder}", "manifest": "stack.json"}},
                            "vault": {{"offline": true}}}}}}"#
        ),
    );
    // ssh would ask at the terminal whether it may trust the host.
    desk.run(&["sites", "--check", "prod"]).success();

    let mut terminal = Terminal::open(&desk, &["stack.json"], 110, 60);
    terminal.asks("action:").keys("13\r").asks("which:").says("prod").says("vault").keys("1\r");
    terminal.says("STATE").asks("which:").keys("2\r").says("redis:7.0").asks("Send this to `prod`? [Y/n]");
    terminal.keys("\r").says("sent to `prod`").says("dpl on prod load").asks("action:");
    assert_eq!(dpl::images::stored_names(&there.file("store")), ["redis:7.0"]);
    // Nobody connects to the other one.
    terminal.keys("13\r").asks("which:").keys("vault\r").asks("which:").keys("2\r").says("offline").asks("action:");

    terminal.keys("14\r").asks("which:").keys("prod\r").says(&format!("{folder}")).asks("action:");
    terminal.keys("3\r").asks("which:").keys("2\r").asks("Go on? [Y/n]").keys("\r").says("1 created").asks("action:");
    // The menu there is left; what is typed before the one here asks again would be dropped.
    terminal.keys("0\r").says("action: 0").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(stack.inspect("cache", "{{.State.Running}}"), "true");
    let journal = there.state("journal.jsonl");
    assert!(fs::read_to_string(&journal).unwrap().contains("name-image"), "{}", journal.display());
    assert!(!desk.state("deployments.json").exists(), "nothing was started here");
}

#[test]
fn a_chain_of_several_places_shows_all_plans_and_asks_once() {
    let stack = Stack::new(PROJECT);
    stack.run(&["start"]).success();
    let started = |service: &str| stack.inspect(service, "{{.State.StartedAt}} {{.State.Running}}");
    let (sshd, mut desk) = (at(&stack.site), Site::new());
    sshd.admit(&mut desk);
    desk.set("XDG_RUNTIME_DIR", desk.path().display().to_string());
    let (ssh, folder) = (sshd.address(), stack.site.path().display());
    let site = format!(r#"{{"ssh": "{ssh}", "folder": "{folder}", "manifest": "stack.json"}}"#);
    desk.write("sites.json", &format!(r#"{{"sites": {{"prod": {site}, "lab": {site}}}}}"#));
    desk.run(&["sites", "--check", "prod"]).success();
    let (api, cache) = (started("api"), started("cache"));
    let chain = "on prod: 3 - api - on lab: 4 - cache";
    let mut terminal = Terminal::open(&desk, &["do", chain], 110, 60);
    terminal.says(&format!("restart {}", stack.container("api")));
    terminal.says(&format!("stop {}", stack.container("cache"))).asks("Go on? [Y/n]");
    assert_eq!((started("api"), started("cache")), (api.clone(), cache.clone()), "nothing is done before the answer");
    terminal.keys("n\r");
    assert_eq!(terminal.end(), 1);
    assert_eq!(started("api"), api);
    let mut terminal = Terminal::open(&desk, &["do", chain], 110, 60);
    terminal.asks("Go on? [Y/n]").keys("\r").says("1 service stopped");
    assert_eq!(terminal.end(), 0);
    assert_ne!(started("api"), api);
    assert!(started("cache").ends_with("false"));
}
