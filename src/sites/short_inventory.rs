//! An inventory in few bytes: what a QR code on a screen holds, and the text that a phone reads from it. Digests are their first
//! digits, names of images are left out: what a machine lacks is told by its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::shown;
use super::inventory::Inventory;
use crate::report::{Message, Told};

/// What a machine has of a project, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortInventory {
    /// The format of this document: 1.
    pub format: u32,
    /// When it was made, by that machine's clock (RFC 3339, UTC).
    pub made_at: String,
    /// dpl's version there.
    pub dpl: String,
    /// The machine's name.
    pub host: String,
    /// The machine's architecture, as images name it (`amd64`).
    pub architecture: String,
    /// The project's name.
    pub project: Option<String>,
    /// Free bytes where the project's folder is.
    pub folder_free: Option<u64>,
    /// The engine's version.
    pub engine: Option<String>,
    /// The first 12 digits of the diff IDs of layers that the image store and the engine have.
    pub both: Vec<String>,
    /// Those that the store alone has.
    pub store: Vec<String>,
    /// Those that the engine alone has.
    pub only_engine: Vec<String>,
    /// The seeds: databases, and the first 12 digits of the seed's digest.
    pub seeds: BTreeMap<String, String>,
}

/// Why a text is not an inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryTextError {
    NotOne,
    Cut,
    Damaged,
    TooLarge,
    Document(#[source] serde_json::Error),
    Format(u32),
}

impl Told for InventoryTextError {
    fn message(&self) -> Message {
        match self {
            Self::NotOne => message!("inventory-text-not-one"),
            Self::Cut => message!("inventory-text-cut"),
            Self::Damaged => message!("inventory-text-damaged"),
            Self::TooLarge => message!("inventory-too-large", most = LARGEST),
            Self::Document(_) => message!("inventory-text-damaged"),
            Self::Format(format) => message!("inventory-format", format = format),
        }
    }
}

/// What the text begins and ends with. All of its letters are of a QR code's alphanumeric kind (ISO/IEC 18004, 7.4.4).
const BEGIN: &str = "DPL1:";
const END: &str = ".";
/// One that is larger is refused.
const LARGEST: usize = 1 << 20;
const LEVEL: i32 = 19;
/// A frame that asks for a larger window than 8 MiB is refused.
const WINDOW_LOG: u32 = 23;

impl ShortInventory {
    const FORMAT: u32 = 1;

    /// The short form of an inventory.
    pub fn of(inventory: &Inventory) -> Self {
        let short = |place: &u32| inventory.layer(*place).map(|layer| layer.diff_id.short().to_owned());
        let engine: BTreeSet<String> = inventory
            .engine
            .present()
            .into_iter()
            .flat_map(|engine| &engine.images)
            .flat_map(|image| &image.layers)
            .filter_map(short)
            .collect();
        // A layer without a blob is one that the store's images name and that is missing there.
        let in_store = inventory.layers.iter().filter(|layer| layer.blob.is_some());
        let store: BTreeSet<String> = in_store.map(|layer| layer.diff_id.short().to_owned()).collect();
        let seeds = inventory.seeds.iter();
        let seeds = seeds.filter_map(|seed| Some((seed.database.clone(), seed.digest.as_ref()?.short().to_owned())));
        Self {
            format: Self::FORMAT,
            made_at: inventory.made_at.clone(),
            dpl: inventory.dpl.clone(),
            host: inventory.host.clone(),
            architecture: inventory.architecture.clone(),
            project: inventory.project.clone(),
            folder_free: inventory.folder_free,
            engine: inventory.engine.present().map(|engine| engine.version.clone()),
            both: store.intersection(&engine).cloned().collect(),
            store: store.difference(&engine).cloned().collect(),
            only_engine: engine.difference(&store).cloned().collect(),
            seeds: seeds.collect(),
        }
    }

    /// As the text of a QR code.
    pub fn to_text(&self) -> String {
        // A document of ours has text for keys, and what is compressed here is in memory: neither fails.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let compressed = zstd::encode_all(json.as_slice(), LEVEL).unwrap_or_default();
        format!("{BEGIN}{}{END}", base45::encode(compressed))
    }

    /// Whether a text looks like the one of a QR code.
    pub fn is_text(text: &str) -> bool {
        text.trim_start().starts_with(BEGIN)
    }

    /// Reads [`ShortInventory::to_text`]; safe for any text. Lines that a mail program has broken are joined.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_text(text: &str) -> Result<Self, InventoryTextError> {
        if text.len() > LARGEST {
            return Err(InventoryTextError::TooLarge);
        }
        let text: String = text.trim().chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
        let inside = text.strip_prefix(BEGIN).ok_or(InventoryTextError::NotOne)?;
        let inside = inside.strip_suffix(END).ok_or(InventoryTextError::Cut)?;
        let compressed = base45::decode(inside).map_err(|_| InventoryTextError::Damaged)?;
        let mut json = Vec::new();
        let mut decoder = zstd::Decoder::new(compressed.as_slice()).map_err(|_| InventoryTextError::Damaged)?;
        decoder.window_log_max(WINDOW_LOG).map_err(|_| InventoryTextError::Damaged)?;
        decoder.take(LARGEST as u64 + 1).read_to_end(&mut json).map_err(|_| InventoryTextError::Damaged)?;
        if json.len() > LARGEST {
            return Err(InventoryTextError::TooLarge);
        }
        let read: Self = serde_json::from_slice(&json).map_err(InventoryTextError::Document)?;
        match read.format {
            Self::FORMAT => Ok(read.for_a_screen()),
            other => Err(InventoryTextError::Format(other)),
        }
    }

    /// It comes from elsewhere.
    fn for_a_screen(self) -> Self {
        let all = |list: Vec<String>| list.iter().map(|text| shown(text)).collect();
        Self {
            made_at: shown(&self.made_at),
            dpl: shown(&self.dpl),
            host: shown(&self.host),
            architecture: shown(&self.architecture),
            project: self.project.as_deref().map(shown),
            engine: self.engine.as_deref().map(shown),
            both: all(self.both),
            store: all(self.store),
            only_engine: all(self.only_engine),
            seeds: self.seeds.iter().map(|(database, digest)| (shown(database), shown(digest))).collect(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::sites::inventory::{EngineImage, EngineInventory, ImageStoreKind, LayerInventory, Presence};
    use proptest::prelude::*;

    fn layer(name: &str, is_stored: bool) -> LayerInventory {
        let blob = is_stored.then(|| Digest::of(format!("blob of {name}").as_bytes()));
        LayerInventory { diff_id: Digest::of(name.as_bytes()), blob, bytes: None }
    }

    fn inventory() -> Inventory {
        let image = EngineImage { id: "sha256:1".to_owned(), references: Vec::new(), layers: vec![0, 1, 7] };
        Inventory {
            format: Inventory::FORMAT,
            host: "prod".to_owned(),
            project: Some("档案".to_owned()),
            layers: vec![layer("a", true), layer("b", false), layer("c", true)],
            engine: Presence::Present(EngineInventory {
                version: "20.10.24".to_owned(),
                store: ImageStoreKind::Classic,
                driver: "overlay2".to_owned(),
                architecture: "amd64".to_owned(),
                free: None,
                images: vec![image],
            }),
            ..Inventory::default()
        }
    }

    #[test]
    fn the_short_form_says_who_has_which_layer() {
        let short = ShortInventory::of(&inventory());
        let of = |name: &str| vec![Digest::of(name.as_bytes()).short().to_owned()];
        assert_eq!((short.both, short.store, short.only_engine), (of("a"), of("c"), of("b")));
    }

    #[test]
    fn its_text_reads_back_and_holds_letters_of_a_qr_code_alone() {
        let short = ShortInventory::of(&inventory());
        let text = short.to_text();
        assert!(
            text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b" $%*+-./:".contains(&b)),
            "{text}"
        );
        assert_eq!(ShortInventory::of_text(&text).unwrap(), short);
        let broken = format!(" {}\r\n{}\n", &text[..30], &text[30..]);
        assert_eq!(ShortInventory::of_text(&broken).unwrap(), short);
    }

    #[test]
    fn sixty_layers_fit_a_usual_terminal() {
        let mut large = inventory();
        large.layers = (0..60).map(|place| layer(&format!("layer {place}"), place % 2 == 0)).collect();
        large.engine.present_mut().unwrap().images[0].layers = (0..60).collect();
        let code =
            qrcode::QrCode::with_error_correction_level(ShortInventory::of(&large).to_text(), qrcode::EcLevel::L);
        assert!(code.unwrap().width() <= 97);
    }

    #[test]
    fn what_is_not_one_and_what_is_too_large_are_refused() {
        let text = ShortInventory::of(&inventory()).to_text();
        assert!(matches!(ShortInventory::of_text("hello"), Err(InventoryTextError::NotOne)));
        assert!(matches!(
            ShortInventory::of_text(&text[..text.len() - 5]),
            Err(InventoryTextError::Cut | InventoryTextError::Damaged)
        ));
        let bomb = zstd::encode_all(vec![b' '; 64 << 20].as_slice(), 1).unwrap();
        let bomb = format!("{BEGIN}{}{END}", base45::encode(bomb));
        assert!(matches!(ShortInventory::of_text(&bomb), Err(InventoryTextError::TooLarge)));
        let mut hostile = ShortInventory::of(&inventory());
        hostile.host = "a\u{1b}[2J\u{9b}".to_owned();
        let host = ShortInventory::of_text(&hostile.to_text()).unwrap().host;
        assert!(!host.chars().any(char::is_control), "{host:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}", place in 0_usize..100, letter in any::<char>()) {
            let _ = ShortInventory::of_text(&text);
            let mut changed: Vec<char> = ShortInventory::of(&inventory()).to_text().chars().collect();
            let place = place % changed.len();
            changed[place] = letter;
            let _ = ShortInventory::of_text(&changed.into_iter().collect::<String>());
        }
    }
}
