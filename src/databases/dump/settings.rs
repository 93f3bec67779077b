//! What may be chosen about a dump.

use std::num::NonZero;

/// How much of the machine and the server a dump or a restore may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jobs(NonZero<u16>);

impl Jobs {
    pub(super) const ONE: Self = Self(NonZero::<u16>::MIN);

    /// `None` for 0.
    pub fn new(jobs: u16) -> Option<Self> {
        NonZero::new(jobs).map(Self)
    }

    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// For a restore one more than for a dump: its processes wait for the server by turns, and one that reads and unpacks
    /// leaves a core to the server.
    pub fn for_restore() -> Self {
        Self(Self::default().0.saturating_add(1))
    }
}

impl Default for Jobs {
    /// As many as the machine has cores, at most 8: a server has other work too.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
        Self(NonZero::new(cores as u16).unwrap_or(NonZero::<u16>::MIN))
    }
}

/// How hard the compressor tries: 1 is fastest, 12 smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// `None` outside of 1 to 12.
    pub fn new(level: u8) -> Option<Self> {
        (1..=12).contains(&level).then_some(Self(level))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    /// libdeflate's level 5 takes a third of zlib's time at its level 6, and the result is no larger.
    fn default() -> Self {
        Self(5)
    }
}

/// Whether the roles' password hashes are written down too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PasswordHashes {
    #[default]
    LeaveOut,
    Take,
}

/// How long somebody else's lock on a table is waited for: someone's ALTER TABLE in the way is an error after a while,
/// rather than a queue behind us without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockPatience(pub std::time::Duration);

impl Default for LockPatience {
    fn default() -> Self {
        Self(std::time::Duration::from_secs(300))
    }
}
