//! The help in Chinese: every text of the grammar is looked up in `zh.txt`. What a text lacks there stays English.

use std::collections::HashMap;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, ArgAction, Command};

/// English → Chinese.
static TEXTS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| pairs().collect());

/// The lines of `zh.txt`, two by two.
pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut lines = include_str!("zh.txt").lines().filter(|line| !line.starts_with('#'));
    std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
}

pub(super) fn text(english: &str) -> &str {
    TEXTS.get(english).copied().unwrap_or(english)
}

/// A command's own texts; those of the commands below it are left as they are. `path` names it and the commands above it,
/// the program left out.
pub(super) fn translate(command: Command, path: &[String]) -> Command {
    let about = command.get_about().map(|about| text(&about.to_string()).to_owned());
    let template = template(&command, path);
    let command = command.mut_args(argument).help_template(template).subcommand_help_heading("命令");
    let command = command.subcommand_value_name("命令");
    let command = match about {
        Some(about) => command.about(about),
        None => command,
    };
    // Clap's own flag has its text in English.
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help_heading("选项");
    command.disable_help_flag(true).arg(help.help("显示帮助；`-h` 较短，`--help` 较长"))
}

/// A page's title of its own section, as clap draws it. Clap's own titles end with an English colon.
pub(super) fn title(text: &str) -> String {
    format!("\x1b[1;4m{text}：\x1b[0m")
}

/// The page of a command: clap's own has the titles of its sections and `[OPTIONS]` in English.
fn template(command: &Command, path: &[String]) -> String {
    let lines: Vec<String> = usage(command, path).iter().map(|line| line.join(" ")).collect();
    // As wide as the title before the first line.
    let usage = lines.join("\n      ");
    let mut page = format!("{{about-with-newline}}\n{}{usage}\n\n", title("用法"));
    if has_commands(command) {
        page.push_str(&format!("{}\n{{subcommands}}\n\n", title("命令")));
    }
    if command.get_positionals().any(|argument| !argument.is_hide_set()) {
        page.push_str(&format!("{}\n{{positionals}}\n\n", title("参数")));
    }
    page.push_str(&format!("{}\n{{options}}{{after-help}}", title("选项")));
    page
}

/// The words of each usage line. `[选项]` always stands there, since every command takes the flags of everywhere.
fn usage(command: &Command, path: &[String]) -> Vec<Vec<String>> {
    let name = std::iter::once("dpl").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let name = format!("\x1b[1m{name}\x1b[0m");
    let shown = |argument: &&Arg| !argument.is_hide_set();
    let flags = command.get_opts().filter(shown).filter(|flag| flag.is_required_set());
    let mut line = vec![name.clone(), "[选项]".to_owned()];
    line.extend(flags.map(required_flag));
    line.extend(command.get_positionals().filter(shown).map(Arg::to_string));
    if !has_commands(command) {
        return vec![line];
    }
    if command.is_args_conflicts_with_subcommands_set() {
        return vec![line, vec![name, "<命令>".to_owned()]];
    }
    line.push(match command.is_subcommand_required_set() {
        true => "<命令>".to_owned(),
        false => "[命令]".to_owned(),
    });
    vec![line]
}

/// `--output <FILE>`. Clap shows a flag only in a command that it has built, and that is too early here.
fn required_flag(flag: &Arg) -> String {
    let value = flag.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    format!("--{} <{}>", flag.get_long().unwrap_or_default(), value.unwrap_or_default())
}

fn has_commands(command: &Command) -> bool {
    command.get_subcommands().any(|below| !below.is_hide_set())
}

fn argument(argument: Arg) -> Arg {
    let english = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let mut chinese = match english.strip_suffix(" [default: off]").filter(|_| is_switch) {
        Some(english) => format!("{} [默认：关]", text(english)),
        None => text(&english).to_owned(),
    };
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !is_switch && !defaults.is_empty() && !argument.is_hide_default_value_set() {
        chinese.push_str(&format!(" [默认：{}]", defaults.join(" ")));
    }
    if let Some(variable) = argument.get_env() {
        chinese.push_str(&format!(" [环境变量：{}]", variable.to_string_lossy()));
    }
    let values: Vec<String> = argument.get_possible_values().iter().map(possible_value).collect();
    if !is_switch && !values.is_empty() && !argument.is_hide_possible_values_set() {
        chinese.push_str(&format!(" [可选：{}]", values.join("，")));
    }
    let heading = match argument.is_positional() {
        true => "参数",
        false => "选项",
    };
    let argument = argument.help(chinese).help_heading(heading);
    match is_switch {
        true => argument,
        false => argument.hide_default_value(true).hide_env(true).hide_possible_values(true),
    }
}

fn possible_value(value: &PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("{}（{}）", value.get_name(), text(&help.to_string())),
        None => value.get_name().to_owned(),
    }
}
