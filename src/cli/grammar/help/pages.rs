//! The page of the flags that every command takes.

use clap::Command;
use clap::builder::StyledStr;

use super::chinese;
use crate::catalogue::Language;

/// The global flags as the page of a command that has no others.
pub fn flags(root: &Command, language: Language) -> StyledStr {
    let (about, flags) = match language {
        Language::English => ("Flags that every command takes", "{all-args}".to_owned()),
        Language::Chinese => ("每个命令都接受的选项", format!("{}\n{{options}}", chinese::title("选项"))),
    };
    let shown = root.get_arguments().filter(|argument| argument.is_global_set()).cloned();
    let shown = shown.map(|argument| argument.hide_short_help(false).hide_long_help(false).global(false));
    let mut page = Command::new("dpl").about(about).disable_help_flag(true).max_term_width(100).args(shown);
    page = page.help_template(format!("{{about-with-newline}}\n{flags}"));
    page.render_long_help()
}
