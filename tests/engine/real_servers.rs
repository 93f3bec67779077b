//! Servers as sites have them: hardened, with limits on everything, and full of what PostgreSQL can hold. On a real
//! PostgreSQL that is set up so.

use std::process::Command;
use std::time::{Duration, Instant};

use dpl::databases::{
    self, BackupSettings, Credentials, DatabasesError, Identity, Jobs, LockPatience, OldDatabase, Origin, Patches,
    PreservedRows, RebuildOptions, Server,
};
use dpl::engine::{ContainerSpec, ExecSession, ExecSpec};

use crate::databases::{Site, image};
use crate::support_engine::{Stack, eventually};

/// How many tables there are; `DPL_MANY` makes more of everything (scripts/soak.sh).
fn many(ordinary: u32) -> u32 {
    std::env::var("DPL_MANY").ok().and_then(|times| times.parse::<u32>().ok()).unwrap_or(1) * ordinary
}

/// No statement, lock, session or transaction may take long here, nothing but the data folder can be written, and the lock
/// table is small.
fn hardened(spec: &mut ContainerSpec) {
    let settings = [
        "statement_timeout=40",
        "lock_timeout=40",
        "idle_in_transaction_session_timeout=200",
        "idle_session_timeout=200",
        "max_locks_per_transaction=10",
        "max_connections=30",
        "extra_float_digits=0",
        "DateStyle=German",
        "IntervalStyle=sql_standard",
        "wal_level=logical",
        "fsync=off",
    ];
    let words = settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
    spec.command = Some(["postgres".to_owned()].into_iter().chain(words).collect());
    spec.read_only = true;
    spec.tmpfs.insert("/var/run/postgresql".to_owned(), String::new());
}

/// Fills `expert`. Each statement for itself: a transaction can't lock so many tables.
async fn fill(site: &Site) {
    site.sql(
        "postgres",
        "CREATE DATABASE expert; CREATE ROLE reader; ALTER ROLE postgres SET statement_timeout = '30ms'",
    )
    .await;
    let tables = many(300);
    let text = format!(
        "SELECT format('CREATE TABLE t%s (n int PRIMARY KEY, a int, b text)', i) FROM generate_series(1, {tables}) AS i \\gexec
         SELECT format('CREATE INDEX ON t%s (a); CREATE INDEX ON t%1$s (b); INSERT INTO t%1$s VALUES (1, 2, %2$L)', i, 'x')
           FROM generate_series(1, {tables}) AS i \\gexec
         CREATE TABLE measured (day date, value float8) PARTITION BY RANGE (day);
         SELECT format('CREATE TABLE measured_%s PARTITION OF measured FOR VALUES FROM (%L) TO (%L)', i,
           date '2026-01-01' + i, date '2026-01-02' + i) FROM generate_series(0, {partitions}) AS i \\gexec
         INSERT INTO measured SELECT date '2026-01-01' + i, i / 3::float8 FROM generate_series(0, {partitions}) AS i;
         SELECT count(lo_from_bytea(0, decode(md5(i::text), 'hex'))) FROM generate_series(1, 500) AS i;
         SELECT count(lo_from_bytea(0, decode(md5(i::text), 'hex'))) FROM generate_series(501, {objects}) AS i;
         CREATE TABLE exact (name text PRIMARY KEY, f float8, at timestamptz, took interval);
         INSERT INTO exact VALUES ('a', 0.1::float8 + 0.2, '2026-03-04 05:06:07.891011+00', '1 mon 2 days 03:04:05.678');
         CREATE UNLOGGED TABLE cache AS SELECT generate_series(1, 9) AS n;
         CREATE TABLE secret AS SELECT generate_series(1, 5) AS n; ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
         ALTER TABLE secret FORCE ROW LEVEL SECURITY; CREATE POLICY p ON secret TO reader USING (n = 1);
         CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
         CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watched();
         CREATE PUBLICATION everything FOR ALL TABLES;
         ALTER DATABASE expert SET statement_timeout = '20ms'; ALTER DATABASE expert SET extra_float_digits = 0;",
        partitions = many(40) - 1,
        objects = if many(1) > 1 { 300_000 } else { 1100 },
    );
    site.sql("expert", &text).await;
}

/// All that must come back, in a few words.
const SEEN: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace),
  (SELECT count(*) FROM pg_largeobject_metadata), (SELECT md5(string_agg(md5(data), '' ORDER BY md5(data))) FROM pg_largeobject),
  (SELECT sum(value)::text FROM measured), (SELECT count(*) FROM cache), (SELECT count(*) FROM secret),
  (SELECT f = 0.1::float8 + 0.2 AND at = '2026-03-04 05:06:07.891011+00' AND took = '1 mon 2 days 03:04:05.678' FROM exact
    WHERE name = 'a'), (SELECT count(*) FROM pg_publication), (SELECT evtenabled FROM pg_event_trigger))";

async fn until(site: &Site, what: &str) {
    until_in(site, "postgres", what).await;
}

async fn until_in(site: &Site, database: &str, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.sql(database, what).await != "t" {
        assert!(Instant::now() < deadline, "{what} never became true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hardened_server_full_of_everything_is_backed_up_verified_and_rebuilt() {
    let site = Site::start_as(&image(), hardened).await;
    fill(&site).await;
    let before = site.sql("expert", SEEN).await;
    let made = databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    assert_eq!(made.tables as u32, many(300) + many(40) + 3);
    // More large objects than are named one by one, and the record reads back.
    let record = std::fs::read_to_string(site.seed().join("backup.json")).unwrap();
    assert!(record.contains("large_object_files") && !record.contains("blob_"), "{}", &record[..2000]);
    assert_eq!(databases::dump_at(&site.seed()).unwrap().rows, made.rows);

    site.sql(
        "expert",
        "INSERT INTO exact VALUES ('mine', 0.1::float8 + 0.2, '2026-03-04 05:06:07.891011+00', '1 day')",
    )
    .await;
    let rows = PreservedRows { table: "exact".to_owned(), key: vec!["name".to_owned()], ..Default::default() };
    let options = RebuildOptions { preserve: vec![rows], ..site.rebuild_options() };
    let report = site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert!(report.backup.is_some_and(|backup| backup.verified_at.is_some()));
    assert_eq!(site.sql("expert", SEEN).await, before);
    assert_eq!(site.sql("expert", "SELECT f = 0.1::float8 + 0.2 FROM exact WHERE name = 'mine'").await, "t");

    // What consumers of this database would lose, and what would keep it from being dropped, is said before.
    let refused = async |what: &str| {
        let error = site.rebuild("expert").await.unwrap_err();
        let DatabasesError::Unfit { problems, .. } = &error else { panic!("{error:?}") };
        assert!(problems.iter().any(|problem| problem.contains(what)), "{problems:?}");
    };
    site.sql("expert", "SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    refused("debezium").await;
    site.sql("expert", "SELECT pg_drop_replication_slot('debezium')").await;
    site.sql("expert", "CREATE SUBSCRIPTION from_afar CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)")
        .await;
    refused("from_afar").await;
    site.sql("expert", "ALTER SUBSCRIPTION from_afar SET (slot_name = NONE); DROP SUBSCRIPTION from_afar").await;

    // The lock of a session that ended meanwhile holds nobody off: nothing is replaced then.
    let ended = async {
        until(&site, "SELECT count(*) > 0 FROM pg_database WHERE datname ~ '~new~'").await;
        site.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'").await
    };
    let (rebuilt, _) = tokio::join!(site.rebuild("expert"), ended);
    assert!(matches!(rebuilt, Err(DatabasesError::LockLost { .. })), "{rebuilt:?}");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

/// Somebody who works in `expert` until they are told to end.
async fn somebody(site: &Site, statements: &str) -> ExecSession {
    let options = "dbname=expert user=postgres options='-c statement_timeout=0 -c lock_timeout=0'";
    let command = ["psql", "-Xq", "-d", options, "-c", statements].map(str::to_owned).into();
    site.engine.start_exec(&site.container, &ExecSpec { command, ..Default::default() }).await.unwrap()
}

async fn end_somebody(site: &Site) {
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'somebody' AND pid <> pg_backend_pid()";
    site.sql("postgres", end).await;
    until(site, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'somebody'").await;
}

#[tokio::test]
async fn what_pg_dump_can_dump_can_be_backed_up_and_what_keeps_it_from_that_is_told() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    // A query of it can't be planned under another search_path than its own.
    site.sql(
        "expert",
        "CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
         CREATE FUNCTION searched(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT plain($1)';
         CREATE TABLE users (id int PRIMARY KEY, name text); CREATE INDEX ON users (searched(name));
         INSERT INTO users SELECT n, n::text FROM generate_series(1, 7) AS n",
    )
    .await;
    let back_up = async |patience: u64, jobs: u16| {
        let patience = LockPatience(Duration::from_secs(patience));
        let settings = BackupSettings { patience, jobs: Jobs::new(jobs).unwrap(), ..site.backup_settings() };
        databases::backup(&site.server, "expert", &settings, &site.reporter).await
    };
    assert_eq!(back_up(60, 2).await.unwrap().rows, 7);

    // Somebody has a table for themselves, and does not let go.
    let held =
        "SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND locktype = 'relation'";
    let holder =
        somebody(&site, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600) /* somebody */").await;
    until(&site, held).await;
    let error = back_up(1, 2).await.unwrap_err();
    assert!(matches!(error, DatabasesError::LockedByOthers { seconds: 1, .. }), "{error:?}");
    end_somebody(&site).await;
    drop(holder);

    // Somebody wants a table for themselves as soon as pg_dump has it, and its other processes come behind them.
    let wants = "DO $$ BEGIN LOOP
          PERFORM FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'AccessShareLock' AND pid <> pg_backend_pid();
          EXIT WHEN FOUND; PERFORM pg_sleep(0.002);
        END LOOP; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; END $$ /* somebody */";
    let wanting = somebody(&site, wants).await;
    until(&site, "SELECT count(*) > 1 FROM pg_stat_activity WHERE query ~ 'somebody'").await;
    assert_eq!(back_up(60, 2).await.unwrap().rows, 7);
    assert!(site.said().contains(&"databases-dumped-alone"), "{:?}", site.said());
    drop(wanting);
    // The first error is told, and not what follows from it: a page that can't be read, of a copy that nobody has read yet.
    end_somebody(&site).await;
    site.sql("postgres", "CREATE DATABASE broken TEMPLATE expert STRATEGY file_copy").await;
    let file =
        site.sql("broken", "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('users')").await;
    let noise = format!("head -c 8192 /dev/urandom | dd of={file} conv=notrunc");
    let spec = ExecSpec { command: ["sh", "-c", &noise].map(str::to_owned).into(), ..Default::default() };
    assert_eq!(site.engine.exec(&site.container, &spec, b"").await.unwrap().exit_code, 0);
    let error = databases::backup(&site.server, "broken", &site.backup_settings(), &site.reporter).await.unwrap_err();
    assert!(format!("{error:?}").contains("invalid page"), "{error:?}");
    site.end().await;
}

#[tokio::test]
async fn a_backup_after_a_rebuild_from_a_smaller_seed_is_compared_with_nothing() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE t AS SELECT 1 AS n, ''::text AS x").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n").await;
    let report = site.rebuild("expert").await.unwrap();
    assert_eq!(report.backup.unwrap().rows, 100_001);
    let back_up = async || databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await;
    assert_eq!(back_up().await.unwrap().rows, 1);
    // From the next one on it counts again.
    site.sql("expert", "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n").await;
    back_up().await.unwrap();
    site.sql("expert", "TRUNCATE t").await;
    assert!(matches!(back_up().await, Err(DatabasesError::Emptied { .. })));

    // The name of what was replaced has the time when people stopped writing to it, and not when the restore began.
    let patch = site.folder.path().join("patch.sql");
    std::fs::write(&patch, "SELECT pg_sleep(1.1); DO $$ BEGIN RAISE NOTICE 'for whoever looks'; END $$;").unwrap();
    let patches = Patches { files: vec![patch], ..Patches::default() };
    let old = OldDatabase::Keep { count: 1, backup: site.backup_settings() };
    let options = RebuildOptions { patches, old, ..site.rebuild_options() };
    let begun = async {
        let new = "SELECT coalesce(min(datname), '') FROM pg_database WHERE datname ~ '~new~'";
        let mut name = String::new();
        while name.is_empty() {
            name = site.sql("postgres", new).await;
        }
        name
    };
    let seed = site.seed();
    let (rebuilt, new) = tokio::join!(site.rebuild_from("expert", &seed, &options), begun);
    let kept = rebuilt.unwrap().kept_as.unwrap();
    let time = |name: &str| name.split('~').nth(2).unwrap().to_owned();
    assert!(time(&kept) > time(&new), "{kept} {new}");
    assert!(site.said().contains(&"databases-patch-said"), "{:?}", site.said());

    // Settings that this server does not know are no reason to have no database.
    let path = site.seed().join("backup.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let settings = r#""settings": [{"role": null, "values": ["operator_precedence_warning=on", "work_mem=9MB"]}]"#;
    std::fs::write(&path, record.replacen(r#""settings": []"#, settings, 1)).unwrap();
    let options = RebuildOptions { identity: Identity::Any, ..site.rebuild_options() };
    assert!(site.rebuild_from("anew", &site.seed(), &options).await.unwrap().created);
    assert_eq!(site.sql("anew", "SHOW work_mem").await, "9MB");
    assert!(site.said().contains(&"databases-setting-left-out"), "{:?}", site.said());
    site.end().await;
}

#[tokio::test]
async fn rows_of_an_encoding_that_nobody_declared_live_on() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        .await;
    // 档案 in GBK.
    let gbk = "convert_from('\\xb5b5b0b8', 'SQL_ASCII')";
    site.sql("expert", &format!("CREATE TABLE t (n int PRIMARY KEY, x text); INSERT INTO t VALUES (1, {gbk})")).await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", &format!("INSERT INTO t VALUES (2, {gbk})")).await;
    let rows = PreservedRows { table: "t".to_owned(), key: vec!["n".to_owned()], ..Default::default() };
    let options = RebuildOptions { preserve: vec![rows], ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t WHERE x::bytea = '\\xb5b5b0b8'").await, "2");
    site.end().await;
}

#[test]
fn what_is_listed_through_the_socket_is_backed_up_and_one_that_fails_keeps_nobody_from_it() {
    let stack = Stack::new(
        r#"{"project": "PROJECT", "paths": {"backups": "backups"},
          "databases": {"one": {"service": "db"}, "gone": {"service": "db"}, "two": {"service": "db"}},
          "services": {"db": {"image": "postgres:15",
            "command": ["postgres", "-c", "listen_addresses=", "-c", "port=5433", "-c", "fsync=off"],
            "environment": {"POSTGRES_USER_FILE": "/run/user", "POSTGRES_PASSWORD_FILE": "/run/password"},
            "volumes": ["./user:/run/user:ro", "./password:/run/password:ro"]}}}"#,
    );
    stack.site.write("user", "boss\n");
    stack.site.write("password", "secret\n");
    stack.run(&["start", "--yes"]).success();
    let container = stack.container("db");
    let engine = stack.engine.clone();
    let psql = |sql: &str| {
        let place = ["exec", &container, "psql", "-h", "/var/run/postgresql", "-p", "5433", "-U", "boss", "-XqAt"];
        Command::new("docker").args(place).args(["-d", "postgres", "-c", sql]).env("DOCKER_HOST", &engine).output()
    };
    eventually(60, "the server answers", || psql("SELECT 1").is_ok_and(|output| output.status.success()));
    for sql in ["CREATE DATABASE one", "CREATE DATABASE two"] {
        assert!(psql(sql).unwrap().status.success());
    }
    let listed = stack.run(&["db", "list", "--json"]).success().json();
    let there: Vec<&str> =
        listed["databases"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(there, ["one", "gone", "two"], "{listed}");
    // One of three is not there: the others are backed up all the same.
    let run = stack.run(&["db", "backup", "--json", "--yes"]).failure(1);
    let made = run.json();
    let names = |list: &str| -> Vec<String> {
        made[list].as_array().unwrap().iter().map(|one| one["database"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names("backups"), names("failed")),
        (vec!["one".to_owned(), "two".to_owned()], vec!["gone".to_owned()])
    );
    assert!(run.stderr.contains("there is no database `gone`"), "{}", run.stderr);
    stack.run(&["db", "restore", "one", "--yes", "--no-backup"]).success();

    // The last bytes of the disk are the server's.
    let mut stack = stack;
    let backups = |stack: &Stack| std::fs::read_dir(stack.site.file("backups/databases/one")).unwrap().count();
    let before = backups(&stack);
    stack.site.set("DPL_PRETENDS", "databases.shared-disk,databases.little-room");
    let full = stack.run(&["db", "backup", "one", "--yes"]).failure(1);
    assert!(full.stderr.contains("MiB are left at") && backups(&stack) == before, "{}", full.stderr);
    stack.site.set("DPL_PRETENDS", "");
    stack.run(&["db", "backup", "one", "--yes"]).success();
    assert_eq!(backups(&stack), before + 1);
    let stack = stack;

    // What stands beside them is listed, kept for a rollback, and dropped.
    stack.run(&["db", "restore", "one", "--yes", "--keep-old", "1"]).success();
    let rename = |from: &str, to: &str| {
        let sql = format!(
            "SELECT format('ALTER DATABASE %I RENAME TO %I', datname, replace(datname, '~{from}~', '~{to}~')) FROM \
             pg_database WHERE datname ~ '^one~' \\gexec"
        );
        let place = [
            "exec",
            "-i",
            &container,
            "psql",
            "-h",
            "/var/run/postgresql",
            "-p",
            "5433",
            "-U",
            "boss",
            "-d",
            "postgres",
        ];
        let renamed = format!("printf '%s' \"$0\" | docker {} >/dev/null", place.join(" "));
        assert!(
            Command::new("sh").args(["-c", &renamed, &sql]).env("DOCKER_HOST", &engine).status().unwrap().success()
        );
    };
    let left = || -> Vec<(String, String)> {
        let listed = stack.run(&["db", "leftovers", "list", "--json"]).success().json();
        let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap().to_owned();
        let all = listed["leftovers"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "kind")));
        all.filter(|(name, _)| name.starts_with("one~")).collect()
    };
    let kinds = || left().into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(), ["kept"]);
    for kind in ["old", "left"] {
        rename("kept", kind);
        assert_eq!(kinds(), [kind]);
        stack.run(&["db", "leftovers", "keep", &left()[0].0, "--yes"]).success();
        assert_eq!(kinds(), ["kept"]);
    }
    stack.run(&["db", "leftovers", "drop", &left()[0].0, "--yes"]).success();
    assert_eq!(kinds(), Vec::<String>::new());
    stack.run(&["db", "leftovers", "drop", "two", "--yes"]).failure(2);
    // Who watches hears of it by the exit code.
    stack.run(&["db", "list", "one", "two", "--max-age", "36h"]).success();
    stack.run(&["db", "list", "--max-age", "36h"]).failure(1);
    stack.run(&["db", "list", "one", "--verified", "7d"]).failure(1);
}

#[tokio::test]
async fn a_role_that_owns_its_database_backs_it_up_and_is_told_what_it_may_not() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE ROLE app LOGIN CREATEDB; CREATE DATABASE expert OWNER app").await;
    site.sql("expert", "SET ROLE app; CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    let credentials = Credentials { user: "app".to_owned(), password: None };
    let server = Server::connect(&site.engine, &site.container, credentials).await.unwrap();
    let made = databases::backup(&server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    assert_eq!(made.rows, 7);
    assert_eq!(databases::list(&server).await.unwrap().len(), 2);
    let nobody = crate::databases::Nobody::default();
    let origin = Origin::Path(made.path.as_ref());
    let rebuilt = databases::rebuild(&server, "expert", origin, &nobody, &site.rebuild_options(), &site.reporter).await;
    let Err(DatabasesError::Unfit { problems, .. }) = &rebuilt else { panic!("{rebuilt:?}") };
    assert!(problems.iter().any(|problem| problem.contains("no superuser")), "{problems:?}");
    site.end().await;
}
