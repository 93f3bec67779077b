//! Images on their way from the store of one machine to the store of another, whatever carries them.
//!
//! `contents` is what a store has, `outgoing` what of it another one needs for an image, `incoming` where blobs arrive, `adopt`
//! what makes images of them once they are there, `recompress` what gives them another compression before. `plain` and `rebuilt`
//! are for layers that come as deltas: what they are rebuilt from, and how they get into the store.

mod adopt;
mod contents;
mod incoming;
mod outgoing;
mod plain;
mod rebuilt;
mod recompress;

pub use adopt::{Adopted, Adoption, adopt};
pub use contents::{ContentImage, ContentLayer, IncomingBlob, StoreContents, store_contents};
pub use incoming::{ARRIVAL_DAYS, PART, has_arrived, incoming_folder, open_incoming, sweep_arrivals};
pub use outgoing::{
    OutgoingBlob, OutgoingImage, OutgoingImages, OutgoingLayer, blob_file, docker_manifest, layout_documents,
    others_in_engine, outgoing_images,
};
pub use plain::{plain_layer, read_layer, store_layers};
pub use rebuilt::LayerIntake;
pub use recompress::recompress;
