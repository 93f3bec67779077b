//! Databases: one with old rows, a seed with new ones, and a service that uses it.

use std::fs;
use std::path::{Path, PathBuf};

use dpl::fs::Digest;
use serde_json::Value;

use super::Subject;
use super::images::leftovers;
use crate::harness::run;
use crate::support::Site;
use crate::support_engine::{Stack, eventually, free_port, shared_engine};

/// What is done to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Backup,
    /// `db dump`: the seed is replaced.
    Dump,
    Rebuild,
    /// `db rebuild` on a server outside the stack.
    RebuildOutside,
    /// `db rebuild` of a database that does not exist.
    RebuildNew,
    /// `db convert` of a plain dump.
    Convert,
    /// `db restore` of a backup.
    Restore,
    /// `db rollback` to what a rebuild kept.
    Rollback,
    /// `db rollback` where nothing but what was kept is left.
    RollbackDropped,
    /// `db verify` of one backup.
    Verify,
    /// `db prune` of three backups, of which one stays.
    Prune,
}

pub struct Databases {
    stack: Stack,
    deed: Deed,
}

const OLD_ROWS: u64 = 900;
const NEW_ROWS: u64 = 1100;

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"backups": "backups"},
    "databases": {"shop": {"service": "db", "user": "postgres", "seed": "seeds/shop", "used_by": ["app"],
        "patches": ["patch.sql"], "preserve": [{"table": "stock", "key": ["id"], "where": "id <= 5"}],
        "retention": {"keep_last": 1, "daily": 0, "weekly": 0, "monthly": 0}}},
    "services": {
        "db": {"image": "postgres:15", "command": ["postgres", "-c", "fsync=off"],
            "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"},
            "ready": {"tcp": 5432}},
        "app": {"image": "redis:7.0", "depends_on": {"db": {"condition": "service_healthy"}}, "stop_grace_period": "5s",
            "ready": {"tcp": 6379}}}}"#;

impl Databases {
    pub fn new(deed: Deed) -> Self {
        Self::on(&shared_engine(), deed)
    }

    pub fn on(engine: &str, deed: Deed) -> Self {
        let manifest = match deed {
            Deed::RebuildOutside => {
                let port = free_port();
                let server = format!("\"host\": \"127.0.0.1\", \"port\": {port}, \"tools_image\": \"postgres:15\"");
                let published = format!("\"ports\": [\"127.0.0.1:{port}:5432\"], \"environment\"");
                MANIFEST.replace("\"service\": \"db\"", &server).replacen("\"environment\"", &published, 1)
            }
            _ => MANIFEST.to_owned(),
        };
        let mut stack = Stack::on(engine, &manifest);
        if deed != Deed::Dump {
            // With a helper, as databases of sites are dumped and restored; these rows would do without.
            stack.site.set("DPL_PRETENDS", "databases.large");
        }
        let databases = Self { stack, deed };
        fs::write(databases.stack.site.file("patch.sql"), "UPDATE stock SET text = text WHERE id = 7;\n").unwrap();
        run(&databases.stack.site, &["start"]).success("the start");
        databases.fill(NEW_ROWS);
        run(&databases.stack.site, &["db", "dump", "shop"]).success("the seed");
        fs::rename(databases.seed(), databases.stack.site.file("seed-as-made")).unwrap();
        databases
    }

    /// `Err` with what psql said.
    fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.try_each(database, &[sql.to_owned()])
    }

    /// One statement after the other, each in a transaction of its own.
    fn try_each(&self, database: &str, statements: &[String]) -> Result<String, String> {
        let container = self.stack.container("db");
        let arguments =
            ["exec", &container, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database];
        let output = std::process::Command::new("docker")
            .args(arguments)
            .args(statements.iter().flat_map(|statement| ["-c", statement.as_str()]))
            .env("DOCKER_HOST", &self.stack.engine)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    #[track_caller]
    fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Recreates the database, alone on the server, with so many rows.
    fn fill(&self, rows: u64) {
        let mut statements = Vec::new();
        for name in self.databases() {
            statements.push(format!("ALTER DATABASE \"{name}\" IS_TEMPLATE false"));
            statements.push(format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
        }
        statements.push("CREATE DATABASE shop".to_owned());
        self.try_each("postgres", &statements).unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        let table = "CREATE TABLE stock (id int PRIMARY KEY, text text NOT NULL)";
        self.sql(
            "shop",
            &format!("{table}; INSERT INTO stock SELECT n, md5(n::text) FROM generate_series(1, {rows}) n"),
        );
    }

    /// All databases but the server's own.
    fn databases(&self) -> Vec<String> {
        let query = "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')";
        self.sql("postgres", query).lines().map(str::to_owned).collect()
    }

    /// How many rows a whole table has; rows that are not what they were are no rows.
    fn rows(&self) -> Result<u64, String> {
        let answer = self.try_sql("shop", "SELECT count(*) FILTER (WHERE text = md5(id::text)) FROM stock")?;
        Ok(answer.parse().unwrap())
    }

    /// The rows, all old or all new ones. Who closed the database for a swap and died left somebody who opens it.
    #[track_caller]
    fn opened_rows(&self, context: &str) -> u64 {
        let open = "SELECT datallowconn FROM pg_database WHERE datname = 'shop'";
        eventually(&format!("{context}: the database opens by itself"), || self.sql("postgres", open) == "t");
        let rows = self.rows().unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!([OLD_ROWS, NEW_ROWS].contains(&rows), "{context}: {rows}");
        rows
    }

    fn seed(&self) -> PathBuf {
        self.stack.site.file("seeds/shop")
    }

    fn backups(&self) -> PathBuf {
        self.stack.site.file("backups/databases/shop")
    }

    /// The rows of each backup, which must all be complete.
    #[track_caller]
    fn backed_up(&self, context: &str) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.backups()) else { return Vec::new() };
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        folders.sort();
        folders.iter().map(|folder| rows_of_dump(folder, context)).collect()
    }

    /// Fails unless what was replaced is on the server still or was backed up; whether it was backed up.
    #[track_caller]
    pub fn replaced_is_safe(&self, context: &str) -> bool {
        let (there, backups) = (self.databases(), self.backed_up(context));
        let is_backed_up = backups.contains(&OLD_ROWS);
        let is_there = there.iter().any(|name| name.starts_with("shop~old~"));
        assert!(is_there || is_backed_up, "{context}: {there:?}, {backups:?}");
        is_backed_up
    }

    /// Lets the server's container stand still, or go on.
    pub fn pause(&self, stands_still: bool) {
        let container = self.stack.container("db");
        self.stack.docker(&[if stands_still { "pause" } else { "unpause" }, &container]);
    }

    /// The database takes connections after a while.
    #[track_caller]
    pub fn opens(&self, context: &str) {
        self.opened_rows(context);
    }

    /// The seed loses its end.
    pub fn truncate_the_seed(&self) {
        for entry in fs::read_dir(self.seed().join("archive")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }

    fn helpers(&self, filters: &[&str]) -> String {
        if self.deed == Deed::RebuildOutside {
            let outside = ["label=dpl.helper=databases", "network=host"].map(|filter| ["--filter", filter]).concat();
            return self.stack.docker(&[&["ps", "--all", "--quiet"], &outside[..], filters].concat());
        }
        let db = self.stack.inspect("db", "{{.Id}}");
        let of_server = format!("label=dpl.helper.server={db}");
        self.stack.docker(&[&["ps", "--all", "--quiet", "--filter", &of_server], filters].concat())
    }
}

/// The rows that a dump's record counts, after each of its files was found to be what the record says.
#[track_caller]
fn rows_of_dump(folder: &Path, context: &str) -> u64 {
    let record = fs::read(folder.join("backup.json"));
    let record = record.unwrap_or_else(|error| panic!("{context}: {}: {error}", folder.display()));
    let record: Value = serde_json::from_slice(&record).unwrap();
    let files = record["files"].as_array().unwrap();
    assert!(files.len() >= 2, "{context}: {files:?}");
    for file in files {
        let bytes = fs::read(folder.join(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), file["sha256"].as_str().unwrap(), "{context}");
    }
    record["tables"].as_array().unwrap().iter().map(|table| table["rows"].as_u64().unwrap()).sum()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

impl Subject for Databases {
    fn site(&self) -> &Site {
        &self.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        match self.deed {
            Deed::Backup => vec!["db", "backup", "shop"],
            Deed::Dump => vec!["db", "dump", "shop"],
            Deed::Rebuild | Deed::RebuildOutside | Deed::RebuildNew => vec!["db", "rebuild", "shop"],
            Deed::Convert => vec!["db", "convert", "shop.sql", "--output", "out/converted"],
            Deed::Restore => vec!["db", "restore", "shop", "--file", "seed-as-made"],
            Deed::Rollback | Deed::RollbackDropped => vec!["db", "rollback", "shop"],
            Deed::Verify => vec!["db", "verify", "shop"],
            Deed::Prune => vec!["db", "prune", "shop"],
        }
    }

    fn prepare(&mut self) {
        for folder in ["backups", "seeds"] {
            let _ = fs::remove_dir_all(self.stack.site.file(folder));
        }
        copy(&self.stack.site.file("seed-as-made"), &self.seed());
        self.fill(OLD_ROWS);
        match self.deed {
            Deed::Backup | Deed::Verify => {
                run(&self.stack.site, &["db", "backup", "shop"]).success("the first backup");
            }
            Deed::Prune => {
                for _ in 0..3 {
                    run(&self.stack.site, &["db", "backup", "shop"]).success("a backup");
                }
            }
            Deed::RebuildNew => drop(self.sql("postgres", "DROP DATABASE shop")),
            Deed::Rollback | Deed::RollbackDropped => {
                run(&self.stack.site, &["db", "rebuild", "shop", "--keep-old", "1"]).success("what is gone back to");
            }
            Deed::Convert => {
                let _ = fs::remove_dir_all(self.stack.site.file("out"));
                fs::create_dir(self.stack.site.file("out")).unwrap();
                let rows = "COPY public.stock FROM stdin;\n1\tone\n2\ttwo\n\\.\n";
                let sql = format!(
                    "CREATE TABLE public.stock (id int, text text);\nALTER TABLE public.stock OWNER TO keeper;\n{rows}"
                );
                fs::write(self.stack.site.file("shop.sql"), sql).unwrap();
            }
            Deed::Dump | Deed::Rebuild | Deed::RebuildOutside | Deed::Restore => {}
        }
        if self.deed == Deed::RollbackDropped {
            self.sql("postgres", "DROP DATABASE shop WITH (FORCE)");
        }
        run(&self.stack.site, &["start"]).success("the start");
    }

    fn holds(&self, context: &str) {
        let backups = self.backed_up(context);
        let seed = rows_of_dump(&self.seed(), context);
        let there = self.databases();
        match self.deed {
            Deed::Backup => {
                assert!(backups.len() == 1 || backups.len() == 2, "{context}: {backups:?}");
                assert_eq!(self.rows(), Ok(OLD_ROWS), "{context}");
            }
            Deed::Convert => {
                let converted = self.stack.site.file("out/converted");
                assert!(!converted.exists() || rows_of_dump(&converted, context) == 2, "{context}");
            }
            Deed::Verify => assert_eq!((backups, self.rows()), (vec![OLD_ROWS], Ok(OLD_ROWS)), "{context}"),
            Deed::Prune => {
                assert!((1..=3).contains(&backups.len()), "{context}: {backups:?}");
                assert!(backups.iter().all(|rows| *rows == OLD_ROWS), "{context}: {backups:?}");
            }
            Deed::Dump => {
                assert!([OLD_ROWS, NEW_ROWS].contains(&seed), "{context}");
                assert_eq!(self.rows(), Ok(OLD_ROWS), "{context}");
            }
            Deed::RebuildNew => {
                let has = there.iter().any(|name| name == "shop");
                assert!(!has || self.rows() == Ok(NEW_ROWS), "{context}: {there:?}");
            }
            Deed::Rebuild | Deed::RebuildOutside | Deed::Restore => {
                assert!(there.iter().any(|name| name == "shop"), "{context}: {there:?}");
                let rows = self.opened_rows(context);
                // What was replaced is beside it, or backed up.
                let is_safe = there.len() > 1 || backups.contains(&OLD_ROWS);
                assert!(rows == OLD_ROWS || is_safe, "{context}: {there:?}, {backups:?}");
            }
            Deed::Rollback => {
                assert_eq!(there.len(), 2, "{context}: {there:?}");
                self.opened_rows(context);
            }
            Deed::RollbackDropped => assert_eq!(there.len(), 1, "{context}: {there:?}"),
        }
        // What was made and never started goes with the next run.
        let gone = || self.helpers(&["--filter", "status=running"]).is_empty();
        eventually(&format!("{context}: the helpers went with the process"), gone);
    }

    fn is_done(&self, context: &str) {
        let backups = self.backed_up(context);
        let mut there = self.databases();
        there.retain(|name| name == "shop" || self.deed != Deed::Rollback);
        assert_eq!(there, ["shop"], "{context}");
        match self.deed {
            Deed::Backup => {
                assert!(backups.len() == 2 || backups.len() == 3, "{context}: {backups:?}");
                assert!(backups.iter().all(|rows| *rows == OLD_ROWS), "{context}: {backups:?}");
            }
            Deed::Verify => {
                assert_eq!(backups, [OLD_ROWS], "{context}");
                let listed = run(&self.stack.site, &["db", "list", "--json"]).success(context);
                let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
                assert!(listed["databases"][0]["last_verified"].is_string(), "{context}: {listed}");
            }
            Deed::Prune => assert_eq!(backups, [OLD_ROWS], "{context}"),
            Deed::Convert => assert_eq!(rows_of_dump(&self.stack.site.file("out/converted"), context), 2, "{context}"),
            Deed::Dump => {
                assert_eq!(rows_of_dump(&self.seed(), context), OLD_ROWS, "{context}");
                assert_eq!(self.rows(), Ok(OLD_ROWS), "{context}");
            }
            Deed::Rollback | Deed::RollbackDropped => assert_eq!(self.rows(), Ok(OLD_ROWS), "{context}"),
            Deed::Rebuild | Deed::RebuildOutside | Deed::Restore => {
                assert_eq!(self.rows(), Ok(NEW_ROWS), "{context}");
                assert!(backups.contains(&OLD_ROWS), "{context}: {backups:?}");
            }
            Deed::RebuildNew => assert_eq!(self.rows(), Ok(NEW_ROWS), "{context}"),
        }
        for folder in ["backups", "seeds"].map(|name| self.stack.site.file(name)).iter().filter(|path| path.exists()) {
            assert_eq!(leftovers(folder), Vec::<PathBuf>::new(), "{context}");
        }
        assert_eq!(self.stack.inspect("app", "{{.State.Status}}"), "running", "{context}: who uses it runs again");
        eventually(&format!("{context}: no helper is left"), || self.helpers(&[]).is_empty());
    }
}
