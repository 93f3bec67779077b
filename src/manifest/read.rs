//! From a file's name to a manifest, or to everything that is wrong with it.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::coming::ComingFiles;
use super::model::NamespaceMode;
use super::steps::decode::{Context, decode_manifest};
use super::steps::env_file::{EnvFileError, read_env_text};
use super::steps::long_form::{Expansion, MOST_PORTS, Splitting, expand, grant_files, split_lists};
use super::steps::merge::{EffectiveNulls, apply_defaults, drop_nulls, merge};
use super::steps::variables::{Variables, escape_dollars, fill_in};
use super::text::node::{Node, Value};
use super::text::parse::{LARGEST_TEXT, parse};
use super::text::problem::{DocumentKind, ManifestErrors, Problem, Problems, Severity};
use super::text::source::{SourceFile, Sources, Span, absolute};
use super::{FileUse, Manifest, UsedFile, checks};
use crate::catalogue::system_words;
use crate::report::{Message, Told as _};

/// A manifest that was read, with what is worth a warning.
#[derive(Debug)]
pub struct Loaded {
    pub manifest: Manifest,
    pub warnings: Vec<Problem>,
    /// The files it was read from, the one asked for first.
    pub sources: Sources,
    /// What else was read for it, or is granted to services: `env_file`s of its own, secrets and configs.
    pub(super) beside: Vec<UsedFile>,
}

/// `extends` may go through so many files.
const LONGEST_CHAIN: usize = 8;

/// Reads, merges and checks the manifest at `path`.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn read_manifest(path: &Path, variables: Variables) -> Result<Loaded, ManifestErrors> {
    read_manifest_with(path, variables, &ComingFiles::default())
}

/// As [`read_manifest`], as if files were there that are on their way.
///
/// # Errors
/// As [`read_manifest`].
pub fn read_manifest_with(path: &Path, variables: Variables, coming: &ComingFiles) -> Result<Loaded, ManifestErrors> {
    let mut reader = Reader { coming: coming.clone(), ..Reader::new(variables) };
    let manifest = reader.read(path);
    reader.finish(manifest)
}

/// Reads a JSON document that is no manifest: its files, what is wrong so far, and its root, where there is one.
pub(super) fn read_document(path: &Path) -> (Sources, Problems, Option<Node>) {
    let variables = Variables::default();
    let mut reader = Reader::new(variables);
    let root = reader.open(path, None).and_then(|file| {
        let text = reader.sources.file(file).text.clone();
        parse(file, &text, &mut reader.problems)
    });
    (reader.sources, reader.problems, root)
}

/// Reads a manifest that [`to_json`] wrote, as if it lay in the folder of the manifest at `path`.
///
/// # Errors
/// As [`read_manifest`].
pub fn read_resolved(
    document: &serde_json::Value,
    path: &Path,
    variables: Variables,
) -> Result<Loaded, ManifestErrors> {
    let mut reader = Reader::new(variables);
    let file = reader.add(path, format!("{document:#}"));
    let text = reader.sources.file(file).text.clone();
    let manifest = parse(file, &text, &mut reader.problems).and_then(|root| reader.join(vec![root]));
    reader.finish(manifest)
}

struct Reader {
    sources: Sources,
    problems: Problems,
    variables: Variables,
    /// What all files together may still have.
    bytes_left: usize,
    beside: Vec<UsedFile>,
    coming: ComingFiles,
}

impl Reader {
    fn new(variables: Variables) -> Self {
        Self {
            sources: Sources::default(),
            problems: Problems::default(),
            variables,
            bytes_left: LARGEST_TEXT,
            beside: Vec::new(),
            coming: ComingFiles::default(),
        }
    }

    fn finish(self, manifest: Option<Manifest>) -> Result<Loaded, ManifestErrors> {
        let Self { sources, problems, beside, .. } = self;
        if problems.has_errors() {
            return Err(ManifestErrors { kind: DocumentKind::Manifest, sources, problems: problems.into_sorted() });
        }
        let warnings = problems.into_sorted();
        match manifest {
            Some(manifest) => Ok(Loaded { manifest, warnings, sources, beside }),
            None => Err(ManifestErrors { kind: DocumentKind::Manifest, sources, problems: warnings }),
        }
    }

    fn read(&mut self, path: &Path) -> Option<Manifest> {
        let roots = self.chain(path)?;
        self.env_files(&roots);
        self.join(roots)
    }

    /// Makes one manifest of files that extend each other, the one that was asked for first.
    fn join(&mut self, mut roots: Vec<Node>) -> Option<Manifest> {
        let mut growth = 0;
        let mut ports_left = MOST_PORTS;
        for root in &mut roots {
            let (variables, problems) = (&self.variables, &mut self.problems);
            split_lists(root, &mut Splitting { variables, problems, growth: &mut growth });
            fill_in(root, &self.variables, &mut growth);
            let mut expansion = Expansion { problems: &mut self.problems, ports_left };
            expand(root, &mut expansion);
            ports_left = expansion.ports_left;
        }
        let mut effective = EffectiveNulls::default();
        // The chain has the file that was asked for first; the one that everything extends lies lowest.
        let mut layers = roots.into_iter().rev();
        let mut root = layers.next()?;
        for layer in layers {
            let span = layer.span;
            merge(&mut root, layer, &mut effective);
            root.span = span;
        }
        apply_defaults(&mut root, &mut effective, &mut self.problems);
        drop_nulls(&mut root, &effective, &mut self.problems);
        let granted = grant_files(&mut root, &mut Expansion { problems: &mut self.problems, ports_left });
        let home = self.variables.get("HOME").map(str::to_owned);
        for (is_secret, file) in granted {
            // What is wrong with one is told where a service mounts it.
            let mut problems = Problems::default();
            let mut context =
                Context { sources: &self.sources, problems: &mut problems, home: home.clone(), key: None };
            if let Some(path) = <PathBuf as super::steps::decode::Decode>::decode(&file, &mut context) {
                let purpose = if is_secret { FileUse::Secret } else { FileUse::Config };
                self.beside.push(UsedFile { path, purpose });
            }
        }
        let mut context = Context { sources: &self.sources, problems: &mut self.problems, home, key: None };
        let mut manifest = decode_manifest(&root, &mut context)?;
        manifest.folder = self.sources.file(0).folder.clone();
        name_own_providers(&mut manifest);
        let variables = Arc::new(self.variables.of_files().clone());
        manifest.services.iter_mut().for_each(|(_, service)| service.variables = variables.clone());
        checks::check(&manifest, &root, &mut self.problems);
        Some(manifest)
    }

    /// The file and those that it extends, parsed, in that order.
    fn chain(&mut self, path: &Path) -> Option<Vec<Node>> {
        let mut roots: Vec<Node> = Vec::new();
        let mut seen: HashSet<PathBuf> = HashSet::new();
        let mut next = Some((path.to_owned(), None::<Span>));
        while let Some((shown, named_at)) = next.take() {
            let file = self.open(&shown, named_at)?;
            let absolute_path = self.sources.file(file).folder.join(shown.file_name().unwrap_or_default());
            let text = self.sources.file(file).text.clone();
            let root = parse(file, &text, &mut self.problems)?;
            if !matches!(root.value, Value::Object(_)) {
                self.problems.error(root.span, message!("read-not-object", kind = root.kind()));
                return None;
            }
            seen.insert(absolute_path);
            if let Some(extends) = root.get("extends").filter(|extends| !matches!(extends.value, Value::Null)) {
                let Some(name) = extends.as_text().filter(|name| !name.is_empty()) else {
                    self.problems.error(extends.span, message!("read-extends-path"));
                    return None;
                };
                let folder = self.sources.file(file).folder.clone();
                if seen.contains(&absolute(&folder, Path::new(name))) {
                    self.problems.error(extends.span, message!("read-extends-itself", name = name));
                    return None;
                }
                if roots.len() + 1 >= LONGEST_CHAIN {
                    self.problems.error(extends.span, message!("read-extends-chain", most = LONGEST_CHAIN));
                    return None;
                }
                let beside = shown.parent().map(|parent| parent.join(name)).unwrap_or_else(|| PathBuf::from(name));
                next = Some((beside, Some(extends.span)));
            }
            roots.push(root);
        }
        Some(roots)
    }

    fn open(&mut self, shown: &Path, named_at: Option<Span>) -> Option<usize> {
        let fail = |problems: &mut Problems, why: Message| {
            problems.add(Severity::Error, named_at, message!("read-cannot", path = shown.display(), why = why), None);
            None
        };
        let mut bytes = Vec::new();
        let limit = self.bytes_left as u64 + 1;
        // What a person names may be a pipe; one that a manifest names, which may come from elsewhere, would be waited for.
        let read =
            self.coming.open(shown, named_at.is_none()).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        if let Err(error) = read {
            return fail(&mut self.problems, plain(&error));
        }
        let Some(left) = self.bytes_left.checked_sub(bytes.len()) else {
            return fail(&mut self.problems, message!("read-too-large"));
        };
        self.bytes_left = left;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                return fail(&mut self.problems, message!("read-not-utf8", at = at));
            }
        };
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Some(self.add(shown, text))
    }

    fn add(&mut self, shown: &Path, text: String) -> usize {
        let absolute_path = std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned());
        let absolute_path = absolute(Path::new("/"), &absolute_path);
        let folder = absolute_path.parent().unwrap_or(Path::new("/")).to_owned();
        self.sources.add(SourceFile { shown: shown.to_owned(), folder, text })
    }

    /// Reads the `env_file`s of the highest layer that says any: as every list they replace those below, and `null` removes them.
    fn env_files(&mut self, roots: &[Node]) {
        if let Some(node) = roots.iter().find_map(|root| root.get("env_file")) {
            let names: Vec<&Node> = match &node.value {
                Value::Array(items) => items.iter().collect(),
                Value::Null => Vec::new(),
                _ => vec![node],
            };
            for name in names {
                let mut name = name.clone();
                fill_in(&mut name, &self.variables, &mut 0);
                let home = self.variables.get("HOME").map(str::to_owned);
                let mut context = Context { sources: &self.sources, problems: &mut self.problems, home, key: None };
                let Some(path) = <PathBuf as super::steps::decode::Decode>::decode(&name, &mut context) else {
                    continue;
                };
                let text = self.coming.open(&path, false);
                let read = read_env_text(&path, text, &|name| self.variables.get(name).map(str::to_owned));
                self.beside.push(UsedFile { path: path.clone(), purpose: FileUse::Environment });
                match read {
                    Ok(lines) => self.variables.add_file(lines),
                    Err(EnvFileError::Read { path, source }) => {
                        let message = message!("read-env-file", path = path.display(), why = plain(&source));
                        self.problems.error(name.span, message);
                    }
                    Err(error) => self.problems.error(name.span, error.message()),
                }
            }
        }
    }
}

/// A service that shares the namespace of a container of this manifest shares that of its service: what happens to that
/// service has to reach both.
fn name_own_providers(manifest: &mut Manifest) {
    let services = manifest.services.names().map(|name| (manifest.container_name(name, 1), name.to_owned()));
    let services: HashMap<String, String> = services.collect();
    for (name, service) in manifest.services.iter_mut() {
        for mode in [&mut service.network_mode, &mut service.pid, &mut service.ipc].into_iter().flatten() {
            let owner = match mode {
                NamespaceMode::Container(container) => services.get(container.as_str()),
                _ => None,
            };
            if let Some(owner) = owner.filter(|owner| owner.as_str() != name) {
                *mode = NamespaceMode::Service(owner.clone());
            }
        }
    }
}

/// An I/O error without the number that the operating system gives it.
fn plain(error: &std::io::Error) -> Message {
    match error.kind() {
        std::io::ErrorKind::NotFound => message!("read-no-file"),
        std::io::ErrorKind::IsADirectory => message!("read-folder"),
        _ => system_words(error),
    }
}

/// The manifest as JSON that reads back as the same value: in its long form, dollars doubled.
pub fn to_json(manifest: &Manifest) -> serde_json::Value {
    let mut value = serde_json::to_value(manifest).unwrap_or_default();
    escape_dollars(&mut value);
    value
}
