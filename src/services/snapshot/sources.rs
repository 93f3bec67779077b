//! What mounted folders and volumes are: the same data under two names, something missing, something that is no folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::observed::ForeignContainer;
use crate::engine::{MountView, VolumeView};
use crate::manifest::Manifest;
use crate::manifest::model::{Mount, MountKind};

/// Where data lie outside of containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataPlace {
    /// A folder of the engine's host, without links in its path where that could be looked at.
    Folder(String),
    Volume(String),
    /// Nothing that two containers could spoil for each other: a socket, a device, a folder of the system.
    Shared,
}

/// For a reader.
impl std::fmt::Display for DataPlace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => formatter.write_str(path),
            Self::Volume(name) => write!(formatter, "volume {name}"),
            Self::Shared => formatter.write_str("the host"),
        }
    }
}

/// Folders of the system that containers of all makers mount; with what lies below those that end in `/`.
const OF_THE_SYSTEM: [&str; 16] = [
    "/", "/tmp", "/home", "/root", "/srv", "/opt", "/mnt", "/media", "/var", "/var/lib", "/var/log", "/dev/", "/proc/",
    "/sys/", "/run/", "/etc/",
];

/// Likewise, but with data of others below.
const OF_THE_ENGINE: [&str; 4] =
    ["/var/run", "/var/lib/docker", "/var/lib/docker/containers", "/var/lib/docker/volumes"];

/// Bind sources as they are on this machine.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Those that are not there. One that may not be looked at counts as there: the engine may see it.
    pub missing: BTreeSet<String>,
    /// Source → the same without links, where that is another path.
    real: BTreeMap<String, String>,
    /// Those that are files, sockets or devices.
    no_folders: BTreeSet<String>,
    /// Since when a file is there, where its file system knows. One that was put in the place of another is a new one.
    made: BTreeMap<String, Timestamp>,
}

/// Nothing below these is as an operator wrote it.
const OF_THIS_MOMENT: [&str; 4] = ["/run", "/var/run", "/proc", "/sys"];

impl Sources {
    pub(in crate::services) fn look_at(&mut self, manifest: &Manifest, foreign: &[ForeignContainer]) {
        let ours = manifest.services.iter().flat_map(|(_, _, service)| &service.volumes);
        let ours: BTreeSet<&String> =
            ours.filter(|mount| mount.kind == MountKind::Bind).filter_map(|mount| mount.source.as_ref()).collect();
        let theirs = foreign.iter().flat_map(|other| &other.mounts).filter(|mount| mount.kind == "bind");
        for source in ours.iter().copied().chain(theirs.map(|mount| &mount.source)) {
            let path = Path::new(source);
            match path.metadata() {
                Ok(metadata) if !metadata.is_dir() => {
                    self.no_folders.insert(source.clone());
                    let made = metadata.created().ok().and_then(|made| Timestamp::try_from(made).ok());
                    if let Some(made) = made.filter(|_| metadata.is_file() && !is_written_by_the_system(path)) {
                        self.made.insert(source.clone(), made);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && ours.contains(source) => {
                    self.missing.insert(source.clone());
                }
                Err(_) => {}
            }
            let real = path.canonicalize().ok().and_then(|path| path.to_str().map(str::to_owned));
            if let Some(real) = real.filter(|real| real != source) {
                self.real.insert(source.clone(), real);
            }
        }
    }

    /// Whether a file was put in this place after a moment. What was begun before it with a mount of the earlier file has
    /// that one still: a mount is of a file, not of its name.
    pub fn is_replaced_since(&self, source: &str, moment: Timestamp) -> bool {
        self.made.get(source).is_some_and(|made| *made > moment)
    }

    /// What a mount of the manifest is on the engine; `None` for what holds no data of the host (a tmpfs, an anonymous
    /// volume).
    pub fn of_manifest_mount(&self, manifest: &Manifest, mount: &Mount) -> Option<DataPlace> {
        let source = mount.source.as_ref()?;
        match mount.kind {
            MountKind::Bind => Some(self.folder(source)),
            MountKind::Volume => {
                let options = manifest.volumes.get(source).map(|volume| &volume.driver_opts);
                let device = options.and_then(|options| options.get("device"));
                Some(self.volume(&manifest.volume_name(source), device))
            }
            MountKind::Tmpfs => None,
        }
    }

    pub(super) fn of_manifest(&self, manifest: &Manifest) -> BTreeSet<DataPlace> {
        let mounts = manifest.services.iter().flat_map(|(_, _, service)| &service.volumes);
        mounts
            .filter_map(|mount| self.of_manifest_mount(manifest, mount))
            .filter(|place| *place != DataPlace::Shared)
            .collect()
    }

    /// What a container's mount is.
    pub fn of_mount(&self, mount: &MountView) -> DataPlace {
        match (mount.kind.as_str(), &mount.name) {
            ("volume", Some(name)) => DataPlace::Volume(name.clone()),
            ("bind", _) => self.folder(&mount.source),
            _ => DataPlace::Shared,
        }
    }

    /// As [`Self::of_mount`], with volumes that are a folder of the host by another name.
    pub fn of_mount_among(&self, mount: &MountView, volumes: &[VolumeView]) -> DataPlace {
        match self.of_mount(mount) {
            DataPlace::Volume(name) => {
                let volume = volumes.iter().find(|volume| volume.name == name);
                self.volume(&name, volume.and_then(|volume| volume.options.get("device")))
            }
            place => place,
        }
    }

    fn volume(&self, name: &str, device: Option<&String>) -> DataPlace {
        match device.filter(|device| device.starts_with('/')) {
            Some(device) => self.folder(device),
            None => DataPlace::Volume(name.to_owned()),
        }
    }

    fn folder(&self, source: &str) -> DataPlace {
        let path = self.real.get(source).map_or(source, String::as_str);
        let path = if path == "/" { path } else { path.trim_end_matches('/') };
        let is_of_the_system = |known: &&str| match known.strip_suffix('/') {
            Some(folder) if !folder.is_empty() => path == folder || path.starts_with(*known),
            _ => path == *known,
        };
        let is_shared = self.no_folders.contains(source)
            || path.ends_with(".sock")
            || OF_THE_SYSTEM.iter().any(is_of_the_system)
            || OF_THE_ENGINE.contains(&path);
        if is_shared { DataPlace::Shared } else { DataPlace::Folder(path.to_owned()) }
    }
}

/// Whether the system itself replaces such a file: what lies in `/etc` and not in a folder there, and what is of this moment.
fn is_written_by_the_system(file: &Path) -> bool {
    file.parent() == Some(Path::new("/etc")) || OF_THIS_MOMENT.iter().any(|folder| file.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str) -> MountView {
        MountView { kind: "bind".to_owned(), source: source.to_owned(), ..MountView::default() }
    }

    #[test]
    fn sockets_devices_and_folders_of_the_system_are_nobodys_data() {
        let sources = Sources::default();
        for shared in ["/", "/var/run/docker.sock", "/dev/shm", "/etc/localtime", "/sys", "/var/lib/docker"] {
            assert_eq!(sources.of_mount(&bind(shared)), DataPlace::Shared, "{shared}");
        }
        for data in ["/srv/pg", "/var/lib/postgres", "/home/site/data/"] {
            let place = DataPlace::Folder(data.trim_end_matches('/').to_owned());
            assert_eq!(sources.of_mount(&bind(data)), place, "{data}");
        }
    }

    #[test]
    fn a_link_and_a_volume_on_a_folder_are_that_folder() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("data");
        std::fs::create_dir(&real).unwrap();
        let link = real.with_file_name("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let foreign = ForeignContainer { mounts: vec![bind(link.to_str().unwrap())], ..ForeignContainer::default() };
        let mut sources = Sources::default();
        sources.look_at(&Manifest::default(), std::slice::from_ref(&foreign));
        let place = sources.of_mount(&foreign.mounts[0]);
        // A test folder lies below /tmp, of which only the top is the system's.
        assert_eq!(place, DataPlace::Folder(real.to_str().unwrap().to_owned()));
        let volume = VolumeView {
            name: "v".to_owned(),
            options: [("device".to_owned(), link.to_str().unwrap().to_owned())].into(),
            ..VolumeView::default()
        };
        let mount = MountView { kind: "volume".to_owned(), name: Some("v".to_owned()), ..MountView::default() };
        assert_eq!(sources.of_mount_among(&mount, &[volume]), place);
        assert_eq!(sources.of_mount_among(&mount, &[]), DataPlace::Volume("v".to_owned()));
    }

    #[test]
    fn a_file_below_a_folder_that_may_not_be_read_is_not_called_missing() {
        // A file in place of the folder gives another error than "not found", as a closed folder does, for root as well.
        let file = tempfile::NamedTempFile::new().unwrap();
        let below = file.path().join("site.pem").to_str().unwrap().to_owned();
        let gone = file.path().with_extension("gone").to_str().unwrap().to_owned();
        let mut manifest = Manifest::default();
        let mount = |source: &str| Mount {
            kind: MountKind::Bind,
            source: Some(source.to_owned()),
            target: "/in".to_owned(),
            ..Mount::default()
        };
        let service =
            crate::manifest::model::Service { volumes: vec![mount(&below), mount(&gone)], ..Default::default() };
        manifest.services.push("a".to_owned(), Some(service));
        let mut sources = Sources::default();
        sources.look_at(&manifest, &[]);
        assert_eq!(sources.missing, [gone].into());
    }

    /// As editors and `mv` do it. Where the file system does not say since when a file is there, nothing is said.
    #[test]
    fn a_file_that_was_put_in_the_place_of_another_is_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.conf");
        let source = path.to_str().unwrap().to_owned();
        let mount = Mount {
            kind: MountKind::Bind,
            source: Some(source.clone()),
            target: "/site.conf".to_owned(),
            ..Mount::default()
        };
        let mut manifest = Manifest::default();
        let service = crate::manifest::model::Service { volumes: vec![mount], ..Default::default() };
        manifest.services.push("a".to_owned(), Some(service));
        let looked = || {
            let mut sources = Sources::default();
            sources.look_at(&manifest, &[]);
            sources
        };
        std::fs::write(&path, "one").unwrap();
        let Ok(made) = path.metadata().unwrap().created() else { return };
        let started = Timestamp::try_from(made).unwrap();
        std::fs::write(&path, "two").unwrap();
        assert!(!looked().is_replaced_since(&source, started), "it was written to, and is the same file");
        let fresh = path.with_extension("new");
        // The clock of a file system has steps of some milliseconds.
        let is_later = || {
            std::fs::remove_file(&fresh).ok();
            std::fs::write(&fresh, "three").unwrap();
            Timestamp::try_from(fresh.metadata().unwrap().created().unwrap()).unwrap() > started
        };
        while !is_later() {
            std::thread::yield_now();
        }
        std::fs::rename(&fresh, &path).unwrap();
        assert!(looked().is_replaced_since(&source, started));
        let of_the_system = |path: &str| is_written_by_the_system(Path::new(path));
        assert!(of_the_system("/etc/hosts") && !of_the_system("/etc/nginx/site.conf"));
    }
}
