//! Where bars are drawn: the terminal at standard error, as long as there is one.
//!
//! indicatif ends the program (`unwrap` in `MultiProgress::suspend`) when the terminal can't be written. A closed window
//! or a dropped connection must not stop work half way, so this target never fails: what can't be written is dropped.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

use crate::cli::text::terminal_size;

/// Standard error. Nothing reaches it before [`TermLike::flush`], so that one frame is one write.
#[derive(Debug, Default)]
pub struct StderrTarget {
    frame: Mutex<String>,
}

impl StderrTarget {
    fn add(&self, text: std::fmt::Arguments) -> io::Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write_fmt(text).expect("writing to a String can't fail");
        Ok(())
    }

    /// ECMA-48's cursor movements; a count of 0 would move by 1.
    fn move_cursor(&self, count: usize, direction: char) -> io::Result<()> {
        match count {
            0 => Ok(()),
            _ => self.add(format_args!("\x1b[{count}{direction}")),
        }
    }
}

impl TermLike for StderrTarget {
    fn width(&self) -> u16 {
        u16::try_from(terminal_size::of_stderr().0).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from(terminal_size::of_stderr().1).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let frame = std::mem::take(&mut *self.frame.lock().unwrap_or_else(PoisonError::into_inner));
        if !frame.is_empty() {
            let mut stderr = io::stderr().lock();
            // Nobody is there to see it: the work goes on.
            let _ = stderr.write_all(frame.as_bytes()).and_then(|()| stderr.flush());
        }
        Ok(())
    }
}
