//! The logs of several services: merged in time order, or as they come while following.

mod follow;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::{ContainerSummary, Engine, LogQuery, LogSource};
use crate::manifest::Manifest;
use crate::services::container::environment::Inputs;
use crate::services::container::labels;
use crate::services::container::log_lines::{Line, Lines};
use crate::services::error::ServicesError;
use crate::services::snapshot::observed::Role;
use crate::services::snapshot::ownership::own_containers;

/// Which part of the logs is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Goes on as lines come, through restarts and replacements, and with services that start later.
    pub follow: bool,
    /// Lines from each container's end; all where `None`.
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only lines that match. `tail` counts all lines, as the engine does.
    pub pattern: Option<Regex>,
}

/// A line of a service's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServiceLogLine {
    pub service: String,
    /// Which of the service's containers, from 1.
    pub number: u32,
    /// RFC 3339, by the engine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub time: Option<Timestamp>,
    /// `stdout` or `stderr`; a container with a terminal has only `stdout`.
    pub source: &'static str,
    pub text: String,
}

type LineStream = Pin<Box<dyn Stream<Item = Result<ServiceLogLine, ServicesError>> + Send>>;

/// The chosen services' lines. A service without a container has none. An error of one service's log is an item like any
/// other, behind which the others' lines go on.
pub fn logs(
    engine: &Engine,
    manifest: &Manifest,
    selection: &[String],
    options: &LogOptions,
) -> impl Stream<Item = Result<ServiceLogLine, ServicesError>> + Send + use<> {
    let chosen = Chosen::of(engine, manifest, selection, options);
    let pattern = options.pattern.clone();
    let lines: LineStream = match options.follow {
        true => follow::follow(chosen),
        false => Box::pin(stream::once(async move { chosen.history().await }).try_flatten()),
    };
    lines.try_filter(move |line| {
        futures::future::ready(pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.text)))
    })
}

/// What is wanted of whom.
struct Chosen {
    engine: Engine,
    manifest: Arc<Manifest>,
    /// Service → its secrets, which are masked.
    services: BTreeMap<String, Arc<[String]>>,
    unknown: Option<String>,
    options: LogOptions,
}

/// A container whose log is read.
#[derive(Debug, Clone)]
struct Source {
    id: String,
    service: String,
    number: u32,
    is_running: bool,
    secrets: Arc<[String]>,
}

impl Chosen {
    fn of(engine: &Engine, manifest: &Manifest, selection: &[String], options: &LogOptions) -> Self {
        let services = selection.iter().filter_map(|name| {
            let service = manifest.services.get(name)?;
            Some((name.clone(), Inputs::read(service).masked().into()))
        });
        Self {
            engine: engine.clone(),
            manifest: Arc::new(manifest.clone()),
            services: services.collect(),
            unknown: selection.iter().find(|name| manifest.services.get(name).is_none()).cloned(),
            options: options.clone(),
        }
    }

    /// The containers that serve, by number; one list for all.
    async fn sources(&self) -> Result<Vec<Source>, ServicesError> {
        if let Some(unknown) = &self.unknown {
            return Err(ServicesError::UnknownService(unknown.clone()));
        }
        let ours = own_containers(&self.engine, &self.manifest).await;
        let ours = ours.map_err(|source| ServicesError::Observe { project: self.manifest.project.clone(), source })?;
        let mut sources: Vec<Source> = ours.into_iter().filter_map(|container| self.source(container)).collect();
        sources.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
        Ok(sources)
    }

    /// The container as a source, where it is one that was chosen.
    fn source(&self, container: ContainerSummary) -> Option<Source> {
        let service = container.labels.get(labels::SERVICE)?.clone();
        let secrets = self.services.get(&service).filter(|_| Role::of_name(&container.name) == Role::Main)?.clone();
        let (number, is_running) = (labels::number(&container.labels), container.state.is_running());
        Some(Source { id: container.id, service, number, is_running, secrets })
    }

    async fn history(&self) -> Result<LineStream, ServicesError> {
        let query = LogQuery { follow: false, ..self.query() };
        Ok(merge(self.sources().await?.iter().map(|source| self.lines(source, &query, self.options.since)).collect()))
    }

    fn query(&self) -> LogQuery {
        LogQuery {
            follow: self.options.follow,
            tail: self.options.tail,
            since: self.options.since.map(Timestamp::as_second),
            // The engine leaves out what comes within the last second; the exact end is drawn below.
            until: self.options.until.map(|until| until.as_second().saturating_add(1)),
            timestamps: true,
        }
    }

    /// A container's whole lines, from `since` on.
    fn lines(&self, source: &Source, query: &LogQuery, since: Option<Timestamp>) -> LineStream {
        let (source, until) = (source.clone(), self.options.until);
        let failed = source.service.clone();
        // `None` marks the end, at which a line without a newline comes out.
        let pieces = self.engine.logs(&source.id, query).map(Some).chain(stream::iter([None]));
        let lines = pieces.scan(Some(Lines::default()), |lines, piece| {
            let whole: Vec<Result<Line, _>> = match (piece, lines.as_mut()) {
                (Some(Ok(piece)), Some(lines)) => lines.feed(piece).into_iter().map(Ok).collect(),
                (Some(Err(error)), _) => vec![Err(error)],
                (None, _) => lines.take().map(Lines::finish).unwrap_or_default().into_iter().map(Ok).collect(),
                (Some(Ok(_)), None) => Vec::new(),
            };
            futures::future::ready(Some(stream::iter(whole)))
        });
        let wanted = lines.flatten().try_filter(move |line: &Line| {
            let is_in = line
                .time
                .is_none_or(|time| since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until));
            futures::future::ready(is_in)
        });
        Box::pin(wanted.map(move |line| match line {
            Ok(line) => Ok(ServiceLogLine {
                service: source.service.clone(),
                number: source.number,
                time: line.time,
                source: match line.source {
                    LogSource::Stdout => "stdout",
                    LogSource::Stderr => "stderr",
                },
                text: source.secrets.iter().fold(line.text, |text, secret| {
                    if text.contains(secret) { text.replace(secret, "******") } else { text }
                }),
            }),
            Err(error) => {
                let source = error.about(&source.id, &failed);
                Err(ServicesError::Log { service: failed.clone(), source })
            }
        }))
    }
}

/// Merges streams that are in order each: the oldest head is always next. Holds one line of each.
fn merge(streams: Vec<LineStream>) -> LineStream {
    struct Heads {
        streams: Vec<stream::Peekable<LineStream>>,
    }
    let heads = Heads { streams: streams.into_iter().map(StreamExt::peekable).collect() };
    let merged: BoxStream<_> = Box::pin(stream::unfold(heads, |mut heads| async move {
        let mut oldest: Option<(usize, Option<Timestamp>)> = None;
        for (index, stream) in heads.streams.iter_mut().enumerate() {
            let time = match Pin::new(stream).peek().await {
                None => continue,
                // An error comes out at once.
                Some(Err(_)) => None,
                Some(Ok(line)) => line.time,
            };
            if oldest.is_none_or(|(_, found)| time < found) {
                oldest = Some((index, time));
            }
        }
        let (index, _) = oldest?;
        let line = heads.streams[index].next().await?;
        Some((line, heads))
    }));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_of(service: &str, seconds: &[i64]) -> LineStream {
        let line = |second: &i64| {
            Ok(ServiceLogLine {
                service: service.to_owned(),
                number: 1,
                time: Some(Timestamp::from_second(*second).unwrap()),
                source: "stdout",
                text: format!("{service}{second}"),
            })
        };
        Box::pin(stream::iter(seconds.iter().map(line).collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn lines_of_several_services_come_in_time_order() {
        let merged = merge(vec![stream_of("a", &[1, 4, 5]), stream_of("b", &[2, 3, 6]), stream_of("c", &[])]);
        let texts: Vec<String> = merged.map(|line| line.unwrap().text).collect().await;
        assert_eq!(texts, ["a1", "b2", "b3", "a4", "a5", "b6"]);
    }
}
