//! How a dump is restored otherwise than it says: other owners, no privileges, no tablespaces, in the dump's own order. On
//! a real PostgreSQL.

use std::path::Path;

use dpl::catalogue::english;
use dpl::databases::{
    self, Adaptation, DatabasesError, Depth, Jobs, MissingRoles, OldDatabase, OwnerMap, Owners, Part, Placement,
    RebuildOptions, ServerImage, VerifySettings,
};
use dpl::engine::ExecSpec;

use crate::databases::{CHECKSUMS, Site};

/// Objects of two owners, granted to a third role, some of them in a tablespace. A sequence that comes before the table that
/// owns it, names that want quotes, a function of several types, a large object.
const OWNED: &str = r#"
CREATE SCHEMA "s ""one" AUTHORIZATION old_a;
CREATE TABLE "s ""one".z (id int PRIMARY KEY) TABLESPACE fast; ALTER TABLE "s ""one".z OWNER TO old_a;
CREATE SEQUENCE "s ""one".a_seq; ALTER SEQUENCE "s ""one".a_seq OWNER TO old_a; ALTER SEQUENCE "s ""one".a_seq OWNED BY "s ""one".z.id;
CREATE TABLE t (id serial PRIMARY KEY, note text); ALTER TABLE t OWNER TO "old b";
CREATE INDEX ON t (note) TABLESPACE fast;
INSERT INTO t (note) SELECT 'n' || n FROM generate_series(1, 500) n; INSERT INTO "s ""one".z SELECT generate_series(1, 9);
CREATE VIEW v AS SELECT * FROM t; ALTER VIEW v OWNER TO "old b";
CREATE TYPE mood AS ENUM ('good', 'bad'); ALTER TYPE mood OWNER TO old_a;
CREATE FUNCTION "f;x"(a int[], b character varying, OUT c "mood") LANGUAGE sql AS $$ SELECT 'good'::mood $$;
ALTER FUNCTION "f;x"(int[], varchar) OWNER TO old_a;
SELECT lo_from_bytea(4711, '\xdeadbeef'); ALTER LARGE OBJECT 4711 OWNER TO "old b";
GRANT SELECT ON t TO reader; GRANT USAGE ON SCHEMA "s ""one" TO reader;
"#;

/// Who owns what, but for what the server itself brings.
const OWNERS: &str = "SELECT string_agg(o, ' ' ORDER BY o) FROM (
  SELECT DISTINCT pg_get_userbyid(relowner) AS o FROM pg_class WHERE oid >= 16384 AND relkind <> 't'
  UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE oid >= 16384 AND nspname <> 'public'
  UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE oid >= 16384
  UNION SELECT pg_get_userbyid(typowner) FROM pg_type WHERE oid >= 16384
  UNION SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata) AS owners";

fn mapped(text: &str) -> Owners {
    Owners::Mapped(OwnerMap::parse(text).unwrap())
}

async fn shell(site: &Site, script: &str) -> Vec<u8> {
    let spec = ExecSpec { command: ["sh", "-c", script].map(str::to_owned).into(), ..Default::default() };
    let result = site.engine.exec(&site.container, &spec, b"").await.unwrap();
    assert_eq!(result.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&result.stderr));
    result.stdout
}

#[tokio::test]
async fn owners_privileges_and_tablespaces_are_restored_as_somebody_asks() {
    let site = Site::start().await;
    shell(&site, "mkdir /var/lib/postgresql/fast && chown postgres: /var/lib/postgresql/fast").await;
    site.sql(
        "postgres",
        "CREATE ROLE old_a; CREATE ROLE \"old b\"; CREATE ROLE reader; CREATE ROLE new_a; CREATE ROLE new_b",
    )
    .await;
    site.sql("postgres", "CREATE TABLESPACE fast LOCATION '/var/lib/postgresql/fast'").await;
    site.sql("postgres", "CREATE DATABASE expert OWNER old_a").await;
    site.sql("postgres", "CREATE DATABASE present").await;
    site.sql("expert", OWNED).await;
    let sums = site.sql("expert", CHECKSUMS).await;
    let own = databases::backup(&site.server, "expert", &site.backup_settings(), &site.reporter).await.unwrap();
    let custom = site.folder.path().join("expert.dump");
    std::fs::write(&custom, shell(&site, "pg_dump -U postgres -Fc expert").await).unwrap();
    for statement in ["DROP DATABASE expert", "DROP TABLESPACE fast", "DROP ROLE old_a, \"old b\", reader"] {
        site.sql("postgres", statement).await;
    }
    let beside = |name: &str, adaptation: Adaptation| RebuildOptions {
        placement: Placement::Beside(name.to_owned()),
        adaptation,
        ..site.rebuild_options()
    };
    let problems =
        async |path: &Path, adaptation| match site.rebuild_from("present", path, &beside("copy", adaptation)).await {
            Err(DatabasesError::Unfit { problems, .. }) => problems.iter().map(english).collect::<Vec<String>>(),
            other => panic!("{other:?}"),
        };
    let place = Adaptation { tablespaces: Part::LeftOut, ..Default::default() };
    let nothing = Adaptation { privileges: Part::LeftOut, ..place.clone() };
    for (turn, path) in [Path::new(&own.path), custom.as_path()].into_iter().enumerate() {
        // As it is: all that is missing at once, with what can be done about it.
        let told = problems(path, Adaptation::default()).await;
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told.iter().any(|problem| problem.contains("tablespace `fast`") && problem.contains("--no-tablespaces"))
        );
        // What the map does not name is needed, and so are those that something is granted to.
        let told = problems(path, Adaptation { owners: mapped("old_a=new_a"), ..nothing.clone() }).await;
        assert!(told.len() == 1 && told[0].contains("`old b`"), "{told:?}");
        let told = problems(path, Adaptation { owners: mapped("new_a"), ..place.clone() }).await;
        assert!(told.len() == 1 && told[0].contains("`reader`"), "{told:?}");

        for (owners, wanted) in [
            (Owners::Restorer, "postgres"),
            (mapped("new_b"), "new_b"),
            (mapped("old_a=new_a,old b=new_b"), "new_a new_b"),
        ] {
            let name = format!("copy {turn} {wanted}");
            let options = beside(&name, Adaptation { owners, ..nothing.clone() });
            site.rebuild_from("present", path, &options).await.unwrap();
            assert_eq!(site.sql(&name, CHECKSUMS).await, sums, "{name}");
            assert_eq!(site.sql(&name, OWNERS).await, wanted, "{name}");
            assert_eq!(
                site.sql(
                    &name,
                    "SELECT count(*) FROM pg_class WHERE reltablespace <> 0 AND relkind IN ('r', 'i') AND oid >= 16384"
                )
                .await,
                "0"
            );
            assert_eq!(site.sql(&name, "SELECT relacl IS NULL FROM pg_class WHERE relname = 't'").await, "t");
        }
        // With privileges: the role is made, the old owner's are the new one's.
        let options = RebuildOptions {
            missing_roles: MissingRoles::Create,
            ..beside(&format!("with {turn}"), Adaptation { owners: mapped("new_a"), ..place.clone() })
        };
        site.rebuild_from("present", path, &options).await.unwrap();
        let granted = "SELECT relacl FROM pg_class WHERE relname = 't'";
        // MAINTAIN came with 17.
        let maintains = if site.server.major() >= 17 { "m" } else { "" };
        let wanted = format!("{{new_a=arwdDxt{maintains}/new_a,reader=r/new_a}}");
        assert_eq!(site.sql(&format!("with {turn}"), granted).await, wanted);
        site.sql("postgres", &format!("DROP DATABASE \"with {turn}\"")).await;
        site.sql("postgres", "DROP ROLE reader").await;
    }
    // A database that is not there yet is made as the record says, with the owner that is asked for.
    let options = RebuildOptions {
        adaptation: Adaptation { owners: mapped("old_a=new_a,new_b"), ..nothing },
        ..site.rebuild_options()
    };
    site.rebuild_from("expert", Path::new(&own.path), &options).await.unwrap();
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()";
    assert_eq!((site.sql("expert", owner).await, site.sql("expert", CHECKSUMS).await), ("new_a".to_owned(), sums));
    site.end().await;
}

/// What can only be restored one table after the other, in the order of their names: the second table's rows are refused without
/// those of the first, which is the smallest and so the last one that two connections at once take. The third one's row keeps
/// the other connection until the second table is begun, and a while after; or for a second, where there is no other.
const ORDERED: &str = "
CREATE TABLE a_first (id int);
CREATE TABLE b_second (id int, filling text);
CREATE TABLE c_third (filling text);
CREATE FUNCTION takes_its_time() RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN FOR n IN 1..50 LOOP
     EXIT WHEN EXISTS (SELECT FROM pg_catalog.pg_locks
       WHERE relation = ''public.b_second''::pg_catalog.regclass AND pid <> pg_catalog.pg_backend_pid());
     PERFORM pg_catalog.pg_sleep(0.02);
   END LOOP; PERFORM pg_catalog.pg_sleep(0.5); RETURN true; END';
CREATE FUNCTION is_known(int) RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN RETURN EXISTS (SELECT FROM public.a_first WHERE id = $1); END';
INSERT INTO a_first VALUES (1);
INSERT INTO b_second SELECT 1, md5(n::text) FROM generate_series(1, 6000) n;
INSERT INTO c_third SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) n;
ALTER TABLE c_third ADD CHECK (takes_its_time());
ALTER TABLE b_second ADD CHECK (is_known(id));";

/// A server with the database `expert`, which `statements` fill, and its dump as the seed; and the checksums of its rows.
async fn dumped(statements: &str) -> (Site, String) {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", statements).await;
    // With a large object it is restored over several connections, however small it is.
    site.sql("expert", "SELECT lo_create(0)").await;
    let sums = site.sql("expert", CHECKSUMS).await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    (site, sums)
}

#[tokio::test]
async fn rows_that_need_other_tables_rows_are_restored_one_after_the_other() {
    let (site, sums) = dumped(ORDERED).await;
    let with =
        |jobs: u16| RebuildOptions { jobs: Jobs::new(jobs).unwrap(), old: OldDatabase::Drop, ..site.rebuild_options() };
    let said_so = || site.said().iter().filter(|key| **key == "databases-one-by-one").count();

    // One connection is one: nothing has to be done again.
    site.sql("expert", "DELETE FROM b_second").await;
    site.rebuild_from("expert", &site.seed(), &with(1)).await.unwrap();
    assert_eq!((site.sql("expert", CHECKSUMS).await, said_so()), (sums.clone(), 0));

    // Two always fail, and are followed by one.
    site.sql("expert", "DELETE FROM b_second").await;
    site.rebuild_from("expert", &site.seed(), &with(2)).await.unwrap();
    assert_eq!((site.sql("expert", CHECKSUMS).await, said_so()), (sums, 1));
    assert_eq!(site.databases().await, ["expert", "postgres"]);

    // Nor is such a dump called bad.
    let how = VerifySettings { depth: Depth::Restore, jobs: Jobs::new(2).unwrap(), operator: "engineer".to_owned() };
    let image = ServerImage::of(&site.server).await;
    let report = databases::verify(&image, &site.seed(), &how, &site.reporter).await.unwrap();
    assert_eq!((report.damage, report.untried), (None, None));
    site.end().await;
}

/// The second table's rows wait for those of the first, and the third's until the second's do. The connection that is the first
/// to finish the third table then wants the first one for itself, which the other one is reading: PostgreSQL sees no ring
/// of locks in that, and neither of them ever ends.
const WAITING: &str = "
CREATE TABLE a_first (id int);
CREATE FUNCTION waits() RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN WHILE NOT EXISTS (SELECT FROM public.a_first) LOOP PERFORM pg_catalog.pg_sleep(0.02); END LOOP; RETURN true; END';
CREATE FUNCTION goes_second() RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN WHILE NOT EXISTS (SELECT FROM public.a_first) AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks
     WHERE relation = ''public.a_first''::pg_catalog.regclass AND mode = ''AccessShareLock'' AND pid <> pg_catalog.pg_backend_pid())
   LOOP PERFORM pg_catalog.pg_sleep(0.02); END LOOP; RETURN true; END';
CREATE TABLE b_second (n int CHECK (waits()), filling text);
CREATE TABLE c_third (n int CHECK (goes_second()), filling text);
INSERT INTO a_first VALUES (1);
INSERT INTO b_second SELECT n, md5(n::text) FROM generate_series(1, 500) n;
INSERT INTO c_third SELECT n, md5(n::text) FROM generate_series(1, 2000) n;";

#[tokio::test]
async fn connections_that_wait_for_each_other_without_end_are_noticed_and_one_restores_in_order() {
    let (site, sums) = dumped(WAITING).await;
    site.sql("expert", "TRUNCATE b_second").await;
    let options = RebuildOptions { jobs: Jobs::new(2).unwrap(), old: OldDatabase::Drop, ..site.rebuild_options() };
    site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
    assert_eq!(site.sql("expert", CHECKSUMS).await, sums);
    assert!(site.said().contains(&"databases-one-by-one"), "{:?}", site.said());
    assert_eq!(site.databases().await, ["expert", "postgres"]);

    // A proof does not hang either.
    let how = VerifySettings { depth: Depth::Restore, jobs: Jobs::new(2).unwrap(), operator: "engineer".to_owned() };
    let image = ServerImage::of(&site.server).await;
    let report = databases::verify(&image, &site.seed(), &how, &site.reporter).await.unwrap();
    assert_eq!((report.damage, report.untried), (None, None));
    site.end().await;
}
