//! Tables and words of the commands on images.

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::report::Message;

/// `3 of 12`.
pub fn some_of(some: u64, all: u64, session: &Session) -> String {
    session.output.catalogue.text(&message!("word-some-of", some = some, all = all))
}

/// A table, unless a document is printed instead.
pub fn print<const N: usize>(header: [Message; N], rows: Vec<Vec<String>>, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    Ok(session.output.data(&table::whole(&session.output.catalogue.words(header), rows, session.output.width()))?)
}
