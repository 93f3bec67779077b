//! What the operating system and the parser of JSON say, in the language of the reader.
//!
//! Owns the one table of the system's errors by number (errno(3)). English is what glibc says, so that it can be looked up; a
//! number that is not in the table keeps the system's words.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use super::errors::{SentenceError, as_error, as_io_error};
use crate::report::Message;

/// An I/O error as a sentence; what it carries is said as it stands.
pub fn system_words(error: &io::Error) -> Message {
    if let Some(sentence) = as_error::<SentenceError>(error) {
        return sentence.0.clone();
    }
    let said = Errno::from_io_error(error).and_then(of_number).or_else(|| of_json(error));
    said.unwrap_or_else(|| message!("words", text = error))
}

/// What the system or the parser of JSON says, where this error is of one of them.
pub(super) fn of_others(error: &(dyn Error + 'static)) -> Option<Message> {
    let errno = as_io_error(error).and_then(Errno::from_io_error);
    errno.or_else(|| error.downcast_ref().copied()).and_then(of_number).or_else(|| of_json(error))
}

fn of_json(error: &(dyn Error + 'static)) -> Option<Message> {
    let json = as_error::<serde_json::Error>(error)?;
    // What is wrong with a value is said by the type that it does not fit.
    json.is_eof().then(|| message!("json-ends", line = json.line(), column = json.column()))
}

fn of_number(errno: Errno) -> Option<Message> {
    let number = errno.raw_os_error();
    Some(match errno {
        Errno::PERM => message!("system-not-permitted", number = number),
        Errno::NOENT => message!("system-no-file", number = number),
        Errno::IO => message!("system-input-output", number = number),
        Errno::ACCESS => message!("system-denied", number = number),
        Errno::BUSY => message!("system-busy", number = number),
        Errno::EXIST => message!("system-exists", number = number),
        Errno::XDEV => message!("system-other-disk", number = number),
        Errno::NOTDIR => message!("system-not-a-folder", number = number),
        Errno::ISDIR => message!("system-is-a-folder", number = number),
        Errno::INVAL => message!("system-invalid", number = number),
        Errno::MFILE => message!("system-too-many-files", number = number),
        Errno::FBIG => message!("system-file-too-large", number = number),
        Errno::NOSPC => message!("system-no-space", number = number),
        Errno::ROFS => message!("system-read-only", number = number),
        Errno::PIPE => message!("system-broken-pipe", number = number),
        Errno::NAMETOOLONG => message!("system-name-too-long", number = number),
        Errno::NOLCK => message!("system-no-locks", number = number),
        Errno::NOTEMPTY => message!("system-not-empty", number = number),
        Errno::LOOP => message!("system-loop", number = number),
        Errno::CONNREFUSED => message!("system-refused", number = number),
        Errno::CONNRESET => message!("system-reset", number = number),
        Errno::TIMEDOUT => message!("system-timed-out", number = number),
        Errno::HOSTUNREACH => message!("system-no-route", number = number),
        Errno::NETUNREACH => message!("system-no-network", number = number),
        Errno::STALE => message!("system-stale", number = number),
        Errno::DQUOT => message!("system-quota", number = number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, Language};

    #[test]
    fn the_systems_words_are_its_own_in_english_and_chinese_ones_in_chinese() {
        let said = |error: &io::Error| Language::ALL.map(|language| Catalogue::of(language).text(&system_words(error)));
        let mut known = 0;
        // Linux has numbers up to 133; those of the table are below.
        for error in (1..=133).map(io::Error::from_raw_os_error) {
            let [english, chinese] = said(&error);
            assert_eq!(english, error.to_string());
            known += usize::from(chinese != english);
        }
        assert_eq!(known, 26);
        let missing = io::Error::from_raw_os_error(Errno::NOENT.raw_os_error());
        assert_eq!(said(&missing)[1], "文件或目录不存在（系统错误 2）");
    }

    #[test]
    fn a_document_that_was_cut_off_is_said_to_end_too_early() {
        let cut_off = serde_json::from_str::<serde_json::Value>("{\"a\":\n").unwrap_err();
        let said = Language::ALL.map(|language| Catalogue::of(language).text(&of_others(&cut_off).unwrap()));
        assert_eq!(said, ["the JSON ends too early: line 2, column 0", "JSON 内容不完整，在第 2 行第 0 列处中断"]);
    }
}
