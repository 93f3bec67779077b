//! Questions for a line or for a choice. Whether one is asked at all, the session decides.
//!
//! At a terminal that can draw, keys are read one by one: Esc goes back, Ctrl-C leaves, and the terminal is as it was
//! after each question. Elsewhere a question reads a line.

use std::io::{self, BufRead, IsTerminal, Write};

use tokio::runtime::Runtime;

use super::keyboard::{Key, Keyboard};
use super::line::Line;
use super::picker::{Answer, Frame, Picker, Question, prompt_line};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::terminal_size;
use crate::manifest::narrow;
use crate::report::Message;

/// What an empty line says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    Yes,
    No,
}

/// What came of a question for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    Line(String),
    /// Esc.
    Nothing,
    /// The input is at its end.
    End,
}

/// Whether an answer is a yes, in whatever language and width it was typed.
pub fn is_yes(answer: &str) -> bool {
    let answer: String = answer.trim().chars().map(narrow).flat_map(char::to_lowercase).collect();
    matches!(answer.as_str(), "y" | "yes" | "是")
}

/// Fails where nobody can answer a question that `--yes` answers with yes.
pub fn must_be_able_to_ask(question: &Message) -> Result<(), Failure> {
    must_be_able_to_answer(question, message!("hint-give-yes"))
}

/// Fails where nobody can answer a question; `hint` says what does without one.
pub fn must_be_able_to_answer(question: &Message, hint: Message) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage_with_hint(message!("usage-no-terminal", question = question), hint))
}

/// Asks for a line; for terminals that take keys.
pub fn ask(prompt: &str, runtime: &Runtime, output: &Output) -> Result<Typed, Failure> {
    // A question that leaves no room for its answer stands above it.
    let (columns, _) = terminal_size::of_stderr();
    let is_long = console::measure_text_width(prompt) + ROOM > columns;
    let prompt = if is_long {
        output.line(prompt);
        ">"
    } else {
        prompt
    };
    let mut keyboard = Keyboard::open(runtime).map_err(Failure::Terminal)?;
    typed_line(prompt, &mut keyboard).map_err(Failure::Terminal)?.ok_or(Failure::Left)
}

/// An answer gets so many columns, at least.
const ROOM: usize = 24;

/// Shows the list and lets choose from it; for terminals that take keys.
pub fn choose(question: &Question, runtime: &Runtime, output: &Output) -> Result<Answer, Failure> {
    let mut keyboard = Keyboard::open(runtime).map_err(Failure::Terminal)?;
    chosen(question, &mut keyboard, output).map_err(Failure::Terminal)
}

/// `None` where Ctrl-C leaves.
fn typed_line(prompt: &str, keyboard: &mut Keyboard) -> io::Result<Option<Typed>> {
    let mut line = Line::default();
    loop {
        let (columns, _) = terminal_size::of_stderr();
        let (text, cursor) = prompt_line(prompt, &line, columns.saturating_sub(1).max(1));
        draw(&Frame { line: text, below: Vec::new(), cursor })?;
        let typed = match keyboard.key()? {
            Key::Enter => Some(Typed::Line(line.text())),
            Key::Escape => Some(Typed::Nothing),
            Key::Gone => Some(Typed::End),
            Key::EndOfInput if line.is_empty() => Some(Typed::End),
            Key::Interrupt => None,
            key => {
                line.press(key);
                continue;
            }
        };
        send("\r\n")?;
        return Ok(typed);
    }
}

fn chosen(question: &Question, keyboard: &mut Keyboard, output: &Output) -> io::Result<Answer> {
    let mut picker = Picker::new(question);
    loop {
        let (columns, rows) = terminal_size::of_stderr();
        let mut frame = picker.frame(columns, rows);
        for line in &mut frame.below {
            if let Some(rest) = line.strip_prefix('>') {
                *line = format!("{}{rest}", output.paint_err(Tone::Attention, ">"));
            }
        }
        draw(&frame)?;
        if let Some(answer) = picker.press(keyboard.key()?) {
            send(&format!("\r\x1b[J{}\r\n", picker.said(&answer, columns)))?;
            return Ok(answer);
        }
    }
}

/// Draws a frame from the beginning of the line that the cursor is in, and leaves the cursor in its line.
fn draw(frame: &Frame) -> io::Result<()> {
    let mut text = format!("\r\x1b[J{}", frame.line);
    for line in &frame.below {
        text.push_str("\r\n");
        text.push_str(line);
    }
    if !frame.below.is_empty() {
        text.push_str(&format!("\x1b[{}A", frame.below.len()));
    }
    text.push('\r');
    if frame.cursor > 0 {
        text.push_str(&format!("\x1b[{}C", frame.cursor));
    }
    send(&text)
}

fn send(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}

/// Shows `prompt` on standard error and reads a line of standard input.
pub fn line_of_input(prompt: &str) -> Result<Typed, Failure> {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{prompt} ").and_then(|()| stderr.flush());
    drop(stderr);
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => {
            // What follows begins a line of its own.
            if io::stdin().is_terminal() {
                let _ = writeln!(io::stderr());
            }
            Ok(Typed::End)
        }
        Ok(_) => Ok(Typed::Line(line.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Typed::Line("\u{fffd}".to_owned())),
        // A terminal that was hung up.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(Typed::End),
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
