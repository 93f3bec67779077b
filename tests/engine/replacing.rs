//! Databases replaced on a real PostgreSQL: patches, rows that live on, archives that others wrote, the way back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpl::catalogue::english;
use dpl::databases::{
    self, DatabasesError, OldDatabase, Patches, Placement, PreservedRows, RebuildOptions, Secret, Variable,
    VariableValue,
};
use dpl::engine::ExecSpec;

use crate::databases::{CHECKSUMS, EVERYTHING, Nobody, Site, wait_for_tcp};
use crate::support_engine::eventually_asked;

/// A table of settings that a delivery brings, and that a customer has changed.
const SETTINGS: &str = r#"
CREATE TABLE settings (name text PRIMARY KEY, value text, doc json, changed timestamptz DEFAULT now());
INSERT INTO settings VALUES ('appkey', 'delivered', '{"a": 1}', '2026-01-01'), ('theme', 'light', NULL, '2026-01-01');
CREATE SCHEMA "档案 局";
CREATE TABLE "档案 局"."Users" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "名 字" text UNIQUE NOT NULL,
  boss int REFERENCES "档案 局"."Users", upper text GENERATED ALWAYS AS (upper("名 字")) STORED);
INSERT INTO "档案 局"."Users" ("名 字") VALUES ('root');
CREATE TABLE notes (id serial PRIMARY KEY, "user" int NOT NULL REFERENCES "档案 局"."Users", note text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON settings FOR EACH ROW EXECUTE FUNCTION touch();
"#;

async fn site_with(sql: &str) -> Site {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", sql).await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    site
}

fn rows(table: &str, key: &[&str]) -> PreservedRows {
    let key = key.iter().map(|column| (*column).to_owned()).collect();
    PreservedRows { table: table.to_owned(), key, ..Default::default() }
}

/// Runs a program of the server's container on its own, as somebody without dpl would.
async fn by_hand(site: &Site, command: &str) -> Vec<u8> {
    let spec = ExecSpec { command: ["sh", "-c", command].map(str::to_owned).into(), ..Default::default() };
    let result = site.engine.exec(&site.container, &spec, b"").await.unwrap();
    assert_eq!(result.exit_code, 0, "{command}: {}", String::from_utf8_lossy(&result.stderr));
    result.stdout
}

fn write(site: &Site, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = site.folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn rows_of_the_customer_live_on_with_all_that_was_written_until_the_swap() {
    let site = site_with(SETTINGS).await;
    site.sql(
        "expert",
        r#"UPDATE settings SET value = 'cust''omer \. 键', doc = '{"b":  2}' WHERE name = 'appkey';
           INSERT INTO settings VALUES ('appsecret', E'tab\tline\nback\\slash', NULL, '2025-05-05');
           INSERT INTO "档案 局"."Users" ("名 字", boss) VALUES ('张', 1), ('李', 2), ('gone', NULL);
           UPDATE "档案 局"."Users" SET boss = 3 WHERE id = 1;
           INSERT INTO notes ("user", note) SELECT 3, 'n' || n FROM generate_series(1, 50) n"#,
    )
    .await;
    let kept = "SELECT json_agg(s ORDER BY name) FROM settings s WHERE name LIKE 'app%'";
    let wanted = site.sql("expert", kept).await;
    let options = RebuildOptions {
        preserve: vec![
            PreservedRows { condition: Some("name ~ '^app'".to_owned()), ..rows("settings", &["name"]) },
            // A child before its parent, a name with quotes, a condition of its own.
            rows("notes", &["id"]),
            PreservedRows {
                condition: Some("\"名 字\" <> 'gone'".to_owned()),
                ..rows("\"档案 局\".\"Users\"", &["id"])
            },
        ],
        ..site.rebuild_options()
    };
    let report = site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", kept).await, wanted);
    assert_eq!(site.sql("expert", "SELECT value FROM settings WHERE name = 'theme'").await, "light");
    let users = r#"SELECT string_agg(id || "名 字" || coalesce(boss::text, '') || upper, ',' ORDER BY id) FROM "档案 局"."Users""#;
    assert_eq!(site.sql("expert", users).await, "1root3ROOT,2张1张,3李2李");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM notes").await, "50");
    let of = |table: usize| {
        (report.preserved[table].rows, report.preserved[table].updated, report.preserved[table].inserted)
    };
    assert_eq!((of(0), of(1), of(2)), ((2, 1, 1), (50, 0, 50), (3, 1, 2)));
    // Sequences are behind what came, foreign keys and triggers at work again.
    site.sql(
        "expert",
        r#"INSERT INTO "档案 局"."Users" ("名 字") VALUES ('new'); INSERT INTO notes ("user") VALUES (4)"#,
    )
    .await;
    assert_eq!(site.sql("expert", "SELECT max(id) FROM notes").await, "51");
    assert!(site.try_sql("expert", "INSERT INTO notes (\"user\") VALUES (99)").await.is_err());
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn what_can_not_live_on_stops_the_rebuild_before_the_swap() {
    let site = site_with(SETTINGS).await;
    site.sql(
        "expert",
        "ALTER TABLE settings ADD COLUMN own text; ALTER TABLE notes ALTER note TYPE varchar(9);
         CREATE TABLE local (a int); INSERT INTO local VALUES (1), (1);
         INSERT INTO \"档案 局\".\"Users\" (\"名 字\") VALUES ('a');
         INSERT INTO notes (\"user\") VALUES (2)",
    )
    .await;
    let problems = async |preserve: Vec<PreservedRows>| {
        let options = RebuildOptions { preserve, ..site.rebuild_options() };
        match site.rebuild_from("expert", &site.seed(), &options).await {
            Err(DatabasesError::CannotPreserve { problems, .. } | DatabasesError::Unfit { problems, .. }) => {
                problems.iter().map(english).collect::<Vec<String>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        problems(vec![rows("settings", &["name"]), rows("notes", &["id"]), rows("local", &["a"])]).await,
        [
            "the new `settings` has no column `own`",
            "column `note` of `notes` is character varying in the present database and text in the new one",
            "the new database has no table `local`"
        ]
    );
    assert_eq!(
        problems(vec![rows("settings", &["nome"])]).await,
        ["`expert` has no column `nome` in table `settings` to preserve"]
    );
    // The server's own words name the database as people do, though the rows go into one that has another name yet.
    site.sql(
        "expert",
        "DELETE FROM \"档案 局\".\"Users\" WHERE id = 1;
         INSERT INTO \"档案 局\".\"Users\" (id, \"名 字\") OVERRIDING SYSTEM VALUE VALUES (50, 'root')",
    )
    .await;
    let options =
        RebuildOptions { preserve: vec![rows("\"档案 局\".\"Users\"", &["id"])], ..site.rebuild_options() };
    let error = site.rebuild_from("expert", &site.seed(), &options).await.unwrap_err();
    let DatabasesError::Sql { database, source, .. } = &error else { panic!("{error:?}") };
    assert!(database == "expert" && source.to_string().contains("duplicate key"), "{error:?}");
    site.sql("expert", "UPDATE \"档案 局\".\"Users\" SET \"名 字\" = 'b' WHERE id = 50").await;
    let columns = vec!["user".to_owned()];
    let dangling = problems(vec![PreservedRows { columns, ..rows("notes", &["id"]) }]).await;
    assert!(
        dangling[0].starts_with("1 rows of public.notes would refer to rows that 档案 局.Users does not have"),
        "{dangling:?}"
    );
    let twice = problems(vec![PreservedRows { columns: vec!["id".to_owned()], ..rows("notes", &["user"]) }]).await;
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM local").await, "2");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn patches_are_one_transaction_on_the_new_database() {
    let site = site_with(SETTINGS).await;
    let first = write(
        &site,
        "one.sql",
        "\u{feff}UPDATE settings SET value = :'value' WHERE name = 'theme';\n\
         CREATE TABLE \":table\" (a int);\nCOPY \":table\" FROM STDIN;\n1\n2\n\\.\n\\if :yes\nINSERT INTO notes (\"user\") VALUES (1);\n\\endif",
    );
    let second = write(
        &site,
        "two 二.sql",
        "DELETE FROM settings WHERE name = 'appkey'; SELECT 1 AS one \\gset\n-- no semicolon\nSELECT now()",
    );
    let variable = |name: &str, value| Variable { name: name.to_owned(), value };
    let variables = vec![
        variable("value", VariableValue::Secret(Secret::new("it's \\ :yes\nübung"))),
        variable("yes", VariableValue::Plain("true".to_owned())),
    ];
    let patches = Patches { files: vec![first, second], variables: variables.clone() };
    let options = RebuildOptions { patches, ..site.rebuild_options() };
    let report = site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    let changed: Vec<_> = report.patches.iter().map(|patch| (patch.inserted, patch.updated, patch.deleted)).collect();
    assert_eq!(changed, [(3, 1, 0), (0, 0, 1)]);
    assert_eq!(site.sql("expert", "SELECT value FROM settings").await, "it's \\ :yes\nübung");
    let bad = [
        ("UPDATE settings SET value = 'x';\nUPDATE nowhere SET a = :'value';", "nowhere"),
        ("UPDATE settings SET value = 'x'; COMMIT; SELECT 1;", "transaction"),
        ("UPDATE settings SET value = 'open", "stays open"),
        ("\\if true\nSELECT 1;", "stays open"),
    ];
    for (index, (text, why)) in bad.into_iter().enumerate() {
        let path = write(&site, &format!("bad{index}.sql"), text);
        let patches = Patches { files: vec![path.clone()], variables: variables.clone() };
        let options = RebuildOptions { patches, ..site.rebuild_options() };
        let error = site.rebuild_from("expert", &site.seed(), &options).await.unwrap_err();
        let DatabasesError::Patch { path: told, source, .. } = &error else { panic!("{error:?}") };
        assert!(told == &path && source.to_string().contains(why), "{error:?}");
        assert!(
            !["übung", "it'"].iter().any(|part| source.to_string().contains(part)),
            "the secret is shown: {source}"
        );
        if index == 0 {
            assert!(source.to_string().contains("bad0.sql:2: ERROR:  relation"), "{source}");
        }
    }
    let patches = Patches { files: vec![write(&site, "c.sql", "\\c postgres\n"), "nowhere.sql".into()], variables };
    let options = RebuildOptions { patches, ..site.rebuild_options() };
    let error = site.rebuild_from("expert", &site.seed(), &options).await.unwrap_err();
    assert!(matches!(&error, DatabasesError::Unfit { problems, .. } if problems.len() == 2), "{error:?}");
    assert_eq!(site.sql("expert", "SELECT value FROM settings").await, "it's \\ :yes\nübung");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn what_was_kept_comes_back_and_what_it_replaces_is_kept_in_its_turn() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    site.sql("expert", "DELETE FROM t WHERE n > 3; COMMENT ON DATABASE expert IS 'mine'").await;
    let keep = |count| RebuildOptions {
        old: OldDatabase::Keep { count, backup: site.backup_settings() },
        ..site.rebuild_options()
    };
    let count = async || site.sql("expert", "SELECT count(*) FROM t").await;
    let report = site.rebuild_from("expert", &site.seed(), &keep(1)).await.unwrap();
    let kept = report.kept_as.unwrap();
    assert!(report.backup.is_none() && databases::backups(site.backups(), "expert").unwrap().is_empty());
    assert_eq!((count().await, site.databases().await.len()), ("7".to_owned(), 3));
    assert!(site.try_sql(&kept, "SELECT 1").await.is_err(), "nobody writes to what is kept");
    let nobody = Nobody::default();
    let back = databases::rollback(&site.server, "expert", &nobody, &site.reporter).await.unwrap();
    assert_eq!((back.source, count().await), (kept, "3".to_owned()));
    let forth = databases::rollback(&site.server, "expert", &nobody, &site.reporter).await.unwrap();
    assert_eq!((Some(forth.source), count().await), (back.kept_as, "7".to_owned()));
    // One too many is backed up and dropped.
    site.sql("expert", "INSERT INTO t SELECT 8").await;
    let report = site.rebuild_from("expert", &site.seed(), &keep(1)).await.unwrap();
    let mut there = site.databases().await;
    there.retain(|name| name.contains('~'));
    assert_eq!(there, [report.kept_as.unwrap()]);
    let backups = databases::backups(site.backups(), "expert").unwrap();
    assert_eq!(backups.iter().map(|backup| backup.rows).collect::<Vec<_>>(), [3]);
    site.sql("postgres", &format!("ALTER DATABASE \"{}\" IS_TEMPLATE false; DROP DATABASE \"{}\"", there[0], there[0]))
        .await;
    let none = databases::rollback(&site.server, "expert", &nobody, &site.reporter).await;
    assert!(matches!(none, Err(DatabasesError::NothingKept { .. })));
    site.end().await;
}

#[tokio::test]
async fn archives_of_a_stock_pg_dump_go_the_same_road() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", EVERYTHING).await;
    site.sql("expert", "CREATE EXTENSION IF NOT EXISTS \"pgcrypto\"; CREATE TABLE ser (id serial)").await;
    let sums = site.sql("expert", CHECKSUMS).await;
    let custom = write(&site, "a b.dump", by_hand(&site, "pg_dump -U postgres -Fc expert").await);
    let tar = write(&site, "expert.tar", by_hand(&site, "pg_dump -U postgres -Ft expert").await);
    for (turn, path) in [&custom, &tar].into_iter().enumerate() {
        site.sql("expert", "TRUNCATE big; DROP TABLE IF EXISTS hen CASCADE").await;
        let report = site.rebuild_from("expert", path, &site.dropping_options()).await.unwrap();
        assert_eq!(site.sql("expert", CHECKSUMS).await, sums, "{turn}");
        assert_eq!(report.source, path.display().to_string());
        assert_eq!(report.rows, 1000 + 500 + 2 + 1 + 60_000);
    }
    // Cut off, and with a flipped bit, each where rows are.
    let good = fs::read(&custom).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    for bad in [&good[..good.len() * 2 / 3], &good[..100], &flipped] {
        let path = write(&site, "bad.dump", bad);
        let error = site.rebuild_from("expert", &path, &site.rebuild_options()).await.unwrap_err();
        assert!(matches!(error, DatabasesError::Damaged { .. }), "{error:?}");
    }
    for (name, bytes) in [("plain.sql", &b"SELECT 1;"[..]), ("empty", b""), ("else", b"\x7fELF\0\0")] {
        let path = write(&site, name, bytes);
        let error = site.rebuild_from("expert", &path, &site.rebuild_options()).await.unwrap_err();
        assert!(matches!(error, DatabasesError::NoArchive { .. }), "{error:?}");
    }
    assert_eq!(site.sql("expert", CHECKSUMS).await, sums);
    // Roles that are gone are told before anything is made.
    site.sql("postgres", "CREATE DATABASE other").await;
    let beside = RebuildOptions { placement: Placement::Beside("copy".to_owned()), ..site.rebuild_options() };
    site.sql("postgres", "DROP DATABASE expert; DROP ROLE \"app role\"; DROP ROLE reader").await;
    let error = site.rebuild_from("other", &custom, &beside).await.unwrap_err();
    let DatabasesError::Unfit { problems, .. } = &error else { panic!("{error:?}") };
    assert_eq!(problems.len(), 2, "{problems:?}");
    site.end().await;
}

#[tokio::test]
async fn a_database_beside_another_replaces_nothing() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    let made = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    site.sql("expert", "DELETE FROM t").await;
    let options = RebuildOptions { placement: Placement::Beside("副 本".to_owned()), ..site.rebuild_options() };
    let last = databases::find_backup(site.backups(), "expert", None).unwrap();
    assert_eq!(last, Path::new(&made.path));
    assert_eq!(databases::find_backup(site.backups(), "metis", Some(&made.id)).unwrap(), last);
    for strange in ["../expert/20260704T101530Z", "expert/..", "20260704T101530Z", "x"] {
        assert!(databases::find_backup(site.backups(), "expert", Some(strange)).is_err(), "{strange}");
    }
    let report = site.rebuild_from("expert", &last, &options).await.unwrap();
    assert!(report.created && report.database == "副 本");
    assert_eq!(site.sql("副 本", "SELECT count(*) FROM t").await, "7");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "0");
    let again = site.rebuild_from("expert", &last, &options).await.unwrap_err();
    assert!(again.to_string().contains("database `副 本` exists already"), "{again}");
    site.end().await;
}

#[tokio::test]
async fn a_restore_that_will_not_fit_and_a_prepared_transaction_are_told_at_once() {
    let site = site_with("CREATE TABLE t AS SELECT generate_series(1, 7) AS n").await;
    let record = site.seed().join("backup.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["size_bytes"] = (1_u64 << 60).into();
    fs::write(&record, value.to_string()).unwrap();
    let data = site.seed().join("archive/toc.dat");
    let good = fs::read(&data).unwrap();
    fs::write(&data, &good[..good.len() - 1]).unwrap();
    let error = site.rebuild("expert").await.unwrap_err();
    let DatabasesError::Unfit { problems, .. } = &error else { panic!("{error:?}") };
    // The new database, and the proof of the old one's backup beside it.
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(english(&problems[0]).contains("is damaged"), "{problems:?}");
    assert!(problems[1..].iter().all(|problem| english(problem).contains("MiB are free")), "{problems:?}");
    site.end().await;
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_has_its_old_rows_and_the_next_run_clears_up() {
    let site = site_with("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n").await;
    site.sql("expert", "DELETE FROM t WHERE n > 3").await;
    let kill = async {
        let all = "SELECT datname FROM pg_database";
        let begins = async || site.try_sql("postgres", all).await.is_ok_and(|all| all.contains("~new~"));
        eventually_asked("the restore begins", begins).await;
        site.engine.stop_container(&site.container, Some(Duration::ZERO)).await.unwrap();
        site.engine.start_container(&site.container).await.unwrap();
        wait_for_tcp(&site.engine, &site.container).await;
    };
    let (rebuilt, ()) = futures::join!(site.rebuild("expert"), kill);
    assert!(rebuilt.is_err(), "{rebuilt:?}");
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "3");
    let report = site.rebuild("expert").await.unwrap();
    assert_eq!((report.rows, report.backup.unwrap().rows), (200_000, 3));
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

#[tokio::test]
async fn a_database_that_was_left_closed_opens_with_the_next_command() {
    let site = site_with("CREATE TABLE t AS SELECT 1 AS n").await;
    let new = format!("expert~new~20260704T101530Z~{}", dpl::fs::Digest::of(b"expert").short());
    site.sql("postgres", &format!("CREATE DATABASE \"{new}\"")).await;
    site.sql("postgres", "ALTER DATABASE expert ALLOW_CONNECTIONS false").await;
    databases::recover(&site.server, "expert", &site.reporter).await.unwrap();
    assert_eq!(site.said(), ["databases-reopened", "databases-leftover-dropped"]);
    assert_eq!(site.sql("expert", "SELECT count(*) FROM t").await, "1");
    assert_eq!(site.databases().await, ["expert", "postgres"]);
    site.end().await;
}

/// As pg_restore does with sizes that it knows; from 16 on, it knows those of compressed files by what the archive says of them.
#[tokio::test]
async fn the_largest_table_is_among_the_first_that_several_connections_restore() {
    const SMALL: u32 = 40;
    let names: Vec<String> = (1..=SMALL).map(|number| format!("a{number:02}")).collect();
    let mut sql = names.iter().map(|name| format!("CREATE TABLE {name} AS SELECT 1 AS n;")).collect::<String>();
    sql += "CREATE TABLE z AS SELECT n, md5(n::text) FROM generate_series(1, 100000) n;
        SELECT count(lo_from_bytea(0, decode(md5(n::text), 'hex'))) FROM generate_series(1, 9) n";
    let site = site_with(&sql).await;
    let objects = "SELECT count(*), md5(string_agg(data, ''::bytea ORDER BY data)) FROM pg_largeobject";
    let wanted = site.sql("expert", objects).await;
    let options = RebuildOptions { jobs: databases::Jobs::new(2).unwrap(), ..site.dropping_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", objects).await, wanted);
    // Each table's rows are one transaction; which of two connections is up first is chance.
    let of = |name: &String| format!("SELECT xmin::text::bigint AS x FROM {name}");
    let of_small = names.iter().map(of).collect::<Vec<_>>().join(" UNION ALL ");
    let before = format!("SELECT count(*) FROM ({of_small}) s WHERE x < (SELECT xmin::text::bigint FROM z LIMIT 1)");
    let before: u32 = site.sql("expert", &before).await.parse().unwrap();
    assert!(before < SMALL / 2, "{before} of {SMALL}");
    // It says what pg_dump says of what it compresses itself.
    let said = fs::read(site.seed().join("archive/toc.dat")).unwrap()[11..13].to_vec();
    assert_eq!(said, if site.server.major() >= 16 { [1, 0] } else { [0, 5] });
    site.end().await;
}

#[tokio::test]
async fn a_plain_dump_is_run_without_a_network_and_restored_as_an_archive() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", EVERYTHING).await;
    let sums = site.sql("expert", CHECKSUMS).await;
    let plain = by_hand(&site, "pg_dump -U postgres expert").await;
    // Before 14 a server refuses its own pg_dump's DEFAULT for a generated column, where there is more than one row.
    let rows = if site.server.major() >= 14 { 100 } else { 1 };
    let packed =
        by_hand(&site, &format!("pg_dump -U postgres -C --inserts --rows-per-insert={rows} expert | gzip")).await;
    let image = databases::ServerImage::of(&site.server).await;
    let locale = databases::DefaultLocale::of(&site.server).await.unwrap();
    let convert = async |file: PathBuf| {
        let conversion = databases::Conversion {
            file,
            database: "expert".to_owned(),
            target: site.seed(),
            locale: locale.clone(),
            jobs: databases::Jobs::default(),
            operator: "engineer".to_owned(),
        };
        databases::convert(&image, &conversion, &site.reporter).await
    };
    for (name, bytes) in [("expert 档.sql", &plain), ("expert.sql.gz", &packed)] {
        let made = convert(write(&site, name, bytes)).await.unwrap();
        assert_eq!((made.rows, made.database.as_str()), (1000 + 500 + 2 + 1 + 60_000, "expert"));
        site.sql("expert", "TRUNCATE big").await;
        site.rebuild_from("expert", &site.seed(), &site.dropping_options()).await.unwrap();
        assert_eq!(site.sql("expert", CHECKSUMS).await, sums, "{name}");
    }
    // What does not run to its end, or is cut off, gives nothing; what leaves the database finds nothing there.
    let hostile = [
        &b"CREATE TABLE t (a int);\nINSERT INTO nowhere VALUES (1);\n"[..],
        &packed[..packed.len() / 2],
        b"CREATE TABLE t (a text);\n\\! touch /tmp/here\n\\connect nowhere\nSELECT 1;\n",
    ];
    for bytes in hostile {
        assert!(convert(write(&site, "bad.sql", bytes)).await.is_err());
    }
    // It reads no other file, and says what to do.
    write(&site, "more.sql", b"CREATE TABLE more (n int);");
    let error = convert(write(&site, "reads.sql", b"CREATE TABLE t (a int);\n\\i more.sql\n")).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("put their text into this one file"), "{said}");
    assert_eq!(site.sql("expert", CHECKSUMS).await, sums);
    let none = convert(write(&site, "a.dump", b"PGDMP")).await;
    assert!(matches!(none, Err(DatabasesError::NoArchive { .. })));
    site.end().await;
}
