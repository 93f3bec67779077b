//! Everything that is looked at before a plan is made: what the project has on its engine, and what the engine's host
//! has to give. Changes nothing; throw-away containers are made only where the caller allows it.

pub(in crate::services) mod drift;
mod folders;
mod gpus;
pub(in crate::services) mod helper;
pub(in crate::services) mod images;
pub(in crate::services) mod observe;
pub(in crate::services) mod observed;
mod postgres_data;
pub(in crate::services) mod reach;
mod sockets;
pub(in crate::services) mod survey;
