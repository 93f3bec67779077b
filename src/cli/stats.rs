//! `stats`: what services use, once or again and again.

use std::io::IsTerminal;
use std::time::Duration;

use super::arguments::StatsArguments;
use super::failure::Failure;
use super::select::{self, Unselected};
use super::session::Session;
use super::table::{self, Column};
use super::watch;
use crate::services::{ContainerStats, StatsReport, stats};

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
            Ok(draw(&stats(&engine, manifest, &selection).await?, output.width()))
        }));
    }
    let report = runtime.block_on(stats(&engine, manifest, &selection))?;
    match output.json {
        true => output.document(&report)?,
        false => output.data(&draw(&report, output.width()))?,
    }
    Ok(0)
}

fn draw(report: &StatsReport, width: Option<usize>) -> String {
    let columns = [
        Column::new("NO").right(),
        Column::new("CONTAINER").at_least(10),
        Column::new("CPU").right(),
        Column::new("MEMORY").right(),
        Column::new("LIMIT").right().leaves(2),
        Column::new("MEM %").right().leaves(1),
        Column::new("NET IN").right().leaves(4),
        Column::new("NET OUT").right().leaves(4),
        Column::new("DISK READ").right().leaves(5),
        Column::new("WRITTEN").right().leaves(5),
        Column::new("PIDS").right().leaves(3),
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
        insta::assert_snapshot!(format!("{}\n{}", draw(&report, Some(120)), draw(&report, Some(80))));
    }
}
