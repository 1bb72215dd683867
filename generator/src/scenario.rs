//! Scenarios: faults between volumes and providers at set times, read from a file.
//!
//! The file is TOML, or the JSON that Nix evaluates: a list of steps, each with its time, an action and a duration.
//! Sees: model, input. Never: uses a clock, or knows how a fault is implemented.

mod read;

use std::fmt;
use std::time::Duration;

use crate::model::Conditions;

pub use read::{Mistake, read};

/// The maximum time of a step, in seconds: a week.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// A scenario: its steps in order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The steps; never empty.
    pub steps: Vec<Step>,
}

/// An action at a set time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The time, relative to the start.
    pub at: Duration,
    /// The action.
    pub act: Act,
    /// Its duration; without one, it lasts until it is healed or the scenario ends.
    pub lasts: Option<Duration>,
}

/// The action of a step. Endpoints are names of volumes or providers.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Blocks all traffic between two endpoints, or between one and all others.
    Partition {
        /// The one endpoint.
        one: String,
        /// The other endpoint; `None` means all others.
        other: Option<String>,
    },
    /// Adds conditions to the paths between two endpoints, on top of those of their links.
    Slow {
        /// The one endpoint.
        one: String,
        /// The other endpoint; `None` means all others.
        other: Option<String>,
        /// The added conditions, in each direction.
        conditions: Conditions,
    },
    /// Removes faults between two endpoints, between one and all others, or everywhere.
    Heal {
        /// The one endpoint; `None` removes all faults.
        one: Option<String>,
        /// The other endpoint; `None` means all others.
        other: Option<String>,
    },
}

/// The beginning or the end of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// The time, relative to the start.
    pub at: Duration,
    /// The step.
    pub step: &'a Step,
    /// Whether the step begins; otherwise it ends.
    pub begins: bool,
}

impl Act {
    /// The name of the `lab` command that does the same.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::Slow { .. } => "slow",
            Self::Heal { .. } => "heal",
        }
    }

    /// The endpoints that it names.
    pub fn ends(&self) -> [Option<&str>; 2] {
        match self {
            Self::Partition { one, other } | Self::Slow { one, other, conditions: _ } => {
                [Some(one), other.as_deref()]
            }
            Self::Heal { one, other } => [one.as_deref(), other.as_deref()],
        }
    }
}

impl Scenario {
    /// The beginnings and ends of all steps in order of time; at the same time, ends come first.
    pub fn events(&self) -> Vec<Event<'_>> {
        let mut events = Vec::new();
        for step in &self.steps {
            events.push(Event { at: step.at, step, begins: true });
            if let Some(lasts) = step.lasts {
                events.push(Event { at: step.at + lasts, step, begins: false });
            }
        }
        events.sort_by_key(|event| (event.at, event.begins));
        events
    }
}

impl fmt::Display for Act {
    /// Prints it like the command: `slow gcp ibm 200 ms, 1% lost`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        for end in self.ends().into_iter().flatten() {
            write!(f, " {end}")?;
        }
        match self {
            Self::Slow { conditions, .. } => write!(f, " {conditions}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    /// Prints it without its time: `partition aws azure for 30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.act.fmt(f)?;
        match self.lasts {
            Some(lasts) => write!(f, " for {}", humantime::format_duration(lasts)),
            None => Ok(()),
        }
    }
}
