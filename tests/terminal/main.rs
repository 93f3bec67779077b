//! The program at a real pseudo-terminal, key by key: what is on the screen, where the cursor is, and how the terminal is left.
//! Actions need the private engine of `scripts/test.sh`; prompts need none.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/engine.rs"]
mod support_engine;
#[path = "../support/ssh.rs"]
mod support_ssh;
#[path = "../support/wire.rs"]
mod support_wire;

mod actions;
mod choosing;
// As the tests of packages make them.
#[path = "../packages/desk.rs"]
#[allow(dead_code)]
mod desk;
mod languages;
mod leaving;
mod packages;
mod screen;
mod sites;
mod sizes;
#[path = "../support/tally.rs"]
mod tally;
