//! Backups as an operator makes, proves and prunes them, on a real PostgreSQL 15.

mod full_disks;
mod statements;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rexpect::process::Signal;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};

use crate::looking::{exit_code, terminal};
use crate::support::Run;
use crate::support_engine::{Stack, eventually, free_port};

/// A password that is found wherever it should not be.
const MARKER: &str = "m4rker \"'; \\x 密码";

/// Names that a shell, SQL and a path each take for something else.
const STRANGE: &str = "档 案\"; 'x";

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"backups": "backups"},
  "databases": {
    "shop": {"service": "db", "seed": "seeds/shop", "password": {"file": "secret"},
      "retention": {"keep_last": 2, "daily": 0, "weekly": 0, "monthly": 0}},
    "档 案\"; 'x": {"service": "db", "password": {"file": "secret"}},
    "far": {"host": "127.0.0.1", "port": PORT, "tools_image": "postgres:15", "user": "postgres",
      "password": {"file": "secret"}, "seed": "seeds/far"}},
  "services": {"db": {"image": "postgres:15", "command": ["postgres", "-c", "fsync=off"], "shm_size": "256m",
    "ports": ["127.0.0.1:PORT:5432"], "environment": {"POSTGRES_PASSWORD": {"file": "secret"}, "POSTGRES_HOST_AUTH_METHOD": "scram-sha-256"},
    "ready": {"tcp": 5432}}}}"#;

const TABLES: &str = "
CREATE ROLE keeper; CREATE ROLE clerk; GRANT keeper TO clerk WITH ADMIN OPTION; ALTER ROLE clerk SET work_mem = '9MB';
CREATE TABLE stock AS SELECT n AS id, md5(n::text) AS text FROM generate_series(1, 40000) n;
ALTER TABLE stock OWNER TO clerk;
CREATE TABLE \"档 案\"\"; drop\" (id int GENERATED ALWAYS AS IDENTITY, \"键 值\" text);
INSERT INTO \"档 案\"\"; drop\" (\"键 值\") SELECT E'行\\n\\t' || n FROM generate_series(1, 50) n;
SELECT lo_from_bytea(0, '\\xdeadbeef');";

struct Shop {
    stack: Stack,
    port: u16,
}

impl Shop {
    /// A server with the password, and tables in `shop`.
    fn open() -> Self {
        let port = free_port();
        let stack = Stack::new(&MANIFEST.replace("PORT", &port.to_string()));
        stack.site.write("secret", MARKER);
        stack.run(&["start", "--yes"]).success();
        let shop = Self { stack, port };
        eventually("the server takes connections", || shop.try_psql("postgres", "select 1").is_ok());
        for name in ["shop", "far", STRANGE] {
            shop.psql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        }
        shop.psql("shop", TABLES);
        shop
    }

    /// Debian's own psql, from this machine.
    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.client("psql", &["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo(database), "-c", sql])
    }

    #[track_caller]
    fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn conninfo(&self, database: &str) -> String {
        let database = database.replace('\\', "\\\\").replace('\'', "\\'");
        format!("host=127.0.0.1 port={} user=postgres dbname='{database}'", self.port)
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(program).args(arguments).env("PGPASSWORD", MARKER).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.stack.run(&[arguments, &["--yes"]].concat())
    }

    /// The folder of the only backup that a run has made.
    #[track_caller]
    fn backed_up(&self, run: &Run) -> PathBuf {
        PathBuf::from(run.json()["backups"][0]["path"].as_str().unwrap().replace("SITE", &self.path("")))
    }

    fn path(&self, name: &str) -> String {
        self.stack.site.file(name).to_string_lossy().trim_end_matches('/').to_owned()
    }

    /// Containers of the engine that are dpl's own and work for this server.
    fn helpers(&self) -> String {
        let server = self.stack.inspect("db", "{{.Id}}");
        self.stack.docker(&["ps", "--all", "--quiet", "--filter", &format!("label=dpl.helper.server={server}")])
    }

    #[track_caller]
    fn leaves_no_helper(&self) {
        eventually("no helper is left", || self.helpers().is_empty());
    }
}

const SUMS: &str = "SELECT (SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM stock s) || \
     (SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM \"档 案\"\"; drop\" s)";

fn data_file(backup: &Path) -> PathBuf {
    let files = fs::read_dir(backup.join("archive")).unwrap().map(|entry| entry.unwrap().path());
    let data = files.filter(|path| path.to_string_lossy().ends_with(".dat.gz"));
    data.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn a_backup_is_proved_by_a_restore_and_its_damage_is_found() {
    let shop = Shop::open();
    let made = shop.run(&["db", "backup", "shop", "--verify", "--json", "--jobs", "1", "--level", "1"]).success();
    let backup = shop.backed_up(&made);
    assert!(made.json()["backups"][0]["verified_at"].is_string(), "{}", made.stdout);
    let record: Value = serde_json::from_slice(&fs::read(backup.join("backup.json")).unwrap()).unwrap();
    let clerk = record["roles"].as_array().unwrap().iter().find(|role| role["name"] == "clerk").unwrap();
    assert_eq!(clerk["memberships"][0]["role"], "keeper");
    assert_eq!(clerk["memberships"][0]["admin"], true);
    assert_eq!(clerk["settings"], json!(["work_mem=9MB"]));
    assert!(!record.to_string().contains("SCRAM"), "no hash unless asked");
    let rows: u64 = record["tables"].as_array().unwrap().iter().map(|table| table["rows"].as_u64().unwrap()).sum();
    assert_eq!((rows, record["large_objects"].as_u64()), (40_050, Some(1)));
    for path in [backup.clone(), backup.join("archive")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    let listed = shop.run(&["db", "list", "shop", "--json"]).success().json();
    let id = listed["backups"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed["databases"][0]["last_verified"], id.as_str());

    let data = data_file(&backup);
    let good = fs::read(&data).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 4;
    fs::write(&data, &bad).unwrap();
    for flags in [&["--quick"][..], &[]] {
        let verified = shop.run(&[&["db", "verify", id.as_str(), "--json"], flags].concat()).failure(1).json();
        assert!(verified["verified"][0]["damage"].as_str().unwrap().contains("digest"), "{verified}");
    }
    let listed = shop.run(&["db", "list", "shop", "--json"]).success().json();
    assert_eq!(listed["databases"][0]["last_verified"], Value::Null);
    assert!(listed["backups"][0]["found_bad"].is_string());

    fs::write(&data, &good).unwrap();
    shop.run(&["db", "verify", "--quick", "shop"]).success();
    let listed = shop.run(&["db", "list", "shop", "--json"]).success().json();
    assert!(listed["backups"][0]["checked_at"].is_string() && listed["backups"][0]["verified_at"].is_null());
    shop.run(&["db", "verify", &id]).success();
    // One whose digests agree, but whose rows are not those that were counted.
    let record_path = backup.join("backup.json");
    let text = fs::read_to_string(&record_path).unwrap();
    fs::write(&record_path, text.replace("\"rows\": 40000", "\"rows\": 40001")).unwrap();
    let verified = shop.run(&["db", "verify", &id, "--json"]).failure(1).json();
    let damage = verified["verified"][0]["damage"].as_str().unwrap();
    assert!(damage.contains("40000 rows instead of 40001"), "{damage}");
    shop.leaves_no_helper();
}

#[test]
fn debians_own_pg_restore_takes_a_backup_without_dpl() {
    let shop = Shop::open();
    let backup = shop.backed_up(&shop.run(&["db", "backup", "shop", "--json"]).success());
    shop.psql("postgres", "CREATE DATABASE by_hand");
    let archive = backup.join("archive").to_string_lossy().into_owned();
    let conninfo = shop.conninfo("by_hand");
    shop.client("pg_restore", &["--exit-on-error", "--jobs=2", "--dbname", &conninfo, &archive]).unwrap();
    assert_eq!(shop.psql("by_hand", SUMS), shop.psql("shop", SUMS));
    assert_eq!(shop.psql("by_hand", "SELECT count(*) FROM pg_largeobject_metadata"), "1");
}

#[test]
fn the_password_is_seen_nowhere() {
    let shop = Shop::open();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (seen, helpers) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut seen, mut helpers) = (Vec::new(), 0);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                seen.extend(seen_in_processes("m4rker"));
                let ids = shop.stack.docker(&["ps", "--quiet", "--filter", "label=dpl.helper"]);
                for id in ids.lines() {
                    let output = Command::new("docker")
                        .args(["inspect", id])
                        .env("DOCKER_HOST", &shop.stack.engine)
                        .output()
                        .unwrap();
                    let view = String::from_utf8_lossy(&output.stdout);
                    helpers += usize::from(view.contains("dpl.helper"));
                    if view.contains("m4rker") {
                        seen.push(format!("docker inspect {id}"));
                    }
                }
                // No program lives so shortly, and the ones that are looked for need the machine as well.
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
            (seen, helpers)
        });
        let mut said = String::new();
        for arguments in [
            &["db", "backup", "shop", "--verify", "--verbose"][..],
            &["db", "dump", "shop", "--json"],
            &["db", "sql", "shop", "select current_user", "--verbose"],
            &["db", "backup", "far", "--verbose"],
            &["db", "list", "--json"],
        ] {
            let run = shop.run(arguments).success();
            said += &format!("{}{}", run.stdout, run.stderr);
        }
        fs::write(shop.stack.site.file("secret"), "wrong m4rker").unwrap();
        let refused = shop.run(&["db", "backup", "far"]).failure(1);
        assert!(refused.stderr.contains("password authentication failed"), "{}", refused.stderr);
        said += &refused.stderr;
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(!said.contains("m4rker"), "{said}");
        watching.join().unwrap()
    });
    assert_eq!(seen, Vec::<String>::new());
    assert!(helpers > 0, "no helper was looked at");
    // A program that shows a word to everybody is seen; it is another word, since other tests look for this one meanwhile.
    let mut shown = Command::new("sh").args(["-c", "read line", "pl4nted"]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("the shell has its arguments", || !seen_in_processes("pl4nted").is_empty());
    drop(shown.stdin.take());
    shown.wait().unwrap();
    fs::write(shop.stack.site.file("secret"), MARKER).unwrap();
    for folder in [".dpl", "backups", "seeds"] {
        let found = Command::new("grep").args(["-rl", "m4rker", &shop.path(folder)]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{folder}");
    }
    let logs = shop.stack.docker(&["logs", &shop.stack.container("db")]);
    assert!(!logs.contains("m4rker"), "{logs}");
}

/// Processes whose arguments hold a word.
fn seen_in_processes(word: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(word) && !arguments.starts_with("grep") {
            seen.push(arguments);
        }
    }
    seen
}

#[test]
fn hashes_of_passwords_are_written_only_where_somebody_asks() {
    let shop = Shop::open();
    shop.psql("postgres", "ALTER ROLE keeper PASSWORD 'x'");
    let backup = shop.backed_up(&shop.run(&["db", "backup", "shop", "--json", "--password-hashes"]).success());
    let record: Value = serde_json::from_slice(&fs::read(backup.join("backup.json")).unwrap()).unwrap();
    let keeper = record["roles"].as_array().unwrap().iter().find(|role| role["name"] == "keeper").unwrap();
    assert!(keeper["password_hash"].as_str().unwrap().starts_with("SCRAM-SHA-256$"));
}

#[test]
fn archives_travel_through_an_engine_that_does_not_see_this_machines_folders() {
    let mut shop = Shop::open();
    shop.stack.site.set("DPL_ENGINE_ELSEWHERE", "1");
    let made = shop.run(&["db", "backup", "shop", "--verify", "--json"]).success();
    assert!(made.json()["backups"][0]["verified_at"].is_string());
    let sums = shop.psql("shop", SUMS);
    shop.run(&["db", "dump", "shop"]).success();
    shop.psql("shop", "DELETE FROM stock WHERE id > 10");
    shop.run(&["db", "rebuild", "shop"]).success();
    assert_eq!(shop.psql("shop", SUMS), sums);
    shop.run(&["db", "verify", "seeds/shop"]).success();
    shop.leaves_no_helper();
}

#[test]
fn a_server_outside_the_stack_is_backed_up_asked_and_rebuilt() {
    let shop = Shop::open();
    shop.psql("far", "CREATE TABLE t AS SELECT generate_series(1, 77) AS n");
    let answer = shop.run(&["db", "sql", "far", "select count(*) as n from t", "--csv"]).success();
    assert_eq!(answer.stdout, "n\n77\n");
    shop.run(&["db", "backup", "far", "--verify"]).success();
    shop.run(&["db", "dump", "far"]).success();
    shop.psql("far", "TRUNCATE t");
    shop.run(&["db", "rebuild", "far"]).success();
    assert_eq!(shop.psql("far", "select count(*) from t"), "77");
    let listed = shop.run(&["db", "list", "far"]).success();
    assert!(listed.stdout.contains(&format!("127.0.0.1:{}", shop.port)), "{}", listed.stdout);
}

#[test]
fn an_image_without_the_usual_user_verifies_and_an_older_one_says_that_it_is() {
    let shop = Shop::open();
    let made = shop.run(&["db", "backup", "shop", "--json"]).success();
    let id = made.json()["backups"][0]["id"].as_str().unwrap().to_owned();
    // As Bitnami's images are: nobody in them is called postgres.
    let (image, maker) =
        (format!("{}-nopg:test", shop.stack.container("db")), format!("{}-maker", shop.stack.container("db")));
    let rename = "sed -i s/^postgres:/pg:/ /etc/passwd";
    shop.stack.docker(&["run", "--name", &maker, "--entrypoint", "sh", "postgres:15", "-c", rename]);
    shop.stack.docker(&["commit", &maker, &image]);
    shop.stack.docker(&["rm", &maker]);
    let verified = shop.run(&["db", "verify", &id, "--image", &image, "--json"]);
    shop.stack.docker(&["rmi", &image]);
    assert!(verified.success().json()["verified"][0]["untried"].is_null());
    // A record of a later server: the image is too old, and the dump is none the worse for it.
    let record = shop.backed_up(&made).join("backup.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"server_version_number\": 15", "\"server_version_number\": 99")).unwrap();
    let verified = shop.run(&["db", "verify", &id, "--json"]).failure(1).json();
    assert!(verified["verified"][0]["damage"].is_null(), "{verified}");
    assert!(verified["verified"][0]["untried"].as_str().unwrap().contains("--image"), "{verified}");
    let listed = shop.run(&["db", "list", "shop", "--json"]).success().json();
    assert!(listed["backups"][0]["found_bad"].is_null(), "{listed}");
}

/// An image like the server's, changed by a script; its name.
fn changed_image(stack: &Stack, script: &str) -> String {
    let name = stack.container("db");
    let (image, maker) = (format!("{name}-changed:test"), format!("{name}-maker"));
    stack.docker(&["run", "--name", &maker, "--entrypoint", "sh", "postgres:15", "-c", script]);
    stack.docker(&["commit", &maker, &image]);
    stack.docker(&["rm", &maker]);
    image
}

#[test]
fn an_image_without_an_extension_says_nothing_of_a_dump_that_has_it() {
    let shop = Shop::open();
    shop.psql("shop", "CREATE EXTENSION pg_trgm");
    shop.run(&["db", "backup", "shop", "--verify"]).success();
    let image = changed_image(&shop.stack, "rm -f $(find / -name 'pg_trgm*' -path '*extension*')");
    let verified = shop.run(&["db", "verify", "shop", "--image", &image, "--json"]).failure(1).json();
    shop.stack.docker(&["rmi", &image]);
    assert!(verified["verified"][0]["damage"].is_null(), "{verified}");
    let untried = verified["verified"][0]["untried"].as_str().unwrap();
    assert!(untried.contains("does not have the extensions pg_trgm"), "{untried}");
    // What was proved stays proved.
    let listed = shop.run(&["db", "list", "shop", "--json"]).success().json();
    assert!(listed["backups"][0]["verified_at"].is_string() && listed["backups"][0]["found_bad"].is_null(), "{listed}");
}

/// The tools of a server outside need not have all libraries that it loads.
#[test]
fn a_server_with_libraries_that_the_tools_image_lacks_is_rebuilt_and_what_it_had_is_proved() {
    let port = free_port();
    let manifest = MANIFEST.replace("PORT", &port.to_string()).replace(
        r#"["postgres", "-c", "fsync=off"]"#,
        r#"["postgres", "-c", "fsync=off", "-c", "shared_preload_libraries=pg_cron"]"#,
    );
    let stack = Stack::new(&manifest);
    stack.site.write("secret", MARKER);
    stack.run(&["start", "--yes"]).success();
    let image = changed_image(&stack, "rm -f $(find / -name 'pg_cron*')");
    stack.rewrite(&manifest.replace(r#""tools_image": "postgres:15""#, &format!(r#""tools_image": "{image}""#)));
    let shop = Shop { stack, port };
    eventually("the server takes connections", || shop.try_psql("postgres", "select 1").is_ok());
    shop.psql("postgres", "CREATE DATABASE far");
    shop.psql("far", "CREATE TABLE t AS SELECT generate_series(1, 77) AS n");
    shop.run(&["db", "dump", "far"]).success();
    shop.psql("far", "TRUNCATE t");
    let rebuilt = shop.run(&["db", "rebuild", "far", "--json"]).success().json();
    assert!(rebuilt["rebuilds"][0]["backup"]["verified_at"].is_string(), "{rebuilt}");
    assert_eq!(shop.psql("far", "select count(*) from t"), "77");
    let tools = shop.stack.docker(&["run", "--rm", "--entrypoint", "find", &image, "/usr", "-name", "pg_cron.so"]);
    assert_eq!(tools, "", "the library is there");
    let own = shop.stack.docker(&["run", "--rm", "--entrypoint", "find", "postgres:15", "/usr", "-name", "pg_cron.so"]);
    assert!(!own.is_empty(), "the server has none to load");
    shop.stack.docker(&["rmi", &image]);
}

#[test]
fn doctor_tells_a_password_that_the_server_does_not_take() {
    let shop = Shop::open();
    let of = |run: &Run| -> Vec<String> {
        let document = run.json();
        let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == "databases");
        checks.map(|check| format!("{} {} {}", check["verdict"], check["found"], check["advice"])).collect()
    };
    assert_eq!(of(&shop.stack.run(&["doctor", "--json"])), Vec::<String>::new());
    // The socket is trusted, and the server outside is not reached by it.
    shop.stack.site.write("secret", "wrong");
    let refused = of(&shop.stack.run(&["doctor", "--json"]).failure(1));
    let told = refused.iter().any(|check| {
        check.contains("problem") && check.contains("can't log in") && check.contains("`user` and `password`")
    });
    assert!(told, "{refused:?}");
    shop.leaves_no_helper();
}

#[test]
fn old_backups_go_by_the_rules_and_the_verified_one_stays() {
    let shop = Shop::open();
    let folder = shop.backed_up(&shop.run(&["db", "backup", "shop", "--verify", "--json"]).success());
    for _ in 0..3 {
        shop.run(&["db", "backup", "shop"]).success();
    }
    let home = folder.parent().unwrap();
    fs::create_dir(home.join(".dpl-tmp-dump-dead")).unwrap();
    let planned = shop.run(&["db", "prune", "shop", "--dry-run", "--json"]).success().json();
    assert_eq!(planned["done"], false);
    assert_eq!(planned["databases"][0]["removed"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(home).unwrap().count(), 5);
    let refused = shop.stack.run(&["db", "prune", "shop"]).failure(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let pruned = shop.run(&["db", "prune", "shop", "--json"]).success().json();
    assert_eq!(pruned["databases"][0]["kept"][0]["kept_by"], json!(["last verified"]));
    assert_eq!(fs::read_dir(home).unwrap().count(), 3);
    assert!(folder.is_dir());
    shop.run(&["db", "prune", "all", "--json"]).success();
    shop.stack.run(&["db", "prune"]).failure(2);
}

#[test]
fn a_shrunken_database_is_refused_and_the_old_backups_stay() {
    let shop = Shop::open();
    shop.run(&["db", "backup", "shop"]).success();
    shop.psql("shop", "DELETE FROM stock WHERE id > 100");
    let refused = shop.run(&["db", "backup", "shop"]).failure(1);
    assert!(refused.stderr.contains("--allow-shrink"), "{}", refused.stderr);
    let home = shop.stack.site.file("backups/databases/shop");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    shop.run(&["db", "backup", "shop", "--allow-shrink"]).success();
    assert_eq!(fs::read_dir(&home).unwrap().count(), 2);
}

#[test]
fn a_backup_json_from_elsewhere_leads_nowhere() {
    let shop = Shop::open();
    let backup = shop.backed_up(&shop.run(&["db", "backup", "shop", "--json"]).success());
    let folder = backup.to_string_lossy().into_owned();
    let text = fs::read_to_string(backup.join("backup.json")).unwrap();
    shop.stack.site.write("outside", "x");
    let huge = format!("{{\"format\": 1, \"x\": \"{}\"}}", "y".repeat(40 << 20));
    for hostile in [
        text.replace("archive/toc.dat", "archive/../../../outside"),
        text.replace("archive/toc.dat", "/etc/passwd"),
        text.replace("\"database\": \"shop\"", "\"database\": \"postgres\""),
        text.replace("\"format\": 1", "\"format\": 99"),
        "[".repeat(200_000),
        huge,
    ] {
        fs::write(backup.join("backup.json"), hostile).unwrap();
        shop.run(&["db", "verify", &folder]).failure(1);
        let listed = shop.run(&["db", "list", "shop", "--json"]).success();
        assert_eq!(listed.json()["unreadable"].as_array().unwrap().len(), 1);
    }
    // A later backup is made all the same.
    shop.run(&["db", "backup", "shop"]).success();
    // A role and a table of the record that are no names but statements are only names.
    fs::write(
        backup.join("backup.json"),
        text.replace("\"name\": \"clerk\"", "\"name\": \"clerk\\\"; drop role x; --\""),
    )
    .unwrap();
    let verified = shop.run(&["db", "verify", &folder, "--json"]).failure(1);
    assert!(verified.json()["verified"][0]["damage"].is_null());
    assert!(verified.json()["verified"][0]["untried"].as_str().unwrap().contains("clerk"), "{}", verified.stdout);
}
