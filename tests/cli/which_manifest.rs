//! Which manifest a command means.

use crate::support::Site;

const STACK: &str = r#"{ "project": "p", "services": { "web": { "image": "web:1" } } }"#;

#[test]
fn without_any_manifest_the_way_to_name_one_is_told() {
    let run = Site::new().run(&["list"]).failure(2);
    assert_eq!(
        run.stderr,
        "error: no manifest is named, and none is remembered for this folder\n  \
         hint: name one (`dpl list manifests/local-docker.json`), or remember it: `dpl use MANIFEST.json`\n"
    );
}

#[test]
fn one_that_lies_there_is_named() {
    let site = Site::with_manifest(STACK);
    site.write("a.json", "[1]");
    let said = site.run(&["list"]).failure(2).stderr;
    assert!(
        said.ends_with(
            "hint: stack.json looks like one: `dpl use stack.json` remembers it, `-f stack.json` takes it once\n"
        ),
        "{said}"
    );
}

#[test]
fn the_manifest_is_the_first_argument_that_names_a_json_file() {
    let site = Site::with_manifest(STACK);
    let run = site.run(&["list", "stack.json", "web"]).success();
    assert_eq!(run.stdout, "NO  SERVICE  IMAGE  GROUPS\n 1  web      web:1\n");
    assert_eq!(site.run(&["list", "web", "stack.json"]).success().stdout, run.stdout);
    assert_eq!(site.run(&["-f", "stack.json", "list"]).success().stdout, run.stdout);
}

#[test]
fn behind_two_dashes_nothing_names_a_manifest() {
    let site = Site::with_manifest(STACK);
    let run = site.run(&["-f", "stack.json", "list", "--", "web.json"]).failure(2);
    assert_eq!(run.stderr, "error: unknown service `web.json`: `dpl list` shows all of them\n");
}

#[test]
fn the_variable_names_one_and_the_flag_wins_over_it() {
    let mut site = Site::with_manifest(STACK);
    site.write("other.json", &STACK.replace("web", "api"));
    site.set("DPL_MANIFEST", "other.json");
    assert!(site.run(&["list"]).success().stdout.contains("api"));
    assert!(site.run(&["list", "-f", "stack.json"]).success().stdout.contains("web"));
}

#[test]
fn use_remembers_for_the_folder_and_those_below() {
    let site = Site::with_manifest(STACK);
    let run = site.run(&["use", "stack.json"]).success();
    assert_eq!(run.stderr, "SITE/stack.json is now the manifest of SITE\n");
    let run = site.run(&["list"]).success();
    assert_eq!(run.stderr, "using SITE/stack.json, remembered for this folder\n");
    std::fs::create_dir(site.file("below")).unwrap();
    let mut command = site.command(&["list", "--quiet"]);
    let output = command.current_dir(site.file("below")).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("web"));
}

/// Two sessions of one user share it, so that a command says which one it uses.
#[test]
fn what_is_remembered_is_the_users_own_and_said_wherever_it_is_used() {
    let mut site = Site::with_manifest(STACK);
    site.write("other.json", &STACK.replace("web", "api"));
    site.run(&["use", "stack.json"]).success();
    let home = site.path().to_owned();
    let theirs = tempfile::tempdir().unwrap();
    site.set("HOME", theirs.path().display().to_string());
    site.run(&["list"]).failure(2);
    site.run(&["use", "other.json"]).success();
    assert!(site.run(&["list"]).success().stdout.contains("api"));
    site.set("HOME", home.display().to_string());
    let ours = site.run(&["list"]).success();
    assert!(ours.stdout.contains("web"), "{}", ours.stdout);
    // The same user's other session.
    site.run(&["use", "other.json"]).success();
    let run = site.run(&["list"]).success();
    assert_eq!(run.stderr, "using SITE/other.json, remembered for this folder\n");
    assert!(run.stdout.contains("api"));
}

#[test]
fn use_refuses_a_manifest_that_is_wrong() {
    let site = Site::with_manifest("{}");
    site.run(&["use", "stack.json"]).failure(3);
    site.run(&["list"]).failure(2);
}

#[test]
fn an_engine_that_is_not_there_is_exit_code_4() {
    let site = Site::with_manifest(STACK);
    let run = site.run(&["doctor", "stack.json"]).failure(4);
    assert_eq!(
        run.stderr,
        "error: can't reach the Docker engine at unix:///nonexistent/docker.sock\n  \
         because: the socket /nonexistent/docker.sock does not exist\n  \
         hint: is the engine running, and may you use its socket? `-H` or DOCKER_HOST names another one\n"
    );
}
