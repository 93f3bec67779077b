//! What is put to the test: a state, a command that changes it, and what must hold of it at any moment and in the end.

pub mod databases;
pub mod housekeeping;
pub mod images;
pub mod services;

use crate::support::Site;

/// A command on a state of its own on the shared engine.
pub trait Subject {
    fn site(&self) -> &Site;

    /// The command, without the manifest.
    fn command(&self) -> Vec<&'static str>;

    /// Makes the old state, whatever the last run left.
    fn prepare(&mut self);

    /// Fails unless the old state is whole or the new one complete.
    fn holds(&self, context: &str);

    /// Before the command is run again: a site that mends what made it fail.
    fn before_again(&mut self) {}

    /// Fails unless the new state is complete and nothing of a killed run is left.
    fn is_done(&self, context: &str);
}
