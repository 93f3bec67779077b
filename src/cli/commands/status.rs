//! `status`: what runs, and how well.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::catalogue::Catalogue;
use crate::cli::ask::watch;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column};
use crate::engine::Engine;
use crate::manifest::Manifest;
use crate::services::{ContainerStatus, ServiceStatus, StatusReport, Usage, add_usage, status};

#[derive(Debug, Args)]
pub struct StatusArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Also show CPU and memory use (takes a second or two)
    #[arg(long)]
    pub stats: bool,
    /// One table for each group
    #[arg(long)]
    pub by_group: bool,
    /// Refresh every two seconds until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// So often `--watch` looks again.
const AGAIN: Duration = Duration::from_secs(2);

/// `dpl status`; with `--watch` until Ctrl-C, and then 130.
pub fn run(arguments: &StatusArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let selection = select::services(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let (runtime, output) = (session.runtime()?, session.output.clone());
    let output = &output;
    let manifest = project.manifest();
    if arguments.watch {
        watch::refuse_json(output)?;
        return runtime.block_on(watch::run(output, AGAIN, async || {
            let report = look(&engine, manifest, &selection, arguments.stats).await?;
            Ok(page(&report, arguments, engine.now().await?, output))
        }));
    }
    let report = session.wait_for(look(&engine, manifest, &selection, arguments.stats))?;
    if output.json {
        output.document(&report)?;
        return Ok(0);
    }
    let now = runtime.block_on(engine.now())?;
    output.data(&page(&report, arguments, now, output))?;
    session.tell_other_folders(&report.other_folders);
    for orphan in &report.orphans {
        output.warn(&message!("status-orphan", container = &orphan.name));
    }
    Ok(0)
}

async fn look(
    engine: &Engine,
    manifest: &Manifest,
    selection: &[String],
    with_usage: bool,
) -> Result<StatusReport, Failure> {
    let mut report = status(engine, manifest, selection).await?;
    if with_usage {
        add_usage(engine, &mut report).await?;
    }
    Ok(report)
}

fn page(report: &StatusReport, arguments: &StatusArguments, now: Timestamp, output: &Output) -> String {
    let drawing = Drawing { catalogue: output.catalogue, now, paint: &|tone, text| output.paint(tone, text) };
    drawing.draw(report, arguments.by_group, output.width())
}
/// Where the state stands in a row of [`Drawing::choice_row`].
pub const STATE: usize = 2;

/// What the state means; the word says the same.
fn tone(service: &ServiceStatus) -> Tone {
    match (service.state.as_str(), service.health.as_str()) {
        (_, "unhealthy") | ("restarting" | "dead", _) => Tone::Bad,
        ("running", "starting") | ("partial" | "paused" | "foreign", _) => Tone::Attention,
        ("running", _) => Tone::Good,
        ("exited", _) if exit(service).is_some_and(|(code, _)| code != 0) => Tone::Bad,
        _ => Tone::Quiet,
    }
}

/// The containers that serve; those that were kept beside them are in the document only.
fn serving(service: &ServiceStatus) -> impl Iterator<Item = &ContainerStatus> {
    service.containers.iter().filter(|container| container.role == "main")
}

/// How the first container that ended did so, and whether for want of memory.
fn exit(service: &ServiceStatus) -> Option<(i64, bool)> {
    serving(service).find_map(|container| Some((container.exit_code?, container.oom_killed)))
}

/// How the table is drawn.
pub struct Drawing<'a> {
    pub catalogue: &'a Catalogue,
    pub now: Timestamp,
    pub paint: &'a dyn Fn(Tone, &str) -> String,
}

impl Drawing<'_> {
    fn draw(&self, report: &StatusReport, by_group: bool, width: Option<usize>) -> String {
        if !by_group {
            return self.table(&report.services.iter().collect::<Vec<_>>(), width);
        }
        // A service that is in several groups stands in each: that is what its groups are for.
        let mut groups: Vec<Option<&str>> = Vec::new();
        for service in &report.services {
            let of: Vec<Option<&str>> = match service.groups.is_empty() {
                true => vec![None],
                false => service.groups.iter().map(|group| Some(group.as_str())).collect(),
            };
            for group in of {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        // Those without one come last.
        groups.sort_by_key(Option::is_none);
        let pages = groups.into_iter().map(|group| {
            let is_in = |service: &&ServiceStatus| match group {
                Some(group) => service.groups.iter().any(|name| name == group),
                None => service.groups.is_empty(),
            };
            let members: Vec<&ServiceStatus> = report.services.iter().filter(is_in).collect();
            let well = members.iter().filter(|service| tone(service) == Tone::Good).count();
            let title = group.map_or_else(|| "-".to_owned(), |group| format!("@{group}"));
            format!("{title} {well}/{}\n{}", members.len(), self.table(&members, width))
        });
        pages.collect::<Vec<_>>().join("\n")
    }

    fn table(&self, services: &[&ServiceStatus], width: Option<usize>) -> String {
        let title = |key| Column::new(self.catalogue.word(key));
        let columns = [
            title(message!("column-number")).right(),
            title(message!("column-service")).at_least(8).cut_late(),
            title(message!("column-image")).at_least(8).leaves(3),
            title(message!("column-id")).leaves(7),
            title(message!("column-state")).at_last_resort(10),
            title(message!("column-since")).leaves(2),
            // An address without its port says nothing: whole, or not at all.
            title(message!("column-ports")).leaves(5),
            title(message!("column-drift")).at_least(5).leaves(1),
            title(message!("column-restarts")).right().leaves(4),
            title(message!("column-cpu")).right().leaves(0),
            title(message!("column-memory")).right().leaves(0),
        ];
        let rows: Vec<Vec<String>> = services.iter().map(|service| self.row(service)).collect();
        table::fitted(&columns, &rows, width)
    }

    /// The columns of the menu's list: what a choice needs to know, and short.
    pub fn choice_columns(&self) -> Vec<Column> {
        let title = |key| Column::new(self.catalogue.word(key));
        vec![
            title(message!("column-number")).right(),
            title(message!("column-service")).at_least(8).cut_late(),
            title(message!("column-state")).at_least(7),
            title(message!("column-drift")).at_least(5),
            title(message!("column-image")).at_least(8).leaves(1),
        ]
    }

    /// A service in those columns.
    pub fn choice_row(&self, service: &ServiceStatus) -> Vec<String> {
        let state = match (service.state.as_str(), service.health.as_str()) {
            // Only what runs is well or unwell.
            ("running", health) if health != "none" => self.health(health).to_owned(),
            _ => self.state(service),
        };
        vec![
            service.index.to_string(),
            service.name.clone(),
            (self.paint)(tone(service), &state),
            self.drift(service),
            service.image.clone(),
        ]
    }

    fn row(&self, service: &ServiceStatus) -> Vec<String> {
        let paint = self.paint;
        let image_id = serving(service).next().map(|container| container.image_id.as_str()).unwrap_or_default();
        let short = image_id.trim_start_matches("sha256:").get(..12).unwrap_or_default();
        let ports: Vec<&str> =
            serving(service).flat_map(|container| &container.ports).map(|port| short_port(port)).collect();
        let restarts: u64 = serving(service).map(|container| container.restarts).sum();
        let usages: Vec<Usage> = serving(service).filter_map(|container| container.usage).collect();
        let sum = |of: fn(&Usage) -> u64| usages.iter().map(of).sum::<u64>();
        let when_used = |text: String| if usages.is_empty() { String::new() } else { text };
        vec![
            service.index.to_string(),
            service.name.clone(),
            service.image.clone(),
            paint(Tone::Quiet, short),
            paint(tone(service), &self.state(service)),
            self.since(service),
            ports.join(" "),
            self.drift(service),
            match restarts {
                0 => String::new(),
                restarts => paint(Tone::Attention, &restarts.to_string()),
            },
            when_used(format!("{:.1} %", usages.iter().map(|usage| usage.cpu_percent).sum::<f64>())),
            when_used(table::size(sum(|usage| usage.memory_bytes))),
        ]
    }

    fn drift(&self, service: &ServiceStatus) -> String {
        if service.drift.is_empty() {
            return String::new();
        }
        let word = |field: &String| match field.as_str() {
            "replacement" => self.catalogue.word(message!("drift-replacement")).to_owned(),
            "environment (unreadable)" => self.catalogue.word(message!("drift-unreadable")).to_owned(),
            // A key of the manifest.
            _ => field.clone(),
        };
        (self.paint)(Tone::Attention, &service.drift.iter().map(word).collect::<Vec<_>>().join(","))
    }

    /// The state in words: `healthy`, `running`, `exited 137 (out of memory)`, `2 of 3 running`.
    fn state(&self, service: &ServiceStatus) -> String {
        let message = match (service.state.as_str(), service.health.as_str()) {
            ("running", "none") => message!("state-running"),
            ("running", health) => message!("state-running-health", health = self.health(health)),
            ("partial", _) => {
                message!("state-partial", running = service.running, wanted = service.wanted)
            }
            ("exited", _) => match exit(service) {
                Some((code, true)) => message!("state-out-of-memory", code = code),
                Some((code, false)) => message!("state-exited-code", code = code),
                None => message!("state-exited"),
            },
            ("none", _) => message!("state-none"),
            ("missing", _) => message!("state-missing"),
            ("foreign", _) => message!("state-foreign"),
            ("created", _) => message!("state-created"),
            ("paused", _) => message!("state-paused"),
            ("restarting", _) => message!("state-restarting"),
            ("removing", _) => message!("state-removing"),
            ("dead", _) => message!("state-dead"),
            // One that only a later engine knows.
            (state, _) => return state.to_owned(),
        };
        self.catalogue.text(&message)
    }

    fn health<'h>(&self, health: &'h str) -> &'h str {
        match health {
            "starting" => self.catalogue.word(message!("health-starting")),
            "healthy" => self.catalogue.word(message!("health-healthy")),
            "unhealthy" => self.catalogue.word(message!("health-unhealthy")),
            health => health,
        }
    }

    fn since(&self, service: &ServiceStatus) -> String {
        let since = service.since.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        since.map_or_else(String::new, |since| {
            self.catalogue.ago(self.now.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs())
        })
    }
}

/// `8080->80/tcp` where it is open to all addresses and to tcp, as nearly all are.
fn short_port(port: &str) -> &str {
    port.strip_prefix("0.0.0.0:").unwrap_or(port).trim_end_matches("/tcp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;

    fn service(index: usize, name: &str, group: &str, state: &str, health: &str) -> ServiceStatus {
        let container = ContainerStatus {
            role: "main".to_owned(),
            image_id: "sha256:0123456789abcdef0123456789abcdef".to_owned(),
            exit_code: (state == "exited").then_some(137),
            oom_killed: state == "exited",
            restarts: if state == "restarting" { 12 } else { 0 },
            ports: vec!["127.0.0.1:5432->5432/tcp".to_owned(), "0.0.0.0:80->8080/tcp".to_owned()],
            usage: (state == "running").then_some(Usage {
                cpu_percent: 12.34,
                memory_bytes: 123_000_000,
                ..Usage::default()
            }),
            ..ContainerStatus::default()
        };
        ServiceStatus {
            index,
            name: name.to_owned(),
            groups: if group.is_empty() { vec![] } else { vec![group.to_owned()] },
            image: format!("expert/{name}:v2.2.0"),
            state: state.to_owned(),
            health: health.to_owned(),
            drift: if index == 2 { vec!["image".to_owned(), "environment.LEVEL".to_owned()] } else { vec![] },
            since: Some("2026-01-31T08:00:00Z".to_owned()),
            running: 2,
            wanted: 3,
            containers: if state == "missing" { vec![] } else { vec![container] },
            namesakes: Vec::new(),
        }
    }

    fn report() -> StatusReport {
        StatusReport {
            project: "danganju".to_owned(),
            services: vec![
                service(1, "postgres", "platform", "running", "healthy"),
                service(2, "档案管理接口服务", "expert", "running", "starting"),
                service(17, "metis_worker_manager", "metis", "exited", "none"),
                service(18, "识别", "expert", "restarting", "none"),
                service(24, "worker", "metis", "partial", "none"),
                service(25, "metis_worker_gpu", "", "missing", "none"),
            ],
            orphans: vec![],
            other_folders: vec![],
        }
    }

    fn drawing(language: Language) -> Drawing<'static> {
        let now = "2026-01-31T11:20:00Z".parse().unwrap();
        Drawing { catalogue: Catalogue::of(language), now, paint: &|_, text| text.to_owned() }
    }

    fn drawn(language: Language, by_group: bool, width: usize) -> String {
        let text = drawing(language).draw(&report(), by_group, Some(width));
        for line in text.lines() {
            assert!(console::measure_text_width(line) <= width, "{line}");
        }
        text
    }

    #[test]
    fn what_a_failed_container_did_is_not_said_of_the_service() {
        let mut service = service(1, "postgres", "platform", "running", "healthy");
        let failed = ContainerStatus {
            role: "failed".to_owned(),
            restarts: 4,
            ports: vec!["0.0.0.0:99->99/tcp".to_owned()],
            ..ContainerStatus::default()
        };
        service.containers.push(failed);
        let report = StatusReport { services: vec![service], ..report() };
        let text = drawing(Language::English).draw(&report, false, None);
        assert!(!text.contains("RESTARTS") && !text.contains("99->99"), "{text}");
    }

    #[test]
    fn ports_are_shown_whole_or_not_at_all() {
        for width in 40..160 {
            let text = drawing(Language::English).draw(&report(), false, Some(width));
            assert!(!text.contains("PORTS") || text.contains("127.0.0.1:5432->5432 80->8080"), "{width}:\n{text}");
        }
    }

    #[test]
    fn drift_that_is_no_key_of_the_manifest_is_said_in_the_language() {
        let drift = ["image", "replacement", "environment (unreadable)"].map(str::to_owned).to_vec();
        let service = ServiceStatus { drift, ..service(1, "postgres", "platform", "running", "healthy") };
        let said = Language::ALL.map(|language| drawing(language).drift(&service));
        assert_eq!(said, ["image,replacement,environment (unreadable)", "image,替换未完成,environment（无法读取）"]);
    }

    #[test]
    fn at_120_columns_images_are_cut_and_names_are_not() {
        for (language, by_group) in [(Language::English, false), (Language::English, true), (Language::Chinese, false)]
        {
            let text = drawn(language, by_group, 120);
            assert!(text.contains("metis_worker_manager ") && text.contains('…'), "{text}");
        }
    }

    #[test]
    fn the_table_fits_60_columns() {
        insta::assert_snapshot!(drawn(Language::English, false, 60));
    }

    #[test]
    fn the_table_fits_80_columns() {
        insta::assert_snapshot!(drawn(Language::English, false, 80));
    }

    #[test]
    fn the_table_fits_120_columns_by_group() {
        insta::assert_snapshot!(drawn(Language::English, true, 120));
    }

    #[test]
    fn the_chinese_table_fits_40_60_80_and_120_columns() {
        let pages = [40, 60, 80, 120].map(|width| drawn(Language::Chinese, false, width));
        insta::assert_snapshot!(pages.join("\n"));
    }

    #[test]
    fn the_table_fits_40_60_80_and_120_columns_with_and_without_groups() {
        for (language, width) in table::every_width() {
            for by_group in [false, true] {
                drawn(language, by_group, width);
            }
        }
    }

    #[test]
    fn colours_never_stand_alone() {
        for language in [Language::English, Language::Chinese] {
            let drawing = drawing(language);
            let words = |service: &ServiceStatus| (tone(service), drawing.state(service));
            let report = report();
            let all: Vec<(Tone, String)> = report.services.iter().map(words).collect();
            for (place, (tone, word)) in all.iter().enumerate() {
                assert!(all[..place].iter().all(|(other, said)| other == tone || said != word), "{word}");
            }
        }
    }
}
