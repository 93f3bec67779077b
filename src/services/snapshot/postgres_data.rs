//! The major version that wrote a PostgreSQL data folder: its file `PG_VERSION` (PostgreSQL documentation, "Database File
//! Layout"). A server of another major version refuses such a folder, when the old one has been stopped for it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Depth;
use super::host::DataFolder;
use super::starting::Starting;
use crate::engine::{self, EngineError, EngineErrorKind, MountSpec};
use crate::manifest::Manifest;
use crate::manifest::model::{Mount, MountKind, Service};
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::{Observed, ObservedContainer, Role};

/// Where the official image has them.
const DEFAULT_FOLDER: &str = "/var/lib/postgresql/data";

/// Where data lie outside of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Folder(String),
    Volume { name: String, on_host: Option<PathBuf> },
}

/// A place that may hold a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    source: Source,
    /// Of the data folder below the source; empty for the source itself.
    below: String,
}

/// What the data folders say, of services that get a new container and are PostgreSQL.
pub(in crate::services) async fn data_folders(
    manifest: &Manifest,
    starting: &[Starting<'_>],
    depth: Depth,
    helpers: &Helpers<'_>,
    observed: &Observed,
) -> Result<BTreeMap<String, DataFolder>, EngineError> {
    let mut found = BTreeMap::new();
    for starting in starting.iter().filter(|starting| starting.is_made) {
        let Some(image) = observed.image(&starting.service.image) else {
            continue;
        };
        let serves_a_database =
            manifest.databases.iter().any(|(_, _, database)| database.service.as_deref() == Some(starting.name));
        if image.postgres.is_empty() && !serves_a_database {
            continue;
        }
        let folder = folder(starting, observed, image.postgres.get("PGDATA"));
        let old = observed.main(starting.name, 1).or_else(|| observed.of_service(starting.name, Role::Kept).next());
        let old = old.or_else(|| observed.namesake(starting.name, 1));
        for place in places(manifest, starting.service, old, &folder, observed) {
            let Some(written_by) = version(&place, depth, helpers, &image.id, observed).await? else {
                continue;
            };
            let major = match image.postgres.get("PG_MAJOR") {
                Some(major) => Some(major.clone()),
                None if depth == Depth::WithHelpers => ask_image(helpers, &image.id).await?,
                None => None,
            };
            if let Some(image) = major {
                let place = place.to_string();
                found.insert(starting.name.to_owned(), DataFolder { place, written_by, image });
            }
            break;
        }
    }
    Ok(found)
}

/// The data folder's path in the container.
fn folder(starting: &Starting<'_>, observed: &Observed, of_image: Option<&String>) -> String {
    let stated = observed.inputs.get(starting.name).and_then(|inputs| inputs.value("PGDATA"));
    let folder = stated.or(of_image.map(String::as_str)).unwrap_or(DEFAULT_FOLDER);
    folder.trim_end_matches('/').to_owned()
}

/// The mount that holds the folder, and the mount's own top, where images before 18 had the data.
fn places(
    manifest: &Manifest,
    service: &Service,
    old: Option<&ObservedContainer>,
    folder: &str,
    observed: &Observed,
) -> Vec<Place> {
    let holds = |target: &str| {
        let target = target.trim_end_matches('/');
        let below = folder.strip_prefix(target)?;
        (below.is_empty() || below.starts_with('/')).then(|| below.trim_start_matches('/').to_owned())
    };
    let stated = service.volumes.iter().filter_map(|mount| Some((mount, holds(&mount.target)?)));
    let found = match stated.max_by_key(|(mount, _)| mount.target.len()) {
        Some((mount, below)) => source(manifest, mount, old, observed).map(|source| (source, below)),
        // What only the image declares is an anonymous volume, which a new container takes over.
        None => old.and_then(|old| {
            let mounts = old.view.mounts.iter().filter(|mount| mount.kind == "volume");
            mounts.filter_map(|mount| Some((anonymous(mount)?, holds(&mount.target)?))).next()
        }),
    };
    let Some((source, below)) = found else {
        return Vec::new();
    };
    let top = Place { source: source.clone(), below: String::new() };
    let mut places = vec![Place { source, below }];
    if places[0] != top {
        places.push(top);
    }
    places
}

fn source(manifest: &Manifest, mount: &Mount, old: Option<&ObservedContainer>, observed: &Observed) -> Option<Source> {
    match (mount.kind, &mount.source) {
        (MountKind::Bind, Some(path)) => Some(Source::Folder(path.clone())),
        (MountKind::Volume, Some(key)) => {
            let volume = observed.volume(&manifest.volume_name(key))?;
            // With a driver of its own, or mounted from elsewhere, its folder may be empty while nobody uses it.
            let is_plain = volume.driver == "local" && volume.options.is_empty() && mount.volume.subpath.is_none();
            let on_host = (is_plain && !volume.mountpoint.is_empty()).then(|| PathBuf::from(&volume.mountpoint));
            Some(Source::Volume { name: volume.name.clone(), on_host })
        }
        (MountKind::Volume, None) => {
            let same =
                |other: &&engine::MountView| other.target.trim_end_matches('/') == mount.target.trim_end_matches('/');
            old?.view.mounts.iter().find(same).and_then(anonymous)
        }
        _ => None,
    }
}

fn anonymous(mount: &engine::MountView) -> Option<Source> {
    let on_host = (!mount.source.is_empty()).then(|| PathBuf::from(&mount.source));
    Some(Source::Volume { name: mount.name.clone()?, on_host })
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Folder(path) => formatter.write_str(path)?,
            Source::Volume { name, .. } => write!(formatter, "volume {name}")?,
        }
        if self.below.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.below) }
    }
}

/// What `PG_VERSION` says: here where this process may read it, else by a helper that is never started.
async fn version(
    place: &Place,
    depth: Depth,
    helpers: &Helpers<'_>,
    image: &str,
    observed: &Observed,
) -> Result<Option<String>, EngineError> {
    let here = match &place.source {
        Source::Folder(path) => Some(Path::new(path)),
        Source::Volume { on_host, .. } => on_host.as_deref(),
    };
    if let Some(folder) = here.filter(|_| observed.engine.is_local) {
        match std::fs::read(folder.join(&place.below).join("PG_VERSION")) {
            Ok(text) => return Ok(parse(&text)),
            // A volume's folder that can't be seen may lie where this process does not look.
            Err(error) if error.kind() == ErrorKind::NotFound && folder.exists() => return Ok(None),
            Err(_) => {}
        }
    }
    if depth == Depth::ReadOnly {
        return Ok(None);
    }
    let mut spec = helpers.spec(image);
    let kind = match &place.source {
        Source::Folder(source) => engine::MountKind::Bind { source: source.clone(), propagation: None },
        Source::Volume { name, .. } => {
            engine::MountKind::Volume { name: Some(name.clone()), no_copy: true, subpath: None }
        }
    };
    spec.mounts.push(MountSpec { kind, target: "/dpl".to_owned(), read_only: true, selinux: None });
    let id = match helpers.create(&spec).await {
        Ok(id) => id,
        // A folder that is not there yet.
        Err(error) if error.kind() == EngineErrorKind::Refused => return Ok(None),
        Err(error) => return Err(error),
    };
    let below = if place.below.is_empty() { String::new() } else { format!("{}/", place.below) };
    let read = helpers.engine.read_file(&id, &format!("/dpl/{below}PG_VERSION")).await;
    helpers.engine.discard_container(&id).await?;
    Ok(read?.as_deref().and_then(parse))
}

/// A major version, and nothing that only looks like one.
fn parse(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_version =
        !text.is_empty() && text.len() < 8 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_version.then(|| text.to_owned())
}

/// The major version of the server in an image that does not say it in its environment.
async fn ask_image(helpers: &Helpers<'_>, image: &str) -> Result<Option<String>, EngineError> {
    let own = helpers.of_image(image);
    let Some(helper) = own.start("none", "command -v postgres || ls /usr/lib/postgresql/*/bin/postgres").await? else {
        return Ok(None);
    };
    let answer = helper.shell("postgres --version || /usr/lib/postgresql/*/bin/postgres --version", &[]).await;
    helper.end().await;
    Ok(major(&String::from_utf8_lossy(&answer?.stdout)))
}

/// `postgres (PostgreSQL) 15.4 (Debian …)` → `15`; before 10, two numbers name a major version.
fn major(version: &str) -> Option<String> {
    let number = version.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut parts = number.split('.');
    let first = digits(parts.next()?);
    match first.parse::<u32>().ok()? {
        0..10 => Some(format!("{first}.{}", digits(parts.next()?))),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerView, MountView, VolumeView};

    #[test]
    fn a_servers_major_version_is_read_from_what_it_says() {
        assert_eq!(major("postgres (PostgreSQL) 15.4 (Debian 15.4-1)\n").as_deref(), Some("15"));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24").as_deref(), Some("9.6"));
        assert_eq!(major("postgres (PostgreSQL) 18beta1").as_deref(), Some("18"));
        assert_eq!(major("sh: not found"), None);
        assert_eq!(parse(b"15\n").as_deref(), Some("15"));
        assert_eq!(parse(b"<html>"), None);
    }

    fn places_of(mounts: Vec<Mount>, old: Option<MountView>, folder: &str) -> Vec<String> {
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let service = Service { volumes: mounts, ..Service::default() };
        let volume = VolumeView { name: "p_data".to_owned(), driver: "local".to_owned(), ..VolumeView::default() };
        let observed = Observed { volumes: vec![volume], ..Observed::default() };
        let old = old.map(|mount| ObservedContainer {
            service: "db".to_owned(),
            number: 1,
            role: Role::Main,
            view: ContainerView { mounts: vec![mount], ..ContainerView::default() },
        });
        places(&manifest, &service, old.as_ref(), folder, &observed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn data_lie_in_the_innermost_mount_around_their_folder() {
        let bind = |source: &str, target: &str| Mount {
            kind: MountKind::Bind,
            source: Some(source.to_owned()),
            target: target.to_owned(),
            ..Mount::default()
        };
        let mounts = || vec![bind("/srv", "/var/lib"), bind("/srv/pg", "/var/lib/postgresql/")];
        assert_eq!(places_of(mounts(), None, DEFAULT_FOLDER), ["/srv/pg/data", "/srv/pg"]);
        assert_eq!(places_of(vec![bind("/srv", "/var/lib/post")], None, DEFAULT_FOLDER), [""; 0]);
        let named = Mount { source: Some("data".to_owned()), target: DEFAULT_FOLDER.to_owned(), ..Mount::default() };
        assert_eq!(places_of(vec![named], None, DEFAULT_FOLDER), ["volume p_data"]);
        let not_yet = Mount { source: Some("new".to_owned()), target: DEFAULT_FOLDER.to_owned(), ..Mount::default() };
        assert_eq!(places_of(vec![not_yet], None, DEFAULT_FOLDER), [""; 0]);
    }

    #[test]
    fn an_anonymous_volume_is_the_old_containers() {
        let mount = MountView {
            kind: "volume".to_owned(),
            name: Some("a".repeat(64)),
            target: DEFAULT_FOLDER.to_owned(),
            ..MountView::default()
        };
        let wanted = [format!("volume {}", "a".repeat(64))];
        assert_eq!(places_of(Vec::new(), Some(mount.clone()), DEFAULT_FOLDER), wanted);
        let stated = Mount { target: format!("{DEFAULT_FOLDER}/"), ..Mount::default() };
        assert_eq!(places_of(vec![stated], Some(mount), DEFAULT_FOLDER), wanted);
    }
}
