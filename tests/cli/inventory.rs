//! `dpl inventory` of this machine without an engine, as a code on the screen, and read back.

use dpl::sites::{Inventory, ShortInventory};

use crate::support::Site;

const STACK: &str = r#"{"project": "archive", "paths": {"images": "store"},
    "databases": {"d": {"service": "db", "seed": "d.sql"}}, "services": {"db": {"image": "postgres:15"}}}"#;

fn site() -> Site {
    let site = Site::with_manifest(STACK);
    site.write("d.sql", "SELECT 1;\n");
    site
}

#[test]
fn an_inventory_of_this_machine_says_what_is_there_and_why_the_rest_is_not() {
    let site = site();
    let found = site.run(&["inventory", "-f", "stack.json"]).success().json();
    assert_eq!((&found["project"], &found["manifest"]), (&"archive".into(), &"stack.json".into()), "{found}");
    assert_eq!((&found["seeds"][0]["database"], &found["seeds"][0]["bytes"]), (&"d".into(), &10.into()), "{found}");
    assert!(found["engine"].is_null() && found["engine_problem"].as_str().unwrap().contains("docker.sock"), "{found}");
    assert_eq!(found["store"]["images"], serde_json::json!([]), "{found}");
    // Without a project it is about the machine.
    let bare = Site::new();
    let found = bare.run(&["inventory"]).success().json();
    assert!(found["project"].is_null() && found["host"].is_string() && found["store"].is_null(), "{found}");
    bare.write("stack.json", r#"{"project": 7}"#);
    let found = bare.run(&["inventory", "-f", "stack.json"]).success().json();
    assert!(found["manifest_problem"].as_str().unwrap().contains("stack.json"), "{found}");
}

#[test]
fn a_code_on_the_screen_is_a_square_with_its_three_corners() {
    let drawn = site().run(&["inventory", "-f", "stack.json", "--qr", "--color", "never"]).success().stdout;
    let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
    let width = lines[0].len();
    assert!(lines.iter().all(|line| line.len() == width) && lines.len() == width.div_ceil(2), "{drawn}");
    // Two modules in one letter, the light ones are its ink.
    let is_dark = |x: usize, y: usize| {
        let letter = lines[y / 2][x];
        !matches!((letter, y % 2), ('█', _) | ('▀', 0) | ('▄', 1))
    };
    let corner = |left: usize, top: usize| {
        (0..7).all(|y| {
            (0..7).all(|x: usize| {
                let from_middle = x.abs_diff(3).max(usize::abs_diff(y, 3));
                is_dark(left + x, top + y) == (from_middle != 2)
            })
        })
    };
    let last = width - 2 - 7;
    assert!(corner(2, 2) && corner(last, 2) && corner(2, last) && !corner(last, last), "{drawn}");
    site().run(&["inventory", "-f", "stack.json", "--qr", "--json"]).failure(2);
}

#[test]
fn what_a_phone_has_read_is_read_back_and_what_is_not_an_inventory_is_said() {
    let site = site();
    let long = site.run(&["inventory", "-f", "stack.json"]).success();
    site.write("long.json", &long.stdout);
    assert_eq!(site.run(&["inventory", "read", "long.json"]).success().json(), long.json());
    let inventory: Inventory = serde_json::from_value(long.json()).unwrap();
    let short = ShortInventory::of(&inventory);
    let text = short.to_text();
    let expected = serde_json::to_value(&short).unwrap();
    // As a mail program breaks it.
    site.write("code.txt", &format!("{}\r\n{}\n", &text[..20], &text[20..]));
    assert_eq!(site.run(&["inventory", "read", "code.txt"]).success().json(), expected);
    assert_eq!(site.run_with_input(&["inventory", "read", "-"], &text).success().json(), expected);
    for (content, words) in [
        ("hello".to_owned(), "not an inventory"),
        (String::new(), "not an inventory"),
        (text[..text.len() - 1].to_owned(), "cut"),
        (text.replacen("DPL1:", "DPL1:A", 1), "damaged"),
        (long.stdout.replacen("\"format\": 1", "\"format\": 7", 1), "format 7"),
        ("DPL1:".to_owned() + &"A".repeat(2 << 20) + ".", "more than"),
    ] {
        site.write("wrong.txt", &content);
        let failed = site.run(&["inventory", "read", "wrong.txt"]).failure(2);
        assert!(failed.stderr.contains(words), "{words}: {}", failed.stderr);
    }
    std::fs::write(site.file("wrong.txt"), [0xff, 0xfe, 0]).unwrap();
    let failed = site.run(&["--lang", "zh", "inventory", "read", "wrong.txt"]).failure(2);
    assert!(failed.stderr.contains("不是清单报告"), "{}", failed.stderr);
    site.run(&["inventory", "read", "nowhere.txt"]).failure(2);
    // It comes from elsewhere: nothing of it is done on the screen.
    let mut hostile = inventory;
    hostile.host = "a\u{1b}[2J\u{9b}x".to_owned();
    site.write("hostile.json", &serde_json::to_string(&hostile).unwrap());
    let shown = site.run(&["inventory", "read", "hostile.json"]).success();
    assert!(!shown.stdout.chars().any(|letter| letter.is_control() && letter != '\n'), "{:?}", shown.stdout);
    assert_eq!(shown.json()["host"], hostile.host);
}
