//! `history`, from journals as they lie beside manifests.

use crate::support::Site;

const STACK: &str = r#"{ "project": "p", "services": { "web": { "image": "web:1" } } }"#;

const BEGIN: &str = r#"{"entry":"begin","number":N,"at":"2026-11-22T21:30:00Z","user":"li","host":"site","version":"0.1.0","manifest":"/srv/stack.json","manifest_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","engine":"unix:///run/docker.sock","command":"dpl load web"}"#;
const PLAN: &str = r#"{"entry":"plan","action":N,"at":"2026-11-22T21:30:00Z","digest":"sha256:0123456789abcdef"}"#;
const STEP: &str =
    r#"{"entry":"step","action":N,"at":"2026-11-22T21:30:01Z","activity":"load-image","subject":"web:1"}"#;
const END: &str = r#"{"entry":"end","action":N,"at":"2026-11-22T21:30:04Z","exit_code":0}"#;

fn site(journal: &[(&str, u32)]) -> Site {
    let mut site = Site::with_manifest(STACK);
    // The host's own zone changes nothing.
    site.set("TZ", "Asia/Shanghai");
    let lines = journal.iter().map(|(line, number)| format!("{}\n", line.replace('N', &number.to_string())));
    site.write(".dpl/journal.jsonl", &lines.collect::<String>());
    site
}

#[test]
fn each_action_is_a_line_with_its_end() {
    let site = site(&[(BEGIN, 1), (STEP, 1), (END, 1), (BEGIN, 2), (STEP, 2)]);
    let run = site.run(&["history", "stack.json"]).success();
    assert_eq!(
        run.stdout,
        "NO  BEGAN (UTC)           TOOK   WHO      RESULT   COMMAND\n \
         1  2026-11-22T21:30:00Z  4.0 s  li@site  done     dpl load web\n \
         2  2026-11-22T21:30:00Z  -      li@site  cut off  dpl load web\n"
    );
    assert_eq!(site.run(&["history", "stack.json", "-n", "1"]).success().stdout.lines().count(), 2);
}

#[test]
fn an_action_that_was_cut_off_shows_the_step_that_it_was_in() {
    let site = site(&[(BEGIN, 1), (PLAN, 1), (STEP, 1)]);
    let run = site.run(&["history", "show", "1", "stack.json"]).success();
    assert!(run.stdout.contains("load-image  web:1  cut off  -"), "{}", run.stdout);
    assert!(run.stdout.contains("plan      sha256:0123456789"), "{}", run.stdout);
    let document = site.run(&["history", "show", "1", "stack.json", "--json"]).success().json();
    assert_eq!(document["actions"][0]["result"], "cut-off");
    assert_eq!(document["actions"][0]["steps"][0]["result"], "open");
    assert_eq!(document["actions"][0]["plan_digests"], serde_json::json!(["sha256:0123456789abcdef"]));
}

#[test]
fn the_steps_of_an_action_are_named_in_the_language_of_the_reader() {
    let site = site(&[(BEGIN, 1), (PLAN, 1), (STEP, 1)]);
    let run = site.run(&["history", "show", "1", "stack.json", "--lang", "zh"]).success();
    assert!(run.stdout.contains("加载镜像  web:1") && !run.stdout.contains("load-image"), "{}", run.stdout);
    assert!(run.stdout.contains("计划") && !run.stdout.contains("plan "), "{}", run.stdout);
}

#[test]
fn an_action_that_is_not_there_and_a_journal_that_is_empty_are_said() {
    let site = site(&[(BEGIN, 1), (END, 1)]);
    let run = site.run(&["history", "show", "9", "stack.json"]).failure(2);
    assert_eq!(run.stderr, "error: the journal has no action 9\n  hint: they go up to 1\n");
    let run = Site::with_manifest(STACK).run(&["history", "stack.json"]).success();
    assert_eq!(run.stderr, "nothing was done on this project yet, as far as this host knows\n");
}

#[test]
fn damaged_lines_of_the_journal_are_said_and_never_that_nothing_was_done() {
    let site = Site::with_manifest(STACK);
    let begin = BEGIN.replace('N', "1");
    let end = END.replace('N', "1");
    site.write(".dpl/p/journal.jsonl", &format!("{begin}\ngarbage\n{end}\n"));
    let run = site.run(&["history", "stack.json"]).success();
    assert!(run.stdout.contains("dpl load web") && run.stdout.contains("done"), "{}", run.stdout);
    assert!(run.stderr.contains("warning: 1 line of the journal"), "{}", run.stderr);
    site.write(".dpl/p/journal.jsonl", "\u{1}\u{2}\nnoise\n");
    let run = site.run(&["history", "stack.json"]).success();
    assert!(run.stderr.contains("2 lines of the journal"), "{}", run.stderr);
    assert!(run.stderr.contains("p/journal.jsonl are damaged"), "{}", run.stderr);
    assert!(!run.stderr.contains("nothing was done"), "{}", run.stderr);
}
