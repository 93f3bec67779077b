//! Databases on a real PostgreSQL in a container of a private engine, which `DPL_TEST_ENGINE` names (`unix://…`) and
//! which has the image `postgres:15`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dpl::catalogue::english;
use dpl::databases::{
    self, Adaptation, BackupSettings, Credentials, DatabasesError, Dependents, DependentsError, Identity, Jobs, Level,
    LockPatience, MissingRoles, NewDatabase, OldDatabase, Origin, PasswordHashes, Patches, Placement, RebuildOptions,
    RebuildReport, Repeat, Secret, SeedSettings, Server, Shrink,
};
use dpl::engine::{Address, ContainerSpec, Engine, ExecSpec};
use dpl::report::{Activity, Event, Listener, Message, Outcome, Reporter};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::support_engine::eventually_asked;

/// Another version's, where `DPL_TEST_POSTGRES` names one.
pub fn image() -> String {
    std::env::var("DPL_TEST_POSTGRES").unwrap_or_else(|_| "postgres:15".to_owned())
}

/// What a rule asks for where a password was set as the server's version does by itself.
pub fn as_passwords_are_kept(major: u32) -> &'static str {
    if major >= 14 { "scram-sha-256" } else { "md5" }
}

const PASSWORD: &str = "pä ss;\"' \\x";

/// A server of its own for one test, and folders that go with it.
pub struct Site {
    pub engine: Engine,
    pub container: String,
    pub server: Server,
    pub folder: tempfile::TempDir,
    heard: Arc<Heard>,
    pub reporter: Reporter,
    pub stop: CancellationToken,
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

async fn engine() -> Engine {
    let address = std::env::var("DPL_TEST_ENGINE")
        .expect("DPL_TEST_ENGINE must name a private engine, such as unix:///var/lib/dpl-engines/x/docker.sock");
    let address = Address::resolve(Some(&address)).expect("DPL_TEST_ENGINE is no address of an engine");
    Engine::connect(address).await.expect("the engine that DPL_TEST_ENGINE names does not answer")
}

impl Site {
    pub async fn start() -> Self {
        Self::start_as(&image(), |_| {}).await
    }

    pub async fn start_with(image: &str) -> Self {
        Self::start_as(image, |_| {}).await
    }

    /// Starts one whose container is set up in another way.
    pub async fn start_as(image: &str, change: impl FnOnce(&mut ContainerSpec)) -> Self {
        let engine = engine().await;
        let found = engine.inspect_image(image).await.unwrap();
        let image = found.unwrap_or_else(|| panic!("the test engine has no image {image}: run scripts/stand-ins.sh"));
        let mut spec = ContainerSpec {
            name: format!("dpl-test-{}", uuid()),
            image: image.id,
            environment: BTreeMap::from([("POSTGRES_PASSWORD".to_owned(), PASSWORD.to_owned())]),
            shm_size_bytes: Some(256 << 20),
            ..Default::default()
        };
        change(&mut spec);
        let container = engine.create_container(&spec).await.unwrap();
        engine.start_container(&container).await.unwrap();
        wait_for_tcp(&engine, &container).await;
        let server = connect(&engine, &container, Some(PASSWORD)).await;
        let heard = Arc::new(Heard::default());
        let stop = CancellationToken::new();
        let reporter = Reporter::new(vec![heard.clone()], stop.clone());
        Self { engine, container, server, folder: tempfile::tempdir().unwrap(), heard, reporter, stop }
    }

    /// Nobody has asked for an end yet.
    pub fn renew_stop(&mut self) {
        self.stop = CancellationToken::new();
        self.reporter = Reporter::new(vec![self.heard.clone()], self.stop.clone());
    }

    /// Ends the server; a test that fails leaves it to the engine's own end.
    pub async fn end(self) {
        self.engine.discard_container(&self.container).await.unwrap();
        let helpers = self.engine.list_containers(&[(databases::HELPER_SERVER_LABEL, &self.container)]).await.unwrap();
        assert_eq!(helpers, Vec::<String>::new(), "a helper stayed");
    }

    /// What a query prints, without dpl.
    pub async fn sql(&self, database: &str, sql: &str) -> String {
        let result = self.try_sql(database, sql).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub async fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let database = database.replace('\\', "\\\\").replace('\'', "\\'");
        let command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d"].map(str::to_owned).into_iter();
        // However late the statement comes on a busy machine.
        let idle = if self.server.major() >= 14 { " -c idle_session_timeout=0" } else { "" };
        let whole = if self.server.major() >= 17 { " -c transaction_timeout=0" } else { "" };
        let options = format!("-c statement_timeout=0 -c lock_timeout=0{idle}{whole}");
        let command = command.chain([format!("dbname='{database}' user=postgres options='{options}'")]).collect();
        let spec = ExecSpec { command, ..Default::default() };
        let result = self.engine.exec(&self.container, &spec, sql.as_bytes()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if result.exit_code == 0 { Ok(text(&result.stdout)) } else { Err(text(&result.stderr)) }
    }

    pub fn backups(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    pub fn backup_settings(&self) -> BackupSettings {
        BackupSettings {
            folder: self.backups().into(),
            jobs: Jobs::default(),
            level: Level::default(),
            hashes: PasswordHashes::default(),
            shrink: Shrink::Refuse,
            patience: LockPatience::default(),
            operator: "engineer".to_owned(),
        }
    }

    pub fn seed_settings(&self) -> SeedSettings {
        SeedSettings {
            path: self.seed(),
            jobs: Jobs::default(),
            level: Level::default(),
            hashes: PasswordHashes::default(),
            shrink: Shrink::Refuse,
            operator: "engineer".to_owned(),
            verify: false,
        }
    }

    pub fn seed(&self) -> PathBuf {
        self.folder.path().join("seeds/seed")
    }

    pub fn rebuild_options(&self) -> RebuildOptions {
        RebuildOptions {
            jobs: Jobs::default(),
            old: OldDatabase::BackUpAndDrop(self.backup_settings()),
            leftovers: Some(self.backup_settings()),
            shrink: Shrink::default(),
            missing_roles: MissingRoles::default(),
            new: NewDatabase::default(),
            patches: Patches::default(),
            preserve: Vec::new(),
            placement: Placement::Replace,
            repeat: Repeat::default(),
            identity: Identity::Same,
            adaptation: Adaptation::default(),
        }
    }

    /// Where the backup of what is replaced is not what a test is about: to make and to prove it is half of a rebuild's work.
    pub fn dropping_options(&self) -> RebuildOptions {
        RebuildOptions { old: OldDatabase::Drop, ..self.rebuild_options() }
    }

    pub async fn rebuild(&self, database: &str) -> Result<RebuildReport, DatabasesError> {
        self.rebuild_from(database, &self.seed(), &self.rebuild_options()).await
    }

    pub async fn rebuild_from(
        &self,
        database: &str,
        source: &Path,
        options: &RebuildOptions,
    ) -> Result<RebuildReport, DatabasesError> {
        self.rebuild_of(database, Origin::Path(source), options).await
    }

    pub async fn rebuild_of(
        &self,
        database: &str,
        origin: Origin<'_>,
        options: &RebuildOptions,
    ) -> Result<RebuildReport, DatabasesError> {
        let nobody = Nobody::default();
        let report = databases::rebuild(&self.server, database, origin, &nobody, options, &self.reporter).await;
        assert_eq!(nobody.0.load(Ordering::SeqCst), 0, "what was stopped was started again");
        report
    }

    pub async fn databases(&self) -> Vec<String> {
        let list = databases::list(&self.server).await.unwrap();
        list.into_iter().map(|database| database.name).collect()
    }

    /// How often something of this kind was done so far.
    pub fn done(&self, wanted: Activity) -> usize {
        let heard = self.heard.0.lock().unwrap();
        let is_that = |event: &&Event| matches!(event, Event::Ended { activity, outcome: Outcome::Done(_), .. } if *activity == wanted);
        heard.iter().filter(is_that).count()
    }

    /// The keys of warnings and notices so far.
    pub fn said(&self) -> Vec<&'static str> {
        let heard = self.heard.0.lock().unwrap();
        let key = |event: &Event| match event {
            Event::Notice(Message { key, .. }) | Event::Warning(Message { key, .. }) => Some(*key),
            _ => None,
        };
        heard.iter().filter_map(key).collect()
    }
}

/// Dependents that count how many times more they were stopped than started.
#[derive(Default)]
pub struct Nobody(pub AtomicU32);

impl Dependents for Nobody {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        self.0.fetch_sub(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// The server that makes the data folder listens on its socket alone, and ends before the real one begins.
pub async fn wait_for_tcp(engine: &Engine, container: &str) {
    // One command in there asks again and again: to begin a command in a container takes far longer than to ask.
    let ask = "until pg_isready -q -h 127.0.0.1 -U postgres; do sleep 0.1; done";
    let command = ["sh", "-c", ask].map(str::to_owned).into();
    let spec = ExecSpec { command, ..Default::default() };
    eventually_asked("the server is up", async || {
        engine.exec(container, &spec, b"").await.is_ok_and(|result| result.exit_code == 0)
    })
    .await;
}

async fn connect(engine: &Engine, container: &str, password: Option<&str>) -> Server {
    let mut server = None;
    eventually_asked("the server lets somebody in", async || {
        let credentials = Credentials { user: "postgres".to_owned(), password: password.map(Secret::new) };
        server = Server::connect(engine, container, credentials).await.ok();
        server.is_some()
    })
    .await;
    server.unwrap()
}

fn uuid() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A digest of every table's rows, whatever their order on disk.
pub const CHECKSUMS: &str = "SELECT string_agg(t, E'\\n' ORDER BY t) FROM (
  SELECT format('%s.%s ', n.nspname, c.relname) || (xpath('/row/c/text()', query_to_xml(format(
    'SELECT md5(coalesce(string_agg(r::text, E''\\n'' ORDER BY r::text COLLATE \"C\"), '''')) AS c FROM ONLY %I.%I AS r',
    n.nspname, c.relname), false, true, '')))[1]::text AS t
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema') AS sums";

/// One of everything that a dump has to carry.
pub const EVERYTHING: &str = r#"
CREATE ROLE "app role";
CREATE ROLE reader;
GRANT reader TO "app role";
CREATE SCHEMA "档案 局" AUTHORIZATION "app role";
CREATE TABLE "档案 局"."x""; drop" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "键 值" text,
  twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO "档案 局"."x""; drop" ("键 值") SELECT E'行\n\t\\.' || n FROM generate_series(1, 1000) n;
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE "parts 2025" PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT n, date '2025-06-01' + n FROM generate_series(1, 500) n;
CREATE TABLE hen (id int PRIMARY KEY, egg int);
CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg;
INSERT INTO hen VALUES (1, NULL); INSERT INTO egg VALUES (1, 1); UPDATE hen SET egg = 1;
CREATE TABLE empty ();
CREATE UNLOGGED TABLE hasty AS SELECT 1 AS one;
CREATE TABLE big AS SELECT n AS id, md5(n::text) AS text, jsonb_build_object('n', n) AS doc FROM generate_series(1, 60000) n;
CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM big;
CREATE SEQUENCE numbers START 42;
SELECT lo_from_bytea(0, '\xdeadbeef');
GRANT SELECT ON big TO reader;
"#;

#[tokio::test]
async fn a_backup_is_complete_private_and_listed() {
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE \"档案 x\"\"; drop\"").await;
    let database = "档案 x\"; drop";
    site.sql(database, EVERYTHING).await;
    let made = databases::backup(&site.server, database, &site.backup_settings(), &site.reporter).await.unwrap();
    assert_eq!((made.database.as_str(), made.rows), (database, 1000 + 500 + 2 + 1 + 60_000));
    assert!(image().ends_with(made.server_version.split('.').next().unwrap()), "{}", made.server_version);
    let folder = Path::new(&made.path);
    assert_eq!(folder.parent().unwrap(), site.backups().join("databases/%E6%A1%A3%E6%A1%88%20x%22%3B%20drop"));
    assert_eq!(mode(folder), 0o700);
    for entry in fs::read_dir(folder.join("archive")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "toc.dat" || name.ends_with(".dat.gz") || name.ends_with(".toc"), "{name}");
    }
    assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(databases::backups(site.backups(), database).unwrap(), std::slice::from_ref(&made));
    assert_eq!(databases::verify_files(&site.server, folder, &site.reporter).await.unwrap(), made);
    assert_eq!(site.said(), Vec::<&str>::new());
    site.end().await;
}

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
async fn icu_collations_and_tablespaces_go_round() {
    let site = Site::start().await;
    let folders = ["sh", "-c", "mkdir /fast /slow && chown postgres /fast /slow"].map(str::to_owned).into();
    let spec = ExecSpec { command: folders, user: Some("0:0".to_owned()), ..Default::default() };
    assert_eq!(site.engine.exec(&site.container, &spec, b"").await.unwrap().exit_code, 0);
    site.sql("postgres", "CREATE TABLESPACE \"fast 快\" LOCATION '/fast'").await;
    site.sql("postgres", "CREATE TABLESPACE slow LOCATION '/slow'").await;
    // From 15 on a database's own locale may be ICU's.
    let icu = site.server.major() >= 15;
    let provider = if icu { "LOCALE_PROVIDER icu ICU_LOCALE 'sv'" } else { "" };
    let create = format!(
        "CREATE DATABASE expert TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8' {provider} TABLESPACE \"fast 快\""
    );
    site.sql("postgres", &create).await;
    site.sql(
        "expert",
        "CREATE COLLATION \"数 字\" (provider = icu, locale = 'en-u-kn-true-ks-level2', deterministic = false);
         CREATE TABLE names (name text COLLATE \"数 字\" PRIMARY KEY USING INDEX TABLESPACE slow) TABLESPACE slow;
         INSERT INTO names VALUES ('a10'), ('A9'), ('ö'), ('z');
         CREATE TABLE plain AS SELECT name COLLATE \"default\" AS name FROM names; CREATE INDEX ON plain (name);",
    )
    .await;
    const OWN: &str =
        "SELECT to_jsonb(d) - 'oid' - 'datfrozenxid' - 'datminmxid' FROM pg_database d WHERE datname = 'expert'";
    const ORDER: &str = "SELECT (SELECT string_agg(name, ' ' ORDER BY name) FROM names), (SELECT string_agg(name, ' ' ORDER BY name)
        FROM plain), (SELECT string_agg(c.relname || '/' || s.spcname, ' ' ORDER BY c.relname) FROM pg_class c
        JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.relname LIKE 'names%'), (SELECT count(*) FROM names WHERE name = 'a9')";
    let (own, order) = (site.sql("postgres", OWN).await, site.sql("expert", ORDER).await);
    let plain = if icu { "a10 A9 z ö" } else { "A9 a10 z ö" };
    assert_eq!(order, format!("A9 a10 ö z|{plain}|names/slow names_pkey/slow|1"));
    let sums = site.sql("expert", CHECKSUMS).await;
    let made = databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let image = databases::ServerImage::of(&site.server).await;
    let settings = databases::VerifySettings {
        depth: databases::Depth::Restore,
        jobs: Jobs::default(),
        operator: "engineer".to_owned(),
    };
    let verified = databases::verify(&image, Path::new(&made.path), &settings, &site.reporter).await.unwrap();
    assert_eq!(verified.damage, None);
    // In the place of the present one, and where there is none.
    for statement in ["DROP TABLE plain", "DROP DATABASE expert"] {
        let database = if statement.contains("DATABASE") { "postgres" } else { "expert" };
        site.sql(database, statement).await;
        site.rebuild("expert").await.unwrap();
        assert_eq!(site.sql("postgres", OWN).await, own, "{statement}");
        assert_eq!(site.sql("expert", ORDER).await, order, "{statement}");
        assert_eq!(site.sql("expert", CHECKSUMS).await, sums, "{statement}");
    }
    site.sql("postgres", "DROP DATABASE expert").await;
    site.sql("postgres", "DROP TABLESPACE \"fast 快\"").await;
    let error = site.rebuild("expert").await.unwrap_err();
    assert!(error.to_string().contains("no tablespace `fast 快`"), "{error}");
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
async fn a_password_is_handed_over_without_being_shown() {
    let site = Site::start().await;
    let method = as_passwords_are_kept(site.server.major());
    let hba = format!(
        "f=$(psql -XqAtU postgres -c 'show hba_file') && printf 'local all all {method}\\nhost all all all {method}\\n' > $f \
         && psql -XqU postgres -c 'select pg_reload_conf()'"
    );
    let spec = ExecSpec { command: ["sh", "-c", &hba].map(str::to_owned).into(), ..Default::default() };
    assert_eq!(site.engine.exec(&site.container, &spec, b"").await.unwrap().exit_code, 0);
    eventually_asked("the server trusts nobody", async || site.try_sql("postgres", "select 1").await.is_err()).await;
    let credentials =
        |password: Option<&str>| Credentials { user: "postgres".to_owned(), password: password.map(Secret::new) };
    for wrong in [None, Some("wrong")] {
        let refused = Server::connect(&site.engine, &site.container, credentials(wrong)).await;
        assert!(matches!(refused, Err(DatabasesError::Login { .. })), "{refused:?}");
    }
    let server = Server::connect(&site.engine, &site.container, credentials(Some(PASSWORD))).await.unwrap();
    assert!(!format!("{server:?}").contains("ss;"));
    databases::dump_seed(&server, "postgres", &site.seed_settings(), &site.reporter).await.unwrap();
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

#[tokio::test]
async fn an_absent_database_is_told_by_name() {
    let site = Site::start().await;
    let error = databases::backup(&site.server, "nowhere", &site.backup_settings(), &site.reporter).await.unwrap_err();
    assert!(matches!(error, DatabasesError::NotFound { .. }));
    assert!(
        error.to_string().starts_with("database `nowhere` does not exist on the server in container dpl-test-"),
        "{error}"
    );
    site.end().await;
}
