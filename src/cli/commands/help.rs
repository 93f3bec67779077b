//! `help` and `man`: the first page, the page of a command, the flags that every command takes; the manual's pages.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::grammar;
use crate::cli::grammar::help::{flags, man};
use crate::cli::session::Session;
use crate::cli::text::failure::{Failure, FolderError};
use crate::fs::{Mode, OutputOptions, write_output};

#[derive(Debug, Args)]
pub struct HelpArguments {
    /// A command, or `flags`
    #[arg(value_name = "COMMAND")]
    pub topic: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ManArguments {
    /// The folder for all pages [default: print the page of dpl itself]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Not a command: the page of the flags that every command takes.
const FLAGS: &str = "flags";

/// `dpl help [COMMAND]`.
pub fn show(arguments: &HelpArguments, session: &mut Session) -> Result<u8, Failure> {
    let language = session.output.catalogue.language();
    let mut root = grammar(language);
    root.build();
    let page = match arguments.topic.as_slice() {
        [topic] if topic == FLAGS => flags(&grammar(language), language),
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

fn unknown(path: &str, word: &str) -> Failure {
    let command = format!("dpl {path}");
    let hint = message!("hint-see-help", command = command.trim_end());
    Failure::usage_with_hint(message!("usage-no-help", topic = format!("{path} {word}").trim_start()), hint)
}

/// `dpl man [FOLDER]`: all pages into a folder, or the program's own to standard output.
pub fn man(arguments: &ManArguments, session: &mut Session) -> Result<u8, Failure> {
    let language = session.output.catalogue.language();
    let pages = man::pages(grammar(language), language).map_err(Failure::Output)?;
    let Some(folder) = &arguments.folder else {
        session.output.data(&pages[0].text)?;
        return Ok(0);
    };
    write(folder, &pages).map_err(|source| Failure::Work(Box::new(FolderError { folder: folder.clone(), source })))?;
    session.output.say(&message!("man-written", count = pages.len(), folder = folder.display()));
    Ok(0)
}

fn write(folder: &Path, pages: &[man::Page]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let options = OutputOptions { mode: Mode::Shared, mark: ".dpl-man-", gives_up: &|| false };
    pages.iter().try_for_each(|page| write_output(&folder.join(&page.file), page.text.as_bytes(), &options))
}
