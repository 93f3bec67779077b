//! Ctrl-C while a database is verified, converted, dropped, and small faults that a server brings on, on a real PostgreSQL.

use std::process::{Child, Command, Stdio};

use crate::support_engine::{Stack, eventually};

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"backups": "backups"},
  "databases": {"shop": {"service": "db", "seed": "seed"}},
  "services": {"db": {"image": "postgres:15", "shm_size": "256m",
    "command": ["postgres", "-c", "fsync=off", "-c", "max_prepared_transactions=5"],
    "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"}, "ready": {"tcp": 5432}}}}"#;

/// One row of it takes ten minutes to restore, and none to dump.
const SLOW: &str = "
CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
CREATE TABLE t (n int, s int GENERATED ALWAYS AS (slow(n)) STORED); INSERT INTO t SELECT generate_series(1, 7);
CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN PERFORM pg_catalog.pg_sleep(600); RETURN 1; END';";

struct Shop(Stack);

impl Shop {
    fn open(sql: &str) -> Self {
        let shop = Self(Stack::new(MANIFEST));
        shop.0.run(&["start", "--yes"]).success();
        eventually("the server takes connections", || shop.try_sql("postgres", "SELECT 1").is_some());
        shop.sql("postgres", "CREATE DATABASE shop");
        shop.sql("shop", sql);
        shop
    }

    fn try_sql(&self, database: &str, sql: &str) -> Option<String> {
        let container = self.0.container("db");
        let psql = ["exec", &container, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database];
        let output = self.docker(&[&psql[..], &["-c", sql]].concat());
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    #[track_caller]
    fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|| panic!("{database}: {sql}"))
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        let host = crate::support_engine::shared_engine();
        Command::new("docker").arg("--host").arg(host).args(arguments).output().unwrap()
    }

    /// Containers of dpl's own that work for this server.
    fn helpers(&self) -> Vec<String> {
        let label = format!("label=dpl.helper.server={}", self.0.inspect("db", "{{.Id}}"));
        self.0.docker(&["ps", "--quiet", "--filter", &label]).lines().map(str::to_owned).collect()
    }

    /// Whether a statement that sleeps runs in one of them, which is a server.
    fn a_helper_sleeps(&self) -> bool {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        self.helpers().iter().any(|helper| {
            let psql = ["exec", helper, "psql", "-XAt", "-h", "/dpl-server", "-U", "postgres", "-c", asked];
            String::from_utf8_lossy(&self.docker(&psql).stdout).trim() == "1"
        })
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.0.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn made(&self, arguments: &[&str]) {
        self.0.run(&[arguments, &["--yes"]].concat()).success();
    }
}

/// Presses Ctrl-C. What is under way would take ten minutes; two seconds are promised, and a machine of tests is busy.
#[track_caller]
fn interrupt(mut running: Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    eventually("it has ended", || running.try_wait().unwrap().is_some());
    assert_eq!(running.wait().unwrap().code(), Some(130));
}

#[test]
fn ctrl_c_ends_a_verification_and_its_server_with_it() {
    let shop = Shop::open(SLOW);
    shop.made(&["db", "backup", "shop"]);
    let verifying = shop.spawn(&["db", "verify", "shop"]);
    eventually("the row is on its way", || shop.a_helper_sleeps());
    interrupt(verifying);
    eventually("no helper is left", || shop.helpers().is_empty());
    // Nothing is said of the dump by that.
    let listed = shop.0.run(&["db", "list", "--json"]).success().json();
    assert!(listed["backups"][0]["found_bad"].is_null(), "{listed}");
}

#[test]
fn ctrl_c_ends_a_conversion_and_its_server_with_it() {
    let shop = Shop::open("CREATE TABLE t (n int)");
    shop.0.site.write("shop.sql", "CREATE TABLE t (n int);\nSELECT pg_catalog.pg_sleep(600);\n");
    let converting = shop.spawn(&["db", "convert", "shop.sql", "--output", "made"]);
    eventually("the statement runs", || shop.a_helper_sleeps());
    interrupt(converting);
    eventually("no helper is left", || shop.helpers().is_empty());
    assert!(!shop.0.site.file("made").exists());
}

/// Lets a run go until a failpoint, presses Ctrl-C there, and lets it go on.
#[track_caller]
fn interrupt_at(shop: &Shop, point: &str, arguments: &[&str]) -> String {
    let heard = std::fs::File::create(shop.0.site.file("heard")).unwrap();
    let mut command = shop.0.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
    command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1").env("DPL_LOG", "debug");
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(heard).spawn().unwrap();
    let process = running.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("it is at the point", || state().contains(") T "));
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::CONT).unwrap();
    eventually("it has ended", || running.try_wait().unwrap().is_some());
    let heard = std::fs::read_to_string(shop.0.site.file("heard")).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130), "{heard}");
    heard
}

#[test]
fn ctrl_c_ends_a_conversion_while_its_text_is_read() {
    let shop = Shop::open("CREATE TABLE t (n int)");
    // A gigabyte of comments: copies of one gzip member.
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut member, "-- nothing to be seen here\n".repeat(1 << 20).as_bytes()).unwrap();
    let member = member.finish().unwrap();
    let text: Vec<u8> = (0..40).flat_map(|_| member.iter().copied()).collect();
    std::fs::write(shop.0.site.file("shop.sql.gz"), text).unwrap();
    let arguments = ["db", "convert", "shop.sql.gz", "--output", "made", "--database", "shop"];
    let heard = interrupt_at(&shop, "databases.convert.before-scan", &arguments);
    assert!(!heard.contains("create?name=dpl-databases-"), "{heard}");
    assert!(!shop.0.site.file("made").exists());
}

#[test]
fn ctrl_c_between_two_dumps_leaves_the_second_unread() {
    let shop = Shop::open("CREATE TABLE t (n int)");
    shop.made(&["db", "backup", "shop"]);
    shop.made(&["db", "dump", "shop"]);
    // Folders that are named come before the last backups of databases.
    interrupt_at(&shop, "databases.verify.after-result", &["db", "verify", "--quick", "shop", "seed"]);
    assert!(shop.0.site.file("seed/verified.json").exists());
    let checked = || shop.0.run(&["db", "list", "--json"]).success().json()["backups"][0]["checked_at"].is_string();
    assert!(!checked());
    shop.made(&["db", "verify", "--quick", "shop", "seed"]);
    assert!(checked());
}

#[test]
fn a_throw_away_server_whose_work_was_killed_says_nothing_of_the_dump() {
    let shop = Shop::open(SLOW);
    shop.made(&["db", "backup", "shop"]);
    let mut command = shop.0.site.command(&["db", "verify", "shop", "--json", "--yes", "-f", "stack.json"]);
    let verifying = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the row is on its way", || shop.a_helper_sleeps());
    let kill = "kill -9 $(psql -XqAt -h /dpl-server -U postgres -c \"SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'\")";
    for helper in shop.helpers() {
        // Nobody there may kill what is another's, root included.
        shop.docker(&["exec", "--user", "postgres", &helper, "sh", "-c", kill]);
    }
    let output = verifying.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let verified: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(verified["verified"][0]["damage"].is_null(), "{said}");
    assert!(verified["verified"][0]["untried"].is_string(), "{said}");
    // Why it could not be tried stands beside the list.
    let listed = shop.0.run(&["db", "list"]).success();
    assert!(listed.stderr.contains("could not be tried"), "{}", listed.stderr);
    eventually("no helper is left", || shop.helpers().is_empty());
}

#[test]
fn a_throw_away_server_and_a_dump_on_a_volume_end_before_the_engines_disk_is_full() {
    let mut shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n; SELECT lo_create(0)");
    shop.made(&["db", "backup", "shop"]);
    shop.0.site.write("shop.sql", "CREATE TABLE t (n int);\nSELECT pg_catalog.pg_sleep(600);\n");
    shop.0.site.set("DPL_PRETENDS", "databases.engine-disk-full");
    let full = |arguments: &[&str]| {
        let run = shop.0.run(&[arguments, &["--yes"]].concat()).failure(1);
        assert!(run.stderr.contains("MiB are left on the engine's disk"), "{}", run.stderr);
    };
    full(&["db", "convert", "shop.sql", "--output", "made"]);
    assert!(!shop.0.site.file("made").exists());
    // Nothing is said of the dump by that.
    full(&["db", "verify", "shop"]);
    let listed = shop.0.run(&["db", "list", "--json"]).success().json();
    assert!(listed["backups"][0]["found_bad"].is_null(), "{listed}");
    // One that has the folder itself does not fill the engine's disk.
    shop.made(&["db", "backup", "shop"]);
    shop.0.site.set("DPL_ENGINE_ELSEWHERE", "1");
    let full = |arguments: &[&str]| {
        let run = shop.0.run(&[arguments, &["--yes"]].concat()).failure(1);
        assert!(run.stderr.contains("MiB are left on the engine's disk"), "{}", run.stderr);
    };
    full(&["db", "backup", "shop"]);
    let listed = shop.0.run(&["db", "list", "--json"]).success().json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "{listed}");
    eventually("no helper is left", || shop.helpers().is_empty());
}

#[test]
fn a_second_dump_takes_the_place_of_the_first_where_two_names_can_not_be_exchanged() {
    let mut shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.0.site.set("DPL_PRETENDS", "fs.no-exchange");
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    // Killed between its two steps, the next one finds the first seed again.
    let mut command = shop.0.site.command(&["db", "dump", "shop", "--yes", "-f", "stack.json"]);
    let killed = command.env("DPL_FAILPOINT", "databases.seed.old-is-aside").output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(9));
    assert!(!shop.0.site.file("seed").exists());
    shop.made(&["db", "dump", "shop"]);
    let record = std::fs::read_to_string(shop.0.site.file("seed/backup.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["tables"][0]["rows"], 8, "{record}");
    shop.made(&["db", "verify", "seed"]);
    let hidden = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut left = std::fs::read_dir(shop.0.site.path()).unwrap().map(hidden);
    assert!(!left.any(|name| name.starts_with(".dpl-")), "something was left");
}

#[test]
fn a_seed_that_is_a_mounted_file_system_is_not_replaced_and_that_is_said() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    std::fs::create_dir(shop.0.site.file("seed")).unwrap();
    let inner = shop.0.site.command(&["db", "dump", "shop", "--yes", "-f", "stack.json"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none seed && exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(shop.0.site.path());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a file system is mounted there"), "{said}");
}

#[test]
fn a_server_that_ends_behind_a_swap_is_named_with_its_exit_code() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    let heard = std::fs::File::create(shop.0.site.file("heard")).unwrap();
    let mut command = shop.0.site.command(&["db", "rebuild", "shop", "--yes", "-f", "stack.json"]);
    command.env("DPL_FAILPOINT", "databases.rebuild.before-drop").env("DPL_FAILPOINT_FREEZES", "1");
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(heard).spawn().unwrap();
    let process = running.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("it is about to drop", || state().contains(") T "));
    shop.0.docker(&["kill", &shop.0.container("db")]);
    assert!(Command::new("kill").args(["-CONT", &process.to_string()]).status().unwrap().success());
    eventually("it has given up", || running.try_wait().unwrap().is_some());
    assert_eq!(running.wait().unwrap().code(), Some(1));
    let heard = std::fs::read_to_string(shop.0.site.file("heard")).unwrap();
    assert!(heard.contains("`shop` has the new data"), "{heard}");
    assert!(heard.contains("ended during the work (exit code 137)"), "{heard}");
}

#[test]
fn what_opens_a_database_again_is_set_once_more_where_it_has_ended_before_the_swap() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    // A patch that goes on when there is a role.
    let waits = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'go_on') \
         LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;";
    shop.0.site.write("waits.sql", waits);
    shop.0.rewrite(&MANIFEST.replace(r#""seed": "seed""#, r#""seed": "seed", "patches": ["waits.sql"]"#));
    let mut rebuilding = shop.spawn(&["db", "rebuild", "shop"]);
    let container = shop.0.container("db");
    let kill = r#"for mark in /tmp/dpl-guard-*; do kill -9 "${mark##*-}" && rm "$mark"; done"#;
    let is_killed = || shop.docker(&["exec", &container, "sh", "-c", kill]).status.success();
    eventually("it was set, and is killed", is_killed);
    shop.sql("postgres", "CREATE ROLE go_on");
    eventually("it has ended", || rebuilding.try_wait().unwrap().is_some());
    assert_eq!(rebuilding.wait().unwrap().code(), Some(0));
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "7");
}

/// Nobody leaves such a state but somebody who has renamed databases by hand.
#[test]
fn a_database_that_is_gone_while_its_old_one_is_there_is_put_back_by_what_the_error_says() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    shop.made(&["db", "rebuild", "shop", "--keep-old", "1"]);
    let kept = shop.sql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '~kept~'");
    let old = kept.replace("~kept~", "~old~");
    shop.sql("postgres", &format!("ALTER DATABASE \"{kept}\" RENAME TO \"{old}\""));
    shop.sql("postgres", "DROP DATABASE shop");
    let refused = shop.0.run(&["db", "rebuild", "shop", "--yes"]).failure(1);
    assert!(refused.stderr.contains(&format!("`dpl db leftovers keep '{old}'`")), "{}", refused.stderr);
    shop.made(&["db", "leftovers", "keep", &old]);
    shop.made(&["db", "rollback", "shop"]);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "8");
}

#[test]
fn ctrl_c_ends_a_drop_that_waits_for_somebody() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    shop.made(&["db", "rebuild", "shop", "--keep-old", "1"]);
    let kept = shop.sql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '~kept~'");
    let hold = format!("BEGIN; COMMENT ON DATABASE \"{kept}\" IS 'held'; SELECT pg_sleep(600)");
    let container = shop.0.container("db");
    shop.docker(&["exec", "--detach", &container, "psql", "-U", "postgres", "-c", &hold]);
    let held = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'COMMENT ON' AND wait_event = 'PgSleep'";
    eventually("somebody holds it", || shop.sql("postgres", held) == "1");
    let dropping = shop.spawn(&["db", "leftovers", "drop", &kept]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^DROP DATABASE' AND wait_event_type = 'Lock' \
         AND state = 'active'";
    eventually("the drop waits", || shop.sql("postgres", waits) == "1");
    interrupt(dropping);
    eventually("the server has heard of it", || shop.sql("postgres", waits) == "0");
    assert_eq!(shop.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ '~kept~'"), "1");
}

#[test]
fn ctrl_c_ends_a_patch_at_the_server_and_the_present_database_stays() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    shop.0.site.write("first.sql", "DELETE FROM t;\n");
    shop.0.site.write("second.sql", "SELECT pg_catalog.pg_sleep(600);\n");
    let patches = r#""seed": "seed", "patches": ["first.sql", "second.sql"]"#;
    shop.0.rewrite(&MANIFEST.replace(r#""seed": "seed""#, patches));
    let rebuilding = shop.spawn(&["db", "rebuild", "shop"]);
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname ~ '~new~' AND wait_event = 'PgSleep'";
    eventually("the second patch runs", || shop.sql("postgres", sleeps) == "1");
    interrupt(rebuilding);
    eventually("the server has heard of it", || shop.sql("postgres", sleeps) == "0");
    eventually("no helper is left", || shop.helpers().is_empty());
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "8");
    assert_eq!(shop.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ '~'"), "0");
}

#[test]
fn a_place_for_backups_that_can_not_be_written_is_told_before_anything_is_replaced() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    // Where a folder should be, root can't write either.
    shop.0.site.write("backups", "no folder");
    let refused = shop.0.run(&["db", "rebuild", "shop", "--yes"]).failure(1);
    assert!(refused.stderr.contains("can't be backed up"), "{}", refused.stderr);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "8");
    assert_eq!(shop.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ '~'"), "0");
    // Who wants none needs no place.
    shop.made(&["db", "rebuild", "shop", "--no-backup"]);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "7");
}

const IS_BEFORE_15: &str = "SELECT current_setting('server_version_num')::int < 150000";

#[test]
fn what_is_restored_beside_is_not_held_up_by_the_database_that_stays_and_asks_for_no_checkpoint() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "backup", "shop"]);
    shop.sql("shop", "BEGIN; INSERT INTO t VALUES (8); PREPARE TRANSACTION 'somebody'");
    // A view of its own from 17 on.
    let (view, count) =
        match shop.sql("postgres", "SELECT current_setting('server_version_num')::int >= 170000").as_str() {
            "t" => ("checkpointer", "num_requested"),
            _ => ("bgwriter", "checkpoints_req"),
        };
    let asked_for = format!("SELECT {count} FROM pg_stat_{view}");
    let before = shop.sql("postgres", &format!("SELECT pg_stat_reset_shared('{view}'); {asked_for}"));
    for pretends in ["", "databases.large"] {
        let name = format!("beside{}", pretends.len());
        let mut command = shop.0.site.command(&["db", "restore", "shop", "--as", &name, "--yes", "-f", "stack.json"]);
        let output = command.env("DPL_PRETENDS", pretends).output().unwrap();
        assert!(output.status.success(), "{pretends}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(shop.sql(&name, "SELECT count(*) FROM t"), "7");
    }
    // A checkpoint is felt by all databases of the server, and nothing is dropped here. Before 15, CREATE DATABASE itself asks
    // for two.
    let of_create = if shop.sql("postgres", IS_BEFORE_15) == "t" { 2 * 2 } else { 0 };
    let before: u32 = before.lines().last().unwrap().parse().unwrap();
    assert_eq!(shop.sql("postgres", &asked_for), (before + of_create).to_string());
    // Nor is a name taken that the server would cut.
    let long = "档".repeat(22);
    let run = shop.0.run(&["db", "restore", "shop", "--as", &long, "--yes"]).failure(1);
    assert!(run.stderr.contains("66 bytes"), "{}", run.stderr);
    shop.sql("shop", "ROLLBACK PREPARED 'somebody'");
}

#[test]
fn a_server_that_does_not_answer_in_a_swap_is_asked_now_and_then() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.made(&["db", "dump", "shop"]);
    let heard = std::fs::File::create(shop.0.site.file("heard")).unwrap();
    let mut command = shop.0.site.command(&["db", "rebuild", "shop", "--yes", "-f", "stack.json"]);
    command.env("DPL_FAILPOINT", "databases.rebuild.before-renames").env("DPL_FAILPOINT_FREEZES", "1");
    let mut running =
        command.env("DPL_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(heard).spawn().unwrap();
    let process = running.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("it is about to rename", || state().contains(") T "));
    shop.0.docker(&["kill", &shop.0.container("db")]);
    assert!(Command::new("kill").args(["-CONT", &process.to_string()]).status().unwrap().success());
    eventually("it has given up", || running.try_wait().unwrap().is_some());
    assert_eq!(running.wait().unwrap().code(), Some(1));
    let heard = std::fs::read_to_string(shop.0.site.file("heard")).unwrap();
    let asked = heard.lines().filter(|line| line.contains("/exec ")).count();
    // Twenty seconds long, two questions each time, with longer and longer pauses.
    assert!((2..80).contains(&asked), "{asked} programs were started\n{heard}");
}

#[test]
#[ignore = "five turns in which a server ends connections take minutes: scripts/soak.sh runs it"]
fn rows_stay_where_they_are_while_somebody_who_can_not_be_sent_away_may_write() {
    let shop = Shop::open("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 7)");
    shop.0.rewrite(
        &MANIFEST.replace(r#""seed": "seed""#, r#""seed": "seed", "preserve": [{"table": "t", "key": ["n"]}]"#),
    );
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "INSERT INTO t VALUES (8)");
    let container = shop.0.container("db");
    shop.docker(&[
        "exec",
        "--detach",
        &container,
        "psql",
        "-U",
        "postgres",
        "-d",
        "shop",
        "-c",
        "SELECT pg_sleep(600)",
    ]);
    let asleep = "SELECT pid FROM pg_stat_activity WHERE datname = 'shop' AND wait_event = 'PgSleep'";
    eventually("somebody is connected", || !shop.sql("postgres", asleep).is_empty());
    let backend = shop.sql("postgres", asleep);
    let signal = |signal: &str| shop.0.docker(&["exec", &container, "sh", "-c", &format!("kill -{signal} {backend}")]);
    // It hears nothing of an end any more.
    signal("STOP");
    let run = shop.0.run(&["db", "rebuild", "shop", "--yes"]);
    signal("CONT");
    let run = run.failure(1);
    assert!(run.stderr.contains("connections to `shop`"), "{}", run.stderr);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "8");
    assert_eq!(shop.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ '~'"), "0");
}

#[test]
fn a_server_is_asked_once_for_all_its_databases() {
    let shop = Shop::open("CREATE TABLE t (n int)");
    let programs = |manifest: &str| {
        shop.0.rewrite(manifest);
        let mut command = shop.0.site.command(&["db", "list", "-f", "stack.json"]);
        let output = command.env("DPL_LOG", "debug").output().unwrap();
        let heard = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{heard}");
        heard.lines().filter(|line| line.contains("/exec ")).count()
    };
    let one = programs(MANIFEST);
    let three = programs(
        &MANIFEST.replace(r#""databases": {"#, r#""databases": {"a": {"service": "db"}, "b": {"service": "db"}, "#),
    );
    assert_eq!((one, three), (1, 1));
}

/// A program that is started in a container takes longer than a small database to dump.
#[test]
fn a_small_backup_starts_one_program_and_has_its_servers_number() {
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    let mut command = shop.0.site.command(&["db", "backup", "shop", "--yes", "--json", "-f", "stack.json"]);
    let output = command.env("DPL_LOG", "debug").output().unwrap();
    let heard = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{heard}");
    assert_eq!(heard.lines().filter(|line| line.contains("/exec ")).count(), 1, "{heard}");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = made["backups"][0]["path"].as_str().unwrap();
    let record = std::fs::read_to_string(shop.0.site.path().join(folder).join("backup.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let number = shop.sql("shop", "SELECT system_identifier FROM pg_control_system()");
    assert_eq!(record["server_identifier"].as_str(), Some(number.as_str()), "{record}");
}

#[test]
fn rows_of_tables_that_inherit_live_on_where_these_are_named_too() {
    let shop = Shop::open(
        "CREATE TABLE parent (n int PRIMARY KEY, text text); CREATE TABLE heir (more int, PRIMARY KEY (n)) INHERITS (parent);
         INSERT INTO parent VALUES (1, 'theirs'); INSERT INTO heir VALUES (2, 'theirs', 1)",
    );
    shop.made(&["db", "dump", "shop"]);
    shop.sql("shop", "UPDATE parent SET text = 'mine'; INSERT INTO heir VALUES (3, 'mine', 2)");
    let rows = "SELECT string_agg(tableoid::regclass || ' ' || n || ' ' || text, ', ' ORDER BY n) FROM parent";
    let rebuilt = |preserve: &str| {
        let preserve = format!(r#""seed": "seed", "preserve": [{preserve}]"#);
        shop.0.rewrite(&MANIFEST.replace(r#""seed": "seed""#, &preserve));
        let run = shop.0.run(&["db", "rebuild", "shop", "--yes"]).success();
        (shop.sql("shop", rows), run.stderr)
    };
    let both = r#"{"table": "parent", "key": ["n"]}, {"table": "heir", "key": ["n"]}"#;
    let (found, said) = rebuilt(both);
    assert_eq!(found, "parent 1 mine, heir 2 mine, heir 3 mine");
    assert!(!said.contains("public.heir"), "{said}");
    // The rows of one that is not named are the seed's, and that is said.
    let (found, said) = rebuilt(r#"{"table": "parent", "key": ["n"]}"#);
    assert_eq!(found, "parent 1 mine, heir 2 theirs");
    assert!(said.contains("public.heir"), "{said}");
}

/// Both ways of a dump give the same database.
#[test]
fn a_small_database_dumped_without_a_container_of_its_own_is_as_any_other() {
    let shop = Shop::open(
        "CREATE SCHEMA \"档 案\"; CREATE TABLE \"档 案\".\"x\"\"; y\" AS SELECT n, md5(n::text) AS text FROM generate_series(1, 30000) n;
         CREATE TABLE empty (); CREATE TABLE parts (id int) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (99); INSERT INTO parts SELECT generate_series(1, 9)",
    );
    let digests = || {
        ["part", "\"档 案\".\"x\"\"; y\""].map(|table| {
            shop.sql("shop", &format!("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"))
        })
    };
    let wanted = digests();
    let mut records = Vec::new();
    for (pretends, helps) in [("", false), ("databases.large", true)] {
        let run = |arguments: &[&str]| {
            let mut command = shop.0.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
            let output = command.env("DPL_PRETENDS", pretends).env("DPL_LOG", "debug").output().unwrap();
            let heard = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{heard}");
            assert_eq!(heard.contains("create?name=dpl-databases-"), helps, "{heard}");
        };
        run(&["db", "dump", "shop"]);
        let record = std::fs::read_to_string(shop.0.site.file("seed/backup.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let file = |file: &serde_json::Value| file["path"].as_str().map(str::to_owned);
        let files: Vec<_> = record["files"].as_array().unwrap().iter().map(file).collect();
        records.push((record["tables"].clone(), files));
        shop.made(&["db", "verify", "seed"]);
        shop.sql("shop", "TRUNCATE parts");
        run(&["db", "rebuild", "shop", "--no-backup"]);
        assert_eq!(digests(), wanted, "{pretends}");
    }
    let rows = |tables: &serde_json::Value| {
        let of = |table: &serde_json::Value| (table["name"].to_string(), table["rows"].as_u64());
        tables.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(rows(&records[0].0), rows(&records[1].0));
    assert_eq!(records[0].1.len(), records[1].1.len());
}

/// For who has no place in the server's container to put one table's rows.
#[test]
fn a_server_without_any_place_for_files_is_dumped_with_a_helper() {
    let hardened = MANIFEST
        .replace(r#""shm_size": "256m""#, r#""shm_size": "256m", "read_only": true, "tmpfs": ["/var/run/postgresql"]"#);
    let shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.0.rewrite(&hardened);
    shop.0.run(&["restart", "db", "--yes"]).success();
    eventually("the server takes connections", || shop.try_sql("shop", "SELECT 1").is_some());
    shop.made(&["db", "backup", "shop"]);
    shop.made(&["db", "verify", "shop"]);
}

/// pg_dump compresses where its helper is, and its table of contents says so: a tar may not begin with that.
#[test]
fn a_small_database_dumped_with_a_helper_of_an_engine_elsewhere_is_restored() {
    let mut shop = Shop::open("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    shop.0.site.set("DPL_ENGINE_ELSEWHERE", "1");
    shop.0.site.set("DPL_PRETENDS", "databases.large");
    shop.made(&["db", "backup", "shop"]);
    shop.0.site.set("DPL_PRETENDS", "");
    shop.sql("shop", "DELETE FROM t");
    shop.made(&["db", "restore", "shop", "--no-backup"]);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM t"), "7");
}
