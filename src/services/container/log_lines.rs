//! Whole lines from a container's log, which comes in pieces: the engine cuts lines at 16 KiB, and a terminal's stream
//! anywhere.

use jiff::Timestamp;

use crate::engine::{LogLine, LogSource};

/// A line without an end is given out in pieces of this size, so that memory stays flat.
const LONGEST_LINE: usize = 1 << 20;

/// A line of a log that was asked for with timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub source: LogSource,
    /// By the engine's clock; `None` where the engine sent none.
    pub time: Option<Timestamp>,
    pub text: String,
}

/// Puts lines together, each of the two streams for itself.
#[derive(Debug, Default)]
pub struct Lines {
    stdout: Option<Line>,
    stderr: Option<Line>,
}

impl Lines {
    /// Takes a piece; gives the lines that end in it.
    pub fn feed(&mut self, piece: LogLine) -> Vec<Line> {
        let pending = match piece.source {
            LogSource::Stdout => &mut self.stdout,
            LogSource::Stderr => &mut self.stderr,
        };
        let mut whole = Vec::new();
        let mut parts = piece.text.split('\n').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let part = part.trim_end_matches('\r');
            if !(is_last && part.is_empty() && !piece.ends_line) {
                // Each piece has a timestamp of its own; only the first one's is the line's.
                let (time, text) = timestamp(part);
                match pending {
                    Some(line) => line.text.push_str(text),
                    None => *pending = Some(Line { source: piece.source, time, text: text.to_owned() }),
                }
            }
            let is_long = pending.as_ref().is_some_and(|line| line.text.len() >= LONGEST_LINE);
            if !is_last || piece.ends_line || is_long {
                whole.extend(pending.take());
            }
        }
        whole
    }

    /// What is left when the log ends without a newline.
    pub fn finish(self) -> Vec<Line> {
        self.stdout.into_iter().chain(self.stderr).collect()
    }
}

/// Splits the timestamp off that the engine puts before a line.
fn timestamp(text: &str) -> (Option<Timestamp>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first.parse::<Timestamp>() {
        Ok(time) => (Some(time), rest),
        Err(_) => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(source: LogSource, text: &str, ends_line: bool) -> LogLine {
        LogLine { source, text: text.to_owned(), ends_line }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_line_that_the_engine_cut_comes_out_whole() {
        let mut lines = Lines::default();
        assert!(lines.feed(piece(LogSource::Stdout, "2024-05-01T10:00:00.5Z first ", false)).is_empty());
        let other = lines.feed(piece(LogSource::Stderr, "2024-05-01T10:00:00.6Z between", true));
        assert_eq!(texts(&other), ["between"]);
        let whole = lines.feed(piece(LogSource::Stdout, "2024-05-01T10:00:00.7Z second", true));
        assert_eq!(texts(&whole), ["first second"]);
        assert_eq!(whole[0].time, Some("2024-05-01T10:00:00.5Z".parse().unwrap()));
    }

    #[test]
    fn a_piece_can_hold_several_lines() {
        let mut lines = Lines::default();
        let whole = lines.feed(piece(
            LogSource::Stdout,
            "2024-05-01T10:00:00Z a\r\n2024-05-01T10:00:01Z \n2024-05-01T10:00:02Z b",
            false,
        ));
        assert_eq!(texts(&whole), ["a", ""]);
        assert_eq!(texts(&lines.finish()), ["b"]);
    }

    #[test]
    fn a_line_without_an_end_does_not_grow_for_ever() {
        let mut lines = Lines::default();
        let long = "x".repeat(LONGEST_LINE);
        assert_eq!(lines.feed(piece(LogSource::Stdout, &long, false)).len(), 1);
    }
}
