//! Databases on a real PostgreSQL in a container of a private engine, which `DPL_TEST_ENGINE` names (`unix://…`) and
//! which has the image `postgres:15`.

mod rebuilds;

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
