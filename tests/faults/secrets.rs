//! A word of its own as each secret of a manifest, sought in everything that dpl says, writes and hands on: outputs, errors,
//! files, labels, containers of its own, and the lists of processes meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::Run;
use crate::support_engine::Stack;
use crate::tally::Tally;

/// Secrets from a file or the environment, which nothing may show.
const SECRETS: [(&str, &str); 7] = [
    ("the password of the server, from a file", "mk1PasswordOfTheServer"),
    ("a value from a file", "mk2ValueFromAFile"),
    ("a value from the environment", "mk3ValueFromTheEnvironment"),
    ("a line of a service's env_file", "mk4LineOfAnEnvFile"),
    ("a variable of patches from a file", "mk5VariableFromAFile"),
    ("a variable of patches from the environment", "mk6VariableFromTheEnvironment"),
    ("a password that is wrong", "mk7WrongPassword"),
];
/// Values that stand in the manifest, or come into it by `${…}`: masked wherever they would be shown unless
/// `--show-values` is asked for, and part of the way back (`deployments.json`, 0600).
const VALUES: [(&str, &str); 2] =
    [("a value in the manifest", "mk8ValueInTheManifest"), ("a value by a variable", "mk9ValueByAVariable")];

const MANIFEST: &str = r#"{
  "project": "PROJECT", "paths": {"backups": "backups", "images": "store"}, "env_file": "site.env",
  "databases": {"shop": {"service": "db", "user": "postgres", "password": {"file": "secrets/server"},
    "seed": "seeds/shop", "used_by": ["app"], "patches": ["patch.sql"],
    "variables": {"one": {"file": "secrets/variable"}, "two": {"env": "SITE_VARIABLE"}},
    "retention": {"keep_last": 1, "daily": 0, "weekly": 0, "monthly": 0}}},
  "services": {
    "db": {"image": "postgres:15", "command": ["postgres", "-c", "fsync=off"], "stop_grace_period": "5s",
      "environment": {"POSTGRES_PASSWORD": {"file": "secrets/server"}, "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256"},
      "healthcheck": {"test": "pg_isready -U postgres -h 127.0.0.1", "interval": "1s", "retries": 60}},
    "app": {"image": "redis:7.0", "stop_signal": "SIGKILL", "depends_on": {"db": {"condition": "service_healthy"}},
      "env_file": ["app.env"],
      "environment": {"FROM_FILE": {"file": "secrets/value"}, "FROM_ENV": {"env": "SITE_VALUE"},
        "PLAIN": "mk8ValueInTheManifest", "VIA": "${SITE_WORD}", "ROUND": "1"},
      "command": ["sh", "-c", "echo told $$FROM_FILE $$FROM_ENV $$LINE; exec redis-server"],
      "ready": {"tcp": 6379}}
  }
}"#;

struct Sought {
    stack: Stack,
    tally: Tally,
}

/// What was found where it must not be.
type Found = Mutex<BTreeSet<String>>;

impl Sought {
    fn new() -> Self {
        let mut stack = Stack::new(MANIFEST);
        let site = &stack.site;
        for (name, text) in [
            ("secrets/server", SECRETS[0].1),
            ("secrets/value", SECRETS[1].1),
            ("secrets/variable", SECRETS[4].1),
            ("app.env", "LINE=mk4LineOfAnEnvFile"),
            ("site.env", "SITE_WORD=mk9ValueByAVariable"),
            ("patch.sql", "SELECT length(:'one') + length(:'two');"),
        ] {
            site.write(name, &format!("{text}\n"));
        }
        stack.site.set("SITE_VALUE", SECRETS[2].1).set("SITE_VARIABLE", SECRETS[5].1);
        Self { stack, tally: Tally::of("secrets") }
    }

    /// Runs a command whose output must show none of them.
    #[track_caller]
    fn run(&mut self, arguments: &[&str]) -> Run {
        let run = self.run_shown(arguments);
        for (what, word) in VALUES {
            assert!(!format!("{}{}", run.stdout, run.stderr).contains(word), "{arguments:?} shows {what}");
        }
        run
    }

    /// Runs a command that is to show values that are no secrets.
    #[track_caller]
    fn run_shown(&mut self, arguments: &[&str]) -> Run {
        self.tally.case();
        let run = self.stack.run(arguments);
        for (what, word) in SECRETS {
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(!said.contains(word), "{arguments:?} shows {what}: {said}");
        }
        run
    }

    fn psql(&self, sql: &str) -> String {
        let password = format!("PGPASSWORD={}", SECRETS[0].1);
        let container = self.stack.container("db");
        self.stack.docker(&[
            "exec",
            "-e",
            &password,
            &container,
            "psql",
            "-XAtqc",
            sql,
            "-U",
            "postgres",
            "-h",
            "127.0.0.1",
        ])
    }

    /// All files but those that hold the secrets by themselves.
    fn search_files(&self) {
        let inputs = ["secrets", "app.env", "site.env", "stack.json"].map(|name| self.stack.site.file(name));
        for path in files_below(self.stack.site.path())
            .into_iter()
            .filter(|path| !inputs.iter().any(|input| path.starts_with(input)))
        {
            let bytes = fs::read(&path).unwrap();
            // The way back needs what the containers were made with; a secret from a file or a variable is read again.
            let is_way_back = path.ends_with("deployments.json");
            if is_way_back {
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
            }
            let hidden = SECRETS.iter().filter(|(what, _)| !(is_way_back && *what == "a line of a service's env_file"));
            let values = VALUES.iter().filter(|_| !is_way_back);
            for (what, word) in hidden.chain(values) {
                let has = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!has, "{} holds {what}", path.display());
            }
        }
    }

    /// What anybody may read of a container of the services without its environment.
    fn search_containers(&self) {
        for service in ["db", "app"] {
            let template =
                "{{json .Config.Labels}} {{json .Config.Cmd}} {{json .Args}} {{json .HostConfig}} {{json .Mounts}}";
            let told = self.stack.inspect(service, template);
            for (what, word) in SECRETS.iter().chain(&VALUES) {
                assert!(!told.contains(word), "{service}: {what} in {told}");
            }
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let below = |entry: fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files_below(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    };
    entries.flat_map(below).collect()
}

/// Looks at all processes, and at all containers but the services' own, until `done`.
fn watch(stack: &Stack, done: &AtomicBool, found: &Found) -> usize {
    let mut looks = 0;
    // This test itself hands a password to psql by `docker exec -e`.
    let is_own = |arguments: &str| arguments.contains("docker\0exec\0");
    while !done.load(Ordering::SeqCst) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            if arguments.contains("mk") && !is_own(&arguments) {
                for (what, word) in SECRETS.iter().chain(&VALUES).filter(|(_, word)| arguments.contains(word)) {
                    found.lock().unwrap().insert(format!("{what} ({word}) in the list of processes: {arguments:?}"));
                }
            }
        }
        looks += 1;
        if looks % 10 == 0 {
            search_others(stack, found);
        }
        // No program lives so shortly, and the ones that are looked for need the machine as well.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    looks
}

/// Helpers, throw-away servers and the lock.
fn search_others(stack: &Stack, found: &Found) {
    let docker = |arguments: &[&str]| {
        let output = std::process::Command::new("docker").args(arguments).env("DOCKER_HOST", &stack.engine).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    let all = docker(&["ps", "--all", "--quiet"]);
    let ids: Vec<&str> = all.split_whitespace().collect();
    // One that went meanwhile is passed over.
    let views: Value = serde_json::from_str(&docker(&[&["inspect"], &ids[..]].concat())).unwrap_or_default();
    for view in views.as_array().into_iter().flatten() {
        let is_service = view["Config"]["Labels"]["com.docker.compose.service"].is_string();
        let text = view.to_string();
        for (what, word) in SECRETS.iter().chain(&VALUES).filter(|(_, word)| !is_service && text.contains(word)) {
            found.lock().unwrap().insert(format!("{what} ({word}) in the container {}", view["Name"]));
        }
    }
}

#[test]
fn no_secret_is_shown_written_or_handed_on() {
    let mut sought = Sought::new();
    let (done, found) = (AtomicBool::new(false), Found::default());
    let watched = Stack::on(&sought.stack.engine, "{}");
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&watched, &done, &found));
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut sought)));
        done.store(true, Ordering::SeqCst);
        let looks = watcher.join().unwrap();
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        assert!(looks > 100, "the processes were looked at {looks} times");
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{found:#?}");
}

fn work(sought: &mut Sought) {
    for command in [
        &["check"][..],
        &["check", "--json"],
        &["list", "--json"],
        &["config"],
        &["config", "--json"],
        &["plan"],
        &["plan", "--json"],
        &["start", "--dry-run", "--json"],
        &["start", "--verbose", "--progress", "json"],
        &["status", "--json"],
        &["logs"],
        &["logs", "--json"],
        &["stats", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["lock", "status", "--json"],
    ] {
        sought.run(command).success();
    }
    let config = sought.run_shown(&["config", "--show-values"]).success();
    assert!(config.stdout.contains(VALUES[0].1) && config.stdout.contains(VALUES[1].1), "{}", config.stdout);
    // The service says its secrets itself; what it says is there, but for them.
    let log = sought.run(&["logs", "app", "--grep", "told"]).success();
    assert!(log.stdout.contains("told"), "{}", log.stdout);
    sought.search_containers();

    sought.psql("CREATE DATABASE shop");
    for command in [
        &["db", "sql", "shop", "create table stock as select 1 as id"][..],
        &["db", "list", "--json"],
        &["db", "backup", "--verbose"],
        &["db", "backup", "--json"],
        &["db", "dump", "shop", "--verbose"],
        &["db", "verify", "shop", "--json"],
        &["db", "rebuild", "shop", "--yes", "--verbose", "--keep-old", "1"],
        &["db", "rollback", "shop", "--yes", "--json"],
        &["db", "prune", "shop", "--yes"],
    ] {
        sought.run(command).success();
    }
    // Errors quote the statement, but for what dpl put into it.
    for (sql, code) in
        [("SELECT 1/0 AS \"x\", :'one', :'two';", 1), ("DO $$ BEGIN RAISE 'no'; END $$; SELECT :'one'::int;", 1)]
    {
        sought.stack.site.write("patch.sql", sql);
        sought.run(&["db", "rebuild", "shop", "--yes", "--verbose"]).failure(code);
    }
    sought.stack.site.write("patch.sql", "SELECT :'one'::int;");
    sought.run(&["db", "rebuild", "shop", "--yes", "--json"]).failure(1);

    // A password that the server does not take.
    sought.stack.rewrite(&MANIFEST.replacen("secrets/server", "secrets/wrong", 1));
    sought.stack.site.write("secrets/wrong", SECRETS[6].1);
    for command in [&["db", "backup"][..], &["db", "sql", "shop", "select 1"], &["db", "rebuild", "shop", "--yes"]] {
        let run = sought.run(command).failure(1);
        assert!(run.stderr.contains("password"), "{command:?}: {}", run.stderr);
    }
    // Secrets that can't be read are named by where they should be.
    fs::remove_file(sought.stack.site.file("secrets/value")).unwrap();
    let run = sought.run(&["restart", "app", "--force-recreate"]).failure(1);
    assert!(run.stderr.contains("secrets/value"), "{}", run.stderr);
    sought.stack.site.write("secrets/value", SECRETS[1].1);

    sought.stack.rewrite(&MANIFEST.replace("\"ROUND\": \"1\"", "\"ROUND\": \"2\""));
    for command in [
        &["restart", "app", "--verbose", "--json"][..],
        &["rollback", "--dry-run"],
        &["rollback", "--yes", "--json"],
        &["do", "3 - 2", "--yes"],
        &["history", "--json"],
        &["history", "show", "1"],
        &["stop", "all"],
        &["remove", "all", "--volumes", "--yes", "--verbose"],
    ] {
        sought.run(command).success();
    }
    sought.search_files();
}
