//! How much the layers of one file may unpack to: more is a bomb.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes the compressed layers of an archive may unpack to. One compressor makes a thousandth (gzip) or a
/// 32,768th (zstd) of a file at best; only a bomb, packed twice, holds more.
#[derive(Debug)]
pub struct UnpackLimit {
    left_bytes: AtomicU64,
}

/// There was less left.
#[derive(Debug)]
pub struct LimitExceeded;

impl UnpackLimit {
    /// For an archive of this size on disk.
    pub fn of(archive_bytes: u64) -> Self {
        Self { left_bytes: AtomicU64::new((1 << 30) + archive_bytes.saturating_mul(32_768).min(1 << 60)) }
    }

    pub fn left_bytes(&self) -> u64 {
        self.left_bytes.load(Ordering::Relaxed)
    }

    pub fn spend(&self, bytes: u64) -> Result<(), LimitExceeded> {
        let spent = self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(|_| ()).map_err(|_| LimitExceeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_gone_and_more_than_is_left_is_refused() {
        let budget = UnpackLimit::of(2);
        let all = budget.left_bytes();
        assert_eq!(all, (1 << 30) + 65_536);
        budget.spend(all - 1).unwrap();
        assert!(budget.spend(2).is_err());
        budget.spend(1).unwrap();
        assert!(budget.spend(1).is_err());
        assert!(UnpackLimit::of(u64::MAX).left_bytes() > 1 << 60);
    }
}
