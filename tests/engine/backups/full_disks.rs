//! Disks that run full.

use super::*;

/// A server whose data lies on a small disk of its own.
const SMALL: &str = r#"{"project": "PROJECT", "paths": {"backups": "backups"},
  "databases": {"shop": {"service": "db", "user": "postgres"}},
  "volumes": {"data": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=SIZE"}}},
  "services": {
    "db": {"image": "postgres:15", "shm_size": "256m", "volumes": ["data:/var/lib/postgresql/data"],
      "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"}, "ready": {"tcp": 5432}}}}"#;

#[test]
fn a_disk_of_the_server_that_runs_full_is_noticed_before_it_stops_the_server() {
    for (size, is_refused) in [("420m", true), ("600m", false)] {
        let stack = Stack::new(&SMALL.replace("SIZE", size));
        stack.run(&["start", "--yes"]).success();
        let db = stack.container("db");
        let sql = |database: &str, sql: &str| {
            stack.docker(&["exec", &db, "psql", "-XqAt", "-U", "postgres", "-d", database, "-c", sql])
        };
        sql("postgres", "CREATE DATABASE shop");
        sql("shop", "CREATE TABLE t (a bool); INSERT INTO t VALUES (true), (false), (NULL)");
        sql("postgres", "CREATE DATABASE other");
        sql("other", "CREATE TABLE t (a bool); COPY t FROM PROGRAM 'yes t | head -n 3500000'");
        let dump =
            format!("docker exec {db} pg_dump -U postgres -Fc other > {}", stack.site.file("other.dump").display());
        let dumped = Command::new("sh").args(["-c", &dump]).env("DOCKER_HOST", &stack.engine).status().unwrap();
        assert!(dumped.success());
        sql("postgres", "DROP DATABASE other");
        sql("postgres", "CHECKPOINT");
        let arguments = ["db", "restore", "shop", "--file", "other.dump", "--yes"];
        let failed = std::thread::scope(|scope| {
            let filling = (!is_refused).then(|| {
                scope.spawn(|| {
                    eventually("the restore has begun", || {
                        sql("postgres", "SELECT datname FROM pg_database").contains("~new~")
                    });
                    let fill = "dd if=/dev/zero of=/var/lib/postgresql/data/ballast bs=1M count=330";
                    stack.docker(&["exec", &db, "sh", "-c", fill]);
                })
            });
            let failed = stack.run(&arguments).failure(1);
            if let Some(filling) = filling {
                filling.join().unwrap();
            }
            failed
        });
        let said =
            if is_refused { "MiB are free: free some space there" } else { "MiB were left where the server keeps" };
        assert!(failed.stderr.contains(said), "{}", failed.stderr);
        assert_eq!(sql("shop", "SELECT count(*) FROM t"), "3");
        assert!(!sql("postgres", "SELECT datname FROM pg_database").contains('~'), "nothing is left");
        if !is_refused {
            stack.docker(&["exec", &db, "rm", "/var/lib/postgresql/data/ballast"]);
            stack.run(&arguments).success();
            assert_eq!(sql("shop", "SELECT count(*) FROM t"), "3500000");
        }
        let logs = stack.docker(&["logs", &db]);
        assert!(!logs.contains("terminated by signal") && !logs.contains("PANIC"), "{logs}");
    }
}

/// A file system of its own, that is soon full.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status().unwrap();
        assert!(status.success());
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy".as_ref(), self.0.as_os_str()]).status();
    }
}

#[test]
fn a_full_disk_and_a_server_that_dies_leave_the_backups_that_there_were() {
    let shop = Shop::open();
    shop.psql("shop", "INSERT INTO stock SELECT n, repeat(md5(n::text), 9) FROM generate_series(40001, 200000) n");
    let backups = shop.stack.site.file("backups");
    for size in ["64k", "1m", "3m"] {
        let disk = SmallDisk::mount(&backups, size);
        let failed = shop.run(&["db", "backup", "shop"]).failure(1);
        assert!(failed.stderr.contains("No space left") || failed.stderr.contains("pg_dump"), "{}", failed.stderr);
        let home = backups.join("databases/shop");
        assert_eq!(fs::read_dir(home).map(Iterator::count).unwrap_or(0), 0, "nothing half done at {size}");
        drop(disk);
    }
    shop.leaves_no_helper();
    let first = shop.backed_up(&shop.run(&["db", "backup", "shop", "--json"]).success());
    let mut command = shop.stack.site.command(&["db", "backup", "shop", "--yes", "-f", "stack.json"]);
    // Held by a lock of somebody else's, it is sure to be at work.
    let mut locking = Command::new("psql")
        .args(["-XqAt", "-d", &shop.conninfo("shop")])
        .env("PGPASSWORD", MARKER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = locking.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"BEGIN; LOCK TABLE stock; SELECT 'held';\n").unwrap();
    let mut said = String::new();
    let mut output = std::io::BufReader::new(locking.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut said).unwrap();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    eventually("the backup waits for the table", || shop.psql("postgres", waits) != "0");
    shop.stack.docker(&["kill", &shop.stack.container("db")]);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    drop(input);
    let _ = locking.wait();
    let kept: Vec<PathBuf> =
        fs::read_dir(first.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept, [first]);
    // What is not up is started on request, and only then.
    let refused = shop.run(&["db", "backup", "shop"]).failure(1);
    assert!(refused.stderr.contains("start it with `dpl start db`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("or give --start"), "{}", refused.stderr);
    let looked = shop.run(&["db", "leftovers"]).failure(1);
    assert!(looked.stderr.contains("`dpl start db`") && !looked.stderr.contains("--start"), "{}", looked.stderr);
    shop.run(&["db", "backup", "shop", "--start"]).success();
}
