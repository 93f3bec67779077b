//! What dpl writes down about its own work when it is asked to: `DPL_LOG=debug`, to standard error or `DPL_LOG_FILE`.
//!
//! Calls to the engine with method, path, outcome and time; connections; stages. Never bodies, nor environment values.

use std::env;
use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::text::failure::Failure;

/// Begins the log, where `DPL_LOG` asks for one.
pub fn begin() -> Result<(), Failure> {
    let Some(level) = env::var("DPL_LOG").ok().filter(|level| !level.is_empty()) else {
        return Ok(());
    };
    let level: LevelFilter =
        level.parse().map_err(|_| Failure::usage(message!("usage-bad-log-level", level = level)))?;
    let writer = match env::var_os("DPL_LOG_FILE").filter(|path| !path.is_empty()) {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(|error| {
                let path = path.to_string_lossy();
                Failure::Output(io::Error::new(error.kind(), format!("DPL_LOG_FILE: can't write {path}: {error}")))
            })?;
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(io::stderr),
    };
    // Our own work alone: libraries would write down bodies, and with them secrets.
    let ours = Targets::new().with_target("dpl", level);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).with_filter(ours);
    // Tests call this more than once in a process; the first one counts.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}
