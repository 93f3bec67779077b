//! What `save`, `load` and `images …` take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ManifestArguments, TargetArguments};

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// List the images in the store, which of them the engine has, and which services use them
    List(ManifestArguments),
    /// Compare everything in the store with its digests; exit code 1 when something is damaged
    Verify(VerifyArguments),
    /// Restore image names that the store's index has lost, for example after another store was copied over it
    Repair(ManifestArguments),
    /// Remove images that no manifest of the project names any more
    Prune(PruneArguments),
    /// Import archives (.tar, .tar.gz, .tar.zst, .tar.xz, .tar.bz2) and OCI layouts into the store
    Import(ImportArguments),
    /// Export images as one archive that `docker load` reads
    Export(ExportArguments),
    /// Remove image names from the store
    Remove(RemoveImagesArguments),
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Also remove old archives that no manifest needs, or whose images are all in the store
    #[arg(long)]
    pub archives: bool,
    /// Clean the engine instead of the store: remove images that earlier loads left there and nothing needs
    #[arg(long, conflicts_with = "archives")]
    pub engine: bool,
    /// With --engine: also remove all images without a name, whatever their origin
    #[arg(long, requires = "engine")]
    pub dangling: bool,
    /// With --engine: also remove kept images that this project has no record of
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
    /// The platform to choose from an index of several platforms [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub platform: Option<String>,
    /// The name (name:tag) for the only image of a file [default: the name in the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Continue even if the store's disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Services (their images are exported) or references (name:tag), and a manifest (.json) [default: all]
    #[arg(value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// The archive to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write parts of this size (4000m, 4g): FILE.001, FILE.002 and so on [default: one file]
    #[arg(long, value_name = "SIZE")]
    pub split: Option<String>,
    #[command(flatten)]
    pub compression: CompressionArguments,
    /// Continue even if the disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}

/// How something is compressed.
#[derive(Debug, Args)]
pub struct CompressionArguments {
    /// The compression [default: zstd in the store; for an export by its name (.tar.gz, .tar.zst), else none]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    /// The compression level [default: 2 for zstd, 6 for gzip]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Threads used for compression [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
}

#[derive(Debug, Args)]
pub struct RemoveImagesArguments {
    /// References (name:tag) or services, and a manifest (.json)
    #[arg(required = true, value_name = "IMAGE")]
    pub targets: Vec<String>,
    /// Also remove images that a manifest still names, or that another project saved
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Check documents and sizes only; do not read the layers
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
    /// The compression level [default: 2 for zstd, 6 for gzip]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Threads used for compression [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// What to write: the image store, or archives as deploy.py writes them
    #[arg(long, value_enum, default_value_t = FormatChoice::Layout)]
    pub format: FormatChoice,
    /// Continue even if a disk seems too small for what will be written
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
    /// Continue even if the engine's disk seems too small for what will be written
    #[arg(long)]
    pub no_space_check: bool,
}
