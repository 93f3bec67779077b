//! Work that ends early: because somebody asks for an end, or since nobody waits for what it comes to any more.

use std::io::{self, Read};
use std::sync::{Arc, Weak};

use super::error::DatabasesError;
use crate::report::Reporter;

/// The work, unless somebody asks for an end first. It is dropped then, wherever it is: what must be tidied up after it is
/// the caller's.
pub(super) async fn unless_stopped<T>(
    reporter: &Reporter,
    database: &str,
    work: impl Future<Output = Result<T, DatabasesError>>,
) -> Result<T, DatabasesError> {
    tokio::select! {
        biased;
        worked = work => worked,
        () = reporter.stop_asked() => Err(DatabasesError::Stopped { database: database.to_owned() }),
    }
}

/// Runs work that blocks in a thread of its own. A thread can't be ended from outside, and this process would wait for it:
/// it asks now and then whether it is still wanted.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce(&Wanted) -> Result<T, DatabasesError> + Send + 'static,
) -> Result<T, DatabasesError> {
    let (_waits, wanted) = Wanted::new();
    let done = tokio::task::spawn_blocking(move || work(&wanted)).await;
    done.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

/// Whether somebody waits for what work comes to.
#[derive(Debug, Clone)]
pub(super) struct Wanted(Weak<()>);

impl Wanted {
    /// With what has to live as long as somebody waits.
    pub fn new() -> (Arc<()>, Self) {
        let waits = Arc::new(());
        let wanted = Self(Arc::downgrade(&waits));
        (waits, wanted)
    }

    pub fn go_on(&self, database: &str) -> Result<(), DatabasesError> {
        match self.0.strong_count() {
            0 => Err(DatabasesError::Stopped { database: database.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Reads as `inner` does as long as somebody waits.
    pub fn reader<R>(&self, inner: R) -> WantedReader<'_, R> {
        WantedReader { wanted: self, inner }
    }
}

pub(super) struct WantedReader<'a, R> {
    wanted: &'a Wanted,
    inner: R,
}

impl<R: Read> Read for WantedReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.wanted.0.strong_count() {
            // Not `Interrupted`: that would be tried again.
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            _ => self.inner.read(into),
        }
    }
}
