//! Where a dump is made before it has its name: a private folder beside its place, that appears there in one step or not
//! at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::catalogue::io_error;
use crate::databases::error::DatabasesError;
use crate::fs::{create_dir_durably, sync_dir};

/// Nothing else that dpl writes begins so: what is cleared away is this module's.
const TEMPORARY: &str = ".dpl-tmp-dump-";

/// What stands before the name of something that is being replaced, where that takes two steps.
const ASIDE: &str = ".dpl-replaced-";

/// A private folder beside the place that its content is meant for. Dropped unpublished, it is removed; after a kill
/// the next run removes it, since nobody holds its lock any more.
pub(in crate::databases) struct Staging {
    path: PathBuf,
    /// Held while this process works in it.
    _lock: File,
    published: bool,
}

impl Staging {
    /// Makes one in `home`, and `home` itself, and clears away what killed runs left there.
    pub fn open(home: &Path) -> Result<Self, DatabasesError> {
        create_private(home)?;
        clear(home)?;
        for _ in 0..100 {
            let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
            let path = home.join(format!("{TEMPORARY}{token:016x}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let lock = File::open(&path).map_err(DatabasesError::file(message!("verb-open"), &path))?;
                    // Some network file systems can't lock a folder; then nobody clears it away either.
                    let _ = lock.try_lock();
                    return Ok(Self { path, _lock: lock, published: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(DatabasesError::file(message!("verb-create"), &path)(error)),
            }
        }
        Err(DatabasesError::file(message!("verb-create-folder-in"), home)(io::ErrorKind::AlreadyExists.into()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. Nothing of that name may be there.
    pub fn publish(mut self, target: &Path) -> Result<(), DatabasesError> {
        let fail = || DatabasesError::file(message!("verb-store-backup"), target);
        sync_dir(&self.path).map_err(fail())?;
        fs::rename(&self.path, target).map_err(fail())?;
        self.published = true;
        sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(fail())
    }

    /// Puts it where something is already, and removes what was there: in one step where the file system can exchange two
    /// names. A folder can't be replaced by a plain rename unless it is empty.
    pub fn exchange(mut self, target: &Path) -> Result<(), DatabasesError> {
        self.exchange_with(target)
    }

    fn exchange_with(&mut self, target: &Path) -> Result<(), DatabasesError> {
        let fail = || DatabasesError::file(message!("verb-replace"), target);
        if self.path.is_dir() {
            sync_dir(&self.path).map_err(fail())?;
        }
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let exchanged = match crate::failpoint::pretends("fs.no-exchange") {
            true => Err(Errno::INVAL),
            false => rustix::fs::renameat_with(rustix::fs::CWD, &self.path, rustix::fs::CWD, target, flags),
        };
        match exchanged {
            Ok(()) => {}
            // NFS, CIFS, exFAT and NTFS know no exchange.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return self.replace_in_turn(target).map_err(fail()),
            Err(Errno::BUSY | Errno::XDEV) => {
                let why = message!("staging-mounted");
                return Err(fail()(io_error(io::ErrorKind::Other, why)));
            }
            Err(error) => return Err(fail()(error.into())),
        }
        sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(fail())?;
        crate::failpoint!("databases.seed.before-old-removed");
        // From here on the folder's own name holds what was replaced.
        self.published = true;
        remove(&self.path).map_err(DatabasesError::file(message!("verb-remove"), &self.path))
    }

    /// In two steps: what was there goes aside first. Killed in between, the next run puts it back ([`clear`]).
    fn replace_in_turn(&mut self, target: &Path) -> io::Result<()> {
        let home = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut aside = OsString::from(ASIDE);
        aside.push(name);
        let aside = home.join(aside);
        fs::rename(target, &aside)?;
        sync_dir(home)?;
        crate::failpoint!("databases.seed.old-is-aside");
        if let Err(error) = fs::rename(&self.path, target) {
            // As it was before; should that fail as well, the next run tries again.
            let _ = fs::rename(&aside, target);
            return Err(error);
        }
        self.published = true;
        sync_dir(home)?;
        remove(&aside)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the next run clears it away.
            let _ = remove(&self.path);
        }
    }
}

/// Puts a seed that lies beside its place, on the same disk, there; what was there is removed. On an error it stays where it
/// is.
pub fn put_seed_in_place(seed: &Path, target: &Path) -> Result<(), DatabasesError> {
    if let Ok(metadata) = fs::symlink_metadata(target)
        && (metadata.is_dir() || seed.is_dir())
    {
        let lock = File::open(seed).map_err(DatabasesError::file(message!("verb-open"), seed))?;
        // Published as far as its end is concerned: what has arrived is not thrown away.
        let mut staging = Staging { path: seed.to_owned(), _lock: lock, published: true };
        return staging.exchange_with(target);
    }
    let fail = || DatabasesError::file(message!("verb-replace"), target);
    fs::rename(seed, target).map_err(fail())?;
    sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(fail())
}

/// A name that [`clear`] takes for something unfinished.
pub(in crate::databases) fn temporary(token: &str) -> String {
    format!("{TEMPORARY}{token}")
}

/// Removes a file or a folder; one that is gone already, or going, is fine.
pub(in crate::databases) fn remove(path: &Path) -> io::Result<()> {
    let removed = fs::symlink_metadata(path)
        .and_then(|metadata| if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Temporary folders whose makers are dead.
pub(in crate::databases) fn leftovers(home: &Path) -> Result<Vec<PathBuf>, DatabasesError> {
    let entries = match fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DatabasesError::file(message!("verb-list"), home)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(DatabasesError::file(message!("verb-list"), home))?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
        // Anybody's pipe or link may have such a name: only a folder is opened.
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = || fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path);
        if ours && opened().is_ok_and(|folder| folder.try_lock().is_ok()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes them, and puts back what a killed run had put aside and not replaced.
pub(in crate::databases) fn clear(home: &Path) -> Result<(), DatabasesError> {
    let aside = fs::read_dir(home).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().as_bytes().strip_prefix(ASIDE.as_bytes())?.to_owned();
        Some((entry.path(), home.join(std::ffi::OsStr::from_bytes(&name))))
    });
    for (aside, target) in aside {
        match fs::symlink_metadata(&target) {
            Ok(_) => remove(&aside).map_err(DatabasesError::file(message!("verb-remove"), &aside))?,
            Err(_) => fs::rename(&aside, &target).map_err(DatabasesError::file(message!("verb-put-back"), &target))?,
        }
    }
    for path in leftovers(home)? {
        remove(&path).map_err(DatabasesError::file(message!("verb-remove"), &path))?;
    }
    Ok(())
}

/// Makes a folder and those above it that only their owner can read; one that is there stays as it is.
fn create_private(path: &Path) -> Result<(), DatabasesError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The two folders that are ours; what is above them belongs to the site.
    let above = parent.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir_durably(above).map_err(DatabasesError::file(message!("verb-create"), above))?;
    for folder in [parent, path] {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DatabasesError::file(message!("verb-create"), folder)(error)),
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(parent).map_err(DatabasesError::file(message!("verb-create"), folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::databases::dump::backup::folder_of;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_workshop_is_private_and_leaves_nothing_unless_published() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder_of(folder.path(), "档");
        drop(Staging::open(&home).unwrap());
        assert_eq!(names_in(&home), Vec::<String>::new());
        let staging = Staging::open(&home).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(staging.path()), mode(&home)), (0o700, 0o700));
        staging.publish(&home.join("20260704T101530Z")).unwrap();
        assert_eq!(names_in(&home), ["20260704T101530Z"]);
    }

    #[test]
    fn what_a_dead_run_left_goes_and_a_living_ones_stays() {
        let folder = tempfile::tempdir().unwrap();
        let living = Staging::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(".dpl-tmp-dump-0000000000000000")).unwrap();
        let next = Staging::open(folder.path()).unwrap();
        let mut left =
            [living.path(), next.path()].map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        left.sort();
        assert_eq!(names_in(folder.path()), left);
    }

    #[test]
    fn a_pipe_or_a_link_with_the_name_of_a_leftover_is_neither_opened_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path(".dpl-tmp-dump-pipe"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        fs::create_dir(path("kept")).unwrap();
        std::os::unix::fs::symlink("kept", path(".dpl-tmp-dump-link")).unwrap();
        assert_eq!(leftovers(folder.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_exchange_replaces_a_full_folder_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for old_is_folder in [true, false] {
            let target = folder.path().join(format!("seed-{old_is_folder}"));
            if old_is_folder {
                fs::create_dir(&target).unwrap();
                fs::write(target.join("old"), b"x").unwrap();
            } else {
                fs::write(&target, b"x").unwrap();
            }
            let staging = Staging::open(folder.path()).unwrap();
            fs::write(staging.path().join("new"), b"y").unwrap();
            staging.exchange(&target).unwrap();
            assert_eq!(names_in(&target), ["new"]);
        }
        assert_eq!(names_in(folder.path()), ["seed-false", "seed-true"]);
    }

    #[test]
    fn without_an_exchange_a_folder_is_replaced_in_turn_and_comes_back_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("seed");
        let fill = |path: &Path, name: &str| {
            fs::create_dir_all(path).unwrap();
            fs::write(path.join(name), b"x").unwrap();
        };
        fill(&target, "first");
        for turn in ["second", "third"] {
            let mut staging = Staging::open(folder.path()).unwrap();
            fill(staging.path(), turn);
            staging.replace_in_turn(&target).unwrap();
            assert_eq!((names_in(&target), names_in(folder.path())), (vec![turn.to_owned()], vec!["seed".to_owned()]));
        }
        // Killed between the steps, and behind both.
        fs::rename(&target, folder.path().join(".dpl-replaced-seed")).unwrap();
        drop(Staging::open(folder.path()).unwrap());
        assert_eq!((names_in(folder.path()), names_in(&target)), (vec!["seed".to_owned()], vec!["third".to_owned()]));
        fill(&folder.path().join(".dpl-replaced-seed"), "old");
        drop(Staging::open(folder.path()).unwrap());
        assert_eq!((names_in(folder.path()), names_in(&target)), (vec!["seed".to_owned()], vec!["third".to_owned()]));
    }
}
