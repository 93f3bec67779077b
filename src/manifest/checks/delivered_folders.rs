//! Folders that a delivery brings: where they may lie, and what they name.

use ignore::gitignore::GitignoreBuilder;

use super::{Checker, Place};
use crate::manifest::model::DeliveredFolder;
use crate::manifest::selectors::{reads_as_selector, services_named};

impl Checker<'_> {
    pub(super) fn delivered_folders(&mut self) {
        let manifest = self.manifest;
        let mut earlier: Vec<(&str, &DeliveredFolder)> = Vec::new();
        for (name, folder) in &manifest.files {
            self.name_of_delivered_folder(name);
            self.place_of_delivered_folder(name, folder);
            for (other, before) in &earlier {
                let is_nested = folder.to.starts_with(&before.to) || before.to.starts_with(&folder.to);
                if is_nested {
                    let span = self.root.place(&["files", name, "to"]);
                    self.problems.error(span, message!("check-files-nested", other = other));
                }
            }
            for (index, pattern) in folder.exclude.iter().enumerate() {
                let mut patterns = GitignoreBuilder::new("/");
                if patterns.add_line(None, pattern).is_err() {
                    let span = self.root.place(&["files", name, "exclude", &index.to_string()]);
                    let message = message!("check-data-pattern", pattern = pattern);
                    self.problems.error_with_help(span, message, message!("help-data-pattern"));
                }
            }
            for (index, pattern) in folder.restart.iter().enumerate() {
                let path = ["files", name, "restart", &index.to_string()];
                if !pattern.contains(['*', '?']) {
                    self.service_exists(pattern, &path, Place::Value);
                } else if services_named(manifest, std::slice::from_ref(pattern)).is_empty() {
                    self.problems.error(self.root.place(&path), message!("check-files-restart", glob = pattern));
                }
            }
            earlier.push((name.as_str(), folder));
        }
    }

    fn name_of_delivered_folder(&mut self, name: &str) {
        let span = self.root.key_place(&["files", name]);
        let is_fine = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !is_fine {
            let message = message!("check-files-name", name = name);
            self.problems.error_with_help(span, message, message!("help-service-name"));
        } else if reads_as_selector(name) {
            self.problems.error(span, message!("check-files-selector", name = name));
        }
    }

    /// A target is replaced as a whole: it must be a folder of its own, of this project.
    fn place_of_delivered_folder(&mut self, name: &str, folder: &DeliveredFolder) {
        let manifest = self.manifest;
        let (from, to) = (&folder.from, &folder.to);
        // What is missing was reported.
        if from.as_os_str().is_empty() || to.as_os_str().is_empty() {
            return;
        }
        let span = self.root.place(&["files", name, "to"]);
        let paths = &manifest.paths;
        let is_own =
            [Some(&manifest.folder), paths.data.as_ref()].into_iter().flatten().any(|root| to.starts_with(root));
        let state = manifest.folder.join(".dpl");
        let held = [Some(&state), paths.data.as_ref(), paths.images.as_ref(), paths.backups.as_ref()];
        if let Some(held) = held.into_iter().flatten().find(|held| held.starts_with(to)) {
            self.problems.error(span, message!("check-files-holds", path = held.display()));
        } else if from.starts_with(to) || to.starts_with(from) {
            self.problems.error(span, message!("check-files-from", path = from.display()));
        } else if !is_own && !folder.outside {
            let message = message!("check-files-outside", path = to.display());
            self.problems.error_with_help(span, message, message!("help-files-outside"));
        }
    }
}
