//! Files that are on their way to a project's folder: a manifest is read as if they were there, so that what it says is known, and
//! can be refused, before anything is replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::text::source::absolute;

/// Contents by the places that they are to have.
#[derive(Debug, Clone, Default)]
pub struct ComingFiles(BTreeMap<PathBuf, ComingFile>);

/// Where a content is for now.
#[derive(Debug, Clone)]
pub enum ComingFile {
    At(PathBuf),
    Content(Vec<u8>),
}

impl ComingFiles {
    /// `place` need not be absolute; links in it are not followed.
    pub fn add(&mut self, place: &Path, file: ComingFile) {
        self.0.insert(key(place), file);
    }

    pub fn has(&self, place: &Path) -> bool {
        self.0.contains_key(&key(place))
    }

    /// What is to be at a place: what comes there, else what is there. A pipe or a device is an error, never waited for, unless
    /// `any` kind of file will do.
    pub(super) fn open(&self, place: &Path, any: bool) -> io::Result<Box<dyn Read>> {
        let opened = |path: &Path| -> io::Result<Box<dyn Read>> {
            Ok(Box::new(if any { File::open(path)? } else { crate::fs::open_regular(path)? }))
        };
        match self.0.get(&key(place)) {
            Some(ComingFile::Content(content)) => Ok(Box::new(Cursor::new(content.clone()))),
            Some(ComingFile::At(path)) => opened(path),
            None => opened(place),
        }
    }
}

fn key(place: &Path) -> PathBuf {
    absolute(Path::new("/"), &std::path::absolute(place).unwrap_or_else(|_| place.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Variables, read_manifest, read_manifest_with};

    #[test]
    fn a_manifest_is_read_as_if_what_comes_were_there() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let path = folder.path().join("stack.json");
        write("base.json", r#"{"project": "p", "env_file": "vars.env", "paths": {"images": "${WHERE}"}}"#);
        write("vars.env", "WHERE=old\n");
        write("arrived", "WHERE=new\n");
        let mut coming = ComingFiles::default();
        let text = r#"{"extends": "./base.json", "services": {"a": {"image": "a:1"}}}"#;
        coming.add(&folder.path().join("./stack.json"), ComingFile::Content(text.as_bytes().to_vec()));
        assert!(read_manifest(&path, Variables::default()).is_err(), "nothing is there yet");
        let images = |coming: &ComingFiles| {
            let loaded = read_manifest_with(&path, Variables::default(), coming).unwrap();
            loaded.manifest.paths.images.unwrap()
        };
        assert_eq!(images(&coming), folder.path().join("old"));
        coming.add(&folder.path().join("vars.env"), ComingFile::At(folder.path().join("arrived")));
        assert_eq!(images(&coming), folder.path().join("new"));
    }

    #[test]
    fn a_pipe_that_a_manifest_extends_is_an_error_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.json");
        std::fs::write(&path, r#"{"extends": "pipe", "project": "p", "services": {"a": {"image": "a:1"}}}"#).unwrap();
        let (pipe, fifo) = (folder.path().join("pipe"), rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let errors = read_manifest(&path, Variables::default()).err().unwrap();
        assert!(errors.problems.iter().any(|problem| problem.span.is_some()), "{errors:?}");
    }
}
