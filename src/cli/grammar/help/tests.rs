mod documented;

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};

use super::{chinese, examples, flags, man, overview, reference};
use crate::catalogue::Language;
use crate::cli::commands::grammar;

/// Every command that somebody can see, with its path (`db rebuild`), in the grammar's order.
fn visible(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = format!("{path} {}", below.get_name()).trim().to_owned();
        found.push((path.clone(), below.clone()));
        visible(below, &path, found);
    }
}

/// Every command that somebody can see, in a terminal of 80 columns.
fn all_visible(language: Language) -> Vec<(String, Command)> {
    let mut root = grammar(language).term_width(80);
    root.build();
    let mut found = Vec::new();
    visible(&root, "", &mut found);
    found
}

/// Those of them that do something themselves.
fn that_run() -> Vec<(String, Command)> {
    let mut found = all_visible(Language::English);
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
fn the_grammar_is_sound() {
    grammar(Language::English).debug_assert();
}

#[test]
fn the_first_page_fits_a_screen_and_has_every_command_once() {
    for language in Language::ALL {
        let page = help(&mut grammar(language));
        let widest = page.lines().map(console::measure_text_width).max().unwrap();
        let lines = page.lines().count();
        assert!(lines <= 24 && widest <= 80, "{lines} lines, {widest} columns:\n{page}");
    }
    let root = grammar(Language::English);
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
            // Redirections and pipes are for the shell.
            let words = words.iter().take_while(|word| !["|", ">"].contains(&word.as_str()));
            let matches = grammar(Language::English)
                .try_get_matches_from(words)
                .unwrap_or_else(|error| panic!("{line}: {error}"));
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

/// The help of every command, one behind another.
fn all_help(language: Language) -> String {
    let mut text = format!("## dpl\n\n{}", help(&mut grammar(language)));
    for (path, mut command) in all_visible(language) {
        text.push_str(&format!("\n## dpl {path}\n\n{}", help(&mut command)));
    }
    text
}

#[test]
fn the_help_of_every_command_is_as_it_was_read() {
    insta::assert_snapshot!("help", all_help(Language::English));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let pages = man::pages(grammar(Language::English), Language::English).unwrap();
    let mut root = grammar(Language::English);
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

/// Every English text that the Chinese help has to have in Chinese.
fn texts() -> BTreeSet<String> {
    fn of(command: &Command, texts: &mut BTreeSet<String>) {
        texts.extend(command.get_about().map(ToString::to_string));
        for argument in command.get_arguments() {
            let text = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let is_switch = matches!(argument.get_action(), clap::ArgAction::SetTrue);
            texts.insert(text.strip_suffix(" [default: off]").filter(|_| is_switch).unwrap_or(&text).to_owned());
            if !argument.is_hide_possible_values_set() {
                let values = argument.get_possible_values();
                texts.extend(values.iter().filter_map(|value| Some(value.get_help()?.to_string())));
            }
        }
        command.get_subcommands().for_each(|below| of(below, texts));
    }
    let mut texts = examples::texts().map(str::to_owned).collect();
    of(&grammar(Language::English), &mut texts);
    texts
}

#[test]
fn every_text_of_the_help_is_there_in_chinese_and_nothing_else_is() {
    let known: BTreeSet<String> = chinese::pairs().map(|(english, _)| english.to_owned()).collect();
    let texts = texts();
    let missing: Vec<&String> = texts.difference(&known).collect();
    let unused: Vec<&String> = known.difference(&texts).collect();
    assert!(missing.is_empty() && unused.is_empty(), "missing: {missing:#?}\nunused: {unused:#?}");
}

#[test]
fn the_chinese_help_is_as_it_was_read() {
    insta::assert_snapshot!("chinese_help", all_help(Language::Chinese));
}

/// The texts are in `zh.txt`; this is about what clap itself puts around them.
#[test]
fn what_stands_around_the_texts_is_chinese_too() {
    let [english, chinese] = [Language::English, Language::Chinese].map(all_visible);
    assert!(!english.is_empty());
    for ((path, mut english), (_, mut chinese)) in english.into_iter().zip(chinese) {
        let wanted = english.render_usage().to_string().replace("[OPTIONS]", "[选项]").replace("\n       ", "\n      ");
        let wanted = match english.has_subcommands() {
            true => wanted.replace("COMMAND", "命令"),
            false => wanted,
        };
        let wanted = wanted.replace("Usage: ", "用法：");
        for page in [chinese.render_help().to_string(), help(&mut chinese)] {
            assert!(page.contains(&format!("\n{wanted}\n\n")), "{path}: {wanted}\n{page}");
            let titles: Vec<&str> = page.lines().filter(|line| line.ends_with([':', '：'])).collect();
            assert!(titles.contains(&"选项："), "{path}: {titles:?}");
            assert!(titles.iter().all(|title| title.ends_with('：')), "{path}: {titles:?}");
            assert_eq!(titles.contains(&"参数："), english.get_positionals().next().is_some(), "{path}: {titles:?}");
            assert_eq!(titles.contains(&"命令："), english.has_subcommands(), "{path}: {titles:?}");
            for word in ["[OPTIONS]", "[default", "[possible values", "[env", "[aliases", "Print help"] {
                assert!(!page.contains(word), "{path}: {word}\n{page}");
            }
        }
    }
    let page = flags(&grammar(Language::Chinese), Language::Chinese).to_string();
    assert!(page.contains("\n\n选项：\n") && !page.contains("Options"), "{page}");
}

#[test]
fn short_help_has_one_example_and_long_help_two_and_neither_the_flags_of_every_command() {
    let mut root = grammar(Language::English);
    root.build();
    let load = root.find_subcommand_mut("load").unwrap();
    let count = |text: String| (text.matches("\n  dpl load").count(), text.contains("--lock-wait"));
    assert_eq!(count(load.render_help().to_string()), (1, false));
    assert_eq!(count(load.render_long_help().to_string()), (2, false));
    let flags = flags(&grammar(Language::English), Language::English).to_string();
    assert!(flags.contains("--lock-wait <TIME>") && flags.contains("--dry-run"), "{flags}");
}

#[test]
fn the_chinese_manual_has_chinese_titles() {
    for page in man::pages(grammar(Language::Chinese), Language::Chinese).unwrap() {
        let titles: Vec<&str> = page.text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert!(titles.len() >= 4, "{}: {titles:?}", page.file);
        assert!(titles.iter().all(|title| !title.is_ascii()), "{}: {titles:?}", page.file);
    }
}

/// `DPL_WRITE_SCHEMAS=1 cargo test --lib in_the_folder` updates it.
#[test]
fn the_command_line_reference_in_the_folder_is_the_grammars_own() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/command-line.md");
    let text = reference::page(grammar(Language::English));
    if std::env::var_os("DPL_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}
