//! `completions`: the script with which a shell completes command lines.

use clap::Args;

use crate::cli::grammar::completion::{CompletionShell, script};
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

/// `dpl completions SHELL`.
pub fn print(arguments: &CompletionsArguments, session: &mut Session) -> Result<u8, Failure> {
    session.output.data(script(arguments.shell))?;
    Ok(0)
}
