//! `db shell`.

use super::reach::{self, WhenDown};
use super::{database, one_database};
use crate::cli::arguments::ShellArguments;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::terminal::{self, Opening};
use crate::databases::Shell;

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
    let when_down = if arguments.start { WhenDown::Start } else { WhenDown::Refuse };
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
