//! The old layers: where the files in them lie, and which of them a new file is equal to or a version of.
//!
//! Only headers are read at first. Content is read where a new file may be equal to an old one: of the same path, or of the same
//! size and with the same beginning; and it is compared byte for byte, so that no digest has to be believed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::DeltaError;
use super::format::Range;
use super::similar::Samples;
use super::tar_walk::{BLOCK, Names, Step, TarWalk, padding};
use crate::fs::Digest;

/// Bytes that can be read at any place, by several threads.
pub trait ReadAt: Send + Sync {
    /// # Errors
    /// Also where there are fewer bytes than asked for.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let there = self.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A layer of the old release, uncompressed. The caller has compared its bytes with its digest.
#[derive(Clone, Copy)]
pub struct BaseLayer<'a> {
    pub diff_id: &'a Digest,
    pub size: u64,
    pub tar: &'a dyn ReadAt,
}

impl BaseLayer<'_> {
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), DeltaError> {
        let read = self.tar.read_exact_at(buffer, offset);
        read.map_err(|source| DeltaError::Base { diff_id: self.diff_id.clone(), source })
    }
}

/// An old file: where its content lies.
pub(super) struct OldFile {
    pub content: Range,
    names: Names,
    /// Made when it is asked for.
    samples: OnceLock<Option<Arc<Samples>>>,
}

/// All files of all bases.
pub struct BaseIndex<'a> {
    layers: Vec<BaseLayer<'a>>,
    files: Vec<OldFile>,
    /// Places in `files`, sorted by the key that the name says, then by place.
    by_path: Vec<u32>,
    by_alike: Vec<u32>,
    by_last: Vec<u32>,
    by_size: Vec<u32>,
    /// By size and first bytes, for those sizes that were asked for.
    beginnings: Mutex<HashMap<u64, Arc<Beginnings>>>,
}

type Beginnings = HashMap<Vec<u8>, Vec<u32>>;

/// Two files of equal size are compared as a whole where this many bytes at their beginning are equal.
const BEGINNING_BYTES: usize = 1024;
/// So many are compared at most: thousands of files may begin alike.
const COMPARED: usize = 8;
/// A file of another path is a version only where the larger one has at most so many times the bytes of the other.
const SIZE_FACTOR: u64 = 4;

impl<'a> BaseIndex<'a> {
    /// Reads the headers of all bases. In a delta they have the numbers of this order.
    ///
    /// # Errors
    /// A base can't be read.
    pub fn read(layers: Vec<BaseLayer<'a>>) -> Result<Self, DeltaError> {
        let mut files = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            read_headers(number as u32, layer, &mut files)?;
        }
        let sorted = |key: fn(&OldFile) -> u64| {
            let mut places: Vec<u32> = (0..files.len() as u32).collect();
            places.sort_by_key(|place| key(&files[*place as usize]));
            places
        };
        let by_path = sorted(|file| file.names.path);
        let by_alike = sorted(|file| file.names.alike);
        let by_last = sorted(|file| file.names.last);
        let by_size = sorted(|file| file.content.size);
        Ok(Self { layers, files, by_path, by_alike, by_last, by_size, beginnings: Mutex::default() })
    }

    pub(super) fn layer(&self, number: u32) -> &BaseLayer<'a> {
        &self.layers[number as usize]
    }

    pub(super) fn file(&self, place: u32) -> &OldFile {
        &self.files[place as usize]
    }

    /// The old file whose content at `at` is that of `piece`, a piece of a new file of `size` bytes. `before` is the one
    /// that had the piece before.
    pub(super) fn equal(
        &self,
        names: &Names,
        size: u64,
        at: u64,
        piece: &[u8],
        before: Option<u32>,
    ) -> Result<Option<Range>, DeltaError> {
        let same_path = with_key(&self.files, &self.by_path, |file| file.names.path, names.path);
        // The topmost layer's is the likeliest.
        for place in before.into_iter().chain(same_path.iter().rev().copied()).take(COMPARED) {
            if let Some(range) = self.compare(place, at, piece)? {
                return Ok(Some(range));
            }
        }
        if at > 0 {
            return Ok(None);
        }
        let beginnings = self.beginnings(size)?;
        let beginning = &piece[..piece.len().min(BEGINNING_BYTES)];
        for place in beginnings.get(beginning).into_iter().flatten().take(COMPARED) {
            if let Some(range) = self.compare(*place, at, piece)? {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }

    /// The old file that a range which [`BaseIndex::equal`] found lies in.
    pub(super) fn file_of(&self, range: &Range) -> Option<u32> {
        // Files are in the order of layers and offsets.
        let before =
            self.files.partition_point(|file| (file.content.base, file.content.offset) <= (range.base, range.offset));
        before.checked_sub(1).map(|place| place as u32)
    }

    fn compare(&self, place: u32, at: u64, piece: &[u8]) -> Result<Option<Range>, DeltaError> {
        let file = self.file(place);
        let size = piece.len() as u64;
        if at + size > file.content.size {
            return Ok(None);
        }
        let range = Range { base: file.content.base, offset: file.content.offset + at, size };
        Ok(self.has_bytes(&range, piece)?.then_some(range))
    }

    /// Whether the base has these bytes there.
    pub(super) fn has_bytes(&self, range: &Range, bytes: &[u8]) -> Result<bool, DeltaError> {
        let layer = self.layer(range.base);
        let mut buffer = [0; 16 << 10];
        // A first look is short: most of what differs does so early.
        let (first, rest) = bytes.split_at(bytes.len().min(512));
        let mut at = range.offset;
        for chunk in [first].into_iter().chain(rest.chunks(buffer.len())) {
            let buffer = &mut buffer[..chunk.len()];
            layer.read(buffer, at)?;
            if buffer != chunk {
                return Ok(false);
            }
            at += chunk.len() as u64;
        }
        Ok(true)
    }

    fn beginnings(&self, size: u64) -> Result<Arc<Beginnings>, DeltaError> {
        if let Some(known) = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).get(&size) {
            return Ok(Arc::clone(known));
        }
        let mut beginnings = Beginnings::new();
        for place in with_key(&self.files, &self.by_size, |file| file.content.size, size) {
            let content = &self.file(*place).content;
            let mut beginning = vec![0; BEGINNING_BYTES.min(usize::try_from(size).unwrap_or(usize::MAX))];
            self.layer(content.base).read(&mut beginning, content.offset)?;
            beginnings.entry(beginning).or_default().push(*place);
        }
        let beginnings = Arc::new(beginnings);
        self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).insert(size, Arc::clone(&beginnings));
        Ok(beginnings)
    }

    /// The old file that a changed one is most likely a version of.
    pub(super) fn version(&self, names: &Names, size: u64) -> Option<u32> {
        let same_path = with_key(&self.files, &self.by_path, |file| file.names.path, names.path);
        if let Some(place) = same_path.last() {
            return Some(*place);
        }
        if names.is_nameless() {
            return None;
        }
        let alike = with_key(&self.files, &self.by_alike, |file| file.names.alike, names.alike);
        let last = with_key(&self.files, &self.by_last, |file| file.names.last, names.last);
        self.nearest_size(alike, size).or_else(|| self.nearest_size(last, size))
    }

    fn nearest_size(&self, places: &[u32], size: u64) -> Option<u32> {
        let difference = |place: &u32| self.file(*place).content.size.abs_diff(size);
        let nearest = places.iter().copied().min_by_key(difference)?;
        let old = self.file(nearest).content.size;
        (old.max(size) / SIZE_FACTOR <= old.min(size)).then_some(nearest)
    }

    /// The samples of an old file, made once. `None` where it can't be read: then there are none, and the reader of the file
    /// itself says why.
    pub(super) fn samples(&self, place: u32) -> Option<Arc<Samples>> {
        let file = self.file(place);
        let Range { base, offset, size } = file.content;
        file.samples.get_or_init(|| Samples::of(self.layer(base).tar, offset, size).ok().map(Arc::new)).clone()
    }
}

/// The places whose file has this key, in the order of the files.
fn with_key<'p>(files: &[OldFile], sorted: &'p [u32], key_of: fn(&OldFile) -> u64, key: u64) -> &'p [u32] {
    let from = sorted.partition_point(|place| key_of(&files[*place as usize]) < key);
    let count = sorted[from..].partition_point(|place| key_of(&files[*place as usize]) == key);
    &sorted[from..from + count]
}

fn read_headers(number: u32, layer: &BaseLayer<'_>, files: &mut Vec<OldFile>) -> Result<(), DeltaError> {
    let mut walk = TarWalk::default();
    let mut at = 0;
    let mut block = [0; BLOCK];
    let mut add = |names, offset, size| {
        let content = Range { base: number, offset, size };
        files.push(OldFile { content, names, samples: OnceLock::new() });
    };
    while layer.size - at >= BLOCK as u64 {
        layer.read(&mut block, at)?;
        let step = walk.step(&block);
        if let Step::Unknown(names) = step {
            add(names, at, layer.size - at);
            break;
        }
        at += BLOCK as u64;
        let rest = layer.size - at;
        let size = match step {
            Step::Body(names, size) => {
                if rest > 0 {
                    add(names, at, size.min(rest));
                }
                size
            }
            Step::Extension(size) if size <= rest => {
                let mut bytes = vec![0; size as usize];
                layer.read(&mut bytes, at)?;
                walk.extension(&bytes);
                size
            }
            Step::Extension(size) => size,
            _ => 0,
        };
        at += (size + padding(size)).min(rest);
    }
    Ok(())
}
