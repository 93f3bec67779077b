//! The files of a repository on a local disk, where restic's format has them (restic, design.rst, "Repository Layout").
//!
//! rustic_core's own backends bring an HTTP stack. This one writes as all of dpl does: beside the target, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use crate::fs::{DurableFile, Mode, TEMPORARY_MARK, create_dir_durably, sync_dir};

/// Where one kind of file lies; packs are divided by the first two letters of their names.
const FOLDERS: [&str; 5] = ["data", "index", "keys", "locks", "snapshots"];

#[derive(Debug)]
pub struct LocalBackend {
    folder: PathBuf,
    /// Once set, no snapshot gets its name: an end was asked for, or its folder could not be read.
    is_given_up: Arc<AtomicBool>,
}

impl LocalBackend {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), is_given_up: Arc::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What keeps a snapshot from getting its name. rustic_core passes over errors of single files and would write one that
    /// lacks them.
    pub fn give_up(&self) -> Arc<AtomicBool> {
        self.is_given_up.clone()
    }

    /// How many bytes all packs have.
    pub fn pack_bytes(&self) -> RusticResult<u64> {
        Ok(self.list_with_size(FileType::Pack)?.into_iter().map(|(_, bytes)| u64::from(bytes)).sum())
    }

    fn place(&self, kind: FileType, id: &Id) -> PathBuf {
        let name = id.to_hex();
        match kind {
            FileType::Config => self.folder.join("config"),
            FileType::Pack => self.folder.join("data").join(&name[..2]).join(&*name),
            kind => self.folder.join(kind.dirname()).join(&*name),
        }
    }

    fn error(path: &Path, source: io::Error) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, "`{path}`", source)
            .attach_context("path", path.display().to_string())
    }

    fn read(&self, kind: FileType, id: &Id, range: Option<(u32, u32)>) -> RusticResult<Bytes> {
        let path = self.place(kind, id);
        let read = || match range {
            None => fs::read(&path),
            Some((offset, length)) => {
                let mut bytes = vec![0; length as usize];
                File::open(&path)?.read_exact_at(&mut bytes, u64::from(offset))?;
                Ok(bytes)
            }
        };
        read().map(Bytes::from).map_err(|source| Self::error(&path, source))
    }
}

/// The files in a folder whose names are IDs, with their sizes. What else lies there is nobody's.
fn listed(folder: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().filter(|name| name.len() == 64).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) => found.push((id, u32::try_from(metadata.len()).unwrap_or(u32::MAX))),
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl ReadBackend for LocalBackend {
    fn location(&self) -> String {
        self.folder.display().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let mut found = Vec::new();
        let folder = self.folder.join(kind.dirname());
        let list = || match kind {
            FileType::Config => {
                if let Ok(metadata) = fs::metadata(self.folder.join("config")) {
                    found.push((Id::default(), u32::try_from(metadata.len()).unwrap_or(u32::MAX)));
                }
                Ok(())
            }
            FileType::Pack => {
                (0..=u8::MAX).try_for_each(|byte| listed(&folder.join(format!("{byte:02x}")), &mut found))
            }
            _ => listed(&folder, &mut found),
        };
        let list: io::Result<()> = { list }();
        list.map_err(|source| Self::error(&folder, source))?;
        Ok(found)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.read(kind, id, None)
    }

    fn read_partial(&self, kind: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.read(kind, id, Some((offset, length)))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.place(kind, id).display().to_string()
    }
}

impl WriteBackend for LocalBackend {
    fn create(&self) -> RusticResult<()> {
        let create = |folder: PathBuf| create_dir_durably(&folder).map_err(|source| Self::error(&folder, source));
        FOLDERS.iter().try_for_each(|name| create(self.folder.join(name)))?;
        (0..=u8::MAX).try_for_each(|byte| create(self.folder.join(format!("data/{byte:02x}"))))
    }

    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        let path = self.place(kind, id);
        if kind == FileType::Snapshot && self.is_given_up.load(Ordering::SeqCst) {
            return Err(RusticError::new(ErrorKind::Backend, "the snapshot was given up"));
        }
        let write = || {
            if kind == FileType::Pack {
                path.parent().map_or(Ok(()), create_dir_durably)?;
            }
            let mut file = DurableFile::create_marked(&path, Mode::Private, TEMPORARY_MARK)?;
            content.slice().iter().try_for_each(|bytes| file.write_all(bytes))?;
            crate::failpoint!("folders.repository.before-rename");
            match kind {
                // Another repository's would be lost with it.
                FileType::Config => file.commit_new(),
                _ => file.commit(),
            }
        };
        write().map_err(|source| Self::error(&path, source))
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        let path = self.place(kind, id);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let synced = removed.and_then(|()| match kind {
            // One by one a folder of packs would be synced for each of them; a pack that comes back is not in the index.
            FileType::Pack => Ok(()),
            _ => path.parent().map_or(Ok(()), sync_dir),
        });
        synced.map_err(|source| Self::error(&path, source))
    }
}
