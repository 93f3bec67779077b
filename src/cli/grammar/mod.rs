//! The grammar of the command line: what several commands take, help and manual, completion, and what is said of words that make
//! no sense. The commands' own arguments stand beside their code; the whole grammar is handed to what is here.

pub(super) mod arguments;
pub(super) mod completion;
pub(super) mod help;
pub(super) mod typed;
pub(super) mod usage;
pub(super) mod values;
