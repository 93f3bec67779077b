//! Making deltas: each in a file without a name on the store's disk, beside what it is made of, uncompressed.
//!
//! One that is not clearly smaller than the layer is given up as soon as that is known. What can't be made is no reason not to pack:
//! the layer then goes as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::candidates::DeltaCandidate;
use crate::failpoint;
use crate::fs::{Digest, Hasher};
use crate::images::{PlainLayer, nameless_file, plain_layer, read_layer};
use crate::packages::PackagesError;
use crate::packages::delta::{BaseIndex, BaseLayer, CreateOptions, Created, DeltaError, NumberedTar, create};
use crate::packages::error::in_one_line;
use crate::packages::format::EntrySource;
use crate::report::{Activity, Reporter};
use crate::sites::{DeltaBase, LayerDelta};

/// When a delta is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaUse {
    /// Where it is clearly smaller than the layer.
    Auto,
    /// Where it is smaller.
    Always,
}

/// How to make deltas.
#[derive(Debug, Clone, Copy)]
pub struct DeltaOptions {
    pub when: DeltaUse,
    pub create: CreateOptions,
}

/// A delta that was made.
#[derive(Debug, Clone)]
pub struct MadeDelta {
    pub delta: LayerDelta,
    pub(super) source: EntrySource,
}

/// What is smaller saves nothing that is worth the rebuilding.
const LEAST_BYTES: u64 = 128 << 10;
/// A delta of so many tenths of the layer's bytes is worth it.
const WORTH_TENTHS: u64 = 8;

impl DeltaOptions {
    /// The most bytes that a delta of a layer may have; `None` where none is worth it.
    fn most_bytes(&self, blob_bytes: u64) -> Option<u64> {
        match self.when {
            DeltaUse::Auto => (blob_bytes >= LEAST_BYTES).then(|| blob_bytes / 10 * WORTH_TENTHS),
            DeltaUse::Always => blob_bytes.checked_sub(1),
        }
    }
}

/// What making these deltas takes of the store's disk at most: the deltas, and what one of them is made of.
pub fn spool_bytes(candidates: &[DeltaCandidate], options: &DeltaOptions) -> u64 {
    let deltas = candidates.iter().filter_map(|candidate| options.most_bytes(candidate.layer.bytes));
    let bases = candidates.iter().map(DeltaCandidate::base_bytes).max();
    deltas.chain(bases).fold(0, u64::saturating_add)
}

/// Makes the deltas that are worth it; the same of the same layers, at any number of threads. Blocking.
///
/// # Errors
/// The operator asked for an end.
pub fn make_deltas(
    store: &Path,
    candidates: &[DeltaCandidate],
    options: &DeltaOptions,
    reporter: &Reporter,
) -> Result<Vec<MadeDelta>, PackagesError> {
    let worth: Vec<(&DeltaCandidate, u64)> = candidates
        .iter()
        .filter_map(|candidate| Some((candidate, options.most_bytes(candidate.layer.bytes)?)))
        .collect();
    let mut making = Making { store, options, reporter, bases: HashMap::new() };
    let mut made = Vec::new();
    for (candidate, most_bytes) in worth {
        let subject = format!("{} {}", candidate.reference, candidate.layer.diff_id.short());
        reporter.began(Activity::MakeDelta, &subject, candidate.layer.uncompressed_bytes);
        match making.make(candidate, most_bytes, &subject) {
            Ok(Some(delta)) => {
                let (bytes, whole) = (delta.delta.delta_bytes, candidate.layer.bytes);
                reporter.done(Activity::MakeDelta, &subject, message!("delta-made", bytes = bytes, whole = whole));
                made.push(delta);
            }
            Ok(None) => reporter.done(Activity::MakeDelta, &subject, message!("delta-not-worth")),
            Err(error) => {
                reporter.failed(Activity::MakeDelta, &subject, &error);
                if reporter.asked_to_stop() {
                    return Err(PackagesError::Stopped);
                }
                let why = in_one_line(&error);
                reporter.warn(message!("delta-left-out", image = &candidate.reference, why = why));
            }
        }
    }
    Ok(made)
}

struct Making<'a> {
    store: &'a Path,
    options: &'a DeltaOptions,
    reporter: &'a Reporter,
    /// What the present delta is made of; the next one of the same image is made of the same.
    bases: HashMap<Digest, PlainLayer>,
}

impl Making<'_> {
    /// `None` where the delta would have more bytes than it may.
    fn make(
        &mut self,
        candidate: &DeltaCandidate,
        most_bytes: u64,
        subject: &str,
    ) -> Result<Option<MadeDelta>, PackagesError> {
        self.bases.retain(|diff_id, _| candidate.bases.iter().any(|base| base.diff_id == *diff_id));
        for base in candidate.bases.iter() {
            if !self.bases.contains_key(&base.diff_id) {
                let plain = plain_layer(self.store, base, &mut || !self.reporter.asked_to_stop())?;
                self.bases.insert(base.diff_id.clone(), plain);
            }
        }
        failpoint!("packages.pack.before-delta");
        let layer = &candidate.layer;
        let failed = |source| PackagesError::MakeDelta { layer: layer.diff_id.clone(), source };
        let bases = candidate.bases.iter().map(|base| &self.bases[&base.diff_id]);
        let bases = bases.map(|base| BaseLayer { diff_id: &base.diff_id, size: base.bytes, tar: &base.file });
        let index = BaseIndex::read(bases.collect()).map_err(failed)?;
        let mut meter = self.reporter.meter(Activity::MakeDelta, subject, layer.uncompressed_bytes);
        let new = meter.over(read_layer(self.store, layer)?);
        let spool = nameless_file(self.store)?;
        let is_over = AtomicBool::new(false);
        let body = BufWriter::new(Limited { spool: &spool, left: most_bytes, is_over: &is_over });
        let created = match create(new, &layer.diff_id, &index, &self.options.create, body) {
            Err(DeltaError::Write(_)) if is_over.load(Ordering::Relaxed) => return Ok(None),
            created => created.map_err(failed)?,
        };
        if created.size() > most_bytes {
            return Ok(None);
        }
        let digest = digest_of(&created, &spool).map_err(|source| failed(DeltaError::Write(source)))?;
        let base = |base: &NumberedTar| DeltaBase { layer: base.diff_id.clone(), bytes: base.size };
        let delta = LayerDelta {
            layer: layer.diff_id.clone(),
            bytes: created.header.result.size,
            delta: digest,
            delta_bytes: created.size(),
            bases: created.header.bases.iter().map(base).collect(),
        };
        let source = EntrySource::Spooled { head: created.header_bytes().into(), rest: Arc::new(spool) };
        Ok(Some(MadeDelta { delta, source }))
    }
}

/// The digest of a delta: of its header, and of the body that was spooled.
fn digest_of(created: &Created, spool: &File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    hasher.update(&created.header_bytes());
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        match spool.read_at(&mut buffer, at)? {
            0 => return Ok(hasher.finish()),
            read => {
                hasher.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}

/// A spool that takes no more than a delta may have.
struct Limited<'a> {
    spool: &'a File,
    left: u64,
    is_over: &'a AtomicBool,
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.is_over.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let mut spool = self.spool;
        spool.write_all(bytes)?;
        self.left = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_used_where_it_is_clearly_smaller() {
        let options = |when| DeltaOptions { when, create: CreateOptions::default() };
        assert_eq!(options(DeltaUse::Auto).most_bytes(1_000_000), Some(800_000));
        assert_eq!(options(DeltaUse::Auto).most_bytes(LEAST_BYTES - 1), None);
        assert_eq!(options(DeltaUse::Always).most_bytes(1000), Some(999));
        assert_eq!(options(DeltaUse::Always).most_bytes(0), None);
    }
}
