//! What is typed and pressed in the menu, and what comes of it. No engine: lists say so, and numbers are numbers all the same.

use crate::screen::Terminal;
use crate::support::{Site, record_of_dump};

/// The services that the upgrade of the field replaces: 17 to 25.
const UPGRADE: [&str; 9] = [
    "expert-ui",
    "expert-api",
    "metis-ui",
    "metis-mt",
    "metis-api",
    "metis_worker_manager",
    "metis_worker",
    "metis_worker_crypt",
    "metis_worker_gpu",
];

/// 25 services and three databases, and no engine.
pub fn site() -> Site {
    let platform = (1..=16).map(|number| (format!("platform-{number}"), "platform"));
    let upgrade = UPGRADE.map(|name| (name.to_owned(), if name.starts_with("metis") { "metis" } else { "expert" }));
    let services = platform.chain(upgrade).map(|(name, group)| {
        format!(r#""{name}": {{ "image": "{group}/{}:v2.2.0", "groups": ["{group}"] }}"#, name.replace('-', "_"))
    });
    let databases = ["minerva", "expert", "metis"]
        .map(|name| format!(r#""{name}": {{ "service": "platform-1", "seed": "seeds/{name}" }}"#));
    let site = Site::with_manifest(&format!(
        r#"{{ "project": "danganju", "paths": {{ "images": "images", "backups": "backups" }},
             "databases": {{ {} }}, "services": {{ {} }} }}"#,
        databases.join(", "),
        services.collect::<Vec<_>>().join(", ")
    ));
    for database in ["minerva", "expert", "metis"] {
        site.write(&format!("seeds/{database}/backup.json"), &record_of_dump(database));
    }
    site
}

/// The menu, asking for an action.
#[track_caller]
pub fn menu(site: &Site) -> Terminal {
    let mut terminal = Terminal::open(site, &["stack.json"], 100, 50);
    terminal.asks("action:");
    terminal
}

/// The menu, asking for the targets of an action.
#[track_caller]
fn targets(site: &Site, action: &str) -> Terminal {
    let mut terminal = menu(site);
    terminal.keys(action).keys("\r").asks("which:");
    terminal
}

/// Types targets of `stop`, and gives what is announced.
#[track_caller]
fn stopped(keys: &str) -> String {
    let site = site();
    let mut terminal = targets(&site, "4");
    // Without an engine there is no plan: its error comes, and the menu again.
    terminal.keys(keys).says("hint: is the engine running").asks("action:");
    let text = terminal.text();
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
    let begin = text.find("\nstop ").unwrap_or_else(|| panic!("{text}")) + "\nstop ".len();
    text[begin..].split("\nerror:").next().unwrap().replace('\n', "")
}

#[test]
fn the_list_is_there_without_an_engine_and_says_why_it_has_no_state() {
    let site = site();
    let mut terminal = targets(&site, "3");
    let text = terminal.text();
    assert!(text.contains("warning: state unknown: can't reach the Docker engine"), "{text}");
    assert!(text.contains("NO  SERVICE") && text.contains("25  metis_worker_gpu"), "{text}");
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn targets_are_numbers_lists_ranges_names_globs_groups_and_full_width_digits() {
    assert_eq!(stopped("25\r"), "metis_worker_gpu");
    assert_eq!(stopped("  25  \r"), "metis_worker_gpu");
    assert_eq!(stopped("[17, 18]\r"), "expert-ui, expert-api");
    assert_eq!(stopped("17..25\r"), UPGRADE.join(", "));
    assert_eq!(stopped("1７..25\r"), UPGRADE.join(", "));
    assert_eq!(stopped("【１７，２５】\r"), "expert-ui, metis_worker_gpu");
    assert_eq!(stopped("metis-api\r"), "metis-api");
    assert_eq!(stopped("@metis !metis_*\r"), "metis-ui, metis-mt, metis-api");
}

#[test]
fn arrows_choose_from_both_ends_and_by_pages() {
    assert_eq!(stopped("\x1b[B\x1b[B\r"), "platform-2");
    assert_eq!(stopped("\x1b[A\r"), "metis_worker_gpu");
    assert_eq!(stopped("\x1bOA\x1bOA\r"), "metis_worker_crypt");
    assert_eq!(stopped("\t\t\t\x1b[Z\r"), "platform-2");
    assert_eq!(stopped("\x1b[6~\x1b[6~\x1b[A\r"), "metis_worker_crypt");
}

#[test]
fn words_filter_the_list_and_enter_takes_what_is_marked() {
    let site = site();
    let mut terminal = targets(&site, "4");
    terminal.keys("Worker").says("> 22  metis_worker_manager");
    assert!(!terminal.text().contains("platform-1"), "{}", terminal.text());
    terminal.keys("\x1b[B").says("> 23  metis_worker");
    // What matches nothing says so, and is no choice.
    terminal.keys("zzz").says("nothing in the list matches");
    terminal.keys("\r").says("error: unknown service `Workerzzz`").asks("which:").keys("\x1b").asks("action:");
    // An action is found by its own words and by its command's.
    terminal.keys("doc").says("> 12  look at engine and host");
    terminal.keys("\x15db reb").says(">  6  rebuild databases");
    terminal.keys("\r").asks("which:").keys("\x1b").asks("action:").keys("q\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(stopped("gpu\r"), "metis_worker_gpu");
}

#[test]
fn the_line_can_be_edited() {
    assert_eq!(stopped("266\x7f\x7f5\r"), "metis_worker_gpu");
    assert_eq!(stopped("5\x1b[H2\r"), "metis_worker_gpu");
    assert_eq!(stopped("275\x1b[D\x1b[D\x1b[3~\r"), "metis_worker_gpu");
    assert_eq!(stopped("17..25\x1525\r"), "metis_worker_gpu");
    assert_eq!(stopped("metis-api 3\x1725\x01\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\r"), "metis_worker_gpu");
    assert_eq!(stopped("数据\x7f\x7f25\r"), "metis_worker_gpu");
}

#[test]
fn what_means_nothing_is_left_out() {
    // F5, Alt-x, Ctrl-G, Ctrl-Left; then half a character, and bytes that are none.
    assert_eq!(stopped("\x1b[15~\x07\x1b[1;5D25\r"), "metis_worker_gpu");
    let site = site();
    let mut terminal = targets(&site, "4");
    terminal.bytes(b"\xff\xc0\x8025").asks("which: 25");
    terminal.keys("\x1bx").keys("\r").says("metis_worker_gpu").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_action_that_does_not_exist_shows_its_page_and_the_menu_again() {
    let site = site();
    let mut terminal = menu(&site);
    for typed in ["15", "26", "00", "-1", "99999999999999999999", "1.5", "１５"] {
        terminal.keys(typed).keys("\r");
        let narrow = match typed {
            "１５" => "15",
            "00" => "0",
            typed => typed,
        };
        terminal.says(&format!("error: action {narrow} does not exist: the numbers go from 1 to 14, and 0 leaves"));
        terminal.asks("action:");
    }
    terminal.keys("\r").asks("action:").keys("  ").keys("\r").asks("action:").keys(" 0 \r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_target_that_does_not_exist_is_told_while_it_is_typed_and_when_it_is_entered() {
    let site = site();
    let mut terminal = menu(&site);
    for (typed, why) in [
        ("26", "service 26 does not exist: the numbers go from 1 to 25"),
        ("99999999999999999999", "service 99999999999999999999 does not exist: the numbers go from 1 to 25"),
        ("-1", "`-1` is not a range: write both ends, as in 17..25"),
        ("25..17", "`25..17` runs backwards: write 17..25"),
        ("[17", "the brackets of `[17` don't match"),
        ("@mtis", "unknown group `@mtis`: did you mean `@metis`?"),
        // Nothing chosen is never all.
        ("[]", "name the services: `[]` chooses none"),
        (",", "name the services: `,` chooses none"),
        ("[ , ]", "name the services: `[ , ]` chooses none"),
    ] {
        terminal.keys("2\r").asks("which:").keys(typed).asks(&format!("which: {typed}")).says(why);
        // Asked again, so that a corrected number is not taken for an action.
        terminal.keys("\r").says(&format!("error: {why}")).asks("which:").keys("\x1b").asks("action:");
    }
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn an_empty_line_blanks_and_esc_go_back() {
    let site = site();
    let mut terminal = menu(&site);
    for keys in ["\r", "   \r", "\x1b", "17\x1b"] {
        terminal.keys("7\r").asks("which:").keys(keys).asks("action:");
    }
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn what_is_typed_ahead_is_taken_question_by_question() {
    let site = site();
    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 50);
    terminal.keys("4\r25\r4\r24\r0\r");
    assert_eq!(terminal.end(), 0);
    let text = terminal.text();
    assert!(text.contains("stop metis_worker_gpu") && text.contains("stop metis_worker_crypt"), "{text}");
}

#[test]
fn a_rebuild_wants_the_name_and_anything_else_changes_nothing() {
    let site = site();
    let mut terminal = menu(&site);
    let question = "expert will be replaced by its seed. Type its name to go on:";
    for wrong in ["\r", "metis\r", "y\r", "\x1b", "\x04"] {
        terminal.keys("6\r").asks("which:").keys("2\r").says("expert would be rebuilt from").asks(question);
        terminal.keys(wrong).says("nothing was changed").asks("action:");
    }
    terminal.keys("6\r").asks("which:").keys("2\r").asks(question).keys("exprt\r");
    terminal.says("that is not the name that was asked for, `expert`").says("nothing was changed").asks("action:");
    // With the name it would begin, and there is no engine.
    terminal.keys("6\r").asks("which:").keys("expert\r").asks(question).keys("expert\r").says("hint: is the engine");
    terminal.asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_restore_without_any_backup_says_so() {
    let site = site();
    let mut terminal = menu(&site);
    terminal.keys("8\r").asks("which:").keys("[2, 3]\r").says("restores one database at a time").asks("action:");
    terminal.keys("8\r").asks("which:").keys("2\r").says("error: `expert` has no backup").asks("action:");
    terminal.keys("0\r");
    assert_eq!(terminal.end(), 0);
}
