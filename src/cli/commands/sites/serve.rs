//! `serve`: dpl's own end at a site. Nobody types it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::sites;

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Answer the desk on standard input and output
    #[arg(long)]
    pub stdio: bool,
    /// Run what this folder asks for, whatever becomes of the connection
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Run a command of dpl on this terminal
    #[arg(long, value_name = "TERMINAL")]
    pub on_terminal: Option<PathBuf>,
    /// The command
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `dpl serve`.
pub fn run(arguments: &ServeArguments, session: &mut Session) -> Result<u8, Failure> {
    if let Some(terminal) = &arguments.on_terminal {
        return Err(Failure::Terminal(sites::become_command(terminal, &arguments.command)));
    }
    let runtime = session.runtime()?;
    let served = match &arguments.keep {
        Some(folder) => runtime.block_on(sites::keep(folder)),
        None => runtime.block_on(sites::serve()),
    };
    served.map_err(Failure::Output)?;
    Ok(0)
}
