//! Where words go: data to standard output, talk to standard error; colours only where they are wanted.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use console::Style;
use serde::Serialize;

use super::{stdout, terminal_size};
use crate::catalogue::{Catalogue, Language};
use crate::report::Message;

/// What the command line says of how the program speaks.
#[derive(Debug, Clone, Copy)]
pub struct OutputSettings {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub progress: ProgressMode,
    pub color: ColorMode,
    pub lang: Option<Language>,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars at a terminal, else plain lines
    Auto,
    /// Lines
    Plain,
    /// JSON lines on standard error
    Json,
    /// Nothing
    None,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorMode {
    /// At a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    Always,
    Never,
}

/// Standard output can't be written.
#[derive(Debug)]
pub struct WriteError(pub io::Error);

/// How the program speaks; cheap to clone.
#[derive(Clone)]
pub struct Output {
    pub catalogue: &'static Catalogue,
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub progress: ProgressMode,
    color_out: bool,
    color_err: bool,
}

/// What a colour means; the word beside it says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Attention,
    Bad,
    Quiet,
}

impl Output {
    pub fn new(settings: &OutputSettings) -> Self {
        let progress = match settings.progress {
            ProgressMode::Auto if settings.quiet => ProgressMode::None,
            ProgressMode::Auto if !io::stderr().is_terminal() || is_dumb() => ProgressMode::Plain,
            mode => mode,
        };
        Self {
            catalogue: Catalogue::of(Language::chosen(settings.lang, |name| std::env::var_os(name))),
            json: settings.json,
            quiet: settings.quiet,
            verbose: settings.verbose,
            progress,
            color_out: colours(settings.color, io::stdout().is_terminal()),
            color_err: colours(settings.color, io::stderr().is_terminal()),
        }
    }

    /// Prints data.
    pub fn data(&self, text: &str) -> Result<(), WriteError> {
        let mut out = io::stdout().lock();
        let written = stdout::check().and_then(|()| out.write_all(text.as_bytes())).and_then(|()| out.flush());
        written.map_err(WriteError)
    }

    /// Prints one JSON document. Its text may come from elsewhere: control characters that JSON leaves as they are, are escaped too.
    pub fn document<T: Serialize>(&self, document: &T) -> Result<(), WriteError> {
        let text = serde_json::to_string_pretty(document).map_err(|error| WriteError(error.into()))?;
        let mut escaped = String::with_capacity(text.len() + 1);
        for letter in text.chars() {
            match letter.is_control() && letter != '\n' {
                true => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
                false => escaped.push(letter),
            }
        }
        escaped.push('\n');
        self.data(&escaped)
    }

    /// Says a sentence of the catalogue, unless the operator wants silence.
    pub fn say(&self, message: &Message) {
        if !self.quiet {
            self.line(&self.catalogue.text(message));
        }
    }

    /// A line of talk, whatever the operator wants.
    pub fn line(&self, text: &str) {
        // Talk that nobody can hear is no reason to end the work.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    pub fn warn(&self, message: &Message) {
        self.line(&self.warning(message));
    }

    /// A warning as a line for standard error.
    pub fn warning(&self, message: &Message) -> String {
        let label = self.paint_err(Tone::Attention, self.catalogue.word(message!("label-warning")));
        format!("{label} {}", self.catalogue.text(message))
    }

    /// How many columns a table on standard output may have; as many as it likes where that is no terminal.
    pub fn width(&self) -> Option<usize> {
        terminal_size::of_stdout().map(|size| usize::from(size.columns))
    }

    /// Whether standard output takes colours.
    pub fn color_out(&self) -> bool {
        self.color_out
    }

    /// Whether standard error takes colours.
    pub fn color_err(&self) -> bool {
        self.color_err
    }

    /// Paints a word for standard output.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.color_out, tone, text)
    }

    /// Paints a word of the catalogue for standard output.
    pub fn paint_word(&self, tone: Tone, word: Message) -> String {
        self.paint(tone, self.catalogue.word(word))
    }

    /// Paints a word for standard error.
    pub fn paint_err(&self, tone: Tone, text: &str) -> String {
        paint(self.color_err, tone, text)
    }
}

fn paint(colours: bool, tone: Tone, text: &str) -> String {
    let style = Style::new().force_styling(colours);
    let style = match tone {
        Tone::Good => style.green(),
        Tone::Attention => style.yellow(),
        Tone::Bad => style.red().bold(),
        Tone::Quiet => style.dim(),
    };
    style.apply_to(text).to_string()
}

fn colours(mode: ColorMode, is_terminal: bool) -> bool {
    match mode {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto => {
            is_terminal && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
