//! The help in Chinese: every text of the grammar is looked up in `zh.txt`. What a text lacks there stays English.

use std::collections::HashMap;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, ArgAction, Command};

/// English → Chinese.
static TEXTS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| pairs().collect());

const TEMPLATE: &str = "{about-with-newline}\n用法：{usage}\n\n{all-args}{after-help}";

/// The lines of `zh.txt`, two by two.
pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut lines = include_str!("zh.txt").lines().filter(|line| !line.starts_with('#'));
    std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
}

pub(super) fn text(english: &str) -> &str {
    TEXTS.get(english).copied().unwrap_or(english)
}

/// A command's own texts; those of the commands below it are left as they are.
pub(super) fn translate(command: Command) -> Command {
    let about = command.get_about().map(|about| text(&about.to_string()).to_owned());
    let command = command.mut_args(argument).help_template(TEMPLATE).subcommand_help_heading("命令");
    let command = command.subcommand_value_name("命令");
    let command = match about {
        Some(about) => command.about(about),
        None => command,
    };
    // Clap's own flag has its text in English.
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help_heading("选项");
    command.disable_help_flag(true).arg(help.help("显示帮助；`-h` 较短，`--help` 较长"))
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
