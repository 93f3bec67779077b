//! What a machine has of a project: engine, image store, seeds, files. A document of some kilobytes that can be sent by any means
//! to the place where a transfer is planned.
//!
//! `document` is the document, `layers` its table of layers, `presence` a part of it that need not be there, `collect` makes one of
//! this machine, `seeds` and `files` are parts of that. Nothing here changes anything.

mod collect;
mod document;
mod files;
mod layers;
mod presence;
mod seeds;

pub(super) use collect::free_bytes;
pub use collect::{collect, collect_with};
pub use document::{
    DiskInventory, EngineImage, EngineInventory, FileInventory, ImageStoreKind, Inventory, LayerInventory,
    PartInventory, SeedInventory, StoreImage, StoreInventory,
};
pub use files::has_received;
pub(super) use files::{FOLDER as RECEIVED_FOLDER, Received, look as look_at_files};
pub use presence::Presence;
