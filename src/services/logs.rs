//! The logs of several services: merged in time order, or as they come while following.

use std::pin::Pin;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::ServicesError;
use super::lines::{Line, Lines};
use super::observe::{Role, Seen, observe};
use crate::engine::{Engine, LogQuery, LogSource};
use crate::manifest::Manifest;

/// Which part of the logs is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Goes on as lines come.
    pub follow: bool,
    /// Lines from each container's end; all where `None`.
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
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

/// The chosen services' lines. A service without a container has none.
pub fn logs(
    engine: &Engine,
    manifest: &Manifest,
    selection: &[String],
    options: &LogOptions,
) -> impl Stream<Item = Result<ServiceLogLine, ServicesError>> + Send + use<> {
    let (engine, manifest, selection, options) =
        (engine.clone(), manifest.clone(), selection.to_vec(), options.clone());
    stream::once(async move { open(&engine, &manifest, &selection, &options).await }).try_flatten()
}

async fn open(
    engine: &Engine,
    manifest: &Manifest,
    selection: &[String],
    options: &LogOptions,
) -> Result<LineStream, ServicesError> {
    if let Some(unknown) = selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let snapshot = observe(engine, manifest).await?;
    let is_chosen = |seen: &&Seen| seen.role == Role::Main && selection.contains(&seen.service);
    let each: Vec<LineStream> =
        snapshot.containers.iter().filter(is_chosen).map(|seen| of_container(engine, seen, options)).collect();
    if options.follow {
        return Ok(Box::pin(stream::select_all(each)));
    }
    Ok(merge(each))
}

fn of_container(engine: &Engine, seen: &Seen, options: &LogOptions) -> LineStream {
    let query = LogQuery {
        follow: options.follow,
        tail: options.tail,
        since: options.since.map(Timestamp::as_second),
        // The engine leaves out what comes within the last second; the exact end is drawn below.
        until: options.until.map(|until| until.as_second().saturating_add(1)),
        timestamps: true,
    };
    let (service, number) = (seen.service.clone(), seen.number);
    let (since, until) = (options.since, options.until);
    let failed = service.clone();
    // `None` marks the end, at which a line without a newline comes out.
    let pieces = engine.logs(&seen.view.id, &query).map(Some).chain(stream::iter([None]));
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
            service: service.clone(),
            number,
            time: line.time,
            source: match line.source {
                LogSource::Stdout => "stdout",
                LogSource::Stderr => "stderr",
            },
            text: line.text,
        }),
        Err(source) => Err(ServicesError::Log { service: failed.clone(), source }),
    }))
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
