//! What a file of an archive is, by how it begins: a layer, a document that makes an image, or neither.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{INDEX, MANIFEST};
use crate::images::formats::compression::{Compression, MAGIC_BYTES};

/// A first block that says this at 257 is a tar header, whatever it begins with.
const USTAR_AT: std::ops::Range<usize> = 257..262;

/// Whether a file that begins so may be a layer: a tar archive, or something packed.
pub fn may_be_layer(first: &[u8]) -> bool {
    let is_packed = Compression::of(&first[..first.len().min(MAGIC_BYTES)]) != Compression::None;
    // An empty layer is nothing but zeros.
    is_packed || first.get(USTAR_AT) == Some(b"ustar") || (first.len() == 512 && first.iter().all(|byte| *byte == 0))
}

/// JSON has no zeros; a tar header of the old kind, whose first file's name begins like JSON, has.
pub fn is_document(first: &[u8]) -> bool {
    matches!(first.first(), Some(b'{' | b'[')) && first.get(USTAR_AT) != Some(b"ustar") && !first.contains(&0)
}

/// Documents of this size are kept whatever they are, so that one that is named says itself what it lacks.
const SMALL_BYTES: usize = 16 << 10;

/// Whether a document is one of those that make an image: other programs keep lists of packages, signatures and
/// statements beside it, megabytes of them for each.
pub fn describes_an_image(path: &str, bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default, deserialize_with = "is_there")]
        rootfs: bool,
        #[serde(default, deserialize_with = "is_there")]
        layers: bool,
        #[serde(default, deserialize_with = "is_there")]
        manifests: bool,
    }
    // What can't be read is kept, so that the caller can say what is wrong with it.
    let is_one = |fields: Fields| fields.rootfs || fields.layers || fields.manifests;
    let is_kept = path == MANIFEST || path == INDEX || bytes.len() <= SMALL_BYTES || bytes.first() == Some(&b'[');
    is_kept || serde_json::from_slice(bytes).map_or(true, is_one)
}

/// What BuildKit keeps beside an image to say how it was made: megabytes where it lists all packages. No image needs it.
pub fn is_attestation(first: &[u8]) -> bool {
    const IN_TOTO: &[u8] = b"https://in-toto.io/Statement/";
    first.first() == Some(&b'{') && first.windows(IN_TOTO.len()).any(|window| window == IN_TOTO)
}

/// Of a field that is there, even with `null`.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
