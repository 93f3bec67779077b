//! A program that runs where psql runs, as a line for psql's `\!`. What is sent and read around it is [`super::session`]'s.

/// A program to run where psql runs, beside it.
pub(in crate::databases) struct Command<'a> {
    /// With its arguments.
    pub words: &'a [String],
    /// The whole of its standard input.
    pub input: &'a [u8],
    /// The largest file that it may write.
    pub largest_file: Option<u64>,
}

/// What came of it, beside what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::databases) struct CommandEnd {
    pub exit_code: i64,
    pub said: Vec<u8>,
}

/// What a shell makes of a command: what it writes goes where psql's own answers go, and behind it come the mark `end`, its
/// exit code and what it said.
pub(super) fn shell_line(command: &Command<'_>, ready: &str, end: &str) -> String {
    let words: Vec<String> = command.words.iter().map(|word| shell_word(word)).collect();
    // POSIX: in blocks of 512 bytes.
    let limit = command.largest_file.map(|bytes| format!("ulimit -f {}; ", bytes / 512)).unwrap_or_default();
    let program = format!("{limit}{} 2>&1 >&3 3>&-", words.join(" "));
    let run = match command.input.len() {
        0 => format!("said=$({program} </dev/null)"),
        // It may end before it has read all: nothing of it is left for psql.
        length => {
            let ready = ready.trim_end();
            format!("echo {ready}; said=$(head -c {length} | {{ {program}; code=$?; cat >/dev/null; exit $code; }})")
        }
    };
    format!("exec 3>&1; {run}; code=$?; printf '{end}%s\\n%s' \"$code\" \"$said\"")
}

fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell makes of the line, with this on its input.
    fn ran(command: &Command<'_>, input: &[u8]) -> String {
        use std::io::Write as _;
        use std::process::Stdio;
        let line = shell_line(command, "READY\n", "END ");
        assert!(!line.contains('\n'));
        let shell =
            std::process::Command::new("sh").args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut shell = shell.unwrap();
        // A shell that has read what it wants may have ended already.
        let _ = shell.stdin.take().unwrap().write_all(input);
        String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_command_tells_its_words_its_end_and_what_it_said_apart() {
        let words = ["printf", "%s|", "it's", "a\\b \"c\" $x `y`"].map(str::to_owned);
        let command = Command { words: &words, input: b"", largest_file: Some(1 << 20) };
        assert_eq!(ran(&command, b"for others"), "it's|a\\b \"c\" $x `y`|END 0\n");
        // One that leaves some of its input leaves nothing of it for others.
        let words = ["sh", "-c", "head -c 2; echo why >&2; exit 3"].map(str::to_owned);
        let command = Command { words: &words, input: b"abcdef", largest_file: None };
        assert_eq!(ran(&command, b"abcdef"), "READY\nabEND 3\nwhy");
    }
}
