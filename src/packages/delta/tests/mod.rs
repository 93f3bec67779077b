//! Deltas from tars that are made here, and what is refused of damaged and hostile ones.

mod damaged;
mod hostile;
mod made;
mod round_trips;

use super::*;
use crate::fs::Digest;
use made::Made;

/// Made with that many threads, as one piece of bytes.
fn delta_by(new: &[u8], olds: &[&[u8]], threads: usize) -> Vec<u8> {
    let made: Vec<Made> = olds.iter().map(|old| Made::of(old)).collect();
    let index = BaseIndex::read(made.iter().map(Made::layer).collect()).unwrap();
    let mut body = Vec::new();
    let options = CreateOptions { threads, ..CreateOptions::default() };
    let created = create(new, &Digest::of(new), &index, &options, &mut body).unwrap();
    let delta = [created.header_bytes(), body].concat();
    assert_eq!(delta.len() as u64, created.size());
    delta
}

fn delta(new: &[u8], olds: &[&[u8]]) -> Vec<u8> {
    delta_by(new, olds, 2)
}

/// What `apply` writes, and what it says.
fn applied(delta: &[u8], olds: &[&[u8]], wanted: &Digest, most_bytes: u64) -> (Vec<u8>, Result<Tar, DeltaError>) {
    let made: Vec<Made> = olds.iter().map(|old| Made::of(old)).collect();
    let layers: Vec<BaseLayer<'_>> = made.iter().map(Made::layer).collect();
    let mut output = Vec::new();
    let result = apply(delta, &layers, &Wanted { diff_id: wanted, most_bytes, threads: 2 }, &mut output);
    (output, result)
}

/// The delta rebuilds exactly `new`; its size.
#[track_caller]
fn holds(new: &[u8], olds: &[&[u8]]) -> usize {
    let delta = delta(new, olds);
    let (output, result) = applied(&delta, olds, &Digest::of(new), new.len() as u64);
    let tar = result.unwrap();
    assert_eq!((tar.diff_id, tar.size), (Digest::of(new), new.len() as u64));
    assert!(output == new);
    delta.len()
}
