//! A bound on the memory of all groups in work together.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that may be taken, by one thread, and come back from others.
pub(super) struct Memory {
    free: Mutex<Free>,
    changed: Condvar,
    all: usize,
}

struct Free {
    bytes: usize,
    is_closed: bool,
}

/// Bytes that were taken; they come back when it is dropped.
pub(super) struct Room<'m> {
    memory: &'m Memory,
    bytes: usize,
}

impl Memory {
    pub fn new(all: usize) -> Self {
        Self { free: Mutex::new(Free { bytes: all, is_closed: false }), changed: Condvar::new(), all }
    }

    /// Waits until there is room; `None` when it was closed. What is larger than all waits for all.
    pub fn take(&self, bytes: usize) -> Option<Room<'_>> {
        let bytes = bytes.min(self.all);
        let mut free = self.lock();
        while !free.is_closed && free.bytes < bytes {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        if free.is_closed {
            return None;
        }
        free.bytes -= bytes;
        Some(Room { memory: self, bytes })
    }

    /// Callers that wait get nothing.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.memory.lock().bytes += self.bytes;
        self.memory.changed.notify_all();
    }
}
