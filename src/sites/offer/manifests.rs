//! Which manifest of this machine is another one's, and where its files belong there.

use std::path::{Component, Path, PathBuf};

/// The manifest that a machine gets whose own is `wanted` (relative to its project's folder): the file of that name beside
/// `chosen`, else `chosen` itself.
pub fn manifest_for(chosen: &Path, wanted: Option<&str>) -> PathBuf {
    let name = wanted.and_then(|wanted| Path::new(wanted).file_name());
    let beside = name.map(|name| chosen.with_file_name(name)).filter(|path| path.is_file());
    beside.unwrap_or_else(|| chosen.to_owned())
}

/// Where the files around a manifest belong at another machine: as they lie to each other here, so below its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The folder here that is the project's folder there.
    root: PathBuf,
}

impl Placement {
    /// Of a manifest here (absolute), that lies there where `wanted` does (relative to the project's folder).
    pub fn of(manifest: &Path, wanted: Option<&str>) -> Self {
        let above =
            wanted.and_then(|wanted| Path::new(wanted).parent()).map_or(0, |folder| folder.components().count());
        let mut root = manifest.parent().unwrap_or(Path::new("/")).to_owned();
        for _ in 0..above {
            root.pop();
        }
        Self { root }
    }

    /// Around a project's folder on this machine (absolute).
    pub fn in_folder(folder: &Path) -> Self {
        Self { root: folder.to_owned() }
    }

    /// The path there of a file here (absolute); `None` where it lies outside.
    pub fn path(&self, file: &Path) -> Option<String> {
        let below = file.strip_prefix(&self.root).ok()?;
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        below.to_str().filter(|path| is_plain && !path.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_to_each_other_there_as_they_do_here() {
        let manifest = Path::new("/work/danganju/manifests/prod.json");
        let deep = Placement::of(manifest, Some("manifests/prod.json"));
        assert_eq!(deep.path(manifest).as_deref(), Some("manifests/prod.json"));
        assert_eq!(deep.path(Path::new("/work/danganju/conf/a.conf")).as_deref(), Some("conf/a.conf"));
        assert_eq!(deep.path(Path::new("/work/other/a")), None);
        let flat = Placement::of(manifest, Some("prod.json"));
        assert_eq!(flat.path(manifest).as_deref(), Some("prod.json"));
        assert_eq!(flat.path(Path::new("/work/danganju/conf/a.conf")), None);
    }
}
