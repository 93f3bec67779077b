//! The commands that the documents show are commands of the grammar.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;

use crate::catalogue::Language;
use crate::cli::commands::grammar;
use crate::cli::grammar::arguments::{with_dashes_behind_site, with_menu};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("README.zh-CN.md")];
    for folder in ["docs", "docs/zh"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    files
}

/// What the grammar does not take of a line behind a prompt.
fn refused(line: &str) -> Option<String> {
    let words = shell_words::split(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    // Redirections and pipes are for the shell.
    let words = words.into_iter().take_while(|word| !["|", ">", "<", "&&", ";"].contains(&word.as_str()));
    let words: Vec<OsString> = words.map(OsString::from).collect();
    let error = grammar(Language::English).try_get_matches_from(with_dashes_behind_site(with_menu(words))).err()?;
    // `--version` and `--help` are not errors.
    error.use_stderr().then(|| error.to_string())
}

/// The unknown command in code of a text, such as `bakcup` in `dpl db bakcup --verify`. A placeholder ends the search.
fn unknown<'c>(code: &'c str, root: &Command) -> Option<&'c str> {
    let is_name = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    let mut command = root;
    for (depth, word) in
        code.split_whitespace().take_while(|word| !word.starts_with('-')).take_while(is_name).enumerate()
    {
        match command.find_subcommand(word) {
            Some(below) => command = below,
            None if depth == 0 || command.is_subcommand_required_set() => return Some(word),
            None => return None,
        }
    }
    None
}

#[test]
fn every_command_that_the_documents_show_is_taken_by_the_grammar() {
    let root = grammar(Language::English);
    let (mut lines, mut names) = (0, 0);
    for file in documents() {
        let text = std::fs::read_to_string(&file).unwrap();
        for (place, line) in text.lines().enumerate() {
            let place = format!("{}:{}", file.display(), place + 1);
            let typed = line.trim_start().strip_prefix("$ ").unwrap_or_default();
            if typed == "dpl" || typed.starts_with("dpl ") {
                lines += 1;
                assert_eq!(refused(typed), None, "{place}: {typed}");
            }
            for code in line.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("dpl ")) {
                names += 1;
                assert_eq!(unknown(code, &root), None, "{place}: dpl {code}");
            }
        }
    }
    assert!(lines > 80 && names > 80, "{lines} lines, {names} names");
    assert!(refused("dpl db bakcup").is_some() && unknown("db bakcup --verify", &root) == Some("bakcup"));
}
