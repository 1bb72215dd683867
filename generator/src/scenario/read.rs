//! Parses a scenario, with the place of every mistake.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Act, LONGEST, Scenario, Step};
use crate::model::Conditions;

/// A mistake in a scenario file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line and column, both from 1, if known.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The whole file. `S` is the type of a step; for TOML it carries the step's place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<S> {
    #[serde(default = "Vec::new")]
    step: Vec<S>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    at: Time,
    r#for: Option<Time>,
    partition: Option<Ends>,
    slow: Option<Ends>,
    heal: Option<Ends>,
    latency_ms: Option<u16>,
    loss: Option<f64>,
    bandwidth_kbit: Option<u32>,
}

/// A time: seconds, or text such as `1m 30s`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a time is a number of seconds, or a text such as \"1m 30s\"")]
enum Time {
    Seconds(f64),
    Text(String),
}

/// One endpoint, or a list of at most two.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "ends are a name, or a list of names: [\"aws\", \"azure\"]")]
enum Ends {
    One(String),
    Several(Vec<String>),
}

/// Parses a scenario: as JSON if its first character is a brace, as TOML otherwise.
///
/// # Errors
/// All mistakes in it.
pub fn read(text: &str) -> Result<Scenario, Vec<Mistake>> {
    let steps = if text.trim_start().starts_with('{') { of_json(text)? } else { of_toml(text)? };
    let mut mistakes = Vec::new();
    let mut read = Vec::new();
    for (number, (place, raw)) in steps.iter().enumerate() {
        let mut wrong = |message: String| {
            let message = if place.is_some() { message } else { format!("step[{number}]: {message}") };
            mistakes.push(Mistake { place: *place, message });
        };
        if let Some(step) = step(raw, &mut wrong) {
            read.push(step);
        }
    }
    if let Some((place, number)) = endless(&steps, &read) {
        let what = "nothing comes after this step, so that it would be over at once: give it `for`";
        let message = if place.is_some() { what.to_owned() } else { format!("step[{number}]: {what}") };
        mistakes.push(Mistake { place, message });
    }
    if steps.is_empty() {
        let message = "there is no step: a scenario is a list of [[step]], each with `at` and what happens";
        mistakes.push(Mistake { place: None, message: message.to_owned() });
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    read.sort_by_key(|step| step.at);
    Ok(Scenario { steps: read })
}

/// The last step if it needs a duration and has none: the scenario ends with its last event, so the step would have no
/// effect.
fn endless(steps: &Placed, read: &[Step]) -> Option<(Option<(usize, usize)>, usize)> {
    if read.len() != steps.len() {
        return None;
    }
    let over = read.iter().map(|step| step.at + step.lasts.unwrap_or_default()).max()?;
    let is_endless =
        |step: &Step| step.lasts.is_none() && step.at == over && !matches!(step.act, Act::Heal { .. });
    let number = read.iter().position(is_endless)?;
    Some((steps[number].0, number))
}

type Placed = Vec<(Option<(usize, usize)>, Raw)>;

fn of_toml(text: &str) -> Result<Placed, Vec<Mistake>> {
    let file: File<Spanned<Raw>> = toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| place(text, span.start));
        vec![Mistake { place, message: error.message().to_owned() }]
    })?;
    let placed = |step: Spanned<Raw>| (Some(place(text, step.span().start)), step.into_inner());
    Ok(file.step.into_iter().map(placed).collect())
}

fn of_json(text: &str) -> Result<Placed, Vec<Mistake>> {
    let file: File<Raw> = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The place is reported separately.
        let message = said.rsplit_once(" at line ").map_or(said.as_str(), |(message, _)| message);
        vec![Mistake { place: Some((error.line(), error.column())), message: message.to_owned() }]
    })?;
    Ok(file.step.into_iter().map(|step| (None, step)).collect())
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn step(raw: &Raw, wrong: &mut impl FnMut(String)) -> Option<Step> {
    let at = time("at", &raw.at, wrong);
    let lasts = raw.r#for.as_ref().map(|lasts| time("for", lasts, wrong));
    if lasts.flatten().is_some_and(|lasts| lasts.is_zero()) {
        wrong("`for` is 0, so that nothing would happen".to_owned());
    }
    let act = act(raw, wrong);
    if matches!(act, Some(Act::Heal { .. })) && raw.r#for.is_some() {
        wrong("`heal` has no duration: what it heals stays healed".to_owned());
    }
    let has_conditions = raw.latency_ms.is_some() || raw.loss.is_some() || raw.bandwidth_kbit.is_some();
    if has_conditions && raw.slow.is_none() {
        wrong("`latencyMs`, `loss` and `bandwidthKbit` belong to `slow`".to_owned());
    }
    Some(Step { at: at?, act: act?, lasts: lasts.flatten() })
}

fn act(raw: &Raw, wrong: &mut impl FnMut(String)) -> Option<Act> {
    match (&raw.partition, &raw.slow, &raw.heal) {
        (Some(cut), None, None) => {
            let (one, other) = faulty("partition", cut, wrong)?;
            Some(Act::Partition { one, other })
        }
        (None, Some(slow), None) => {
            let (ends, conditions) = (faulty("slow", slow, wrong), conditions(raw, wrong));
            let (one, other) = ends?;
            Some(Act::Slow { one, other, conditions: conditions? })
        }
        (None, None, Some(heal)) => {
            let [one, other] = ends("heal", heal, wrong)?;
            Some(Act::Heal { one, other })
        }
        (None, None, None) => {
            wrong("the step says nothing to do: one of `partition`, `slow` or `heal`".to_owned());
            None
        }
        _ => {
            wrong("the step says several things: write a [[step]] for each".to_owned());
            None
        }
    }
}

/// The endpoints of a fault: one, or two.
fn faulty(what: &str, named: &Ends, wrong: &mut impl FnMut(String)) -> Option<(String, Option<String>)> {
    let [one, other] = ends(what, named, wrong)?;
    if one.is_none() {
        wrong(format!("`{what}` names no end: name one or two volumes or providers"));
    }
    Some((one?, other))
}

fn ends(what: &str, ends: &Ends, wrong: &mut impl FnMut(String)) -> Option<[Option<String>; 2]> {
    match ends {
        Ends::One(one) => Some([Some(one.clone()), None]),
        Ends::Several(several) => match several.as_slice() {
            [] => Some([None, None]),
            [one] => Some([Some(one.clone()), None]),
            [one, other] if one == other => {
                wrong(format!("`{what}` names {one} twice: both endpoints are {one}"));
                None
            }
            [one, other] => Some([Some(one.clone()), Some(other.clone())]),
            more => {
                wrong(format!("`{what}` names {} ends: at most two", more.len()));
                None
            }
        },
    }
}

fn conditions(raw: &Raw, wrong: &mut impl FnMut(String)) -> Option<Conditions> {
    let Raw { latency_ms, loss, bandwidth_kbit, .. } = *raw;
    match Conditions::checked(latency_ms, loss, bandwidth_kbit) {
        Ok(conditions) => Some(conditions),
        Err(what) => {
            wrong(what);
            None
        }
    }
}

fn time(field: &str, time: &Time, wrong: &mut impl FnMut(String)) -> Option<Duration> {
    let read = match time {
        Time::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Time::Text(text) => humantime::parse_duration(text).ok(),
    };
    let read = read.filter(|time| time.as_secs() <= LONGEST);
    if read.is_none() {
        let found = match time {
            Time::Seconds(seconds) => seconds.to_string(),
            Time::Text(text) => format!("\"{text}\""),
        };
        wrong(format!("`{field}` is {found}: write seconds, or a text such as \"1m 30s\"; from 0 to a week"));
    }
    read
}
