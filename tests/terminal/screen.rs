//! A terminal of a size, with the program in it; what it draws is read as a terminal would show it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rexpect::process::{PtyProcess, Signal, WaitStatus};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::Site;
use crate::tally::Tally;

/// Long enough for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the program as a shell with job control does, and writes down how the terminal is before, while the program is
/// stopped, and after.
const SHELL: &str = r#"
set -m
echo $$ >"$HOME/shell"
stty sane cols $1 rows $2; shift 2
stty -g >"$HOME/before"
"$@"; code=$?
if [ $code -eq 148 ]; then
  stty -g >"$HOME/stopped"
  fg >"$HOME/fg"; code=$?
fi
stty -g >"$HOME/after"
exit $code"#;

pub struct Terminal {
    process: PtyProcess,
    keys: File,
    shown: Arc<Mutex<vt100::Parser>>,
    /// Ends when nobody can write to the terminal any more, and all is read.
    reader: Option<JoinHandle<()>>,
    home: PathBuf,
    /// Whether the program may draw, and not only write.
    draws: bool,
    _tally: Tally,
}

fn size(columns: u16, rows: u16) -> (NonZeroU16, NonZeroU16) {
    (NonZeroU16::new(rows).unwrap(), NonZeroU16::new(columns).unwrap())
}

impl Terminal {
    /// The program with these arguments, in a terminal of this size.
    #[track_caller]
    pub fn open(site: &Site, arguments: &[&str], columns: u16, rows: u16) -> Self {
        let program = site.command(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-c", SHELL, "sh", &columns.to_string(), &rows.to_string()]);
        shell.arg(program.get_program()).args(program.get_args());
        shell.current_dir(site.path()).env_clear().env("TERM", "xterm-256color");
        for (name, value) in program.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let draws = shell.get_envs().any(|(name, value)| name == "TERM" && value.is_some_and(|term| term != "dumb"));
        let process = PtyProcess::new(shell).unwrap();
        let keys = process.get_file_handle().unwrap();
        let (height, width) = size(columns, rows);
        let shown = Arc::new(Mutex::new(vt100::Parser::new(height, width, 0)));
        let (mut output, screen) = (process.get_file_handle().unwrap(), shown.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody holds any more ends with an error.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().process(&bytes[..length]);
            }
        });
        let (home, tally) = (site.path().to_owned(), Tally::of_one("menus"));
        Self { process, keys, shown, reader: Some(reader), home, draws, _tally: tally }
    }

    pub fn keys(&mut self, keys: &str) -> &mut Self {
        self.bytes(keys.as_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.keys.write_all(bytes).unwrap();
        self
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// The screen's lines, without blanks at their ends.
    pub fn lines(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap();
        let width = shown.screen().size().1.get();
        shown.screen().rows(0, width).map(|line| line.trim_end().to_owned()).collect()
    }

    /// The line that the cursor is in, and the cursor's column.
    pub fn line(&self) -> (String, u16) {
        let (row, column) = self.shown.lock().unwrap().screen().cursor_position();
        (self.lines()[usize::from(row)].clone(), column)
    }

    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not {what}:\n{}\n{:?}", self.text(), self.line());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self
    }

    /// Waits until the screen says this.
    #[track_caller]
    pub fn says(&mut self, text: &str) -> &mut Self {
        self.until(text, |terminal| terminal.text().contains(text))
    }

    /// Waits until the cursor stands behind this in its line.
    #[track_caller]
    pub fn asks(&mut self, prompt: &str) -> &mut Self {
        self.until(prompt, |terminal| {
            let (line, column) = terminal.line();
            line == prompt.trim_end() && usize::from(column) >= console::measure_text_width(prompt.trim_end())
        })
    }

    /// The window is given another size.
    pub fn resize(&mut self, columns: u16, rows: u16) -> &mut Self {
        let (height, width) = size(columns, rows);
        self.shown.lock().unwrap().set_size(height, width);
        let window = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keys, window).unwrap();
        self
    }

    /// Sends a signal to the program, not to the shell around it.
    pub fn signal(&mut self, signal: &str) -> &mut Self {
        let shell = self.settings("shell").unwrap();
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let program = children.split_whitespace().next().expect("the program runs");
        assert!(Command::new("kill").args([&format!("-{signal}"), program]).status().unwrap().success());
        self
    }

    /// What the shell wrote down.
    pub fn settings(&self, when: &str) -> Option<String> {
        fs::read_to_string(self.home.join(when)).ok().filter(|text| !text.is_empty())
    }

    /// Waits for the program's end; the terminal must be as it was before. Gives the exit code.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        self.until("at its end", |terminal| terminal.settings("after").is_some());
        let code = match self.process.wait().unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        assert_eq!(self.settings("before"), self.settings("after"), "the terminal's settings");
        let shown = self.shown.lock().unwrap();
        assert!(!shown.screen().hide_cursor() && !shown.screen().alternate_screen(), "the cursor and the screen");
        let column = shown.screen().cursor_position().1;
        assert!(column == 0 || !self.draws, "the shell begins a line:\n{}", shown.screen().contents());
        code
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill(Signal::SIGKILL);
    }
}
