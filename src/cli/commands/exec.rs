//! `exec`: a command in a service's container, with a real terminal where there is one.

use clap::Args;

use crate::cli::ask::terminal;
use crate::cli::grammar::values::number_from;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::engine::ExecSpec;
use crate::manifest::{Choices, Manifest};
use crate::services::serving_container;

#[derive(Debug, Args)]
pub struct ExecArguments {
    /// Do not allocate a terminal for the command
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// The user that runs the command [default: the image's user]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The working directory [default: the image's]
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// An environment variable (NAME=VALUE, or NAME to pass the one from here); can be repeated [default: none]
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// The container of a scaled service, counted from 1 [default: the first that runs]
    #[arg(long, value_name = "N", value_parser = number_from(1_u32))]
    pub index: Option<u32>,
    /// The service, by name or number; give the manifest with -f before it
    pub service: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `dpl exec`: ends with the command's own exit code.
pub fn run(arguments: &ExecArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let service = one_service(project.manifest(), &arguments.service)?;
    if session.global.dry_run {
        let command = shell_words::join(&arguments.command);
        session.output.say(&message!("would-exec", service = service, command = command));
        return Ok(0);
    }
    let engine = session.engine()?;
    let environment = arguments.env.iter().map(|pair| assignment(pair)).collect::<Result<Vec<_>, _>>()?;
    let (container, ended) = session.runtime()?.block_on(async {
        let container = serving_container(&engine, project.manifest(), &service, arguments.index).await?;
        let spec = ExecSpec {
            command: arguments.command.clone(),
            environment: environment.into_iter().flatten().collect(),
            user: arguments.user.clone(),
            working_dir: arguments.workdir.clone(),
            stdin: true,
            tty: !arguments.no_tty && terminal::is_interactive(),
            size: None,
        };
        let ended = terminal::interact(&engine, &container.id, spec).await;
        Ok::<_, Failure>((container.name, ended))
    })?;
    match ended {
        // Nothing was begun that could be finished, and nothing here can end what runs in there.
        Err(interrupted @ Failure::Interrupted) => {
            session.output.say(&message!("exec-goes-on", container = container));
            Ok(interrupted.exit_code())
        }
        ended => ended,
    }
}

/// The one service that a selector chooses.
fn one_service(manifest: &Manifest, selector: &str) -> Result<String, Failure> {
    let mut chosen = Choices::services(manifest).select(&[selector.to_owned()])?.into_names();
    match (chosen.pop(), chosen.is_empty()) {
        (Some(service), true) => Ok(service),
        _ => Err(Failure::usage_with_hint(
            message!("usage-several-services", selector = selector),
            message!("hint-one-service"),
        )),
    }
}

/// `NAME=VALUE`, or `NAME` with the value that it has here; `None` where it has none here.
fn assignment(pair: &str) -> Result<Option<String>, Failure> {
    match pair.split_once('=') {
        Some(("", _)) => Err(Failure::usage(message!("usage-no-variable", pair = pair))),
        Some(_) => Ok(Some(pair.to_owned())),
        None => Ok(std::env::var(pair).ok().map(|value| format!("{pair}={value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_given_or_taken_from_here() {
        assert_eq!(assignment("A=b=c").unwrap().as_deref(), Some("A=b=c"));
        assert_eq!(assignment("A=").unwrap().as_deref(), Some("A="));
        assert_eq!(assignment("DPL_TEST_NO_SUCH_VARIABLE").unwrap(), None);
        assert!(assignment("=x").is_err());
    }
}
