//! `logs`: what services have written, each line under its service's name.

use std::fmt::Write;

use clap::Args;
use console::{Style, pad_str};
use futures::{FutureExt, StreamExt};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::cli::ask::terminal::EndSignals;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::arguments::names_manifest;
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::manifest::Manifest;
use crate::manifest::model::{InvalidValue, Period};
use crate::services::{LogOptions, ServiceLogLine, ServicesError, logs};

#[derive(Debug, Args)]
pub struct LogsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Keep showing new lines, also after restarts and replacements
    #[arg(long)]
    pub follow: bool,
    /// Lines from the end of each log [default: all]
    #[arg(short = 'n', long, value_name = "LINES", value_parser = lines)]
    pub tail: Option<Tail>,
    /// Only lines since this time: 10m, 1h30m, 2026-01-31T08:00:00Z, 2026-01-31 [default: all]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only lines up to this time [default: all]
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only lines that match this regular expression [default: all]
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Show when each line was written, by the engine's clock
    #[arg(short = 't', long)]
    pub timestamps: bool,
}

impl LogsArguments {
    /// All of the logs, as nothing but targets asks for them.
    pub fn of(targets: TargetArguments) -> Self {
        Self { targets, follow: false, tail: None, since: None, until: None, grep: None, timestamps: false }
    }
}

/// How many lines from a log's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    All,
    Lines(u64),
}

impl Tail {
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::All => None,
            Self::Lines(count) => Some(count),
        }
    }
}

fn lines(text: &str) -> Result<Tail, InvalidValue> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Lines).map_err(|_| InvalidValue(message!("expected-lines"))),
    }
}

/// Lines that are ready are written together, up to so many bytes.
const TOGETHER: usize = 64 << 10;

/// `dpl logs`: 0; 1 where a log could not be read; 130 after Ctrl-C.
pub fn run(arguments: &LogsArguments, session: &mut Session) -> Result<u8, Failure> {
    // `docker logs -f` follows; here `-f` names the manifest.
    if let Some(named) = session.global.manifest.as_deref().filter(|named| !named.exists())
        && !names_manifest(&named.to_string_lossy())
    {
        let headline = message!("usage-f-is-manifest", path = named.display());
        let hint = message!("hint-logs-follow", targets = named.display());
        return Err(Failure::usage_with_hint(headline, hint));
    }
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let manifest = project.manifest();
    let selection = select::services(manifest, &selectors, Unselected::All)?;
    let pattern = arguments.grep.as_deref().map(pattern).transpose()?;
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let moment = |flag: &str, text: &Option<String>| match text {
        Some(text) => moment(flag, text, runtime.block_on(engine.facts())?.now()).map(Some),
        None => Ok(None),
    };
    let options = LogOptions {
        follow: arguments.follow,
        tail: arguments.tail.and_then(Tail::limit),
        since: moment("--since", &arguments.since)?,
        until: moment("--until", &arguments.until)?,
        pattern,
    };
    let output = session.output.clone();
    let page = Page::of(manifest, &selection, arguments.timestamps, &output);
    let end_of_look = session.end_of_look();
    runtime.block_on(async {
        let mut end = EndSignals::watch_unless(end_of_look).map_err(Failure::Terminal)?;
        let mut lines = std::pin::pin!(logs(&engine, manifest, &selection, &options));
        let mut code = 0;
        let mut text = String::new();
        loop {
            // While more is ready it is written together; before anything is waited for, it is out.
            let next = match lines.next().now_or_never() {
                Some(next) if text.len() < TOGETHER => next,
                next => {
                    output.data(&std::mem::take(&mut text))?;
                    match next {
                        Some(next) => next,
                        None => tokio::select! {
                            next = lines.next() => next,
                            () = end.asked() => return Ok(130),
                        },
                    }
                }
            };
            match next {
                Some(Ok(line)) => page.write(&line, &mut text)?,
                // One log that can't be read takes none of the others away.
                Some(Err(error @ ServicesError::Log { .. })) if selection.len() > 1 => {
                    output.data(&std::mem::take(&mut text))?;
                    code = Failure::from(error).show(&output);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    output.data(&text)?;
                    return Ok(code);
                }
            }
        }
    })
}

fn pattern(text: &str) -> Result<Regex, Failure> {
    Regex::new(text).map_err(|error| Failure::usage(message!("usage-flag-value", flag = "--grep", why = error)))
}

/// A moment as it is typed: so long ago (`10m`, `1h30m`), RFC 3339, or a date with or without a time in this machine's
/// time zone.
fn moment(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(period) = text.parse::<Period>() {
        let ago = SignedDuration::try_from(period.0).unwrap_or(SignedDuration::MAX);
        return Ok(now.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<DateTime>().ok().and_then(|time| time.to_zoned(TimeZone::system()).ok());
    local.map(|time| time.timestamp()).ok_or_else(|| {
        Failure::usage_with_hint(message!("usage-no-moment", flag = flag, text = text), message!("hint-moment"))
    })
}

/// How lines are shown.
struct Page<'a> {
    manifest: &'a Manifest,
    width: usize,
    timestamps: bool,
    output: &'a Output,
}

impl<'a> Page<'a> {
    fn of(manifest: &'a Manifest, selection: &[String], timestamps: bool, output: &'a Output) -> Self {
        let mut page = Self { manifest, width: 0, timestamps, output };
        let names =
            selection.iter().map(|name| page.name(name, manifest.services.get(name).map_or(1, |s| s.replicas())));
        page.width = names.map(|name| console::measure_text_width(&name)).max().unwrap_or_default();
        page
    }

    /// With its number where there are several.
    fn name(&self, service: &str, number: u32) -> String {
        match self.manifest.services.get(service) {
            Some(scaled) if scaled.replicas() > 1 => format!("{service}-{number}"),
            _ => service.to_owned(),
        }
    }

    fn write(&self, line: &ServiceLogLine, text: &mut String) -> Result<(), Failure> {
        if self.output.json {
            text.push_str(&serde_json::to_string(line).map_err(|error| Failure::Output(error.into()))?);
            text.push('\n');
            return Ok(());
        }
        let name = self.name(&line.service, line.number);
        let label = format!("{} |", pad_str(&name, self.width, console::Alignment::Left, None));
        let _ = write!(text, "{} ", colour(&line.service, self.output.color_out()).apply_to(label));
        if let (true, Some(time)) = (self.timestamps, line.time) {
            let _ = write!(text, "{time:.3} ");
        }
        text.push_str(&line.text);
        text.push('\n');
        Ok(())
    }
}

/// A service keeps its colour from run to run: it comes from the name.
fn colour(service: &str, color: bool) -> Style {
    let seed = service.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    // Colours 1 to 6 are readable on dark and on light.
    Style::new().force_styling(color).color256((seed % 6 + 1) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_periods_times_and_dates() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let at = |text: &str| moment("--since", text, now).unwrap();
        assert_eq!(at("1h30m"), "2026-01-31T10:30:00Z".parse().unwrap());
        assert_eq!(at("2026-01-01T08:00:00+08:00"), "2026-01-01T00:00:00Z".parse().unwrap());
        let midnight: DateTime = "2026-01-01T00:00:00".parse().unwrap();
        assert_eq!(at("2026-01-01"), midnight.to_zoned(TimeZone::system()).unwrap().timestamp());
        assert!(moment("--since", "yesterday", now).is_err());
    }

    #[test]
    fn so_many_lines_or_all_of_them() {
        assert!(matches!(lines("all"), Ok(Tail::All)));
        assert!(matches!(lines("5"), Ok(Tail::Lines(5))));
        assert!(lines("-1").is_err() && lines("").is_err());
    }

    #[test]
    fn a_service_keeps_its_colour() {
        let painted = |name: &str| colour(name, true).apply_to("x").to_string();
        assert_eq!(painted("redis"), painted("redis"));
        assert_ne!(painted("redis"), painted("postgres"));
        assert_eq!(colour("redis", false).apply_to("x").to_string(), "x");
    }
}
