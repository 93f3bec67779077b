//! Data folders: what can't be kept as it is written.

use std::path::Path;

use ignore::gitignore::GitignoreBuilder;

use super::{Checker, Place};

impl Checker<'_> {
    /// Folders that can't be kept as they are written. The password of the repository is not missed: `data init` makes it.
    pub(super) fn data(&mut self) {
        let manifest = self.manifest;
        let mut earlier: Vec<(&str, &Path)> = Vec::new();
        for (_, name, data) in manifest.data.iter() {
            for (index, user) in data.used_by.iter().enumerate() {
                self.service_exists(user, &["data", name, "used_by", &index.to_string()], Place::Value);
            }
            for (index, pattern) in data.exclude.iter().enumerate() {
                let mut patterns = GitignoreBuilder::new("/");
                if patterns.add_line(None, pattern).is_err() {
                    let span = self.root.place(&["data", name, "exclude", &index.to_string()]);
                    let message = message!("check-data-pattern", pattern = pattern);
                    self.problems.error_with_help(span, message, message!("help-data-pattern"));
                }
            }
            let span = self.root.place(&["data", name, "path"]);
            let path = data.path.as_path();
            if path.as_os_str().is_empty() {
                // Missing, and told.
                continue;
            }
            if path == Path::new("/") {
                self.problems.error(span, message!("check-data-root"));
            } else if manifest.paths.backups.as_ref().is_some_and(|backups| backups.starts_with(path)) {
                self.problems.error(span, message!("check-data-backups"));
            } else if let Some((other, _)) = earlier.iter().find(|(_, other)| *other == path) {
                self.problems.error(span, message!("check-data-same", other = other));
            }
            earlier.push((name, path));
        }
    }
}
