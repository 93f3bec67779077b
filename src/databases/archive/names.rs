//! Names that this module gives: a backup's folder, and databases that stand beside another while it is replaced.
//!
//! Pure: times come in as values.

use jiff::Timestamp;

use crate::fs::{Digest, escape};

/// `20260704T101530Z`: the UTC time in the form that sorts, and that any file system takes.
pub(in crate::databases) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Whether `text` is a stamp, with `-2` and so on behind it for a second one in the same second.
pub(in crate::databases) fn is_stamp(text: &str) -> bool {
    let (time, count) = text.split_once('-').map_or((text, None), |(time, count)| (time, Some(count)));
    let bytes = time.as_bytes();
    bytes.len() == 16
        && bytes[8] == b'T'
        && bytes[15] == b'Z'
        && bytes[..8].iter().chain(&bytes[9..15]).all(u8::is_ascii_digit)
        && count.is_none_or(|count| !count.is_empty() && count.len() < 4 && count.bytes().all(|b| b.is_ascii_digit()))
}

/// The time that a stamp says.
pub(in crate::databases) fn time_of(stamp: &str) -> Option<Timestamp> {
    let (time, _) = stamp.split_once('-').unwrap_or((stamp, ""));
    let parsed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    parsed.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// A backup's ID, and its folder below `paths.backups/databases`: `expert/20260704T101530Z`.
pub(in crate::databases) fn backup_id(database: &str, stamp: &str) -> String {
    format!("{}/{stamp}", escape(database))
}

/// Why a database stands beside another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BesideKind {
    /// It is being restored and is not complete.
    New,
    /// It was replaced; it is backed up, then dropped.
    Old,
    /// It was replaced, and could not be backed up or dropped: for a person to judge.
    Left,
    /// It was replaced and is kept for the way back.
    Kept,
    /// It was kept, and is on its way back.
    Back,
    /// It was replaced by one that was kept; kept itself as soon as the rollback is through.
    Away,
}

impl BesideKind {
    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Left => "left",
            Self::Kept => "kept",
            Self::Back => "back",
            Self::Away => "away",
        }
    }
}

/// The name of a database beside another: `expert~old~20260704T101530Z~3f2a9c1e77d0`. The readable part is cut where
/// the name is long; what tells whose it is are the last 12 hex digits, of the whole name's SHA-256. It has at most
/// 63 bytes, PostgreSQL's limit (`NAMEDATALEN`).
pub(in crate::databases) fn beside(database: &str, kind: BesideKind, stamp: &str) -> String {
    const READABLE_BYTES: usize = 24;
    let mut readable = database;
    while readable.len() > READABLE_BYTES {
        let last = readable.char_indices().last().map_or(0, |(index, _)| index);
        readable = &readable[..last];
    }
    format!("{readable}~{}~{stamp}~{}", kind.word(), owner_mark(database))
}

/// Reads a name that [`beside`] made for `database`: its kind and its stamp. `None` for any other name.
pub(in crate::databases) fn read_beside(database: &str, name: &str) -> Option<(BesideKind, String)> {
    let mut parts = name.rsplitn(4, '~');
    let (mark, stamp, word) = (parts.next()?, parts.next()?, parts.next()?);
    let kinds =
        [BesideKind::New, BesideKind::Old, BesideKind::Left, BesideKind::Kept, BesideKind::Back, BesideKind::Away];
    let kind = kinds.into_iter().find(|kind| kind.word() == word)?;
    (mark == owner_mark(database) && is_stamp(stamp) && beside(database, kind, stamp) == name)
        .then(|| (kind, stamp.to_owned()))
}

fn owner_mark(database: &str) -> String {
    Digest::of(database.as_bytes()).short().to_owned()
}

/// The key of the advisory lock that a rebuild of this database holds on the server.
pub(in crate::databases) fn lock_key(database: &str) -> i64 {
    let digest = Digest::of(format!("dpl rebuild {database}").as_bytes());
    let bits = u64::from_str_radix(&digest.hex()[..16], 16).expect("a digest is hex digits");
    bits as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAMP: &str = "20260704T101530Z";

    #[test]
    fn a_stamp_reads_back_as_its_time() {
        let time: Timestamp = "2026-07-04T10:15:30Z".parse().unwrap();
        assert_eq!(time_of(&stamp(time)), Some(time));
        assert_eq!(time_of("20260704T101530Z-2"), Some(time));
        assert_eq!(time_of("20261304T101530Z"), None);
    }

    #[test]
    fn stamps_are_utc_and_sort() {
        let time: Timestamp = "2026-07-04T12:15:30.9+02:00".parse().unwrap();
        assert_eq!(stamp(time), STAMP);
        assert!(is_stamp(STAMP) && is_stamp("20260704T101530Z-2"));
        for text in
            ["", "20260704T101530", "20260704T101530Z-", "2026-07-04", "20260704T101530Z-x", "../../../../../etc"]
        {
            assert!(!is_stamp(text), "{text}");
        }
    }

    #[test]
    fn the_folder_of_a_strange_name_is_one_plain_component() {
        assert_eq!(backup_id("../x\"; drop", STAMP), "%2E.%2Fx%22%3B%20drop/20260704T101530Z");
        assert_eq!(backup_id("档", STAMP), "%E6%A1%A3/20260704T101530Z");
    }

    #[test]
    fn a_database_beside_another_says_whose_it_is() {
        let name = beside("expert", BesideKind::Old, STAMP);
        assert!(name.starts_with("expert~old~20260704T101530Z~"), "{name}");
        assert_eq!(read_beside("expert", &name), Some((BesideKind::Old, STAMP.to_owned())));
        assert_eq!(read_beside("exper", &name), None);
        assert_eq!(read_beside("expert", "expert~old~yesterday~3f2a9c1e77d0"), None);
    }

    proptest! {
        #[test]
        fn names_beside_fit_and_never_meet(a in "[^\0]{1,63}", b in "[^\0]{1,63}") {
            let name = beside(&a, BesideKind::New, STAMP);
            prop_assert!(name.len() <= 63);
            prop_assert_eq!(read_beside(&a, &name), Some((BesideKind::New, STAMP.to_owned())));
            prop_assert_eq!(a == b, read_beside(&b, &name).is_some());
        }

        #[test]
        fn any_name_is_read_without_a_panic(database in any::<String>(), name in any::<String>()) {
            let _ = read_beside(&database, &name);
        }
    }
}
