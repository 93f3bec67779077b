//! `docs/command-line.md`, made from the grammar: what every command takes, with its examples.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, Command};

use super::{examples, man};

const HEAD: &str = "\
# The command line

<!-- Made from the program's own grammar: `DPL_WRITE_SCHEMAS=1 cargo test --lib in_the_folder` updates it. -->

```
dpl [MANIFEST.json]                                   opens the menu
dpl COMMAND [MANIFEST.json] [TARGET]... [FLAG]...     runs a command
```

This page has every command with its flags; `dpl COMMAND -h` and `dpl COMMAND --help` show the same at the terminal. What targets are,
how the manifest and the engine are found, languages, locks and records: [Details](details.md).
";

/// The whole page, of the grammar in English.
pub fn page(mut root: Command) -> String {
    root.build();
    let mut text = HEAD.to_owned();
    let mut commands = Vec::new();
    collect(&root, "", &mut commands);
    text.push_str("\n| command | does |\n|---|---|\n");
    for (path, command) in &commands {
        let anchor = format!("dpl-{}", path.replace(' ', "-"));
        let _ = writeln!(text, "| [`{path}`](#{anchor}) | {} |", cell(&about(command)));
    }
    text.push_str("\n## Flags of every command\n\n");
    flags(root.get_arguments().filter(|flag| flag.is_global_set()), &mut text);
    text.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, [meaning, _]) in man::EXIT_CODES {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    for (path, command) in &commands {
        section(path, command, &mut text);
    }
    text
}

/// The commands that do something themselves, with their paths (`db rebuild`).
fn collect(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = format!("{path} {}", below.get_name()).trim().to_owned();
        if !below.is_subcommand_required_set() {
            found.push((path.clone(), below.clone()));
        }
        collect(below, &path, found);
    }
}

fn section(path: &str, command: &Command, text: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.lines().map(|line| line.trim_start_matches("Usage:").trim()).collect();
    let _ = write!(text, "\n## dpl {path}\n\n{}.\n\n```\n{}\n```\n", about(command), usage.join("\n"));
    let arguments: Vec<&Arg> = command.get_positionals().collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning | default |\n|---|---|---|\n");
        arguments.iter().for_each(|argument| row(&name(argument), argument, text));
    }
    let own: Vec<&Arg> = command.get_opts().chain(switches(command)).filter(|flag| !flag.is_global_set()).collect();
    if !own.is_empty() {
        text.push('\n');
        flags(command.get_arguments().filter(|flag| own.iter().any(|own| own.get_id() == flag.get_id())), text);
    }
    let shown = examples::of(path);
    if !shown.is_empty() {
        text.push_str("\n```console\n");
        for (line, what) in shown {
            let _ = writeln!(text, "# {what}\n$ {line}");
        }
        text.push_str("```\n");
    }
}

/// Flags without a value; help and version say nothing of a command.
fn switches(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |flag: &&Arg| !flag.is_positional() && !["help", "version"].contains(&flag.get_id().as_str());
    command.get_arguments().filter(is_own).filter(|flag| !flag.get_action().takes_values())
}

fn flags<'a>(shown: impl Iterator<Item = &'a Arg>, text: &mut String) {
    text.push_str("| flag | meaning | default |\n|---|---|---|\n");
    shown.for_each(|flag| row(&name(flag), flag, text));
}

/// `-j`, `--jobs N`; `[TARGET]...`.
fn name(argument: &Arg) -> String {
    if argument.is_positional() {
        return format!("`{argument}`");
    }
    let values: Vec<&str> = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let value = if argument.get_action().takes_values() { format!(" {}", values.join(" ")) } else { String::new() };
    let long = argument.get_long().map(|long| format!("`--{long}{value}`"));
    let short = argument.get_short().map(|short| format!("`-{short}`"));
    short.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

fn row(name: &str, argument: &Arg, text: &mut String) {
    let help = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
    let (meaning, default) = match help.rsplit_once(" [default: ") {
        // What stands after the bracket belongs to the meaning.
        Some((meaning, default)) => {
            let (default, after) = default.rsplit_once(']').unwrap_or((default, ""));
            (format!("{meaning}{after}"), default.to_owned())
        }
        None => (help, String::new()),
    };
    let given: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let default = if default.is_empty() && argument.get_action().takes_values() { given.join(" ") } else { default };
    let values = argument.get_possible_values();
    let values: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    let listed = !values.is_empty() && !argument.is_hide_possible_values_set() && argument.get_action().takes_values();
    let values = if listed { format!(": {}", values.join(", ")) } else { String::new() };
    let _ = writeln!(text, "| {} | {}{values} | {} |", cell(name), cell(&meaning), cell(&default));
}

fn about(command: &Command) -> String {
    command.get_about().map(StyledStr::to_string).unwrap_or_default()
}

/// A text that ends no cell of a table and names no tag of HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
