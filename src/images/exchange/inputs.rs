//! What an import reads: files, folders, the parts of a file that was split, and standard input.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::images::error::ImagesError;
use crate::images::store::archives::{self, OpenArchive};
use crate::images::store::layout::Layout;

/// One thing that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::images) enum Input {
    /// An archive, or the folder of a layout.
    Path(PathBuf),
    /// The parts of one archive, in their order; named by the first.
    Parts(Vec<PathBuf>),
    /// Standard input, which can be read once.
    Stdin,
}

/// An opened input.
pub(in crate::images) enum Source {
    Archive(OpenArchive),
    Layout(Box<Layout>),
}

const FIRST_PART: &str = ".001";

impl Input {
    /// What the arguments name: `-` is standard input; `FILE.001` stands for all the parts beside it, however many of
    /// them are named as well.
    ///
    /// # Errors
    /// A part that is missing between others.
    pub fn of(files: &[PathBuf]) -> Result<Vec<Self>, ImagesError> {
        let mut inputs: Vec<Self> = Vec::new();
        for file in files {
            if file == Path::new("-") {
                if !inputs.contains(&Self::Stdin) {
                    inputs.push(Self::Stdin);
                }
            } else if inputs.iter().any(|input| matches!(input, Self::Parts(parts) if parts.contains(file))) {
                continue;
            } else {
                inputs.push(match stem_of_first(file) {
                    Some(stem) => Self::Parts(parts(file, &stem)?),
                    None => Self::Path(file.clone()),
                });
            }
        }
        Ok(inputs)
    }

    pub fn open(&self) -> Result<Source, ImagesError> {
        let failed = |source| ImagesError::file("read", Path::new(&self.to_string()), source);
        match self {
            Self::Path(path) if path.is_dir() => {
                let why = "it has no oci-layout and no index.json";
                let layout = Layout::open(path)?;
                layout
                    .map(|layout| Source::Layout(Box::new(layout)))
                    .ok_or_else(|| ImagesError::NotAStore { folder: path.clone(), why })
            }
            Self::Path(path) => archives::open(path).map(Source::Archive).map_err(failed),
            Self::Parts(parts) => archives::open_parts(parts).map(Source::Archive).map_err(failed),
            Self::Stdin => archives::open_stream(io::stdin()).map(Source::Archive).map_err(failed),
        }
    }

    /// Whether it can be read as often as one likes.
    pub fn is_readable_again(&self) -> bool {
        *self != Self::Stdin
    }

    /// Its size as it lies on the disk; `None` where nothing tells.
    pub fn size_bytes(&self) -> Option<u64> {
        let size = |path: &PathBuf| std::fs::metadata(path).ok().filter(|file| file.is_file()).map(|file| file.len());
        match self {
            Self::Path(path) => size(path),
            Self::Parts(parts) => parts.iter().map(size).sum(),
            Self::Stdin => None,
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(formatter),
            Self::Parts(parts) => parts[0].display().fmt(formatter),
            Self::Stdin => formatter.write_str("-"),
        }
    }
}

fn stem_of_first(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    name.strip_suffix(FIRST_PART).filter(|stem| !stem.is_empty()).map(str::to_owned)
}

/// `FILE.001`, `FILE.002` and on, as far as there are any.
fn parts(first: &Path, stem: &str) -> Result<Vec<PathBuf>, ImagesError> {
    let folder = first.parent().unwrap_or(Path::new(""));
    let part = |number: usize| folder.join(format!("{stem}.{number:03}"));
    let parts: Vec<PathBuf> = (1..).map(part).take_while(|path| path.exists()).collect();
    // A gap would read as a file that is cut off, and nobody would know which part to bring.
    let next = parts.len() + 1;
    if !parts.is_empty() && (next + 1..next + 10).any(|number| part(number).exists()) {
        let missing = io::Error::new(io::ErrorKind::NotFound, "this part is missing, and later ones are there");
        return Err(ImagesError::file("read", &part(next), missing));
    }
    Ok(if parts.is_empty() { vec![first.to_owned()] } else { parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_together_and_a_gap_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["x.tar.001", "x.tar.002", "x.tar.003", "y.tar"] {
            std::fs::write(path(name), name).unwrap();
        }
        let all = ["x.tar.001", "x.tar.002", "x.tar.003"].map(path).to_vec();
        let named = [path("x.tar.001"), path("x.tar.002"), path("x.tar.003"), path("y.tar"), PathBuf::from("-")];
        let inputs = Input::of(&named).unwrap();
        assert_eq!(inputs, [Input::Parts(all.clone()), Input::Path(path("y.tar")), Input::Stdin]);
        assert_eq!(Input::of(&[path("x.tar.001")]).unwrap(), [Input::Parts(all)]);
        assert_eq!(inputs[0].size_bytes(), Some(27));
        std::fs::remove_file(path("x.tar.002")).unwrap();
        let error = Input::of(&[path("x.tar.001")]).unwrap_err().to_string();
        assert!(error.contains("x.tar.002"), "{error}");
    }
}
