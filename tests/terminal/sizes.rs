//! Every size of a terminal: what is drawn fits, and a list is drawn again when the size changes.

use crate::choosing::site;
use crate::screen::Terminal;

/// Nothing on the screen wrapped into a second line: each line begins as the list's do.
#[track_caller]
fn assert_fits(terminal: &Terminal, columns: usize) {
    for line in terminal.lines() {
        assert!(console::measure_text_width(&line) < columns, "{line:?}");
    }
}

#[test]
fn lists_fit_40_and_80_columns() {
    let site = site();
    for columns in [40, 80] {
        let mut terminal = Terminal::open(&site, &["stack.json"], columns, 50);
        terminal.asks("action:").says("   1  save images");
        assert_fits(&terminal, columns.into());
        assert_eq!(terminal.lines().iter().filter(|line| line.starts_with("  ")).count(), 17);
        terminal.keys("1\r").asks("which:").says("  25  metis_worker_gpu");
        let from = terminal.lines().iter().position(|line| line == "which:").unwrap();
        let lines = terminal.lines().split_off(from);
        assert!(lines.iter().all(|line| console::measure_text_width(line) < columns.into()), "{lines:?}");
        // Prompt, header, 25 services, and what may be typed.
        assert_eq!(lines.iter().filter(|line| !line.is_empty()).count(), 28, "{lines:?}");
        terminal.keys("0\r");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_list_that_is_longer_than_the_terminal_follows_the_arrows() {
    let site = site();
    let mut terminal = Terminal::open(&site, &["stack.json"], 60, 12);
    terminal.asks("action:").keys("1\r").asks("which:").says("16 more");
    assert!(!terminal.text().contains("metis_worker_gpu"), "{}", terminal.text());
    terminal.keys("\x1b[A").says("> 25  metis_worker_gpu");
    terminal.keys("\x1b[5~").says("> 16  platform-16");
    terminal.keys("25").asks("which: 25").says("25  metis_worker_gpu").keys("\x1b").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_list_is_drawn_again_in_every_size() {
    let site = site();
    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 40);
    terminal.asks("action:").keys("3\r").asks("which:").keys("17..2").asks("which: 17..2");
    assert!(!terminal.text().contains('…'), "all of it has room:\n{}", terminal.text());
    terminal.resize(40, 40).says("…").says("`17..2` runs backwards: write 2..17");
    terminal.keys("5").asks("which: 17..25").resize(120, 30).says("metis_worker_gpu:v2.2.0");
    for (columns, rows) in [(20, 10), (10, 3), (5, 2), (2, 1), (1, 1), (200, 60)] {
        terminal.resize(columns, rows).keys("\x1b[B\x1b[A");
    }
    terminal.asks("which: 17..25").says("25  metis_worker_gpu").keys("\x1b").asks("action:").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_question_that_is_longer_than_the_terminal_stands_above_its_answer() {
    let site = site();
    let mut terminal = Terminal::open(&site, &["-f", "stack.json", "db", "rebuild", "expert"], 40, 20);
    terminal.says("Type its name to go on:").asks(">").keys("exp").asks("> exp").keys("\r").says("nothing was changed");
    assert_eq!(terminal.end(), 1);
}
