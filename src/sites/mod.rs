//! Other machines: dpl at the other end of an ssh connection.
//!
//! `desk` is the side at which the operator types: it connects, brings the program, and shows what the site says. `serve` is the
//! side beside the site's engine. `protocol` is what they say to each other; neither side knows the other's code. `inventory` is
//! what a machine has of a project, `offer` what this one can give, `plan` what goes from one to the other, `receive` the side at
//! which it arrives, whatever carries it. `coming` is what is on its way to a project's folder.

mod coming;
mod desk;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod inventory;
mod offer;
mod place;
mod plan;
mod protocol;
mod receive;
mod roots;
mod seed_files;
mod serve;
mod short_inventory;

pub use coming::coming_files;
pub use desk::{
    FetchError, Fetched, FetchedJournal, Fetching, Measured, Remote, RemoteOptions, RunAtSite, Said, SendOrder, Sender,
    Sent, ToSite, facts, inventory as inventory_of, list_runs, measure, new_run_id, offered_backups, run, send,
};
pub use error::{SitesError, as_told, shown, shown_message};
pub use inventory::{
    DiskInventory, EngineImage, EngineInventory, FileInventory, ImageStoreKind, Inventory, LayerInventory,
    PartInventory, Presence, SeedInventory, StoreImage, StoreInventory, collect as collect_inventory,
    collect_with as collect_inventory_with, has_received,
};
pub use offer::{Placement, Sources, manifest_for, offer_files, offer_seeds};
pub use plan::{
    DeltaBase, FileResult, ImageResult, LayerDelta, LeftOutBecause, LeftOutFile, Offer, OfferedFile, OfferedSeed,
    PlanOptions, PlannedBase, PlannedBlob, PlannedDelta, PlannedFile, PlannedImage, PlannedSeed, SpaceNeed,
    TransferPlan, plan as plan_transfer,
};
pub use protocol::{
    BackupOffer, BackupsRequest, ComingText, Facts, FileOffer, FromReceiver, InventoryRequest, ProjectFile,
    ProjectPlace, RunSummary, Signal, Target, TerminalRequest, ToReceiver,
};
pub use receive::{MOST_AT_ONCE, Receiver, Recorded};
pub use roots::is_own_folder;
pub use seed_files::SeedFile;
pub use serve::{become_command, keep, serve};
pub use short_inventory::{InventoryTextError, ShortInventory};
