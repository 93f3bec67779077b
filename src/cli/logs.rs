//! `logs`: what services have written, each line under its service's name.

use console::{Style, pad_str};
use futures::StreamExt;

use super::arguments::LogsArguments;
use super::failure::Failure;
use super::select::{self, Unselected};
use super::session::Session;
use crate::services::{LogOptions, ServiceLogLine, logs};

/// `dpl logs`.
pub fn run(arguments: &LogsArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let manifest = project.manifest();
    let selection = select::services(manifest, &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let options = LogOptions { follow: arguments.follow, tail: arguments.tail, ..LogOptions::default() };
    let width = selection.iter().map(String::len).max().unwrap_or_default();
    let output = session.output.clone();
    session.runtime()?.block_on(async {
        let mut lines = std::pin::pin!(logs(&engine, manifest, &selection, &options));
        while let Some(line) = lines.next().await {
            let line = line?;
            if output.json {
                let text = serde_json::to_string(&line).map_err(|error| Failure::Output(error.into()))?;
                output.data(&format!("{text}\n"))?;
            } else {
                output.data(&shown(&line, width, output.color_out()))?;
            }
        }
        Ok::<(), Failure>(())
    })?;
    Ok(0)
}

/// A service keeps its colour from run to run: it comes from the name.
fn shown(line: &ServiceLogLine, width: usize, color: bool) -> String {
    let seed = line.service.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    // Colours 1 to 6 are readable on dark and on light.
    let style = Style::new().force_styling(color).color256((seed % 6 + 1) as u8);
    let name = pad_str(&line.service, width, console::Alignment::Left, None);
    format!("{} {}\n", style.apply_to(format!("{name} |")), line.text)
}
