//! `sites.json`: the other machines on which the project runs, and how each is reached. Read as a manifest is: strict, with
//! places, all errors at once. A variable without a value makes one site unusable, not the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{ByteSize, InvalidValue};
use super::read::read_document;
use super::steps::decode::{Context, Decode, Fields};
use super::steps::variables::{Variables, fill_in};
use super::text::node::{Node, Value};
use super::text::problem::{DocumentKind, ManifestErrors, Problem, Problems};
use super::text::source::{Sources, Span};
use crate::report::{Message, Told};

/// Its usual name.
const FILE: &str = "sites.json";

/// The sites of a project, in the order of the file.
#[derive(Debug)]
pub struct SiteList {
    pub path: PathBuf,
    pub sites: IndexMap<String, Site>,
    pub warnings: Vec<Problem>,
    pub sources: Sources,
}

/// A machine with an engine of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// What the ssh command takes: an alias of its configuration, `USER@HOST`, `ssh://USER@HOST:PORT`. `None` for a site
    /// without a connection.
    pub ssh: Option<String>,
    /// The project's folder there.
    pub folder: Option<String>,
    /// The manifest there, relative to the folder.
    pub manifest: Option<String>,
    /// Bytes a second that a transfer may take.
    pub limit: Option<Rate>,
    pub groups: Vec<String>,
    /// Whether the engine there needs root's rights.
    pub sudo: bool,
    /// Nothing connects to it: packages are its way.
    pub offline: bool,
    /// Environment variables of every command there.
    pub variables: BTreeMap<String, String>,
    /// Why it can't be used: a variable without a value.
    pub problem: Option<Message>,
}

/// What the file says, for its schema.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SitesDocument {
    /// The schema of this file, for editors.
    #[serde(rename = "$schema")]
    schema: Option<String>,
    /// Lies under every site.
    defaults: Option<SiteDocument>,
    /// The sites, by name.
    sites: IndexMap<String, SiteDocument>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SiteDocument {
    /// What the ssh command takes: an alias of its configuration, `USER@HOST` or `ssh://USER@HOST:PORT`.
    ssh: Option<String>,
    /// The project's folder at the site, an absolute path.
    folder: Option<String>,
    /// The manifest at the site, relative to the folder.
    manifest: Option<String>,
    /// The most that a transfer may take of the line, as `20MB/s`.
    limit: Option<String>,
    /// Groups that `@NAME` chooses.
    groups: Option<Vec<String>>,
    /// Run dpl with sudo there.
    sudo: Option<bool>,
    /// There is no connection to it: it gets packages.
    offline: Option<bool>,
    /// Environment variables for every command there.
    variables: Option<BTreeMap<String, String>>,
}

/// Bytes a second, written as `20MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

impl FromStr for Rate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(message!("invalid-rate", text = text));
        let size = text.trim().strip_suffix("/s").ok_or_else(wrong)?;
        match size.parse::<ByteSize>() {
            Ok(ByteSize(bytes)) if bytes > 0 => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl Decode for Rate {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, context)?;
        text.parse().map_err(|error: InvalidValue| context.problems.error(node.span, error.message())).ok()
    }
}

/// The file of sites where none is named: `DPL_SITES`, else `sites.json` beside the manifest, else the one here.
pub fn sites_file(manifest: Option<&Path>) -> PathBuf {
    if let Some(path) = std::env::var_os("DPL_SITES").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let beside = manifest.and_then(Path::parent).map(|folder| folder.join(FILE));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(FILE))
}

/// Reads the file at `path`.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn read_sites(path: &Path, variables: &Variables) -> Result<SiteList, ManifestErrors> {
    let (sources, mut problems, root) = read_document(path);
    let sites = root.map(|root| decode(&root, variables, &sources, &mut problems)).unwrap_or_default();
    if problems.has_errors() {
        return Err(ManifestErrors { kind: DocumentKind::Sites, sources, problems: problems.into_sorted() });
    }
    Ok(SiteList { path: path.to_owned(), sites, warnings: problems.into_sorted(), sources })
}

fn decode(root: &Node, variables: &Variables, sources: &Sources, problems: &mut Problems) -> IndexMap<String, Site> {
    let mut context = Context { sources, problems, home: None, key: None };
    let mut sites = IndexMap::new();
    let Some(mut fields) = Fields::open(root, &mut context) else { return sites };
    let _ = fields.optional::<String>("$schema", &mut context);
    let defaults = fields.node("defaults").cloned();
    let listed = fields.node("sites").cloned();
    fields.finish(&mut context);
    let Some(listed) = listed else {
        context.problems.error(root.span, message!("decode-missing", key = "sites"));
        return sites;
    };
    let Value::Object(entries) = listed.value else {
        context.expected(&listed, message!("kind-object"));
        return sites;
    };
    if let Some(defaults) = &defaults {
        // What is wrong there is told once, not for each site.
        site(defaults, None, variables, &mut context);
    }
    for entry in entries {
        if let Some(why) = bad_name(&entry.key) {
            context.problems.error(entry.key_span, why);
            continue;
        }
        let Some(mut site) = site(&entry.value, defaults.as_ref(), variables, &mut context) else { continue };
        check(&mut site, &entry.key, entry.key_span, &entry.value, &mut context);
        sites.insert(entry.key, site);
    }
    sites
}

/// Names are typed, and are parts of paths.
fn bad_name(name: &str) -> Option<Message> {
    let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let is_name = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(is_plain)
        && name.starts_with(char::is_alphanumeric)
        && !super::selectors::reads_as_selector(name);
    (!is_name).then(|| message!("sites-name", name = name.escape_debug()))
}

fn site(node: &Node, defaults: Option<&Node>, variables: &Variables, context: &mut Context<'_>) -> Option<Site> {
    let mut node = node.clone();
    if let (Some(defaults), Value::Object(_)) = (defaults, &node.value) {
        lay_under(&mut node, defaults);
    }
    fill_in(&mut node, variables, &mut 0);
    let problem = first_unresolved(&mut node);
    let mut fields = Fields::open(&node, context)?;
    let site = Site {
        ssh: fields.optional("ssh", context),
        folder: fields.optional("folder", context),
        manifest: fields.optional("manifest", context),
        limit: fields.optional("limit", context),
        groups: fields.field("groups", context),
        sudo: fields.field_or("sudo", false, context),
        offline: fields.field_or("offline", false, context),
        variables: fields
            .optional::<IndexMap<String, String>>("variables", context)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        problem,
    };
    fields.finish(context);
    Some(site)
}

/// Keys that a site does not have come from the defaults; those of `variables` one by one.
fn lay_under(site: &mut Node, defaults: &Node) {
    for default in defaults.entries() {
        match site.get_mut(&default.key) {
            Some(own) if default.key == "variables" => lay_under(own, &default.value),
            Some(_) => {}
            None => site.entries_mut().into_iter().for_each(|entries| entries.push(default.clone())),
        }
    }
}

/// Takes strings without a value out, and gives the first one's reason.
fn first_unresolved(node: &mut Node) -> Option<Message> {
    let mut first = None;
    let mut look = |node: &mut Node| {
        if let Value::Unresolved { message, .. } = &node.value {
            first.get_or_insert_with(|| message.clone());
            node.value = Value::String(super::text::node::Text { text: String::new(), from_variable: true });
        }
    };
    fn walk(node: &mut Node, look: &mut dyn FnMut(&mut Node)) {
        look(node);
        match &mut node.value {
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, look)),
            Value::Object(entries) => entries.iter_mut().for_each(|entry| walk(&mut entry.value, look)),
            _ => {}
        }
    }
    walk(node, &mut look);
    first
}

/// What one field alone can't know.
fn check(site: &mut Site, name: &str, name_span: Span, node: &Node, context: &mut Context<'_>) {
    if site.problem.is_some() {
        return;
    }
    match (&site.ssh, site.offline) {
        (Some(_), true) => context.problems.error(node.place(&["offline"]), message!("sites-offline-ssh", name = name)),
        (None, false) => {
            let message = message!("sites-no-ssh", name = name);
            context.problems.error_with_help(name_span, message, message!("help-sites-offline"));
        }
        _ => {}
    }
    let is_destination = |ssh: &str| {
        !ssh.is_empty()
            && !ssh.starts_with('-')
            && !ssh.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    };
    if let Some(ssh) = site.ssh.as_ref().filter(|ssh| !is_destination(ssh)) {
        let message = message!("sites-destination", ssh = ssh.escape_debug());
        context.problems.error_with_help(node.place(&["ssh"]), message, message!("help-sites-destination"));
    }
    match &site.folder {
        Some(folder) if !folder.starts_with('/') => {
            context.problems.error(node.place(&["folder"]), message!("sites-folder-absolute", folder = folder));
        }
        None if !site.offline => context.problems.error(name_span, message!("sites-no-folder", name = name)),
        _ => {}
    }
    if let Some(manifest) = &site.manifest
        && (manifest.starts_with('/') || manifest.split('/').any(|part| part == "..") || !manifest.ends_with(".json"))
    {
        context.problems.error(node.place(&["manifest"]), message!("sites-manifest-below", manifest = manifest));
    }
    for variable in site.variables.keys().filter(|variable| !is_variable(variable)) {
        let message = message!("sites-variable", name = variable.escape_debug());
        context.problems.error(node.place(&["variables"]), message);
    }
}

fn is_variable(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty() && name.chars().all(is_letter) && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn english(message: &Message) -> String {
        Catalogue::english().text(message)
    }

    fn read(text: &str) -> Result<SiteList, Vec<String>> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("sites.json");
        std::fs::write(&path, text).unwrap();
        let process = BTreeMap::from([("PROD_HOST".to_owned(), "10.0.0.5".to_owned())]);
        read_sites(&path, &Variables::new(process))
            .map_err(|errors| errors.problems.iter().map(|problem| english(&problem.message)).collect())
    }

    #[test]
    fn sites_have_what_the_file_says_above_its_defaults() {
        let list = read(
            r#"{"defaults": {"folder": "/data1/project", "manifest": "prod.json", "variables": {"A": "1", "B": "1"}},
                "sites": {"prod": {"ssh": "root@${PROD_HOST}", "limit": "20MB/s", "groups": ["shanghai"]},
                          "lab": {"ssh": "lab", "sudo": true, "folder": "/srv", "variables": {"B": "2"}},
                          "vault": {"offline": true}}}"#,
        )
        .unwrap();
        let prod = &list.sites["prod"];
        assert_eq!(prod.ssh.as_deref(), Some("root@10.0.0.5"));
        assert_eq!((prod.folder.as_deref(), prod.manifest.as_deref()), (Some("/data1/project"), Some("prod.json")));
        assert_eq!(prod.limit, Some(Rate(20 << 20)));
        let lab = &list.sites["lab"];
        assert_eq!(lab.folder.as_deref(), Some("/srv"));
        assert_eq!(lab.variables, BTreeMap::from([("A", "1"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()))));
        assert!(list.sites["vault"].ssh.is_none());
    }

    #[test]
    fn a_missing_variable_makes_its_own_site_unusable_alone() {
        let list =
            read(r#"{"sites": {"a": {"ssh": "root@${NOT_SET}", "folder": "/x"}, "b": {"ssh": "b", "folder": "/x"}}}"#)
                .unwrap();
        assert_eq!(list.sites["a"].problem.as_ref().map(english).as_deref(), Some("the variable NOT_SET has no value"));
        assert_eq!(list.sites["b"].problem, None);
    }

    #[test]
    fn the_headline_says_which_file_it_is_about() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("sites.json");
        std::fs::write(&path, "{}").unwrap();
        let errors = read_sites(&path, &Variables::new(BTreeMap::new())).unwrap_err();
        let headline = english(&errors.message());
        assert!(headline.starts_with("the file of sites ") && headline.ends_with("has 1 error"), "{headline}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_all_at_once() {
        let errors = read(
            r#"{"sites": {"a": {"ssh": "-oProxyCommand=x", "folder": "/x"}, "b": {"folder": "x"}, "17": {"ssh": "c"},
                "d": {"ssh": "d", "folder": "/x", "manifest": "../x.json", "limit": "fast", "shh": 1}}}"#,
        )
        .unwrap_err();
        for part in [
            "not a destination",
            "no `ssh` address",
            "not an absolute path",
            "site's name",
            "below the site's folder",
            "valid rate",
            "unknown key `shh`",
        ] {
            assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:?}");
        }
    }
}
