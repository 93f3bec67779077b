//! Why a step of a plan did not do what it was to do.

use super::not_ready::NotReady;
use crate::engine::EngineError;
use crate::report::{Message, Told};
use crate::services::container::environment::InputError;

/// A step that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Not transparent: a search for the engine's error among the causes must find it.
    Engine(#[from] EngineError),
    Input(#[from] InputError),
    Random {
        container: String,
        source: std::io::Error,
    },
    Stale {
        container: String,
        how: Stale,
    },
    LeftBehind {
        container: String,
    },
    /// Nothing was wrong with its own steps, and its old container does not serve as before.
    NotBack,
    NoProvider {
        provider: String,
    },
    /// The operator asked for an end before its turn had come.
    NotBegun,
    NotReady(#[from] NotReady),
}

impl Told for StepError {
    fn message(&self) -> Message {
        match self {
            Self::Engine(error) => error.message(),
            Self::Input(error) => error.message(),
            Self::Random { container, .. } => message!("error-step-random", container = container),
            Self::Stale { container, how } => how.message(container),
            Self::LeftBehind { container } => message!("error-step-left-behind", container = container),
            Self::NotBack => message!("error-step-not-back"),
            Self::NoProvider { provider } => message!("error-step-no-provider", provider = provider),
            Self::NotBegun => message!("error-step-not-begun"),
            Self::NotReady(error) => error.message(),
        }
    }
}

/// What became of a container after the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    Removed,
    Renamed,
    Started,
    /// The step is not one that makes a container.
    NotToBeMade,
    WithoutService,
}

impl Stale {
    fn message(self, container: &str) -> Message {
        match self {
            Self::Removed => message!("error-step-stale-removed", container = container),
            Self::Renamed => message!("error-step-stale-renamed", container = container),
            Self::Started => message!("error-step-stale-started", container = container),
            Self::NotToBeMade => message!("error-step-stale-not-made", container = container),
            Self::WithoutService => message!("error-step-stale-no-service", container = container),
        }
    }
}
