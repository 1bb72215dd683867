//! Scenarios: faults between volumes and providers at set times, as a file says them.
//!
//! The file is TOML, or the JSON that Nix evaluates: a list of steps, each with its time, what happens, and for how long.
//! Sees: model, input. Never: a clock, or how a fault is made.

mod read;

use std::fmt;
use std::time::Duration;

use crate::model::Conditions;

pub use read::{Mistake, read};

/// The longest time that a step may have, in seconds: a week.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// Steps in the order of their times.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The steps; never empty.
    pub steps: Vec<Step>,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, after the start.
    pub at: Duration,
    /// What.
    pub act: Act,
    /// For how long; without it, until it is healed or the scenario ends.
    pub lasts: Option<Duration>,
}

/// What happens in a step. Ends are volumes or providers by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Nothing passes between two ends, or between one and all others.
    Partition {
        /// One end.
        one: String,
        /// The other.
        other: Option<String>,
    },
    /// The paths between two ends get conditions, beside those that their links have.
    Slow {
        /// One end.
        one: String,
        /// The other.
        other: Option<String>,
        /// What the paths are like, in each direction.
        conditions: Conditions,
    },
    /// Faults between two ends, between one and all others, or all there are, are healed.
    Heal {
        /// One end; none for everything.
        one: Option<String>,
        /// The other.
        other: Option<String>,
    },
}

/// A point in the course of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// When, after the start.
    pub at: Duration,
    /// The step.
    pub step: &'a Step,
    /// Whether it begins; otherwise its time is over.
    pub begins: bool,
}

impl Act {
    /// The word of the command that does it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::Slow { .. } => "slow",
            Self::Heal { .. } => "heal",
        }
    }

    /// The ends that it names.
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
    /// Beginnings and ends of steps in the order of their times; what ends comes before what begins.
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
    /// As a command: `slow gcp ibm 200 ms, 1% lost`.
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
    /// Without its time: `partition aws azure for 30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.act.fmt(f)?;
        match self.lasts {
            Some(lasts) => write!(f, " for {}", humantime::format_duration(lasts)),
            None => Ok(()),
        }
    }
}
