//! What a program or a server says of a failure, as much of it as a person reads.

use std::borrow::Cow;

use crate::report::{Message, Several, Told};

/// What a program or the server wrote on its error stream, or what we say of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Said(Message);

impl Told for Said {
    fn message(&self) -> Message {
        self.0.clone()
    }
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self(message)
    }
}

impl Said {
    pub(super) fn text(&self) -> String {
        self.to_string()
    }

    /// The last lines of a program's standard error, of long ones the two ends; a program that said nothing is told as such.
    pub(super) fn new(stderr: &[u8]) -> Self {
        const KEPT: usize = 4000;
        let text = String::from_utf8_lossy(stderr);
        let text = text.trim().lines().map(both_ends).collect::<Vec<_>>().join("\n");
        if text.is_empty() {
            return Self(message!("tool-no-reason"));
        }
        let from = text.char_indices().rev().take_while(|(index, _)| text.len() - index <= KEPT).last();
        Self(message!("words", text = &text[from.map_or(0, |(index, _)| index)..]))
    }

    /// What psql said of a script; `advice` follows where that reads other files, which psql does not find in its container.
    pub(super) fn of_script(stderr: &[u8], advice: Message) -> Self {
        let said = Self::new(stderr);
        match said.text().contains(": No such file or directory") {
            true => {
                let more = Several(vec![message!("script-reads-files", advice = advice)]);
                Self(message!("words-and-more", text = said.0, more = more))
            }
            false => said,
        }
    }
}

/// The reason stands before the query that failed, which may name thousands of tables: pg_dump locks all of them with one
/// (from 16 on).
fn both_ends(line: &str) -> Cow<'_, str> {
    const BEGINNING: usize = 600;
    const END: usize = 200;
    let letters = line.chars().count();
    if letters <= BEGINNING + END {
        return line.into();
    }
    let (beginning, end) = (line.chars().take(BEGINNING), line.chars().skip(letters - END));
    beginning.chain(" … ".chars()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_stream_keeps_its_end() {
        let text = format!("{}末尾", "é".repeat(5000));
        let said = Said::new(text.as_bytes()).to_string();
        assert!(said.ends_with("末尾") && said.len() <= 4000, "{}", said.len());
    }

    #[test]
    fn the_reason_is_told_before_a_query_of_thousands_of_tables() {
        let tables: Vec<String> = (0..3000).map(|number| format!("public.t{number}")).collect();
        let said = format!(
            "pg_dump: error: query failed: ERROR:  out of shared memory\nHINT:  You might need to increase \
             max_locks_per_transaction.\npg_dump: detail: Query was: LOCK TABLE {} IN ACCESS SHARE MODE\n",
            tables.join(", ")
        );
        let said = Said::new(said.as_bytes()).to_string();
        for words in ["out of shared memory", "max_locks_per_transaction", "LOCK TABLE public.t0,", "SHARE MODE"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(said.len() < 2000, "{}", said.len());
    }

    #[test]
    fn a_script_that_reads_other_files_is_told_what_to_do_instead() {
        let do_so = || message!("words", text = "do so");
        let said = Said::of_script(b"psql:<stdin>:3: error: more.sql: No such file or directory", do_so()).to_string();
        assert!(said.starts_with("psql:<stdin>:3:") && said.ends_with(": do so"), "{said}");
        assert_eq!(Said::of_script(b"ERROR: no", do_so()).to_string(), "ERROR: no");
    }

    #[test]
    fn silence_is_told() {
        assert_eq!(Said::new(b" \n").to_string(), "it gave no reason");
    }
}
