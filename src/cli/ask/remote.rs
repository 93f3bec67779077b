//! The terminal that the program runs in, while a command at a site has it.

use std::io::{self, IsTerminal, Write};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::terminal::{RawTerminal, no_input, read_input};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::cli::text::terminal_size;
use crate::sites::{Remote, RunAtSite, Said, Signal, TerminalRequest, ToSite, run, shown_message};

/// What a process gets that goes on after a stop.
const CONTINUED: i32 = rustix::process::Signal::CONT.as_raw();

/// Whether all three streams are a terminal, so that a command at a site can have one.
pub fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// The terminal as a site is asked for one.
pub fn terminal() -> Option<TerminalRequest> {
    let size = terminal_size::of_stdout().filter(|_| has_terminal())?;
    Some(TerminalRequest { columns: size.columns, rows: size.rows })
}

/// Runs a command at a site with this process's own input, output and terminal; gives its exit code.
pub async fn interact(remote: &Remote, what: &RunAtSite, output: &Output) -> Result<u8, Failure> {
    interact_into(remote, what, output, &mut io::stdout()).await
}

/// As [`interact`], with another place for its standard output.
pub async fn interact_into(
    remote: &Remote,
    what: &RunAtSite,
    output: &Output,
    stdout: &mut dyn Write,
) -> Result<u8, Failure> {
    // Before the site's command has the terminal ssh may ask there.
    remote.connect_first().await?;
    let raw = if what.terminal.is_some() { Some(RawTerminal::enter().map_err(Failure::Terminal)?) } else { None };
    let (sender, mut to_site) = mpsc::channel(16);
    // Like ssh's, but what a command does not read stays for others: a loop over a list of sites reads its list itself.
    let reads = what.terminal.is_some() || what.takes_input;
    let (mut typed, _reader) = if reads { read_input().map_err(Failure::Terminal)? } else { no_input() };
    let watch = |kind| signal(kind).map_err(Failure::Terminal);
    let (mut resized, mut resumed) = (watch(SignalKind::window_change())?, watch(SignalKind::from_raw(CONTINUED))?);
    let (mut interrupt, mut terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    // A terminal that is closed stops nothing at the site.
    let mut hangup = watch(SignalKind::hangup())?;
    let listener = async {
        let mut has_input = true;
        loop {
            let next = tokio::select! {
                bytes = typed.recv(), if has_input => match bytes {
                    Some(bytes) => ToSite::Input(bytes),
                    None => {
                        has_input = false;
                        ToSite::InputEnd
                    }
                },
                _ = resized.recv() => match terminal() {
                    Some(size) => ToSite::Resize(size),
                    None => continue,
                },
                _ = resumed.recv() => {
                    if let Some(raw) = &raw {
                        // What can't be set shows itself.
                        let _ = raw.again();
                    }
                    continue;
                }
                _ = interrupt.recv() => ToSite::Signal(Signal::Interrupt),
                _ = terminate.recv() => return,
                _ = hangup.recv() => return,
            };
            if sender.send(next).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let is_raw = raw.is_some();
    let mut said = |said: Said| match said {
        Said::Output(bytes) => write(stdout, &bytes),
        Said::Error(bytes) => write(&mut io::stderr().lock(), &bytes),
        Said::Lost(why) => {
            note(
                output,
                &output.warning(&message!("site-lost", site = remote.name(), why = shown_message(&why))),
                is_raw,
            );
            Ok(())
        }
        Said::EndsWithLogin => {
            note(output, &output.warning(&message!("site-kills-processes")), is_raw);
            Ok(())
        }
        Said::Back => {
            note(output, &output.catalogue.text(&message!("site-back", site = remote.name())), is_raw);
            Ok(())
        }
    };
    tokio::select! {
        code = run(remote, what, &mut to_site, &mut said) => Ok(code?),
        () = listener => {
            drop(raw);
            if what.outlives_connection {
                output.say(&message!("site-left", site = remote.name()));
            }
            Err(Failure::Interrupted)
        }
    }
}

fn write(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// A line between what the site says; in raw mode a line begins only after a carriage return.
fn note(output: &Output, line: &str, is_raw: bool) {
    match is_raw {
        true => output.line(&format!("\r\n{line}\r")),
        false => output.line(line),
    }
}
