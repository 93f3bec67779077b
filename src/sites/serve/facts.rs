//! What `dpl sites --check` asks of a site.

use std::fs;
use std::path::Path;

use super::logind;
use crate::engine::{Address, Engine};
use crate::report::Message;
use crate::sites::error::in_one_line;
use crate::sites::inventory::free_bytes;
use crate::sites::protocol::{EngineFacts, Facts, Sentence};

pub(super) async fn look(folder: Option<&Path>) -> Facts {
    let uname = rustix::system::uname();
    let mut facts = Facts {
        user: rustix::process::getuid().as_raw().to_string(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        kills_user_processes: logind::ends_what_outlives_its_login(),
        // What was asked for stands here where something else was run (sshd_config(5), ForceCommand).
        forced_command: std::env::var_os("SSH_ORIGINAL_COMMAND").is_some(),
        program: own_path(),
        ..Facts::default()
    };
    if let Some(folder) = folder {
        facts.folder_free = free_bytes(folder);
        facts.folder_problem = folder_problem(folder).map(|why| Sentence::from(&why));
    }
    match engine().await {
        Ok((engine, root)) => {
            facts.engine = Some(engine);
            facts.engine_free = free_bytes(&root);
        }
        Err(why) => facts.engine_problem = Some(Sentence::from(&why)),
    }
    facts
}

async fn engine() -> Result<(EngineFacts, std::path::PathBuf), Message> {
    let address = Address::resolve(None).map_err(|error| in_one_line(&error))?;
    let engine = Engine::connect(address).await.map_err(|error| in_one_line(&error))?;
    let facts = engine.facts().await.map_err(|error| in_one_line(&error))?;
    Ok((EngineFacts { version: facts.version.clone(), store: facts.storage_driver.clone() }, facts.root_dir.clone()))
}

fn folder_problem(folder: &Path) -> Option<Message> {
    match fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(message!("words", text = error)),
        Ok(metadata) if !metadata.is_dir() => Some(message!("serve-not-a-folder")),
        Ok(_) => rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
            .err()
            .map(|error| message!("words", text = std::io::Error::from(error))),
    }
}

/// Where this program lies. The kernel says so in the name when another desk has put the same program in its place meanwhile.
fn own_path() -> String {
    let path = fs::read_link("/proc/self/exe").map(|path| path.display().to_string()).unwrap_or_default();
    path.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(path)
}
