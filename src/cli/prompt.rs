//! Questions. Without a terminal nothing asks: a question without its `--yes` is an error that names the flag.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;
use super::output::Output;
use crate::report::Message;

/// Asks yes or no at a terminal; no is the answer of an empty line. With `yes` it does not ask.
pub fn confirm(output: &Output, yes: bool, question: &Message) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let text = output.catalogue.text(question);
    must_be_able_to_ask(&text)?;
    match ask(&format!("{text} [y/N] "))?.as_deref().map(str::trim) {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::Declined),
    }
}

/// Asks for a name to be typed, for what can't be taken back by typing `y` too quickly.
pub fn confirm_by_name(output: &Output, yes: bool, question: &Message, name: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let text = output.catalogue.text(question);
    must_be_able_to_ask(&text)?;
    match ask(&format!("{text} "))?.as_deref().map(str::trim) {
        Some(typed) if typed == name => Ok(()),
        _ => Err(Failure::Declined),
    }
}

fn must_be_able_to_ask(question: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage_with_hint(
        format!("there is no terminal to ask at: {question}"),
        "give --yes where the answer is yes",
    ))
}

/// Shows `prompt` on standard error and reads a line; `None` at the end of the input.
pub fn ask(prompt: &str) -> Result<Option<String>, Failure> {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    drop(stderr);
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some("\u{fffd}".to_owned())),
        Err(error) => Err(Failure::Work(Box::new(error))),
    }
}
