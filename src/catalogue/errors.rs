//! What errors say. Ours are sentences of the catalogue, in the language of the reader, and so is what the system says
//! (`system.rs`); the engine, PostgreSQL and ssh speak for themselves.
//!
//! An error type implements `Told`, its sentence and its hint, and stands in the `told!` of its module. That makes its `Display`
//! (the English text) and a function `as_told`, which knows an error of that module, or of one below it, among causes of any
//! type.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Catalogue, system};
use crate::report::{Message, Told};

/// A module's way from an error of any type to what it says.
pub type AsTold = for<'e> fn(&'e (dyn Error + 'static)) -> Option<&'e dyn Told>;

/// Names the error types of a module, and the `as_told` of the modules below it.
macro_rules! told {
    ($($error:ty),+ $(,)? $(; $($below:path),+)?) => {
        $(impl std::fmt::Display for $error {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let message = $crate::report::Told::message(self);
                formatter.write_str(&$crate::catalogue::Catalogue::english().text(&message))
            }
        })+

        /// An error of this module, or of one below it, as what it says; `None` for all others.
        pub fn as_told<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e dyn $crate::report::Told> {
            $(if let Some(error) = $crate::catalogue::as_error::<$error>(error) {
                return Some(error);
            })+
            $($(if let Some(error) = $below(error) {
                return Some(error);
            })+)?
            None
        }

        /// An error and its causes in one line.
        #[allow(dead_code, reason = "not every module puts errors into sentences")]
        pub(crate) fn in_one_line(error: &(dyn std::error::Error + 'static)) -> $crate::report::Message {
            $crate::catalogue::one_line(error, as_told)
        }
    };
}

pub(crate) use told;

/// The error of that type which this one is: itself, boxed, or carried by an I/O error.
pub fn as_error<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    if let Some(carrier) = as_io_error(error) {
        return carrier.get_ref().and_then(|carried| as_error(carried as &(dyn Error + 'static)));
    }
    error.downcast_ref().or_else(|| error.downcast_ref::<Box<T>>().map(|boxed| &**boxed))
}

/// An I/O error, itself or shared.
pub(super) fn as_io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared))
}

/// A sentence as an error, for `io::Error` to carry.
#[derive(Debug)]
pub struct SentenceError(pub Message);

impl Error for SentenceError {}

impl fmt::Display for SentenceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&Catalogue::english().text(&self.0))
    }
}

pub fn io_error(kind: io::ErrorKind, message: Message) -> io::Error {
    io::Error::new(kind, SentenceError(message))
}

/// An error and its causes, the error first; a cause that only says again what was said is left out.
pub fn causes(error: &(dyn Error + 'static), as_told: AsTold) -> Vec<Message> {
    let mut said: Vec<(Message, String)> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = said_by(error, as_told);
        let text = Catalogue::english().text(&message);
        if !said.iter().any(|(_, earlier)| earlier.contains(&text)) {
            said.push((message, text));
        }
        next = error.source();
    }
    said.into_iter().map(|(message, _)| message).collect()
}

/// An error and its causes in one line, as [`causes`] has them.
pub fn one_line(error: &(dyn Error + 'static), as_told: AsTold) -> Message {
    let together = |behind: Message, before: Message| message!("because", what = before, why = behind);
    causes(error, as_told).into_iter().rev().reduce(together).unwrap_or_else(|| said_by(error, as_told))
}

fn said_by(error: &(dyn Error + 'static), as_told: AsTold) -> Message {
    let sentence = || as_error::<SentenceError>(error).map(|sentence| sentence.0.clone());
    let others = || system::of_others(error);
    let own = || message!("words", text = error);
    as_told(error).map(Told::message).or_else(sentence).or_else(others).unwrap_or_else(own)
}

/// What to do about an error: the hint of the first that has one, from the error down to its causes.
pub fn hint(error: &(dyn Error + 'static), as_told: AsTold) -> Option<Message> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(hint) = as_told(error).and_then(Told::hint) {
            return Some(hint);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        Direct(#[source] Inner),
        Boxed(#[source] Box<Inner>),
        Carried(#[source] io::Error),
        Shared(#[source] Arc<io::Error>),
    }

    #[derive(Debug, thiserror::Error)]
    struct Inner;

    impl Told for Outer {
        fn message(&self) -> Message {
            message!("declined")
        }
    }

    impl Told for Inner {
        fn message(&self) -> Message {
            message!("chain-empty")
        }
    }

    told!(Outer, Inner);

    fn said(error: &Outer) -> [String; 2] {
        Language::ALL.map(|language| Catalogue::of(language).text(&in_one_line(error)))
    }

    #[test]
    fn causes_are_in_the_language_of_the_reader_however_they_are_carried() {
        let carried = Outer::Carried(io::Error::other(Inner));
        for error in [Outer::Direct(Inner), Outer::Boxed(Box::new(Inner)), carried] {
            assert_eq!(said(&error), ["nothing was changed: it is empty", "未做任何更改：内容为空"], "{error:?}");
        }
        let sentence = Outer::Carried(io_error(io::ErrorKind::Other, message!("chain-empty")));
        assert_eq!(said(&sentence), ["nothing was changed: it is empty", "未做任何更改：内容为空"]);
    }

    #[test]
    fn what_the_system_says_is_in_the_language_of_the_reader() {
        let full = Outer::Carried(io::Error::from_raw_os_error(28));
        let english = "nothing was changed: No space left on device (os error 28)";
        assert_eq!(said(&full), [english, "未做任何更改：磁盘空间已满（系统错误 28）"]);
        let shared = Outer::Shared(Arc::new(io::Error::from_raw_os_error(28)));
        assert_eq!(said(&shared), said(&full));
        let sentence = Outer::Shared(Arc::new(io_error(io::ErrorKind::Other, message!("chain-empty"))));
        assert_eq!(said(&sentence), ["nothing was changed: it is empty", "未做任何更改：内容为空"]);
    }

    #[test]
    fn what_others_say_stays_as_it_is_and_nothing_is_said_twice() {
        let foreign = Outer::Carried(io::ErrorKind::NotFound.into());
        assert_eq!(said(&foreign), ["nothing was changed: entity not found", "未做任何更改：entity not found"]);
        let again = Outer::Carried(io_error(io::ErrorKind::Other, message!("declined")));
        assert_eq!(said(&again), ["nothing was changed", "未做任何更改"]);
    }
}
