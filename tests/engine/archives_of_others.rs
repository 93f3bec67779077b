//! Archives that a stock `pg_dump` wrote, in every format that it has, of ten shapes of schemas: restored as they were, or
//! refused with the reason. On a real PostgreSQL.
//!
//! `DPL_TEST_POSTGRES` names the image of the server that they are restored on; `DPL_TEST_POSTGRES_FROM` that of the one
//! that they come from, an older one in `scripts/soak.sh archives`.

use std::fs;
use std::path::{Path, PathBuf};

use dpl::databases::{self, Conversion, DatabasesError, DefaultLocale, Jobs, Placement, RebuildOptions, ServerImage};
use dpl::engine::ExecSpec;

use crate::databases::{CHECKSUMS, Site, image};

const SHAPES: &str = include_str!("shapes.sql");

/// Sequences, large objects and materialized views, which are no tables.
const OTHERS: &str = "SELECT json_build_array(
  (SELECT json_agg((schemaname, sequencename, last_value)::text ORDER BY schemaname, sequencename) FROM pg_sequences),
  (SELECT json_agg((oid, md5(lo_get(oid)))::text ORDER BY oid) FROM pg_largeobject_metadata),
  (SELECT json_agg((schemaname, matviewname, ispopulated)::text ORDER BY 1) FROM (SELECT * FROM pg_matviews ORDER BY 1, 2) m),
  (SELECT md5(string_agg(m::text, ',' ORDER BY m)) FROM films.by_rating m))";

async fn by_hand(site: &Site, command: &str) -> Vec<u8> {
    let spec = ExecSpec { command: ["bash", "-ec", command].map(str::to_owned).into(), ..Default::default() };
    let result = site.engine.exec(&site.container, &spec, b"").await.unwrap();
    assert_eq!(result.exit_code, 0, "{command}: {}", String::from_utf8_lossy(&result.stderr));
    result.stdout
}

/// All that tells one database from another.
async fn what_it_is(site: &Site, database: &str) -> (String, String, String) {
    let schema = by_hand(site, &format!("pg_dump -U postgres -s '{database}'")).await;
    let schema = String::from_utf8(schema).unwrap();
    // A word of chance that newer versions write.
    let lines: Vec<&str> = schema.lines().filter(|line| !line.contains("restrict ")).collect();
    (lines.join("\n"), site.sql(database, CHECKSUMS).await, site.sql(database, OTHERS).await)
}

fn assert_same(found: &(String, String, String), wanted: &(String, String, String), what: &str) {
    for (found, wanted) in found.0.lines().zip(wanted.0.lines()) {
        assert_eq!(found, wanted, "{what}");
    }
    assert_eq!(found, wanted, "{what}");
}

/// Ways in which others dump: the options, and whether owners and privileges are in it.
struct Form {
    options: &'static str,
    name: &'static str,
}

const FORMS: [Form; 8] = [
    Form { options: "-Fc", name: "custom.dump" },
    Form { options: "-Ft", name: "archive.tar" },
    Form { options: "-Fd -j2", name: "folder" },
    Form { options: "-Fc --inserts", name: "inserts.dump" },
    Form { options: "-Fc -Z0 -C -c", name: "raw.dump" },
    Form { options: "", name: "plain.sql" },
    Form { options: "-C -c --if-exists", name: "clean.sql" },
    Form { options: "-c --column-inserts --rows-per-insert=10", name: "inserts.sql" },
];

/// Dumps `database` on a site as somebody without dpl would, into a folder of another one's.
async fn dump(site: &Site, database: &str, form: &Form, into: &Path) -> PathBuf {
    let path = into.join(form.name);
    if !form.options.starts_with("-Fd") {
        fs::write(&path, by_hand(site, &format!("pg_dump -U postgres {} {database}", form.options)).await).unwrap();
        return path;
    }
    let command =
        format!("rm -rf /tmp/d && pg_dump -U postgres {} -f /tmp/d {database} && tar -C /tmp/d -cf - .", form.options);
    fs::create_dir_all(&path).unwrap();
    tar::Archive::new(by_hand(site, &command).await.as_slice()).unpack(&path).unwrap();
    path
}

/// Restores a file as `db restore --file --as` does.
async fn restore(site: &Site, path: &Path, name: &str) -> Result<(), DatabasesError> {
    let options = RebuildOptions { placement: Placement::Beside(name.to_owned()), ..site.rebuild_options() };
    if path.extension().is_none_or(|extension| extension != "sql") {
        return site.rebuild_from("postgres", path, &options).await.map(drop);
    }
    let conversion = Conversion {
        file: path.to_owned(),
        database: "shapes".to_owned(),
        target: PathBuf::new(),
        locale: DefaultLocale::of(&site.server).await?,
        jobs: Jobs::default(),
        operator: "engineer".to_owned(),
    };
    let image = ServerImage::of(&site.server).await;
    let made = databases::convert_for_now(&image, &conversion, site.folder.path(), &site.reporter).await?;
    site.rebuild_from("postgres", &made.folder, &options).await.map(drop)
}

async fn site_with_shapes(site: Site) -> Site {
    site.sql("postgres", "CREATE DATABASE shapes").await;
    site.sql("shapes", SHAPES).await;
    site
}

#[tokio::test]
async fn archives_in_every_format_come_back_as_they_were() {
    let site = site_with_shapes(Site::start().await).await;
    let wanted = what_it_is(&site, "shapes").await;
    for form in &FORMS {
        let path = dump(&site, "shapes", form, site.folder.path()).await;
        let restored = restore(&site, &path, "copy").await;
        restored.unwrap_or_else(|error| panic!("{}: {error:?}", form.name));
        assert_same(&what_it_is(&site, "copy").await, &wanted, form.name);
        site.sql("postgres", "DROP DATABASE copy").await;
    }
    // Our own, for comparison.
    let own = databases::backup(&site.server, "shapes", &site.backup_settings(), &site.reporter).await.unwrap();
    restore(&site, Path::new(&own.path), "copy").await.unwrap();
    assert_same(&what_it_is(&site, "copy").await, &wanted, "our own");
    site.end().await;
}

#[tokio::test]
async fn what_every_new_database_has_comes_back_as_the_dumped_one_had_it() {
    let site = Site::start().await;
    const SEEN: &str =
        "SELECT concat_ws(' ', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'),
      (SELECT extname FROM pg_extension WHERE extname = 'plpgsql'), has_schema_privilege('reader', 'app', 'USAGE'))";
    site.sql("postgres", "CREATE ROLE mig; CREATE ROLE reader; CREATE DATABASE expert").await;
    let app = "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO reader; CREATE TABLE app.t AS SELECT 1 AS n;";
    site.sql("expert", &format!("{app} ALTER SCHEMA public OWNER TO mig")).await;
    for (change, wanted) in [
        ("", "mig plpgsql t"),
        ("DROP EXTENSION plpgsql", "mig t"),
        ("DROP SCHEMA public; CREATE EXTENSION plpgsql", "plpgsql t"),
        ("DROP EXTENSION plpgsql", "t"),
    ] {
        site.sql("expert", change).await;
        let own = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
        restore(&site, Path::new(&own.path), "copy").await.unwrap();
        assert_eq!(site.sql("copy", SEEN).await, wanted, "{change}");
        site.sql("postgres", "DROP DATABASE copy").await;
    }
    site.end().await;
}

#[tokio::test]
async fn rows_of_inserts_are_told_to_be_uncounted_and_a_schema_alone_replaces_no_rows() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE shapes").await;
    site.sql("shapes", "CREATE TABLE t AS SELECT generate_series(1, 7) AS n; CREATE UNLOGGED TABLE u ()").await;
    let schema = Form { options: "-Fc -s", name: "schema.dump" };
    let path = dump(&site, "shapes", &schema, site.folder.path()).await;
    let error = site.rebuild_from("shapes", &path, &site.rebuild_options()).await.unwrap_err();
    assert!(error.to_string().contains("it contains 2 tables and no rows"), "{error}");
    // In the place of a database that has rows, and each of them is there.
    let path = dump(&site, "shapes", &FORMS[3], site.folder.path()).await;
    site.sql("shapes", "INSERT INTO t VALUES (8)").await;
    assert!(!site.said().contains(&"databases-inserts-not-compared"));
    site.rebuild_from("shapes", &path, &site.rebuild_options()).await.unwrap();
    assert_eq!(site.sql("shapes", "SELECT sum(n) FROM t").await, "28");
    assert!(site.said().contains(&"databases-inserts-not-compared"), "{:?}", site.said());
    site.end().await;
}

#[tokio::test]
async fn roles_that_policies_and_default_privileges_name_are_told_before_and_made_where_somebody_says_so() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE ROLE seen; CREATE ROLE given; CREATE DATABASE shapes").await;
    site.sql(
        "shapes",
        "CREATE TABLE t AS SELECT generate_series(1, 7) AS n; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON t TO seen USING (n > 1);
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO given",
    )
    .await;
    let path = dump(&site, "shapes", &FORMS[0], site.folder.path()).await;
    site.sql("postgres", "DROP DATABASE shapes; DROP ROLE seen; DROP ROLE given").await;
    let error = restore(&site, &path, "copy").await.unwrap_err();
    let DatabasesError::Unfit { problems, .. } = &error else { panic!("{error:?}") };
    let told: Vec<String> = problems.iter().map(dpl::catalogue::english).collect();
    assert!(told.len() == 2 && told[0].contains("`given`") && told[1].contains("`seen`"), "{told:?}");
    let options = RebuildOptions {
        placement: Placement::Beside("copy".to_owned()),
        missing_roles: databases::MissingRoles::Create,
        ..site.rebuild_options()
    };
    site.rebuild_from("postgres", &path, &options).await.unwrap();
    assert_eq!(site.sql("copy", "SET ROLE seen; SELECT count(*) FROM pg_policies WHERE roles = '{seen}'").await, "1");
    site.end().await;
}

#[tokio::test]
async fn a_dump_of_a_whole_server_that_drops_first_is_converted() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE ROLE own; CREATE DATABASE shapes; CREATE DATABASE another").await;
    site.sql("shapes", "CREATE TABLE t AS SELECT generate_series(1, 7) AS n; ALTER TABLE t OWNER TO own").await;
    let path = site.folder.path().join("all.sql");
    fs::write(&path, by_hand(&site, "pg_dumpall -U postgres --clean --if-exists").await).unwrap();
    restore(&site, &path, "copy").await.unwrap();
    assert_eq!(
        site.sql("copy", "SELECT sum(n), min(tableowner) FROM t, pg_tables WHERE tablename = 't'").await,
        "28|own"
    );
    fs::write(&path, by_hand(&site, "pg_dumpall -U postgres --clean").await).unwrap();
    restore(&site, &path, "again").await.unwrap();
    site.end().await;
}

/// `PGDMP`, then three bytes of the format's version (`pg_backup_archiver.c`, `ReadHead`).
const VERSION_AT: usize = 5;

#[tokio::test]
async fn a_header_that_looks_older_or_newer_gives_the_same_database_or_the_reason() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE shapes").await;
    site.sql("shapes", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 500) n").await;
    let sums = site.sql("shapes", CHECKSUMS).await;
    let good = fs::read(dump(&site, "shapes", &FORMS[0], site.folder.path()).await).unwrap();
    assert_eq!(&good[..VERSION_AT], b"PGDMP");
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let path = site.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let format = |major: u8, minor: u8| {
        with(&format!("{major}.{minor}.dump"), &|bytes| {
            bytes[VERSION_AT..VERSION_AT + 2].copy_from_slice(&[major, minor])
        })
    };
    // Formats that no pg_restore knows yet: the archive is whole.
    for path in [format(1, 99), format(2, 0)] {
        let error = restore(&site, &path, "copy").await.unwrap_err();
        assert!(matches!(error, DatabasesError::NewerArchive { .. }), "{error:?}");
    }
    // Older ones are read otherwise than they were written: never as another database.
    for minor in 0..good[VERSION_AT + 1] {
        let path = format(1, minor);
        match restore(&site, &path, "copy").await {
            Ok(()) => {
                assert_eq!(site.sql("copy", CHECKSUMS).await, sums, "1.{minor}");
                site.sql("postgres", "DROP DATABASE copy").await;
            }
            Err(DatabasesError::Damaged { .. } | DatabasesError::Unfit { .. } | DatabasesError::Tool { .. }) => {}
            Err(error) => panic!("1.{minor}: {error:?}"),
        }
    }
    // The server's version stands in it as text, twice.
    let version = site.sql("postgres", "SHOW server_version").await;
    let as_version = |text: &str| {
        let (from, to) = (&version.as_bytes()[..4], text.as_bytes());
        with(&format!("server {text}.dump"), &|bytes| {
            let places: Vec<usize> = (0..400).filter(|at| bytes[*at..].starts_with(from)).collect();
            assert!(!places.is_empty(), "{version}");
            places.into_iter().for_each(|at| bytes[at..at + 4].copy_from_slice(to));
        })
    };
    let error = restore(&site, &as_version("99.1"), "copy").await.unwrap_err();
    assert!(error.to_string().contains("it was dumped from PostgreSQL 99.1"), "{error}");
    restore(&site, &as_version("9.6."), "copy").await.unwrap();
    assert_eq!(site.sql("copy", CHECKSUMS).await, sums);
    site.end().await;
}

/// The reference is what the stock tools of the server that they come to make of the same file.
#[tokio::test]
async fn archives_of_another_server_come_back_as_by_the_stock_tools() {
    let from = std::env::var("DPL_TEST_POSTGRES_FROM").unwrap_or_else(|_| image());
    let other = site_with_shapes(Site::start_with(&from).await).await;
    let site = Site::start().await;
    // The other extension that every dump of it needs is the same server's own; the roles are for somebody to make.
    site.sql(
        "postgres",
        "CREATE ROLE shapes_anon; CREATE ROLE \"shapes author\"; GRANT shapes_anon TO \"shapes author\"",
    )
    .await;
    let sums = other.sql("shapes", CHECKSUMS).await;
    let mut reference = None;
    // Of a server of the same version one form for each program that reads them, since all forms of that are another test's.
    let is_taken = |form: &&Form| from != image() || matches!(form.name, "custom.dump" | "folder" | "plain.sql");
    for form in FORMS.iter().filter(is_taken) {
        let path = dump(&other, "shapes", form, site.folder.path()).await;
        if reference.is_none() {
            let bytes = fs::read(&path).unwrap();
            let command =
                ["bash", "-ec", "createdb -U postgres -T template0 byhand && pg_restore -U postgres -d byhand"];
            let spec = ExecSpec { command: command.map(str::to_owned).into(), ..Default::default() };
            let result = site.engine.exec(&site.container, &spec, &bytes).await.unwrap();
            assert_eq!(result.exit_code, 0, "{}", String::from_utf8_lossy(&result.stderr));
            reference = Some(what_it_is(&site, "byhand").await);
        }
        let restored = restore(&site, &path, "copy").await;
        restored.unwrap_or_else(|error| panic!("{from}, {}: {error:?}", form.name));
        let found = what_it_is(&site, "copy").await;
        assert_eq!(found.1, sums, "{from}, {}", form.name);
        assert_same(&found, reference.as_ref().unwrap(), form.name);
        site.sql("postgres", "DROP DATABASE copy").await;
    }
    other.end().await;
    site.end().await;
}
