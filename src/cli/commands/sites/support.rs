//! `fetch --support`: what a support case needs of a site, in one tar. Each file is what a command of dpl says there; dpl itself
//! masks secrets in logs and in the configuration.

use std::io::{self, Write};
use std::path::Path;

use super::command::{SiteCommand, captured};
use super::remote;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::stdout;
use crate::fs::{Mode, Output, OutputOptions};
use crate::manifest::Site;
use crate::sites::{FetchError, facts};

/// What is asked there, and the file that has the answer.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("list.json", &["list", "--json"]),
    ("config.json", &["config", "--json"]),
    ("doctor.json", &["doctor", "--json"]),
    ("status.json", &["status", "--json"]),
    ("history.json", &["history", "--json", "--last", "200"]),
    ("backups.json", &["db", "list", "--json"]),
    ("logs.txt", &["logs", "--tail", "300", "--timestamps"]),
];

/// Asks the site, and writes the tar.
pub(super) fn run(name: &str, site: &Site, output: &Path, session: &mut Session) -> Result<u8, Failure> {
    let to_stdout = output == Path::new("-");
    if to_stdout && session.output.json {
        return Err(Failure::usage(message!("usage-support-json")));
    }
    if to_stdout {
        stdout::check().map_err(Failure::Output)?;
    }
    let remote = remote(name, site)?;
    let runtime = session.runtime()?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut summary = String::new();
    let (seen, ahead) = runtime.block_on(async {
        remote.connect_first().await?;
        facts(&remote, site.folder.clone().map(Into::into)).await
    })?;
    let mut about = serde_json::to_value(&seen).unwrap_or_default();
    about["clock_ahead_ms"] = ahead.into();
    files.push(("machine.json".to_owned(), format!("{about:#}\n").into_bytes()));
    for (file, words) in COMMANDS {
        session.output.say(&message!("support-asks", site = name, command = words.join(" ")));
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = SiteCommand::parse(&words)?;
        let what = command.at(site, session, None);
        let (code, stdout, stderr) = session.wait_for(async { captured(&remote, &what).await })?;
        summary.push_str(&format!("{code}\tdpl {}\n", words.join(" ")));
        files.push((file.to_owned(), stdout));
        if !stderr.is_empty() {
            files.push((format!("{file}.stderr"), stderr));
        }
    }
    files.push(("exit-codes.txt".to_owned(), summary.into_bytes()));
    let written = match to_stdout {
        true => write_tar(&mut io::stdout().lock(), name, &files),
        false => {
            let options = OutputOptions { mode: Mode::Private, mark: ".dpl-support-", gives_up: &|| false };
            Output::create(output, &options).and_then(|mut file| {
                write_tar(&mut file, name, &files)?;
                file.commit()
            })
        }
    };
    written.map_err(|source| FetchError::File { path: output.to_owned(), source })?;
    if !to_stdout {
        session.output.say(&message!("support-written", path = output.display(), count = files.len()));
    }
    Ok(0)
}

fn write_tar(output: &mut dyn Write, site: &str, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let now = jiff::Timestamp::now().as_second().try_into().unwrap_or_default();
    let mut tar = tar::Builder::new(output);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        tar.append_data(&mut header, format!("dpl-support-{site}/{name}"), bytes.as_slice())?;
    }
    tar.into_inner()?.flush()
}
