//! What the commands take that look at services, or go into them.

use clap::{Args, ValueEnum};

use super::TargetArguments;

#[derive(Debug, Args)]
pub struct StatusArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Also show CPU and memory use (takes a second or two)
    #[arg(long)]
    pub stats: bool,
    /// One table for each group
    #[arg(long)]
    pub by_group: bool,
    /// Refresh every two seconds until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct StatsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Measure once and exit
    #[arg(long)]
    pub no_stream: bool,
}

#[derive(Debug, Args)]
pub struct GraphArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// The output format
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Layers, and what each service depends on
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

#[derive(Debug, Args)]
pub struct LogsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Keep showing new lines, also after restarts and replacements
    #[arg(long)]
    pub follow: bool,
    /// Lines from the end of each log [default: all]
    #[arg(short = 'n', long, value_name = "LINES", value_parser = lines)]
    pub tail: Option<Tail>,
    /// Only lines since this time: 10m, 1h30m, 2026-01-31T08:00:00Z, 2026-01-31 [default: all]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only lines up to this time [default: all]
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only lines that match this regular expression [default: all]
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Show when each line was written, by the engine's clock
    #[arg(short = 't', long)]
    pub timestamps: bool,
}

/// How many lines from a log's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    All,
    Lines(u64),
}

impl Tail {
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::All => None,
            Self::Lines(count) => Some(count),
        }
    }
}

fn lines(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Lines).map_err(|_| "a number of lines, or `all`".to_owned()),
    }
}

impl LogsArguments {
    /// All of the logs, as nothing but targets asks for them.
    pub fn of(targets: TargetArguments) -> Self {
        Self { targets, follow: false, tail: None, since: None, until: None, grep: None, timestamps: false }
    }
}

#[derive(Debug, Args)]
pub struct ExecArguments {
    /// Do not allocate a terminal for the command
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// The user that runs the command [default: the image's user]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The working directory [default: the image's]
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// An environment variable (NAME=VALUE, or NAME to pass the one from here); can be repeated [default: none]
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// The container of a scaled service, counted from 1 [default: the first that runs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub index: Option<u32>,
    /// The service, by name or number; give the manifest with -f before it
    pub service: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
