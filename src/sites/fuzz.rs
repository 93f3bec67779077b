//! What the fuzz target of the protocol does with any bytes. The seeds in `fuzz/seeds/protocol`, to which every finding is added,
//! run as an ordinary test.

use std::path::{Component, Path};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::shown;
use super::protocol::{
    Frame, FrameReader, FromReceiver, Hello, LARGEST_PAYLOAD, MARK, Reply, Request, ToReceiver, ToRun,
};
use super::roots::inside;
use super::short_inventory::ShortInventory;

/// So much may stand before the mark.
const MOST_NOISE: usize = 1 << 16;
/// What a frame has beside its payload.
const HEAD: u64 = 5;

/// Any bytes as what the other side says, with a login script's words before it and without; as one document, as paths, and as
/// the text of an inventory.
pub fn protocol(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime that drives nothing can be made").block_on(async {
        let mut reader = FrameReader::new(bytes);
        if reader.skip_to(MARK, MOST_NOISE).await.is_ok() {
            frames(reader).await;
        }
        frames(FrameReader::new(bytes)).await;
    });
    document(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Refused, or read: no text is more than that.
        let _ = ShortInventory::of_text(text);
        text.lines().for_each(path);
    }
}

async fn frames(mut reader: FrameReader<&[u8]>) {
    while let Ok(frame) = reader.next().await {
        assert!(frame.length() <= LARGEST_PAYLOAD as u64 + HEAD);
        match frame {
            Frame::Control(bytes) => document(&bytes),
            Frame::Output(bytes) | Frame::Error(bytes) => screen(&bytes),
            Frame::Piece(bytes) => drop(Frame::split_piece(bytes)),
            Frame::Data(_) | Frame::DataEnd | Frame::Alive => {}
        }
    }
}

/// As everything that is said in a document: refused, or something that can be said again.
fn document(bytes: &[u8]) {
    reads_again::<Hello>(bytes);
    reads_again::<Request>(bytes);
    reads_again::<ToRun>(bytes);
    reads_again::<ToReceiver>(bytes);
    reads_again::<Reply>(bytes);
    reads_again::<FromReceiver>(bytes);
}

fn reads_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(document) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&document).expect("what was read can be written");
        assert!(serde_json::from_slice::<T>(&written).is_ok(), "{}", String::from_utf8_lossy(&written));
    }
}

/// Nothing that is said by the other side does anything to a screen.
fn screen(bytes: &[u8]) {
    let text = shown(&String::from_utf8_lossy(bytes));
    assert!(text.chars().all(|letter| !letter.is_control() || letter == '\t'), "{text:?}");
}

/// No path leads out of its root.
fn path(relative: &str) {
    let root = Path::new("/nonexistent-root-of-a-project");
    if let Ok(place) = inside(root, relative) {
        let is_plain = place.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
        assert!(place.starts_with(root) && is_plain, "{}", place.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn the_seeds_of_the_protocol_target_hold() {
        fuzz_seeds::each("protocol", protocol);
    }
}
