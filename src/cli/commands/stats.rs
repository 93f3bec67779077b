//! `stats`: what services use, once or again and again.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use crate::catalogue::Catalogue;
use crate::cli::ask::watch;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
use crate::services::{ContainerStats, StatsReport, stats};

#[derive(Debug, Args)]
pub struct StatsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Measure once and exit
    #[arg(long)]
    pub no_stream: bool,
}

/// Behind each look, which takes the engine a second or two by itself.
const AGAIN: Duration = Duration::from_millis(200);

/// `dpl stats`: until Ctrl-C, and then 130; once with `--no-stream`, `--json`, or without a terminal.
pub fn run(arguments: &StatsArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let selection = select::services(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let (runtime, output, manifest) = (session.runtime()?, &session.output, project.manifest());
    if !arguments.no_stream && !output.json && std::io::stdout().is_terminal() {
        return runtime.block_on(watch::run(output, AGAIN, async || {
            Ok(draw(&stats(&engine, manifest, &selection).await?, output.catalogue, output.width()))
        }));
    }
    let report = runtime.block_on(stats(&engine, manifest, &selection))?;
    match output.json {
        true => output.document(&report)?,
        false => output.data(&draw(&report, output.catalogue, output.width()))?,
    }
    Ok(0)
}

fn draw(report: &StatsReport, catalogue: &Catalogue, width: Option<usize>) -> String {
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-number")).right(),
        title(message!("column-container")).at_least(10),
        title(message!("column-cpu")).right(),
        title(message!("column-memory")).right(),
        title(message!("column-limit")).right().leaves(2),
        title(message!("column-memory-share")).right().leaves(1),
        title(message!("column-net-in")).right().leaves(4),
        title(message!("column-net-out")).right().leaves(4),
        title(message!("column-disk-read")).right().leaves(5),
        title(message!("column-disk-written")).right().leaves(5),
        title(message!("column-processes")).right().leaves(3),
    ];
    let rows: Vec<Vec<String>> = report.containers.iter().map(row).collect();
    table::fitted(&columns, &rows, width)
}

fn row(container: &ContainerStats) -> Vec<String> {
    let mut row = vec![container.index.to_string(), container.name.clone()];
    let Some(usage) = &container.usage else {
        row.push("-".to_owned());
        return row;
    };
    let of = usage.memory_limit_bytes as f64;
    row.extend([
        format!("{:.1} %", usage.cpu_percent),
        table::size(usage.memory_bytes),
        table::size(usage.memory_limit_bytes),
        if of > 0.0 { format!("{:.1} %", usage.memory_bytes as f64 / of * 100.0) } else { String::new() },
        table::size(usage.received_bytes),
        table::size(usage.sent_bytes),
        table::size(usage.read_bytes),
        table::size(usage.written_bytes),
        usage.pids.to_string(),
    ]);
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;
    use crate::services::Usage;

    #[test]
    fn the_table_fits_80_columns_and_shows_what_does_not_run() {
        let usage = Usage {
            cpu_percent: 153.26,
            memory_bytes: 734_003_200,
            memory_limit_bytes: 1_468_006_400,
            received_bytes: 1_200,
            sent_bytes: 27_300_000,
            read_bytes: 4_096,
            written_bytes: 0,
            pids: 42,
        };
        let container = |index, name: &str, usage| ContainerStats {
            index,
            name: name.to_owned(),
            usage,
            ..ContainerStats::default()
        };
        let report = StatsReport {
            project: "p".to_owned(),
            containers: vec![
                container(1, "danganju-档案接口-1", Some(usage)),
                container(25, "danganju-metis_worker_gpu-1", None),
            ],
        };
        let pages = [Language::English, Language::Chinese]
            .map(|language| [120, 80].map(|width| draw(&report, Catalogue::of(language), Some(width))).join("\n"));
        insta::assert_snapshot!(pages.join("\n"));
    }
}
