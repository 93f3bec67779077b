//! How large the layers of the engine's images are, before any of them has been read.
//!
//! The engine says what each step of an image's history added (`GET /images/{name}/history`), without a tar's headers:
//! good enough for totals and for the room on a disk, never for anything that must be exact.

use std::collections::HashMap;

use futures::StreamExt;

use crate::engine::Engine;
use crate::images::save::plan::Wanted;

/// Estimated uncompressed sizes, by diff ID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerEstimates {
    sizes: HashMap<String, u64>,
}

const ASKED_AT_ONCE: usize = 8;

impl LayerEstimates {
    /// Asks the engine. What it does not say is left to the sizes of the images.
    pub async fn ask(engine: &Engine, images: &[&Wanted]) -> Self {
        let histories: Vec<Vec<u64>> = futures::stream::iter(images)
            .map(|image| async move { engine.history_sizes(&image.view.id).await.unwrap_or_default() })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        let mut estimates = Self::default();
        for (image, history) in images.iter().zip(histories) {
            estimates.add(&image.view.diff_ids, &history, image.view.size_bytes);
        }
        estimates
    }

    /// `history` has the lowest step first. Steps that made no layer are of size 0, as empty layers are: only where the
    /// numbers agree is it known which step made which layer.
    fn add(&mut self, diff_ids: &[String], history: &[u64], image_bytes: u64) {
        let full: Vec<u64> = history.iter().copied().filter(|size| *size > 0).collect();
        let sizes = [history, full.as_slice()].into_iter().find(|sizes| sizes.len() == diff_ids.len());
        match sizes {
            Some(sizes) => {
                for (diff_id, size) in diff_ids.iter().zip(sizes) {
                    self.sizes.entry(diff_id.clone()).or_insert(*size);
                }
            }
            None => {
                // All that is not known lies in the lowest unknown layer: images with a common base then count it once.
                let known: u64 = diff_ids.iter().filter_map(|diff_id| self.sizes.get(diff_id)).sum();
                let mut rest = image_bytes.saturating_sub(known);
                for diff_id in diff_ids {
                    if !self.sizes.contains_key(diff_id) {
                        self.sizes.insert(diff_id.clone(), std::mem::take(&mut rest));
                    }
                }
            }
        }
    }

    /// 0 for a layer of which nothing is known.
    pub fn of(&self, diff_id: &str) -> u64 {
        self.sizes.get(diff_id).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn steps_without_a_layer_are_left_out_where_the_numbers_then_agree() {
        let mut estimates = LayerEstimates::default();
        estimates.add(&ids("base app"), &[700, 0, 50, 0], 750);
        assert_eq!((estimates.of("base"), estimates.of("app"), estimates.of("other")), (700, 50, 0));
        estimates.add(&ids("base empty"), &[700, 0], 700);
        assert_eq!(estimates.of("empty"), 0);
    }

    #[test]
    fn a_common_base_counts_once_where_no_history_tells() {
        let mut estimates = LayerEstimates::default();
        estimates.add(&ids("base lib one"), &[], 750);
        estimates.add(&ids("base lib two"), &[], 760);
        let all: u64 = ["base", "lib", "one", "two"].iter().map(|layer| estimates.of(layer)).sum();
        assert_eq!(all, 760);
    }
}
