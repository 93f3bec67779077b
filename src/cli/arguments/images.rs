//! What `save`, `load` and `images …` take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ManifestArguments, TargetArguments};

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// What the store holds, what is in the engine, and who uses it
    List(ManifestArguments),
    /// Compare all that the store holds with its digests: 0 or 1
    Verify(VerifyArguments),
    /// Put names back that the store's index lost, as when another store was copied over it
    Repair(ManifestArguments),
    /// Take out what no manifest of the project names any more
    Prune(PruneArguments),
    /// Take archives (.tar, .tar.gz, .tar.zst) and OCI layouts into the store
    Import(ImportArguments),
    /// Write one archive that `docker load` takes
    Export(ExportArguments),
    /// Take references out of the store
    Remove(RemoveImagesArguments),
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Remove old archives too that no manifest needs, or of which the store has every image
    #[arg(long)]
    pub archives: bool,
    /// In the engine instead of the store: images that loads left there and no release needs
    #[arg(long, conflicts_with = "archives")]
    pub engine: bool,
    /// With --engine: all images without a name, whoever left them
    #[arg(long, requires = "engine")]
    pub dangling: bool,
    /// With --engine: kept images that this project has no record of, too
    #[arg(long, requires = "engine")]
    pub unknown: bool,
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Archives of `docker save` or of other programs, folders that are OCI layouts, the first part of a split archive
    /// (FILE.001), or - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub compression: CompressionArguments,
    /// Which image of an index of several platforms is meant [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub platform: Option<String>,
    /// The name (name:tag) of the only image of a file [default: as the file names it]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Services, whose images are meant, or references (name:tag); and a manifest (.json) [default: all]
    #[arg(value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// The archive; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write parts of this size (4000m, 4g): FILE.001, FILE.002 and so on [default: one file]
    #[arg(long, value_name = "SIZE")]
    pub split: Option<String>,
    #[command(flatten)]
    pub compression: CompressionArguments,
}

/// How something is compressed.
#[derive(Debug, Args)]
pub struct CompressionArguments {
    /// How it is compressed [default: zstd in the store; an export as its name says (.tar.gz, .tar.zst), else none]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    /// The level of compression [default: 2 of zstd, 6 of gzip]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Threads that compress [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
}

#[derive(Debug, Args)]
pub struct RemoveImagesArguments {
    /// References (name:tag), or services; and a manifest (.json)
    #[arg(required = true, value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// Also what a manifest still names, or another project saved
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Look at documents and sizes, and leave the content of layers unread
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Args)]
pub struct SaveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// How layers are compressed [default: zstd in the store, gzip in archives]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    /// The level of compression [default: 2 of zstd, 6 of gzip]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Threads that compress [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// What is written: the store, or deploy.py's archives
    #[arg(long, value_enum, default_value_t = FormatChoice::Layout)]
    pub format: FormatChoice,
    /// Go on where a disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionChoice {
    Zstd,
    Gzip,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// The image store: an OCI image layout
    Layout,
    /// One `docker save` archive for each image
    DockerArchive,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Go on where the engine's disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}
