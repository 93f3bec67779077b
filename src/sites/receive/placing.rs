//! Putting files and seeds in place once all of them have arrived.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::record::Open;
use super::targets::{Targets, blocking};
use crate::catalogue::io_error;
use crate::databases::put_seed_in_place;
use crate::failpoint;
use crate::fs::{Digest, DurableFile, Mode, hash_file};
use crate::report::{Activity, Message};
use crate::sites::error::{in_one_line, of_path};
use crate::sites::inventory::Received;
use crate::sites::protocol::ProjectFile;
use crate::sites::{roots, seed_files};

/// Files that were put in place, and those that were changed here meanwhile and stay.
type Placed = (Vec<String>, Vec<String>);

/// So many copies are open before they get their names.
const OPEN_AT_ONCE: usize = 200;
/// Copies that have no names yet are called so; those of a run that was killed go with the next one.
const MARK: &str = ".dpl-place-";

impl Targets {
    /// Puts the files that were offered in place, in their order: the manifest is the last of them. All are copied to the disks that they
    /// belong on before the first has its name, so that a full disk changes nothing. One that somebody has changed meanwhile stays.
    pub async fn place_files(&mut self, journal: Option<Open>) -> Result<Placed, Message> {
        let files = std::mem::take(&mut self.files);
        let (folder, incoming) = (self.place.folder.clone(), self.incoming());
        self.forget_manifest();
        blocking(move || {
            let mut received = Received::read(&folder);
            let (mut placed, mut kept) = (Vec::new(), Vec::new());
            let arrived: BTreeSet<PathBuf> = files.iter().map(|(_, digest)| incoming.join(digest.hex())).collect();
            let mut files = files.into_iter().peekable();
            while files.peek().is_some() {
                let some: Vec<(ProjectFile, Digest)> = files.by_ref().take(OPEN_AT_ONCE).collect();
                let prepared = some.iter().map(|(file, digest)| prepare((&folder, &incoming), file, digest));
                let prepared = prepared.collect::<Result<Vec<Prepared>, Message>>()?;
                for (prepared, (file, digest)) in prepared.into_iter().zip(some) {
                    match prepared {
                        Prepared::Kept => {
                            kept.push(file.path);
                            continue;
                        }
                        Prepared::There => {}
                        Prepared::Copied(copy, target) => {
                            failpoint!("sites.place.before-file");
                            Open::step(journal.as_ref(), Activity::PlaceFile, &file.path, || {
                                copy.commit().map_err(|error| of_path(&target, &error))
                            })?;
                            placed.push(file.path.clone());
                        }
                    }
                    failpoint!("sites.place.before-record");
                    // The record follows each file: what came before a break is known to have come.
                    if received.files.insert(file.path, digest.clone()) != Some(digest) {
                        received.write(&folder).map_err(|error| of_path(&folder, &error))?;
                    }
                }
            }
            failpoint!("sites.place.before-clean");
            // Now, since several files may have one content. What can't be removed goes with its age.
            arrived.iter().for_each(|whole| _ = fs::remove_file(whole));
            Ok((placed, kept))
        })
        .await
    }

    /// Puts a seed in place that has arrived.
    pub async fn place_seed(&mut self, database: &str, seed: &Digest, journal: Option<Open>) -> Result<(), Message> {
        let (target, staging) = (self.seed(database)?, self.seed_staging(database, seed)?);
        let (folder, database, seed) = (self.place.folder.clone(), database.to_owned(), seed.clone());
        blocking(move || {
            let is_it = |path: &Path| {
                let files = seed_files::list(path).map_err(|error| of_path(path, &error))?;
                Ok::<_, Message>(files.is_some_and(|files| seed_files::digest(&files) == seed))
            };
            // It may have been put in place before a connection broke.
            if !is_it(&target)? {
                if !is_it(&staging)? {
                    return Err(message!("receive-seed-part", database = database));
                }
                failpoint!("sites.place.before-seed");
                Open::step(journal.as_ref(), Activity::PlaceFile, &target.display().to_string(), || {
                    put_seed_in_place(&staging, &target).map_err(|error| in_one_line(&error))
                })?;
            }
            failpoint!("sites.place.after-seed");
            if let Some(home) = staging.parent() {
                // What is left in it are parts of seeds that nobody sends any more.
                let _ = fs::remove_dir_all(home);
            }
            failpoint!("sites.place.before-seed-record");
            let mut received = Received::read(&folder);
            received.seeds.insert(database, seed);
            received.write(&folder).map_err(|error| of_path(&folder, &error))
        })
        .await
    }
}

/// The digest of what is at a place; `None` where nothing is.
fn digest_of(path: &Path) -> io::Result<Option<Digest>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => hash_file(path).map(|(digest, _)| Some(digest)),
        Ok(_) => Err(io_error(io::ErrorKind::InvalidInput, message!("receive-not-regular"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that has arrived, and its place.
enum Prepared {
    /// It is there.
    There,
    /// Somebody changed what is there.
    Kept,
    /// It lies beside its place.
    Copied(DurableFile, PathBuf),
}

fn prepare((folder, incoming): (&Path, &Path), file: &ProjectFile, digest: &Digest) -> Result<Prepared, Message> {
    let target = roots::inside(folder, &file.path).map_err(|error| in_one_line(&error))?;
    let there = digest_of(&target).map_err(|error| of_path(&target, &error))?;
    if there.as_ref() == Some(digest) {
        return Ok(Prepared::There);
    }
    if there != file.replaces {
        return Ok(Prepared::Kept);
    }
    let copied = copy(&incoming.join(digest.hex()), &target, file).map_err(|error| of_path(&target, &error))?;
    Ok(Prepared::Copied(copied, target))
}

/// Copies a file that has arrived to beside its place: that may be on another disk. What is there keeps its owner and its rights.
fn copy(whole: &Path, target: &Path, file: &ProjectFile) -> io::Result<DurableFile> {
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    roots::create_folders(&folder)?;
    let before = fs::metadata(target).ok();
    let mode = if file.private { Mode::Private } else { Mode::Shared };
    let mut copy = DurableFile::create_marked(target, mode, MARK)?;
    io::copy(&mut File::open(whole)?, copy.file())?;
    if let Some(before) = &before
        && !file.private
    {
        copy.file().set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
    } else if file.executable {
        let mode = copy.file().metadata()?.mode() & 0o777;
        copy.file().set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
    }
    // Root, by sudo above all, works in somebody's folder.
    if rustix::process::geteuid().is_root()
        && let Some(owner) = before.or_else(|| fs::metadata(&folder).ok())
    {
        std::os::unix::fs::fchown(copy.file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    // Now, since a full disk may say so no earlier.
    copy.file().sync_data()?;
    Ok(copy)
}
