//! Databases of which there is more than a server has room for, or that nobody declared the encoding of, on a real PostgreSQL.

use std::process::Stdio;

use dpl::databases::{self, DatabasesError, OldDatabase, Patches, PreservedRows, RebuildOptions};

use crate::databases::{Site, image};
use crate::support_engine::{Stack, eventually};

#[tokio::test]
async fn a_patch_may_say_what_a_database_without_an_encoding_holds() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        .await;
    // 档案 in GBK.
    site.sql("expert", "CREATE TABLE t AS SELECT convert_from('\\xb5b5b0b8', 'SQL_ASCII') AS x").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let patch = site.folder.path().join("patch.sql");
    let text = "DO $$ DECLARE had text; BEGIN SELECT x INTO had FROM t; RAISE NOTICE 'had %', had; END $$;\n\
                INSERT INTO t VALUES ('档案');\n";
    std::fs::write(&patch, text).unwrap();
    let patches = Patches { files: vec![patch], variables: Vec::new() };
    let options = RebuildOptions { patches, old: OldDatabase::Drop, ..site.rebuild_options() };
    let report = site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(report.patches[0].inserted, 1);
    assert!(site.said().contains(&"databases-patch-said"), "{:?}", site.said());
    let bytes = "SELECT string_agg(encode(x::bytea, 'hex'), ' ' ORDER BY x::bytea) FROM t";
    assert_eq!(site.sql("expert", bytes).await, "b5b5b0b8 e6a1a3e6a188");
    site.end().await;
}

#[tokio::test]
async fn rows_live_on_in_columns_whose_names_are_of_an_encoding_that_nobody_declared() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        .await;
    // 档案 in GBK, and a letter whose second byte is a backslash.
    let named = "DO $$ BEGIN EXECUTE pg_catalog.format('CREATE TABLE t (n int PRIMARY KEY, %I text)',
         convert_from('\\xb5b5b0b8815c', 'SQL_ASCII')); END $$";
    site.sql("expert", named).await;
    site.sql("expert", "INSERT INTO t VALUES (1, 'theirs')").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "INSERT INTO t VALUES (2, 'mine'); DELETE FROM t WHERE n = 1; INSERT INTO t VALUES (1, 'mine')")
        .await;
    let rows = PreservedRows { table: "t".to_owned(), key: vec!["n".to_owned()], ..Default::default() };
    let options = RebuildOptions { preserve: vec![rows], old: OldDatabase::Drop, ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", "SELECT string_agg(t::text, ' ' ORDER BY n) FROM t").await, "(1,mine) (2,mine)");
    site.end().await;
}

/// Who reads it can act on it: the reason, and the setting. What the server still has room for is backed up as before.
#[tokio::test]
async fn more_tables_than_a_server_can_lock_are_told_with_its_own_advice() {
    let site = Site::start_as(&image(), |spec| {
        let settings = [
            "max_locks_per_transaction=10",
            "max_connections=12",
            "max_wal_senders=0",
            "autovacuum_max_workers=1",
            "fsync=off",
        ];
        let words = settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
        spec.command = Some(std::iter::once("postgres".to_owned()).chain(words).collect());
    })
    .await;
    site.sql("postgres", "CREATE DATABASE few; CREATE DATABASE many").await;
    site.sql("few", "CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    // Each for itself: a transaction can't lock so many.
    site.sql("many", "SELECT format('CREATE TABLE t%s ()', i) FROM generate_series(1, 4000) AS i \\gexec").await;
    let back_up =
        async |database: &str| databases::backup(&site.server, database, &site.backup_settings(), &site.reporter).await;
    let error = back_up("many").await.unwrap_err();
    let DatabasesError::Tool { program: "pg_dump", source, .. } = &error else { panic!("{error:?}") };
    let said = source.to_string();
    assert!(said.contains("out of shared memory") && said.contains("max_locks_per_transaction"), "{said}");
    assert!(said.len() < 4000, "{}", said.len());
    assert_eq!(back_up("few").await.unwrap().rows, 7);
    site.end().await;
}

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"backups": "backups"},
  "databases": {"shop": {"service": "db", "seed": "seed"}},
  "services": {"db": {"image": "postgres:15", "command": ["postgres", "-c", "fsync=off"],
    "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"}, "ready": {"tcp": 5432}}}}"#;

/// A stack whose server has a database `shop`, made by these statements.
fn shop(statements: &str) -> Stack {
    let stack = Stack::new(MANIFEST);
    stack.run(&["start", "--yes"]).success();
    let container = stack.container("db");
    let up = "until pg_isready -q -h 127.0.0.1 -U postgres; do sleep 0.1; done";
    stack.docker(&["exec", &container, "sh", "-c", up]);
    let psql = |database: &str, sql: &str| {
        let words = ["exec", &container, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database];
        stack.docker(&[&words[..], &["-c", sql]].concat());
    };
    psql("postgres", "CREATE DATABASE shop");
    psql("shop", statements);
    stack
}

/// The most memory that a backup has held once all is done but its last step, in KiB.
fn peak_of_backup(shop: &Stack) -> u64 {
    let mut command = shop.site.command(&["db", "backup", "shop", "--yes", "-f", "stack.json"]);
    command.env("DPL_FAILPOINT", "databases.backup.before-rename").env("DPL_FAILPOINT_FREEZES", "1");
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let process = rustix::process::Pid::from_child(&running);
    let about =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.as_raw_nonzero())).unwrap_or_default();
    eventually("it is about to be there", || about("stat").contains(") T "));
    let status = about("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    assert!(running.wait().unwrap().success());
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn each_of_ten_thousand_large_objects_takes_little_memory() {
    let shop = shop("SELECT lo_create(0); CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    let one = peak_of_backup(&shop);
    let many = "SELECT count(lo_from_bytea(0, decode(md5(i::text), 'hex'))) FROM generate_series(1, 10000) AS i";
    shop.docker(&["exec", &shop.container("db"), "psql", "-Xq", "-U", "postgres", "-d", "shop", "-c", many]);
    let all = peak_of_backup(&shop);
    assert!(one > 0 && all.saturating_sub(one) < 24 << 10, "{one} KiB with one, {all} KiB with all");
    let listed = shop.run(&["db", "list", "--json"]).success().json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "{listed}");
}

/// FAT, and shares that say whose a file is: what is written there is as good.
#[test]
fn a_disk_that_knows_no_modes_takes_dumps_and_the_state_of_a_project() {
    let mut shop = shop("CREATE TABLE t AS SELECT generate_series(1, 7) AS n");
    for more in ["", ",databases.large"] {
        shop.site.set("DPL_PRETENDS", format!("fs.no-modes{more}"));
        shop.run(&["db", "dump", "shop", "--yes"]).success();
        shop.run(&["db", "verify", "seed", "--quick", "--yes"]).success();
        shop.run(&["restart", "db", "--yes"]).success();
    }
}
