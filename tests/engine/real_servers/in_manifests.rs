//! Databases of a manifest, through the program.

use super::*;

/// A server that listens on its socket alone, with the databases `one` and `two`, and not the third one of its manifest.
struct OnSocket {
    stack: Stack,
}

impl OnSocket {
    fn start() -> Self {
        let stack = Stack::new(
            r#"{"project": "PROJECT", "paths": {"backups": "backups"},
              "databases": {"one": {"service": "db"}, "gone": {"service": "db"}, "two": {"service": "db"}},
              "services": {"db": {"image": "postgres:15",
                "command": ["postgres", "-c", "listen_addresses=", "-c", "port=5433", "-c", "fsync=off"],
                "environment": {"POSTGRES_USER_FILE": "/run/user", "POSTGRES_PASSWORD_FILE": "/run/password"},
                "volumes": ["./user:/run/user:ro", "./password:/run/password:ro"]}}}"#,
        );
        stack.site.write("user", "boss\n");
        stack.site.write("password", "secret\n");
        stack.run(&["start", "--yes"]).success();
        let server = Self { stack };
        eventually("the server answers", || server.psql("SELECT 1"));
        for sql in ["CREATE DATABASE one", "CREATE DATABASE two"] {
            assert!(server.psql(sql), "{sql}");
        }
        server
    }

    /// Runs a line of psql; whether it went well.
    fn psql(&self, sql: &str) -> bool {
        let container = self.stack.container("db");
        let place = ["exec", "-i", &container, "psql", "-h", "/var/run/postgresql", "-p", "5433", "-U", "boss"];
        let psql = format!("printf '%s' \"$0\" | docker {} -XqAt -v ON_ERROR_STOP=1 -d postgres", place.join(" "));
        let mut command = Command::new("sh");
        command.args(["-c", &psql, sql]).env("DOCKER_HOST", &self.stack.engine);
        command.output().unwrap().status.success()
    }
}

#[test]
fn what_is_listed_through_the_socket_is_backed_up_and_one_that_fails_keeps_nobody_from_it() {
    let server = OnSocket::start();
    let stack = &server.stack;
    // What is the first superuser's, whom no list of dependencies names, beside what is another one's.
    let others = "CREATE ROLE app; ALTER DATABASE two OWNER TO app;\n\\c two\nCREATE TABLE t (n int); ALTER TABLE t OWNER TO app; \
         CREATE PUBLICATION p FOR TABLE t;";
    assert!(server.psql(others));
    let listed = stack.run(&["db", "list", "--json"]).success().json();
    let there: Vec<&str> =
        listed["databases"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(there, ["one", "gone", "two"], "{listed}");
    // One of three is not there: the others are backed up all the same.
    let run = stack.run(&["db", "backup", "--json", "--yes"]).failure(1);
    let made = run.json();
    let names = |list: &str| -> Vec<String> {
        made[list].as_array().unwrap().iter().map(|one| one["database"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names("backups"), names("failed")),
        (vec!["one".to_owned(), "two".to_owned()], vec!["gone".to_owned()])
    );
    assert!(run.stderr.contains("database `gone` does not exist"), "{}", run.stderr);
    let record = |of: usize| {
        let folder =
            made["backups"][of]["path"].as_str().unwrap().replace("SITE", &stack.site.path().to_string_lossy());
        let record = std::fs::read_to_string(format!("{folder}/backup.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&record).unwrap()
    };
    let roles = record(1)["roles"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect::<Vec<_>>();
    assert_eq!(roles, ["app", "boss"]);
    stack.run(&["db", "restore", "one", "--yes", "--no-backup"]).success();
    // Who watches hears of it by the exit code.
    stack.run(&["db", "list", "one", "two", "--max-age", "36h"]).success();
    stack.run(&["db", "list", "--max-age", "36h"]).failure(1);
    stack.run(&["db", "list", "one", "--verified", "7d"]).failure(1);
}

#[test]
fn the_last_bytes_of_a_disk_are_the_servers_and_an_id_of_another_database_is_refused() {
    let OnSocket { mut stack } = OnSocket::start();
    stack.run(&["db", "backup", "one", "--yes"]).success();
    let backups = |stack: &Stack| std::fs::read_dir(stack.site.file("backups/databases/one")).unwrap().count();
    let before = backups(&stack);
    stack.site.set("DPL_PRETENDS", "databases.shared-disk,databases.little-room");
    let full = stack.run(&["db", "backup", "one", "--yes"]).failure(1);
    assert!(full.stderr.contains("MiB are left at") && backups(&stack) == before, "{}", full.stderr);
    // Nor is anything replaced whose backup could not be proved for want of room.
    let unproved = stack.run(&["db", "restore", "one", "--yes"]).failure(1);
    assert!(unproved.stderr.contains("is restored once more to verify it"), "{}", unproved.stderr);
    assert!(unproved.stderr.contains("--keep-old 1") && backups(&stack) == before, "{}", unproved.stderr);
    stack.site.set("DPL_PRETENDS", "");
    stack.run(&["db", "backup", "one", "--yes"]).success();
    assert_eq!(backups(&stack), before + 1);
    // One that is kept and would be one too many is backed up as well: what keeps it from that is told before.
    stack.run(&["db", "restore", "one", "--yes", "--keep-old", "1"]).success();
    stack.site.set("DPL_PRETENDS", "databases.shared-disk,databases.little-room");
    let unproved = stack.run(&["db", "restore", "one", "--yes", "--keep-old", "1"]).failure(1);
    assert!(unproved.stderr.contains("--keep-old 2") && backups(&stack) == before + 1, "{}", unproved.stderr);
    stack.run(&["db", "restore", "one", "--yes", "--keep-old", "2"]).success();
    stack.site.set("DPL_PRETENDS", "");
    for leftover in stack.run(&["db", "leftovers", "--json"]).success().json()["leftovers"].as_array().unwrap() {
        stack.run(&["db", "leftovers", "drop", leftover["name"].as_str().unwrap(), "--yes"]).success();
    }
    let stack = stack;

    // A backup's ID that names another database is refused as its folder is.
    let listed = stack.run(&["db", "list", "--json"]).success().json();
    let mut ids = listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap());
    let id = ids.find(|id| id.starts_with("one/")).unwrap();
    for how in ["--yes", "--dry-run"] {
        let refused = stack.run(&["db", "restore", "two", "--backup", id, how]).failure(1);
        assert!(refused.stderr.contains("it is a dump of `one`, not of `two`"), "{}", refused.stderr);
    }
    // A backup of this server's is no surprise, and one of another server's is told.
    let other = "was made on another PostgreSQL server";
    let restore = ["db", "restore", "one", "--backup", id, "--dry-run"];
    assert!(!stack.run(&restore).success().stderr.contains(other));
    let record = stack.site.file(&format!("backups/databases/{id}/backup.json"));
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains("\"server_identifier\": \""), "{text}");
    std::fs::write(&record, text.replace("\"server_identifier\": \"", "\"server_identifier\": \"1")).unwrap();
    assert!(stack.run(&restore).success().stderr.contains(other));
    std::fs::write(&record, text).unwrap();
}

#[test]
fn what_stands_beside_the_databases_of_a_manifest_is_listed_kept_and_dropped() {
    let server = OnSocket::start();
    let stack = &server.stack;
    stack.run(&["db", "backup", "one", "--yes"]).success();
    // What is restored beside one stands beside none of the manifest's.
    stack.run(&["db", "restore", "one", "--as", "copy"]).success();
    let listed = stack.run(&["db", "list", "--json"]).success().json();
    assert!(listed["others"].as_array().unwrap().iter().any(|other| other["name"] == "copy"), "{listed}");
    let table = stack.run(&["db", "leftovers"]).success().stdout;
    let row = table.lines().find(|line| line.contains("copy")).unwrap();
    assert!(row.starts_with("- "), "{table}");
    stack.run(&["db", "leftovers", "drop", "copy", "--yes"]).success();

    // What stands beside them is listed, kept for a rollback, and dropped.
    stack.run(&["db", "restore", "one", "--yes", "--keep-old", "1"]).success();
    let rename = |from: &str, to: &str| {
        let sql = format!(
            "SELECT format('ALTER DATABASE %I RENAME TO %I', datname, replace(datname, '~{from}~', '~{to}~')) FROM \
             pg_database WHERE datname ~ '^one~' \\gexec"
        );
        assert!(server.psql(&sql), "{sql}");
    };
    let left = || -> Vec<(String, String)> {
        let listed = stack.run(&["db", "leftovers", "list", "--json"]).success().json();
        let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap().to_owned();
        let all = listed["leftovers"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "kind")));
        all.filter(|(name, _)| name.starts_with("one~")).collect()
    };
    let kinds = || left().into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(), ["kept"]);
    for kind in ["old", "left"] {
        rename("kept", kind);
        assert_eq!(kinds(), [kind]);
        stack.run(&["db", "leftovers", "keep", &left()[0].0, "--yes"]).success();
        assert_eq!(kinds(), ["kept"]);
    }
    stack.run(&["db", "leftovers", "drop", &left()[0].0, "--yes"]).success();
    assert_eq!(kinds(), Vec::<String>::new());
    stack.run(&["db", "leftovers", "drop", "two", "--yes"]).failure(2);
}
