//! The workers that compress blocks, and the one that syncs what they have written.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

use super::target::{Followed, ToSync, Written};
use super::{BLOCK_BYTES, CompressedFile, Level, Moved, lock};
use crate::databases::error::DatabasesError;

/// A part of a raw file.
pub(super) struct Block {
    pub file: Arc<Followed>,
    pub index: u64,
    pub offset: u64,
    pub length: usize,
    pub last: bool,
}

/// Blocks on their way from the follower to the workers.
#[derive(Default)]
pub(super) struct Pool {
    /// How many blocks may be under way: bounds memory, and the files that are open.
    window: usize,
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Default)]
struct PoolState {
    blocks: VecDeque<Block>,
    /// Handed over and not written yet.
    under_way: usize,
    closed: bool,
    compressed_bytes: u64,
    finished: Vec<CompressedFile>,
    /// Those of them that are still to be synced.
    unsynced: Vec<String>,
    error: Option<DatabasesError>,
}

impl Pool {
    pub fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    /// The files that are complete, and the names of those that are still to be synced.
    pub fn finish(self) -> Result<(Vec<CompressedFile>, Vec<String>), DatabasesError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok((state.finished, state.unsynced)),
        }
    }

    pub fn wait_for_room(&self) {
        let mut state = lock(&self.state);
        while state.under_way >= self.window && state.error.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn push(&self, block: Block) {
        let mut state = lock(&self.state);
        state.under_way += 1;
        state.blocks.push_back(block);
        drop(state);
        self.changed.notify_all();
    }

    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    pub fn fail(&self, error: DatabasesError) {
        lock(&self.state).error.get_or_insert(error);
        self.changed.notify_all();
    }

    pub fn has_failed(&self) -> bool {
        lock(&self.state).error.is_some()
    }

    fn take(&self) -> Option<Block> {
        let mut state = lock(&self.state);
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(block) = state.blocks.pop_front() {
                return Some(block);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn work(&self, level: Level, to_sync: SyncSender<ToSync>, progress: &(dyn Fn(Moved) + Sync)) {
        let level = CompressionLvl::new(level.get().into()).expect("libdeflate has levels 1 to 12");
        let mut compressor = Compressor::new(level);
        let mut raw = vec![0; BLOCK_BYTES as usize];
        let mut member = vec![0; compressor.gzip_compress_bound(raw.len())];
        while let Some(block) = self.take() {
            let raw = &mut raw[..block.length];
            match compress(&block, raw, &mut member, &mut compressor) {
                Ok(written) => {
                    // The one that takes it lives as long as there are workers.
                    let _ = written.to_sync.map(|file| to_sync.send(file));
                    let mut state = lock(&self.state);
                    state.under_way -= written.blocks;
                    state.compressed_bytes += block.length as u64;
                    if let Some(file) = written.finished.as_ref().filter(|_| written.is_unsynced) {
                        state.unsynced.push(file.name.clone());
                    }
                    state.finished.extend(written.finished);
                    let moved = Moved { bytes: state.compressed_bytes, files: state.finished.len() as u64 };
                    drop(state);
                    self.changed.notify_all();
                    progress(moved);
                }
                Err(error) => return self.fail(error),
            }
        }
    }
}

fn compress(
    block: &Block,
    raw: &mut [u8],
    member: &mut [u8],
    compressor: &mut Compressor,
) -> Result<Written, DatabasesError> {
    block.file.read(raw, block.offset, block.last)?;
    let length = compressor.gzip_compress(raw, member).expect("the bound is large enough for any input");
    block.file.write(block.index, &member[..length], block.last)
}

/// Syncs what the workers have written, until the last of them has ended.
pub(super) fn sync_files(written: &Receiver<ToSync>, pool: &Pool) {
    while let Ok(ToSync { file, path }) = written.recv() {
        if let Err(error) = file.sync_data() {
            return pool.fail(DatabasesError::file(message!("verb-write"), &path)(error));
        }
    }
}
