//! The commands: each with what it takes beside what it does.

mod chain;
mod check;
mod completions;
mod data;
mod databases;
mod doctor;
mod exec;
mod graph;
mod help;
mod history;
mod images;
mod listing;
mod lock;
mod logs;
pub(super) mod menu;
mod packages;
mod schemas;
mod services;
mod sites;
mod stats;
mod status;
#[cfg(test)]
mod typed_again;

use clap::{CommandFactory, Parser, Subcommand};

use self::chain::ChainArguments;
use self::check::UseArguments;
use self::completions::CompletionsArguments;
use self::data::DataCommand;
use self::databases::DatabaseCommand;
use self::exec::ExecArguments;
use self::graph::GraphArguments;
use self::help::{HelpArguments, ManArguments};
use self::history::HistoryArguments;
use self::images::{ImagesCommand, LoadArguments, SaveArguments};
use self::lock::LockCommand;
use self::logs::LogsArguments;
use self::menu::MenuArguments;
pub(super) use self::packages::arguments_of_package;
use self::packages::{
    InstallArguments, KeyCommand, PackArguments, PackageCommand, ReceiptArguments, ReleaseCommand, UnpackArguments,
};
use self::schemas::SchemaArguments;
use self::services::{PlanArguments, RemoveArguments, RollbackServicesArguments, StartArguments};
use self::sites::{FetchArguments, InventoryArguments, OnArguments, SendArguments, ServeArguments, SitesArguments};
use self::stats::StatsArguments;
use self::status::StatusArguments;
use crate::catalogue::Language;
use crate::cli::grammar::arguments::{GlobalArguments, ManifestArguments, TargetArguments};
use crate::cli::grammar::completion::Offered;
use crate::cli::grammar::help::with_help;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;

/// Takes Docker stacks to machines without a registry, runs them there and keeps their databases safe.
#[derive(Debug, Parser)]
// Whatever the file is called: what is said of its words looks for this name.
#[command(name = "dpl", bin_name = "dpl", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the menu, as `dpl MANIFEST.json` does
    #[command(hide = true)]
    Menu(MenuArguments),
    /// Remember a manifest for this folder
    Use(UseArguments),
    /// Check a manifest; exit code 3 when it is wrong
    Check(ManifestArguments),
    /// List services and databases with their numbers
    List(TargetArguments),
    /// Print the resolved manifest, with variables filled in and files merged
    Config(ManifestArguments),
    /// Print a JSON Schema: of the manifest, or of a document that --json prints
    Schema(SchemaArguments),
    /// Check the engine, and what in the manifest will not work on it
    Doctor(ManifestArguments),
    /// Save images from the engine to the image store
    Save(SaveArguments),
    /// Load images from the image store into the engine
    Load(LoadArguments),
    /// Manage the image store: list, verify, repair, prune, import, export, remove
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Show what `start` would do, and why
    Plan(PlanArguments),
    /// Start services and what they depend on
    Start(StartArguments),
    /// Stop services; dependents stop first
    Stop(TargetArguments),
    /// Restart services; those that changed are recreated, stopped ones are started
    Restart(StartArguments),
    /// Remove the containers of services
    Remove(RemoveArguments),
    /// Show the state and health of services
    Status(StatusArguments),
    /// Show the logs of services
    Logs(LogsArguments),
    /// Show CPU, memory, network and disk use of services
    Stats(StatsArguments),
    /// Show which services depend on which
    Graph(GraphArguments),
    /// Run a command in a service's container
    Exec(ExecArguments),
    /// Manage databases: list, dump, backup, verify, prune, rebuild, restore, rollback, sql
    #[command(subcommand)]
    Db(DatabaseCommand),
    /// Manage folders that live at the site: snapshot, list, diff, restore, verify, prune
    #[command(subcommand)]
    Data(DataCommand),
    /// Show what was done, when, by whom and with what result
    History(HistoryArguments),
    /// Return services to the images and configuration they had before an action
    Rollback(RollbackServicesArguments),
    /// Show or release the lock of this project
    #[command(subcommand)]
    Lock(LockCommand),
    /// Run a chain of actions, in the notation of deploy.py: "2 - 25 - 3 - 25"
    Do(ChainArguments),
    /// List the other machines of the project, and check whether they can be used
    Sites(SitesArguments),
    /// Run a command at a site, beside its engine; one that changes something goes on when the connection is lost
    On(OnArguments),
    /// Bring database backups and the journal of a site here, verified; or what a support case needs
    Fetch(FetchArguments),
    /// Print what this machine or a site has of the project, as a small JSON document
    Inventory(InventoryArguments),
    /// Send images, the manifest with the files that it reads, and seeds to a site: what it lacks, resumed and verified
    Send(SendArguments),
    /// Write down what the project consists of now, and compare: images, files, seeds
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Write what a machine lacks into one file, for a USB disk: images, the manifest, seeds
    Pack(PackArguments),
    /// Receive a package: verified, into the image store, the project's folder and the seeds; what runs stays as it is
    Unpack(UnpackArguments),
    /// Look into a package: what is in it, and what it would change here
    #[command(subcommand)]
    Package(PackageCommand),
    /// Make keys that sign packages, and say whose packages this machine takes
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show what packages brought to this machine, as text or as a QR code
    Receipt(ReceiptArguments),
    /// dpl's own end at a site
    #[command(hide = true)]
    Serve(ServeArguments),
    /// Copy the program of a self-extracting package to a folder
    #[command(hide = true)]
    InstallProgram(InstallArguments),
    /// Print the completion script for a shell
    Completions(CompletionsArguments),
    /// Print or write the manual pages
    Man(ManArguments),
    /// Show the help of a command, or the flags of every command
    #[command(hide = true)]
    Help(HelpArguments),
}

impl Command {
    /// Whether it may read standard input where there is no terminal.
    fn may_read_input(&self) -> bool {
        matches!(self, Self::Menu(_) | Self::Exec(_) | Self::Do(_) | Self::Db(_) | Self::Images(_))
    }

    /// Whether it changes something, and so goes to its end at a site whatever becomes of the connection. What reads or talks
    /// ends with it.
    fn outlives_its_connection(&self) -> bool {
        match self {
            Self::Menu(_)
            | Self::Use(_)
            | Self::Save(_)
            | Self::Load(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Remove(_)
            | Self::Rollback(_)
            | Self::Do(_)
            | Self::Pack(_)
            | Self::Unpack(_) => true,
            Self::Images(command) => !matches!(command, ImagesCommand::List(_) | ImagesCommand::Verify(_)),
            Self::Db(command) => {
                !matches!(command, DatabaseCommand::List(_) | DatabaseCommand::Sql(_) | DatabaseCommand::Shell(_))
            }
            Self::Data(command) => !matches!(command, DataCommand::List(_) | DataCommand::Diff(_)),
            Self::Lock(command) => matches!(command, LockCommand::Release(_)),
            Self::Release(command) => command.changes(),
            Self::Key(command) => !matches!(command, KeyCommand::List),
            Self::Check(_)
            | Self::List(_)
            | Self::Config(_)
            | Self::Schema(_)
            | Self::Doctor(_)
            | Self::Plan(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Stats(_)
            | Self::Graph(_)
            | Self::Exec(_)
            | Self::History(_)
            | Self::Sites(_)
            | Self::On(_)
            | Self::Fetch(_)
            | Self::Inventory(_)
            | Self::Send(_)
            | Self::Package(_)
            | Self::Receipt(_)
            | Self::Serve(_)
            | Self::InstallProgram(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Help(_) => false,
        }
    }
}

/// The command line's grammar, with its help in a language.
pub fn grammar(language: Language) -> clap::Command {
    with_help(Arguments::command(), language)
}

/// What shells can offer for a command line.
pub fn offered(language: Language) -> Offered {
    Offered { grammar: grammar(language), documents: schemas::names().collect() }
}

/// Does what a command says; gives the exit code.
pub fn dispatch(command: Command, session: &mut Session) -> Result<u8, Failure> {
    match command {
        Command::Menu(arguments) => menu::run(arguments, session),
        Command::Use(arguments) => check::use_manifest(&arguments, session),
        Command::Check(arguments) => check::check(&arguments, session),
        Command::List(arguments) => listing::list(&arguments, session),
        Command::Config(arguments) => listing::config(&arguments, session),
        Command::Schema(arguments) => schemas::print(&arguments, session),
        Command::Doctor(arguments) => doctor::run(&arguments, session),
        Command::Save(arguments) => images::save(&arguments, session),
        Command::Load(arguments) => images::load(&arguments, session),
        Command::Images(command) => images::run(&command, session),
        Command::Plan(arguments) => services::show_plan(&arguments, session),
        Command::Start(arguments) => services::start(&arguments, session),
        Command::Stop(arguments) => services::stop(&arguments, session),
        Command::Restart(arguments) => services::restart(&arguments, session),
        Command::Remove(arguments) => services::remove(&arguments, session),
        Command::Status(arguments) => status::run(&arguments, session),
        Command::Logs(arguments) => logs::run(&arguments, session),
        Command::Db(command) => databases::run(&command, session),
        Command::Data(command) => data::run(&command, session),
        Command::Stats(arguments) => stats::run(&arguments, session),
        Command::Graph(arguments) => graph::run(&arguments, session),
        Command::Exec(arguments) => exec::run(&arguments, session),
        Command::History(arguments) => history::run(&arguments, session),
        Command::Rollback(arguments) => services::roll_back(&arguments, session),
        Command::Lock(command) => lock::run(&command, session),
        Command::Do(arguments) => chain::run(&arguments, session),
        Command::Sites(arguments) => sites::sites(&arguments, session),
        Command::On(arguments) => sites::on(&arguments, session),
        Command::Fetch(arguments) => sites::fetch(&arguments, session),
        Command::Inventory(arguments) => sites::inventory(&arguments, session),
        Command::Send(arguments) => sites::send(&arguments, session),
        Command::Release(command) => packages::release(&command, session),
        Command::Pack(arguments) => packages::pack(&arguments, session),
        Command::Unpack(arguments) => packages::unpack(&arguments, session),
        Command::Package(command) => packages::package(&command, session),
        Command::Key(command) => packages::key(&command, session),
        Command::Receipt(arguments) => packages::receipt(&arguments, session),
        Command::Serve(arguments) => sites::serve(&arguments, session),
        Command::InstallProgram(arguments) => packages::install(&arguments, session),
        Command::Completions(arguments) => completions::print(&arguments, session),
        Command::Man(arguments) => help::man(&arguments, session),
        Command::Help(arguments) => help::show(&arguments, session),
    }
}
