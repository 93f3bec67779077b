//! Keys of the terminal, one at a time, while a question is open.
//!
//! Bytes are read and decoded here, on [`RawTerminal`]: docs/architecture.md says why neither `console` nor `crossterm` does it.

use std::io::{self, PipeReader, Read, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::terminal::RawTerminal;

/// What somebody pressed, or what became of the terminal meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    PageUp,
    PageDown,
    /// Ctrl-U.
    ClearLine,
    /// Ctrl-W.
    ClearWord,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// The terminal is gone.
    Gone,
    /// Another size, or back from a stop: what is shown has to be drawn again.
    Redraw,
    /// Nothing that means anything here.
    Other,
}

/// A key that begins with Esc comes at once; over a slow line, almost.
const ESCAPE_PATIENCE: Duration = Duration::from_millis(100);

/// The terminal in hand. Bytes are taken from it one by one, so that whatever is typed ahead stays there for the next
/// question, or for the shell.
pub struct Keyboard {
    raw: Option<RawTerminal>,
    /// A byte comes with every signal after which all has to be drawn again.
    signals: PipeReader,
    watch: JoinHandle<()>,
}

/// What came first.
enum Input {
    Byte(u8),
    Signal,
    /// The terminal is gone.
    Gone,
    /// Nothing for so long as was waited.
    Nothing,
}

impl Keyboard {
    /// Fails where standard input is no terminal.
    pub fn open(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        let mut resize = signal(SignalKind::window_change())?;
        let mut resume = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let (signals, mut sender) = io::pipe()?;
        let watch = runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = resize.recv() => {}
                    _ = resume.recv() => {}
                }
                if sender.write_all(&[0]).is_err() {
                    return;
                }
            }
        });
        Ok(Self { raw: Some(RawTerminal::enter()?), signals, watch })
    }

    /// The next key.
    pub fn key(&mut self) -> io::Result<Key> {
        let byte = match self.input(None)? {
            Input::Byte(byte) => byte,
            Input::Gone => return Ok(Key::Gone),
            Input::Nothing => return Ok(Key::Other),
            Input::Signal => {
                // The shell that stopped this process has set the terminal to modes of its own.
                if let Some(raw) = &self.raw {
                    raw.again()?;
                }
                return Ok(Key::Redraw);
            }
        };
        Ok(match byte {
            b'\r' | b'\n' => Key::Enter,
            0x7f | 0x08 => Key::Backspace,
            0x01 => Key::Home,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            b'\t' | 0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::ClearLine,
            0x17 => Key::ClearWord,
            0x1a => self.suspend()?,
            0x1b => self.escape()?,
            0x00..0x20 => Key::Other,
            first => self.character(first)?,
        })
    }

    /// Ctrl-Z: the shell gets its terminal back, and this process waits until it is called on again.
    fn suspend(&mut self) -> io::Result<Key> {
        self.raw = None;
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        self.raw = Some(RawTerminal::enter()?);
        Ok(Key::Redraw)
    }

    /// What follows Esc: nothing, or the rest of a key that has no character.
    fn escape(&mut self) -> io::Result<Key> {
        match self.input(Some(ESCAPE_PATIENCE))? {
            Input::Byte(b'[' | b'O') => {}
            // Alt and a letter.
            Input::Byte(_) => return Ok(Key::Other),
            Input::Nothing | Input::Signal => return Ok(Key::Escape),
            Input::Gone => return Ok(Key::Gone),
        }
        let mut sequence = Vec::new();
        while sequence.len() < 16 {
            let Input::Byte(byte) = self.input(Some(ESCAPE_PATIENCE))? else { break };
            sequence.push(byte);
            if (0x40..=0x7e).contains(&byte) {
                break;
            }
        }
        Ok(named(&sequence))
    }

    /// The rest of a character in UTF-8.
    fn character(&mut self, first: u8) -> io::Result<Key> {
        let length = match first {
            0x00..0x80 => 1,
            0xc2..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf5 => 4,
            _ => return Ok(Key::Other),
        };
        let mut bytes = vec![first];
        while bytes.len() < length {
            let Input::Byte(byte) = self.input(Some(ESCAPE_PATIENCE))? else { return Ok(Key::Other) };
            bytes.push(byte);
        }
        let character = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
        Ok(character.map_or(Key::Other, Key::Char))
    }

    /// Waits for a byte or a signal; with `patience` for the next byte of a key that has begun, so long, and for no signal: it
    /// waits until the key is whole.
    fn input(&mut self, patience: Option<Duration>) -> io::Result<Input> {
        let patience = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()) as _,
        });
        loop {
            let stdin = io::stdin();
            let mut watched = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let within_a_key = patience.is_some();
            let count = if within_a_key { 1 } else { 2 };
            match poll(&mut watched[..count], patience.as_ref()) {
                Ok(0) => return Ok(Input::Nothing),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !within_a_key && !watched[1].revents().is_empty() {
                // All that came together are one.
                let _ = self.signals.read(&mut [0; 64])?;
                return Ok(Input::Signal);
            }
            let mut byte = [0];
            return match rustix::io::read(&stdin, &mut byte) {
                Ok(0) => Ok(Input::Gone),
                Ok(_) => Ok(Input::Byte(byte[0])),
                Err(Errno::INTR | Errno::AGAIN) => continue,
                // A terminal that was hung up.
                Err(Errno::IO) => Ok(Input::Gone),
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Keys as terminals of the xterm kind send them (ECMA-48 and SS3 forms).
fn named(sequence: &[u8]) -> Key {
    match sequence {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"Z" => Key::Up,
        b"3~" => Key::Delete,
        b"5~" => Key::PageUp,
        b"6~" => Key::PageDown,
        b"M" => Key::Enter,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_character_are_known_in_both_forms() {
        for (sequence, key) in [("A", Key::Up), ("B", Key::Down), ("5~", Key::PageUp), ("F", Key::End)] {
            assert_eq!(named(sequence.as_bytes()), key);
        }
        assert_eq!(named(b"1;5A"), Key::Other);
        assert_eq!(named(b""), Key::Other);
    }
}
