//! What kind of thing an argument's value is.

use clap::Arg;

/// What can be offered for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The values that the grammar lists.
    Listed,
    /// A manifest's file.
    Manifest,
    /// Services and groups, and the manifest.
    Services,
    /// One service.
    Service,
    /// Databases, and the manifest.
    Databases,
    /// One database.
    Database,
    /// Data folders, and the manifest.
    DataFolders,
    /// One data folder.
    DataFolder,
    /// Backups of the database that is named before.
    BackupsOfDatabase,
    /// Backups of all databases, and databases; and the manifest.
    Backups,
    /// References in the store and in the manifest.
    References,
    /// References and services; and the manifest.
    Images,
    Profiles,
    /// Sites and their groups.
    Sites,
    /// Documents that have a schema.
    Documents,
    Files,
    Folders,
    /// A number, a time, a text: nothing that could be known.
    Free,
}

/// The kind of an argument of the command at `path`; `None` for one that nobody has thought of, which a test rules out.
pub fn of(path: &str, argument: &Arg) -> Option<Kind> {
    if !argument.get_possible_values().is_empty() {
        return Some(Kind::Listed);
    }
    let is_about_databases = path.starts_with("db ");
    let value = argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    Some(match (argument.get_id().as_str(), value) {
        ("manifest", _) | (_, "MANIFEST" | "CHAIN") => Kind::Manifest,
        (_, "SITE") => Kind::Sites,
        ("targets", "TARGET") if is_about_databases => Kind::Databases,
        ("targets", "TARGET") if path.starts_with("data ") => Kind::DataFolders,
        ("data", "DATA") => Kind::DataFolder,
        (_, "SNAPSHOT" | "PERCENT") => Kind::Free,
        ("names", _) if path == "fetch" => Kind::Databases,
        ("targets", "TARGET") => Kind::Services,
        ("targets", "IMAGE") => Kind::Images,
        (_, "IMAGE") => Kind::References,
        (_, "BACKUP") => Kind::Backups,
        ("service", _) => Kind::Service,
        ("database", _) => Kind::Database,
        ("backup", _) => Kind::BackupsOfDatabase,
        ("profile", _) => Kind::Profiles,
        ("document", _) => Kind::Documents,
        (_, "FOLDER") => Kind::Folders,
        ("file" | "output", _) | (_, "FILE") => Kind::Files,
        // Inventories and keys are files, most of the time.
        ("goals", _) | (_, "KEY") => Kind::Files,
        // Names of releases.
        ("older" | "newer", _) => Kind::Free,
        // What stands behind a service is a command inside its container.
        ("command" | "topic", _) => Kind::Free,
        (
            _,
            "ENGINE" | "TIME" | "WHEN" | "REGEX" | "LINES" | "N" | "NEW" | "NAME" | "SIZE" | "AGE" | "LEFTOVER" | "SQL"
            | "OS/ARCHITECTURE" | "TERMINAL" | "RATE" | "FLAGS",
        ) => Kind::Free,
        (_, "USER[:GROUP]" | "PATH" | "NAME[=VALUE]" | "OLD=NEW" | "NUMBER") => Kind::Free,
        _ => return None,
    })
}
