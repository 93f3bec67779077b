//! `man`: the manual's pages, made from the grammar: one of the program, one of each command.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{chinese, examples, grammar};
use crate::catalogue::Language;
use crate::cli::arguments::ManArguments;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::fs::{Mode, OutputOptions, write_output};

/// One page: `dpl-db-rebuild.1` and its text.
pub struct Page {
    pub file: String,
    pub text: String,
}

/// `dpl man [FOLDER]`: all pages into a folder, or the program's own to standard output.
pub fn run(arguments: &ManArguments, session: &mut Session) -> Result<u8, Failure> {
    let pages = pages(session.output.catalogue.language()).map_err(Failure::Output)?;
    let Some(folder) = &arguments.folder else {
        session.output.data(&pages[0].text)?;
        return Ok(0);
    };
    write(folder, &pages).map_err(|source| Failure::Work(Box::new(ManError { folder: folder.clone(), source })))?;
    session.output.say(&message!("man-written", count = pages.len(), folder = folder.display()));
    Ok(0)
}

/// A page that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("can't write the manual's pages into {}", .folder.display())]
struct ManError {
    folder: std::path::PathBuf,
    #[source]
    source: io::Error,
}

fn write(folder: &Path, pages: &[Page]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let options = OutputOptions { mode: Mode::Shared, mark: ".dpl-man-", gives_up: &|| false };
    pages.iter().try_for_each(|page| write_output(&folder.join(&page.file), page.text.as_bytes(), &options))
}

/// The program's page first, then those of the commands in the grammar's order.
pub fn pages(language: Language) -> io::Result<Vec<Page>> {
    let mut root = grammar(language);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut Vec::new(), &mut pages, language)?;
    Ok(pages)
}

fn collect(command: &Command, path: &mut Vec<String>, pages: &mut Vec<Page>, language: Language) -> io::Result<()> {
    pages.push(page(command, path, language)?);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        path.push(below.get_name().to_owned());
        collect(below, path, pages, language)?;
        path.pop();
    }
    Ok(())
}

fn page(command: &Command, path: &[String], language: Language) -> io::Result<Page> {
    let name = std::iter::once("dpl").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    let man = Man::new(command.clone())
        .title(&name)
        .source(concat!("dpl ", env!("CARGO_PKG_VERSION")))
        .manual("The manual of dpl");
    let mut bytes = Vec::new();
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    man.render_options_section(&mut bytes)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut bytes)?;
    }
    examples_section(path, language).to_writer(&mut bytes)?;
    if path.is_empty() {
        exit_codes().to_writer(&mut bytes)?;
    }
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(Page { file: format!("{name}.1"), text })
}

fn examples_section(path: &[String], language: Language) -> Roff {
    let mut roff = Roff::new();
    let shown = examples::of(&path.join(" "));
    if !shown.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (line, what) in shown {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(match language {
            Language::English => what,
            Language::Chinese => chinese::text(what),
        })]);
    }
    roff
}

fn exit_codes() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [
        ("0", "Done."),
        ("1", "Failed; something may have been done, and the message says what."),
        ("2", "Wrong usage."),
        ("3", "The manifest is wrong."),
        ("4", "The engine can't be reached."),
        ("5", "Another operator is at work."),
        ("6", "plan --exit-code found work."),
        ("130", "Interrupted: what was begun is finished, or as it was before."),
    ] {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
    roff
}
