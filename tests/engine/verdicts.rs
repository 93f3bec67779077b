//! What is said of dumps and of databases that were replaced: a verdict holds, nothing blocks the next restore, an end
//! that is asked for is one. On a real PostgreSQL.

use dpl::catalogue::english;
use dpl::databases::{
    self, BadBackups, DatabasesError, Dependents, DependentsError, Depth, Identity, Jobs, OldDatabase, Origin,
    PreservedRows, RebuildOptions, Repeat, Retention, ServerImage, VerifyReport, VerifySettings,
};
use dpl::engine::ExecSpec;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::databases::Site;
use crate::support_engine::eventually_asked;

async fn site_with(sql: &str) -> Site {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", sql).await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site
}

async fn verify(site: &Site, image: &ServerImage, path: &std::path::Path) -> VerifyReport {
    let how = VerifySettings { depth: Depth::Restore, jobs: Jobs::default(), operator: "engineer".to_owned() };
    databases::verify(image, path, &how, &site.reporter).await.unwrap()
}

/// A restore of it fails everywhere, and every byte of it is right.
const UNRESTORABLE: &str = "
CREATE FUNCTION inner_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION outer_one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one($1); END';
CREATE TABLE g (n int, twice int GENERATED ALWAYS AS (outer_one(n)) STORED); INSERT INTO g VALUES (1), (2);";

#[tokio::test]
async fn a_superusers_objects_are_restored_in_the_throw_away_server_and_what_can_not_be_tried_is_not_bad() {
    let site = Site::start().await;
    site.sql(
        "postgres",
        "CREATE ROLE boss SUPERUSER; CREATE ROLE app; CREATE ROLE only_policy; CREATE ROLE only_default",
    )
    .await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql(
        "expert",
        "CREATE TABLE t AS SELECT generate_series(1, 7) AS n; ALTER TABLE t OWNER TO app; REVOKE ALL ON t FROM PUBLIC;
         CREATE MATERIALIZED VIEW m AS SELECT * FROM t; ALTER MATERIALIZED VIEW m OWNER TO boss;
         CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
         CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f(); ALTER EVENT TRIGGER e OWNER TO boss;
         CREATE POLICY p ON t TO only_policy USING (true);
         ALTER DEFAULT PRIVILEGES FOR ROLE only_default GRANT SELECT ON TABLES TO PUBLIC",
    )
    .await;
    let made = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    let image = ServerImage::of(&site.server).await;
    let report = verify(&site, &image, made.path.as_ref()).await;
    assert_eq!((report.damage, report.untried), (None, None));
    let record = std::fs::read_to_string(format!("{}/backup.json", made.path)).unwrap();
    assert!(record.contains("only_policy") && record.contains("only_default"));

    // The proof outlives a try that fails for the extension that the place lacks.
    let known = || databases::backups(site.backups(), "expert").unwrap().remove(0);
    assert!(known().verified_at.is_some());
    site.sql("expert", UNRESTORABLE).await;
    let second = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    let report = verify(&site, &image, second.path.as_ref()).await;
    assert_eq!(report.damage, None);
    assert!(report.untried.as_ref().is_some_and(|why| english(why).contains("inner_one")), "{report:?}");
    let all = databases::backups(site.backups(), "expert").unwrap();
    assert!(all[0].verified_at.is_some() && all[1].found_bad.is_none() && all[1].untried.is_some());

    // One whose bytes are wrong is bad, and still nobody removes it unasked.
    let data = std::fs::read_dir(format!("{}/archive", made.path)).unwrap().map(|entry| entry.unwrap().path());
    let data = data.filter(|path| path.to_string_lossy().ends_with(".dat.gz")).max().unwrap();
    std::fs::write(&data, b"noise").unwrap();
    assert!(verify(&site, &image, made.path.as_ref()).await.damage.is_some());
    let one = Retention { keep_last: 1, daily: 0, weekly: 0, monthly: 0 };
    let removed = |bad| {
        let plan = databases::plan_prune(&site.backups().into(), "expert", &one, bad).unwrap();
        plan.document().removed.iter().map(|backup| backup.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(removed(BadBackups::Keep), Vec::<String>::new());
    assert_eq!(removed(BadBackups::Remove), [made.id]);
    site.end().await;
}

#[tokio::test]
async fn a_replaced_database_that_can_not_be_proved_blocks_nothing_and_live_rows_stay() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    site.sql("expert", UNRESTORABLE).await;
    // A seed that can't be restored takes no good one's place.
    let good = std::fs::read(site.seed().join("backup.json")).unwrap();
    let proved = dpl::databases::SeedSettings { verify: true, ..site.seed_settings() };
    let refused = databases::dump_seed(&site.server, "expert", &proved, &site.reporter).await.unwrap_err();
    assert!(matches!(refused, DatabasesError::NotTried { .. }), "{refused:?}");
    assert_eq!(std::fs::read(site.seed().join("backup.json")).unwrap(), good);
    let count = async || site.sql("expert", "SELECT count(*) FROM t").await;
    let beside = async || {
        let mut there = site.databases().await;
        there.retain(|name| name.contains('~'));
        there
    };
    // Swapped in, and what was replaced can't be proved.
    let error = site.rebuild("expert").await.unwrap_err();
    assert!(matches!(error, DatabasesError::AfterSwap { .. }), "{error:?}");
    site.sql("expert", "INSERT INTO t VALUES (8)").await;
    // The next run tries to finish that and does no more: the row that somebody wrote meanwhile lives.
    let error = site.rebuild("expert").await.unwrap_err();
    assert!(matches!(error, DatabasesError::AfterSwap { .. }), "{error:?}");
    assert_eq!(count().await, "8");
    let left = beside().await;
    assert!(left.len() == 1 && left[0].contains("~left~"), "{left:?}");
    // From then on it is told, and stands in nobody's way.
    let report = site.rebuild("expert").await.unwrap();
    assert_eq!((report.finished_earlier, count().await), (false, "7".to_owned()));
    assert!(site.said().contains(&"databases-left-aside"), "{:?}", site.said());
    assert_eq!(beside().await, left);
    // Kept, it is what a rollback goes back to; dropped, it is gone.
    let kept = databases::keep_leftover(&site.server, "expert", &left[0]).await.unwrap();
    assert_eq!(databases::kept_databases(&site.server, "expert").await.unwrap(), [kept.as_str()]);
    databases::drop_leftover(&site.server, "expert", &kept, &site.reporter).await.unwrap();
    assert_eq!(beside().await, Vec::<String>::new());
    site.end().await;
}

#[tokio::test]
async fn a_second_run_finishes_the_first_and_only_again_replaces_once_more() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    let kept = async || {
        let old = OldDatabase::Keep { count: 1, backup: site.backup_settings() };
        let options = RebuildOptions { old, ..site.rebuild_options() };
        let kept = site.rebuild_from("expert", &site.seed(), &options).await.unwrap().kept_as.unwrap();
        let old = kept.replace("~kept~", "~old~");
        site.sql("postgres", &format!("ALTER DATABASE \"{kept}\" RENAME TO \"{old}\"")).await;
        old
    };
    let count = async || site.sql("expert", "SELECT count(*) FROM t").await;
    kept().await;
    site.sql("expert", "INSERT INTO t VALUES (8)").await;
    let report = site.rebuild("expert").await.unwrap();
    assert!(report.finished_earlier && report.backup.is_some(), "{report:?}");
    assert_eq!((count().await, site.databases().await), ("8".to_owned(), vec!["expert".into(), "postgres".into()]));

    // The same with the word for it.
    kept().await;
    site.sql("expert", "INSERT INTO t VALUES (8)").await;
    let again = RebuildOptions { repeat: Repeat::Again, ..site.rebuild_options() };
    let report = site.rebuild_from("expert", &site.seed(), &again).await.unwrap();
    assert_eq!((report.finished_earlier, count().await), (false, "7".to_owned()));
    assert_eq!(site.databases().await, ["expert", "postgres"]);

    // One whose drop was interrupted can't be opened, altered or dumped: it is just dropped.
    let old = kept().await;
    site.sql("postgres", &format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{old}'")).await;
    assert!(!site.rebuild("expert").await.unwrap().finished_earlier);
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn a_dump_of_another_database_replaces_nothing_unless_somebody_says_so() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    site.sql("postgres", "CREATE DATABASE metis").await;
    site.sql("metis", "CREATE TABLE own (); ").await;
    let error = site.rebuild_from("metis", &site.seed(), &site.rebuild_options()).await.unwrap_err();
    assert!(error.to_string().contains("it is a dump of `expert`, not of `metis`"), "{error}");
    assert_eq!(site.sql("metis", "SELECT count(*) FROM own").await, "0");
    let any = RebuildOptions { identity: Identity::Any, ..site.rebuild_options() };
    site.rebuild_from("metis", &site.seed(), &any).await.unwrap();
    assert_eq!(site.sql("metis", "SELECT count(*) FROM t").await, "7");
    site.end().await;
}

#[tokio::test]
async fn a_condition_of_rows_that_live_on_is_tried_before_anything_is_restored() {
    let site =
        site_with("CREATE TABLE t (name text PRIMARY KEY, f float8); INSERT INTO t VALUES ('a', 0.1::float8 + 0.2)")
            .await;
    site.sql("postgres", "ALTER DATABASE expert SET extra_float_digits = 0").await;
    site.sql("expert", "INSERT INTO t VALUES ('mine', 0.1::float8 + 0.2)").await;
    let rows = |condition: &str| PreservedRows {
        table: "t".to_owned(),
        key: vec!["name".to_owned()],
        condition: Some(condition.to_owned()),
        ..Default::default()
    };
    for (condition, why) in
        [("name = 'x", "quote"), ("nome = 'x'", "nome"), ("true); DROP TABLE t; SELECT (1", "more than one")]
    {
        let options = RebuildOptions { preserve: vec![rows(condition)], ..site.rebuild_options() };
        let error = site.rebuild_from("expert", &site.seed(), &options).await.unwrap_err();
        let DatabasesError::Unfit { problems, .. } = &error else { panic!("{error:?}") };
        assert!(
            english(&problems[0]).contains("condition for preserving `t`") && english(&problems[0]).contains(why),
            "{problems:?}"
        );
    }
    // Rows of a table that inherits from it are its own, and that is said.
    site.sql("expert", "CREATE TABLE heir () INHERITS (t); INSERT INTO heir VALUES ('mine', 1)").await;
    let options = RebuildOptions { preserve: vec![rows("name = 'mine'")], ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", "SELECT f = 0.1::float8 + 0.2 FROM t WHERE name = 'mine'").await, "t");
    assert!(site.said().contains(&"databases-preserve-heirs"), "{:?}", site.said());
    site.end().await;
}

/// A session that is kept is used again in the database that it is in, and nothing of its last use is there.
#[tokio::test]
async fn two_conditions_are_tried_one_after_the_other_in_the_database_that_sessions_are_kept_in() {
    let site = Site::start().await;
    let tables = ["a", "b"].map(|name| format!("CREATE TABLE {name} AS SELECT generate_series(1, 7) AS n;"));
    site.sql("postgres", &tables.concat()).await;
    databases::dump_seed(&site.server, "postgres", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("postgres", "INSERT INTO a VALUES (8), (9); INSERT INTO b VALUES (8), (9)").await;
    let rows = |table: &str| PreservedRows {
        table: table.to_owned(),
        key: vec!["n".to_owned()],
        condition: Some("n = 8".to_owned()),
        ..Default::default()
    };
    let options = RebuildOptions { preserve: vec![rows("a"), rows("b")], ..site.rebuild_options() };
    site.rebuild_from("postgres", &site.seed(), &options).await.unwrap();
    let counts = "SELECT (SELECT array_agg(n) FROM a WHERE n > 7), (SELECT array_agg(n) FROM b WHERE n > 7)";
    assert_eq!(site.sql("postgres", counts).await, "{8}|{8}");
    site.end().await;
}

#[tokio::test]
async fn an_end_that_is_asked_for_ends_a_backup_and_a_restore_at_the_server_too() {
    an_end_that_is_asked_for_ends_them("").await;
}

/// With a large object a database is dumped and restored in a container of its own, however small it is.
#[tokio::test]
async fn an_end_that_is_asked_for_ends_the_container_that_dumps_or_restores_and_what_it_does_at_the_server() {
    an_end_that_is_asked_for_ends_them("SELECT lo_create(0);").await;
}

async fn an_end_that_is_asked_for_ends_them(more: &str) {
    let site = site_with(
        &(more.to_owned()
            + "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
         CREATE TABLE t (n int, s int GENERATED ALWAYS AS (slow(n)) STORED); INSERT INTO t SELECT generate_series(1, 7);
         CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
           'BEGIN PERFORM pg_catalog.pg_sleep(600); RETURN 1; END'"),
    )
    .await;
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()
                AND backend_type = 'client backend' AND query !~ 'holds it'";
    let until = async |what: &str, wanted: &str| {
        eventually_asked(what, async || site.sql("postgres", what).await == wanted).await;
    };
    // Held up by somebody else's lock.
    let lock = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(300) /* holds it */";
    let command = ["psql", "-U", "postgres", "-d", "expert", "-c", lock].map(str::to_owned).into();
    let spec = ExecSpec { command, ..Default::default() };
    let holder = site.engine.start_exec(&site.container, &spec).await.unwrap();
    until(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND locktype = 'relation'",
        "1",
    )
    .await;
    let settings = site.backup_settings();
    let backup = databases::backup(&site.server, "expert", &settings, &site.reporter);
    let stopping = async {
        until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", "t").await;
        site.stop.cancel();
    };
    let (ended, ()) = tokio::join!(backup, stopping);
    assert!(matches!(ended, Err(DatabasesError::Stopped { .. })), "{ended:?}");
    // It has not waited for the lock.
    let held = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'holds it' AND pid <> pg_backend_pid()";
    assert_eq!(site.sql("postgres", held).await, "1");
    until(busy, "0").await;
    assert!(databases::backups(site.backups(), "expert").unwrap().is_empty());
    site.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'holds it' AND pid <> pg_backend_pid()",
    )
    .await;
    drop(holder);

    // In the middle of a row.
    let mut site = site;
    site.renew_stop();
    let until = async |what: &str, wanted: &str| {
        eventually_asked(what, async || site.sql("postgres", what).await == wanted).await;
    };
    let rebuild = site.rebuild("expert");
    let stopping = async {
        until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname ~ '~new~' AND query ~ '^COPY' AND wait_event = 'PgSleep'", "t").await;
        site.stop.cancel();
    };
    // The row alone would take ten minutes.
    let (ended, ()) = tokio::join!(rebuild, stopping);
    assert!(matches!(ended, Err(DatabasesError::Stopped { .. })), "{ended:?}");
    until(busy, "0").await;
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "7");
    site.end().await;
}

#[tokio::test]
async fn an_end_that_is_asked_for_ends_the_rehearsal_of_rows_that_live_on_at_the_server_too() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    let rows = PreservedRows {
        table: "t".to_owned(),
        key: vec!["n".to_owned()],
        // The first row takes ten minutes.
        condition: Some("pg_catalog.pg_sleep(600) IS NOT NULL".to_owned()),
        ..Default::default()
    };
    let options = RebuildOptions { preserve: vec![rows], ..site.rebuild_options() };
    let copying =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'expert' AND query ~ '^COPY' AND wait_event = 'PgSleep'
                   AND state = 'active'";
    let until = async |wanted: &str| {
        let what = format!("{wanted} copies are under way");
        eventually_asked(&what, async || site.sql("postgres", copying).await == wanted).await;
    };
    let stopping = async {
        until("1").await;
        site.stop.cancel();
        // By itself it would be there for ten minutes.
        until("0").await;
    };
    let seed = site.seed();
    let (ended, ()) = tokio::join!(site.rebuild_from("expert", &seed, &options), stopping);
    assert!(matches!(ended, Err(DatabasesError::Stopped { .. })), "{ended:?}");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "7");
    site.end().await;
}

/// Services that do not start again, and an end that is asked for while they stop.
struct Stubborn(CancellationToken);

impl Dependents for Stubborn {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        self.0.cancel();
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async { Err(DependentsError::from("its port is taken")) })
    }
}

#[tokio::test]
async fn services_that_stay_down_after_an_end_that_was_asked_for_are_told() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    site.sql("expert", "INSERT INTO t VALUES (8)").await;
    let (seed, stubborn) = (site.seed(), Stubborn(site.stop.clone()));
    let options = RebuildOptions { old: OldDatabase::Drop, ..site.rebuild_options() };
    let origin = Origin::Path(&seed);
    let ended = databases::rebuild(&site.server, "expert", origin, &stubborn, &options, &site.reporter).await;
    assert!(matches!(ended, Err(DatabasesError::Stopped { .. })), "{ended:?}");
    assert!(site.said().contains(&"databases-dependents-down"), "{:?}", site.said());
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "8");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}
