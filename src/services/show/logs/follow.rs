//! Following logs: first what is there, in time order, then what comes, whatever becomes of the containers.
//!
//! The engine's events tell of starts: of a container that was restarted, of one that took another's place, of a service
//! that was not there. A look every few seconds finds what no event told, and an engine that went away is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{self, SelectAll};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval};

use super::{Chosen, LineStream, ServiceLogLine, Source};
use crate::engine::{ContainerEvent, EngineError, LogQuery};
use crate::services::container::labels;
use crate::services::error::ServicesError;

/// So often it is looked for containers of which no event told.
const LOOK: Duration = Duration::from_secs(5);
/// So often an engine that does not answer is tried.
const RETRY: Duration = Duration::from_millis(500);

type Sender = mpsc::Sender<Result<ServiceLogLine, ServicesError>>;

/// Lines without an end.
pub(super) fn follow(chosen: Chosen) -> LineStream {
    // Bounded: who can't write as fast as the containers holds the reading up, not the memory.
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let followed = tokio::select! {
            followed = Follow::new(&chosen).run(&sender) => followed,
            () = sender.closed() => return,
        };
        if let Err(error) = followed {
            // Nobody listens any more.
            let _ = sender.send(Err(error)).await;
        }
    });
    Box::pin(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }))
}

/// What comes of a container's log.
enum Piece {
    Line(Box<Result<ServiceLogLine, ServicesError>>),
    End,
}

/// A container's pieces, under its ID.
type Pieces = Pin<Box<dyn Stream<Item = (String, Piece)> + Send>>;

/// What the engine tells about containers.
type Events = Pin<Box<dyn Stream<Item = Result<ContainerEvent, EngineError>> + Send>>;

struct Follow<'a> {
    chosen: &'a Chosen,
    open: SelectAll<Pieces>,
    /// IDs of the containers whose logs are open.
    reading: BTreeSet<String>,
    /// Those that were started again while their log was still open from before.
    restarted: BTreeSet<String>,
    known: BTreeMap<String, Source>,
    /// The time of the last line of each.
    last: BTreeMap<String, Timestamp>,
}

impl<'a> Follow<'a> {
    fn new(chosen: &'a Chosen) -> Self {
        Self {
            chosen,
            open: SelectAll::new(),
            reading: BTreeSet::new(),
            restarted: BTreeSet::new(),
            known: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    async fn run(mut self, sender: &Sender) -> Result<(), ServicesError> {
        self.history(sender).await?;
        let mut events = self.events();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((id, piece)) = self.open.next(), if !self.open.is_empty() => match piece {
                    Piece::Line(line) => {
                        if let Ok(line) = &*line && let Some(time) = line.time {
                            self.last.insert(id, time);
                        }
                        if sender.send(*line).await.is_err() {
                            return Ok(());
                        }
                    }
                    Piece::End => self.ended(&id),
                },
                event = events.next() => match event {
                    // Whose a new container is only a look tells.
                    Some(Ok(event)) if !self.started(&event) => look.reset_immediately(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => events = self.begin_again(&mut look).await?,
                },
                _ = look.tick() => match self.chosen.sources().await {
                    Ok(sources) => {
                        // Of a start while the events were not listened to, nothing was told.
                        let is_unread =
                            |source: &Source| !self.known.contains_key(&source.id) || source.is_running;
                        let unread: Vec<Source> = sources.into_iter().filter(is_unread).collect();
                        unread.into_iter().for_each(|source| self.read(source));
                    }
                    Err(_) => events = self.begin_again(&mut look).await?,
                }
            }
        }
    }

    /// Waits for an engine that went away, and reads on in all logs.
    async fn begin_again(&mut self, look: &mut Interval) -> Result<Events, ServicesError> {
        until_the_engine_answers(self.chosen).await?;
        look.reset_immediately();
        let known: Vec<Source> = self.known.values().cloned().collect();
        known.into_iter().for_each(|source| self.read_again(source));
        Ok(self.events())
    }

    /// What is there already, in time order.
    async fn history(&mut self, sender: &Sender) -> Result<(), ServicesError> {
        let sources = self.chosen.sources().await?;
        // "From now on" is the engine's to say: it knows what was written before it was asked.
        let from_now = self.chosen.options.tail == Some(0);
        if !from_now {
            let query = LogQuery { follow: false, ..self.chosen.query() };
            let ids: BTreeMap<(String, u32), &str> =
                sources.iter().map(|source| ((source.service.clone(), source.number), source.id.as_str())).collect();
            let streams = sources.iter().map(|source| self.chosen.lines(source, &query, self.chosen.options.since));
            let mut lines = super::merge(streams.collect());
            while let Some(line) = lines.next().await {
                if let Ok(line) = &line
                    && let Some(time) = line.time
                    && let Some(id) = ids.get(&(line.service.clone(), line.number))
                {
                    self.last.insert((*id).to_owned(), time);
                }
                if sender.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
        for source in sources {
            self.read_with(source, from_now.then_some(0));
        }
        Ok(())
    }

    fn events(&self) -> Events {
        Box::pin(self.chosen.engine.container_events((labels::PROJECT, &self.chosen.manifest.project), &["start"]))
    }

    /// Whether it is a container that is known.
    fn started(&mut self, event: &ContainerEvent) -> bool {
        let known = self.known.get(&event.container).cloned();
        let is_known = known.is_some();
        known.into_iter().for_each(|source| self.read_again(source));
        is_known
    }

    /// Reads on in a container's log; where that is still open from before, when its end has come.
    fn read_again(&mut self, source: Source) {
        if self.reading.contains(&source.id) {
            self.restarted.insert(source.id);
        } else {
            self.read(source);
        }
    }

    fn ended(&mut self, id: &str) {
        self.reading.remove(id);
        if self.restarted.remove(id)
            && let Some(source) = self.known.get(id).cloned()
        {
            self.read(source);
        }
    }

    fn read(&mut self, source: Source) {
        self.read_with(source, None);
    }

    /// Opens a container's log behind its last line.
    fn read_with(&mut self, source: Source, tail: Option<u64>) {
        if !self.reading.insert(source.id.clone()) {
            return;
        }
        let last = self.last.get(&source.id).copied();
        let since = last.or(self.chosen.options.since);
        let query = LogQuery { follow: true, tail, since: since.map(Timestamp::as_second), ..self.chosen.query() };
        let id = source.id.clone();
        let lines = self.chosen.lines(&source, &query, since).filter_map(move |line| {
            let is_wanted = match &line {
                Ok(line) => line.time.is_none_or(|time| last.is_none_or(|last| time > last)),
                // A container or an engine that goes away meanwhile is no news here.
                Err(ServicesError::Log { source, .. }) => !source.is_unreachable() && !source.is_not_found(),
                Err(_) => true,
            };
            futures::future::ready(is_wanted.then(|| Piece::Line(Box::new(line))))
        });
        let pieces = lines.chain(stream::iter([Piece::End])).map(move |piece| (id.clone(), piece));
        self.open.push(Box::pin(pieces));
        self.known.insert(source.id.clone(), source);
    }
}

async fn until_the_engine_answers(chosen: &Chosen) -> Result<(), ServicesError> {
    let deadline = Instant::now() + chosen.engine.patience();
    loop {
        match chosen.sources().await {
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
            Ok(_) => return Ok(()),
        }
    }
}
