use std::collections::BTreeSet;

use clap::{ArgMatches, Command};

use super::{examples, grammar, man, overview};

/// Every command that somebody can see, with its path (`db rebuild`), in the grammar's order.
fn visible(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = format!("{path} {}", below.get_name()).trim().to_owned();
        found.push((path.clone(), below.clone()));
        visible(below, &path, found);
    }
}

/// Those of them that do something themselves.
fn that_run() -> Vec<(String, Command)> {
    let mut root = grammar().term_width(80);
    root.build();
    let mut found = Vec::new();
    visible(&root, "", &mut found);
    found.retain(|(_, command)| !command.is_subcommand_required_set());
    found
}

fn help(command: &mut Command) -> String {
    command.render_long_help().to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// The path of the command that was chosen.
fn chosen(matches: &ArgMatches) -> String {
    let mut path = Vec::new();
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        path.push(name);
        matches = below;
    }
    path.join(" ")
}

#[test]
fn the_first_page_fits_a_screen_and_has_every_command_once() {
    let page = help(&mut grammar());
    let widest = page.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(page.lines().count() <= 24 && widest <= 80, "{} lines, {widest} columns:\n{page}", page.lines().count());
    let root = grammar();
    let all: Vec<&str> =
        root.get_subcommands().filter(|below| !below.is_hide_set()).map(|below| below.get_name()).collect();
    let mut shown = overview::names();
    shown.sort_unstable();
    let distinct: BTreeSet<&str> = shown.iter().copied().collect();
    assert_eq!(distinct.len(), shown.len(), "a command is there twice: {shown:?}");
    assert_eq!(distinct, all.into_iter().collect());
}

#[test]
fn every_command_has_two_examples_that_the_grammar_takes() {
    let mut with_examples: BTreeSet<&str> = examples::paths().collect();
    for (path, mut command) in that_run() {
        let help = help(&mut command);
        let section = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{path} has no examples"));
        let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        let lines: Vec<&str> = lines.into_iter().filter(|line| line.starts_with("dpl ")).collect();
        assert!(lines.len() >= 2, "{path}: {lines:?}");
        assert!(section.lines().all(|line| line.chars().count() <= 80), "{path}: too long for a line:\n{section}");
        for line in lines {
            let words = shell_words::split(line).unwrap();
            // What the shell does with it is no argument.
            let words = words.iter().take_while(|word| !["|", ">"].contains(&word.as_str()));
            let matches = grammar().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(chosen(&matches), path, "{line}");
        }
        with_examples.remove(path.as_str());
    }
    assert!(with_examples.is_empty(), "examples of commands that are not there: {with_examples:?}");
}

#[test]
fn every_flag_says_its_default() {
    for (path, command) in that_run() {
        for flag in command.get_arguments().filter(|flag| !flag.is_positional() && !flag.is_required_set()) {
            let name = flag.get_long().unwrap_or_default();
            if ["help", "version"].contains(&name) {
                continue;
            }
            let text = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let says = text.contains("[default: ") || !flag.get_default_values().is_empty();
            assert!(says, "dpl {path} --{name}: {text}");
        }
    }
}

#[test]
fn the_help_of_every_command_is_as_it_was_read() {
    let mut text = format!("## dpl\n\n{}", help(&mut grammar()));
    let mut root = grammar().term_width(80);
    root.build();
    let mut commands = Vec::new();
    visible(&root, "", &mut commands);
    for (place, (path, mut command)) in commands.into_iter().enumerate() {
        let help = help(&mut command);
        // The flags that every command takes are shown with the first one.
        let shown = match (place, help.split_once("Everywhere:\n")) {
            (1.., Some((before, rest))) => {
                let behind = rest.split_once("\nExamples:").map_or("", |(_, examples)| examples);
                format!("{before}(everywhere)\n\nExamples:{behind}")
            }
            _ => help,
        };
        text.push_str(&format!("\n## dpl {path}\n\n{shown}"));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let pages = man::pages().unwrap();
    let mut root = grammar();
    root.build();
    let mut commands = Vec::new();
    visible(&root, "", &mut commands);
    let files: Vec<String> = pages.iter().map(|page| page.file.clone()).collect();
    let named = commands.iter().map(|(path, _)| format!("dpl-{}.1", path.replace(' ', "-")));
    assert_eq!(files, std::iter::once("dpl.1".to_owned()).chain(named).collect::<Vec<_>>());
    let mut text = String::new();
    for (place, page) in pages.iter().enumerate() {
        let mut shown = String::new();
        let mut skips = false;
        for line in page.text.lines() {
            if line.starts_with(".SH ") {
                skips = place > 0 && line == ".SH EVERYWHERE";
            }
            if !skips {
                shown.push_str(line.trim_end());
                shown.push('\n');
            }
        }
        text.push_str(&format!("## {}\n{shown}\n", page.file));
    }
    insta::assert_snapshot!("manual", text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}
