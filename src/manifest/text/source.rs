//! The files that a manifest is read from, and places in them.

use std::path::{Path, PathBuf};

/// A file that was read: its path, and its text for error pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As the operator wrote it, or as the file that names it did; for showing.
    pub shown: PathBuf,
    /// The absolute folder that paths in the file are relative to.
    pub folder: PathBuf,
    pub text: String,
}

/// All files of one manifest, the one that was asked for first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<SourceFile>,
}

/// A place in one of the files: bytes `start..end` of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

impl Sources {
    /// Adds a file and gives its number for spans.
    pub(in crate::manifest) fn add(&mut self, file: SourceFile) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    pub fn file(&self, number: usize) -> &SourceFile {
        &self.files[number]
    }

    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn line_and_column(&self, file: usize, byte: usize) -> (usize, usize) {
        let text = &self.files[file].text;
        let mut byte = byte.min(text.len());
        while !text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Makes `path` absolute against `folder` and takes `.` and `..` out of it, by the letters alone: links are not
/// followed, and nothing needs to exist.
pub(in crate::manifest) fn absolute(folder: &Path, path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        let folder = Path::new("/srv/manifests");
        assert_eq!(absolute(folder, Path::new("../data/./x")), Path::new("/srv/data/x"));
        assert_eq!(absolute(folder, Path::new("/etc/../opt")), Path::new("/opt"));
        assert_eq!(absolute(folder, Path::new("../../../../x")), Path::new("/x"));
    }
}
