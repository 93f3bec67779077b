//! The program and its modules on a real, private engine, which `DPL_TEST_ENGINE` names: `scripts/test.sh` starts one,
//! with stand-ins for the manifest's images, and runs these inside its network namespace.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/engine.rs"]
mod support_engine;
#[path = "../support/library.rs"]
mod support_library;
#[path = "../support/ssh.rs"]
mod support_ssh;
#[path = "../support/wire.rs"]
mod support_wire;

mod actions;
mod alone;
mod archives_of_others;
mod as_the_manifest_says;
mod at_sites;
mod backups;
mod chains;
mod commands;
mod compose;
mod data_folders;
mod databases;
mod delta_packages;
mod ended_databases;
mod exchange;
mod fetching;
mod files;
mod foreign;
mod foreign_archives;
mod hostile_sites;
mod housekeeping;
mod images;
mod images_others;
mod interrupts;
mod keys;
mod languages;
mod lock;
mod looking;
mod networks;
mod odd_servers;
mod over_ssh;
mod over_tls;
mod packages;
mod progress;
mod proof;
mod real_servers;
mod release;
mod replacing;
mod restarts;
mod restore_options;
mod rollback;
mod sending;
mod services;
mod site_interrupts;
mod site_kills;
mod site_limits;
mod site_programs;
mod two_hosts;
mod under_load;
mod verdicts;
