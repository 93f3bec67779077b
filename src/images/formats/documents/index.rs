//! The list of the images in a layout; also what can be read out of a damaged one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::descriptor::Descriptor;
use super::{BLOB_LIMIT_BYTES, DocumentError, INDEX_TYPE, REF_NAME, check_version, is_index_type, parse, shown};
use crate::fs::Digest;

/// The list of the images in a layout (`index.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "IndexDocument", into = "IndexDocument")]
pub struct Index {
    pub schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    /// Entries of other programs that nothing here can use, since their digests are of another algorithm than SHA-256 or
    /// their sizes are none that a blob can have: kept as they are, and never in the way of the others.
    pub foreign: Vec<Value>,
    /// What others wrote into it.
    pub rest: serde_json::Map<String, Value>,
}

/// An [`Index`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexDocument {
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    manifests: Vec<IndexEntry>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum IndexEntry {
    Usable(Descriptor),
    Other(Value),
}

impl TryFrom<IndexDocument> for Index {
    type Error = serde_json::Error;

    fn try_from(document: IndexDocument) -> Result<Self, Self::Error> {
        let IndexDocument { schema_version, media_type, manifests: entries, rest } = document;
        let (mut manifests, mut foreign) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                IndexEntry::Usable(descriptor) => manifests.push(descriptor),
                IndexEntry::Other(value) if is_foreign(&value) => foreign.push(value),
                IndexEntry::Other(value) => {
                    let error = serde_json::from_value::<Descriptor>(value).err();
                    // One whose fields occur twice is understood by now, and can't be trusted.
                    return Err(error.unwrap_or_else(|| serde::de::Error::custom("a field occurs twice in an entry")));
                }
            }
        }
        Ok(Self { schema_version, media_type, manifests, foreign, rest })
    }
}

impl From<Index> for IndexDocument {
    fn from(index: Index) -> Self {
        let Index { schema_version, media_type, manifests, foreign, rest } = index;
        let usable = manifests.into_iter().map(IndexEntry::Usable);
        let manifests = usable.chain(foreign.into_iter().map(IndexEntry::Other)).collect();
        Self { schema_version, media_type, manifests, rest }
    }
}

/// Whether an entry is whole and only its digest or its size is one that nothing here can use.
fn is_foreign(entry: &Value) -> bool {
    let Some(fields) = entry.as_object() else {
        return false;
    };
    // A damaged entry of `dpl`'s own must not pass for another program's.
    if entry.to_string().contains("\"dpl.") {
        return false;
    }
    let digest = fields.get("digest").and_then(Value::as_str).unwrap_or_default();
    let is_beyond = |size: &Value| size.is_number() && size.as_u64().is_none_or(|size| size > BLOB_LIMIT_BYTES);
    let is_impossible = fields.get("size").is_some_and(is_beyond);
    let is_unusable = other_algorithm(digest).is_some() || is_impossible && digest.parse::<Digest>().is_ok();
    let mut usual = fields.clone();
    usual.insert("digest".to_owned(), Digest::of(b"").to_string().into());
    if is_impossible {
        usual.insert("size".to_owned(), 0.into());
    }
    is_unusable && serde_json::from_value::<Descriptor>(Value::Object(usual)).is_ok()
}

/// The algorithm and the encoded part of a digest that is not SHA-256 (image-spec, "Digests"): names of a folder and of a
/// file that lead nowhere else.
pub(in crate::images) fn other_algorithm(digest: &str) -> Option<(&str, &str)> {
    fn is_made_of(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
        (1..=200).contains(&text.len()) && text.bytes().all(is_allowed)
    }
    let (algorithm, encoded) = digest.split_once(':')?;
    let is_algorithm = algorithm.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && is_made_of(algorithm, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+._-".contains(&byte));
    let is_encoded = is_made_of(encoded, |byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte));
    (is_algorithm && is_encoded && algorithm != "sha256").then_some((algorithm, encoded))
}

/// What messages and lists call an entry of [`Index::foreign`].
pub(in crate::images) fn foreign_name(entry: &Value) -> String {
    let name = entry.get("annotations").and_then(|all| all.get(REF_NAME)).and_then(Value::as_str);
    let digest = entry.get("digest").and_then(Value::as_str).unwrap_or_default();
    let name = name.map_or_else(|| digest.chars().take(24).collect(), str::to_owned);
    Descriptor::new("", Digest::of(b""), 0).with(REF_NAME, name).shown_name()
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: index_type(),
            manifests: Vec::new(),
            foreign: Vec::new(),
            rest: Default::default(),
        }
    }
}

impl Index {
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let index: Self = parse(message!("document-image-index"), bytes)?;
        if index.rest.contains_key("config") || index.rest.contains_key("layers") {
            return Err(DocumentError::Ambiguous);
        }
        if !is_index_type(&index.media_type) {
            return Err(DocumentError::MediaType {
                what: message!("document-image-index"),
                media_type: shown(&index.media_type),
            });
        }
        check_version(index.schema_version)?;
        Ok(index)
    }

    /// The entries that can be read out of bytes that are not a valid index any more, wherever they stand in them.
    pub(in crate::images) fn salvage(bytes: &[u8]) -> Self {
        // A file that was made to hurt must not take minutes: each place is tried over what an entry takes at most.
        const PLACES: usize = 20_000;
        const LONGEST_ENTRY: usize = 64 << 10;
        let mut index = Self::default();
        let (mut at, mut tried) = (0, 0);
        while let Some(next) = bytes[at..].iter().position(|byte| *byte == b'{') {
            at += next;
            tried += 1;
            if tried > PLACES {
                break;
            }
            let end = bytes.len().min(at + LONGEST_ENTRY);
            let mut entries = serde_json::Deserializer::from_slice(&bytes[at..end]).into_iter::<Descriptor>();
            if let Some(Ok(entry)) = entries.next() {
                at += entries.byte_offset();
                index.manifests.push(entry);
                continue;
            }
            let mut others = serde_json::Deserializer::from_slice(&bytes[at..end]).into_iter::<Value>();
            if let Some(Ok(other)) = others.next()
                && is_foreign(&other)
            {
                at += others.byte_offset();
                index.foreign.push(other);
                continue;
            }
            at += 1;
        }
        index
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("maps with string keys always serialise")
    }
}

fn index_type() -> String {
    INDEX_TYPE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::formats::documents::{CONFIG_DESCRIPTOR, DOCUMENT_LIMIT_BYTES};

    #[test]
    fn digests_that_lead_elsewhere_are_no_digests() {
        let escaping = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1,"digest":"sha256:../../etc/x"}]}"#;
        assert!(matches!(Index::parse(escaping.as_bytes()), Err(DocumentError::Json { .. })));
    }

    #[test]
    fn an_entry_with_another_digest_or_an_impossible_size_is_kept_and_in_nobodys_way() {
        let other = |digest: &str, size: &str| {
            format!(r#"{{"mediaType":"x","size":{size},"digest":"{digest}","annotations":{{"a":"b"}}}}"#)
        };
        let sha512 = other(&format!("sha512:{}", "ab".repeat(64)), "7");
        let [huge, negative, endless] =
            ["1000000000000000", "-1", "1e300"].map(|size| other(&Digest::of(b"x").to_string(), size));
        let text =
            format!(r#"{{"schemaVersion":2,"manifests":[{sha512},{CONFIG_DESCRIPTOR},{huge},{negative},{endless}]}}"#);
        let index = Index::parse(text.as_bytes()).unwrap();
        assert_eq!((index.manifests.len(), index.foreign.len()), (1, 4));
        let again = Index::parse(&index.to_bytes()).unwrap();
        assert_eq!(again, index);
        assert_eq!(foreign_name(&index.foreign[0]), format!("sha512:{}", &"ab".repeat(64)[..17]));
        // A damaged entry of our own is damage.
        let ours = sha512.replace(r#""a":"b""#, r#""dpl.seal":"b""#);
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{ours}]}}"#);
        assert!(Index::parse(text.as_bytes()).is_err());
        for digest in ["sha512:../x", "..:x", "sha512:", ":x", "SHA512:ab"] {
            assert_eq!(other_algorithm(digest), None, "{digest}");
        }
    }

    #[test]
    fn whole_entries_come_out_of_a_damaged_index() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{CONFIG_DESCRIPTOR},{CONFIG_DESCRIPTOR},{{"mediaType":"x","dig"#
        );
        assert!(Index::parse(text.as_bytes()).is_err());
        assert_eq!(Index::salvage(text.as_bytes()).manifests.len(), 2);
        assert_eq!(Index::salvage(b"{{{{").manifests.len(), 0);
    }

    #[test]
    fn the_index_keeps_what_others_wrote_into_it() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{CONFIG_DESCRIPTOR}],"annotations":{{"a":"b"}}}}"#,
            CONFIG_DESCRIPTOR.replace("{\"mediaType", r#"{"platform":{"os":"linux"},"annotations":null,"mediaType"#)
        );
        let index = Index::parse(text.as_bytes()).unwrap();
        let again: Value = serde_json::from_slice(&index.to_bytes()).unwrap();
        assert_eq!(again["manifests"][0]["platform"]["os"], "linux");
        assert_eq!(again["annotations"]["a"], "b");
        assert_eq!(again["manifests"][1].as_object().unwrap().len(), 3);
    }

    #[test]
    fn deep_and_large_documents_are_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{deep}}}"#);
        assert!(Index::parse(deep.as_bytes()).is_err());
        let large = vec![b' '; DOCUMENT_LIMIT_BYTES as usize + 1];
        assert!(matches!(Index::parse(&large), Err(DocumentError::TooLarge { .. })));
    }
}
