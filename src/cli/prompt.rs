//! Questions. Without a terminal nothing asks: a question without its `--yes` is an error that names the flag.

use std::io::{self, BufRead, IsTerminal, Write};

use super::catalogue::Catalogue;
use super::failure::Failure;
use super::output::Output;
use crate::manifest::narrow;
use crate::report::Message;

/// Asks yes or no at a terminal; no is the answer of an empty line. With `yes` it does not ask.
pub fn confirm(output: &Output, yes: bool, question: &Message) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    must_be_able_to_ask(question)?;
    let choices = output.catalogue.word("prompt-yes-no");
    match ask(&format!("{} {choices} ", output.catalogue.text(question)))? {
        Some(answer) if is_yes(&answer) => Ok(()),
        _ => Err(Failure::Declined),
    }
}

/// Whether an answer is a yes, in whatever language and width it was typed.
fn is_yes(answer: &str) -> bool {
    let answer: String = answer.trim().chars().map(narrow).flat_map(char::to_lowercase).collect();
    matches!(answer.as_str(), "y" | "yes" | "是")
}

/// Asks for a name to be typed, for what can't be taken back by typing `y` too quickly.
pub fn confirm_by_name(output: &Output, yes: bool, question: &Message, name: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    must_be_able_to_ask(question)?;
    match ask(&format!("{} ", output.catalogue.text(question)))?.as_deref().map(str::trim) {
        Some(typed) if typed == name => Ok(()),
        _ => Err(Failure::Declined),
    }
}

fn must_be_able_to_ask(question: &Message) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    let question = Catalogue::english().text(question);
    Err(Failure::usage_with_hint(format!("there is no terminal to ask at: {question}"), Message::new("hint-give-yes")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for yes in ["y", "Y", "yes", " YES ", "是", "ｙ", "Ｙｅｓ\r"] {
            assert!(is_yes(yes), "{yes}");
        }
        for no in ["", "n", "no", "否", "不是", "是的吗", "yy", "0", "\u{fffd}"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
