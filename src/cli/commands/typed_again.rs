//! For tests: what the journal keeps of a command can be typed again.

use clap::{Arg, CommandFactory, Parser};

use super::{Arguments, Command};

/// Each line is a command as the journal keeps it: read by the grammar and written again by `command`, it is the same.
/// Together they have every flag of the command but those `left_out`, so that one that comes later is not forgotten.
pub(super) fn assert_typed_again(lines: &[&str], left_out: &[&str], command: impl Fn(Command) -> String) {
    let words = |line: &str| shell_words::split(line).unwrap();
    for line in lines {
        let read = Arguments::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(command(read.command.unwrap()), *line);
    }
    let grammar = Arguments::command();
    let mut named = &grammar;
    for word in &words(lines[0])[1..] {
        let Some(command) = named.find_subcommand(word) else { break };
        named = command;
    }
    let flags = named.get_arguments().filter(|flag| !flag.is_global_set()).filter_map(Arg::get_long);
    for flag in flags.filter(|flag| !left_out.contains(flag)) {
        let flag = format!("--{flag}");
        assert!(lines.iter().any(|line| words(line).contains(&flag)), "none of the lines has {flag}: {lines:?}");
    }
}
