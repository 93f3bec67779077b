//! What must hold when things go wrong: the program killed at named points and at random moments, engines that answer as
//! none should, disks that are full, files that are damaged, and archives that were made to hurt.
//!
//! One rule for all of it: afterwards the old state is whole or the new one complete, and the same command, run again,
//! comes to its end. `DPL_FAULTS_SEED` (a number) chooses other points and moments than the ordinary ones, `DPL_FAULTS_ALL`
//! takes whole rows in place of samples: all points, sizes, bits and cases.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/engine.rs"]
mod support_engine;
#[path = "../support/fake_engine.rs"]
mod support_fake_engine;

mod bombs;
mod broken_images;
mod cut_loads;
mod damage;
mod disk_full;
mod fake_engine;
mod hangups;
mod harness;
mod hostile;
mod interrupts;
mod journal;
mod kills;
mod little_room;
mod points;
mod proxy;
mod random_kills;
mod secrets;
mod stalls;
mod subjects;
#[path = "../support/tally.rs"]
mod tally;
mod two_operators;
