use clap::Command;

use super::words::Words;
use super::{kinds, quote};
use crate::catalogue::Language;
use crate::cli::commands::grammar;

fn words(line: &str) -> (Vec<String>, String, bool) {
    let words = Words::of_line(line);
    (words.before, words.current, words.quoted)
}

#[test]
fn a_line_is_cut_as_a_shell_cuts_it() {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(words("dpl load met"), (owned(&["dpl", "load"]), "met".to_owned(), false));
    assert_eq!(words("dpl load "), (owned(&["dpl", "load"]), String::new(), false));
    assert_eq!(words("dpl load 'met"), (owned(&["dpl", "load"]), "met".to_owned(), true));
    assert_eq!(words("dpl -f a\\ b.json \"x"), (owned(&["dpl", "-f", "a b.json"]), "x".to_owned(), true));
    assert_eq!(words("dpl '' y"), (owned(&["dpl", ""]), "y".to_owned(), false));
}

#[test]
fn what_a_shell_would_not_take_as_it_stands_is_quoted() {
    assert_eq!(quote("@metis"), "@metis");
    assert_eq!(quote("x; drop (all)"), "x\\;\\ drop\\ \\(all\\)");
    assert_eq!(quote("档案"), "档案");
}

/// An argument that is new must say what can be offered for it.
#[test]
fn the_kind_of_every_argument_is_known() {
    fn walk(command: &Command, path: &str, unknown: &mut Vec<String>) {
        for argument in command.get_arguments().filter(|argument| super::command_line::takes_value(argument)) {
            if kinds::of(path, argument).is_none() {
                unknown.push(format!("dpl {path}: {}", argument.get_id()));
            }
        }
        for below in command.get_subcommands() {
            walk(below, format!("{path} {}", below.get_name()).trim(), unknown);
        }
    }
    let mut root = grammar(Language::English);
    root.build();
    let mut unknown = Vec::new();
    walk(&root, "", &mut unknown);
    assert!(unknown.is_empty(), "{unknown:#?}");
}
