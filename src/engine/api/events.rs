//! What happens to containers, as the engine tells it.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt};

use crate::engine::client::Engine;
use crate::engine::error::EngineError;
use crate::engine::limits::timeouts::while_engine_answers;

/// Something that happened to a container (`GET /events`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The engine's word: `start`, `die`, `health_status: healthy`, …
    pub action: String,
    pub container: String,
    /// Its labels, and its name under `name`.
    pub attributes: BTreeMap<String, String>,
}

impl Engine {
    /// What happens from now on to containers that carry this label, of these kinds; ends with the engine, and with
    /// an error when that answers nothing any more.
    pub fn container_events(
        &self,
        label: (&str, &str),
        actions: &[&str],
    ) -> impl Stream<Item = Result<ContainerEvent, EngineError>> + Send + use<> {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![format!("{}={}", label.0, label.1)]),
            ("event".to_owned(), actions.iter().map(|action| (*action).to_owned()).collect()),
        ]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let events = self.docker().events(Some(options)).map(|event| {
            let event = event
                .map_err(|error| EngineError::new(message!("verb-watch-events"), message!("object-events"), error))?;
            let actor = event.actor.unwrap_or_default();
            Ok(ContainerEvent {
                action: event.action.unwrap_or_default(),
                container: actor.id.unwrap_or_default(),
                attributes: actor.attributes.unwrap_or_default().into_iter().collect(),
            })
        });
        // Hours may pass without an event; only an engine that answers nothing else either is gone.
        while_engine_answers(self.clone(), (message!("verb-watch-events"), message!("object-events")), events)
    }
}
