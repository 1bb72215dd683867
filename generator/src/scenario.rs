//! Scenarios: faults between volumes and providers at set times, read from a file.
//!
//! The file is TOML, or the JSON that Nix evaluates: a list of steps, each with its time, an action and a duration.
//! What happened is a timeline, and can be drawn. Sees: model, identity, render (the engine that escapes). Never: uses a
//! clock, or knows how a fault is implemented.

mod read;
mod timeline;

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Conditions;

pub use read::{Mistake, read};
pub use timeline::{TimelineLine, timeline};

/// The maximum time of a step, in seconds: a week.
pub const LONGEST: u64 = 7 * 24 * 60 * 60;

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
    /// Gives the paths between two endpoints these conditions, in place of those of their links.
    Slow {
        /// The one endpoint.
        one: String,
        /// The other endpoint; `None` means all others.
        other: Option<String>,
        /// The conditions, in each direction.
        conditions: Conditions,
    },
    /// Removes the faults between two endpoints, those that one endpoint has, or all.
    Heal {
        /// The one endpoint; `None` removes all faults.
        one: Option<String>,
        /// The other endpoint; `None` means whatever `one` is cut or slowed from.
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

/// A line of the timeline as data, when it happens.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The time of day: `2026-01-31T12:00:00.000Z`.
    time: String,
    /// Seconds since the start.
    seconds: f64,
    /// What of the step.
    event: Moment,
    /// The step, of `begin` and `end`.
    #[serde(flatten)]
    step: Option<ToldStep>,
    /// What is watched, of `watch`.
    #[serde(flatten)]
    watch: Option<ToldWatch>,
}

/// What of a step a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// It begins.
    Begin,
    /// Its time is over.
    End,
    /// What is watched has another value; the first one is told before the first step.
    Watch,
    /// All steps are over, and everything that they did is undone.
    Done,
}

/// A watched value as data.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct ToldWatch {
    /// The name that `--watch` gave it.
    name: String,
    /// The first line that the command printed; null if it failed or printed nothing.
    value: Option<String>,
}

/// A step as data.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ToldStep {
    /// `partition`, `slow` or `heal`.
    action: &'static str,
    /// A volume or a provider; null of a `heal` of everything.
    from: Option<String>,
    /// Another; null is all others.
    to: Option<String>,
    /// For how many seconds; null is until it is healed or the scenario ends.
    r#for: Option<f64>,
    /// What a slowed path is like, in words; null of other steps, like what follows.
    conditions: Option<String>,
    /// Added delay in each direction, in milliseconds.
    latency_ms: Option<u16>,
    /// The share of packets that is lost in each direction: 0 to 1.
    loss: Option<f64>,
    /// The bandwidth of each direction, in kilobits a second.
    bandwidth_kbit: Option<u32>,
}

impl Told {
    /// A beginning or an end of a step.
    pub fn of(event: &Event, time: String, seconds: f64) -> Self {
        let Event { at: _, step, begins } = event;
        let [from, to] = step.act.ends().map(|end| end.map(str::to_owned));
        let conditions = match &step.act {
            Act::Slow { conditions, one: _, other: _ } => Some(conditions),
            Act::Partition { .. } | Act::Heal { .. } => None,
        };
        let told = ToldStep {
            action: step.act.word(),
            from,
            to,
            r#for: step.lasts.map(|lasts| lasts.as_secs_f64()),
            conditions: conditions.map(ToString::to_string),
            latency_ms: conditions.and_then(|it| it.latency_ms),
            loss: conditions.and_then(|it| it.loss),
            bandwidth_kbit: conditions.and_then(|it| it.bandwidth_kbit),
        };
        Self {
            time,
            seconds,
            event: if *begins { Moment::Begin } else { Moment::End },
            step: Some(told),
            watch: None,
        }
    }

    /// That all is done.
    pub fn done(time: String, seconds: f64) -> Self {
        Self { time, seconds, event: Moment::Done, step: None, watch: None }
    }

    /// That a watched value is another one.
    pub fn watched(name: &str, value: Option<&str>, time: String, seconds: f64) -> Self {
        let watch = ToldWatch { name: name.to_owned(), value: value.map(str::to_owned) };
        Self { time, seconds, event: Moment::Watch, step: None, watch: Some(watch) }
    }
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
    /// The time of its last event.
    pub fn lasts(&self) -> Duration {
        self.steps.iter().map(|step| step.at + step.lasts.unwrap_or_default()).max().unwrap_or_default()
    }

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

/// The time that an option such as `--for` names, as the manager reads it: `30`, `30s` or `1h15m30s`, up to a week.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0;
    let only = text.bytes().all(|byte| byte.is_ascii_digit());
    for (unit, factor) in [("h", 3600), ("m", 60), ("s", 1)] {
        let (number, after) = if only && unit == "s" {
            (rest, "")
        } else {
            let Some(parts) = rest.split_once(unit) else { continue };
            parts
        };
        let is_number = (1..=6).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || (number.starts_with('0') && number != "0") {
            return None;
        }
        seconds += number.parse::<u64>().ok()? * factor;
        rest = after;
    }
    (rest.is_empty() && (1..=LONGEST).contains(&seconds)).then(|| Duration::from_secs(seconds))
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
