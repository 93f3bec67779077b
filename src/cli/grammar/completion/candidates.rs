//! What can be offered for a word: commands and flags of the grammar, names of the manifest, backups in their folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::{Arg, Command};

use super::Offered;
use super::command_line::{CommandLine, Wanted, takes_value};
use super::kinds::{self, Kind};
use super::words::Words;
use crate::cli::grammar::arguments::names_manifest;
use crate::databases::backup_stamps;
use crate::images::stored_names;
use crate::manifest::{Manifest, Variables, read_manifest, read_sites, sites_file};
use crate::state::chosen_manifest;

/// One thing that the current word may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub value: String,
    /// A few words about it.
    pub about: String,
}

/// All that is offered, and what the shell is to add of its own.
#[derive(Debug, Default)]
pub struct Answer {
    pub candidates: Vec<Candidate>,
    pub rest: Rest,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    #[default]
    Nothing,
    Files,
    Folders,
}

impl Candidate {
    fn new(value: impl Into<String>, about: impl Into<String>) -> Self {
        // One line each: what is between value and description must not be in them.
        let clean = |text: String| text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        Self { value: clean(value.into()), about: clean(about.into()) }
    }

    /// Whether more is to follow in the same word: a folder's content.
    pub fn goes_on(&self) -> bool {
        self.value.ends_with('/')
    }
}

/// What is offered for the current word.
pub fn of(words: &Words, offered: &Offered) -> Answer {
    let root = &offered.grammar;
    let line = CommandLine::read(root, words);
    match &line.wanted {
        Wanted::Flag => Answer { candidates: flags(&line, root), ..Answer::default() },
        Wanted::Value { argument, prefix } => {
            let (flag, typed) = words.current.split_at(*prefix);
            let mut answer = values(&line, argument, typed, offered);
            for candidate in &mut answer.candidates {
                candidate.value.insert_str(0, flag);
            }
            answer
        }
        Wanted::Word { argument } => {
            let mut answer =
                argument.map(|argument| values(&line, argument, &words.current, offered)).unwrap_or_default();
            if line.positionals.is_empty() {
                answer.candidates.splice(0..0, commands(line.command));
            }
            if line.path.is_empty() {
                answer.candidates.extend(manifest_files(&words.current));
            }
            answer
        }
    }
}

fn commands(command: &Command) -> impl Iterator<Item = Candidate> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.map(|below| Candidate::new(below.get_name(), first_line(below.get_about())))
}

fn flags(line: &CommandLine, root: &Command) -> Vec<Candidate> {
    let mut seen = BTreeSet::new();
    let all = line.command.get_arguments().chain(root.get_arguments()).filter(|flag| !flag.is_hide_set());
    let named = all.filter_map(|flag| Some((format!("--{}", flag.get_long()?), flag)));
    let mut flags: Vec<Candidate> = named
        .filter(|(name, _)| seen.insert(name.clone()))
        .map(|(name, flag)| Candidate::new(name, first_line(flag.get_help())))
        .collect();
    flags.push(Candidate::new("--help", "Print help"));
    flags
}

fn values(line: &CommandLine, argument: &Arg, typed: &str, offered: &Offered) -> Answer {
    let kind = kinds::of(&line.path, argument).unwrap_or(Kind::Free);
    let plain = |candidates: Vec<Candidate>| Answer { candidates, rest: Rest::Nothing };
    match kind {
        Kind::Listed => plain(
            argument
                .get_possible_values()
                .iter()
                .map(|value| Candidate::new(value.get_name(), first_line(value.get_help())))
                .collect(),
        ),
        Kind::Manifest => plain(manifest_files(typed)),
        Kind::Documents => plain(offered.documents.iter().map(|name| Candidate::new(*name, "")).collect()),
        Kind::Sites => plain(sites(line)),
        Kind::Files => Answer { candidates: Vec::new(), rest: Rest::Files },
        Kind::Folders => Answer { candidates: Vec::new(), rest: Rest::Folders },
        Kind::Free => Answer::default(),
        _ => {
            let manifest = manifest(line);
            let mut candidates = manifest.map(|manifest| of_manifest(kind, &manifest, line, typed)).unwrap_or_default();
            let takes_manifest = !takes_flag_only(argument) && line.manifest.is_none();
            if takes_manifest
                && matches!(kind, Kind::Services | Kind::Databases | Kind::DataFolders | Kind::Backups | Kind::Images)
            {
                candidates.extend(manifest_files(typed));
            }
            plain(candidates)
        }
    }
}

fn takes_flag_only(argument: &Arg) -> bool {
    takes_value(argument) && !argument.is_positional()
}

fn of_manifest(kind: Kind, manifest: &Manifest, line: &CommandLine, typed: &str) -> Vec<Candidate> {
    match kind {
        Kind::Service => services(manifest),
        Kind::Services => chosen_apart(typed, line, || [services(manifest), groups(manifest), all()].concat()),
        Kind::Database => databases(manifest),
        Kind::DataFolder => data_folders(manifest),
        Kind::DataFolders => chosen_apart(typed, line, || [data_folders(manifest), all()].concat()),
        Kind::Databases => chosen_apart(typed, line, || [databases(manifest), all()].concat()),
        Kind::BackupsOfDatabase => {
            let named = line.positionals.iter().filter_map(|name| database_named(manifest, name)).next();
            backups(manifest, named.as_deref())
        }
        Kind::Backups => [backups(manifest, None), databases(manifest)].concat(),
        Kind::References => references(manifest),
        Kind::Images => [references(manifest), services(manifest), groups(manifest)].concat(),
        Kind::Profiles => {
            let services = manifest.services.iter();
            let names: BTreeSet<&String> = services.flat_map(|(_, _, service)| &service.profiles).collect();
            names.into_iter().map(|name| Candidate::new(name, "")).collect()
        }
        _ => Vec::new(),
    }
}

fn services(manifest: &Manifest) -> Vec<Candidate> {
    let services = manifest.services.iter();
    services.map(|(number, name, service)| Candidate::new(name, format!("{number}  {}", service.image))).collect()
}

fn groups(manifest: &Manifest) -> Vec<Candidate> {
    let mut groups: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for group in manifest.services.iter().flat_map(|(_, _, service)| &service.groups) {
        *groups.entry(group).or_default() += 1;
    }
    let about = |count: usize| if count == 1 { "1 service".to_owned() } else { format!("{count} services") };
    groups.into_iter().map(|(group, count)| Candidate::new(format!("@{group}"), about(count))).collect()
}

fn databases(manifest: &Manifest) -> Vec<Candidate> {
    let databases = manifest.databases.iter();
    databases
        .map(|(number, name, database)| Candidate::new(name, format!("{number}  {}", database.server_name())))
        .collect()
}

fn data_folders(manifest: &Manifest) -> Vec<Candidate> {
    let (data, before) = (manifest.data.iter(), manifest.databases.last_number());
    data.map(|(number, name, data)| Candidate::new(name, format!("{}  {}", before + number, data.path.display())))
        .collect()
}

fn all() -> Vec<Candidate> {
    vec![Candidate::new("all", "")]
}

/// Selectors are lists, and `!` leaves out: only the last part of `metis-ui,!met` is completed, and what was chosen before is
/// not offered again.
fn chosen_apart(typed: &str, line: &CommandLine, offered: impl FnOnce() -> Vec<Candidate>) -> Vec<Candidate> {
    let end = typed.rfind([',', '!']).map_or(0, |place| place + 1);
    let (before, _) = typed.split_at(end);
    let chosen: BTreeSet<&str> = line.positionals.iter().map(String::as_str).chain(before.split([',', '!'])).collect();
    let mut offered = offered();
    offered.retain(|candidate| !chosen.contains(candidate.value.as_str()));
    for candidate in &mut offered {
        candidate.value.insert_str(0, before);
    }
    offered
}

/// A database by its name or its number.
fn database_named(manifest: &Manifest, word: &str) -> Option<String> {
    let mut databases = manifest.databases.iter();
    databases.find(|(number, name, _)| *name == word || number.to_string() == word).map(|(_, name, _)| name.to_owned())
}

/// Backups by their IDs, the newest first.
fn backups(manifest: &Manifest, of: Option<&str>) -> Vec<Candidate> {
    let Some(folder) = &manifest.paths.backups else {
        return Vec::new();
    };
    let names = manifest.databases.iter().map(|(_, name, _)| name).filter(|name| of.is_none_or(|of| of == *name));
    names
        .flat_map(|name| backup_stamps(folder, name).into_iter().rev())
        .map(|backup| Candidate::new(backup.id, backup.time))
        .collect()
}

/// What the manifest names, and what the store has beyond it.
fn references(manifest: &Manifest) -> Vec<Candidate> {
    let services = manifest.services.iter();
    let mut found: Vec<Candidate> =
        services.map(|(_, name, service)| Candidate::new(service.image.to_string(), name)).collect();
    for name in manifest.paths.images.as_deref().map(stored_names).unwrap_or_default() {
        if !found.iter().any(|known| known.value == name) {
            found.push(Candidate::new(name, "in the store"));
        }
    }
    found
}

/// The manifest that is meant, if it can be read: named, `DPL_MANIFEST`, the one remembered.
fn manifest(line: &CommandLine) -> Option<Manifest> {
    Some(read_manifest(&manifest_path(line)?, Variables::of_process()).ok()?.manifest)
}

/// Sites and groups of the file beside the manifest.
fn sites(line: &CommandLine) -> Vec<Candidate> {
    let path = sites_file(manifest_path(line).as_deref());
    let Ok(list) = read_sites(&path, &Variables::of_process()) else { return Vec::new() };
    let groups: BTreeSet<String> =
        list.sites.values().flat_map(|site| &site.groups).map(|group| format!("@{group}")).collect();
    let names = list.sites.iter().map(|(name, site)| Candidate::new(name, site.ssh.as_deref().unwrap_or_default()));
    names.chain(groups.iter().map(|group| Candidate::new(group, ""))).collect()
}

fn manifest_path(line: &CommandLine) -> Option<PathBuf> {
    let from_variable = || std::env::var_os("DPL_MANIFEST").filter(|path| !path.is_empty()).map(PathBuf::from);
    let named = line.manifest.as_ref().map(PathBuf::from).or_else(from_variable);
    named.or_else(|| chosen_manifest(&std::env::current_dir().ok()?))
}

/// Files that may be manifests, and the folders on the way to them.
fn manifest_files(typed: &str) -> Vec<Candidate> {
    let (folder, start) = typed.rsplit_once('/').map_or(("", typed), |(folder, start)| (folder, start));
    let prefix = &typed[..typed.len() - start.len()];
    let looked_at = match (folder, prefix) {
        ("", "") => PathBuf::from("."),
        ("", _) => PathBuf::from("/"),
        (folder, _) => match (folder.strip_prefix('~'), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest.trim_start_matches('/')),
            _ => PathBuf::from(folder),
        },
    };
    let Ok(entries) = std::fs::read_dir(looked_at) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(start) || (name.starts_with('.') && !start.starts_with('.')) {
            continue;
        }
        let is_folder = entry.path().is_dir();
        if is_folder || names_manifest(&name) {
            let end = if is_folder { "/" } else { "" };
            files.push(Candidate::new(format!("{prefix}{name}{end}"), ""));
        }
    }
    files.sort_by(|one, other| one.value.cmp(&other.value));
    files
}

fn first_line(text: Option<&StyledStr>) -> String {
    text.map(StyledStr::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
