//! What a project needs of an image store.

use std::collections::BTreeMap;
use std::path::Path;

use crate::images::formats::documents::Descriptor;
use crate::images::names::{engine_name, own_name};
use crate::images::store::writer::projects_of;
use crate::manifest::{FoundManifest, Manifest};

/// The references that the manifests of a project name, and those of others that share its store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeededImages {
    project: String,
    /// Each with its tag, and the services that use it.
    references: BTreeMap<String, Vec<String>>,
}

/// Why an entry of the store stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::images) enum Claim {
    /// A manifest names it.
    Manifest { services: Vec<String> },
    /// It was saved for other projects too.
    Projects(Vec<String>),
    /// It has no name, so that no manifest could name it.
    Unnamed,
}

impl NeededImages {
    /// What `manifest` needs of its store, and what those among `beside` need that are of its project or use its store.
    pub fn of<'a>(manifest: &Manifest, beside: impl IntoIterator<Item = &'a FoundManifest>) -> Self {
        let mut needed = Self { project: manifest.project.clone(), references: BTreeMap::new() };
        needed.add(manifest);
        let store = manifest.paths.images.as_deref().map(resolved);
        for found in beside {
            let other = &found.loaded.manifest;
            if other.project == manifest.project
                || store.is_some() && other.paths.images.as_deref().map(resolved) == store
            {
                needed.add(other);
            }
        }
        needed
    }

    /// What a project needs whose manifest names these references, each with its tag.
    #[cfg(test)]
    pub fn these(project: &str, names: &[&str]) -> Self {
        let references = names.iter().map(|name| ((*name).to_owned(), vec!["a".to_owned()])).collect();
        Self { project: project.to_owned(), references }
    }

    fn add(&mut self, manifest: &Manifest) {
        for (_, service, definition) in manifest.services.iter() {
            if let Some(name) = engine_name(&definition.image) {
                let services = self.references.entry(name).or_default();
                if !services.iter().any(|known| known == service) {
                    services.push(service.to_owned());
                }
            }
        }
    }

    pub fn project(&self) -> &str {
        &self.project
    }

    /// The services that use a reference, which has its tag.
    pub(in crate::images) fn users(&self, name: &str) -> Option<&[String]> {
        self.references.get(name).map(Vec::as_slice)
    }

    /// The references that manifests of the project name, each with its tag.
    pub(in crate::images) fn names(&self) -> impl Iterator<Item = &str> {
        self.references.keys().map(String::as_str)
    }

    /// Who needs an entry of the store, which is called `name`; `None` where nobody is known to.
    pub(in crate::images) fn claim(&self, entry: &Descriptor, name: Option<&str>) -> Option<Claim> {
        if let Some(services) = name.and_then(|name| self.users(name)) {
            return Some(Claim::Manifest { services: services.to_vec() });
        }
        let others: Vec<String> =
            projects_of(entry).into_iter().filter(|project| *project != self.project).map(str::to_owned).collect();
        if !others.is_empty() {
            return Some(Claim::Projects(others));
        }
        // What `dpl` saved and whose name another image has now is replaced, as by a save.
        let is_replaced = entry.is_sealed() && entry.seal_holds() && own_name(entry).is_some();
        (name.is_none() && !is_replaced).then_some(Claim::Unnamed)
    }
}

fn resolved(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
