//! Keeping to a rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets so many bytes a second pass.
pub(super) struct Limiter {
    rate: Option<u64>,
    /// When the next byte may go.
    free_at: Instant,
}

/// Without a limit, so much goes at once.
const LARGEST_PIECE: u64 = 128 << 10;
const SMALLEST_PIECE: u64 = 1 << 10;
/// What was not used is not saved up for longer.
const SAVED: Duration = Duration::from_millis(200);

impl Limiter {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, free_at: Instant::now() }
    }

    /// How much to send at once: a slow line gets small pieces, so that others have their turn on it.
    pub fn piece(&self) -> usize {
        let piece = self.rate.map_or(LARGEST_PIECE, |rate| (rate / 10).clamp(SMALLEST_PIECE, LARGEST_PIECE));
        piece as usize
    }

    /// Waits until so many bytes may go.
    pub async fn pass(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        sleep_until(self.free_at).await;
        let earliest = Instant::now().checked_sub(SAVED).unwrap_or_else(Instant::now);
        self.free_at = self.free_at.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_passes_than_the_rate_allows() {
        let mut limiter = Limiter::new(Some(1 << 20));
        let (begun, mut passed) = (Instant::now(), 0);
        while passed < 512 << 10 {
            let piece = limiter.piece();
            limiter.pass(piece).await;
            passed += piece;
        }
        // However slow the machine is, so much takes no less; the last piece is not waited for.
        assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!((Limiter::new(None).piece(), Limiter::new(Some(1)).piece()), (128 << 10, 1 << 10));
    }
}
