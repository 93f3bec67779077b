//! How something is compressed and whether it has room, as it can be asked for.

use clap::{Args, ValueEnum};

use crate::cli::grammar::values::{number, whole_number};
use crate::images::{Compression, CompressionOptions, SpaceCheck};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionChoice {
    Zstd,
    Gzip,
    None,
}

/// How something is compressed.
#[derive(Debug, Args)]
pub struct CompressionArguments {
    /// The compression [default: zstd in the store; for an export by its name (.tar.gz, .tar.zst), else none]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    #[command(flatten)]
    pub effort: EffortArguments,
}

/// How much is done for it.
#[derive(Debug, Clone, Copy, Args)]
pub struct EffortArguments {
    /// The compression level [default: 2 for zstd, 6 for gzip]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number)]
    pub level: Option<i32>,
    /// Threads used for compression [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = number(1..=256_u32))]
    pub threads: Option<u32>,
}

/// What was chosen, or else what is usual.
fn compression(choice: Option<CompressionChoice>, usual: Compression) -> Compression {
    choice.map_or(usual, Compression::from)
}

impl From<CompressionChoice> for Compression {
    fn from(choice: CompressionChoice) -> Self {
        match choice {
            CompressionChoice::Zstd => Self::Zstd,
            CompressionChoice::Gzip => Self::Gzip,
            CompressionChoice::None => Self::None,
        }
    }
}

/// The same with level and threads.
pub fn compression_options(
    chosen: Option<CompressionChoice>,
    effort: EffortArguments,
    usual: Compression,
) -> CompressionOptions {
    let EffortArguments { level, threads } = effort;
    CompressionOptions { compression: compression(chosen, usual), level, threads }
}

/// The flags that lead to these options, as they would be typed, where `usual` is what no flag leads to.
pub fn compression_flags(options: &CompressionOptions, usual: Compression) -> String {
    let CompressionOptions { compression, level, threads } = options;
    let mut flags = String::new();
    if *compression != usual {
        flags += match compression {
            Compression::Zstd => " --compression zstd",
            Compression::Gzip => " --compression gzip",
            Compression::None => " --compression none",
        };
    }
    if let Some(level) = level {
        flags += &format!(" --level {level}");
    }
    if let Some(threads) = threads {
        flags += &format!(" --threads {threads}");
    }
    flags
}

/// What `--no-space-check` says.
pub fn space_check(is_off: bool) -> SpaceCheck {
    if is_off { SpaceCheck::Ignore } else { SpaceCheck::Refuse }
}

/// The flag that leads to it.
pub fn space_flag(space: SpaceCheck) -> &'static str {
    match space {
        SpaceCheck::Refuse => "",
        SpaceCheck::Ignore => " --no-space-check",
    }
}

impl CompressionArguments {
    pub fn options(&self, usual: Compression) -> CompressionOptions {
        compression_options(self.compression, self.effort, usual)
    }
}
