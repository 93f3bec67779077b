//! Tables and words of the commands on images.

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::table;
use crate::report::Message;

/// A row of what would become of an image: its name, the result, `3 of 12` layers, and what else there is to say.
pub fn image_row<const N: usize>(
    reference: &str,
    (tone, result): (Tone, Message),
    (some, all): (u64, u64),
    more: [String; N],
    session: &Session,
) -> Vec<String> {
    let result = session.output.paint_word(tone, result);
    let layers = session.output.catalogue.text(&message!("word-some-of", some = some, all = all));
    [reference.to_owned(), result, layers].into_iter().chain(more).collect()
}

/// A table, unless a document is printed instead.
pub fn print<const N: usize>(header: [Message; N], rows: Vec<Vec<String>>, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    Ok(session.output.data(&table::whole(&session.output.catalogue.words(header), rows, session.output.width()))?)
}
