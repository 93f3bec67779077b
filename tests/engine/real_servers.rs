//! Servers as sites have them: hardened, with limits on everything, and full of what PostgreSQL can hold. On a real
//! PostgreSQL that is set up so.

mod in_manifests;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dpl::catalogue::english;
use dpl::databases::{
    self, Adaptation, BackupSettings, Credentials, DatabasesError, Depth, Identity, Jobs, LockPatience, OldDatabase,
    Origin, Owners, Part, Patches, Placement, PreservedRows, RebuildOptions, Secret, Server, ServerImage,
    VerifySettings,
};
use dpl::engine::{ContainerSpec, ExecSession, ExecSpec, MountKind, MountSpec};

use crate::databases::{Site, as_passwords_are_kept, image};
use crate::support_engine::{Stack, eventually, eventually_asked};

/// How many tables there are; `DPL_MANY` makes more of everything (scripts/soak.sh).
fn many(ordinary: u32) -> u32 {
    std::env::var("DPL_MANY").ok().and_then(|times| times.parse::<u32>().ok()).unwrap_or(1) * ordinary
}

/// The major version of the server that the tests are of.
fn major() -> u32 {
    let (_, tag) = image().rsplit_once(':').map(|(name, tag)| (name.to_owned(), tag.to_owned())).unwrap();
    tag.parse().unwrap_or_else(|_| panic!("DPL_TEST_POSTGRES ends in a major version: {tag}"))
}

/// A key and a certificate that the server's user may read.
fn certificate() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=server -days 2 -keyout key -out certificate 2>/dev/null \
        && chmod 600 key && chown 999:999 . key certificate";
    let made = Command::new("sh").args(["-ec", command]).current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    folder
}

/// No statement, lock, session or transaction may take long here, nothing but the data folder can be written, and the lock
/// table is small. What comes over the network is encrypted, and libraries look into every statement.
fn hardened(spec: &mut ContainerSpec, certificate: &Path) {
    spec.mounts.push(MountSpec {
        kind: MountKind::Bind { source: certificate.to_string_lossy().into_owned(), propagation: None },
        target: "/certificate".to_owned(),
        read_only: true,
        selinux: None,
    });
    // Enough to lock each table, and not its indexes as well.
    let locks = format!("max_locks_per_transaction={}", many(10));
    let settings = [
        "statement_timeout=40",
        "lock_timeout=40",
        "idle_in_transaction_session_timeout=200",
        locks.as_str(),
        "max_connections=30",
        "extra_float_digits=0",
        "DateStyle=German",
        "IntervalStyle=sql_standard",
        "wal_level=logical",
        "ssl=on",
        "ssl_cert_file=/certificate/certificate",
        "ssl_key_file=/certificate/key",
        "shared_preload_libraries=pg_stat_statements,auto_explain",
        "auto_explain.log_min_duration=0",
        "fsync=off",
    ];
    // Those that came with later versions.
    let later = [(14, "idle_session_timeout=200"), (17, "transaction_timeout=400")];
    let later = later.iter().filter(|(from, _)| major() >= *from).map(|(_, setting)| setting);
    let words = settings.iter().chain(later).flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
    spec.command = Some(["postgres".to_owned()].into_iter().chain(words).collect());
    spec.read_only = true;
    spec.tmpfs.insert("/var/run/postgresql".to_owned(), String::new());
}

/// Nobody comes in over the network without, not from its own machine either.
async fn insist_on_encryption(site: &Site) {
    let method = as_passwords_are_kept(major());
    let rules = format!(
        r#"printf 'local all all trust\nhostnossl all all all reject\nhostssl all all all {method}\n' >"$PGDATA/pg_hba.conf""#
    );
    shell(site, &rules).await.unwrap();
    site.sql("postgres", "SELECT pg_reload_conf()").await;
    let unencrypted = "psql -w 'host=127.0.0.1 user=postgres sslmode=disable' -c 'SELECT 1' 2>&1";
    let is_refused = async || shell(site, unencrypted).await.is_err_and(|said| said.contains("rejects"));
    eventually_asked("it lets nobody in without encryption", is_refused).await;
}

/// What a script in the server's container prints; as an error where it fails.
async fn shell(site: &Site, script: &str) -> Result<String, String> {
    let spec = ExecSpec { command: ["sh", "-c", script].map(str::to_owned).into(), ..Default::default() };
    let result = site.engine.exec(&site.container, &spec, b"").await.unwrap();
    let said = String::from_utf8_lossy(&result.stdout).into_owned();
    if result.exit_code == 0 { Ok(said) } else { Err(said) }
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
         CREATE PUBLICATION everything FOR ALL TABLES; CREATE EXTENSION pg_stat_statements;
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
    eventually_asked(what, async || site.sql(database, what).await == "t").await;
}

#[tokio::test]
async fn a_hardened_server_full_of_everything_is_backed_up_verified_and_rebuilt() {
    let certificate = certificate();
    let site = Site::start_as(&image(), |spec| hardened(spec, certificate.path())).await;
    insist_on_encryption(&site).await;
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
        assert!(problems.iter().any(|problem| english(problem).contains(what)), "{problems:?}");
    };
    site.sql("expert", "SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    refused("debezium").await;
    site.sql("expert", "SELECT pg_drop_replication_slot('debezium')").await;
    site.sql("expert", "CREATE SUBSCRIPTION from_afar CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)")
        .await;
    refused("from_afar").await;
    site.sql("expert", "ALTER SUBSCRIPTION from_afar SET (slot_name = NONE); DROP SUBSCRIPTION from_afar").await;

    // Nor does it go back to one that was kept, since its slots and subscriptions would stay with it.
    let old = OldDatabase::Keep { count: 1, backup: site.backup_settings() };
    let kept = RebuildOptions { old, ..site.rebuild_options() };
    let kept = site.rebuild_from("expert", &site.seed(), &kept).await.unwrap().kept_as.unwrap();
    site.sql("expert", "SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    let nobody = crate::databases::Nobody::default();
    let error = databases::rollback(&site.server, "expert", &nobody, &site.reporter).await.unwrap_err();
    let DatabasesError::CannotRollBack { problems, .. } = &error else { panic!("{error:?}") };
    assert!(problems.iter().any(|problem| english(problem).contains("debezium")), "{problems:?}");
    site.sql("expert", "SELECT pg_drop_replication_slot('debezium')").await;
    databases::drop_leftover(&site.server, "expert", &kept, &site.reporter).await.unwrap();

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
    site.sql(
        "expert",
        "CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
         CREATE FUNCTION searched(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT plain($1)';
         CREATE TABLE users (id int PRIMARY KEY, name text);
         INSERT INTO users SELECT n, n::text FROM generate_series(1, 7) AS n;
         -- With a large object it is dumped by several processes, however small it is.
         SELECT lo_create(0)",
    )
    .await;
    // A query of it can't be planned under another search_path than its own; from 17 on, the server makes no such index.
    if site.server.major() < 17 {
        site.sql("expert", "CREATE INDEX ON users (searched(name))").await;
    }
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
    // Before 15 there was no other way.
    let strategy = if site.server.major() >= 15 { "STRATEGY file_copy" } else { "" };
    site.sql("postgres", &format!("CREATE DATABASE broken TEMPLATE expert {strategy}")).await;
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
async fn a_database_with_pg_cron_is_backed_up_and_proved_and_that_it_can_not_be_rebuilt_is_said_before() {
    let site = Site::start_as(&image(), |spec| {
        let words = [
            "postgres",
            "-c",
            "shared_preload_libraries=pg_cron",
            "-c",
            "cron.database_name=expert",
            "-c",
            "fsync=off",
        ];
        spec.command = Some(words.map(str::to_owned).into());
    })
    .await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE EXTENSION pg_cron; CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    site.sql("expert", "SELECT cron.schedule('0 3 * * *', 'VACUUM')").await;
    let made = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    assert_eq!(made.rows, 7);
    let how = VerifySettings { depth: Depth::Restore, jobs: Jobs::default(), operator: "engineer".to_owned() };
    let preloads = ServerImage::of(&site.server).await;
    let report = databases::verify(&preloads, made.path.as_ref(), &how, &site.reporter).await.unwrap();
    assert_eq!((report.damage, report.untried), (None, None));
    // Without the library it can't be tried, and is no worse for that.
    let without = ServerImage::named(&site.engine, &image()).await.unwrap();
    let report = databases::verify(&without, made.path.as_ref(), &how, &site.reporter).await.unwrap();
    assert!(report.damage.is_none() && report.untried.is_some(), "{report:?}");
    assert!(databases::backups(site.backups(), "expert").unwrap()[0].verified_at.is_some());

    let refused = site.rebuild_from("expert", made.path.as_ref(), &site.rebuild_options()).await.unwrap_err();
    let DatabasesError::Unfit { problems, .. } = &refused else { panic!("{refused:?}") };
    assert!(problems.iter().any(|problem| english(problem).contains("cron.database_name")), "{problems:?}");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM cron.job").await, "1");
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
    std::fs::write(&patch, "SELECT pg_sleep(1.1); DO $$ BEGIN RAISE NOTICE 'a notice'; END $$;").unwrap();
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
    let settings = r#""settings": [{"role": null, "values": ["sql_inheritance=on", "work_mem=9MB"]}]"#;
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
    // A table may have such a name as well, and so may one in UTF-8.
    let named = format!(
        "DO $$ BEGIN EXECUTE pg_catalog.format('CREATE TABLE %I AS SELECT generate_series(1, 5) AS n', {gbk}); END $$"
    );
    site.sql("expert", &named).await;
    site.sql("expert", "CREATE TABLE \"档案\" AS SELECT generate_series(1, 3) AS n").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", &format!("INSERT INTO t VALUES (2, {gbk})")).await;
    let rows = PreservedRows { table: "t".to_owned(), key: vec!["n".to_owned()], ..Default::default() };
    let options = RebuildOptions { preserve: vec![rows], ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t WHERE x::bytea = '\\xb5b5b0b8'").await, "2");
    let names =
        "SELECT count(*), sum(reltuples) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
         AND (relname::text::bytea = '\\xb5b5b0b8' OR relname = '档案')";
    assert_eq!(site.sql("expert", names).await, "2|8");
    site.end().await;
}

#[tokio::test]
async fn statements_show_what_a_database_of_any_encoding_holds() {
    let site = Site::start().await;
    let create = |encoding: &str| {
        format!("CREATE DATABASE {encoding} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    };
    let values = async |database: &str, sql: &str| {
        let mut shown = Vec::new();
        databases::query(&site.server, database, sql, |result| {
            let values = result.rows.iter().flatten().flatten();
            shown.extend(values.map(|value| (databases::shown(value), databases::bytes_of(value))));
            shown.extend(result.copied.map(|bytes| (databases::text_of(&bytes), bytes)));
            Ok::<(), DatabasesError>(())
        })
        .await
        .unwrap();
        shown
    };
    let utf8 = |text: &str| (text.to_owned(), text.as_bytes().to_vec());

    // The server knows what it has, and converts it.
    site.sql("postgres", &create("euc_cn")).await;
    site.sql("euc_cn", "CREATE TABLE t AS SELECT U&'\\6863\\6848' AS x").await;
    assert_eq!(values("euc_cn", "SELECT x FROM t WHERE x = '档案'").await, [utf8("档案")]);
    assert_eq!(values("euc_cn", "COPY t TO STDOUT").await, [utf8("档案\n")]);
    // A client that asks for another encoding gets it.
    let gbk = (r"\xb5\xb5\xb0\xb8".to_owned(), b"\xb5\xb5\xb0\xb8".to_vec());
    let asked = values("euc_cn", "SET client_encoding = 'EUC_CN'; SELECT x FROM t").await;
    assert_eq!(asked, std::slice::from_ref(&gbk));

    // Nobody knows what this one has: 档案 in GBK, and in UTF-8.
    site.sql("postgres", &create("sql_ascii")).await;
    site.sql("sql_ascii", "CREATE TABLE t AS SELECT 1 AS n, convert_from('\\xb5b5b0b8', 'SQL_ASCII') AS x").await;
    values("sql_ascii", "INSERT INTO t VALUES (2, '档案')").await;
    assert_eq!(values("sql_ascii", "SELECT x FROM t ORDER BY n").await, [gbk, utf8("档案")]);
    let copied = values("sql_ascii", "COPY (SELECT x FROM t WHERE n = 1) TO STDOUT").await;
    assert_eq!(copied, [("\\xb5\\xb5\\xb0\\xb8\n".to_owned(), b"\xb5\xb5\xb0\xb8\n".to_vec())]);
    site.end().await;
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
    let told = |rebuilt: Result<_, DatabasesError>, what: &str| {
        let Err(DatabasesError::Unfit { problems, .. }) = &rebuilt else { panic!("{rebuilt:?}") };
        assert!(problems.iter().any(|problem| english(problem).contains(what)), "{problems:?}");
    };
    told(rebuilt, "--as NEW --no-owner --no-privileges");
    // Into a new database of its own it may.
    for (name, pretends_large) in [("copy", false), ("large", true)] {
        if pretends_large {
            site.sql("expert", "SET ROLE app; SELECT lo_create(0)").await;
        }
        let made = databases::backup(&server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
        let beside = |adaptation| RebuildOptions {
            placement: Placement::Beside(name.to_owned()),
            old: OldDatabase::Drop,
            adaptation,
            ..site.rebuild_options()
        };
        let rebuild = async |options: RebuildOptions| {
            let origin = Origin::Path(made.path.as_ref());
            databases::rebuild(&server, "expert", origin, &nobody, &options, &site.reporter).await
        };
        told(rebuild(beside(Adaptation::default())).await, "--as NEW --no-owner --no-privileges");
        let its_own = Adaptation { owners: Owners::Restorer, privileges: Part::LeftOut, ..Adaptation::default() };
        rebuild(beside(its_own)).await.unwrap();
        assert_eq!(
            site.sql(name, "SELECT count(*), min(tableowner) FROM t, pg_tables WHERE tablename = 't'").await,
            "7|app"
        );
    }
    site.sql("postgres", "ALTER ROLE app NOCREATEDB").await;
    let origin = Origin::Path(made.path.as_ref());
    let rebuilt = databases::rebuild(&server, "expert", origin, &nobody, &site.rebuild_options(), &site.reporter).await;
    told(rebuilt, "CREATEDB");
    site.end().await;
}

/// A server that nobody reaches but through its socket, after it was reached over the network: what its rules say now.
#[tokio::test]
async fn a_server_whose_rules_refuse_every_address_is_dumped_through_its_socket_or_says_what_is_in_the_way() {
    for (rules, in_memory) in [
        ("local all all trust\nhost all all all reject\n", false),
        // The password that the manifest has is not the server's any more.
        ("local all all trust\nhost all all all scram-sha-256\n", false),
        ("local all all trust\nhost all all all reject\n", true),
    ] {
        let site = Site::start_as(&image(), |spec| {
            if in_memory {
                spec.tmpfs.insert("/var/run/postgresql".to_owned(), "mode=1777".to_owned());
            }
        })
        .await;
        site.sql("postgres", "CREATE DATABASE expert; ALTER ROLE postgres PASSWORD 'another'").await;
        site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 7) AS n; SELECT lo_create(0)").await;
        shell(&site, &format!("printf '{rules}' >\"$PGDATA/pg_hba.conf\"")).await.unwrap();
        site.sql("postgres", "SELECT pg_reload_conf()").await;
        let knock = "psql -w 'host=127.0.0.1 user=postgres' -c 'SELECT 1' 2>&1";
        eventually_asked("nobody is let in any more", async || shell(&site, knock).await.is_err()).await;
        let credentials = Credentials { user: "postgres".to_owned(), password: Some(Secret::new("wrong")) };
        let server = Server::connect(&site.engine, &site.container, credentials).await.unwrap();
        let made = databases::backup(&server, "expert", &site.backup_settings(), &site.reporter).await;
        match in_memory {
            false => assert_eq!(made.unwrap().rows, 7, "{rules}"),
            true => {
                let error = made.unwrap_err();
                assert!(matches!(error, DatabasesError::NoWay { .. }), "{error:?}");
                assert!(error.to_string().contains("put the folder of its socket on a volume"), "{error}");
            }
        }
        site.end().await;
    }
}
