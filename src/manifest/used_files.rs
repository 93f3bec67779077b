//! The files that a manifest is made of and reads: what a machine needs beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::{EnvValue, FileUse, SecretSource, UsedFile};
use super::read::Loaded;

impl Loaded {
    /// The files that it was read from, the one asked for first; absolute.
    pub fn manifest_files(&self) -> Vec<PathBuf> {
        let path = |file: &super::SourceFile| file.folder.join(file.shown.file_name().unwrap_or_default());
        self.sources.files().iter().map(path).collect()
    }

    /// All files that it is made of and that it reads, those that are missing included; each once, in the order of their paths.
    pub fn used_files(&self) -> Vec<UsedFile> {
        let mut files: BTreeMap<PathBuf, FileUse> = BTreeMap::new();
        let mut add = |path: &Path, purpose: FileUse| {
            let known = files.entry(path.to_owned()).or_insert(purpose);
            *known = purpose.min(*known);
        };
        self.manifest_files().iter().for_each(|path| add(path, FileUse::Manifest));
        self.beside.iter().for_each(|file| add(&file.path, file.purpose));
        for (_, _, service) in self.manifest.services.iter() {
            service.env_file.iter().for_each(|file| add(&file.path, FileUse::Environment));
            for value in service.environment.values() {
                if let EnvValue::Secret(SecretSource::File(path)) = value {
                    add(path, FileUse::Secret);
                }
            }
        }
        for (_, _, database) in self.manifest.databases.iter() {
            if let Some(SecretSource::File(path)) = &database.password {
                add(path, FileUse::Secret);
            }
            for value in database.variables.values() {
                if let EnvValue::Secret(SecretSource::File(path)) = value {
                    add(path, FileUse::Secret);
                }
            }
            database.patches.iter().for_each(|path| add(path, FileUse::Patch));
        }
        files.into_iter().map(|(path, purpose)| UsedFile { path, purpose }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Variables, read_manifest};

    #[test]
    fn all_that_a_manifest_reads_is_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("vars.env", "TAG=7.0\n");
        write("base.json", r#"{"env_file": "vars.env"}"#);
        write(
            "stack.json",
            r#"{"extends": "base.json", "project": "p",
                "secrets": {"key": {"file": "key.txt"}}, "configs": {"site": {"file": "conf/site.conf"}},
                "databases": {"d": {"service": "db", "password": {"file": "key.txt"}, "patches": ["fix.sql"]}},
                "services": {"db": {"image": "postgres:15", "env_file": "db.env", "secrets": ["key"], "configs": ["site"],
                                    "environment": {"TOKEN": {"file": "token"}}}}}"#,
        );
        write("db.env", "A=1\n");
        let loaded = read_manifest(&folder.path().join("stack.json"), Variables::default()).unwrap();
        let files: Vec<(String, FileUse)> = loaded
            .used_files()
            .into_iter()
            .map(|file| (file.path.strip_prefix(folder.path()).unwrap().display().to_string(), file.purpose))
            .collect();
        let expected = [
            ("base.json", FileUse::Manifest),
            ("conf/site.conf", FileUse::Config),
            ("db.env", FileUse::Environment),
            ("fix.sql", FileUse::Patch),
            ("key.txt", FileUse::Secret),
            ("stack.json", FileUse::Manifest),
            ("token", FileUse::Secret),
            ("vars.env", FileUse::Environment),
        ];
        assert_eq!(files, expected.map(|(path, purpose)| (path.to_owned(), purpose)));
    }
}
