//! A person's own statements: told apart, run with `db sql`, or typed at psql with `db shell`.

pub(super) mod query;
pub(super) mod shell;
pub(super) mod statements;
