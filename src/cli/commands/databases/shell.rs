//! `db shell`.

use clap::Args;

use super::chosen::{database, one_database};
use super::reach::{self, WhenDown};
use crate::cli::ask::terminal::{self, Opening};
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::databases::Shell;

#[derive(Debug, Args)]
pub struct ShellArguments {
    /// The database, by name or number, and a manifest (.json)
    #[arg(required = true, num_args = 1..=2)]
    pub database: Vec<String>,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

/// `dpl db shell`: ends with psql's own exit code.
pub fn run(arguments: &ShellArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, words) = session.targets(&arguments.database)?;
    let [word] = words.as_slice() else {
        let hint = message!("hint-one-shell");
        return Err(Failure::usage_with_hint(message!("usage-one-shell"), hint));
    };
    let name = one_database(&project, word, "db shell")?;
    if session.global.dry_run {
        session.output.say(&message!("would-shell", database = &name));
        return Ok(0);
    }
    if !terminal::is_interactive() {
        let hint = message!("hint-shell-elsewhere", name = &name);
        return Err(Failure::usage_with_hint(message!("usage-shell-terminal"), hint));
    }
    let database = database(&project, &name)?;
    let when_down = WhenDown::of(arguments.start);
    let server = reach::reach_to_look(session, &project, database, when_down)?;
    let engine = session.engine()?;
    session.runtime()?.block_on(async {
        let shell = Shell::open(&server, &name).await?;
        let opening = Opening { mark: &shell.mark, answer: shell.first_line() };
        let ended = terminal::interact_after(opening, &engine, shell.container(), shell.spec.clone()).await;
        shell.end().await;
        ended
    })
}
