//! Rebuilds from seeds.

use super::*;

#[tokio::test]
async fn a_rebuild_brings_back_the_seeds_rows_and_keeps_the_databases_own_properties() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", EVERYTHING).await;
    let sums = site.sql("expert", CHECKSUMS).await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql(
        "expert",
        "DELETE FROM big WHERE id > 10; DROP TABLE hen, egg;
         ALTER DATABASE expert OWNER TO \"app role\"; COMMENT ON DATABASE expert IS 'it''s';
         ALTER DATABASE expert SET search_path TO \"$user\", public, \"档案 局\";
         ALTER ROLE reader IN DATABASE expert SET work_mem = '9MB';
         REVOKE CONNECT ON DATABASE expert FROM public; GRANT CONNECT ON DATABASE expert TO reader;
         ALTER DATABASE expert CONNECTION LIMIT 33;",
    )
    .await;
    const OWN: &str = "SELECT d.datacl, d.datconnlimit, pg_get_userbyid(d.datdba), shobj_description(d.oid, 'pg_database'),
        pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, (SELECT array_agg((s.setrole::regrole, s.setconfig)::text
        ORDER BY s.setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) FROM pg_database d WHERE datname = 'expert'";
    let own = site.sql("postgres", OWN).await;
    let begun = Instant::now();
    let report = site.rebuild("expert").await.unwrap();
    let whole_ms = begun.elapsed().as_millis() as u64;
    assert_eq!(site.sql("expert", CHECKSUMS).await, sums);
    assert_eq!(site.sql("postgres", OWN).await, own);
    assert_eq!(site.sql("expert", "SELECT count(*) FROM pg_largeobject_metadata").await, "1");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    let backup = report.backup.unwrap();
    assert_eq!(backup.rows, 1000 + 500 + 1 + 10);
    assert_eq!(databases::backups(site.backups(), "expert").unwrap(), [backup]);
    assert!(report.nameless_ms * 5 < whole_ms, "{} of {whole_ms} ms", report.nameless_ms);
    site.end().await;
}

#[tokio::test]
async fn clients_that_connect_again_and_again_do_not_keep_the_swap_from_happening() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE busy").await;
    site.sql("busy", "CREATE TABLE t AS SELECT 1 AS one").await;
    databases::dump_seed(&site.server, "busy", &site.seed_settings(), &site.reporter).await.unwrap();
    let script = "for i in 1 2 3 4 5 6; do (while [ ! -e /tmp/enough ]; do psql -U postgres -Xqc 'select pg_sleep(0.05)' busy; done) & done; wait";
    let spec = ExecSpec { command: ["sh", "-c", script].map(str::to_owned).into(), ..Default::default() };
    let clients = site.engine.exec(&site.container, &spec, b"");
    let options = site.dropping_options();
    let work = async {
        let seed = site.seed();
        let rebuild = || site.rebuild_from("busy", &seed, &options);
        let reports = [rebuild().await, rebuild().await];
        let spec = ExecSpec { command: ["touch", "/tmp/enough"].map(str::to_owned).into(), ..Default::default() };
        site.engine.exec(&site.container, &spec, b"").await.unwrap();
        reports
    };
    let (clients, reports) = futures::join!(clients, work);
    clients.unwrap();
    for report in reports {
        report.unwrap();
    }
    assert_eq!(site.sql("busy", "SELECT count(*) FROM t").await, "1");
    assert_eq!(site.databases().await, ["busy", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_created_as_its_source_was() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE ROLE keeper; CREATE DATABASE origin OWNER keeper").await;
    site.sql("origin", "CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    databases::dump_seed(&site.server, "origin", &site.seed_settings(), &site.reporter).await.unwrap();
    let report = site.rebuild("copy").await.unwrap();
    assert!(report.created && report.backup.is_none());
    assert_eq!(site.sql("copy", "SELECT count(*) FROM t").await, "7");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'copy'";
    assert_eq!(site.sql("postgres", owner).await, "keeper");
    site.end().await;
}

#[tokio::test]
async fn an_empty_database_goes_round_too() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE \"空\"").await;
    databases::dump_seed(&site.server, "空", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("空", "CREATE TABLE t ()").await;
    let report = site.rebuild("空").await.unwrap();
    assert_eq!((report.tables, report.rows), (0, 0));
    assert_eq!(site.sql("空", "SELECT count(*) FROM pg_class WHERE relname = 't'").await, "0");
    site.end().await;
}

#[tokio::test]
async fn a_damaged_seed_changes_nothing() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 5000) AS n").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let archive = site.seed().join("archive");
    let mut files = fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().path());
    let data = files.find(|path| path.to_string_lossy().ends_with(".dat.gz")).unwrap();
    let good = fs::read(&data).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&flipped[..], &good[..good.len() - 1], b""] {
        fs::write(&data, bad).unwrap();
        let error = site.rebuild("expert").await.unwrap_err();
        assert!(matches!(error, DatabasesError::Damaged { .. }), "{error:?}");
    }
    fs::remove_file(&data).unwrap();
    assert!(matches!(site.rebuild("expert").await, Err(DatabasesError::Damaged { .. })));
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "5000");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn an_emptied_database_replaces_no_seed_and_an_empty_seed_no_rows_unless_asked_to() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    let mut allowed = site.seed_settings();
    allowed.shrink = Shrink::Allow;
    site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 500) AS n").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "DROP TABLE t").await;
    let refused = databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await;
    assert!(matches!(refused, Err(DatabasesError::Emptied { .. })), "{refused:?}");
    assert_eq!(databases::dump_at(&site.seed()).unwrap().rows, 500);
    databases::dump_seed(&site.server, "expert", &allowed, &site.reporter).await.unwrap();
    site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 500) AS n").await;
    let Err(DatabasesError::Unfit { problems, .. }) = site.rebuild("expert").await else { panic!("it was emptied") };
    let problems: Vec<String> = problems.iter().map(english).collect();
    assert!(problems.len() == 1 && problems[0].contains("500 rows"), "{problems:?}");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "500");
    let options = RebuildOptions { shrink: Shrink::Allow, ..site.rebuild_options() };
    assert_eq!(site.rebuild_from("expert", &site.seed(), &options).await.unwrap().tables, 0);
    site.end().await;
}

#[tokio::test]
async fn everything_that_the_server_lacks_is_told_at_once() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert; CREATE ROLE one; CREATE ROLE \"two x\"").await;
    site.sql("expert", "CREATE TABLE t (); ALTER TABLE t OWNER TO one; GRANT SELECT ON t TO \"two x\"").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "DROP TABLE t; DROP ROLE one; DROP ROLE \"two x\"").await;
    let Err(DatabasesError::Unfit { problems, .. }) = site.rebuild("expert").await else { panic!("it was fit") };
    let problems: Vec<String> = problems.iter().map(english).collect();
    assert_eq!(
        problems,
        [
            "the server has no role `one`: create it first, or give --create-roles; everything except its password: \
             CREATE ROLE \"one\";",
            "the server has no role `two x`: create it first, or give --create-roles; everything except its password: \
             CREATE ROLE \"two x\";"
        ]
    );
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn roles_that_the_server_lacks_are_made_as_they_were_when_asked() {
    let site = Site::start().await;
    let roles = r#"CREATE ROLE "team 1"; CREATE ROLE app LOGIN CREATEDB PASSWORD 'x''y' CONNECTION LIMIT 7 IN ROLE "team 1";
        GRANT "team 1" TO app WITH ADMIN OPTION; ALTER ROLE app SET search_path = own, public;
        COMMENT ON ROLE app IS 'it''s'; CREATE ROLE boss SUPERUSER;"#;
    site.sql("postgres", &format!("CREATE DATABASE expert; {roles}")).await;
    site.sql("expert", "CREATE TABLE t AS SELECT 1 AS n; ALTER TABLE t OWNER TO app").await;
    let look = "SELECT json_agg(json_build_array(rolname, rolcanlogin, rolcreatedb, rolconnlimit, rolpassword, \
        shobj_description(r.oid, 'pg_authid'), (SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid), \
        (SELECT array_agg(roleid::regrole::text || admin_option) FROM pg_auth_members WHERE member = r.oid)) \
        ORDER BY rolname) FROM pg_authid r WHERE rolname IN ('app', 'team 1')";
    let wanted = site.sql("postgres", look).await;
    let settings = SeedSettings { hashes: PasswordHashes::Take, ..site.seed_settings() };
    databases::dump_seed(&site.server, "expert", &settings, &site.reporter).await.unwrap();
    site.sql("expert", "DROP TABLE t; DROP ROLE app; DROP ROLE \"team 1\"").await;
    let create = RebuildOptions { missing_roles: MissingRoles::Create, ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &create).await.unwrap();
    assert_eq!(site.sql("postgres", look).await, wanted);
    assert_eq!(site.sql("expert", "SELECT tableowner FROM pg_tables WHERE tablename = 't'").await, "app");

    // One that may do everything is for a person to make.
    site.sql("expert", "ALTER TABLE t OWNER TO boss").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "ALTER TABLE t OWNER TO app; DROP ROLE boss").await;
    let refused = site.rebuild_from("expert", &site.seed(), &create).await;
    let Err(DatabasesError::Unfit { problems, .. }) = refused else { panic!("{refused:?}") };
    let problems: Vec<String> = problems.iter().map(english).collect();
    assert!(problems.len() == 1 && problems[0].contains("CREATE ROLE \"boss\" SUPERUSER;"), "{problems:?}");
    site.end().await;
}

#[tokio::test]
async fn a_dump_that_was_examined_is_read_again_only_where_somebody_touched_it() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 500) AS n").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let options = site.rebuild_options();
    let seed = site.seed();
    let examined = || databases::examine(&site.server, "expert", &seed, &options, &site.reporter);
    let looked = |site: &Site| site.done(Activity::VerifyDump);
    let examination = examined().await.unwrap();
    let before = looked(&site);
    let options = RebuildOptions { old: OldDatabase::Drop, ..site.rebuild_options() };
    site.rebuild_of("expert", Origin::Examined(&examination), &options).await.unwrap();
    assert_eq!(looked(&site), before, "it was read twice");

    let archive = site.seed().join("archive");
    let data = fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().path());
    let data = data.into_iter().find(|path| path.to_string_lossy().ends_with(".dat.gz")).unwrap();
    let mut bytes = fs::read(&data).unwrap();
    bytes[20] ^= 1;
    fs::write(&data, bytes).unwrap();
    let refused = site.rebuild_of("expert", Origin::Examined(&examination), &options).await;
    assert!(matches!(refused, Err(DatabasesError::Damaged { .. })), "{refused:?}");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "500");
    site.end().await;
}

#[tokio::test]
async fn kept_databases_that_are_too_many_are_backed_up_proved_and_dropped() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE t AS SELECT generate_series(1, 500) AS n").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let keep = |count| RebuildOptions {
        old: OldDatabase::Keep { count, backup: site.backup_settings() },
        ..site.rebuild_options()
    };
    for _ in 0..2 {
        site.rebuild_from("expert", &site.seed(), &keep(2)).await.unwrap();
    }
    let kept = databases::kept_databases(&site.server, "expert").await.unwrap();
    assert_eq!(kept.len(), 2);
    let settings = site.backup_settings();
    let gone = databases::thin_out_kept(&site.server, "expert", 1, &settings, &site.reporter).await.unwrap();
    assert_eq!(gone, kept[..1]);
    // Its backup is of the time when it was put aside, so that it becomes the last one of nothing newer.
    let stamp = kept[0].split('~').nth(2).unwrap();
    assert_eq!(databases::backup_stamps(&site.backups(), "expert")[0].time, stamp);
    assert_eq!(databases::kept_databases(&site.server, "expert").await.unwrap(), kept[1..]);
    assert_eq!(databases::backup_stamps(&site.backups(), "expert").len(), 1);
    // The present one and what was kept of it.
    site.rebuild_from("expert", &site.seed(), &keep(0)).await.unwrap();
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    let stamps = databases::backup_stamps(&site.backups(), "expert");
    assert!(stamps.len() == 3 && stamps[1].time == kept[1].split('~').nth(2).unwrap(), "{stamps:?}");
    let last = databases::find_backup(site.backups(), "expert", None).unwrap();
    assert!(last.ends_with(&stamps[2].time), "{last:?} is not what was replaced last");
    site.end().await;
}

#[tokio::test]
async fn asked_to_stop_it_stops_before_anything_has_changed() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE t AS SELECT 1 AS one").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site.stop.cancel();
    assert!(matches!(site.rebuild("expert").await, Err(DatabasesError::Stopped { .. })));
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}
