//! `dpl help`: the first page, the page of a command, or the flags that every command takes.

use clap::Command;

use super::grammar;
use crate::catalogue::Language;
use crate::cli::arguments::HelpArguments;
use crate::cli::failure::Failure;
use crate::cli::session::Session;

/// Not a command: the page of the flags that every command takes.
const FLAGS: &str = "flags";

pub fn run(arguments: &HelpArguments, session: &mut Session) -> Result<u8, Failure> {
    let language = session.output.catalogue.language();
    let mut root = grammar(language);
    root.build();
    let page = match arguments.topic.as_slice() {
        [topic] if topic == FLAGS => flags(language),
        topic => {
            let mut command = &mut root;
            for (place, word) in topic.iter().enumerate() {
                let path = topic[..place].join(" ");
                command = command.find_subcommand_mut(word).ok_or_else(|| unknown(&path, word))?;
            }
            command.render_long_help()
        }
    };
    let text = match session.output.color_out() {
        true => page.ansi().to_string(),
        false => page.to_string(),
    };
    session.output.data(&format!("{}\n", text.trim_end()))?;
    Ok(0)
}

/// The global flags as the page of a command that has no others.
pub(super) fn flags(language: Language) -> clap::builder::StyledStr {
    let root = grammar(language);
    let about = match language {
        Language::English => "Flags that every command takes",
        Language::Chinese => "每个命令都接受的参数",
    };
    let shown = root.get_arguments().filter(|argument| argument.is_global_set()).cloned();
    let shown = shown.map(|argument| argument.hide_short_help(false).hide_long_help(false).global(false));
    let mut page = Command::new("dpl").about(about).disable_help_flag(true).max_term_width(100).args(shown);
    page = page.help_template("{about-with-newline}\n{all-args}");
    page.render_long_help()
}

fn unknown(path: &str, word: &str) -> Failure {
    let command = format!("dpl {path}");
    let hint = message!("hint-see-help", command = command.trim_end());
    Failure::usage_with_hint(message!("usage-no-help", topic = format!("{path} {word}").trim_start()), hint)
}
