//! Names in a database of encoding SQL_ASCII are bytes that nobody has declared: in GBK, in Latin-1, in UTF-8. As text of
//! ours each byte that is no part of UTF-8 is a character of Unicode's private use area, and becomes that byte again on the way
//! back. Such characters that are in a name already are taken apart likewise, so that no two names become one.

/// Byte 0x80 is this one and what follows.
const FIRST: char = '\u{f780}';
const LAST: char = '\u{f7ff}';

/// Text that stands for these bytes.
pub(in crate::databases) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match (FIRST..=LAST).contains(&character) {
                true => text.extend(character.encode_utf8(&mut [0; 4]).bytes().map(stand_in)),
                false => text.push(character),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// The bytes that a text of [`decode`]'s stands for.
pub(in crate::databases) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match (FIRST..=LAST).contains(&character) {
            // Its last seven bits, and the one that every such byte has.
            true => bytes.push(0x80 | (character as u32 & 0x7f) as u8),
            false => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// For a byte above ASCII, as all are that are no UTF-8 or parts of a longer sequence.
fn stand_in(byte: u8) -> char {
    char::from_u32(FIRST as u32 + u32::from(byte & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn utf_8_stays_as_it_is_and_other_bytes_come_back() {
        assert_eq!(decode("档案 x".as_bytes()), "档案 x");
        // 档案 in GBK.
        let gbk = b"\xb5\xb5\xb0\xb8 x";
        assert_eq!(decode(gbk), "\u{f7b5}\u{f7b5}\u{f7b0}\u{f7b8} x");
        assert_eq!(encode(&decode(gbk)), gbk);
        let private = "\u{f7b5}".as_bytes();
        assert!(decode(private) != decode(b"\xb5") && encode(&decode(private)) == private);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(encode(&decode(&bytes)), bytes);
        }
    }
}
