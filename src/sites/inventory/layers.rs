//! The table of layers of an inventory: each once, named by its place.

use std::collections::HashMap;

use super::document::LayerInventory;
use crate::fs::Digest;
use crate::images::ContentLayer;

/// A table that grows.
#[derive(Default)]
pub(super) struct LayerTable {
    layers: Vec<LayerInventory>,
    by_blob: HashMap<Digest, u32>,
    by_diff_id: HashMap<Digest, u32>,
}

impl LayerTable {
    /// Of the layers whose blobs a store has.
    pub fn of(stored: &[ContentLayer]) -> Self {
        let mut table = Self::default();
        for ContentLayer { diff_id, blob, bytes } in stored {
            let place =
                table.push(LayerInventory { diff_id: diff_id.clone(), blob: Some(blob.clone()), bytes: Some(*bytes) });
            table.by_blob.insert(blob.clone(), place);
        }
        table
    }

    /// The place of a layer under a blob; under another one, or none, where the store lacks that.
    pub fn place(&mut self, diff_id: &Digest, blob: Option<&Digest>) -> u32 {
        let known = blob.and_then(|blob| self.by_blob.get(blob)).or_else(|| self.by_diff_id.get(diff_id));
        match known {
            Some(place) => *place,
            None => self.push(LayerInventory { diff_id: diff_id.clone(), blob: None, bytes: None }),
        }
    }

    fn push(&mut self, layer: LayerInventory) -> u32 {
        let place = self.layers.len() as u32;
        self.by_diff_id.entry(layer.diff_id.clone()).or_insert(place);
        self.layers.push(layer);
        place
    }

    pub fn into_layers(self) -> Vec<LayerInventory> {
        self.layers
    }
}
