//! Memory stays small whatever a manifest of at most 512 KiB says: the program runs with little address space, and where it
//! asked for more it would be aborted (`ulimit -v`), which no exit code of ours means.

use std::process::Command;

use crate::support::{Run, Site};

/// Four times what an ordinary manifest needs.
const ENOUGH_KIB: u32 = 400 * 1024;

fn check_within(site: &Site, kibibytes: u32) -> Run {
    let program = site.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kibibytes}; exec \"$0\" check stack.json")]).arg(program.get_program());
    command.current_dir(site.path()).env_clear().env("HOME", site.path());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn stack(services: &str) -> String {
    format!("{{\"project\":\"p\",\"services\":{{{services}}}}}")
}

fn many(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

#[test]
fn memory_stays_small_for_every_manifest_that_is_small() {
    let big = "x".repeat(400_000);
    let ports = many(10, |n| format!("\"{}-{}\"", n * 1000 + 1, n * 1000 + 1000));
    let hostile = [
        (
            "a large variable many times",
            stack(&format!("\"a\":{{\"image\":\"i\",\"command\":\"{}\"}}", "${BIG}".repeat(80_000))),
        ),
        (
            "a large variable in many strings",
            stack(&format!("\"a\":{{\"image\":\"i\",\"command\":[{}]}}", many(50_000, |_| "\"${BIG}\"".to_owned()))),
        ),
        (
            "large defaults under many services",
            format!(
                "{{\"project\":\"p\",\"defaults\":{{\"hostname\":\"{big}\"}},\"services\":{{{}}}}}",
                many(8_000, |n| format!("\"s{n}\":{{}}"))
            ),
        ),
        (
            "ports of ranges under many services",
            format!(
                "{{\"project\":\"p\",\"defaults\":{{\"image\":\"i\",\"expose\":[{ports}]}},\"services\":{{{}}}}}",
                many(2_000, |n| format!("\"s{n}\":{{}}"))
            ),
        ),
        ("many unknown keys in one line", format!("{{{}}}", many(10_000, |n| format!("\"k{n}\":0")))),
        ("many services", stack(&many(10_000, |n| format!("\"s{n}\":{{\"image\":\"i\"}}")))),
        (
            "a wide list",
            stack(&format!("\"a\":{{\"image\":\"i\",\"command\":[{}]}}", many(100_000, |_| "0".to_owned()))),
        ),
        ("a deep list", format!("{}{}", "[".repeat(250_000), "]".repeat(250_000))),
        (
            "many pairs",
            stack(&format!("\"a\":{{\"image\":\"i\",\"labels\":[{}]}}", many(40_000, |n| format!("\"l{n}=\"")))),
        ),
        (
            "nested defaults of variables",
            stack(&format!("\"a\":{{\"image\":\"{}{}\"}}", "${A:-".repeat(60_000), "}".repeat(60_000))),
        ),
    ];
    for (name, text) in hostile {
        assert!(
            text.len() <= 512 * 1024
                && (name == "a deep list" || serde_json::from_str::<serde_json::Value>(&text).is_ok()),
            "{name}"
        );
        let site = Site::new();
        let text = text.replacen('{', "{\"env_file\":\"big.env\",", 1);
        site.write("stack.json", &text);
        site.write("big.env", &format!("BIG={}\n", "x".repeat(1_000_000)));
        let run = check_within(&site, ENOUGH_KIB);
        let said: String = run.stderr.chars().take(300).collect();
        assert!([0, 3].contains(&run.code), "{name}: {} {said}", run.code);
        assert!(run.stderr.len() < 4 << 20, "{name}: {} bytes of errors", run.stderr.len());
    }
}

#[test]
fn a_limit_that_is_too_low_for_any_manifest_is_felt() {
    let site = Site::with_manifest("{\"project\":\"p\",\"services\":{\"a\":{\"image\":\"a\"}}}");
    assert_eq!(check_within(&site, ENOUGH_KIB).code, 0);
    assert_ne!(check_within(&site, 20 * 1024).code, 0);
}
