//! The questions of a session. With `--yes` nothing is asked, and without a terminal a question is an error that names the flag.
//!
//! What was typed before a question that agrees to something is dropped: nobody can answer what they have not seen. A list
//! takes what was typed ahead.

use super::Session;
use crate::cli::ask::picker::{Answer, Question};
use crate::cli::ask::prompt::{self, Typed, Unanswered, is_yes, must_be_able_to_answer, must_be_able_to_ask};
use crate::cli::ask::terminal;
use crate::cli::text::failure::Failure;
use crate::report::Message;

impl Session {
    /// Asks yes or no at a terminal; no is the answer of an empty line.
    pub fn confirm(&mut self, question: &Message) -> Result<(), Failure> {
        self.agree(question, Unanswered::No)
    }

    /// Asks yes or no at a terminal.
    pub fn agree(&mut self, question: &Message, unanswered: Unanswered) -> Result<(), Failure> {
        if self.global.yes {
            return Ok(());
        }
        must_be_able_to_ask(question)?;
        terminal::drop_typed_ahead();
        let catalogue = self.output.catalogue;
        let choices = match unanswered {
            Unanswered::Yes => catalogue.word(message!("prompt-yes")),
            Unanswered::No => catalogue.word(message!("prompt-no")),
        };
        let Typed::Line(answer) = self.ask(&format!("{} {choices}", catalogue.text(question)))? else {
            return Err(Failure::Declined);
        };
        match unanswered {
            Unanswered::Yes if answer.trim().is_empty() => Ok(()),
            _ if is_yes(&answer) => Ok(()),
            _ => Err(Failure::Declined),
        }
    }

    /// Asks for a name to be typed, for what can't be taken back by typing `y` too quickly.
    pub fn confirm_by_name(&mut self, question: &Message, name: &str) -> Result<(), Failure> {
        if self.global.yes {
            return Ok(());
        }
        must_be_able_to_answer(question, message!("hint-give-yes-unnamed", name = name))?;
        terminal::drop_typed_ahead();
        let text = self.output.catalogue.text(question);
        match self.ask(&text)? {
            Typed::Line(typed) if typed.trim() == name => Ok(()),
            Typed::Line(typed) if !typed.trim().is_empty() => {
                self.output.say(&message!("menu-name-differs", name = name));
                Err(Failure::Declined)
            }
            _ => Err(Failure::Declined),
        }
    }

    /// Asks for a line.
    pub fn ask(&mut self, prompt: &str) -> Result<Typed, Failure> {
        if !terminal::takes_keys() {
            return prompt::line_of_input(prompt);
        }
        self.watch_signals()?;
        prompt::ask(prompt, self.runtime()?.as_ref(), &self.output)
    }

    /// Shows a list and lets choose from it; for terminals that take keys.
    pub fn choose(&mut self, question: &Question) -> Result<Answer, Failure> {
        self.watch_signals()?;
        prompt::choose(question, self.runtime()?.as_ref(), &self.output)
    }
}
