//! The terminal that the program runs in, while something else has it: a command in a container, or a screen that is
//! drawn again. However that ends, the terminal is as it was before.

use std::cell::Cell;
use std::io::{self, IsTerminal, PipeWriter, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cli::text::failure::Failure;
use crate::cli::text::terminal_size;
use crate::engine::{Engine, ExecEnd, ExecOutput, ExecSpec};

/// Whether somebody sits at both ends: a command can have the terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Whether questions can be asked with lists and keys: somebody types, sees what is drawn, and the terminal can draw.
pub fn takes_keys() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stderr().is_terminal() && !is_dumb
}

/// Drops what was typed and not yet read.
pub fn drop_typed_ahead() {
    // Where input is not a terminal nothing was typed.
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
}

/// What goes between this process and a command before anybody at the terminal has a part in it.
pub struct Opening<'a> {
    /// The line with which the command says that it is ready. Not shown, and nothing is sent before it.
    pub mark: &'a str,
    /// What it is sent; then the terminal's keys follow.
    pub answer: Bytes,
}

/// Runs a command in a container with this process's own input, output and, where `spec.tty`, terminal; gives its exit
/// code.
///
/// Ctrl-C belongs to the command where it has the terminal; elsewhere it ends the exchange, and the command goes on
/// without anybody, since the engine has no call that ends it.
pub async fn interact(engine: &Engine, container: &str, spec: ExecSpec) -> Result<u8, Failure> {
    exchange(engine, container, spec, None).await
}

/// As [`interact`], with something to be settled first.
pub async fn interact_after(
    opening: Opening<'_>,
    engine: &Engine,
    container: &str,
    spec: ExecSpec,
) -> Result<u8, Failure> {
    exchange(engine, container, spec, Some(opening)).await
}

async fn exchange(
    engine: &Engine,
    container: &str,
    spec: ExecSpec,
    opening: Option<Opening<'_>>,
) -> Result<u8, Failure> {
    let spec = ExecSpec { size: terminal_size::of_stdout().filter(|_| spec.tty), ..spec };
    let raw = if spec.tty { Some(RawTerminal::enter().map_err(Failure::Terminal)?) } else { None };
    let (input, _reader) = if spec.stdin { read_input().map_err(Failure::Terminal)? } else { no_input() };
    let mut signals = Signals::watch().map_err(Failure::Terminal)?;
    let (resized, sizes) = mpsc::unbounded_channel();
    let refused: Cell<Option<io::Error>> = Cell::new(None);
    let (mark, said, first) = match opening {
        None => (None, None, stream::empty().left_stream()),
        Some(Opening { mark, answer }) => {
            let (said, heard) = oneshot::channel();
            let first = stream::once(async move {
                match heard.await {
                    Ok(()) => answer,
                    // It ends without ever having been ready.
                    Err(_) => std::future::pending().await,
                }
            });
            (Some(mark), Some(said), first.right_stream())
        }
    };
    let mut ready = Ready { mark, said, held: Vec::new() };
    let shown = |chunk| {
        let Some(chunk) = ready.pass(chunk) else { return ControlFlow::Continue(()) };
        match write(chunk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                refused.set(Some(error));
                ControlFlow::Break(())
            }
        }
    };
    let keys = first.chain(received(input));
    let exchange = engine.exec_interactive(container, &spec, keys, unbounded(sizes), shown);
    let mut exchange = std::pin::pin!(exchange);
    let end = loop {
        tokio::select! {
            end = &mut exchange => break end?,
            _ = signals.resize.recv() => {
                if let Some(size) = terminal_size::of_stdout() {
                    // Nobody listens any more where the command has ended.
                    let _ = resized.send(size);
                }
            }
            _ = signals.resume.recv() => {
                if let Some(raw) = &raw {
                    raw.again().map_err(Failure::Terminal)?;
                }
            }
            () = signals.end.asked() => return Err(Failure::Interrupted),
        }
    };
    match end {
        ExecEnd::Exited(code) => Ok(u8::try_from(code).unwrap_or(1)),
        ExecEnd::Abandoned => Err(Failure::Output(refused.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))),
    }
}

/// Holds back the line that says that a command is ready; what comes instead of it goes on.
struct Ready<'m> {
    mark: Option<&'m str>,
    said: Option<oneshot::Sender<()>>,
    held: Vec<u8>,
}

impl Ready<'_> {
    fn pass(&mut self, chunk: ExecOutput) -> Option<ExecOutput> {
        let Some(mark) = self.mark else { return Some(chunk) };
        let ExecOutput::Stdout(bytes) = chunk else { return Some(chunk) };
        self.held.extend_from_slice(&bytes);
        let shared = mark.len().min(self.held.len());
        if self.held[..shared] != mark.as_bytes()[..shared] {
            self.mark = None;
            self.said = None;
            return Some(ExecOutput::Stdout(std::mem::take(&mut self.held).into()));
        }
        let end = self.held.iter().position(|byte| *byte == b'\n')?;
        self.mark = None;
        let held = Bytes::from(std::mem::take(&mut self.held));
        if let Some(said) = self.said.take() {
            // Nobody listens where the command is over already.
            let _ = said.send(());
        }
        let after = held.slice(end + 1..);
        (!after.is_empty()).then_some(ExecOutput::Stdout(after))
    }
}

fn write(chunk: ExecOutput) -> io::Result<()> {
    match chunk {
        ExecOutput::Stdout(bytes) => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&bytes)?;
            stdout.flush()
        }
        ExecOutput::Stderr(bytes) => {
            let mut stderr = io::stderr().lock();
            stderr.write_all(&bytes)?;
            stderr.flush()
        }
    }
}

/// How the terminal was before it was in raw mode, for an end that drops nothing.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts a terminal back that is in raw mode; for an end of the process in which nothing is dropped.
pub fn put_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
        // What was being drawn stays above, and the shell begins a line of its own.
        let _ = io::stderr().write_all(b"\r\x1b[J\n");
    }
}

/// The terminal in raw mode, every key going through as it is; dropped, it is as it was.
pub struct RawTerminal {
    before: Termios,
    raw: Termios,
}

impl RawTerminal {
    /// Fails where standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before, raw })
    }

    /// After a stop and a `fg` the shell has set the terminal to its own ways.
    pub fn again(&self) -> io::Result<()> {
        Ok(tcsetattr(io::stdin(), OptionalActions::Drain, &self.raw)?)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A screen of its own on the terminal, drawn again and again; dropped, what was there before is back.
pub struct Screen {
    _open: (),
}

impl Screen {
    /// Fails where standard output is no terminal.
    pub fn open() -> Result<Self, Failure> {
        if terminal_size::of_stdout().is_none() || !io::stdout().is_terminal() {
            return Err(Failure::usage_with_hint(message!("usage-screen-terminal"), message!("hint-ask-once")));
        }
        send("\x1b[?1049h\x1b[?25l").map_err(Failure::Output)?;
        Ok(Self { _open: () })
    }

    /// Draws a text from the top; what has no room below is counted.
    pub fn draw(&self, text: &str, more: impl Fn(usize) -> String) -> Result<(), Failure> {
        let rows = terminal_size::of_stdout().map_or(24, |size| usize::from(size.rows));
        let lines: Vec<&str> = text.lines().collect();
        let mut frame = String::from("\x1b[H");
        let shown = if lines.len() > rows { rows.saturating_sub(1) } else { lines.len() };
        let rest = (lines.len() > shown).then(|| more(lines.len() - shown));
        let drawn: Vec<&str> = lines[..shown].iter().copied().chain(rest.as_deref()).collect();
        // No newline behind the last line: it would push the first one out.
        frame.push_str(&drawn.join("\x1b[K\r\n"));
        frame.push_str("\x1b[K\x1b[J");
        send(&frame).map_err(Failure::Output)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = send("\x1b[?25h\x1b[?1049l");
    }
}

fn send(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The signals that matter while a terminal is in hand. Once watched, they no longer end the process by themselves.
pub struct Signals {
    pub resize: Signal,
    resume: Signal,
    pub end: EndSignals,
}

/// Ctrl-C, SIGTERM, and a terminal that goes away.
pub enum EndSignals {
    Heard {
        interrupt: Signal,
        terminate: Signal,
        hangup: Signal,
    },
    /// Somebody else hears them, and cancels this.
    Elsewhere(CancellationToken),
}

impl EndSignals {
    /// Must be called inside the runtime.
    pub fn watch() -> io::Result<Self> {
        Ok(Self::Heard {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The same, unless somebody hears them already and cancels `token` then.
    pub fn watch_unless(token: Option<CancellationToken>) -> io::Result<Self> {
        token.map_or_else(Self::watch, |token| Ok(Self::Elsewhere(token)))
    }

    /// Resolves when one of them comes.
    pub async fn asked(&mut self) {
        match self {
            Self::Elsewhere(token) => token.cancelled().await,
            Self::Heard { interrupt, terminate, hangup } => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }
        }
    }
}

impl Signals {
    /// Must be called inside the runtime.
    pub fn watch() -> io::Result<Self> {
        Ok(Self {
            resize: signal(SignalKind::window_change())?,
            resume: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
            end: EndSignals::watch()?,
        })
    }
}

/// Ends the thread that reads standard input, so that it takes nothing that is meant for somebody else.
pub(super) struct Reader {
    _wakes: Option<PipeWriter>,
}

pub(super) fn no_input() -> (mpsc::Receiver<Bytes>, Reader) {
    (mpsc::channel(1).1, Reader { _wakes: None })
}

/// Reads standard input in a thread of its own: one that the runtime knows would hold the program's end up until
/// another key is pressed.
pub(super) fn read_input() -> io::Result<(mpsc::Receiver<Bytes>, Reader)> {
    let (woken, wakes) = io::pipe()?;
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let stdin = io::stdin();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let mut watched = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&woken, PollFlags::IN)];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if !watched[1].revents().is_empty() {
                return;
            }
            match rustix::io::read(&stdin, &mut buffer) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                        return;
                    }
                }
            }
        }
    });
    Ok((receiver, Reader { _wakes: Some(wakes) }))
}

fn received(receiver: mpsc::Receiver<Bytes>) -> impl Stream<Item = Bytes> {
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

fn unbounded<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(said: oneshot::Sender<()>) -> Ready<'static> {
        Ready { mark: Some("ready-7"), said: Some(said), held: Vec::new() }
    }

    fn chunk(text: &'static str) -> ExecOutput {
        ExecOutput::Stdout(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn the_line_that_says_ready_is_heard_and_not_shown() {
        let (said, mut heard) = oneshot::channel();
        let mut ready = ready(said);
        assert_eq!(ready.pass(chunk("rea")), None);
        assert_eq!(ready.pass(chunk("dy-7\r\npsql")), Some(chunk("psql")));
        assert_eq!(ready.pass(chunk(" (15)\n")), Some(chunk(" (15)\n")));
        assert!(heard.try_recv().is_ok());
    }

    #[test]
    fn what_comes_instead_of_it_is_shown_and_nothing_is_said() {
        let (said, mut heard) = oneshot::channel();
        let mut ready = ready(said);
        assert_eq!(ready.pass(chunk("re")), None);
        assert_eq!(ready.pass(chunk("fused")), Some(chunk("refused")));
        assert_eq!(ready.pass(chunk("more")), Some(chunk("more")));
        assert!(heard.try_recv().is_err());
    }
}
