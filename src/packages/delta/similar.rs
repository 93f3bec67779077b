//! Which stretches of an old file a piece of a new one is like, for files that are too large to be a prefix as a whole.
//!
//! Both are sampled: of all windows of 16 bytes those whose hash is low, so that equal content gives equal samples wherever it
//! lies. The blocks of the old file that share most samples with the piece become its prefix.

use std::io;

use super::bases::ReadAt;

/// The old file is judged in blocks of that size.
const BLOCK_BYTES: u64 = 256 << 10;
const WINDOW: usize = 16;
/// Samples of one old file, at most some: 12 bytes each.
const SAMPLES: u64 = 1 << 20;
/// What stands in more blocks than these tells nothing.
const COMMON: usize = 4;
const READ_BYTES: usize = 1 << 20;

/// The samples of one old file.
pub(super) struct Samples {
    /// Hash and block, sorted.
    found: Vec<(u64, u32)>,
    /// A window is a sample where its hash is below that.
    below: u64,
    size: u64,
}

impl Samples {
    /// Of the `size` bytes at `offset`.
    pub fn of(tar: &dyn ReadAt, offset: u64, size: u64) -> io::Result<Self> {
        // One of 256 windows in small files; fewer in large ones.
        let one_of = (size / SAMPLES).next_power_of_two().max(256);
        let below = u64::MAX / one_of;
        let mut found = Vec::new();
        let mut buffer = vec![0; READ_BYTES + WINDOW - 1];
        let mut at = 0;
        while at < size {
            let read = buffer.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
            tar.read_exact_at(&mut buffer[..read], offset + at)?;
            sample(&buffer[..read], below, |hash, place| {
                found.push((hash, ((at + place as u64) / BLOCK_BYTES) as u32));
            });
            at += READ_BYTES as u64;
        }
        found.sort_unstable();
        found.dedup();
        Ok(Self { found, below, size })
    }

    /// Stretches of the old file, sorted, `budget` bytes in all at most, that are most like the piece, which lies at `place` of
    /// `whole` bytes of the new file.
    pub fn most_alike(&self, piece: &[u8], place: u64, whole: u64, budget: u64) -> Vec<(u64, u64)> {
        if self.size <= budget {
            return vec![(0, self.size)];
        }
        let blocks = self.size.div_ceil(BLOCK_BYTES) as usize;
        let mut scores = vec![0u64; blocks];
        let mut hashes = Vec::new();
        sample(piece, self.below, |hash, _| hashes.push(hash));
        hashes.sort_unstable();
        hashes.dedup();
        for hash in hashes {
            let from = self.found.partition_point(|(other, _)| *other < hash);
            let same = self.found[from..].iter().take_while(|(other, _)| *other == hash).take(COMMON + 1);
            let same: Vec<u32> = same.map(|(_, block)| *block).collect();
            if same.len() <= COMMON {
                // Twelve is divisible by all counts up to four.
                same.iter().for_each(|block| scores[*block as usize] += 12 / same.len() as u64);
            }
        }
        let wanted = (budget / BLOCK_BYTES).max(1) as usize;
        // Between equally good ones (none alike, say) those nearest to the same relative place.
        let middle = (place + piece.len() as u64 / 2) as f64 / whole.max(1) as f64 * blocks as f64;
        let distance = |block: usize| ((block as f64 + 0.5 - middle).abs() * 1000.0) as u64;
        let mut order: Vec<usize> = (0..blocks).collect();
        order.sort_by_key(|block| (std::cmp::Reverse(scores[*block]), distance(*block), *block));
        order.truncate(wanted);
        order.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for block in order {
            let from = block as u64 * BLOCK_BYTES;
            let size = BLOCK_BYTES.min(self.size - from);
            match ranges.last_mut() {
                Some((start, length)) if *start + *length == from => *length += size,
                _ => ranges.push((from, size)),
            }
        }
        ranges
    }
}

/// Calls back with hash and place of each window whose hash is below the bound.
fn sample(bytes: &[u8], below: u64, mut found: impl FnMut(u64, usize)) {
    for (place, window) in bytes.windows(WINDOW).enumerate() {
        let (low, high) = window.split_at(8);
        let low = u64::from_le_bytes(low.try_into().expect("eight bytes"));
        let high = u64::from_le_bytes(high.try_into().expect("eight bytes"));
        let mixed = low.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ high.rotate_left(29).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let hash = (mixed ^ (mixed >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        if hash < below {
            found(hash, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, size: usize) -> Vec<u8> {
        let mut state = seed | 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(size)
        .collect()
    }

    #[test]
    fn the_stretch_that_a_piece_was_copied_from_is_found_wherever_it_lies() {
        let old = noise(7, 4 << 20);
        let samples = Samples::of(&old, 0, old.len() as u64).unwrap();
        let piece = [noise(9, 12_345).as_slice(), &old[2_900_000..3_300_000]].concat();
        let ranges = samples.most_alike(&piece, 0, 4 << 20, 1 << 20);
        assert_eq!(ranges.iter().map(|(_, size)| size).sum::<u64>(), 1 << 20);
        assert!(ranges.iter().any(|(from, size)| *from <= 2_900_000 && from + size >= 3_300_000), "{ranges:?}");
    }

    #[test]
    fn a_piece_that_is_like_nothing_gets_what_lies_at_the_same_relative_place() {
        let old = noise(7, 4 << 20);
        let samples = Samples::of(&old, 0, old.len() as u64).unwrap();
        let ranges = samples.most_alike(&noise(8, 100_000), 3_000_000, 4 << 20, 512 << 10);
        assert_eq!(ranges, [(2_883_584, 524_288)]);
    }
}
