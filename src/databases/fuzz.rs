//! What the fuzz targets of this module do with any bytes. The seeds in `fuzz/seeds` run as ordinary tests.

use crate::databases::archive::contents;
use crate::databases::archive::record::Record;
use crate::databases::archive::script::{ScriptEnd, read_counts, read_schema};
use crate::databases::sql::statements;

/// Any bytes as a `backup.json`: refused, or a record that names nothing outside its folder and reads back the same.
pub fn record(bytes: &[u8]) {
    match Record::parse(bytes) {
        Ok(record) => {
            for file in &record.files {
                let is_inside = file.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
                assert!(is_inside && file.path.starts_with("archive"), "{}", file.path);
            }
            assert_eq!(Record::parse(&record.to_json()).expect("what was written reads back"), record);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Any text as SQL, and as what PostgreSQL's tools print: statements that stand in the text in their order, and nothing
/// that panics.
pub fn script(text: &str) {
    if let Ok(statements) = statements::split(text) {
        let mut behind = 0;
        for statement in statements {
            let at = text[behind..].find(statement.text).expect("it stands in the text") + behind;
            assert!(!statement.text.trim().is_empty());
            assert!(statement.line <= text.lines().count().max(1));
            behind = at + statement.text.len();
        }
    }
    let mut end = ScriptEnd::default();
    text.lines().for_each(|line| end.read_line(line));
    assert!(!end.is_in_rows() || end.missing().is_some());
    let _ = (read_schema(text), read_counts(text), contents::parse(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn the_seeds_of_the_record_target_hold() {
        fuzz_seeds::each("record", record);
    }

    #[test]
    fn the_seeds_of_the_script_target_hold() {
        fuzz_seeds::each("script", |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                script(text);
            }
        });
    }
}
