//! Where what comes belongs: the roots by the site's own manifest, and what of a file is there already.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::arriving::Place;
use crate::fs::{Digest, escape, follow_links, hash_file};
use crate::images::{PART, has_arrived, incoming_folder, open_incoming, sweep_arrivals};
use crate::manifest::{ComingFile, ComingFiles, Loaded, ManifestErrors};
use crate::report::Message;
use crate::sites::error::{in_one_line, of_path};
use crate::sites::inventory::RECEIVED_FOLDER;
use crate::sites::place::problem_of;
use crate::sites::protocol::{FileOffer, ProjectFile, ProjectPlace, Target};
use crate::sites::roots;

/// The roots of a project, as its manifest at the site says them, or the one that is to be there: that one gets its place last. Read when
/// they are first needed.
pub(super) struct Targets {
    pub place: ProjectPlace,
    loaded: Option<Loaded>,
    store: Option<PathBuf>,
    /// Files of the project that were offered, in that order.
    pub files: Vec<(ProjectFile, Digest)>,
}

/// What is to become of a file that is offered.
pub(super) enum Destination {
    There,
    Arrives(Place),
}

/// No file beside a manifest is larger.
const LARGEST_PROJECT_FILE: u64 = 1 << 30;
/// More files no project has.
const MOST_FILES: usize = 10_000;

impl Targets {
    pub fn of(place: ProjectPlace) -> Self {
        Self { place, loaded: None, store: None, files: Vec::new() }
    }

    /// Reads the manifest as it will be once the files that were offered are in place; `None` where none is known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_coming(&self) -> Option<Result<Loaded, ManifestErrors>> {
        let (incoming, mut coming) = (self.incoming(), ComingFiles::default());
        for (file, digest) in &self.files {
            let whole = incoming.join(digest.hex());
            // One that is in its place already did not have to arrive.
            if whole.is_file() {
                coming.add(&self.place.folder.join(&file.path), ComingFile::At(whole));
            }
        }
        self.place.read_manifest_with(&coming)
    }

    /// The manifest that counts.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub fn manifest(&mut self) -> Result<&Loaded, Message> {
        if self.loaded.is_none() {
            let read = self.read_coming();
            let loaded = read.ok_or_else(|| message!("receive-no-manifest", folder = self.place.folder.display()))?;
            self.loaded = Some(loaded.map_err(|errors| problem_of(&errors))?);
        }
        self.loaded.as_ref().ok_or_else(|| message!("receive-no-manifest", folder = self.place.folder.display()))
    }

    /// Lets the manifest be read again, since files of it have come or were put in place.
    pub fn forget_manifest(&mut self) {
        (self.loaded, self.store) = (None, None);
    }

    /// The image store, ready for what comes.
    pub async fn store(&mut self) -> Result<PathBuf, Message> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let images = self.manifest()?.manifest.paths.images.clone();
        let folder = images.ok_or_else(|| message!("usage-no-path", name = "images"))?;
        let store = blocking({
            let folder = folder.clone();
            move || open_incoming(&folder).map_err(|error| in_one_line(&error))
        });
        store.await?;
        self.store = Some(folder.clone());
        Ok(folder)
    }

    /// Where the seed of a database belongs. Where its place is a link, to another disk say, what that leads to is meant.
    pub fn seed(&mut self, database: &str) -> Result<PathBuf, Message> {
        let manifest = &self.manifest()?.manifest;
        let seed = manifest.databases.get(database).and_then(|database| database.seed.clone());
        let seed = seed.ok_or_else(|| message!("receive-no-seed", database = database))?;
        let place = follow_links(&seed).map_err(|error| of_path(&seed, &error))?;
        match roots::is_own_folder(&place) {
            true => Err(message!("receive-own-folder", path = place.display())),
            false => Ok(place),
        }
    }

    /// Where a seed is put together: beside its place, so that it gets there in one step.
    pub fn seed_staging(&mut self, database: &str, seed: &Digest) -> Result<PathBuf, Message> {
        let target = self.seed(database)?;
        let home = target.parent().ok_or_else(|| message!("receive-seed-place", path = target.display()))?;
        Ok(home.join(format!("{RECEIVED_FOLDER}-{}", escape(database))).join(seed.hex()))
    }

    /// The folder in which files of the project arrive.
    pub fn incoming(&self) -> PathBuf {
        self.place.folder.join(RECEIVED_FOLDER)
    }

    /// What is to become of a file.
    ///
    /// # Errors
    /// It has no place here.
    pub async fn destination(&mut self, offer: &FileOffer) -> Result<Destination, Message> {
        let arrives = |folder: PathBuf| {
            let name = offer.digest.hex();
            Destination::Arrives(Place { part: folder.join(format!("{name}{PART}")), whole: folder.join(name) })
        };
        match &offer.target {
            Target::Images => {
                let store = self.store().await?;
                Ok(match has_arrived(&store, &offer.digest, offer.bytes) {
                    true => Destination::There,
                    false => arrives(incoming_folder(&store)),
                })
            }
            Target::Project(file) => {
                if offer.bytes > LARGEST_PROJECT_FILE || self.files.len() >= MOST_FILES {
                    return Err(message!("receive-too-much", bytes = LARGEST_PROJECT_FILE, count = MOST_FILES));
                }
                if roots::is_own_folder(Path::new(&file.path)) {
                    return Err(message!("receive-own-folder", path = &file.path));
                }
                let place = roots::inside(&self.place.folder, &file.path).map_err(|error| in_one_line(&error))?;
                let incoming = self.incoming();
                if self.files.is_empty() {
                    self.place.make_folders().map_err(|error| of_path(&self.place.folder, &error))?;
                    sweep_arrivals(&incoming);
                }
                self.files.push((file.clone(), offer.digest.clone()));
                self.forget_manifest();
                let there = hash_file(&place).ok().map(|(digest, _)| digest);
                let came = fs::metadata(incoming.join(offer.digest.hex())).is_ok_and(|file| file.len() == offer.bytes);
                Ok(match there.as_ref() == Some(&offer.digest) || came {
                    true => Destination::There,
                    false => arrives(incoming),
                })
            }
            Target::Seeds { database, seed, path } => {
                let staging = self.seed_staging(database, seed)?;
                let whole = match path.as_str() {
                    "" => staging,
                    path => roots::inside(&staging, path).map_err(|error| in_one_line(&error))?,
                };
                if fs::metadata(&whole).is_ok_and(|file| file.is_file() && file.len() == offer.bytes) {
                    return Ok(Destination::There);
                }
                let mut part = whole.clone().into_os_string();
                part.push(PART);
                Ok(Destination::Arrives(Place { part: part.into(), whole }))
            }
        }
    }

    /// The variables of the environment that say something of dpl's own.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.place.variables
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Message> + Send + 'static,
) -> Result<T, Message> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}
