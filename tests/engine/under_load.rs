//! Rebuilds while clients write: what was committed after a swap is in the database that has the name then.

use std::collections::{BTreeMap, BTreeSet};

use dpl::databases::{self, OldDatabase, RebuildOptions, Repeat};
use dpl::engine::{ExecSession, ExecSpec};
use futures::StreamExt;

use crate::databases::Site;
use crate::support_engine::eventually_asked;

/// How many rebuilds and clients there are: ten and twenty in the soak (`DPL_MANY`).
fn sizes() -> (usize, usize) {
    if std::env::var_os("DPL_MANY").is_some() { (10, 20) } else { (2, 5) }
}

/// Connects again and again, writes a row, and notes in which database it is once the server has committed it.
const CLIENT: &str = r#"n=0
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  psql -XqAt -U postgres -d expert -c "INSERT INTO written VALUES ($1, $n) RETURNING (SELECT oid FROM pg_database \
    WHERE datname = current_database()), client, n" 2>/dev/null >>"/tmp/committed-$1" || sleep 0.01
done"#;

async fn client(site: &Site, number: usize) -> ExecSession {
    let command = ["sh", "-c", CLIENT, "sh", &number.to_string()].map(str::to_owned).into();
    site.engine.start_exec(&site.container, &ExecSpec { command, ..Default::default() }).await.unwrap()
}

async fn shell(site: &Site, script: &str) -> String {
    let command = ["sh", "-c", script].map(str::to_owned).into();
    let answer = site.engine.exec(&site.container, &ExecSpec { command, ..Default::default() }, b"").await.unwrap();
    assert_eq!(answer.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

/// Waits until a client has written into the database with this number.
async fn somebody_writes(site: &Site, database: &str) {
    let notes = format!("grep -l '^{database}|' /tmp/committed-* 2>/dev/null; :");
    eventually_asked("somebody writes", async || !shell(site, &notes).await.is_empty()).await;
}

#[tokio::test]
async fn no_row_is_lost_that_a_client_committed_before_or_after_a_swap() {
    let (rebuilds, clients) = sizes();
    let site = Site::start().await;
    site.sql("postgres", "CREATE DATABASE expert").await;
    site.sql("expert", "CREATE TABLE written (client int, n int)").await;
    databases::dump_seed(&site.server, "expert", &site.seed_settings(), &site.reporter).await.unwrap();
    let mut working = Vec::new();
    for number in 0..clients {
        working.push(client(&site, number).await);
    }
    // All are kept, so that what went into each of them can be looked at.
    let old = OldDatabase::Keep { count: rebuilds, backup: site.backup_settings() };
    let options = RebuildOptions { old, repeat: Repeat::Again, ..site.rebuild_options() };
    let mut there = vec![site.sql("postgres", "SELECT oid FROM pg_database WHERE datname = 'expert'").await];
    for _ in 0..rebuilds {
        // Somebody has written into this one before it is replaced.
        somebody_writes(&site, there.last().unwrap()).await;
        site.rebuild_from("expert", &site.seed(), &options).await.unwrap();
        there.push(site.sql("postgres", "SELECT oid FROM pg_database WHERE datname = 'expert'").await);
    }
    somebody_writes(&site, there.last().unwrap()).await;
    shell(&site, "touch /tmp/stop").await;
    for mut client in working {
        while client.output.next().await.is_some() {}
    }
    let mut committed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in shell(&site, "cat /tmp/committed-*").await.lines() {
        let (oid, row) = line.split_once('|').unwrap();
        committed.entry(oid.to_owned()).or_default().insert(row.to_owned());
    }
    let names = site.sql("postgres", "SELECT oid || '|' || datname FROM pg_database WHERE datname ~ '^expert'").await;
    let names: BTreeMap<&str, &str> = names.lines().filter_map(|line| line.split_once('|')).collect();
    assert_eq!(names.len(), rebuilds + 1, "{names:?}");
    for oid in &there {
        let name = names[oid.as_str()];
        site.sql("postgres", &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true")).await;
        let rows = site.sql(name, "SELECT client || '|' || n FROM written").await;
        let rows: BTreeSet<&str> = rows.lines().collect();
        let acknowledged = committed.remove(oid).unwrap_or_default();
        assert!(!acknowledged.is_empty(), "nobody wrote into {name}");
        let lost: Vec<&String> = acknowledged.iter().filter(|row| !rows.contains(row.as_str())).collect();
        assert_eq!(lost, Vec::<&String>::new(), "of {name}");
    }
    assert_eq!(committed, BTreeMap::new(), "rows of a database that is not there");
    site.end().await;
}
