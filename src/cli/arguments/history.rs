//! What `history` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArguments {
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Only the last N actions [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Show one action with all its steps
    Show {
        /// The number of the action
        number: u64,
        /// The manifest [default: the one remembered]
        #[arg(id = "file", value_name = "MANIFEST")]
        manifest: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct RollbackServicesArguments {
    /// The action to undo [default: the last one that changed services], and a manifest (.json)
    #[arg(value_name = "N", num_args = 0..=2)]
    pub action: Vec<String>,
}
