//! What a transfer takes: of the line no more than the site's `limit`, of memory no more than 64 MiB on either side.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fetching::Kept;
use crate::support::Site;
use crate::two_hosts::Ends;

/// A project with a seed, whose archive has files of these sizes.
fn write_project(desk: &Site, files: &[u64]) {
    desk.write(
        "stack.json",
        r#"{"project": "limits", "databases": {"d": {"service": "db", "seed": "seeds/d"}},
            "services": {"db": {"image": "postgres:15"}}}"#,
    );
    desk.write("seeds/d/backup.json", "{}");
    fs::create_dir_all(desk.file("seeds/d/archive")).unwrap();
    for (number, bytes) in files.iter().enumerate() {
        let file = File::create(desk.file(&format!("seeds/d/archive/{number}.dat.gz"))).unwrap();
        file.set_len(*bytes).unwrap();
    }
}

const SEND: [&str; 7] = ["--yes", "-f", "stack.json", "send", "site", "--only", "manifest,seeds"];

/// Sends to a new site whose `limit` this is.
#[track_caller]
fn sent(limit: &str, more: &[&str]) -> (Duration, Value) {
    let there = Site::new();
    let ends = Ends::new(there.path(), "");
    write_project(&ends.desk, &[1 << 20, 1 << 20]);
    let sites = fs::read_to_string(ends.desk.file("sites.json")).unwrap();
    let limited = sites.replace(r#""manifest""#, &format!(r#""limit": "{limit}", "manifest""#));
    ends.desk.write("sites.json", &limited);
    let begun = Instant::now();
    let done = ends.run(&[&["--json"], &SEND[..], more].concat()).success().json();
    (begun.elapsed(), done["sites"][0]["done"].clone())
}

#[test]
fn a_send_takes_no_more_of_the_line_than_the_sites_limit() {
    let (took, done) = sent("500kB/s", &[]);
    let (bytes, seconds) = (done["bytes"].as_f64().unwrap(), done["seconds"].as_f64().unwrap());
    assert!(bytes > 2_000_000.0, "{done}");
    // However slow the machine is, so much takes no less; what is saved up at first, and the last piece, may go at once.
    let least = bytes / 500_000.0 - 0.5;
    assert!(took.as_secs_f64() > least && seconds > least, "{took:?} {done}");
    // What is typed counts before it.
    let (_, faster) = sent("500kB/s", &["--limit", "1GB/s"]);
    assert!(faster["seconds"].as_f64().unwrap() < seconds, "{faster} {done}");
}

#[test]
fn a_fetch_takes_no_more_of_the_line_than_the_sites_limit() {
    let kept = Kept::new();
    let bytes = fs::metadata(kept.grow(2)).unwrap().len();
    kept.sites.write(r#", "limit": "500kB/s""#);
    let begun = Instant::now();
    kept.sites.run(&["-f", "desk.json", "fetch", "site"]).success();
    assert!(begun.elapsed().as_secs_f64() > bytes as f64 / 500_000.0 - 1.0, "{:?}", begun.elapsed());
}

/// The most memory that a process ever had, in KiB; 0 once it is gone.
fn peak_memory(process: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

#[test]
fn neither_side_takes_more_than_64_mib_whatever_is_sent() {
    let there = Site::new();
    let ends = Ends::new(there.path(), "");
    // Those that are under way at once are more than all the memory that is allowed.
    write_project(&ends.desk, &[16 << 20; 10]);
    let (mut desk, said) = ends.begin(&SEND);
    let (mut here, mut at_site) = (0, 0);
    while desk.try_wait().unwrap().is_none() {
        here = here.max(peak_memory(&desk.id().to_string()));
        for process in ends.wire.processes_there() {
            at_site = at_site.max(peak_memory(process.split(':').next().unwrap()));
        }
        std::thread::park_timeout(Duration::from_millis(3));
    }
    assert!(desk.wait().unwrap().success(), "{}", fs::read_to_string(said).unwrap());
    assert_eq!(fs::read_dir(there.file("seeds/d/archive")).unwrap().count(), 10);
    println!("{here} KiB here, {at_site} KiB at the site");
    assert!(here > 1000 && at_site > 1000, "both were seen: {here} {at_site}");
    // Without optimisation it has 16 MiB more of its own file in memory than the release.
    let most = if cfg!(debug_assertions) { 80 } else { 64 };
    assert!(here.max(at_site) <= most * 1024, "{here} KiB here, {at_site} KiB at the site");
}

#[test]
fn a_line_is_measured_where_somebody_is_told_what_it_gives() {
    let sent = |flag: &str| {
        let (there, aside) = (Site::new(), Site::new());
        let calls = aside.file("calls");
        let noted = format!(
            "ForceCommand echo \"$SSH_ORIGINAL_COMMAND\" >>{}; exec sh -c \"$SSH_ORIGINAL_COMMAND\"",
            calls.display()
        );
        let ends = Ends::new(there.path(), &noted);
        write_project(&ends.desk, &[5 << 20]);
        aside.write("calls", "");
        let sent = ends.run(&[&[flag], &SEND[..]].concat()).success();
        (fs::read_to_string(&calls).unwrap().matches("serve --stdio").count(), sent)
    };
    let (asked, told) = sent("--json");
    let report = told.json()["sites"][0].clone();
    assert!(report["bytes_per_second"].as_u64().unwrap() > 0 && report["seconds_expected"].is_u64(), "{report}");
    let (asked_less, _) = sent("--quiet");
    assert_eq!(asked, asked_less + 1, "that question is not asked");
}
