//! What the words so far mean: which command, which values its arguments have, and what the current word is to be.

use clap::{Arg, ArgAction, Command};

use super::words::Words;
use crate::cli::grammar::arguments::names_manifest;

/// A command line that is being typed.
pub struct CommandLine<'a> {
    /// The command, and its path below the program (`db restore`).
    pub command: &'a Command,
    pub path: String,
    /// The manifest that is named, by a flag or as an argument.
    pub manifest: Option<String>,
    /// The other arguments that are no flags.
    pub positionals: Vec<String>,
    pub wanted: Wanted<'a>,
}

/// What the current word is.
pub enum Wanted<'a> {
    /// A value of this argument; `prefix` of the word belongs to the flag (`--backup=`).
    Value { argument: &'a Arg, prefix: usize },
    /// A flag.
    Flag,
    /// A command, or the next argument that is no flag.
    Word { argument: Option<&'a Arg> },
}

impl<'a> CommandLine<'a> {
    /// Understands the words; those that make no sense are passed over.
    pub fn read(root: &'a Command, words: &Words) -> Self {
        let mut line =
            Self { command: root, path: String::new(), manifest: None, positionals: Vec::new(), wanted: Wanted::Flag };
        let mut pending: Option<&Arg> = None;
        let mut only_words = false;
        for word in words.before.iter().skip(1) {
            if let Some(argument) = pending.take() {
                line.keep(argument, word);
            } else if only_words || line.is_behind_a_command() {
                line.positionals.push(word.clone());
            } else if word == "--" {
                only_words = true;
            } else if word.starts_with('-') && word.len() > 1 {
                pending = line.flag(root, word);
            } else {
                line.word(word);
            }
        }
        line.wanted = match pending {
            Some(argument) => Wanted::Value { argument, prefix: 0 },
            None => line.current(root, &words.current, only_words),
        };
        line
    }

    fn current(&self, root: &'a Command, word: &str, only_words: bool) -> Wanted<'a> {
        let is_flag = word.starts_with('-') && !only_words && !self.is_behind_a_command();
        if let (true, Some((flag, _))) = (is_flag, word.split_once('='))
            && let Some(argument) = self.long(root, flag)
        {
            return Wanted::Value { argument, prefix: flag.len() + 1 };
        }
        if is_flag {
            return Wanted::Flag;
        }
        Wanted::Word { argument: self.next_positional() }
    }

    fn word(&mut self, word: &str) {
        if self.positionals.is_empty()
            && let Some(below) = self.command.find_subcommand(word)
        {
            self.command = below;
            if !self.path.is_empty() {
                self.path.push(' ');
            }
            self.path.push_str(below.get_name());
        } else if names_manifest(word) && self.manifest.is_none() {
            self.manifest = Some(word.to_owned());
        } else {
            self.positionals.push(word.to_owned());
        }
    }

    /// The argument whose value the next word is, where this flag leaves one open.
    fn flag(&mut self, root: &'a Command, word: &str) -> Option<&'a Arg> {
        if word.starts_with("--") {
            let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
            let argument = self.long(root, flag).filter(|argument| takes_value(argument))?;
            return match value {
                Some(value) => {
                    self.keep(argument, value);
                    None
                }
                None => Some(argument),
            };
        }
        let letters: Vec<char> = word.chars().skip(1).collect();
        for (place, letter) in letters.iter().enumerate() {
            let mut arguments = self.command.get_arguments().chain(root.get_arguments());
            let argument = arguments.find(|argument| argument.get_short() == Some(*letter));
            if let Some(argument) = argument.filter(|argument| takes_value(argument)) {
                let rest: String = letters[place + 1..].iter().collect();
                if rest.is_empty() {
                    return Some(argument);
                }
                self.keep(argument, &rest);
                return None;
            }
        }
        None
    }

    fn long(&self, root: &'a Command, flag: &str) -> Option<&'a Arg> {
        let name = flag.strip_prefix("--")?;
        let mut arguments = self.command.get_arguments().chain(root.get_arguments());
        arguments.find(|argument| argument.get_long() == Some(name))
    }

    fn keep(&mut self, argument: &Arg, value: &str) {
        if argument.get_id() == "manifest" {
            self.manifest = Some(value.to_owned());
        }
    }

    fn next_positional(&self) -> Option<&'a Arg> {
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let last = all.last().copied().filter(|argument| is_many(argument));
        all.get(self.positionals.len()).copied().or(last)
    }

    /// Whether all that follows is another program's: the command of `exec` has begun.
    fn is_behind_a_command(&self) -> bool {
        let place = self.command.get_positionals().position(Arg::is_trailing_var_arg_set);
        place.is_some_and(|place| self.positionals.len() >= place)
    }
}

pub fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

fn is_many(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append) || argument.get_num_args().is_some_and(|n| n.max_values() > 1)
}
