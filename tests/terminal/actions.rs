//! Each action of the menu on a real engine, from its number to its end.

use std::fs;

use crate::screen::Terminal;
use crate::support_engine::{Stack, eventually};

/// A database, a server that uses it, and one that is never ready.
const SITE: &str = r#"{
  "project": "PROJECT",
  "paths": { "images": "images", "backups": "backups" },
  "defaults": { "stop_grace_period": "1s" },
  "databases": {
    "minerva": { "service": "db" },
    "expert": { "service": "db", "seed": "seeds/expert", "used_by": ["api"] }
  },
  "services": {
    "db": {
      "image": "postgres:15",
      "environment": { "POSTGRES_PASSWORD": { "file": "password" } },
      "tmpfs": "/var/lib/postgresql/data",
      "healthcheck": { "test": "pg_isready -U postgres -h 127.0.0.1", "interval": "1s", "retries": 60 }
    },
    "api": { "image": "expert/expert_api:latest", "environment": { "LEVEL": "info" }, "ready": { "log": "ready on port" } },
    "slow": { "image": "expert/expert_ui:latest", "ready": { "log": "never", "timeout": "10m" } }
  }
}"#;

#[track_caller]
fn site() -> Stack {
    let stack = Stack::new(SITE);
    stack.site.write("password", "se'cr et\n");
    stack
}

#[track_caller]
fn menu(stack: &Stack, columns: u16) -> Terminal {
    let mut terminal = Terminal::open(&stack.site, &["stack.json"], columns, 60);
    terminal.asks("action:");
    terminal
}

/// Chooses an action and its targets.
#[track_caller]
fn choose<'t>(terminal: &'t mut Terminal, action: &str, targets: &str) -> &'t mut Terminal {
    terminal.asks("action:").keys(action).keys("\r").asks("which:").keys(targets).keys("\r")
}

#[track_caller]
fn psql(stack: &Stack, database: &str, sql: &str) -> String {
    let container = stack.container("db");
    stack.docker(&["exec", &container, "psql", "-X", "-U", "postgres", "-d", database, "-Atc", sql])
}

#[test]
fn each_action_shows_its_plan_asks_does_it_and_comes_back() {
    let stack = site();
    let mut terminal = menu(&stack, 120);
    choose(&mut terminal, "3", "1,2").says(&format!("create {}", stack.container("api"))).asks("Go on? [Y/n]");
    terminal.keys("\r").says("2 created; ").asks("action:");
    psql(&stack, "postgres", "CREATE DATABASE minerva; ");
    psql(&stack, "postgres", "CREATE DATABASE expert");
    psql(&stack, "expert", "CREATE TABLE workflow AS SELECT generate_series(1, 100) AS i");

    choose(&mut terminal, "1", "api").says("would save").asks("Go on? [Y/n]").keys("y\r");
    terminal.says("1 image saved, 0 unchanged").asks("action:");
    choose(&mut terminal, "2", "2").says("present").asks("Go on? [Y/n]").keys("yes\r");
    terminal.says("0 images loaded, 1 present already").asks("action:");

    choose(&mut terminal, "7", "[1, 2]").says("expert would be backed up").asks("Go on? [Y/n]").keys("\r");
    terminal.says("2 backups made").asks("action:");
    choose(&mut terminal, "5", "expert").says("expert would be dumped to").asks("Go on? [Y/n]").keys("\r");
    terminal.says("1 database dumped").asks("action:");
    // A seed that is there already is not lost by Enter.
    choose(&mut terminal, "5", "expert").asks("Go on? [y/N]").keys("\r").says("nothing was changed").asks("action:");

    psql(&stack, "expert", "DELETE FROM workflow WHERE i > 10");
    choose(&mut terminal, "6", "2")
        .says("expert would be rebuilt from")
        .asks("expert will be replaced by its seed. Type its name to go on:");
    terminal.keys("expert\r").says("1 database rebuilt").asks("action:");
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "100");

    // The newest backup is the one that the rebuild made, the one before it the whole one.
    choose(&mut terminal, "8", "2").asks("backup:").says("BACKUP").keys("1\r").says("expert would be restored from");
    terminal.says("Type its name to go on:").asks(">").keys("expert\r").says("expert restored from").asks("action:");
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "10");

    terminal.keys("9\r").says("running, healthy").asks("action:");
    terminal.keys("10\r").asks("which:").keys("api\r").says("ready on port").keys("\x03").asks("action:");
    choose(&mut terminal, "11", "api").says("nothing to do").asks("action:");
    terminal.keys("12\r").says("storage driver").asks("action:");

    choose(&mut terminal, "4", "api").says(&format!("stop {}", stack.container("api"))).asks("Go on? [Y/n]");
    terminal.keys("n\r").says("nothing was changed").asks("action:");
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "true");
    // An answer that was typed with the choice, before anybody could see what it agrees to, is none.
    terminal.keys("4\r").asks("which:").keys("api\ry\r").asks("Go on? [Y/n]").keys("n\r").says("nothing was changed");
    terminal.asks("action:");
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "true");
    choose(&mut terminal, "4", "api").asks("Go on? [Y/n]").keys("\r").says("1 service stopped").asks("action:");
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "false");
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn the_list_shows_state_health_and_drift_at_40_and_at_80_columns() {
    let stack = site();
    stack.run(&["start", "db", "api"]).success();
    stack.rewrite(&SITE.replace("\"info\"", "\"debug\""));
    for columns in [40, 80] {
        let mut terminal = menu(&stack, columns);
        terminal.keys("3\r").asks("which:").says("slow");
        let lines = terminal.lines();
        let from = lines.iter().position(|line| line == "which:").unwrap();
        assert!(lines.iter().all(|line| console::measure_text_width(line) < columns.into()), "{lines:?}");
        let (header, db, api, slow) = (&lines[from + 1], &lines[from + 2], &lines[from + 3], &lines[from + 4]);
        assert!(header.contains("STATE") && header.contains("DRIFT"), "{header}");
        assert!(db.contains("healthy") && !db.contains("environment"), "{db}");
        assert!(api.contains("running") && api.contains("environment"), "{api}");
        assert!(slow.contains("missing"), "{slow}");
        // Databases too, with what is known of them.
        terminal.keys("\x1b").asks("action:").keys("7\r").asks("which:").says("minerva");
        let lines = terminal.lines();
        assert!(lines.iter().all(|line| console::measure_text_width(line) < columns.into()), "{lines:?}");
        assert!(terminal.text().contains("SIZE") && terminal.text().contains("none"), "{}", terminal.text());
        terminal.keys("0\r");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn ctrl_c_in_an_action_stops_it_safely_and_comes_back_to_the_menu() {
    let stack = site();
    let mut terminal = menu(&stack, 100);
    choose(&mut terminal, "3", "slow").asks("Go on? [Y/n]").keys("\r");
    eventually("it waits", || {
        fs::read_to_string(stack.site.state("journal.jsonl")).unwrap_or_default().contains("wait")
    });
    terminal.keys("\x03").says("stopping at the next safe point").says("stopped as asked").asks("action:");
    // And the menu goes on as before.
    choose(&mut terminal, "4", "slow").asks("Go on? [Y/n]").keys("\r").says("stopped; ").asks("action:");
    // At a question the same key leaves.
    terminal.keys("\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn an_error_shows_its_page_and_the_menu_again() {
    let stack = site();
    stack.rewrite(&SITE.replace("expert/expert_api:latest", "PROJECT/nowhere:1"));
    let mut terminal = menu(&stack, 100);
    choose(&mut terminal, "2", "api").says("error: ").says("does not exist").asks("action:");
    choose(&mut terminal, "3", "api").says("nowhere:1").asks("action:");
    terminal.keys("9\r").says("missing").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

/// `doctor` tries a GPU with a container, which an action that has asked for the lock makes only with the lock.
#[test]
fn a_look_after_an_action_that_could_not_be_begun_takes_no_lock() {
    let stack = Stack::new(
        r#"{ "project": "PROJECT", "services": {
             "api": {
               "image": "expert/expert_api:latest", "stop_signal": "SIGKILL", "ready": { "log": "ready on port" },
               "gpus": [{ "driver": "nvidia", "count": "all", "capabilities": ["gpu"], "required": false }] } } }"#,
    );
    stack.run(&["start"]).success();
    let journal = stack.site.state("journal.jsonl");
    let aside = journal.with_extension("aside");
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let mut terminal = menu(&stack, 100);
    choose(&mut terminal, "4", "api").asks("Go on? [Y/n]").keys("\r").says("error: ").asks("action:");
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "true", "{}", terminal.text());
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    terminal.keys("9\r").says("running").asks("action:");
    terminal.keys("12\r").says("no GPU").asks("action:");
    assert!(terminal.text().matches("error: ").count() <= 1, "{}", terminal.text());
    let locks = stack.docker(&["ps", "-aq", "--filter", &format!("name={}-dpl-lock", stack.project)]);
    assert_eq!(locks, "", "{}", terminal.text());
    // And the next action has its own.
    choose(&mut terminal, "4", "api").asks("Go on? [Y/n]").keys("\r").says("1 service stopped").asks("action:");
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn yes_asks_nothing_and_a_dry_run_only_shows() {
    let stack = site();
    let mut terminal = Terminal::open(&stack.site, &["stack.json", "--dry-run"], 100, 60);
    choose(&mut terminal, "3", "api").says(&format!("create {}", stack.container("api"))).asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.container("api"))]), "");
    let mut terminal = Terminal::open(&stack.site, &["--yes", "stack.json"], 100, 60);
    choose(&mut terminal, "3", "api").says("1 created; ").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
    assert!(!terminal.text().contains("Go on?"), "{}", terminal.text());
}

#[test]
fn a_chain_shows_every_plan_and_asks_once() {
    let stack = site();
    let chain = ["-f", "stack.json", "do", "3 - api - 4 - api"];
    let mut terminal = Terminal::open(&stack.site, &chain, 100, 60);
    terminal.says("3 - api: restart api").says("4 - api: stop api").asks("Go on? [Y/n]").keys("n\r");
    assert_eq!(terminal.end(), 1);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.container("api"))]), "");
    let mut terminal = Terminal::open(&stack.site, &chain, 100, 60);
    terminal.asks("Go on? [Y/n]").keys("\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "false");
}

#[test]
fn what_is_warned_of_before_the_question_is_not_said_again_behind_the_answer() {
    let stack = Stack::new(
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": {
             "cache": { "image": "redis:7.0", "ready": { "tcp": 6379 } },
             "web": { "image": "redis:7.0", "ready": { "tcp": 6379 }, "depends_on": ["cache"] } } }"#,
    );
    stack.run(&["start"]).success();
    let mut terminal = Terminal::open(&stack.site, &["-f", "stack.json", "remove", "cache"], 120, 60);
    terminal.says("cache is still needed by web").asks("Remove the container of cache? [y/N]").keys("y\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.text().matches("is still needed by").count(), 1, "{}", terminal.text());
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.container("cache"))]), "");
    // Where nothing was asked, it is said with the work.
    let run = stack.run(&["start", "cache"]).success();
    assert!(!run.stderr.contains("is still needed by"), "{}", run.stderr);
    let run = stack.run(&["remove", "cache", "--yes"]).success();
    assert_eq!(run.stderr.matches("is still needed by").count(), 1, "{}", run.stderr);
}
