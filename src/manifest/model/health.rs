//! How a service proves that it is well.

use schemars::JsonSchema;
use serde::Serialize;

use super::Period;
use super::is_default;

/// The engine's own health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]`, `["NONE"]`, or a string for the shell. Absent: the image's own command.
    #[serde(skip_serializing_if = "is_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_default")]
    pub interval: Option<Period>,
    /// Time that one check may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<Period>,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: Option<u32>,
    /// Time after the start in which failures don't count.
    #[serde(skip_serializing_if = "is_default")]
    pub start_period: Option<Period>,
    /// Time between two checks within `start_period`; engines before 25 use `interval`.
    #[serde(skip_serializing_if = "is_default")]
    pub start_interval: Option<Period>,
    /// Switches the image's own check off.
    #[serde(skip_serializing_if = "is_default")]
    pub disable: bool,
}

impl Healthcheck {
    /// Whether it says that there is to be no check.
    pub fn is_off(&self) -> bool {
        self.disable || self.test.first().is_some_and(|word| word == "NONE")
    }
}

/// How a service proves that it is up where its image has no health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ready {
    /// What is tried.
    #[serde(flatten)]
    pub probe: ReadyProbe,
    /// How long it may take; the command's own limit where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<Period>,
}

/// What proves that a service is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyProbe {
    /// A port of the container accepts connections.
    Tcp(u16),
    /// A request to the container is answered well.
    Http(HttpProbe),
    /// A line of its log, written since the start, matches this regular expression.
    Log(String),
    /// It has run for so long without ending.
    RunningFor(Period),
    /// It has ended with exit code 0: a job. Always true.
    Completed(bool),
}

/// A request that proves that a service is up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpProbe {
    /// The container's port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The path, from `/`.
    pub path: String,
    /// The status that is expected; any of 200 to 399 where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub status: Option<u16>,
}
