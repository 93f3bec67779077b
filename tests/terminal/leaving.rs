//! The ways out of a question: each leaves the terminal as it was, which `Terminal::end` looks at.

use crate::choosing::{menu, site};
use crate::screen::Terminal;

#[test]
fn zero_and_q_leave_at_every_list() {
    let site = site();
    for keys in ["0\r", "q\r", "０\r", "\x1b[A\r"] {
        let mut terminal = menu(&site);
        terminal.keys(keys);
        assert_eq!(terminal.end(), 0, "{keys:?}");
        assert!(terminal.text().contains("action:"), "{}", terminal.text());
    }
    for keys in ["0\r", "q\r"] {
        let mut terminal = menu(&site);
        terminal.keys("3\r").asks("which:").keys(keys);
        assert_eq!(terminal.end(), 0, "{keys:?}");
    }
}

#[test]
fn ctrl_d_leaves_at_every_list() {
    let site = site();
    let mut terminal = menu(&site);
    terminal.keys("\x04");
    assert_eq!(terminal.end(), 0);
    let mut terminal = menu(&site);
    terminal.keys("3\r").asks("which:").keys("1\x04").asks("which: 1").keys("\x7f\x04");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn ctrl_c_leaves_at_every_question_with_130() {
    let site = site();
    let mut terminal = menu(&site);
    terminal.keys("2").asks("action: 2").keys("\x03");
    assert_eq!(terminal.end(), 130);
    let mut terminal = menu(&site);
    terminal.keys("3\r").asks("which:").keys("\x03");
    assert_eq!(terminal.end(), 130);
    let mut terminal = menu(&site);
    terminal.keys("6\r").asks("which:").keys("2\r").says("Type its name").keys("exp\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn signals_from_elsewhere_end_a_question_with_130() {
    let site = site();
    for signal in ["TERM", "INT"] {
        let mut terminal = menu(&site);
        terminal.keys("3\r").asks("which:").keys("17").asks("which: 17").signal(signal);
        assert_eq!(terminal.end(), 130, "{signal}");
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_the_program_is_called_on_again() {
    let site = site();
    let mut terminal = menu(&site);
    terminal.keys("3\r").asks("which:").keys("17").asks("which: 17").keys("\x1a");
    terminal.until("stopped", |terminal| terminal.settings("stopped").is_some());
    assert_eq!(terminal.settings("stopped"), terminal.settings("before"));
    terminal.asks("which: 17").keys("..18").asks("which: 17..18").keys("\x1b").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_terminal_that_cannot_draw_is_asked_for_lines() {
    let mut site = site();
    site.set("TERM", "dumb");
    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 50);
    terminal.says("action:");
    assert!(terminal.text().contains(" 4  stop services"), "{}", terminal.text());
    terminal.keys("\r\n").keys("4\r").says("empty goes back):").keys("26\r");
    terminal.says("error: service 26 does not exist").keys("q\r");
    assert_eq!(terminal.end(), 0);

    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 50);
    terminal.says("action:").keys("\x03");
    assert_eq!(terminal.end(), 130);
    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 50);
    terminal.says("action:").keys("\x04");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn other_questions_have_the_same_ways_out() {
    let site = site();
    for (keys, code) in [("\x03", 130), ("\x1b", 1), ("\x04", 1), ("\r", 1), ("no\r", 1), ("other\r", 1)] {
        let mut terminal = Terminal::open(&site, &["-f", "stack.json", "db", "rebuild", "expert"], 100, 50);
        terminal.asks("expert will be replaced by its seed. Type its name to go on:").keys(keys);
        assert_eq!(terminal.end(), code, "{keys:?}");
        assert_eq!(terminal.text().contains("nothing was changed"), code == 1, "{keys:?}");
    }
}

#[test]
fn what_was_typed_before_a_question_was_there_does_not_answer_it() {
    let site = site();
    // All at once, as it is typed while an engine is slow: the lists take it, the question does not.
    let mut terminal = menu(&site);
    terminal.keys("6\r2\rexpert\r").says("Type its name to go on:");
    terminal.keys("\r").says("nothing was changed").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
    // A command that is slow to come to its question.
    let command = ["-f", "stack.json", "db", "rebuild", "expert"];
    let mut terminal = Terminal::open(&site, &command, 100, 50);
    terminal.keys("expert\r").asks("expert will be replaced by its seed. Type its name to go on:");
    terminal.keys("\r");
    assert_eq!(terminal.end(), 1);
}
