//! The table of contents that `pg_restore --list` prints.
//!
//! Pure. Names in it are followed by others and may hold spaces themselves, so that only numbers are read: the entry's
//! dump ID, which names its file in a directory archive, and the OID of the table whose data it is.

use std::collections::BTreeMap;

/// What an archive holds, as far as it matters here. That of an empty database holds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::databases) struct Contents {
    /// A table's OID in the database that was dumped → the dump ID of its data.
    pub table_data: BTreeMap<u32, u32>,
    /// The dump IDs of all data of tables, as they are listed.
    pub in_order: Vec<u32>,
}

/// Reads lines like `3318; 0 16386 TABLE DATA public accounts postgres`; comments begin with `;`.
pub(in crate::databases) fn parse(listing: &str) -> Contents {
    let mut contents = Contents::default();
    for line in listing.lines() {
        let Some((id, rest)) = line.split_once("; ") else { continue };
        let Ok(id) = id.parse::<u32>() else { continue };
        let mut words = rest.splitn(3, ' ');
        let (Some(_), Some(oid), Some(entry)) = (words.next(), words.next(), words.next()) else { continue };
        if entry.starts_with("TABLE DATA ") {
            contents.in_order.push(id);
            if let Ok(oid) = oid.parse() {
                contents.table_data.insert(oid, id);
            }
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = ";\n; Archive created at 2026-07-04 10:15:30 UTC\n;     TOC Entries: 9\n;\n\
        5; 2615 2200 SCHEMA - public postgres\n\
        215; 1259 16386 TABLE public accounts postgres\n\
        3318; 0 16386 TABLE DATA public accounts postgres\n\
        3319; 0 16390 TABLE DATA public 档案 局; x a role\n\
        3320; 0 0 BLOBS - BLOBS \n";

    #[test]
    fn a_tables_data_is_known_by_the_tables_oid() {
        let contents = parse(LISTING);
        assert_eq!(contents.table_data, BTreeMap::from([(16386, 3318), (16390, 3319)]));
        assert_eq!(contents.in_order, [3318, 3319]);
    }

    #[test]
    fn an_empty_databases_listing_names_no_data() {
        assert_eq!(parse(""), Contents::default());
        assert_eq!(parse(";\n;\n"), Contents::default());
    }
}
