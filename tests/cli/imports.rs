//! Imports run one way (docs/architecture.md), between the modules of the crate and inside some of them: a look at every path of the
//! source, as the compiler reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use crate::support::repository;

/// Each module of the crate, and those that it may name.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    // The last one is for tests alone.
    let base = vec!["catalogue", "report", "fs", "failpoint", "fuzz_seeds"];
    let with = |modules: &[&'static str]| [modules, &base].concat();
    let low = ["manifest", "engine", "state"];
    BTreeMap::from([
        (
            "cli",
            with(&[
                "packages",
                "sites",
                "databases",
                "folders",
                "files",
                "services",
                "images",
                "manifest",
                "engine",
                "state",
            ]),
        ),
        ("packages", with(&["sites", "databases", "services", "images", "manifest", "engine", "state"])),
        ("sites", with(&["databases", "services", "images", "manifest", "engine", "state", "ssh"])),
        ("databases", with(&["services", "images", "manifest", "engine", "state"])),
        ("folders", base.clone()),
        ("files", with(&["manifest", "state"])),
        ("services", with(&low)),
        ("images", with(&low)),
        ("manifest", base.clone()),
        ("engine", with(&["ssh"])),
        ("ssh", base.clone()),
        ("state", base.clone()),
        ("catalogue", vec!["report"]),
        ("report", vec!["failpoint"]),
        ("fs", vec!["catalogue", "report", "failpoint"]),
        ("failpoint", vec![]),
        ("fuzz_seeds", vec![]),
        ("main", vec!["cli"]),
        (
            "lib",
            vec![
                "cli",
                "packages",
                "sites",
                "databases",
                "files",
                "folders",
                "services",
                "images",
                "manifest",
                "engine",
                "state",
                "ssh",
                "catalogue",
                "report",
                "fs",
                "failpoint",
            ],
        ),
    ])
}

/// The order inside a module: each step may name those after it, none before it, and none beside it. What is not listed is
/// free.
const INSIDE: [(&str, &[&[&str]]); 8] = [
    ("cli", &[&["commands"], &["session"], &["grammar"], &["ask"], &["text"]]),
    ("databases", &[&["retention"], &["replace"], &["archive"], &["described"], &["server"]]),
    ("databases", &[&["convert"], &["dump"], &["archive"], &["described"], &["server"]]),
    ("engine", &[&["lock"], &["api"], &["transport"], &["address"]]),
    (
        "folders",
        &[
            &["care"],
            &["snapshots"],
            &["documents", "restore"],
            &["compare"],
            &["repository"],
            &["verified", "walk"],
            &["trouble"],
            &["entry", "settings"],
            &["error"],
        ],
    ),
    (
        "images",
        &[
            &["save", "load", "exchange", "transfer", "list", "engine_prune"],
            &["identity"],
            &["store", "engine_layers"],
            &["formats"],
        ],
    ),
    (
        "manifest",
        &[
            &["other_manifests", "used_files"],
            &["read"],
            &["checks"],
            &["selectors"],
            &["graph", "steps"],
            &["model", "text"],
        ],
    ),
    ("services", &[&["show", "run"], &["plan"], &["snapshot"], &["container"]]),
];

/// Crates that belong to one module, or to a few.
const OWNED: [(&str, &[&str]); 5] = [
    ("bollard", &["engine"]),
    ("rustic_core", &["folders"]),
    ("openssh", &["engine", "sites"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
];

const PRINTS: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// A path that a file names: from the crate's root (`crate` is left out), or from a crate's name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    path: Vec<String>,
    is_ours: bool,
    is_test: bool,
    line: usize,
}

/// Collects the paths of one file.
struct Paths {
    /// Where the file's present module stands in the crate.
    module: Vec<String>,
    is_test: bool,
    named: Vec<Named>,
    prints: Vec<usize>,
}

impl Paths {
    fn of(name: &str, text: &str) -> Self {
        let mut module: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let is_test = module.iter().any(|part| part == "tests");
        let mut paths = Self { module, is_test, named: Vec::new(), prints: Vec::new() };
        paths.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}")));
        paths
    }

    fn add(&mut self, path: &[String], line: usize) {
        let Some((first, rest)) = path.split_first() else { return };
        let mut at = self.module.clone();
        let (path, is_ours) = match first.as_str() {
            "crate" | "dpl" => (rest.to_vec(), true),
            "self" => ([at, rest.to_vec()].concat(), true),
            "super" => {
                at.pop();
                let ups = rest.iter().take_while(|part| *part == "super").count();
                at.truncate(at.len().saturating_sub(ups));
                ([at, rest[ups..].to_vec()].concat(), true)
            }
            _ => (path.to_vec(), false),
        };
        self.named.push(Named { path, is_ours, is_test: self.is_test, line });
    }

    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let mut path = before.to_vec();
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_tree(&part.tree, &path);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, &path)),
            syn::UseTree::Name(name) => {
                // `a::{self}` names `a`.
                if name.ident != "self" || path.is_empty() {
                    path.push(name.ident.to_string());
                }
                self.add(&path, name.ident.span().start().line);
            }
            syn::UseTree::Rename(rename) => {
                if rename.ident != "self" || path.is_empty() {
                    path.push(rename.ident.to_string());
                }
                self.add(&path, rename.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => self.add(&path, glob.star_token.spans[0].start().line),
        }
    }

    /// Paths in what a macro or an attribute takes, which is not parsed further.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path, line);
                    }
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Punct(mark) => {
                    let is_macro = mark.as_char() == '!';
                    if is_macro && path.last().is_some_and(|name| PRINTS.contains(&name.as_str())) && !self.is_test {
                        self.prints.push(line);
                    }
                    self.end(&mut path, line);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.end(&mut path, line);
                    colons = 0;
                    self.add_tokens(group.stream());
                }
                TokenTree::Literal(_) => {
                    self.end(&mut path, line);
                    colons = 0;
                }
            }
        }
        self.end(&mut path, line);
    }

    fn end(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.add(path, line);
        }
        path.clear();
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(&names, path.segments[0].ident.span().start().line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last()
            && PRINTS.contains(&name.ident.to_string().as_str())
            && !self.is_test
        {
            self.prints.push(name.ident.span().start().line);
        }
        self.add_tokens(call.tokens.clone());
        syn::visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
        syn::visit::visit_attribute(self, attribute);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let was_test = self.is_test;
        self.is_test |= is_for_tests(&item.attrs);
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
        self.is_test = was_test;
    }
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(repository().join("src")).unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with a file: each a line of its own.
fn wrongs(name: &str, text: &str, inside: &[(&str, &[&[&str]])]) -> Vec<String> {
    let allowed = allowed();
    let paths = Paths::of(name, text);
    let here = name.split(['/', '.']).next().unwrap();
    let Some(may) = allowed.get(here) else { return vec![format!("{name} belongs to no known module")] };
    let mut wrong = Vec::new();
    for Named { path, is_ours, is_test, line } in &paths.named {
        let first = path.first().map_or("", String::as_str);
        if *is_ours && allowed.contains_key(first) && first != here && !may.contains(&first) {
            wrong.push(format!("{name}:{line}: {here} must not name {first}"));
        }
        if !is_ours && OWNED.iter().any(|(owned, owner)| first == *owned && !owner.contains(&here)) {
            wrong.push(format!("{name}:{line}: {first} belongs to another module"));
        }
        if !is_ours && here != "cli" && path.ends_with(&["process".to_owned(), "exit".to_owned()]) {
            wrong.push(format!("{name}:{line}: only cli ends the program"));
        }
        for (_, steps) in inside.iter().filter(|(module, _)| *module == here && *is_ours && first == here) {
            let step = |part: &str| steps.iter().position(|step| step.contains(&part));
            let from = name.split('/').nth(1).map_or("", |part| part.trim_end_matches(".rs"));
            let to = path.get(1).map_or("", String::as_str);
            let goes_back = step(from).zip(step(to)).is_some_and(|(from, to)| to <= from);
            if !is_test && from != to && goes_back {
                wrong.push(format!("{name}:{line}: {from} must not name {to}"));
            }
        }
    }
    if here != "cli" {
        wrong.extend(paths.prints.iter().map(|line| format!("{name}:{line}: only cli prints")));
    }
    wrong
}

#[test]
fn imports_run_one_way() {
    let mut files = Vec::new();
    sources(&repository().join("src"), &mut files);
    assert!(files.len() > 50);
    for (module, steps) in INSIDE {
        for part in steps.concat() {
            let path = repository().join("src").join(module).join(part);
            assert!(path.is_dir() || path.with_extension("rs").is_file(), "{module}/{part} is there no more");
        }
    }
    let wrong: Vec<String> = files.iter().flat_map(|(name, text)| wrongs(name, text, &INSIDE)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_the_wrong_way_is_found_however_it_is_written() {
    let inside: [(&str, &[&[&str]]); 1] = [("images", &[&["save", "load"], &["store"], &["formats"]])];
    let found = |name: &str, text: &str| wrongs(name, text, &inside);
    for text in [
        "use crate::cli::Ask;",
        "use crate::{\n    fs::Digest,\n    cli::{\n        Ask,\n    },\n};",
        "use crate::cli;",
        "use crate::{cli as other};",
        "use super::super::super::cli::*;",
        "fn f() { crate::cli::ask() }",
        "fn f(x: &crate::cli::Ask) {}",
        "fn f() { format!(\"{}\", crate::cli::ask()); }",
        "mod tests { use super::super::super::super::cli::Ask; }",
        "use bollard::Docker;",
        "#[derive(clap::Parser)] struct S;",
        "fn f() { std::process::exit(1) }",
        "fn f() { println!() }",
        "fn f() { select! { _ = x => { eprintln!(\"\") } } }",
        "use super::super::save::Saved;",
        "use crate::images::{store::Store, load};",
        "fn f() { super::super::load::all() }",
    ] {
        assert_eq!(found("images/store/index.rs", text).len(), 1, "{text}: {:?}", found("images/store/index.rs", text));
    }
    for text in [
        "// use crate::cli::Ask;",
        "use crate::engine::Engine;",
        "use super::super::formats::Layout;",
        "use crate::images::{ImagesError, formats};",
        "fn f() { \"crate::cli::ask println!\"; }",
        "#[cfg(test)] mod tests { use crate::images::save::Saved; }",
        "#[cfg(test)] mod tests { fn f() { println!() } }",
    ] {
        assert_eq!(found("images/store/index.rs", text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(found("images/load.rs", "use super::save::Saved;").len(), 1, "they stand beside each other");
    assert_eq!(found("images/store/tests.rs", "use crate::images::save::Saved;"), Vec::<String>::new());
}

#[test]
fn the_stages_of_services_name_only_earlier_ones() {
    let found = |name: &str, text: &str| wrongs(name, text, &INSIDE);
    for (name, text) in [
        ("services/container/spec.rs", "use crate::services::snapshot::Snapshot;"),
        ("services/snapshot/host.rs", "use crate::services::{error::ServicesError, plan::Plan};"),
        ("services/snapshot/host.rs", "fn f() -> super::super::plan::Plan { todo!() }"),
        ("services/plan/decide.rs", "use crate::services::run::undo::UndoLog;"),
        ("services/run/executor.rs", "use crate::services::show::status::status;"),
        ("services/show/examine.rs", "use crate::services::{run, snapshot::Snapshot};"),
    ] {
        assert_eq!(found(name, text).len(), 1, "{name}: {text}");
    }
    for (name, text) in [
        ("services/run/executor.rs", "use crate::services::{container::labels, plan::Plan, snapshot::Snapshot};"),
        ("services/show/examine.rs", "use crate::services::plan::plan;"),
        ("services/plan/tests/simulated/world.rs", "use crate::services::run::undo::UndoLog;"),
    ] {
        assert_eq!(found(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}
