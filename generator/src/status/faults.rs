//! Partitions and slow paths that were made on demand, and whether they are in force.
//!
//! The record of the manager says what was asked for; the loaded rules say whether it is so.

use schemars::JsonSchema;
use serde::Serialize;

use super::seen::Capture;
use crate::darwin;
use crate::model::Conditions;

/// What is wrong where a fault is recorded and its rules are not loaded.
pub(super) const NOT_IN_FORCE: &str =
    "a partition or slowed path is not in force as recorded: the next reconcile repairs it";

/// A partition or a slow path.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnDemand {
    /// `partition` or `slow`.
    pub action: String,
    /// A provider or a volume.
    pub from: String,
    /// Another; null means all other providers and volumes.
    pub to: Option<String>,
    /// The deadline, as `2026-01-31T12:00:00Z`; null if it lasts until `heal`, a stop or a restart.
    pub until: Option<String>,
    /// The same in seconds since 1970.
    #[serde(skip)]
    pub(super) deadline: Option<u64>,
    /// `in force`, `not in force` or `over`.
    pub state: &'static str,
    /// The conditions of a slow path in words; null of a partition, like what follows.
    pub conditions: Option<String>,
    /// The delay in each direction, in milliseconds.
    pub latency_ms: Option<u16>,
    /// The share of packets that is lost in each direction: 0 to 1.
    pub loss: Option<f64>,
    /// The bandwidth of each direction in kilobits per second; null means no limit.
    pub bandwidth_kbit: Option<u32>,
}

fn text<'a>(seen: &'a Capture, file: &str) -> &'a str {
    seen.get(file).map_or("", String::as_str)
}

/// The recorded faults. A line that was not written completely is ignored.
pub(super) fn faults(seen: &Capture, is_up: bool) -> Vec<OnDemand> {
    let mut lines = text(seen, "faults").lines();
    let boot = lines.next().and_then(|line| line.strip_prefix("boot\t"));
    let is_current = is_up && boot == text(seen, "sysctl").lines().nth(1);
    lines.enumerate().filter_map(|(at, line)| fault(seen, is_current, at + 1, line)).collect()
}

fn fault(seen: &Capture, is_current: bool, number: usize, line: &str) -> Option<OnDemand> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [action, from, to, deadline, seconds, until, pipe, delay, loss, rate, _tag] = fields.as_slice()
    else {
        return None;
    };
    let said = |text: &str| (text != "-").then(|| text.to_owned());
    let deadline: Option<u64> = deadline.parse().ok();
    let now: Option<u64> = text(seen, "clock").trim().parse().ok();
    let seconds: u64 = seconds.parse().ok()?;
    // A clock that was set back ends a fault, too.
    let is_past = deadline.zip(now).is_some_and(|(end, now)| now >= end || end - now > seconds + 1);
    let slow = (*action == "slow")
        .then(|| {
            let rate: u32 = rate.parse().ok()?;
            Conditions::checked(delay.parse().ok(), loss.parse().ok(), Some(rate).filter(|rate| *rate > 0))
                .ok()
        })
        .flatten();
    let state = match () {
        () if !is_current || is_past => "over",
        () if is_loaded(seen, number, action, from, said(to).as_deref(), pipe) => "in force",
        () => "not in force",
    };
    Some(OnDemand {
        action: (*action).to_owned(),
        from: (*from).to_owned(),
        to: said(to),
        until: said(until),
        deadline,
        state,
        conditions: slow.map(words),
        latency_ms: slow.and_then(|it| it.latency_ms),
        loss: slow.and_then(|it| it.loss),
        bandwidth_kbit: slow.and_then(|it| it.bandwidth_kbit),
    })
}

/// The conditions in words; what is 0 is not said.
fn words(conditions: Conditions) -> String {
    let said = Conditions {
        latency_ms: conditions.latency_ms.filter(|ms| *ms > 0),
        loss: conditions.loss.filter(|loss| *loss > 0.0),
        ..conditions
    };
    let text = said.to_string();
    if text.is_empty() { "no conditions".to_owned() } else { text }
}

/// Whether the rules of a fault are loaded in both directions, and its pipes are there.
fn is_loaded(seen: &Capture, number: usize, action: &str, from: &str, to: Option<&str>, pipe: &str) -> bool {
    let one = format!("<one{number}-{from}>");
    let two = to.map_or_else(|| format!("<two{number}>"), |to| format!("<two{number}-{to}>"));
    let rules = text(seen, "pfctl-faults");
    let has = |start: &str, from: &str, to: &str| {
        let ends = format!(" from {from} to {to} ");
        rules.lines().any(|line| line.starts_with(start) && format!("{line} ").contains(&ends))
    };
    let start = if action == "slow" { "dummynet out quick" } else { "block drop quick" };
    let Ok(pipe) = pipe.parse::<u16>() else { return false };
    let pipes = [pipe, pipe.saturating_sub(1)];
    let found = darwin::pipes(text(seen, "dnctl-list"));
    let has_pipes = action != "slow" || pipes.iter().all(|it| found.contains_key(it));
    has(start, &one, &two) && has(start, &two, &one) && has_pipes
}
