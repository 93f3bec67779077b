//! Files that a manifest names, and what is in those that are read.

use std::io;
use std::path::Path;

use super::Checker;
use crate::catalogue::system_words;
use crate::manifest::model::{EnvFormat, EnvValue, MountKind, SecretSource};
use crate::manifest::steps::env_file::{EnvProblem, env_entries, is_empty_secret, read_capped};
use crate::manifest::text::parse::LARGEST_TEXT;
use crate::manifest::text::problem::Severity;
use crate::report::Message;

impl Checker<'_> {
    /// Files that are not there yet: they may come before they are used, so these are warnings.
    pub(super) fn files(&mut self) {
        for (name, service) in self.services() {
            for (key, value) in &service.environment {
                if let EnvValue::Secret(source) = value {
                    self.secret(source, &["services", name, "environment", key]);
                }
            }
            for (index, file) in service.env_file.iter().enumerate().filter(|(_, file)| file.required) {
                let path = ["services", name, "env_file", &index.to_string()];
                self.missing(&file.path, message!("noun-env-file"), &path);
            }
            for (index, file) in
                service.env_file.iter().enumerate().filter(|(_, file)| file.format == EnvFormat::Dotenv)
            {
                self.lines(&file.path, &["services", name, "env_file", &index.to_string()]);
            }
            for (index, mount) in service.volumes.iter().enumerate() {
                let source = mount.source.as_deref().filter(|_| mount.kind == MountKind::Bind);
                if let Some(source) = source.filter(|_| !mount.bind.create_host_path) {
                    let path = ["services", name, "volumes", &index.to_string()];
                    self.missing(Path::new(source), message!("noun-bind-source"), &path);
                }
            }
        }
        for (_, name, database) in self.manifest.databases.iter() {
            if let Some(source) = &database.password {
                self.secret(source, &["databases", name, "password"]);
            }
            for (key, value) in &database.variables {
                if let EnvValue::Secret(source) = value {
                    self.secret(source, &["databases", name, "variables", key]);
                }
            }
            for (index, patch) in database.patches.iter().enumerate() {
                self.missing(patch, message!("noun-patch"), &["databases", name, "patches", &index.to_string()]);
            }
        }
    }

    fn secret(&mut self, source: &SecretSource, path: &[&str]) {
        if let SecretSource::File(file) = source {
            let help = message!("hint-secret-file", path = file.display());
            if is_empty_secret(file) && self.missed.insert(file.to_owned()) {
                let message = message!("check-secret-empty", path = file.display());
                self.problems.add(Severity::Warning, Some(self.root.place(path)), message, Some(help));
                return;
            }
            self.missing_with_help(file, message!("noun-secret-file"), path, Some(help));
        }
    }

    /// Lines of an `env_file` that can't be read, whatever the variables in them are; stopping a stack needs none of them.
    fn lines(&mut self, file: &Path, path: &[&str]) {
        let text = match read_capped(file, LARGEST_TEXT as u64) {
            Ok(text) => text,
            // A folder, a pipe, another encoding: nothing that comes later makes a file of it that can be read.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
                let message = message!("read-env-file", path = file.display(), why = system_words(&error));
                self.problems.warning(self.root.place(path), message);
                return;
            }
            Err(_) => return,
        };
        for (_, entry) in env_entries(&text, &|_| Some(String::new())) {
            if let Err(EnvProblem { line, why }) = entry {
                let message = message!("error-beside-problem", file = file.display(), line = line, problem = why);
                self.problems.warning(self.root.place(path), message);
            }
        }
    }

    fn missing(&mut self, file: &Path, what: Message, path: &[&str]) {
        self.missing_with_help(file, what, path, None);
    }

    /// Each file is missed once, where it is named first.
    fn missing_with_help(&mut self, file: &Path, what: Message, path: &[&str], help: Option<Message>) {
        // Below a folder that may not be read nobody knows.
        let is_missing = match file.metadata() {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        if !is_missing || self.missed.contains(file) {
            return;
        }
        self.missed.insert(file.to_owned());
        let message = message!("check-not-there", what = what, path = file.display());
        self.problems.add(Severity::Warning, Some(self.root.place(path)), message, help);
    }
}
