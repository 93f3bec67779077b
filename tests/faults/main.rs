//! What must hold when things go wrong: the program killed at named points and at random moments, and engines that
//! answer as none should.
//!
//! One rule for all of it: afterwards the old state is whole or the new one complete, and the same command, run again,
//! comes to its end. `DPL_FAULTS_SEED` (a number) chooses other points and moments than the ordinary ones, `DPL_FAULTS_ALL`
//! all points.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/engine.rs"]
mod support_engine;
#[path = "../support/fake_engine.rs"]
mod support_fake_engine;

mod fake_engine;
mod harness;
mod kills;
mod points;
mod random_kills;
mod subjects;
