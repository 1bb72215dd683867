//! The timeline of a scenario as a picture: what was cut or slow when, and the values that were watched.
//!
//! It is drawn from the lines that `lab scenario --format json` prints. Never: plays anything.

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::identity::COLOURS;
use crate::render::{RenderError, engine};

/// The widths of the picture and of its parts, in pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 24.0;
/// The place and the distance of lanes.
const TOP: f64 = 58.0;
const LANE: f64 = 36.0;
/// The width of a character of 12 pixels, estimated generously.
const CHARACTER: f64 = 7.4;
/// The least distance of two times in the head.
const APART: f64 = 52.0;
/// The most ticks of the axis.
const MOST_TICKS: f64 = 12.0;

/// A line of a timeline, as far as it is drawn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TimelineLine {
    /// Seconds since the start.
    seconds: f64,
    event: Moment,
    action: Option<String>,
    from: Option<String>,
    to: Option<String>,
    conditions: Option<String>,
    /// What is watched, and its value.
    name: Option<String>,
    value: Option<String>,
}

#[derive(Serialize)]
struct Sheet {
    width: f64,
    height: f64,
    title: String,
    description: String,
    left: f64,
    right: f64,
    axis: f64,
    colours: Vec<(usize, &'static str, &'static str)>,
    ticks: Vec<Tick>,
    lanes: Vec<Lane>,
    bars: Vec<Bar>,
    changes: Vec<Tick>,
}

#[derive(Serialize)]
struct Tick {
    x: f64,
    words: String,
}

#[derive(Serialize)]
struct Lane {
    y: f64,
    words: String,
}

#[derive(Serialize)]
struct Bar {
    class: String,
    x: f64,
    y: f64,
    width: f64,
    text_x: f64,
    text_y: f64,
    words: String,
    note: String,
}

/// What happened in a lane from one time to another.
struct Span {
    lane: usize,
    from: f64,
    to: f64,
    class: String,
    words: String,
}

/// The picture as SVG; `None` if the lines hold nothing to draw.
///
/// # Errors
/// A value that SVG cannot express: a control character.
pub fn timeline(lines: &[TimelineLine]) -> Result<Option<String>, RenderError> {
    let (names, spans) = spans(lines);
    let end = lines.iter().map(|line| line.seconds).fold(0.0, f64::max);
    if spans.is_empty() || end <= 0.0 {
        return Ok(None);
    }
    let x = |seconds: f64| round(LEFT + seconds / end * (WIDTH - LEFT - RIGHT));
    let y = |lane: usize| TOP + f64::from(u32::try_from(lane).unwrap_or(u32::MAX)) * LANE;
    let axis = y(names.len()) + 6.0;
    let bar = |span: &Span| {
        let (from, to) = (x(span.from), x(span.to));
        let note =
            format!("{}: {}, from {:.1} s to {:.1} s", names[span.lane], span.words, span.from, span.to);
        let width = round((to - from).max(2.0));
        let fits = length(&span.words) * CHARACTER + 8.0 <= width;
        let words = if fits { span.words.clone() } else { String::new() };
        let (text_x, text_y) = (round(from + width / 2.0), y(span.lane) + 16.0);
        Bar { class: span.class.clone(), x: from, y: y(span.lane), width, text_x, text_y, words, note }
    };
    let watches = || lines.iter().filter(|line| line.event == Moment::Watch);
    // The first value of each is no change.
    let is_first =
        |line: &TimelineLine| watches().find(|it| it.name == line.name).is_some_and(|it| it == line);
    let changes = watches().filter(|line| !is_first(line));
    let mut before = 0.0;
    let change = |line: &TimelineLine| {
        let at = x(line.seconds);
        // The times of changes that follow at once would cover each other.
        let words = if at - before < APART { String::new() } else { format!("{:.1} s", line.seconds) };
        before = if words.is_empty() { before } else { at };
        Tick { x: at, words }
    };
    let changes = changes.map(change).collect();
    let sheet = Sheet {
        width: WIDTH,
        height: axis + 40.0,
        title: "Timeline of a scenario".to_owned(),
        description: spans.iter().map(|span| bar(span).note).collect::<Vec<_>>().join("; "),
        left: LEFT,
        right: WIDTH - RIGHT,
        axis,
        colours: COLOURS.iter().enumerate().map(|(number, it)| (number, it.light, it.dark)).collect(),
        ticks: ticks(end).into_iter().map(|(at, words)| Tick { x: x(at), words }).collect(),
        lanes: names
            .iter()
            .enumerate()
            .map(|(lane, words)| Lane { y: y(lane) + 16.0, words: words.clone() })
            .collect(),
        bars: spans.iter().map(bar).collect(),
        changes,
    };
    engine::render("scenario/timeline.svg", sheet).map(Some)
}

/// The lanes, and what happened in each: faults in the order of their beginning, then what was watched.
fn spans(lines: &[TimelineLine]) -> (Vec<String>, Vec<Span>) {
    let end = lines.iter().map(|line| line.seconds).fold(0.0, f64::max);
    let mut names: Vec<String> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    let is_fault = |line: &&TimelineLine| matches!(line.action.as_deref(), Some("partition" | "slow"));
    for (at, line) in lines.iter().enumerate() {
        if line.event != Moment::Begin || !is_fault(&line) {
            continue;
        }
        let over = lines[at..].iter().find(|it| is_end(line, it)).map_or(end, |it| it.seconds);
        let is_cut = line.action.as_deref() == Some("partition");
        let words = if is_cut { "cut".to_owned() } else { line.conditions.clone().unwrap_or_default() };
        let name = ends(line);
        let lane = lane(&mut names, name);
        let class = if is_cut { "partition" } else { "slow" }.to_owned();
        spans.push(Span { lane, from: line.seconds, to: over, class, words });
    }
    let mut values: Vec<&str> = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.event == Moment::Watch) {
        let over = lines[at + 1..].iter().find(|it| it.event == Moment::Watch && it.name == line.name);
        let lane = lane(&mut names, line.name.clone().unwrap_or_default());
        let (class, words) = match line.value.as_deref() {
            None => ("none".to_owned(), "none".to_owned()),
            Some(value) => {
                let colour = values.iter().position(|it| *it == value).unwrap_or_else(|| {
                    values.push(value);
                    values.len() - 1
                });
                (format!("value c{}", colour % COLOURS.len()), value.to_owned())
            }
        };
        spans.push(Span { lane, from: line.seconds, to: over.map_or(end, |it| it.seconds), class, words });
    }
    (names, spans)
}

/// Whether a line says that a fault is over: its own end, or a `heal` of the same ends or of everything.
fn is_end(fault: &TimelineLine, line: &TimelineLine) -> bool {
    let is_same = line.from == fault.from && line.to == fault.to;
    let is_reverse = line.from == fault.to && line.to == fault.from;
    let is_of_one = line.to.is_none() && (line.from == fault.from || line.from == fault.to);
    match line.event {
        Moment::End => line.action == fault.action && is_same,
        Moment::Begin => {
            let is_heal = line.action.as_deref() == Some("heal");
            is_heal && (line.from.is_none() || is_same || is_reverse || is_of_one)
        }
        Moment::Done | Moment::Watch => false,
    }
}

fn ends(line: &TimelineLine) -> String {
    let from = line.from.as_deref().unwrap_or_default();
    match &line.to {
        Some(to) => format!("{from} – {to}"),
        None => format!("{from} – all others"),
    }
}

fn lane(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|it| *it == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

/// The ticks of the axis: multiples of 1, 2 or 5 times a power of ten seconds.
fn ticks(end: f64) -> Vec<(f64, String)> {
    let steps = (0..8).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    let step = steps.into_iter().find(|step| end / step <= MOST_TICKS).unwrap_or(end);
    let ticks = (0_u32..).map(|count| f64::from(count) * step).take_while(|at| *at <= end);
    ticks.map(|at| (at, format!("{at} s"))).collect()
}

fn length(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
